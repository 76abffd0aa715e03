"""``template.toml`` as records, each value of the right type; what the values must be among themselves is in ``rules.py``.

Every refusal begins with file, line and key: ``template.toml:12: checks[0].timeout: …``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from multios import toml_lines, typed_table
from multios.errors import InvalidInput
from multios.model.container import Resources
from multios.model.quantities import parse_cpus, parse_size
from multios.model.template import Check, Parameter, Service, TemplatePort
from multios.template_format import rules

SCHEMA = 1
LARGEST_TEXT = 256 * 1024
"""Of ``template.toml`` and of ``lesson.md``, in bytes."""


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: must be a table", f"write [{where}] and keys below it")
    return value


def _record(kind: type[Any], value: Any, where: str) -> Any:
    """The record of ``kind`` that the table ``value`` is; the keys of its fields without a default must be there."""
    table = _table(value, where)
    try:
        return typed_table.read(kind, table, f"{where}." if where else "")
    except TypeError:
        path = (f"{where}." if where else "") + typed_table.missing(kind, table)[0]
        raise InvalidInput(f"{path}: is missing", _REQUIRED.get(path, "every one needs it")) from None


_REQUIRED = {
    "schema": f"write schema = {SCHEMA} at the top",
    "license": 'write what others may do with it, as SPDX does: license = "MIT"',
    "base": 'write the image that it is built on: base = "debian:12"',
}


def _rows(kind: type[Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    """A reader of an array of tables, each a record of ``kind``."""

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidInput(f"{where}: must be an array of tables", f"write [[{where}]]")
        return tuple(_record(kind, row, f"{where}[{number}]") for number, row in enumerate(value))

    return read


def _texts(value: Any, where: str) -> Mapping[str, str]:
    for key, text in _table(value, where).items():
        if not isinstance(text, str):
            raise InvalidInput(f"{where}.{toml_lines.written(key)}: must be text", "put it in quotes")
    return dict(value)


def _lists(value: Any, where: str) -> Mapping[str, tuple[str, ...]]:
    """A table of lists; whole numbers, true and false are taken as the text that an option has for them."""
    found = {}
    for key, items in _table(value, where).items():
        path = f"{where}.{toml_lines.written(key)}"
        if not isinstance(items, list):
            raise InvalidInput(f"{path}: must be a list", f'for example {key} = ["…"]')
        found[key] = tuple(_option_text(item, f"{path}[{number}]") for number, item in enumerate(items))
    return found


def _option_text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: must be text, a whole number, true or false", "put it in quotes")
    return value


def _resources(value: Any, where: str) -> Resources:
    table = dict(_table(value, where))
    for name, parse in (("cpu_limit", parse_cpus), ("memory_limit", parse_size), ("disk_limit", parse_size)):
        if name in table:
            table[name] = parse(table[name], f"{where}.{name}")
    found: Resources = _record(Resources, table, where)
    return found


def _parsed(parse: Callable[[Any, str], Any]) -> dict[str, Any]:
    return {"parse": parse}


@dataclass(frozen=True, slots=True)
class ParameterTable:
    """``[[parameters]]`` as written; ``default`` may be a number or a boolean."""

    name: str
    description: str
    default: str = field(metadata=_parsed(_option_text))
    type: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    def parameter(self) -> Parameter:
        """The option; a list of choices says its type."""
        kind = self.type or ("choice" if self.choices else "text")
        return Parameter(
            self.name, self.description, self.default, self.choices, kind, self.minimum, self.maximum
        )


def _parameters(value: Any, where: str) -> tuple[Parameter, ...]:
    return tuple(row.parameter() for row in _rows(ParameterTable)(value, where))


@dataclass(frozen=True, slots=True)
class Variant:
    """Other steps, and further services and checks, for some values of parameters."""

    steps: tuple[str, ...]
    when: Mapping[str, tuple[str, ...]] = field(metadata=_parsed(_lists))
    services: tuple[Service, ...] = field(default=(), metadata=_parsed(_rows(Service)))
    checks: tuple[Check, ...] = field(default=(), metadata=_parsed(_rows(Check)))


@dataclass(frozen=True, slots=True)
class Requests:
    """``[requests]``: what a container of it needs beyond the default."""

    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    network: str = ""
    seccomp_profile: str = ""


def _requests(value: Any, where: str) -> Requests:
    found: Requests = _record(Requests, value, where)
    return found


@dataclass(frozen=True, slots=True)
class Document:
    """``template.toml`` as written."""

    schema: int
    name: str
    version: str
    description: str
    license: str
    base: str
    steps: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = "/root"
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=_parsed(_lists))
    requests: Requests = field(default=Requests(), metadata=_parsed(_requests))
    files: Mapping[str, str] = field(default_factory=dict, metadata=_parsed(_texts))
    environment: Mapping[str, str] = field(default_factory=dict, metadata=_parsed(_texts))
    labels: Mapping[str, str] = field(default_factory=dict, metadata=_parsed(_texts))
    resources: Resources = field(default=Resources(), metadata=_parsed(_resources))
    ports: tuple[TemplatePort, ...] = field(default=(), metadata=_parsed(_rows(TemplatePort)))
    parameters: tuple[Parameter, ...] = field(default=(), metadata=_parsed(_parameters))
    services: tuple[Service, ...] = field(default=(), metadata=_parsed(_rows(Service)))
    checks: tuple[Check, ...] = field(default=(), metadata=_parsed(_rows(Check)))
    variants: tuple[Variant, ...] = field(default=(), metadata=_parsed(_rows(Variant)))


_MOVED = {
    "capabilities": "write it below [requests]",
    "security": "write seccomp_profile below [requests]",
    "devices": "write it below [requests]",
    "network": "write it below [requests]",
}


@lru_cache(maxsize=64)
def read(text: str, where: str) -> Document:
    """The document that the TOML ``text`` is; ``InvalidInput`` that begins with ``where``, the line and the key."""
    import tomli  # deferred: only the daemon reads templates

    if len(text) > LARGEST_TEXT:
        raise InvalidInput(f"{where}: larger than {LARGEST_TEXT >> 10} KiB", "put long files below rootfs/")
    try:
        table = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InvalidInput(f"{where}:{line}: not TOML: {error}", "see https://toml.io") from error
    try:
        return _checked(table)
    except InvalidInput as error:
        raise located(error, text, where) from None


def _checked(table: Mapping[str, Any]) -> Document:
    if table.get("schema", SCHEMA) != SCHEMA:
        raise InvalidInput(
            f"schema: {table['schema']!r} is not known here", f"this version reads schema = {SCHEMA}"
        )
    for key in table:
        if key in _MOVED:
            raise InvalidInput(f"{key}: no such setting", _MOVED[key])
    document: Document = _record(Document, table, "")
    rules.check(document)
    return document


def located(error: InvalidInput, text: str, where: str) -> InvalidInput:
    """The error with file and line before the key that it begins with."""
    known = toml_lines.lines(text)
    named = max((path for path in known if _begins(error.cause, path)), key=len, default="")
    line = known.get(named, 1)
    return InvalidInput(f"{where}:{line}: {error.cause}", error.remedy)


def _begins(cause: str, path: str) -> bool:
    return cause.startswith(path) and cause[len(path) : len(path) + 1] in (":", ".", "[")
