"""How a later file's values are laid over an earlier one's: the specification's rules for each key.

Mappings are merged and lists appended. What may be written as a list or as a mapping (``environment``) is merged as a
mapping; command lines are replaced; of two list entries for the same thing (a mount's target, a port) the later stands.
"""

from __future__ import annotations

from multios.compose.ports import identity as port_identity
from multios.compose.tree import Items, Override, Reset, Table, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.compose.tree import Place

_NAMED = ("services", "networks", "volumes", "configs", "secrets")
_REPLACED = (
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
    "services.*.extends",
)
_PAIRS = {
    "services.*.annotations": "=",
    "services.*.environment": "=",
    "services.*.labels": "=",
    "services.*.sysctls": "=",
    "services.*.extra_hosts": "=:",
    "services.*.build.args": "=",
    "services.*.build.labels": "=",
    "services.*.build.additional_contexts": "=",
    "services.*.deploy.labels": "=",
    "networks.*.labels": "=",
    "volumes.*.labels": "=",
    "configs.*.labels": "=",
    "secrets.*.labels": "=",
}
"""Mappings that may be lists, and what stands between key and value in these."""
_ONE_OR_SEVERAL = (
    "services.*.dns",
    "services.*.dns_search",
    "services.*.env_file",
    "services.*.label_file",
    "services.*.tmpfs",
)


def merge(base: Any, over: Any, rule: str = "", place: Place = ("", 0)) -> Any:
    """``over`` laid over ``base``. ``rule`` is where both are, names replaced by ``*``; ``place`` is that of ``over``."""
    if isinstance(over, (Override, Reset)) or over is None:
        # Null says nothing: `build:` with nothing behind it takes nothing away.
        return base if over is None and base is not None else over
    if isinstance(base, Override):
        return Override(merge(base.value, over, rule, place))
    if base is None or isinstance(base, Reset) or rule in _REPLACED:
        return over
    if rule == "services.*.logging" and _has_another_driver(base, over):
        return over
    base, over = _alike(base, rule, place), _alike(over, rule, place)
    if isinstance(base, Table) and isinstance(over, Table):
        return _tables(base, over, rule)
    if isinstance(base, Items) and isinstance(over, Items):
        return _appended(base, over, rule)
    return over


def _tables(base: Table, over: Table, rule: str) -> Table:
    merged = base.without()
    is_named = rule in _NAMED or rule in _PAIRS
    for key, value in over.items():
        inner = f"{rule}.*" if is_named else f"{rule}.{key}" if rule else key
        place = over.places[key]
        if key in base and value is None and rule in _PAIRS:
            merged.put(key, None, place)
        elif key in base:
            merged.put(key, merge(base[key], value, inner, place), place)
        else:
            merged.put(key, value, place)
    return merged


def _has_another_driver(base: Any, over: Any) -> bool:
    drivers = [item.get("driver") if isinstance(item, Table) else None for item in (base, over)]
    return all(drivers) and drivers[0] != drivers[1]


def _alike(value: Any, rule: str, place: Place) -> Any:
    """The long form of what may be written in two ways."""
    if rule in _PAIRS and isinstance(value, Items):
        return _from_pairs(value, _PAIRS[rule])
    if rule in _ONE_OR_SEVERAL and not isinstance(value, (Items, Table)):
        items = Items()
        items.add(value, place)
        return items
    if rule == "services.*.build" and isinstance(value, str):
        return _table("context", value, place)
    if rule in ("services.*.networks", "services.*.depends_on") and isinstance(value, Items):
        table = Table()
        for item, found in zip(value, value.places, strict=True):
            entry = None if rule.endswith("networks") else _table("condition", "service_started", found)
            table.put(written(item), entry, found)
        return table
    return value


def _table(key: str, value: Any, place: Place) -> Table:
    table = Table()
    table.put(key, value, place)
    return table


def _from_pairs(items: Items, separators: str) -> Table:
    table = Table()
    for item, place in zip(items, items.places, strict=True):
        text = written(item) if not isinstance(item, (Table, Items)) else ""
        cut = min((text.index(mark) for mark in separators if mark in text), default=len(text))
        table.put(text[:cut], text[cut + 1 :] if cut < len(text) else None, place)
    return table


def _appended(base: Items, over: Items, rule: str) -> Items:
    identify = _IDENTITIES.get(rule, _itself)
    merged = Items()
    found: dict[Any, int] = {}
    for items in (base, over):
        for item, place in zip(items, items.places, strict=True):
            identity = identify(item)
            if identity is not None and identity in found:
                merged[found[identity]], merged.places[found[identity]] = item, place
                continue
            if identity is not None:
                found[identity] = len(merged)
            merged.add(item, place)
    return merged


def _itself(item: Any) -> Any:
    return None if isinstance(item, (Table, Items, Override, Reset)) else (type(item), item)


def _mount_target(item: Any) -> Any:
    if isinstance(item, Table):
        return item["target"].rstrip("/") if isinstance(item.get("target"), str) else None
    parts = item.split(":") if isinstance(item, str) else []
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/") if parts else None


def _file_target(directory: str) -> Callable[[Any], Any]:
    def target_of(item: Any) -> Any:
        target = item.get("target") or item.get("source") if isinstance(item, Table) else item
        return directory + target.removeprefix(directory) if isinstance(target, str) else None

    return target_of


def _device_target(item: Any) -> Any:
    return item.get("target") or item.get("source") if isinstance(item, Table) else _mount_target(item)


_IDENTITIES: dict[str, Callable[[Any], Any]] = {
    "services.*.ports": port_identity,
    "services.*.volumes": _mount_target,
    "services.*.configs": _file_target("/"),
    "services.*.secrets": _file_target("/run/secrets/"),
    "services.*.devices": _device_target,
}
