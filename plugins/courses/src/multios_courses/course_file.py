"""``course.toml``, schema 1: read, checked, and every error with file, line and key.

Values are plain records; nothing here asks the daemon or the host.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import tomli

from multios.errors import InvalidInput, MultiosError, nearest
from multios.model.quantities import parse_cpus, parse_size
from multios.model.resources_section import MEMORY_FLOOR
from multios.toml_lines import line_of, path_of

Place = tuple[str | int, ...]
"""Keys and, for arrays of tables, positions: ``("templates", 0, "name")``."""

SCHEMA = 1
FILE = "course.toml"
POLICIES = ("none", "isolated", "shared", "open")
LARGEST_FILE = 1 << 20
MOST_ENTRIES = 100
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]{0,60}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LONGEST_TEXT = 500
_TIMES = ("opens", "due")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A distribution that the course needs, in exactly this version."""

    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Template:
    """What a student's machine is made from: a template with options, or an image. ``command`` is empty for the usual one."""

    name: str = ""
    image: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    lock: Path | None = None
    command: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The template's name, or the image's."""
        return self.name or self.image


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab by its folder. Dates are aware; ``None`` is: not said."""

    name: str
    path: Path
    opens: datetime.datetime | None = None
    due: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What one student's machines may come to together; ``None`` is: the engine's default for each. Sizes in bytes."""

    memory: int | None = None
    cpus: float | None = None
    disk: int | None = None
    processes: int | None = None
    containers: int | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """A checked ``course.toml``; paths are absolute."""

    file: Path
    name: str
    title: str
    version: str
    plugins: tuple[Plugin, ...]
    templates: tuple[Template, ...]
    labs: tuple[Lab, ...]
    quota: Quota
    policy: str
    begins: datetime.datetime | None
    ends: datetime.datetime | None
    roster: Path | None

    @property
    def folder(self) -> Path:
        """Where the course's files lie."""
        return self.file.parent


def find(path: str | Path) -> Path:
    """The course's file: ``path`` itself, or ``course.toml`` in the folder ``path``. Raises ``InvalidInput``."""
    found = Path(path)
    found = found / FILE if found.is_dir() else found
    if not found.is_file():
        raise InvalidInput(f"{found}: there is no such file", f"name a {FILE}, or the folder that has one")
    return found.absolute()


def load(path: str | Path) -> Course:
    """The course that a file or folder describes. Raises ``InvalidInput`` that names file, line and key."""
    file = find(path)
    with file.open("rb") as opened:
        data = opened.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise InvalidInput(f"{file}: it is larger than 1 MB", "a course's file has a few lines")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{file}:{number}: this is no UTF-8", "save the file as UTF-8") from None
    course = parse(text, file)
    return replace(course, labs=_called_as_they_call_themselves(course, text))


def _called_as_they_call_themselves(course: Course, text: str) -> tuple[Lab, ...]:
    """The labs, each by the name in its ``lab.toml``, which its machines have as a label. One that cannot be read keeps its name."""
    labs: list[Lab] = []
    for number, lab in enumerate(course.labs):
        own = _own_name(lab.path / "lab.toml") or lab.name
        where = f"{course.file}:{line(text, ('labs', number, 'name'))}: labs.name"
        if lab.name not in (own, lab.path.name):
            raise InvalidInput(
                f"{where}: the lab in {lab.path} calls itself {own!r}", "leave 'name' out here"
            )
        if any(other.name == own for other in labs):
            raise InvalidInput(f"{where}: there are two labs that call themselves {own!r}", "rename one")
        labs.append(replace(lab, name=own))
    return tuple(labs)


