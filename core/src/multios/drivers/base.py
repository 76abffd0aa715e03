"""What every driver has, whatever its kind."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from multios.model.health import HealthCheck
    from multios.supervisor.client import Supervisor

CONTRACT_VERSION = "v1"
KINDS = (
    "isolation", "storage", "network", "security", "template", "template_converter", "image_source", "orchestrator",
)  # fmt: skip


def group(kind: str) -> str:
    """The entry-point group of a driver kind: ``multios.storage.v1``."""
    return f"multios.{kind}.{CONTRACT_VERSION}"


class Capability(enum.StrEnum):
    """What a driver can do beyond its contract's minimum; the conformance kit proves declared = implemented."""

    PAUSE = "pause"
    UPDATE = "update"
    STATS = "stats"
    EXEC = "exec"
    TERMINAL = "terminal"
    USER_NAMESPACE = "user_namespace"
    SHARED_NETWORK = "shared_network"
    QUOTA = "quota"
    ROOTLESS = "rootless"
    PUBLISH = "publish"
    GATEWAY = "gateway"
    NAMES_INSIDE = "names_inside"
    IPV6 = "ipv6"
    PARENTS_MAC = "parents_mac"
    INTERNAL = "internal"
    ISOLATE = "isolate"
    EGRESS = "egress"
    BANDWIDTH = "bandwidth"
    SOURCE_GUARD = "source_guard"
    ALONE = "alone"
    DIFF = "diff"
    EXCHANGE = "exchange"
    PUSH = "push"
    LANDLOCK = "landlock"
    RESET = "reset"
    SNAPSHOT = "snapshot"
    LOGS = "logs"
    COPY = "copy"
    FORWARD = "forward"
    COURSES = "courses"


class Calls(Protocol):
    """The engine's API with the rights of one user, whose number is ``uid``."""

    uid: int

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of ``method``: see the table in ``docs/architecture.md``. Raises ``MultiosError``."""

    def stream(self, method: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """The items of ``method`` as they come."""

    def rest(self, seconds: float) -> None:
        """Sleep; raises ``Conflict`` as soon as nobody wants the answers any more."""


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What the engine gives a driver when it makes it.

    ``state`` is a directory below ``data_root`` that is this driver's alone and survives restarts;
    ``runtime`` is one below ``exec_root`` that does not survive a reboot. Both exist.
    ``supervisor`` is the handle to the supervisor, or ``None`` outside the daemon. ``engine`` is for orchestrators.
    """

    state: Path
    runtime: Path
    supervisor: Supervisor | None = None
    engine: Calls | None = None


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The settings of a driver that has none."""


class Driver:
    """Base of all drivers. The class is light to import; heavy work stands in a module beside it.

    ``name`` is the entry point's name. ``Settings`` is a frozen dataclass whose fields (all with
    defaults) are read from the daemon's file (``[network.bridge]``) and ``--storage-opt key=value``; a network's
    from ``network create --opt key=value``.
    A driver is made once a daemon and called from several threads at once.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    Settings: ClassVar[type] = NoSettings

    def __init__(self, settings: Any, context: DriverContext) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        """What ``doctor`` shows for this driver on this host; quick, changes nothing, never raises."""
        return ()
