"""The security driver ``capabilities``: what root may do, one right at a time (capabilities(7))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from multios.drivers.security import SecurityDriver
from multios.model.health import Health, HealthCheck
from multios_security_capabilities import profile as profiles

_LAST = "/proc/sys/kernel/cap_last_cap"


class CapabilitiesSecurity(SecurityDriver):
    """Profiles ``default``, ``none``, ``unconfined``, and words: ``add=NAME,… drop=NAME,…``."""

    name: ClassVar[str] = "capabilities"
    summary: ClassVar[str] = "capabilities: a small set by default, more and fewer by name"

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """How many capabilities this kernel has."""
        try:
            with open(_LAST, encoding="ascii") as file:
                count = int(file.read()) + 1
        except (OSError, ValueError) as error:
            return (HealthCheck("capabilities", Health.FAIL, f"{_LAST}: {error}", "mount /proc"),)
        return (HealthCheck("capabilities", Health.OK, f"the kernel has {count}"),)

    def check(self, profile: str) -> None:
        """See the contract."""
        profiles.read(profile)

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract."""
        return {**spec, "process": self.process(spec.get("process") or {}, profile)}

    def process(self, process: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract."""
        uid = (process.get("user") or {}).get("uid", 0)
        return {**process, "capabilities": profiles.read(profile).sets(uid)}
