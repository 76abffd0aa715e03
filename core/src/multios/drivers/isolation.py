"""Isolation drivers: an OCI runtime spec in, a process out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from multios.drivers.base import Driver
from multios.model.container import Counters, ProcessSpec, Resources, Stats
from multios.model.mount import IdMap, Mount


@dataclass(frozen=True, slots=True)
class Stdio:
    """Where a process's standard streams go.

    With ``terminal`` a pty is made. Otherwise ``stdin`` is ``null``, ``pipe`` (kept for the first
    attach) or ``fd`` (the first of ``descriptors``). ``log_path`` is where stdout and stderr are
    logged; empty means the streams are ``descriptors`` (stdin, stdout, stderr) and nothing is logged.
    """

    terminal: bool = False
    stdin: str = "null"
    log_path: str = ""
    log_max_size: int = 10_000_000
    log_max_files: int = 3
    descriptors: tuple[int, ...] = ()
    attach: bool = False
    """Whether the caller wants the streams from the first byte on: see ``Launched.attached``."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A container ready to be made: its spec (OCI runtime-spec config.md), its root's mounts, its bind mounts.

    ``volumes`` maps a mount's destination in ``spec["mounts"]`` to an open O_PATH descriptor of its
    source, opened with the rights of whoever asked.
    """

    container_id: str
    spec: Mapping[str, Any]
    rootfs: tuple[Mount, ...]
    stdio: Stdio
    id_map: IdMap | None = None
    resources: Resources = Resources()
    volumes: Mapping[str, int] = field(default_factory=dict)
    refusals: str = ""
    """The file that a driver which can do so records refused system calls in; empty: do not watch."""
    joined: Mapping[str, int] = field(default_factory=dict)
    """Open namespaces of another container that this one is made in (``SHARED_NETWORK``): ``network``, and with it
    ``user`` where the container has a user namespace, whose map is ``id_map``. In the spec they have a ``path``."""
    foresee: bool = False
    """Whether calls that the filter allows and the kernel will refuse are recorded too."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A made container or exec'ed process.

    ``netns`` is a descriptor of its network namespace (−1 when it has none of its own) and
    ``attached`` are the caller's ends of its streams — ``(stdin or −1, stdout, stderr)``, or
    ``(master, output, −1)`` for a terminal — all owned by the caller, who closes them.
    """

    pid: int
    cgroup: str = ""
    netns: int = -1
    attached: tuple[int, int, int] = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A system call that the filter refused ``count`` times to one program; the rest is as it was at one of the last.

    ``pid`` is the container's own; ``texts`` are those of the ``arguments`` that are texts, by their place.
    """

    call: str
    errno: int
    program: str
    pid: int
    count: int
    first: float
    last: float
    arguments: tuple[int, ...] = ()
    texts: Mapping[int, str] = field(default_factory=dict)
    by: str = ""
    """Empty: the filter. Else what the kernel refused by: see :mod:`multios.supervisor.foresight`."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """``status`` is ``created``, ``running``, ``paused`` or ``stopped`` (OCI runtime-spec, State)."""

    status: str
    pid: int = 0
    exit_code: int | None = None
    finished: float = 0.0
    oom_killed: bool = False
    """Whether the kernel killed one of its processes for want of memory; told until :meth:`IsolationDriver.delete`."""
    counters: Counters | None = None
    """As they were at its end; told until :meth:`IsolationDriver.delete`, by drivers that can."""


class IsolationDriver(Driver):
    """Contract. Missing containers raise ``NotFound``.

    A driver without ``SHARED_NETWORK`` gets no bundle with ``joined``.
    """

    kind: ClassVar[str] = "isolation"

    launcher: ClassVar[str] = ""
    """The module that the supervisor loads at its start and that makes the process; see ``multios.supervisor.launcher``."""

    @abstractmethod
    def create(self, bundle: Bundle) -> Launched:
        """Make namespaces, limits, mounts and everything short of exec. On failure nothing is left behind.

        A driver that looks for the command now raises ``CommandNotFound`` or ``CommandNotExecutable`` here.
        """

    @abstractmethod
    def start(self, container_id: str) -> None:
        """Let a created container run. Raises ``CommandNotFound`` or ``CommandNotExecutable`` where exec fails."""

    @abstractmethod
    def kill(self, container_id: str, signal: int, everything: bool = False) -> None:
        """Signal the first process, or every process of the container. A dead one is no error."""

    @abstractmethod
    def delete(self, container_id: str) -> None:
        """Remove what is left of a stopped container (kills it when it is not). Absent: no error."""

    @abstractmethod
    def state(self, container_id: str) -> ProcessState:
        """How it stands."""

    def exec(self, container_id: str, exec_id: str, process: ProcessSpec, stdio: Stdio) -> Launched:
        """Start another process inside (capability EXEC). Its exit is reported by the supervisor under ``exec_id``."""
        raise NotImplementedError

    def pause(self, container_id: str) -> None:
        """Freeze every process (capability PAUSE)."""
        raise NotImplementedError

    def resume(self, container_id: str) -> None:
        """Thaw (capability PAUSE)."""
        raise NotImplementedError

    def update(self, container_id: str, resources: Resources) -> None:
        """Change limits while it runs, all or none; ``None`` fields stay, −1 is no limit (capability UPDATE)."""
        raise NotImplementedError

    def stats(self, container_id: str) -> Stats:
        """One reading (capability STATS)."""
        raise NotImplementedError

    def counters(self, container_id: str) -> Counters:
        """What only grows while it runs; read every few seconds for every container, so it should be cheap."""
        return Counters(cpu_nanoseconds=self.stats(container_id).cpu_nanoseconds)

    def processes(self, container_id: str) -> tuple[int, ...]:
        """Host pids of every process of the container, for ``top``."""
        raise NotImplementedError

    def refused_calls(self, container_id: str, record: str) -> tuple[RefusedCall, ...]:
        """What was recorded in the file ``record`` (``Bundle.refusals``), of ended containers too; oldest first."""
        return ()

    def watches_refusals(self, container_id: str) -> bool:
        """Whether the refused calls of a running container are being recorded."""
        return False
