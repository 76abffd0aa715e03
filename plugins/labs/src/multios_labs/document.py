"""Reading a lab's folder. What is wrong is told with file, key and line."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from multios.errors import InvalidInput, MultiosError, NotFound, nearest
from multios.toml_lines import line_of
from multios_labs.records import (
    KINDS,
    GradeCheck,
    GradeLimits,
    Lab,
    LabCheck,
    LabFile,
    LabParameter,
    LabStep,
)

DOCUMENT, PRIVATE = "lab.toml", "private"
MOST_BYTES = 64 << 20
MOST_FILES = 2000
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_MODE = re.compile(r"0?[0-7]{3}")
_SYSTEM = ("bin", "boot", "dev", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr")
_NOT_WHOLE = ("etc", "var", "home")


class Wrong(Exception):
    """A key and what is wrong with it."""

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.path, self.what, self.remedy = path, what, remedy


def read(folder: Path) -> Lab:
    """The lab in ``folder``; ``InvalidInput`` names what is wrong with it, ``NotFound`` that there is none."""
    file = folder / DOCUMENT
    table, text = _toml(file)
    try:
        lab = _lab(table, folder)
        _check_references(lab)
    except Wrong as wrong:
        raise _explained(file, text, wrong) from None
    return lab


def read_grading(lab: Lab) -> tuple[GradeLimits, tuple[GradeCheck, ...]]:
    """What ``private/grade.toml`` says; without it, the steps' own checks are the judgement."""
    file = lab.folder / PRIVATE / "grade.toml"
    if not file.exists():
        return GradeLimits(), ()
    table, text = _toml(file)
    try:
        _only(table, "", "limits", "checks")
        limits = _Reader(table.get("limits", {}), "limits")
        limits.only("memory", "disk", "cpus", "pids")
        checks = tuple(_grade_check(reader, lab) for reader in _rows(table, "checks"))
        if not checks:
            raise Wrong("checks", "there is no check", "add [[checks]]")
        found = GradeLimits(
            memory=limits.text("memory", "256M"),
            disk=limits.text("disk", "64M"),
            cpus=limits.number("cpus", 1.0, 0.05, 64),
            pids=int(limits.number("pids", 64, 4, 4096)),
        )
    except Wrong as wrong:
        raise _explained(file, text, wrong) from None
    return found, checks


def placeholders(text: str) -> set[str]:
    """The parameters that a text asks for."""
    return set(_PLACEHOLDER.findall(text))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each ``{{parameter}}`` replaced; what is no parameter stays."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def files_of(folder: Path, with_private: bool = False) -> Iterator[tuple[str, Path]]:
    """Every regular file below ``folder`` by its name there, in order; links and what is too much are refused."""
    count = size = 0
    for directory, names, files in os.walk(folder):
        names.sort()
        if Path(directory) == folder and not with_private:
            names[:] = [name for name in names if name != PRIVATE]
        names[:] = [name for name in names if not name.startswith(".")]
        for name in names:
            if Path(directory, name).is_symlink():
                raise InvalidInput(
                    f"{Path(directory, name)}: is a link", "copy what it leads to into the lab's folder"
                )
        for name in sorted(files):
            path = Path(directory, name)
            status = path.lstat()
            if name.startswith("."):
                continue
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(
                    f"{path}: is no regular file", "copy what it leads to into the lab's folder"
                )
            count, size = count + 1, size + status.st_size
            if count > MOST_FILES or size > MOST_BYTES:
                raise InvalidInput(
                    f"{folder}: more than {MOST_FILES} files or {MOST_BYTES >> 20} MB",
                    "put large things into the image",
                )
            yield str(path.relative_to(folder)), path


def text_of(lab: Lab, step: LabStep) -> str:
    """A step's text: ``text/ID.md``, else its ``goal``."""
    file = lab.folder / "text" / f"{step.id}.md"
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else step.goal


