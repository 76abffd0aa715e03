"""``index.json``: the templates that a folder or a web server has. It comes from elsewhere and is read with distrust.

Every refusal begins with file, entry and key: ``/srv/templates/index.json: templates[3].sha256: …``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from multios import typed_table
from multios.errors import InvalidInput, NotFound, unknown
from multios.model import reference
from multios.template_format import rules

SCHEMA = 1
FILE = "index.json"
LARGEST = 4 << 20
"""Of the file, in bytes."""
MOST_TEMPLATES = 5000
LARGEST_ARCHIVE = 320 << 20
"""Of a template's archive, in bytes: more than a template may have in files."""
LONGEST_TEXT = 500
PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "write the index again: multios-container template index DIRECTORY"
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_WORDS = re.compile(r"[0-9]+|[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a template: ``file`` with its digest and size, or a registry's ``reference`` with its digest in it.

    ``base`` is the image where no option chooses another.
    """

    name: str
    version: str
    description: str
    license: str
    base: str
    file: str = ""
    sha256: str = ""
    size: int = 0
    reference: str = ""

    @property
    def order(self) -> tuple[Any, ...]:
        """By name, then from the oldest version to the newest."""
        return self.name, version_key(self.version)


def _entries(value: Any, where: str) -> tuple[Entry, ...]:
    if not isinstance(value, list):
        raise InvalidInput(f"{where}: must be a list", _REMEDY)
    if len(value) > MOST_TEMPLATES:
        raise InvalidInput(f"{where}: more than {MOST_TEMPLATES} templates", "keep them in several indexes")
    found = tuple(_entry(row, f"{where}[{number}]") for number, row in enumerate(value))
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(found):
        if (entry.name, entry.version) in seen:
            raise InvalidInput(
                f"{where}[{number}].version: {entry.name} {entry.version} is there twice", _REMEDY
            )
        seen.add((entry.name, entry.version))
    return found


@dataclass(frozen=True, slots=True)
class Index:
    """The document."""

    schema: int
    templates: tuple[Entry, ...] = field(metadata={"parse": _entries})


def read(data: bytes, where: str) -> tuple[Entry, ...]:
    """The templates of the index ``data``; ``InvalidInput`` that begins with ``where`` for anything that is not as it must be."""
    if len(data) > LARGEST:
        raise InvalidInput(
            f"{where}: larger than {LARGEST >> 20} MiB", "keep the templates in several indexes"
        )
    try:
        table = json.loads(data.decode(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{where}:{error.lineno}: not JSON: {error.msg}", _REMEDY) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where}: not JSON: {str(error)[:200]}", _REMEDY) from None
    if isinstance(table, dict) and table.get("schema", SCHEMA) != SCHEMA:
        raise InvalidInput(f"{where}: schema: not known here", f"this version reads schema {SCHEMA}")
    index: Index = _record(Index, table, f"{where}: ", "")
    return index.templates


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("an object has a key twice")
    return table


def _record(kind: type[Any], table: Any, where: str, path: str) -> Any:
    """The record of ``kind`` that an object is. ``where`` and ``path`` begin every error."""
    known = [item.name for item in typed_table.fields(kind)]
    if not isinstance(table, dict):
        raise InvalidInput(f"{where}{path.rstrip('.') or FILE}: must be an object", _REMEDY)
    for key in table:
        if key not in known:
            raise InvalidInput(
                f"{where}{path}{ascii(key[:60])[1:-1]}: no such key", f"there are {', '.join(known)}"
            )
    for key in typed_table.missing(kind, table):
        raise InvalidInput(f"{where}{path}{key}: is missing", _REMEDY)
    return typed_table.read(kind, table, f"{where}{path}")


def _entry(row: Any, where: str) -> Entry:
    entry: Entry = _record(Entry, row, "", f"{where}.")
    try:
        _check(entry)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error.cause}", error.remedy) from None
    return entry


def _check(entry: Entry) -> None:
    for key, value in asdict(entry).items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise InvalidInput(f"{key}: is longer than {LONGEST_TEXT} characters", _REMEDY)
    rules.check_head(entry)
    if entry.reference:
        _check_reference(entry)
        return
    if not PATH.fullmatch(entry.file):
        raise InvalidInput(
            f"file: {entry.file!r} is no plain path below the index", "do not trust where it came from"
        )
    if not SHA256.fullmatch(entry.sha256):
        raise InvalidInput("sha256: must be 64 hexadecimal digits", _REMEDY)
    if not 0 < entry.size <= LARGEST_ARCHIVE:
        raise InvalidInput(f"size: must be 1 to {LARGEST_ARCHIVE} bytes", _REMEDY)


def _check_reference(entry: Entry) -> None:
    if entry.file or entry.sha256 or entry.size:
        raise InvalidInput("reference: goes with neither file, sha256 nor size", "write one or the other")
    try:
        named = reference.parse(entry.reference)
    except InvalidInput as error:
        raise InvalidInput(f"reference: {error.cause}", error.remedy) from None
    if not named.domain or not named.digest:
        raise InvalidInput(
            f"reference: {entry.reference!r} does not say registry and digest",
            "write registry.example.org/templates/name@sha256:…, as template publish prints it",
        )


def text(templates: Iterable[Entry]) -> str:
    """The file that has these templates, the same for the same ones in any order."""
    rows = [
        {key: value for key, value in asdict(entry).items() if value}
        for entry in sorted(templates, key=lambda entry: entry.order)
    ]
    return json.dumps({"schema": SCHEMA, "templates": rows}, indent=2, ensure_ascii=False) + "\n"


# --- choosing -------------------------------------------------------------------------------------


def version_key(version: str) -> tuple[Any, ...]:
    """What versions are ordered by: numbers as numbers; ``1.0rc1`` and ``1.0-beta`` come before ``1.0``, ``1.0+x`` after."""
    match = _NUMBERS.match(version)
    head = match[0] if match else ""
    numbers = [int(part) for part in head.split(".")] if head else []
    while numbers and numbers[-1] == 0:  # 1.0 is 1
        numbers.pop()
    rest = version[len(head) :]
    words = _WORDS.findall(rest)
    is_early = bool(words) and words[0].isalpha() and words[0] != "post" and rest[0] != "+"
    tail = tuple((1, int(word), "") if word.isdigit() else (0, 0, word) for word in words)
    return tuple(numbers), -1 if is_early else int(bool(rest)), tail, version


def parse_wanted(wanted: str) -> tuple[str, str]:
    """``NAME[==VERSION]`` as its parts; the version is empty where none is said."""
    name, pinned, version = wanted.partition("==")
    rules.check_name(name, "template")
    if pinned and not rules.VERSION.fullmatch(version[:LONGEST_TEXT]):
        raise InvalidInput(f"template: {version[:80]!r} is no version", "write NAME==1.0")
    return name, version


def newest(templates: Iterable[Entry]) -> list[Entry]:
    """The newest version of each name."""
    found = {entry.name: entry for entry in sorted(templates, key=lambda entry: entry.order)}
    return list(found.values())


def choose(templates: Sequence[Entry], name: str, version: str, where: str) -> Entry | None:
    """The newest version of a name, or the one that is asked for; ``None`` where the index has no such name.

    Raises ``NotFound`` where it has the name, but not that version.
    """
    called = sorted((entry for entry in templates if entry.name == name), key=lambda entry: entry.order)
    if not version or not called:
        return called[-1] if called else None
    for entry in called:
        if entry.version == version:
            return entry
    has = ", ".join(entry.version for entry in called[-10:])
    raise NotFound(f"{where} has no version {version} of {name}", f"it has {has}")


def not_found(name: str, indexes: Mapping[str, Sequence[Entry]]) -> NotFound:
    """The refusal of a name that no index has."""
    names = sorted({entry.name for templates in indexes.values() for entry in templates})
    return unknown("template in " + ", ".join(indexes), name, names, "see template search")
