"""The security driver ``seccomp``: which system calls a container may make."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar

from multios.drivers.security import SecurityDriver
from multios.errors import Unsupported, unknown
from multios.model.health import Health, HealthCheck

_KERNEL_SUPPORT = "/proc/sys/kernel/seccomp/actions_avail"
PROFILES = ("default", "strict", "unconfined")


class SeccompSecurity(SecurityDriver):
    """Profiles ``default``, ``strict`` and ``unconfined``, or JSON text in docker's or the OCI's format."""

    name: ClassVar[str] = "seccomp"
    summary: ClassVar[str] = "system call filters: an allow-list, by purpose and by capability"

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Whether the kernel has filters."""
        if os.path.exists(_KERNEL_SUPPORT):
            return (HealthCheck("seccomp", Health.OK, "the kernel filters system calls"),)
        remedy = "boot a kernel with CONFIG_SECCOMP_FILTER"
        return (HealthCheck("seccomp", Health.FAIL, "the kernel cannot filter system calls", remedy),)

    def check(self, profile: str) -> None:
        """See the contract."""
        self._section({}, profile.strip())

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract; an empty profile is ``default``."""
        linux = {key: value for key, value in (spec.get("linux") or {}).items() if key != "seccomp"}
        section = self._section(spec, profile.strip() or "default")
        if section is not None:
            linux["seccomp"] = section
        return {**spec, "linux": linux}

    def capabilities_for(self, call: str, profile: str) -> tuple[str, ...]:
        """See the contract."""
        profile = profile.strip() or "default"
        if profile == "default":
            from multios_security_seccomp.default_profile import guardians  # deferred, as in _section

            return guardians(call)
        if not profile.startswith("{"):
            return ()
        from multios_security_seccomp.docker_format import guardians as of_profile  # deferred, as in _section

        return of_profile(profile, call)

    def _section(self, spec: dict[str, Any], profile: str) -> dict[str, Any] | None:
        if profile == "unconfined":
            return None
        if profile not in PROFILES and not profile.startswith("{"):
            remedy = "give the name or the JSON text of a profile; names are " + ", ".join(PROFILES)
            raise unknown("seccomp profile", profile, list(PROFILES), remedy)
        if not os.path.exists(_KERNEL_SUPPORT):
            raise Unsupported(
                "this kernel cannot filter system calls", "use --security-opt seccomp=unconfined"
            )
        made = _made(profile, _capabilities(spec), os.uname().machine, os.uname().release)
        return {**made, "syscalls": [_copied(rule) for rule in made["syscalls"]]}


@lru_cache(maxsize=64)
def _made(profile: str, held: frozenset[str], machine: str, release: str) -> dict[str, Any]:
    """The section, made once: a start of a container with it must not read and sort hundreds of names again."""
    if profile in PROFILES:
        # Deferred: data that listing needs not.
        from multios_security_seccomp.default_profile import WITHHELD, section

        return section(held, machine, release, WITHHELD if profile == "strict" else "")
    from multios_security_seccomp.docker_format import read  # deferred: only a profile of one's own needs it

    return read(profile, held, machine, release)


def _copied(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule that its user may change: hooks amend the spec in place."""
    copy = {**rule, "names": list(rule["names"])}
    if rule.get("args"):
        copy["args"] = [dict(argument) for argument in rule["args"]]
    return copy


def _capabilities(spec: dict[str, Any]) -> frozenset[str]:
    """All that the container's processes could ever hold, with ``CAP_``."""
    sets = (spec.get("process") or {}).get("capabilities") or {}
    return frozenset(name for names in sets.values() for name in names or ())
