"""``post_start`` and ``pre_stop``: commands that are run in a service's containers."""

from __future__ import annotations

from multios.compose import quantities
from multios.compose.environment import resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.compose.field import Field

KINDS = ("post_start", "pre_stop")
_MOST = 32


def hooks(field: Field, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """``services.NAME.post_start`` or ``pre_stop`` of the app document."""
    items = field.items()
    if len(items) > _MOST:
        raise field.error(f"there are more than {_MOST} commands", "put them into a script")
    return [_hook(item, variables) for item in items]


def _hook(field: Field, variables: Mapping[str, str]) -> dict[str, Any]:
    keys = field.table("post_start and pre_stop")
    if "command" not in keys or not (command := quantities.words(keys["command"])):
        raise field.error("command is missing", "say what to run")
    found: dict[str, Any] = {"command": command}
    if "user" in keys:
        found["user"] = keys["user"].text()
    if "working_dir" in keys:
        found["working_directory"] = keys["working_dir"].text()
        if not found["working_directory"].startswith("/"):
            raise keys["working_dir"].expected("an absolute path")
    if "environment" in keys and (variables_of := resolved(keys["environment"], variables)):
        found["environment"] = variables_of
    return found
