"""Security drivers: each completes a section of the runtime spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from multios.drivers.base import Capability, Driver

DEFAULT, UNCONFINED = "default", "unconfined"
"""Profiles that every driver knows: what a container gets that asks for nothing, and none of it."""


class SecurityDriver(Driver):
    """Contract. A container has a chain of these; each sees the spec as the ones before it left it."""

    kind: ClassVar[str] = "security"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    """What an isolation driver must have for this one's profiles. Without it the default is left out."""

    @abstractmethod
    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        """The OCI runtime spec with this driver's section filled in; ``spec`` itself is not changed.

        ``profile`` is a name the driver knows or the text of a profile in the driver's format. An unknown
        one raises ``NotFound``; what this host cannot enforce raises ``Unsupported``, but for :data:`DEFAULT`, which
        nobody asked for: then the spec may be left as it is, and :meth:`unenforced` says why.
        """

    def capabilities_for(self, call: str, profile: str) -> tuple[str, ...]:
        """The capabilities of which any one would have ``profile`` allow a system call, the narrowest first.

        With ``CAP_``; empty when none would, or the driver cannot tell.
        """
        return ()

    def check(self, profile: str) -> None:
        """Raise what :meth:`apply` would raise of ``profile``, which somebody asks for; called at ``create``. Since 0.1."""

    def process(self, process: dict[str, Any], profile: str) -> dict[str, Any]:
        """The spec's ``process`` section of a further process, as another user or with another profile.

        ``process`` is the first one's, without capabilities; it is not changed. Since 0.1.
        """
        return process

    def unenforced(self) -> str:
        """Why :data:`DEFAULT` is not enforced on this host, in a few words; empty where it is. Since 0.1."""
        return ""
