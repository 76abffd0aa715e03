"""Quotas: what a user's containers may come to, asked under one lock before anything is made or started.

A claim counts from the moment it is granted, before there is a record of it; so two creates at once cannot both take
the last place. Sums are of limits, not of use: who has what he may have, has it in full.
"""

from __future__ import annotations

import grp
import os
import pwd
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from multios.engine.caller import Caller
from multios.engine.registry import RUNNING, Registry
from multios.errors import Refused
from multios.model.container import Container, Resources
from multios.model.quantities import format_size
from multios.quota_settings import NAMES, Quota, QuotaSettings

_OPTIONS = {"cpus": "--cpu-limit", "memory": "--memory-limit", "pids": "--pids-limit", "disk": "--disk-limit"}
_RESOURCES = {"cpus": "cpu_limit", "memory": "memory_limit", "pids": "pids_limit", "disk": "disk_limit"}
_OF_RUNNING = ("running", "cpus", "memory", "pids")
_OF_ALL = ("containers", "disk")
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class _Limit:
    """A quota and whom it is for: one user, or all members of a course."""

    whose: str
    quota: Quota
    counts: Callable[[int], bool]
    """Whether a thing of this owner is counted."""


class Quotas:
    """``settings`` gives those of now; ``owners(kind)`` the owner of every network or volume."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], QuotaSettings],
        owners: Callable[[str], Iterable[int]],
    ) -> None:
        self._registry, self._settings, self._owners = registry, settings, owners
        self._lock = threading.Lock()
        self._claims: dict[str, tuple[Container, bool]] = {}

    @contextmanager
    def claimed(self, container: Container, running: bool) -> Iterator[None]:
        """Room for a container that is about to be made, changed, or (``running``) started, for as long as the block runs.

        In the block the record is written, which counts afterwards. Raises ``Refused`` that names the quota.
        """
        if self._settings().is_empty or Caller(container.owner, 0).is_administrator:
            yield
            return
        with self._lock:
            known = self._known()
            before = known.get(container.id)
            known[container.id] = (container, running)
            for limit in self._limits(container.owner):
                self._check(limit, container, running, before, known)
            self._claims[container.id] = (container, running)
        try:
            yield
        finally:
            with self._lock:
                self._claims.pop(container.id, None)

    def check_one_more(self, kind: str, owner: int, owners: Iterable[int]) -> None:
        """Refuse one more network or volume past the quota; to be called under the lock that guards their making."""
        if self._settings().is_empty or Caller(owner, 0).is_administrator:
            return
        there = list(owners)
        for limit in self._limits(owner):
            most = getattr(limit.quota, kind)
            used = sum(limit.counts(one) for one in there)
            if most is not None and used + 1 > most:
                raise _refusal(limit, kind, used, 1, most)

    def most(self, uid: int) -> Resources:
        """What one container of a user can have at most: the least that his quotas say of each."""
        limits = [limit.quota for limit in self._limits(uid)]

        def least(name: str) -> Any:
            return min(
                (value for quota in limits if (value := getattr(quota, name)) is not None), default=None
            )

        return Resources(**{_RESOURCES[name]: least(name) for name in ("cpus", "memory", "pids")})

    def rows(self, caller: Caller, everyone: bool) -> list[dict[str, Any]]:
        """Use and limits of the caller, or of all users that have something or a table of their own, and of courses."""
        uids = {caller.uid}
        if everyone:
            uids = {item.owner for item in self._registry.all()}
            uids |= {owner for kind in ("networks", "volumes") for owner in self._owners(kind)}
            uids |= {uid for name in self._settings().users if (uid := _uid(name)) is not None}
            uids = {uid for uid in uids if not Caller(uid, 0).is_administrator}
        with self._lock:
            known = self._known()
        limits = {limit.whose: limit for uid in sorted(uids) for limit in self._limits(uid, unlimited=True)}
        if not everyone:
            limits = {limit.whose: limit for limit in self._limits(caller.uid, unlimited=True)}
        return [
            {"for": limit.whose, "quotas": [self._row(limit, name, known) for name in NAMES]}
            for limit in limits.values()
        ]

    def _row(self, limit: _Limit, name: str, known: dict[str, tuple[Container, bool]]) -> dict[str, Any]:
        if name in ("networks", "volumes"):
            used: float = sum(limit.counts(owner) for owner in self._owners(name))
        else:
            used = _used(name, limit, known)
        return {"quota": name, "used": used, "limit": getattr(limit.quota, name)}

    def _known(self) -> dict[str, tuple[Container, bool]]:
        """Every container, those that are only claimed among them, and whether it runs or is about to."""
        known = {item.id: (item, item.status in RUNNING) for item in self._registry.all()}
        for key, (container, running) in self._claims.items():
            former = known.get(key)
            known[key] = (container, running or bool(former and former[1]))
        return known

    def _limits(self, uid: int, unlimited: bool = False) -> list[_Limit]:
        settings = self._settings()
        name, groups = _who(uid)
        found = [_Limit(f"user {name}", settings.of((name, str(uid)), groups), lambda owner: owner == uid)]
        for course, quota in settings.courses.items():
            if course in groups:
                found.append(_Limit(f"course {course}", quota, partial(_is_member, course)))
        return [limit for limit in found if unlimited or limit.quota != Quota()]

    def _check(
        self,
        limit: _Limit,
        container: Container,
        running: bool,
        before: tuple[Container, bool] | None,
        known: dict[str, tuple[Container, bool]],
    ) -> None:
        """Refuse what grows past the quota; what does not grow may stay, though the quota has been lowered."""
        names = (_OF_ALL if before is None or before[0] != container else ()) + (
            _OF_RUNNING if running else ()
        )
        for name in names:
            most = getattr(limit.quota, name)
            if most is None:
                continue
            asked = _size(name, container)
            if asked is None:
                raise Refused(
                    f"{limit.whose} has a quota of {_shown(name, most)} {name}, and this container has no limit",
                    f"add {_OPTIONS[name]}",
                )
            had = _size(name, before[0]) if before and (name in _OF_ALL or before[1]) else 0
            used = _used(name, limit, known) - asked
            if used + asked > most + _ROUNDING and asked > (had or 0):
                raise _refusal(limit, name, used, asked, most)


def _used(name: str, limit: _Limit, known: dict[str, tuple[Container, bool]]) -> float:
    counted = [
        container
        for container, running in known.values()
        if limit.counts(container.owner) and (running or name in _OF_ALL)
    ]
    return sum(_size(name, container) or 0 for container in counted)


def _size(name: str, container: Container) -> float | None:
    """What a container takes of a quota; ``None`` when it has no limit."""
    if name in ("containers", "running"):
        return 1
    value: float | None = getattr(container.config.resources, _RESOURCES[name])
    if value is None or value < 0:
        return None
    return value * (1 + len(container.snapshots)) if name == "disk" else value


def _refusal(limit: _Limit, name: str, used: float, asked: float, most: float) -> Refused:
    what = {"running": "running containers", "cpus": "CPU cores", "pids": "processes"}.get(name, name)
    if name in _OPTIONS:
        cause = f"{limit.whose} may have {_shown(name, most)} of {what}: {_shown(name, used)} are taken, {_shown(name, asked)} asked for"
    else:
        cause = f"{limit.whose} may have {_shown(name, most)} {what} and has {_shown(name, used)}"
    verb = {
        "running": "stop one",
        "networks": "remove one",
        "volumes": "remove one",
        "containers": "delete one",
    }
    return Refused(cause, f"{verb.get(name, 'ask for less, or stop another')}; see `multios-container quota`")


def _shown(name: str, number: float) -> str:
    return format_size(int(number)) if name in ("memory", "disk") else f"{number:g}"


def _who(uid: int) -> tuple[str, list[str]]:
    """A user's name and the names of his groups, from the host's database as it is now."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), []
    groups = []
    for number in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return entry.pw_name, groups


def _is_member(group: str, uid: int) -> bool:
    return group in _who(uid)[1]


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() and len(name) < 11 else None
