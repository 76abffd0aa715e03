"""Server-side apply on plain objects: who owns which field, what conflicts, what goes when it is not named any more.

Fields are paths. Objects are merged key by key, lists of objects by ``name`` (as containers, variables and volumes are),
other lists are one value.
"""

from __future__ import annotations

import copy
from typing import Any

Path = tuple[str, ...]


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every field that has no fields, by its path."""
    if isinstance(value, dict) and value:
        parts = dict(value)
    elif _is_by_name(value):
        parts = {f"[{item['name']}]": item for item in value}
    else:
        return {path: value}
    return {found: leaf for key, item in parts.items() for found, leaf in leaves(item, (*path, key)).items()}


def owned(manifest: dict[str, Any]) -> dict[Path, Any]:
    """What a manager that applies ``manifest`` owns."""
    fields = leaves({key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")})
    identity = (("metadata", "name"), ("metadata", "namespace"))
    return {path: value for path, value in fields.items() if path not in identity}


def conflicts(
    live: dict[str, Any], asked: dict[Path, Any], managers: dict[str, set[Path]], manager: str
) -> list[tuple[str, Path]]:
    """Managers and fields that they own and ``asked`` would change."""
    now = leaves(live)
    return [
        (other, path)
        for path, value in asked.items()
        for other, paths in managers.items()
        if other != manager and now.get(path, _ABSENT) != value and any(_overlap(path, own) for own in paths)
    ]


def merge(live: Any, asked: Any) -> Any:
    """``live`` with the fields of ``asked``."""
    if isinstance(live, dict) and isinstance(asked, dict):
        result = dict(live)
        for key, value in asked.items():
            result[key] = merge(live[key], value) if key in live else copy.deepcopy(value)
        return result
    if _is_by_name(live) and _is_by_name(asked):
        by_name = {item["name"]: item for item in live}
        for item in asked:
            by_name[item["name"]] = merge(by_name.get(item["name"], {}), item)
        return list(by_name.values())
    return copy.deepcopy(asked)


def remove(value: Any, path: Path) -> None:
    """Take the field away, and what is empty without it."""
    key, *rest = path
    if _is_by_name(value) or (isinstance(value, list) and key.startswith("[")):
        items = [item for item in value if f"[{item['name']}]" == key]
        for item in items:
            if rest:
                remove(item, tuple(rest))
            if not rest or set(item) <= {"name"}:
                value.remove(item)
        return
    if not isinstance(value, dict) or key not in value:
        return
    if not rest:
        del value[key]
        return
    remove(value[key], tuple(rest))
    if value[key] in ({}, []):
        del value[key]


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _is_by_name(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )


_ABSENT = object()
