"""Kathará: ``lab.conf``, the startup scripts and the folders of a lab's machines; each machine becomes a template.

See https://www.kathara.org/man-pages/kathara-lab.conf.5.html.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from multios.drivers.template_converter import Conversion
from multios_template_converters import taken
from multios_template_converters.links import Links
from multios_template_converters.source_folder import SourceFolder
from multios_template_converters.template_folder import (
    MOST_TEMPLATES,
    Draft,
    apart,
    service,
    template_name,
)
from multios_template_converters.values import Account, Value

DEFAULT_IMAGE = "kathara/base"
SCRIPTS = "/usr/local/lib/kathara"
CAPABILITIES = ("NET_ADMIN", "NET_RAW")
"""What a machine of a lab has beyond ours' default, so that it can set up its own interfaces."""
_MACHINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,62})\[([A-Za-z0-9_]{1,30})\]\s*=\s*(.*)")
_OF_THE_LAB = re.compile(r"LAB_(NAME|DESCRIPTION|VERSION|AUTHOR|EMAIL|WEB)\s*=\s*(.*)")
_VALUE = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s"'#]*))\s*(?:#.*)?""")
_INTERFACE = re.compile(r"([A-Za-z0-9_]{1,60})(?:/([0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}))?")
_WHY_LEFT_OUT = {
    "bridged": "which networks a machine has is said when it is created",
    "ipv6": "whether a network has IPv6 is said when it is made: network create --ipv6",
    "sysctl": "no template sets the kernel's parameters",
    "ulimit": "say --ulimit when a machine is created",
    "shell": "name the shell when you enter: exec -it MACHINE SHELL",
    "num_terms": "terminals are opened with exec -it",
    "privileged": "a template cannot ask for everything: name capabilities in [requests]",
    "volume": "what a machine shares with the host is said when it is created: -v HOST:PATH",
    "entrypoint": "the machine's first process starts what the startup scripts say",
    "args": "the machine's first process starts what the startup scripts say",
}
_Settings = list[tuple[str, Value]]
"""A machine's keys, which may come again, and their values."""


def convert(file: Path, target: Path) -> Conversion:
    """See :class:`multios.drivers.template_converter.TemplateConverterDriver`."""
    account = Account(file.name)
    with SourceFolder(file.parent, target) as folder:
        about, machines = read(folder.text(file.name), account)
        if not machines:
            raise account.wrong("lab", 1, "names no machine", 'write pc1[0]="A"')
        lab = _Lab(folder, account, about)
        for machine, settings in machines.items():
            lab.take(machine, settings)
        lab.leave_files(machines)
        folders = tuple(draft.write(target, file.name) for draft in lab.copied(target))
    lab.links.leave()
    return Conversion(folders, tuple(account.left_out), lab.links.commands(lab.templates))


def read(text: str, account: Account) -> tuple[dict[str, str], dict[str, _Settings]]:
    """What ``lab.conf`` says of the lab, and each machine's settings in their order."""
    about: dict[str, str] = {}
    machines: dict[str, _Settings] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if found := _OF_THE_LAB.fullmatch(line):
            about[found[1].lower()] = _value(found[2], f"LAB_{found[1]}", number, account)
        elif found := _MACHINE.fullmatch(line):
            key = f"{found[1]}[{found[2]}]"
            value = Value(_value(found[3], key, number, account), number)
            machines.setdefault(found[1], []).append((found[2], value))
            if len(machines) > MOST_TEMPLATES:
                raise account.wrong(key, number, f"more than {MOST_TEMPLATES} machines", "divide the lab")
        else:
            raise account.wrong(
                line, number, "is not understood", 'write MACHINE[KEY]="VALUE" or LAB_NAME="VALUE"'
            )
    return about, machines


def _value(text: str, key: str, line: int, account: Account) -> str:
    found = _VALUE.fullmatch(text)
    if found is None:
        raise account.wrong(key, line, "its value is not understood", 'put it in quotes: "VALUE"')
    return next((part for part in found.groups() if part is not None), "")


