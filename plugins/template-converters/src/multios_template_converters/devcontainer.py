"""Dev containers: ``devcontainer.json`` of a project, or of a dev container template with options.

See https://containers.dev/implementors/json_reference/ and https://containers.dev/implementors/templates/.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from multios.drivers.template_converter import Conversion
from multios.errors import InvalidInput
from multios_template_converters import jsonc, taken
from multios_template_converters.devcontainer_variables import METADATA, Variables
from multios_template_converters.source_folder import SourceFolder
from multios_template_converters.template_folder import Draft, apart, has_placeholder, service, template_name
from multios_template_converters.values import Account, Value, below

_NOT_OF_THE_PROJECT = (".git", ".devcontainer", ".devcontainer.json")
_NOT_OF_A_TEMPLATE = (METADATA, "README.md", "NOTES.md")
_WHY_LEFT_OUT = {
    "build": "no Dockerfile is read: image says what it is built on",
    "dockerFile": "no Dockerfile is read: image says what it is built on",
    "context": "no Dockerfile is read: image says what it is built on",
    "dockerComposeFile": "a template is one machine: only image is read",
    "service": "a template is one machine: only image is read",
    "runServices": "a template is one machine: only image is read",
    "privileged": "a template cannot ask for everything: name capabilities in [requests]",
    "securityOpt": "how a machine is confined is the host's choice; see [requests] for what can be asked",
    "runArgs": "these are docker's options: give ours when a machine is created",
    "mounts": "what a machine shares with the host is said when it is created: -v HOST:PATH",
    "workspaceMount": "what a machine shares with the host is said when it is created: -v HOST:PATH",
    "customizations": "it is for editors",
    "extensions": "it is for editors",
    "settings": "it is for editors",
    "initializeCommand": "it would run on the host, which no template may",
    "postAttachCommand": "nothing runs when somebody enters a machine",
    "init": "say --init when a machine is created",
    "shutdownAction": "a machine runs until it is stopped",
    "updateRemoteUserUID": "files that are shared are mapped to who shares them",
    "userEnvProbe": "it is for editors",
    "waitFor": "all that it waits for is done when the machine is built",
    "secrets": "no template holds secrets",
    "otherPortsAttributes": "it is for editors",
    "overrideFeatureInstallOrder": "features are left out",
}
_BUILD_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
_TAKEN = (
    "$schema", "name", "image", "workspaceFolder", "remoteUser", "containerUser", "forwardPorts", "appPort", "portsAttributes",
    "containerEnv", "remoteEnv", "hostRequirements", "capAdd", "features", *_BUILD_COMMANDS, "postStartCommand",
)  # fmt: skip
_TAKEN_OF_METADATA = ("id", "version", "name", "description", "documentationURL", "licenseURL", "options")
_SHELL = "/bin/sh"
_USER = re.compile(r"(?!-)(?:[A-Za-z0-9_.-]|\{\{[a-z0-9_]+\}\}){1,60}")


def convert(file: Path, target: Path) -> Conversion:
    """See :class:`multios.drivers.template_converter.TemplateConverterDriver`."""
    file = Path(os.path.abspath(file))
    root = file.parent.parent if file.parent.name == ".devcontainer" else file.parent
    with SourceFolder(root, target) as folder:
        return _Conversion(folder, file.relative_to(root).as_posix(), target).run()


class _Conversion:
    def __init__(self, folder: SourceFolder, name: str, target: Path) -> None:
        self._folder, self._target = folder, target
        self._account = Account(name)
        document = jsonc.read(folder.text(name), self._account)
        self._table = self._account.table("JSON", document)
        self._about = Account(METADATA, self._account.left_out)
        self._metadata: dict[str, Value] = {}
        if folder.has_file(METADATA):
            self._metadata = self._about.table("JSON", jsonc.read(folder.text(METADATA), self._about))
        self._variables = Variables(folder.name)

    def run(self) -> Conversion:
        draft = self._draft()
        self._take_ports(draft)
        self._take_environment(draft)
        self._take_requirements(draft)
        self._take_capabilities(draft)
        user = self._user()
        self._copy_project(draft, user)
        self._take_commands(draft, user)
        if user and not draft.services:
            draft.command = ("su", user)
        self._leave_the_rest()
        written = draft.write(self._target, self._account.file)
        return Conversion((written,), tuple(self._account.left_out))

    # --- head -----------------------------------------------------------------------------------------

    def _draft(self) -> Draft:
        title = self._words(self._about, self._metadata, "name") or self._words(
            self._account, self._table, "name"
        )
        title = title or self._folder.name
        name = self._words(self._about, self._metadata, "id") or title
        draft = Draft(
            template_name((), name), title, "", self._words(self._about, self._metadata, "description")
        )
        draft.version = self._words(self._about, self._metadata, "version") or draft.version
        draft.lesson = [draft.about, f"Made from the dev container of {self._folder.name}."]
        for key, words in (("documentationURL", "Documentation"), ("licenseURL", "Licence")):
            if link := self._words(self._about, self._metadata, key):
                draft.lesson.append(f"{words}: {link}")
        if "options" in self._metadata:
            draft.parameters += self._variables.declare(self._about, self._metadata["options"])
        draft.base = self._image()
        draft.working_directory = self._variables.workspace = self._workspace()
        return draft

    def _words(self, account: Account, table: dict[str, Value], key: str) -> str:
        return account.text(key, table[key]) if key in table else ""

    def _image(self) -> str:
        if "image" not in self._table:
            raise self._without_image()
        value = self._table["image"]
        text = self._filled("image", value, self._account.text("image", value))
        if text is None:
            raise self._account.wrong(
                "image", value, "depends on the host that it was written on", "write its name"
            )
        return text if has_placeholder(text) else taken.image(self._account, "image", value, text)

    def _without_image(self) -> InvalidInput:
        for key in ("build", "dockerFile", "dockerComposeFile"):
            if key in self._table:
                return taken.require_image(
                    self._account,
                    key,
                    self._table[key].line,
                    'build it first with "multios-container image build -t NAME FOLDER", and write "image": "NAME" there',
                )
        return taken.require_image(self._account, "image", 1, 'write "image": "debian:12"')

    def _workspace(self) -> str:
        """Where the project is inside."""
        key, usual = "workspaceFolder", self._variables.workspace
        if key not in self._table:
            return usual
        value = self._table[key]
        text = self._filled(key, value, self._account.text(key, value)) or ""
        path = taken.path_inside(text)
        if path is None or has_placeholder(text):
            self._account.leave(key, value, f"it is no path inside; {usual} is taken")
            return usual
        return path

    def _filled(self, key: str, value: Value, text: str) -> str | None:
        return self._variables.fill(self._account, key, value, text)

    # --- ports, variables, limits -----------------------------------------------------------------------

    def _take_ports(self, draft: Draft) -> None:
        for key in ("forwardPorts", "appPort"):
            value = self._table.get(key, Value([], 0))
            for number, item in enumerate(value.data if isinstance(value.data, list) else [value]):
                path = below(key, number) if isinstance(value.data, list) else key
                self._take_port(draft, path, item, "")
        if "portsAttributes" not in self._table:
            return
        for name, value in self._account.table("portsAttributes", self._table["portsAttributes"]).items():
            path = below("portsAttributes", name)
            table = self._account.table(path, value)
            label = self._words(self._account, table, "label")
            self._take_port(draft, path, Value(name, value.line), label)
            for field, item in table.items():
                if field not in ("label", "onAutoForward"):
                    self._account.leave(below(path, field), item, "it is for editors")

    def _take_port(self, draft: Draft, key: str, value: Value, label: str) -> None:
        filled = self._filled(key, value, self._account.scalar(key, value))
        if filled is None or has_placeholder(filled):
            if filled is not None:
                self._account.leave(key, value, "a port is a number, which no option can change")
            return
        taken.port(draft, self._account, key, value, filled.removeprefix("localhost:"), label)

    def _take_environment(self, draft: Draft) -> None:
        for key in ("containerEnv", "remoteEnv"):
            if key not in self._table:
                continue
            for name, value in self._account.table(key, self._table[key]).items():
                path = below(key, name)
                if value.data is None:
                    self._account.leave(path, value, "a variable cannot be taken away")
                    continue
                text = self._filled(path, value, self._account.scalar(path, value))
                taken.variable(draft, self._account, path, value, name, text)

    def _take_requirements(self, draft: Draft) -> None:
        key = "hostRequirements"
        if key not in self._table:
            return
        for name, value in self._account.table(key, self._table[key]).items():
            path = below(key, name)
            if name == "cpus":
                taken.processors(draft, self._account, path, value)
            elif name == "memory":
                taken.memory(draft, self._account, path, value)
            elif name == "storage":
                taken.disk(draft, self._account, path, value)
            else:
                self._account.leave(path, value, "no template asks for it")

    def _take_capabilities(self, draft: Draft) -> None:
        if "capAdd" in self._table:
            for number, value in enumerate(self._account.items("capAdd", self._table["capAdd"])):
                path = below("capAdd", number)
                taken.capability(draft, self._account, path, value, self._account.text(path, value))

    # --- commands ---------------------------------------------------------------------------------------

    def _user(self) -> str:
        """Whose shell it is, as a word for the shell; empty for root."""
        found = ""
        for key in ("containerUser", "remoteUser"):
            if key in self._table:
                value = self._table[key]
                found = self._filled(key, value, self._account.text(key, value)) or ""
                if found and not _USER.fullmatch(found):
                    raise self._account.wrong(
                        key, value, f"{found!r} cannot be a user's name", "write its name"
                    )
                if found not in ("", "root", "0"):
                    why = f"it owns the work and has the shell that a machine begins with; exec is root's without --user {found}"
                    self._account.leave(key, value, why)
        return "" if found in ("root", "0") else found

    def _copy_project(self, draft: Draft, user: str) -> None:
        skip = _NOT_OF_THE_PROJECT + (_NOT_OF_A_TEMPLATE if self._metadata else ())
        target = self._target / draft.name / "rootfs" / draft.working_directory.lstrip("/")
        self._folder.copy(".", target, self._account, skip)
        self._folder.make_links()
        if self._table.get("features"):
            for name, value in self._account.table("features", self._table["features"]).items():
                why = "a feature is a program of its author's: write what it installs in [packages] or steps"
                self._account.leave(below("features", name), value, why)
        if user:
            draft.steps.append(f"chown -R {user} {shlex.quote(draft.working_directory)}")

    def _take_commands(self, draft: Draft, user: str) -> None:
        for key in _BUILD_COMMANDS:
            draft.steps += self._lines(draft, key, user)
        if lines := self._lines(draft, "postStartCommand", user):
            draft.services.append(service("start", map(apart, lines)))

    def _lines(self, draft: Draft, key: str, user: str) -> list[str]:
        if key not in self._table:
            return []
        value = self._table[key]
        named = value.data.items() if isinstance(value.data, dict) else [("", value)]
        found = []
        for name, item in named:
            path = below(key, name) if name else key
            line = self._line(path, item)
            if line is not None:
                found.append(
                    self._as_user(path, item, f"cd {shlex.quote(draft.working_directory)}\n{line}", user)
                )
        return found

    def _line(self, key: str, value: Value) -> str | None:
        """A command as a line for the shell."""
        if not isinstance(value.data, list):
            return self._filled(key, value, self._account.text(key, value))
        words = []
        for number, item in enumerate(value.data):
            path = below(key, number)
            word = self._filled(path, item, self._account.text(path, item))
            if word is None:
                return None
            words.append(_quoted(word))
        return " ".join(words)

    def _as_user(self, key: str, value: Value, line: str, user: str) -> str:
        if not user:
            return line
        if has_placeholder(line):
            self._account.leave(key, value, "an option is in it, so that root runs it, not the user")
            return line
        return f"su -s {_SHELL} {user} -c {shlex.quote(line)}"

    # --- the rest ---------------------------------------------------------------------------------------

    def _leave_the_rest(self) -> None:
        for key, value in self._table.items():
            if key == "overrideCommand" and value.data is False:
                self._account.leave(
                    key, value, "a machine runs a shell or its services, not the image's own command"
                )
            elif key not in (*_TAKEN, "overrideCommand") and not taken.is_off(value):
                self._account.leave(key, value, _WHY_LEFT_OUT.get(key, "it is not known here"))
        for key, value in self._metadata.items():
            if key not in _TAKEN_OF_METADATA and not taken.is_off(value):
                self._about.leave(key, value, "it is for the template's index")


def _quoted(word: str) -> str:
    """A word for the shell; our placeholders stay bare, because they are quoted when they are filled."""
    pieces = re.split(r"(\{\{[a-z][a-z0-9_]*\}\})", word)
    return (
        "".join(
            piece if number % 2 else shlex.quote(piece) if piece else ""
            for number, piece in enumerate(pieces)
        )
        or "''"
    )
