"""The security driver ``apparmor``: the AppArmor profile that a container's processes run under."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from multios.drivers.base import DriverContext
from multios.drivers.security import SecurityDriver
from multios.errors import Unsupported, unknown
from multios.model.health import Health, HealthCheck
from multios_security_apparmor.host import Host
from multios_security_apparmor.loading import Loading

DEFAULT_PROFILE = "multios-default"


class AppArmorSecurity(SecurityDriver):
    """Profiles ``default``, ``unconfined``, and the names of those that the host has loaded."""

    name: ClassVar[str] = "apparmor"
    summary: ClassVar[str] = "AppArmor: a profile of its own by default, or one that the host has loaded"

    def __init__(self, settings: Any, context: DriverContext, host: Host | None = None) -> None:
        super().__init__(settings, context)
        self._host = host or Host()
        # Now, and not at a start: compiling is a subprocess, and takes a while.
        self._loading = Loading(self._host, context.state, DEFAULT_PROFILE)
        self._loading.ensure()

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """Whether the host has AppArmor, and what is needed to use it."""
        host = Host()
        if reason := host.absence():
            detail = f"{reason}: containers run without it"
            return (HealthCheck("apparmor", Health.SKIP, detail, "boot with apparmor=1 security=apparmor"),)
        if not host.parser():
            detail = f"no apparmor_parser: {DEFAULT_PROFILE} cannot be compiled, so containers run without it"
            return (HealthCheck("apparmor", Health.WARN, detail, "apt-get install apparmor"),)
        return (HealthCheck("apparmor", Health.OK, "the kernel enforces profiles"),)

    def unenforced(self) -> str:
        """See the contract."""
        return self._host.absence() or self._loading.failure()

    def check(self, profile: str) -> None:
        """See the contract."""
        self._named(profile)

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract."""
        return {**spec, "process": self.process(spec.get("process") or {}, profile)}

    def process(self, process: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract."""
        rest = {key: value for key, value in process.items() if key != "apparmorProfile"}
        name = self._named(profile)
        return {**rest, "apparmorProfile": name} if name else rest

    def _named(self, profile: str) -> str:
        """The name of a loaded profile; empty for none."""
        if profile == "unconfined":
            return ""
        if profile in ("", "default"):
            return "" if self._host.absence() or self._loading.ensure() else DEFAULT_PROFILE
        reason = self._host.absence()
        known = [] if reason else sorted(self._host.profiles())
        if profile not in known:
            if reason and "\n" not in profile and profile.isprintable():
                raise Unsupported(
                    f"AppArmor profile {profile[:80]!r} was asked for, and {reason}",
                    "leave it out, or use a host with AppArmor",
                )
            raise unknown(
                "AppArmor profile", profile[:80], known, "load it on the host first: apparmor_parser -r FILE"
            )
        return profile
