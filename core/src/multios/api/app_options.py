"""How an app is planned, applied and destroyed, from the parameters of a request, each checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multios.drivers.orchestrator import ApplyOptions, DestroyOptions, PlanOptions
from multios.errors import InvalidInput
from multios.model import app_document

BURST = 10
LONGEST_WAIT = 86_400
LARGEST_RATE = 10_000


def plan_options(params: Mapping[str, Any]) -> PlanOptions:
    """``services``, ``scale``, ``force_recreate``, ``no_recreate``, ``no_dependencies``, ``remove_orphans``, ``no_start``."""
    services, scale = params.get("services") or [], params.get("scale") or {}
    if not isinstance(services, list) or not all(isinstance(name, str) for name in services):
        raise InvalidInput("services: expected a list of names", "use a client of the same version")
    if not isinstance(scale, Mapping):
        raise InvalidInput("scale: expected numbers by service", "use a client of the same version")
    numbers = {
        str(name): _number(f"scale.{name}", count, app_document.MOST_REPLICAS) or 0
        for name, count in scale.items()
    }
    app_document.check_count(sum(numbers.values()), "scale")
    return PlanOptions(
        services=tuple(services),
        scale=numbers,
        force_recreate=bool(params.get("force_recreate")),
        no_recreate=bool(params.get("no_recreate")),
        no_dependencies=bool(params.get("no_dependencies")),
        remove_orphans=bool(params.get("remove_orphans")),
        start=not params.get("no_start"),
    )


def apply_options(params: Mapping[str, Any]) -> ApplyOptions:
    """``no_start``, ``rate``, ``burst``, ``timeout``, ``wait``."""
    return ApplyOptions(
        start=not params.get("no_start"),
        rate=float(_number("rate", params.get("rate"), LARGEST_RATE) or 0),
        burst=_number("burst", params.get("burst"), LARGEST_RATE) or BURST,
        stop_timeout=_number("timeout", params.get("timeout"), LONGEST_WAIT),
        wait=float(_number("wait", params.get("wait"), LONGEST_WAIT) or 0),
    )


def destroy_options(params: Mapping[str, Any]) -> DestroyOptions:
    """``volumes``, ``timeout``."""
    return DestroyOptions(
        bool(params.get("volumes")), _number("timeout", params.get("timeout"), LONGEST_WAIT)
    )


def _number(name: str, value: Any, most: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidInput(f"{name}: {value!r} is no number from 0 to {most}", f"give another {name}")
    return value
