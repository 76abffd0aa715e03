"""Dev containers: ``devcontainer.json`` of a project, or of a dev container template with options.

See https://containers.dev/implementors/json_reference/ and https://containers.dev/implementors/templates/.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from pathlib import Path
from typing import Any

from multios.drivers.template_converter import Conversion
from multios.errors import InvalidInput
from multios.template_format import options, rules
from multios_template_converters import jsonc, taken
from multios_template_converters.source_folder import SourceFolder
from multios_template_converters.template_folder import Draft, has_placeholder, service, template_name
from multios_template_converters.values import Account, Value, below, shown

METADATA = "devcontainer-template.json"
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
_SAID_ELSEWHERE = (
    "$schema",
    "name",
    "image",
    "workspaceFolder",
    "remoteUser",
    "containerUser",
    "portsAttributes",
)
_BUILD_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
_VARIABLE = re.compile(
    r"\$\{(templateOption|localEnv|env|containerEnv|localWorkspaceFolder|localWorkspaceFolderBasename"
    r"|containerWorkspaceFolder|containerWorkspaceFolderBasename|devcontainerId)(?::([^}:]*)(?::([^}]*))?)?\}"
)
_SHELL = "/bin/sh"


def convert(file: Path, target: Path) -> Conversion:
    """See :class:`multios.drivers.template_converter.TemplateConverterDriver`."""
    file = Path(os.path.abspath(file))
    root = file.parent.parent if file.parent.name == ".devcontainer" else file.parent
    return _Conversion(SourceFolder(root, target), file.relative_to(root).as_posix(), target).run()


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
        self._options: dict[str, str] = {}
        self._workspace = ""

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
        self._take_options(draft)
        draft.base = self._image()
        draft.working_directory = self._workspace = self._workspace_folder()
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
        return taken.image(self._account, "image", value, text)

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

    def _workspace_folder(self) -> str:
        self._workspace = posixpath.join("/workspaces", re.sub(r"[^A-Za-z0-9._-]", "-", self._folder.name))
        if "workspaceFolder" not in self._table:
            return self._workspace
        value = self._table["workspaceFolder"]
        text = self._filled("workspaceFolder", value, self._account.text("workspaceFolder", value))
        is_path = (
            text is not None and text.startswith("/") and text.isprintable() and ".." not in text.split("/")
        )
        if text is None or not is_path or has_placeholder(text):
            self._account.leave("workspaceFolder", value, f"it is no path inside; {self._workspace} is taken")
            return self._workspace
        return posixpath.normpath("/" + text.lstrip("/"))

    # --- options --------------------------------------------------------------------------------------

    def _take_options(self, draft: Draft) -> None:
        if "options" not in self._metadata:
            return
        for name, value in self._about.table("options", self._metadata["options"]).items():
            key = below("options", name)
            ours = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
            if not rules.PARAMETER.fullmatch(ours) or ours in self._options.values():
                raise self._about.wrong(
                    key, value, f"{name!r} cannot be an option's name", "letters, digits and '_'"
                )
            self._options[name] = ours
            draft.parameters.append(self._parameter(ours, key, value))

    def _parameter(self, name: str, key: str, value: Value) -> dict[str, Any]:
        table = self._about.table(key, value)
        lists = {
            field: [
                self._about.scalar(below(key, field), item)
                for item in self._about.items(below(key, field), table[field])
            ]
            for field in ("enum", "proposals")
            if field in table
        }
        about = self._words(self._about, table, "description") or name
        choices = lists.get("enum", [])
        default = self._about.scalar(below(key, "default"), table["default"]) if "default" in table else ""
        parameter: dict[str, Any] = {"name": name, "default": default or (choices or [""])[0]}
        if self._words(self._about, table, "type") == "boolean":
            parameter.update(type="boolean", default=default or "false")
        elif choices:
            parameter["choices"] = choices
        elif lists.get("proposals"):
            about += f" (for example {', '.join(lists['proposals'])})"
        parameter["description"] = shown(" ".join(about.split()), rules.LONGEST_DESCRIPTION)
        for text in (parameter["default"], *choices):
            if not text.isprintable() or len(text) > options.LONGEST_TEXT:
                raise self._about.wrong(key, value, "a value is too long, or no line", "use one short line")
        for field in table.keys() - {"type", "description", "default", "enum", "proposals"}:
            self._about.leave(below(key, field), table[field], "our options have no such thing")
        return parameter

    def _filled(self, key: str, value: Value, text: str, account: Account | None = None) -> str | None:
        """The text with its variables in our words; ``None`` where it cannot be had, which is said."""
        account = account or self._account
        if has_placeholder(text):
            account.leave(key, value, "our templates would fill what stands in {{…}}")
            return None
        unknown: list[str] = []

        def fill(match: re.Match[str]) -> str:
            kind, name, default = match[1], match[2] or "", match[3]
            if kind == "templateOption":
                if name not in self._options:
                    raise account.wrong(
                        key, value, f"{match[0]}: there is no such option", f"add it to {METADATA}"
                    )
                return f"{{{{{self._options[name]}}}}}"
            if kind in ("localWorkspaceFolderBasename", "containerWorkspaceFolderBasename"):
                return self._folder.name
            if kind == "containerWorkspaceFolder":
                return self._workspace
            if default is None:
                unknown.append(match[0])
            return default or ""

        filled = _VARIABLE.sub(fill, text)
        if unknown:
            account.leave(key, value, f"{unknown[0]} is not known before a machine runs")
            return None
        return filled

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
            for field in table.keys() - {"label", "onAutoForward"}:
                self._account.leave(below(path, field), table[field], "it is for editors")

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
                if not rules.VARIABLE.fullmatch(name):
                    self._account.leave(path, value, f"{name!r} cannot be a variable's name")
                elif text is not None:
                    draft.environment[name] = text

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
                if found and not re.fullmatch(r"[A-Za-z0-9_{}][A-Za-z0-9_.{}-]{0,60}", found):
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
            draft.steps.append(f"mkdir -p {shlex.quote(draft.working_directory)}")
            draft.steps.append(f"chown -R {user} {shlex.quote(draft.working_directory)}")

    def _take_commands(self, draft: Draft, user: str) -> None:
        for key in _BUILD_COMMANDS:
            draft.steps += self._lines(draft, key, user)
        if lines := self._lines(draft, "postStartCommand", user):
            draft.services.append(service("start", lines))

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
        known = {
            "forwardPorts",
            "appPort",
            "containerEnv",
            "remoteEnv",
            "hostRequirements",
            "capAdd",
            "features",
        }
        known |= {*_SAID_ELSEWHERE, *_BUILD_COMMANDS, "postStartCommand"}
        for key, value in self._table.items():
            if key in known or (taken.is_off(value) and key != "overrideCommand"):
                continue
            if key == "overrideCommand":
                if value.data is False:
                    self._account.leave(
                        key,
                        value,
                        "a machine runs a shell, or what services say, not the image's own command",
                    )
                continue
            self._account.leave(key, value, _WHY_LEFT_OUT.get(key, "it is not known here"))
        said = {"id", "version", "name", "description", "documentationURL", "licenseURL", "options"}
        for key, value in self._metadata.items():
            if key not in said and not taken.is_off(value):
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
