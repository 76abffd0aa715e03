"""The security driver ``landlock``: files, TCP ports and signals by a ruleset of the process's own (landlock(7))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from multios.drivers.base import Capability
from multios.drivers.security import SecurityDriver
from multios.errors import Unsupported
from multios.model.health import Health, HealthCheck
from multios.supervisor.syscalls import kernel
from multios_security_landlock import rules

ANNOTATION = "org.multios.landlock"


class LandlockSecurity(SecurityDriver):
    """Profiles ``default``, ``unconfined``, and words: see :mod:`multios_security_landlock.rules`.

    Every process that is started by ``exec`` has a domain of its own, and the kernel lets no domain trace, signal
    (``scope=signal``) or reach (``scope=abstract``) another. So the default confines only where more is lost than won
    without it: on the host's network, whose abstract sockets are the host's services (CVE-2020-15257).
    """

    name: ClassVar[str] = "landlock"
    summary: ClassVar[str] = "Landlock: files, TCP ports and signals, by a few words"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.LANDLOCK})

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """What the kernel's Landlock can do."""
        version = kernel.landlock_version()
        if not version:
            detail = "this kernel lacks Landlock: containers run without it"
            return (HealthCheck("landlock", Health.SKIP, detail, "boot a kernel of 5.13 or later with it"),)
        can = [what for what, since in rules.SINCE.items() if version >= since]
        return (HealthCheck("landlock", Health.OK, f"ABI {version}: {', '.join(can)}"),)

    def unenforced(self) -> str:
        """See the contract."""
        version, needed = kernel.landlock_version(), rules.SINCE["scope"]
        return "" if version >= needed else f"it takes Landlock ABI {needed}, this kernel has {version}"

    def check(self, profile: str) -> None:
        """See the contract."""
        self._enforceable(profile)

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """See the contract."""
        annotations = {
            key: value for key, value in (spec.get("annotations") or {}).items() if key != ANNOTATION
        }
        if text := self._text(spec, profile.strip()):
            annotations[ANNOTATION] = text
        return {**spec, "annotations": annotations}

    def _text(self, spec: dict[str, Any], profile: str) -> str:
        if profile == "unconfined":
            return ""
        if profile in ("", "default"):
            own = {entry["type"] for entry in (spec.get("linux") or {}).get("namespaces") or ()}
            return "" if "network" in own or self.unenforced() else rules.ABSTRACT_SOCKETS
        return self._enforceable(profile)

    @staticmethod
    def _enforceable(profile: str) -> str:
        """The annotation for words; ``Unsupported`` where this kernel cannot do all of them."""
        if profile in ("", "default", "unconfined"):
            return ""
        ruleset = rules.read(profile)
        version = kernel.landlock_version()
        if version < ruleset.needs:
            has = f"has Landlock ABI {version}" if version else "lacks Landlock"
            raise Unsupported(
                f"the Landlock profile {profile[:80]!r} needs ABI {ruleset.needs}, and this kernel {has}",
                "leave out what is too new (landlock(7) tells since when), or the profile",
            )
        return ruleset.annotation