def digest_of(folder: Path) -> str:
    """The digest of all that a student gets of a lab: names and contents, without ``private/``."""
    digest = hashlib.sha256()
    for name, path in files_of(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {name}\n".encode())
    return f"sha256:{digest.hexdigest()}"


# --- lab.toml ----------------------------------------------------------------------------------------------


class _Reader:
    """A table with a path, read key by key."""

    def __init__(self, table: Any, path: str) -> None:
        if not isinstance(table, dict):
            raise Wrong(path, "must be a table", "write it as [table]")
        self.table: dict[str, Any] = table
        self.path = path

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def only(self, *known: str) -> None:
        _only(self.table, self.path, *known)

    def text(self, key: str, default: str | None = None, shape: re.Pattern[str] | None = None) -> str:
        value = self.table.get(key, default)
        if value is None:
            raise Wrong(self.at(key), "is missing", f'add {key} = "…"')
        if not isinstance(value, str) or "\0" in value:
            raise Wrong(self.at(key), "must be text", f'write {key} = "…"')
        if shape is not None and not shape.fullmatch(value):
            raise Wrong(self.at(key), f"{value[:60]!r} is not valid", f"it must look like {shape.pattern}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self.table.get(key, default)
        wanted = (int, float) if isinstance(default, float) else (int,)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise Wrong(self.at(key), f"{value!r} is no number of the right kind", f"write {key} = {default}")
        if not least <= value <= most:
            raise Wrong(self.at(key), f"{value} is out of bounds", f"from {least} to {most}")
        return value

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        return int(self.number(key, default, least, most))

    def flag(self, key: str) -> bool:
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            raise Wrong(self.at(key), "must be true or false", f"write {key} = true")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(item, str) and "\0" not in item for item in value
        ):
            raise Wrong(self.at(key), "must be a list of text", f'write {key} = ["…"]')
        return tuple(value)

    def command(self, key: str) -> tuple[str, ...]:
        """A list of words, or a line for the shell."""
        value = self.table.get(key)
        if isinstance(value, str) and value and "\0" not in value:
            return ("/bin/sh", "-c", value)
        words = self.texts(key) if value is not None else ()
        if not words:
            raise Wrong(
                self.at(key), "is missing or empty", f'write {key} = "a line for the shell" or a list'
            )
        return words


def _lab(table: dict[str, Any], folder: Path) -> Lab:
    root = _Reader(table, "")
    root.only(
        "schema", "name", "version", "title", "description", "image", "template", "options", "command", "network",
        "resources", "setup", "submit", "parameters", "files", "steps",
    )  # fmt: skip
    if root.whole("schema", 0, 0, 1000) != 1:
        raise Wrong("schema", "must be 1", "write schema = 1 at the top")
    image, template = root.text("image", ""), root.text("template", "")
    if bool(image) == bool(template):
        raise Wrong("image", "one of image and template is needed", 'write image = "debian:12"')
    options = _Reader(table.get("options", {}), "options")
    if options.table and not template:
        raise Wrong("options", "only a template has options", "leave [options] out")
    names = _Reader(table.get("parameters", {}), "parameters").table
    lab = Lab(
        name=root.text("name", shape=_NAME),
        version=root.text("version", shape=_NAME),
        title=root.text("title"),
        folder=folder,
        digest=digest_of(folder),
        image=image,
        template=template,
        options={key: options.text(key) for key in options.table},
        command=root.texts("command"),
        network=root.text("network", ""),
        resources=_Reader(table.get("resources", {}), "resources").table,
        setup=root.texts("setup"),
        submit=tuple(_submitted(path, f"submit[{i}]") for i, path in enumerate(root.texts("submit"))),
        parameters=tuple(_parameter(name, names[name]) for name in names),
        files=tuple(_file(reader, folder) for reader in _rows(table, "files")),
        steps=tuple(_step(reader) for reader in _rows(table, "steps")),
    )
    if not lab.steps:
        raise Wrong("steps", "there is no step", "add [[steps]] with an id and a title")
    return lab


def _parameter(name: str, table: Any) -> LabParameter:
    reader = _Reader(table, f"parameters.{name}")
    if not _PARAMETER.fullmatch(name):
        raise Wrong(
            reader.path, f"{name[:60]!r} is no name for a parameter", "a-z, 0-9 and _, a letter first"
        )
    reader.only("kind", "minimum", "maximum", "choices", "length", "pool", "prefix")
    kind = reader.text("kind")
    if kind not in KINDS:
        guess = nearest(kind, list(KINDS))
        raise Wrong(
            reader.at("kind"),
            f"{kind!r} is no kind",
            f"did you mean {guess!r}?" if guess else f"one of {', '.join(KINDS)}",
        )
    low, high = (20_000, 29_999) if kind == "port" else (1, 1_000_000)
    top = 65_535 if kind == "port" else 1 << 53
    parameter = LabParameter(
        name,
        kind,
        minimum=reader.whole("minimum", low, 1 if kind == "port" else -top, top),
        maximum=reader.whole("maximum", high, 1 if kind == "port" else -top, top),
        choices=reader.texts("choices"),
        length=reader.whole("length", 12, 4, 64),
        pool=reader.text("pool", "10.0.0.0/8"),
        prefix=reader.whole("prefix", 24, 8, 30),
    )
    if parameter.minimum > parameter.maximum:
        raise Wrong(reader.at("minimum"), "is more than maximum", "exchange them")
    if kind == "choice" and not parameter.choices:
        raise Wrong(reader.at("choices"), "is missing or empty", 'write choices = ["…", "…"]')
    try:
        pool = IPv4Network(parameter.pool)
    except ValueError as error:
        raise Wrong(reader.at("pool"), str(error), 'write pool = "10.0.0.0/8"') from None
    if kind == "subnet" and pool.prefixlen > parameter.prefix:
        raise Wrong(
            reader.at("prefix"), f"a /{parameter.prefix} does not fit into {pool}", "a larger pool or prefix"
        )
    return parameter


def _file(reader: _Reader, folder: Path) -> LabFile:
    reader.only("source", "target", "mode", "raw")
    source = reader.text("source")
    parts = Path(source).parts
    if source.startswith("/") or ".." in parts or not parts or parts[0] == PRIVATE:
        raise Wrong(
            reader.at("source"),
            f"{source!r} does not lie in the lab",
            "name a file of its folder, not of private/",
        )
    if not (folder / source).is_file() or (folder / source).is_symlink():
        raise Wrong(reader.at("source"), f"there is no file {source!r}", "make it, or correct the name")
    mode = reader.text("mode", "0644", _MODE)
    return LabFile(
        source, _absolute(reader.text("target"), reader.at("target")), int(mode, 8), reader.flag("raw")
    )


def _step(reader: _Reader) -> LabStep:
    reader.only("id", "title", "goal", "setup", "checks")
    checks = tuple(_check(row) for row in _rows(reader.table, "checks", reader.path))
    names = [check.name for check in checks]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Wrong(
                f"{reader.path}.checks[{index}].name", f"{name!r} is there twice", "give it another name"
            )
    return LabStep(
        reader.text("id", shape=_ID),
        reader.text("title"),
        reader.text("goal", ""),
        reader.texts("setup"),
        checks,
    )


def _check(reader: _Reader) -> LabCheck:
    reader.only("name", "command", "expect", "hint", "points", "timeout")
    return LabCheck(
        name=reader.text("name"),
        command=reader.command("command"),
        expect=reader.text("expect", ""),
        hint=reader.text("hint", ""),
        points=reader.whole("points", 1, 0, 1000),
        timeout=reader.whole("timeout", 60, 1, 3600),
    )


def _grade_check(reader: _Reader, lab: Lab) -> GradeCheck:
    reader.only("name", "command", "test", "input", "expect", "exact", "points", "timeout")
    test = reader.text("test", "")
    if bool(test) == ("command" in reader.table):
        raise Wrong(
            reader.path, "one of command and test is needed", "see `lab grade` in docs/how-to/labs.md"
        )
    if test and (
        test.startswith("/") or ".." in Path(test).parts or not (lab.folder / PRIVATE / test).is_file()
    ):
        raise Wrong(
            reader.at("test"), f"there is no file {test!r} in private/", "make it, or correct the name"
        )
    return GradeCheck(
        name=reader.text("name"),
        command=() if test else reader.command("command"),
        test=test,
        input=reader.text("input", ""),
        expect=reader.text("expect", ""),
        exact=reader.flag("exact"),
        points=reader.whole("points", 1, 0, 1000),
        timeout=reader.whole("timeout", 10, 1, 600),
    )


def _submitted(path: str, where: str) -> str:
    """What may be handed in: not what the machine itself stands on, so that it can be put into another one."""
    parts = _absolute(path, where).strip("/").split("/")
    if parts == [""] or parts[0] in _SYSTEM or (len(parts) == 1 and parts[0] in _NOT_WHOLE):
        raise Wrong(where, f"{path!r} is a part of the system", "name where the work is: /root/work")
    return "/" + "/".join(parts)


def _absolute(path: str, where: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or any(part in (".", "..") for part in parts) or not path.isprintable():
        raise Wrong(where, f"{path[:60]!r} is no plain absolute path", "write it as /root/work")
    return "/" + "/".join(part for part in parts if part)


def _check_references(lab: Lab) -> None:
    ids = [step.id for step in lab.steps]
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise Wrong(f"steps[{index}].id", f"{name!r} is there twice", "give the step another id")
    known = {parameter.name for parameter in lab.parameters}

    def check(text: str, where: str) -> None:
        for name in sorted(placeholders(text) - known):
            guess = nearest(name, sorted(known))
            raise Wrong(
                where,
                f"{{{{{name}}}}}: no such parameter",
                f"did you mean {guess!r}?" if guess else f"add [parameters.{name}]",
            )

    for number, line in enumerate(lab.setup):
        check(line, f"setup[{number}]")
    for index, step in enumerate(lab.steps):
        check(step.title + "\n".join(step.setup), f"steps[{index}]")
        check(text_of(lab, step), f"steps[{index}].goal")
        for number, item in enumerate(step.checks):
            check("\n".join([*item.command, item.expect, item.hint]), f"steps[{index}].checks[{number}]")


def _rows(table: dict[str, Any], key: str, around: str = "") -> list[_Reader]:
    rows = table.get(key, [])
    path = f"{around}.{key}" if around else key
    if not isinstance(rows, list):
        raise Wrong(path, "must be an array of tables", f"write [[{key}]]")
    return [_Reader(row, f"{path}[{index}]") for index, row in enumerate(rows)]


def _only(table: dict[str, Any], path: str, *known: str) -> None:
    for key in table:
        if key not in known:
            guess = nearest(key, list(known))
            listed = f"valid: {', '.join(known)}"
            raise Wrong(
                f"{path}.{key}" if path else key,
                "no such key",
                f"did you mean {guess!r}?" if guess else listed,
            )


def _toml(file: Path) -> tuple[dict[str, Any], str]:
    import tomli  # deferred: --help needs none of it

    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"{file.parent} is no lab: there is no {file.name}", "name a folder with a lab.toml"
        ) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file}: is not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise MultiosError(f"{file}: {error.strerror}") from None
    try:
        return tomli.loads(text), text
    except tomli.TOMLDecodeError as error:
        raise InvalidInput(f"{file}: {error}", "correct the TOML there") from None


def _explained(file: Path, text: str, wrong: Wrong) -> InvalidInput:
    line = line_of(text, wrong.path)
    where = f"{file}, line {line}" if line else str(file)
    return InvalidInput(f"{where}: {wrong.path}: {wrong.what}", wrong.remedy)