class _Lab:
    """A lab on its way: a draft a machine, and what joins them."""

    def __init__(self, folder: SourceFolder, account: Account, about: dict[str, str]) -> None:
        self._folder, self._account, self._about = folder, account, about
        self.name = template_name((), about.get("name") or folder.name)[:20].rstrip("-")
        self.templates: dict[str, str] = {}
        self.links = Links(account, first=0)
        self._drafts: dict[str, Draft] = {}

    def take(self, machine: str, settings: _Settings) -> None:
        """One machine's settings."""
        about, account = self._about, self._account
        name = template_name(self.templates.values(), self.name, machine)
        title = f"{machine} of {about.get('name') or self.name}"
        draft = Draft(name, title, DEFAULT_IMAGE, about.get("description", ""), working_directory="/")
        draft.version = about.get("version", draft.version)
        draft.lesson = [draft.about, f"The machine {machine} of a Kathará lab."]
        draft.lesson += [
            f"{word.capitalize()}: {about[word]}" for word in ("author", "email", "web") if word in about
        ]
        draft.capabilities += CAPABILITIES
        self.templates[machine], self._drafts[machine] = name, draft
        commands: list[str] = []
        for key, value in settings:
            path = f"{machine}[{key}]"
            if key.isdecimal():
                self._join(machine, int(key), path, value)
            elif key == "exec":
                commands += [apart(value.data)] if taken.is_plain(account, path, value, value.data) else []
            else:
                self._setting(draft, path, key, value)
        startup = self._startup(machine)
        if startup or commands:
            draft.services.append(service("startup", [*startup, *commands]))
        else:
            draft.command = ("/bin/sh",)

    def _setting(self, draft: Draft, path: str, key: str, value: Value) -> None:
        account, text = self._account, value.data
        if key == "image":
            draft.base = taken.image(account, path, value, text)
        elif key == "mem":
            taken.memory(draft, account, path, value)
        elif key == "cpus":
            taken.processors(draft, account, path, value)
        elif key == "port":
            taken.port(draft, account, path, value, text)
        elif key == "env":
            name, _, content = text.partition("=")
            if taken.is_plain(account, path, value, text):
                taken.variable(draft, account, path, value, name, content)
        elif not taken.is_off(value):
            account.leave(path, value, _WHY_LEFT_OUT.get(key, "it is not known here"))

    def _join(self, machine: str, number: int, path: str, value: Value) -> None:
        found = _INTERFACE.fullmatch(value.data)
        if found is None or number > 999:
            raise self._account.wrong(
                path, value, f"{value.data!r} is no collision domain", 'write pc1[0]="A"'
            )
        self.links.join(machine, number, f"{self.name}-{found[1]}", path, value, (found[2] or "").lower())

    # --- files ----------------------------------------------------------------------------------------

    def _startup(self, machine: str) -> list[str]:
        """The commands that run a machine's scripts, as bash where there is one and the script does not say."""
        lines = []
        for name in ("shared.startup", f"{machine}.startup"):
            if self._folder.has_file(name):
                says = self._folder.text(name).startswith("#!")
                shell = "" if says else '"$(command -v bash || command -v sh)" '
                lines.append(f"{shell}{shlex.quote(f'{SCRIPTS}/{name}')}")
        return lines

    def copied(self, target: Path) -> list[Draft]:
        """The drafts, their files in place."""
        for machine, draft in self._drafts.items():
            root = target / draft.name / "rootfs"
            if self._folder.has_file(machine):
                self._folder.copy(machine, root, self._account)
            for name in ("shared.startup", f"{machine}.startup"):
                if self._folder.has_file(name):
                    script = root / SCRIPTS.lstrip("/") / name
                    self._folder.copy(name, script, self._account)
                    script.chmod(0o755)
        self._folder.make_links()
        return list(self._drafts.values())

    def leave_files(self, machines: dict[str, _Settings]) -> None:
        """Say which files of the lab have no place."""
        for path in sorted(self._folder.path.iterdir(), key=lambda path: path.name):
            name, _, kind = path.name.rpartition(".")
            place = Account(path.name, self._account.left_out)
            if path.name == "shared":
                place.leave(
                    "folder", 0, "what machines share is said when they are created: -v FOLDER:/shared"
                )
            elif path.name in ("lab.dep", "lab.ext"):
                place.leave(
                    "file", 0, "which machine starts first, and what is outside of the lab, is yours to say"
                )
            elif kind == "shutdown":
                place.leave("script", 0, "nothing runs when a machine is stopped")
            elif kind == "startup" and name not in (*machines, "shared"):
                place.leave("script", 0, f"lab.conf has no machine {name}")
