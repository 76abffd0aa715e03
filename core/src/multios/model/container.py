"""Containers: what was asked for, and what is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from multios.model.mount import IdMap
from multios.model.network import PortMapping

OF_CONTAINER = "container:"
"""What begins the place of a network's name where it is another container's network namespace."""
HOST_GATEWAY = "host-gateway"
"""Docker's word for the address that a container reaches its host by."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; ``None`` is: nothing was asked, −1: no limit, whatever was asked before or is the default.

    Sizes in bytes, ``cpu_limit`` in cores, ``io_limit`` in operations and ``io_bytes_limit`` in bytes a second,
    reading and writing each. ``hugepages`` maps a page's size in the kernel's words (``2MB``) to bytes.
    """

    cpu_limit: float | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    memory_limit: int | None = None
    memory_swap: int | None = None
    pids_limit: int | None = None
    disk_limit: int | None = None
    io_limit: int | None = None
    io_bytes_limit: int | None = None
    hugepages: Mapping[str, int] | None = None


def merged(over: Resources, under: Resources) -> Resources:
    """``over``'s limits, and ``under``'s where it has none; of huge pages, size by size."""
    chosen = {
        item.name: getattr(under, item.name) if getattr(over, item.name) is None else getattr(over, item.name)
        for item in fields(Resources)
    }
    if over.hugepages is not None and under.hugepages is not None:
        chosen["hugepages"] = {**under.hugepages, **over.hugepages}
    return Resources(**chosen)


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host's: its path there, its path inside, and what is allowed, of ``rwm`` (devices(5))."""

    host: str
    container: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class Volume:
    """A mount that the user asked for.

    ``source`` is an absolute host path (``kind`` ``bind``), a volume's name (``volume``) or a size in
    bytes as text, empty for unlimited (``tmpfs``). ``mode`` is ``rw`` or ``ro``. With ``nocopy`` a new volume
    is not filled with the image's files.
    """

    kind: str
    source: str
    target: str
    mode: str = "rw"
    nocopy: bool = False


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A small file that the engine gives a container: read-only, with an owner inside; a configuration or a secret.

    ``content`` is base64, and only in a request: the engine keeps it in a file, and records are without.
    """

    path: str
    size: int
    mode: int = 0o444
    uid: int = 0
    gid: int = 0
    secret: bool = False
    content: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container wants on one network; empty is: chosen by the engine."""

    address: str = ""
    address6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Networking:
    """Which networks, by name; ``none``, ``host`` and ``container:ID`` stand alone."""

    networks: tuple[str, ...] = ("default",)
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    """By a network's name."""
    aliases: tuple[str, ...] = ()
    """On all of its networks."""
    address: str = ""
    """On the first of its networks, as ``address6`` and ``mac``."""
    address6: str = ""
    mac: str = ""
    egress_allow: tuple[str, ...] = ()
    """What it may reach, as addresses, CIDRs and domain names; empty is everything."""
    bandwidth_in: int | None = None
    """Bits a second on each network, as ``bandwidth_out``; ``None`` is without limit."""
    bandwidth_out: int | None = None
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    """Addresses by name; ``HOST_GATEWAY`` is the host's own, as the container reaches it."""

    @property
    def shared_with(self) -> str:
        """The container whose network namespace is used instead of one of its own: its id, in a request its name; or empty."""
        return (
            self.networks[0].removeprefix(OF_CONTAINER) if self.networks[0].startswith(OF_CONTAINER) else ""
        )


