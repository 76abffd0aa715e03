"""Security drivers: each completes a section of the runtime spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from multios.drivers.base import Driver


class SecurityDriver(Driver):
    """Contract."""

    kind: ClassVar[str] = "security"

    @abstractmethod
    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """The OCI runtime spec with this driver's section filled in; ``spec`` itself is not changed.

        ``profile`` is a name the driver knows or the JSON text of a profile in the driver's format. An unknown
        one raises ``NotFound``; what this host cannot enforce raises ``Unsupported``.
        """

    def capabilities_for(self, call: str, profile: str) -> tuple[str, ...]:
        """The capabilities of which any one would have ``profile`` allow a system call, the narrowest first.

        With ``CAP_``; empty when none would, or the driver cannot tell.
        """
        return ()
