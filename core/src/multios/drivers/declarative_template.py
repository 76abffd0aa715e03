"""Templates that are a ``template.toml`` and a ``lesson.md`` in a Python package.

The driver of such a template is a few lines::

    class PythonLearning(DeclarativeTemplate):
        name = "python-learning"
        package = __name__

``template.toml`` has the fields of :class:`~multios.model.template.TemplatePlan` (``name`` and ``version`` included),
``[resources]``, ``[security]`` (``seccomp_profile``), ``[[ports]]``, ``[environment]``, ``[files]`` and ``[labels]`` as tables, ``[[parameters]]`` and ``[[checks]]``
with the fields of their records, and ``[[variants]]``: ``when`` (parameter to the values it is for) with the
``steps`` that replace the usual ones; the first that fits counts. ``{{name}}`` stands for a parameter's value: in steps
quoted for the shell, elsewhere as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, ClassVar

from multios import typed_table
from multios.drivers.base import DriverContext
from multios.drivers.template import TemplateDriver
from multios.errors import InvalidInput, nearest
from multios.model.container import Resources
from multios.model.network import PortMapping
from multios.model.quantities import parse_cpus, parse_size
from multios.model.reference import parse as parse_reference
from multios.model.template import Check, Parameter, TemplatePlan

_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_LONGEST_VALUE = 200


def _texts(value: Any, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidInput(f"{where}: must be a table of text")
    return value


def _security(value: Any, where: str) -> Mapping[str, str]:
    table = _texts(value, where)
    for name in table:
        if name != "seccomp_profile":
            raise typed_table.unknown_key(name, ["seccomp_profile"], f"{where}.")
    return table


def _choices(value: Any, where: str) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not all(isinstance(item, list) for item in value.values()):
        raise InvalidInput(f"{where}: must be a table of lists")
    return {name: tuple(map(str, item)) for name, item in value.items()}


def _resources(value: Any, where: str) -> Resources:
    table = dict(_table(value, where))
    for name, parse in (("cpu_limit", parse_cpus), ("memory_limit", parse_size), ("disk_limit", parse_size)):
        if name in table:
            table[name] = parse(table[name], f"{where}.{name}")
    return typed_table.read(Resources, table, f"{where}.")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: must be a table")
    return value


def _rows(kind: type[Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    """A reader of an array of tables, each a record of ``kind``."""

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidInput(f"{where}: must be an array of tables")
        rows = [
            (_table(row, f"{where}[{number}]"), f"{where}[{number}].") for number, row in enumerate(value)
        ]
        try:
            return tuple(typed_table.read(kind, row, name) for row, name in rows)
        except TypeError as error:  # a required field is absent
            raise InvalidInput(f"{where}: {error}") from error

    return read


def _read_with(parse: Callable[[Any, str], Any]) -> dict[str, Any]:
    return {"parse": parse}


@dataclass(frozen=True, slots=True)
class Variant:
    """Other steps for some values of parameters."""

    steps: tuple[str, ...]
    when: Mapping[str, tuple[str, ...]] = field(metadata=_read_with(_choices))


@dataclass(frozen=True, slots=True)
class Document:
    """``template.toml`` as written."""

    name: str
    version: str
    description: str
    base: str
    steps: tuple[str, ...] = ()
    command: tuple[str, ...] = ("/bin/bash",)
    working_directory: str = "/root"
    capabilities: tuple[str, ...] = ()
    security: Mapping[str, str] = field(default_factory=dict, metadata=_read_with(_security))
    files: Mapping[str, str] = field(default_factory=dict, metadata=_read_with(_texts))
    environment: Mapping[str, str] = field(default_factory=dict, metadata=_read_with(_texts))
    labels: Mapping[str, str] = field(default_factory=dict, metadata=_read_with(_texts))
    resources: Resources = field(default=Resources(), metadata=_read_with(_resources))
    ports: tuple[PortMapping, ...] = field(default=(), metadata=_read_with(_rows(PortMapping)))
    parameters: tuple[Parameter, ...] = field(default=(), metadata=_read_with(_rows(Parameter)))
    checks: tuple[Check, ...] = field(default=(), metadata=_read_with(_rows(Check)))
    variants: tuple[Variant, ...] = field(default=(), metadata=_read_with(_rows(Variant)))

    def __post_init__(self) -> None:
        known = {parameter.name for parameter in self.parameters}
        texts = [self.base, *self.steps, *self.files.values(), *self.environment.values()]
        texts += [step for variant in self.variants for step in variant.steps]
        used = {name for text in texts for name in _PLACEHOLDER.findall(text)}
        used |= {name for variant in self.variants for name in variant.when}
        if unknown := used - known:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such parameter")
        for parameter in self.parameters:
            if parameter.choices and parameter.default not in parameter.choices:
                raise ValueError(f"parameter {parameter.name}: its default is none of its choices")


class DeclarativeTemplate(TemplateDriver):
    """A template read from the files of ``package``."""

    package: ClassVar[str]

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._document = read(self._file("template.toml"), f"{self.package}/template.toml")

    def parameters(self) -> tuple[Parameter, ...]:
        return self._document.parameters

    def checks(self) -> tuple[Check, ...]:
        return self._document.checks

    def lesson(self) -> str:
        return self._file("lesson.md")

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        return render(self._document, values)

    def _file(self, name: str) -> str:
        return resources.files(self.package).joinpath(name).read_text(encoding="utf-8")


def read(text: str, where: str) -> Document:
    """The document that the TOML ``text`` is; ``InvalidInput`` that begins with ``where`` and names the field."""
    import tomli  # deferred: only the daemon reads templates

    try:
        return typed_table.read(Document, tomli.loads(text), f"{where}: ")
    except tomli.TOMLDecodeError as error:
        raise InvalidInput(f"{where}: not TOML: {error}") from error
    except TypeError as error:  # a required field is absent
        raise InvalidInput(f"{where}: {error}") from error


def render(document: Document, values: Mapping[str, str]) -> TemplatePlan:
    """The plan for these values; ``InvalidInput`` names an unknown option or one out of bounds."""
    chosen = _checked(document, values)
    steps = document.steps
    for variant in document.variants:
        if all(chosen[name] in fitting for name, fitting in variant.when.items()):
            steps = variant.steps
            break
    quoted = {name: shlex.quote(value) for name, value in chosen.items()}
    base = _filled(document.base, chosen)
    parse_reference(base)
    return TemplatePlan(
        name=document.name,
        version=document.version,
        description=document.description,
        base=base,
        steps=tuple(_filled(step, quoted).strip() for step in steps),
        files={path: _filled(text, chosen) for path, text in document.files.items()},
        command=document.command,
        environment={name: _filled(text, chosen) for name, text in document.environment.items()},
        working_directory=document.working_directory,
        resources=document.resources,
        ports=document.ports,
        capabilities=document.capabilities,
        seccomp_profile=document.security.get("seccomp_profile", ""),
        labels=document.labels,
    )


def _checked(document: Document, values: Mapping[str, str]) -> dict[str, str]:
    parameters = {parameter.name: parameter for parameter in document.parameters}
    chosen = {name: parameter.default for name, parameter in parameters.items()}
    for name, value in values.items():
        if name not in parameters:
            guess = nearest(name, list(parameters))
            listed = ", ".join(parameters) or "it has none"
            raise InvalidInput(
                f"template {document.name!r} has no option {name!r}",
                f"did you mean {guess!r}?" if guess else f"options: {listed}",
            )
        choices = parameters[name].choices
        if choices and value not in choices:
            guess = nearest(value, list(choices))
            hint = f"did you mean {guess!r}? " if guess else ""
            raise InvalidInput(
                f"template {document.name!r}, option {name!r}: {value!r} is not a choice",
                f"{hint}choices: {', '.join(choices)}",
            )
        if len(value) > _LONGEST_VALUE or not value.isprintable():
            raise InvalidInput(
                f"template {document.name!r}, option {name!r}: too long or not printable",
                f"at most {_LONGEST_VALUE} characters in one line",
            )
        chosen[name] = value
    return chosen


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
