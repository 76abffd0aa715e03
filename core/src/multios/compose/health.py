"""Health probes: ``healthcheck`` of the container document."""

from __future__ import annotations

from multios.compose import quantities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.compose.field import Field

_SHORTEST = 0.001
_MOST_RETRIES = 1000


def healthcheck(field: Field) -> dict[str, Any]:
    """What is said of the probe; empty for nothing. Durations are seconds; 0 is: as the image has it."""
    keys = field.table("healthcheck")
    if "disable" in keys and keys["disable"].flag():
        return {"test": ["NONE"]}
    found: dict[str, Any] = {}
    if "test" in keys:
        found["test"] = _test(keys["test"])
        if found["test"] == ["NONE"]:
            return found
    for key in ("interval", "timeout", "start_period", "start_interval"):
        if key in keys and (duration := quantities.seconds(keys[key])):
            if duration < _SHORTEST:
                raise keys[key].error("it is too short", "at least 1ms")
            found[key] = duration
    if "retries" in keys and (retries := keys["retries"].whole(0, _MOST_RETRIES)):
        found["retries"] = retries
    return found


def _test(field: Field) -> list[str]:
    if isinstance(field.value, str):
        if not field.value.strip():
            raise field.expected("a command")
        return ["CMD-SHELL", field.text()]
    words = [item.scalar() for item in field.items()]
    kind, rest = words[0] if words else "", words[1:]
    is_right = (kind == "NONE" and not rest) or (kind == "CMD" and rest and rest[0])
    if not is_right and not (kind == "CMD-SHELL" and len(rest) == 1 and rest[0].strip()):
        raise field.error("it is no test", 'write ["CMD", "PROGRAM", …], ["CMD-SHELL", "LINE"] or ["NONE"]')
    return words
