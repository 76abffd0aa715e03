"""Is this class what its kind's contract asks for? Answered with the signature and the offending argument."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

from multios.drivers.base import Capability, Driver

_CLASSES = {
    "isolation": "IsolationDriver",
    "storage": "StorageDriver",
    "network": "NetworkDriver",
    "security": "SecurityDriver",
    "template": "TemplateDriver",
    "template_converter": "TemplateConverterDriver",
    "image_source": "ImageSourceDriver",
    "orchestrator": "OrchestratorDriver",
}


class Mismatch(Exception):
    """Why a class does not fulfil its contract, in one line."""


def contract_class(kind: str) -> type[Driver]:
    """The contract of a driver kind."""
    module = importlib.import_module(f"multios.drivers.{kind}")
    found: type[Driver] = getattr(module, _CLASSES[kind])
    return found


def check(kind: str, name: str, candidate: Any) -> type[Driver]:
    """``candidate`` as a driver class of ``kind``. Raises :class:`Mismatch`."""
    contract = contract_class(kind)
    if not isinstance(candidate, type):
        raise Mismatch(f"{candidate!r} is no class")
    if not issubclass(candidate, contract):
        raise Mismatch(
            f"{candidate.__qualname__} is no subclass of {contract.__module__}.{contract.__qualname__}"
        )
    if getattr(candidate, "name", None) != name:
        raise Mismatch(
            f"its class says name = {getattr(candidate, 'name', None)!r}, its entry point {name!r}"
        )
    _check_attributes(candidate)
    _check_methods(contract, candidate)
    return candidate


def methods(contract: type) -> dict[str, Any]:
    """The public functions and class methods that a contract defines, its bases' included."""
    found: dict[str, Any] = {}
    for base in reversed(contract.__mro__[:-1]):
        found.update({name: item for name, item in vars(base).items() if not name.startswith("_")})
    return {
        name: item
        for name, item in found.items()
        if inspect.isfunction(item) or isinstance(item, classmethod)
    }


def _check_attributes(candidate: type[Driver]) -> None:
    settings = candidate.Settings
    if not (isinstance(settings, type) and dataclasses.is_dataclass(settings)):
        raise Mismatch("Settings is no dataclass")
    if not settings.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Mismatch("Settings is no frozen dataclass")
    for item in dataclasses.fields(settings):
        if item.init and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise Mismatch(f"Settings.{item.name} has no default")
    odd = [item for item in candidate.capabilities if not isinstance(item, Capability)]
    if odd:
        raise Mismatch(f"{odd[0]!r} among its capabilities is no multios.drivers.base.Capability")


def _check_methods(contract: type[Driver], candidate: type[Driver]) -> None:
    for name, wanted in methods(contract).items():
        given = inspect.getattr_static(candidate, name)
        if given is wanted:
            if getattr(wanted, "__isabstractmethod__", False):
                raise Mismatch(f"{name}() is missing; the contract says {_shown(name, wanted)}")
            continue
        if not (inspect.isfunction(given) or isinstance(given, (classmethod, staticmethod))):
            raise Mismatch(f"{name} is no method; the contract says {_shown(name, wanted)}")
        if problem := _difference(wanted, given):
            raise Mismatch(f"{_shown(name, given)} {problem}; the contract says {_shown(name, wanted)}")
    if problem := _difference(Driver.__init__, candidate.__init__):
        raise Mismatch(f"{_shown('__init__', candidate.__init__)} {problem}")


def _difference(wanted: Any, given: Any) -> str:
    """What is wrong with ``given`` where ``wanted`` is called, empty if nothing."""
    asked, offered = _parameters(wanted), _parameters(given)
    kinds = {item.kind for item in offered.values()}
    anything = inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD in kinds
    named = [item for item in offered.values() if item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for position, argument in enumerate(asked.values()):
        if anything:
            continue
        if argument.name not in offered:
            return f"lacks the argument {argument.name!r}"
        if position >= len(named) or named[position].name != argument.name:
            return f"has the argument {argument.name!r} in another place"
        optional = argument.default is not inspect.Parameter.empty
        if optional and offered[argument.name].default is inspect.Parameter.empty:
            return f"has no default for {argument.name!r}"
    for item in offered.values():
        extra = item.name not in asked and item.default is inspect.Parameter.empty
        if extra and item.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            return f"asks for {item.name!r}, which nobody gives"
    return ""


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters a caller gives: without ``self`` or ``cls``."""
    static = isinstance(function, staticmethod)
    plain = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    parameters = list(inspect.signature(plain).parameters.values())
    bound = parameters if static else parameters[1:]
    if not static and parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        bound = parameters
    return {item.name: item for item in bound}


def _shown(name: str, function: Any) -> str:
    return f"{name}({', '.join(str(item) for item in _parameters(function).values())})"
