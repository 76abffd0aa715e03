"""``[quotas…]`` of the settings: how much one user, each member of a group, or a whole course may have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from multios import typed_table
from multios.errors import InvalidInput
from multios.model.quantities import parse_cpus, parse_size

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}")
_TABLES = ("user", "group", "course")


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidInput(f"{where}: {value!r} is not a number of things", "a whole number, not negative")
    return value


def _counted() -> Any:
    return field(default=None, metadata={"parse": _count})


@dataclass(frozen=True, slots=True)
class Quota:
    """The most of each; ``None`` is: not limited. Sizes in bytes, ``cpus`` in cores.

    ``cpus``, ``memory`` and ``pids`` are sums of the limits of containers that run, ``disk`` of all containers.
    """

    containers: int | None = _counted()
    running: int | None = _counted()
    cpus: float | None = field(default=None, metadata={"parse": parse_cpus})
    memory: int | None = field(default=None, metadata={"parse": parse_size})
    pids: int | None = _counted()
    disk: int | None = field(default=None, metadata={"parse": parse_size})
    networks: int | None = _counted()
    volumes: int | None = _counted()


NAMES = tuple(item.name for item in fields(Quota))


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """``default`` is everyone's, ``users`` one user's (by name or uid), ``groups`` each member's of a Unix group,
    ``courses`` that of all members of a Unix group together."""

    default: Quota = Quota()
    users: Mapping[str, Quota] = field(default_factory=dict)
    groups: Mapping[str, Quota] = field(default_factory=dict)
    courses: Mapping[str, Quota] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is limited."""
        return self == QuotaSettings()

    def of(self, names: Iterable[str], groups: Iterable[str]) -> Quota:
        """A user's quota: what his own table says, else the most that one of his groups gives, else the default."""
        own = [self.users[name] for name in names if name in self.users]
        shared = [self.groups[name] for name in groups if name in self.groups]

        def choose(name: str) -> Any:
            for quota in own:
                if getattr(quota, name) is not None:
                    return getattr(quota, name)
            given = [value for quota in shared if (value := getattr(quota, name)) is not None]
            return max(given) if given else getattr(self.default, name)

        return Quota(**{name: choose(name) for name in NAMES})


def read(table: Mapping[str, Any], where: str) -> QuotaSettings:
    """The checked settings of ``[quotas.default]``, ``[quotas.user.NAME]`` and so on; ``where`` begins every error."""
    found: dict[str, dict[str, Quota]] = {name: {} for name in _TABLES}
    default = Quota()
    for key, value in table.items():
        if key not in (*_TABLES, "default"):
            raise typed_table.unknown_key(key, ["default", *_TABLES], where)
        if not isinstance(value, dict):
            raise InvalidInput(f"{where}{key}: {value!r} is not a table", f"write [quotas.{key}]")
        if key == "default":
            default = typed_table.read(Quota, value, f"{where}default.")
            continue
        for name, quota in value.items():
            if not _NAME.fullmatch(name) or not isinstance(quota, dict):
                raise InvalidInput(
                    f"{where}{key}.{name}: this is no {key}'s table", f"write [quotas.{key}.NAME]"
                )
            found[key][name] = typed_table.read(Quota, quota, f"{where}{key}.{name}.")
    return QuotaSettings(default, found["user"], found["group"], found["course"])
