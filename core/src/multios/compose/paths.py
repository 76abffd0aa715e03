"""Relative paths in a file are made absolute before it is merged with others, because each begins at its own directory."""

from __future__ import annotations

import os

from multios.compose.tree import Items, Override, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_REMOTE = (
    "http://",
    "https://",
    "git://",
    "git@",
    "ssh://",
    "github.com/",
    "oci://",
    "docker-image://",
    "service:",
    "target:",
)
_HERE = ("./", "../", "~/", "/")


def absolute(path: str, directory: str) -> str:
    """``path`` as it is meant in ``directory``; ``~`` is the caller's home."""
    return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))


def is_remote(path: str) -> bool:
    """Whether something would have to be fetched."""
    return path.startswith(_REMOTE)


def is_path(source: str) -> bool:
    """Whether a mount's source is a path of the host rather than a volume's name."""
    return source.startswith(_HERE) or source in (".", "..", "~")


def resolve(document: Table, directory: str) -> Table:
    """A copy of a file's tree whose paths are absolute."""

    def path(value: Any) -> Any:
        return (
            absolute(value, directory) if isinstance(value, str) and value and not is_remote(value) else value
        )

    def mount(value: Any) -> Any:
        if isinstance(value, Table):
            is_bind = value.get("type") == "bind"
            return _with(value, {"source": path if is_bind else _unchanged})
        source, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        return f"{path(source)}:{rest}" if colon and is_path(source) else value

    def build(value: Any) -> Any:
        return _with(value, {"context": path}) if isinstance(value, Table) else path(value)

    def option(value: Any) -> Any:
        name, mark, rest = (
            value.partition("=" if "=" in str(value) else ":") if isinstance(value, str) else ("", "", "")
        )
        is_file = name == "seccomp" and (is_path(rest) or rest.endswith(".json"))
        return f"{name}{mark}{path(rest)}" if is_file else value

    def file_or_files(value: Any) -> Any:
        return _each(
            value, lambda item: _with(item, {"path": path}) if isinstance(item, Table) else path(item)
        )

    def include(value: Any) -> Any:
        keys = {"path": file_or_files, "env_file": file_or_files, "project_directory": path}
        return _with(value, keys) if isinstance(value, Table) else path(value)

    service = {
        "build": build,
        "env_file": file_or_files,
        "label_file": file_or_files,
        "extends": lambda value: _with(value, {"file": path}),
        "volumes": lambda value: _each(value, mount),
        "security_opt": lambda value: _each(value, option),
    }
    options = {
        "driver_opts": lambda value: _with(
            value, {"device": lambda item: path(item) if _is_local(value) else item}
        )
    }
    resolved: Table = _with(
        document,
        {
            "include": lambda value: _each(value, include),
            "services": lambda value: _all(value, lambda item: _with(item, service)),
            "volumes": lambda value: _all(value, lambda item: _with(item, options)),
            "configs": lambda value: _all(value, lambda item: _with(item, {"file": path})),
            "secrets": lambda value: _all(value, lambda item: _with(item, {"file": path})),
        },
    )
    return resolved


def with_contexts(document: Table, directory: str) -> Table:
    """A copy of a merged tree in which what is built without a context has ``directory``."""

    def build(value: Any) -> Any:
        if not isinstance(value, Table) or not value or value.get("context") is not None:
            return value
        copy = value.without()
        copy.put("context", directory, next(iter(value.places.values())))
        return copy

    found: Table = _with(
        document, {"services": lambda value: _all(value, lambda item: _with(item, {"build": build}))}
    )
    return found


def _is_local(options: Any) -> bool:
    return isinstance(options, Table) and "bind" in str(options.get("o", "")).split(",")


def _unchanged(value: Any) -> Any:
    return value


def _with(value: Any, changes: Mapping[str, Callable[[Any], Any]]) -> Any:
    """A copy of a mapping in which some keys' values are changed; anything else as it is."""
    if isinstance(value, Override):
        return Override(_with(value.value, changes))
    if not isinstance(value, Table) or not changes.keys() & value.keys():
        return value
    copy = value.without()
    for key in changes.keys() & value.keys():
        item = copy[key]
        changed = Override(changes[key](item.value)) if isinstance(item, Override) else changes[key](item)
        copy.put(key, changed, copy.places[key])
    return copy


def _all(value: Any, change: Callable[[Any], Any]) -> Any:
    return _with(value, dict.fromkeys(value, change)) if isinstance(value, Table) else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(value, Items):
        return change(value)
    copy = Items()
    for item, place in zip(value, value.places, strict=True):
        copy.add(change(item), place)
    return copy