@dataclass(frozen=True, slots=True)
class Security:
    """Confinement that differs from the default. Capability names are without ``CAP_``."""

    capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp_profile: str = "default"
    apparmor_profile: str = ""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Of further security drivers, by a driver's name: the profile that it gets."""
    profile: str = ""
    """The bundle that the rest came from, by its name: see :mod:`multios.model.security_profile`."""
    read_only: bool | None = None
    """``None`` is: not said."""
    read_only_tmpfs: bool = True
    """Whether /tmp, /run and /var/tmp of a read-only root are file systems in memory."""
    no_new_privileges: bool = True
    privileged: bool = False
    user_namespace: str = "auto"
    """See :mod:`multios.model.id_mapping`: ``auto``, or, for administrators, ``host`` and maps."""
    explain: str = "on"
    """Which refusals are recorded for ``why``, where host and driver can: ``on``, those of the system call filter;
    ``all``, the kernel's own as well, for which more calls are looked at; ``off``."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """``no``, ``on-failure`` (at most ``maximum_retries`` times; 0 is: without end), ``always``, ``unless-stopped``."""

    name: str = "no"
    maximum_retries: int = 0


@dataclass(frozen=True, slots=True)
class HealthRequest:
    """What was asked of a health probe; ``None``, and an empty ``test``, is: as the image has it. Times in seconds.

    ``test`` is ``NONE`` alone, ``CMD`` and words, or ``CMD-SHELL`` and a line.
    """

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """A checked request for a container: see :mod:`multios.model.container_document` for its JSON form."""

    name: str
    image: str = ""
    template: str = ""
    template_options: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    terminal: bool = False
    open_stdin: bool = False
    init: bool = False
    resources: Resources = Resources()
    networking: Networking = Networking()
    security: Security = Security()
    volumes: tuple[Volume, ...] = ()
    files: tuple[GivenFile, ...] = ()
    devices: tuple[Device, ...] = ()
    shm_size: int = 64 << 20
    """Bytes of /dev/shm, at most."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Kernel parameters of its own namespaces: see :mod:`multios.model.sysctls`."""
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    restart_policy: RestartPolicy = RestartPolicy()
    healthcheck: HealthRequest | None = None
    stop_signal: str = ""
    stop_timeout: int = 10
    auto_remove: bool = False
    log_max_size: int = 10_000_000
    log_max_files: int = 3
    drivers: Mapping[str, str] = field(default_factory=dict)
    """The backends that this container asked for: driver kind to driver name."""
    driver_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def mount_points(self) -> tuple[str, ...]:
        """Every path inside at which the request has something mounted."""
        return tuple(item.target for item in self.volumes) + tuple(item.path for item in self.files)


class Status(enum.StrEnum):
    """Where a container is in its life (podman's words)."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class DriverIdentity:
    """Which backend serves a container: enough to remove it later, or to say what to install."""

    kind: str
    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Counters:
    """What only grows while a container runs: cheap to read, for whoever watches many. ``None``: the host cannot tell.

    ``memory_limit_hits`` counts how often the memory limit was met, killed or not: what could be freed was freed.
    """

    cpu_nanoseconds: int | None = None
    oom_kills: int | None = None
    memory_limit_hits: int | None = None
    throttled_periods: int | None = None
    throttled_nanoseconds: int | None = None
    pids_refused: int | None = None


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """How a container is asked whether it works: ``command`` is run inside; times in seconds.

    ``test`` is the command as it was written: see :class:`HealthRequest`.
    """

    test: tuple[str, ...]
    command: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


class HealthStatus(enum.StrEnum):
    """What its probes say of a container (docker's words)."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How one probe ended: an exit code of −1 is none, because it was killed when its time was over."""

    started: float
    ended: float
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class HealthState:
    """What the probes of a run came to: how many failed since the last success, and the last results, oldest first."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine records it. Times are seconds since the epoch; ``exit_code`` ``None`` is unknown or not yet."""

    id: str
    name: str
    owner: int
    config: ContainerConfig
    image_id: str
    drivers: Mapping[str, DriverIdentity]
    created: float
    status: Status = Status.CREATED
    pid: int = 0
    cgroup: str = ""
    ports: tuple[PortMapping, ...] = ()
    """What is published while it runs, every host port set."""
    id_map: IdMap | None = None
    started: float = 0.0
    finished: float = 0.0
    exit_code: int | None = None
    restart_count: int = 0
    stopped_by_user: bool = False
    error: str = ""
    oom_killed: bool = False
    counters: Counters | None = None
    """As they were at the end of its last run."""
    probe: HealthProbe | None = None
    """Its health probe, from the request and the image."""
    health: HealthState | None = None
    """Of its last run, where it has a probe."""
    of_run: bool = False
    """Made by ``run``: one that never started is nothing to keep."""
    snapshots: tuple[str, ...] = ()
    """The names of its kept states, in the order in which they were taken."""
    removing: bool = False
    """It is gone for its users; what is left of it is being cleaned up."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What exec starts: the ``process`` section of an OCI runtime spec, and whether it has a terminal."""

    process: Mapping[str, Any]
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Stats:
    """One reading of a container's use. CPU time in nanoseconds since it began; the rest as named; ``None`` where the host cannot tell."""

    cpu_nanoseconds: int | None = None
    memory_bytes: int | None = None
    memory_limit: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None
