"""The environment and the labels of services, which files may hold."""

from __future__ import annotations

import os

from multios.compose import dotenv
from multios.compose.sources import read_text
from multios.compose.tree import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from multios.compose.field import Field


def environment(service: dict[str, Field], variables: Mapping[str, str]) -> dict[str, str]:
    """``environment`` over ``env_file``; what has no value has the caller's, or is left out."""
    found = _files(service["env_file"], variables) if "env_file" in service else {}
    for name, field in service["environment"].pairs().items() if "environment" in service else []:
        if not name or "=" in name or "\0" in name:
            raise field.error(f"{name[:80]!r} is no variable's name", "write NAME: value")
        if field.value is not None:
            found[name] = field.scalar()
        elif name in variables:
            found[name] = variables[name]
        else:
            found.pop(name, None)
    return found


def resolved(field: Field, variables: Mapping[str, str]) -> dict[str, str]:
    """Pairs such as ``build.args``: what has no value has the caller's, or is left out."""
    pairs = {
        name: variables.get(name) if item.value is None else item.scalar()
        for name, item in field.pairs().items()
    }
    return {name: value for name, value in pairs.items() if value is not None}


def labels(service: dict[str, Field], variables: Mapping[str, str]) -> dict[str, str]:
    """``labels`` over ``label_file``."""
    found = _files(service["label_file"], variables) if "label_file" in service else {}
    return found | (service["labels"].texts() if "labels" in service else {})


def _files(field: Field, variables: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in field.some():
        path_field, is_required, is_raw = item, True, False
        if isinstance(item.value, Table):
            keys = item.table("env_file")
            if "path" not in keys:
                raise item.error("path is missing", "name the file")
            path_field = keys["path"]
            is_required = keys["required"].flag() if "required" in keys else True
            is_raw = "format" in keys and keys["format"].one_of("raw") == "raw"
        path = path_field.text()
        if not is_required and not os.path.exists(path):
            continue
        text = read_text(path, path, path_field.place, path_field.path)
        found |= dotenv.parse_raw(text, path) if is_raw else dotenv.parse(text, path, variables, found)
    return found