def _own_name(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            name = tomli.loads(opened.read(LARGEST_FILE).decode("utf-8")).get("name")
    except (OSError, ValueError, RecursionError):  # a wrong TOML and a wrong UTF-8 are ValueErrors
        return ""
    return name if isinstance(name, str) and _LABEL.fullmatch(name) else ""


def parse(text: str, file: Path) -> Course:
    """The course that ``text`` describes; ``file`` is what relative paths and errors refer to. Opens no other file."""
    try:
        document = tomli.loads(text.replace("\r\n", "\n"))
    except (tomli.TOMLDecodeError, RecursionError) as error:
        raise no_toml(file, error) from None
    table = _Table(document, (), text, file)
    schema = table.required("schema", _whole(1, 1_000_000))
    if schema != SCHEMA:
        raise table.wrong("schema", f"{schema} is not known", f"this version reads schema {SCHEMA}")
    network, dates = table.table("network"), table.table("dates")
    course = Course(
        file=file,
        name=table.required("name", _matching(_NAME, "lower case letters, digits and '-', at most 30")),
        title=table.required("title", _text),
        version=table.required("version", _matching(_VERSION, "a version such as 1.0")),
        plugins=tuple(_plugin(row) for row in table.rows("plugins")),
        templates=tuple(_template(row) for row in table.rows("templates")),
        labs=tuple(_lab(row) for row in table.rows("labs")),
        quota=_quota(table.table("quota")),
        policy=network.optional("policy", _one_of(POLICIES), "isolated"),
        begins=dates.optional("begins", _moment, None),
        ends=dates.optional("ends", _moment, None),
        roster=table.optional("roster", _path(file), None),
    )
    for rest in (network, dates, table):
        rest.refuse_others()
    _check_whole(course, table, dates)
    return course


def no_toml(file: Path, error: Exception) -> InvalidInput:
    """The refusal of a file that is no TOML, with the line that the parser named."""
    number = getattr(error, "lineno", None) or 1
    message = re.sub(r" \(at .*\)$", "", str(error)) or "this is no TOML"
    return InvalidInput(f"{file}:{number}: {message}", "see https://toml.io")


def _check_whole(course: Course, table: _Table, dates: _Table) -> None:
    """What fits line by line and not together."""
    if course.begins and course.ends and course.ends <= course.begins:
        raise dates.wrong("ends", "it is not after 'begins'", "correct one of the dates")
    for kind, names in (
        ("plugins", [plugin.distribution.lower().replace("_", "-") for plugin in course.plugins]),
        ("templates", [template.source for template in course.templates]),
        ("labs", [lab.name for lab in course.labs]),
    ):
        for position, name in enumerate(names):
            if (first := names.index(name)) != position:
                lines = [line(table.text, (kind, number)) for number in (first, position)]
                raise InvalidInput(
                    f"{course.file}:{lines[1]}: {kind}: {name!r} stands in line {lines[0]} already",
                    "leave one of them out",
                )
    memory, machines = course.quota.memory, len(course.templates) or 1
    if memory is not None and memory // machines < MEMORY_FLOOR:
        shares = f"{machines} machines share" if machines > 1 else "a machine has"
        where = ("quota", "memory")
        raise InvalidInput(
            f"{course.file}:{line(table.text, where)}: quota.memory: {shares} {memory} bytes, and each needs {MEMORY_FLOOR}",
            f"write at least {machines * MEMORY_FLOOR >> 20}MB",
        )
    most = course.quota.containers
    if most is not None and len(course.templates) > most:
        where = ("quota", "containers")
        raise InvalidInput(
            f"{course.file}:{line(table.text, where)}: quota.containers: {most} is less than the "
            f"{len(course.templates)} templates, each of which is a machine of every student",
            f"write at least {len(course.templates)}",
        )


def line(text: str, place: Place) -> int:
    """Where the key at ``place`` is written, or the nearest table around it; else the file's first line."""
    return line_of(text, path_of(place)) or 1


def _plugin(table: _Table) -> Plugin:
    found = Plugin(
        table.required("distribution", _matching(_DISTRIBUTION, "a distribution's name, as pip knows it")),
        table.required("version", _matching(_VERSION, "an exact version such as 0.1.0")),
    )
    table.refuse_others()
    return found


def _template(table: _Table) -> Template:
    found = Template(
        name=table.optional("name", _matching(_LABEL, "a template's name"), ""),
        image=table.optional("image", _text, ""),
        options=table.optional("options", _options, {}),
        lock=table.optional("lock", _path(table.file), None),
        command=table.optional("command", _words, ()),
    )
    table.refuse_others()
    if bool(found.name) == bool(found.image):
        raise table.wrong("name", "give a template's 'name', or an 'image'", "write exactly one of the two")
    if found.image and (found.options or found.lock):
        key = "options" if found.options else "lock"
        raise table.wrong(key, "an image has none", "leave it out, or name a template")
    return found


def _lab(table: _Table) -> Lab:
    path = table.required("path", _path(table.file))
    found = Lab(
        name=table.optional("name", _matching(_LABEL, "letters, digits, '_', '.' and '-'"), path.name),
        path=path,
        **{key: table.optional(key, _moment, None) for key in _TIMES},
    )
    table.refuse_others()
    if found.opens and found.due and found.due <= found.opens:
        raise table.wrong("due", "it is not after 'opens'", "correct one of the dates")
    return found


def _quota(table: _Table) -> Quota:
    found = Quota(
        memory=table.optional("memory", parse_size, None),
        cpus=table.optional("cpus", parse_cpus, None),
        disk=table.optional("disk", parse_size, None),
        processes=table.optional("processes", _whole(1, 1_000_000), None),
        containers=table.optional("containers", _whole(1, MOST_ENTRIES), None),
    )
    table.refuse_others()
    return found


# --- values: each reader gets the value and its key, and raises InvalidInput or ValueError ------------------------


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
        raise ValueError(f"must be text, at most {_LONGEST_TEXT} characters")
    if not value.isprintable():
        raise ValueError("must be text on one line, without control characters")
    return value


def _matching(pattern: re.Pattern[str], meaning: str) -> Callable[[Any, str], str]:
    def read(value: Any, key: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{_shown(value)} is not valid: {meaning}")
        return value

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[Any, str], str]:
    def read(value: Any, key: str) -> str:
        if value not in choices:
            guess = nearest(str(value)[:100], list(choices))
            hint = f", did you mean {guess!r}?" if guess else ""
            raise ValueError(f"{_shown(value)} is not one of {', '.join(choices)}{hint}")
        return str(value)

    return read


def _whole(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: Any, key: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{_shown(value)} is no whole number from {least} to {most}")
        return value

    return read


def _words(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(value) > MOST_ENTRIES:
        raise ValueError("must be a list of words")
    return tuple(_text(word, key) for word in value)


def _options(value: Any, key: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise ValueError("must be a table")
    options = {}
    for name, item in value.items():
        if type(item) not in (str, int, bool):
            raise ValueError(f"{name}: {_shown(item)} is no text, number, true or false")
        options[name] = item if isinstance(item, str) else str(item).lower()
    return options


def _path(file: Path) -> Callable[[Any, str], Path]:
    """A reader of paths inside the course's folder."""

    def read(value: Any, key: str) -> Path:
        text = _text(value, key)
        pure = PurePosixPath(text)
        if pure.is_absolute() or ".." in pure.parts or "\\" in text or not pure.parts:
            raise ValueError(f"{_shown(value)} leads out of the course's folder: write a path below it")
        return file.parent / pure

    return read


def _moment(value: Any, key: str) -> datetime.datetime:
    """A date, or a date with a time; without an offset the host's own time zone, a date alone its first moment."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{_shown(value)} is no date: write 2026-10-01 or 2026-10-01T08:00:00") from None
    if isinstance(value, datetime.datetime):
        moment = value
    elif isinstance(value, datetime.date):
        moment = datetime.datetime(value.year, value.month, value.day)
    else:
        raise ValueError(f"{_shown(value)} is no date: write 2026-10-01 or 2026-10-01T08:00:00")
    if not 1971 <= moment.year <= 9000:
        raise ValueError("the year is out of bounds")
    return moment if moment.tzinfo else moment.astimezone()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Table:
    """A table of the file: hands out each key once, and refuses what nobody asked for."""

    def __init__(self, values: Mapping[str, Any], place: Place, text: str, file: Path) -> None:
        self._values, self._place = values, place
        self.text, self.file = text, file
        self._known: list[str] = []

    def wrong(self, key: str, cause: str, remedy: str) -> InvalidInput:
        """The refusal of what stands at ``key``."""
        place = (*self._place, key)
        name = ".".join(str(part) for part in place if isinstance(part, str))
        return InvalidInput(f"{self.file}:{line(self.text, place)}: {name}: {cause}", remedy)

    def required(self, key: str, read: Callable[[Any, str], Any]) -> Any:
        """The value at ``key``, which must be there."""
        if key not in self._values:
            raise self.wrong(key, "it is missing", f"add the line {key} = …")
        return self.optional(key, read, None)

    def optional(self, key: str, read: Callable[[Any, str], Any], default: Any) -> Any:
        """The value at ``key``, or ``default``."""
        self._known.append(key)
        if key not in self._values:
            return default
        try:
            return read(self._values[key], key)
        except ValueError as error:
            raise self.wrong(key, str(error), "correct this line") from None
        except MultiosError as error:  # of the engine's own readers, which begin with the key
            raise self.wrong(key, error.cause.removeprefix(f"{key}: "), error.remedy) from None

    def table(self, key: str) -> _Table:
        """The table ``[key]``; absent is empty."""
        self._known.append(key)
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "this must be a table", f"write [{key}]")
        return _Table(value, (*self._place, key), self.text, self.file)

    def rows(self, key: str) -> list[_Table]:
        """The tables ``[[key]]``."""
        self._known.append(key)
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise self.wrong(key, "this must be an array of tables", f"write [[{key}]]")
        if len(value) > MOST_ENTRIES:
            raise self.wrong(key, f"there are {len(value)}", f"at most {MOST_ENTRIES}")
        return [
            _Table(row, (*self._place, key, number), self.text, self.file) for number, row in enumerate(value)
        ]

    def refuse_others(self) -> None:
        """Raise ``InvalidInput`` for a key that nobody asked for, with the nearest one that there is."""
        for key in self._values:
            if key not in self._known:
                guess = nearest(key, self._known)
                remedy = f"did you mean {guess!r}?" if guess else f"valid: {', '.join(sorted(self._known))}"
                raise self.wrong(key, "no such key", remedy)
