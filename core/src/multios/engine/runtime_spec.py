"""The draft of a container's OCI runtime spec (runtime-spec, config.md and config-linux.md).

Drafted from the image's config and the request; security drivers and ``multios_amend_spec`` complete it.
Secure by default: no capability (a security driver grants some), no_new_privs, masked and read-only paths, a device allow-list, no
host namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multios.engine.users import Account
from multios.model.container import Container, ContainerConfig, Security, Volume
from multios.model.image import ImageConfig
from multios.supervisor import id_map

OCI_VERSION = "1.2.0"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITY_SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")
MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]
READ_ONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
SCRATCH = (  # in memory where the root is read-only: path, mode
    ("/run", "mode=755"),
    ("/tmp", "mode=1777"),
    ("/var/tmp", "mode=1777"),
)
DEVICES = (  # path, major, minor: what every container may use
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
TERMINALS_GROUP = 5
SYSTEM_MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": [
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            f"gid={TERMINALS_GROUP}",
        ],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777"],
    },
    {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
)


def draft(
    container: Container,
    image: ImageConfig,
    account: Account,
    engine_files: dict[str, str],
    time_namespace: bool = False,
    joined: Mapping[str, str] = {},
) -> dict[str, Any]:
    """The spec of ``container``; ``engine_files`` maps a path inside to the engine's file that is mounted there.

    ``joined`` are paths of another container's namespaces that it uses instead of new ones.
    """
    config = container.config
    hostname = config.hostname or container.id[:12]
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "hostname": hostname,
        "root": {"path": "rootfs", "readonly": bool(config.security.read_only)},
        "process": process(config, image, account, hostname),
        "mounts": _system_mounts(container)
        + _scratch_mounts(config)
        + [_engine_mount(target, source, config) for target, source in engine_files.items()]
        + [_volume_mount(volume) for volume in config.volumes],
        "annotations": {"org.multios.name": container.name},
        "linux": {
            "namespaces": [
                {"type": name, **({"path": joined[name]} if name in joined else {})}
                for name in _namespaces(config, container.id_map is not None, time_namespace)
            ],
            "resources": {"devices": _device_rules(config.security)},
            "maskedPaths": [] if config.security.privileged else list(MASKED_PATHS),
            "readonlyPaths": [] if config.security.privileged else list(READ_ONLY_PATHS),
        },
    }
    if config.sysctls:
        spec["linux"]["sysctl"] = dict(config.sysctls)
    if config.init:
        spec["annotations"]["org.multios.init"] = "true"
    if container.id_map is not None:
        mapping = [{"containerID": 0, "hostID": container.id_map.start, "size": container.id_map.size}]
        spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = mapping
    return spec


def process(config: ContainerConfig, image: ImageConfig, account: Account, hostname: str) -> dict[str, Any]:
    """The ``process`` section for the container's own command."""
    entrypoint = image.entrypoint if config.entrypoint is None else config.entrypoint
    command = config.command or (image.command if config.entrypoint is None else ())
    environment = {"PATH": DEFAULT_PATH, "HOME": account.home, "HOSTNAME": hostname}
    if config.terminal:
        environment["TERM"] = "xterm"
    environment.update(word.partition("=")[::2] for word in image.environment)
    environment.update(config.environment)
    return {
        "terminal": config.terminal,
        "args": [*entrypoint, *command],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": config.working_directory or image.working_directory or "/",
        "user": account.section(),
        "capabilities": {name: [] for name in CAPABILITY_SETS},
        "noNewPrivileges": config.security.no_new_privileges and not config.security.privileged,
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
            for name, (soft, hard) in config.rlimits.items()
        ],
    }


def _system_mounts(container: Container) -> list[dict[str, Any]]:
    """The mounts that every container has; group 5 owns terminals only where there is such an id."""
    mounts = [dict(mount) for mount in SYSTEM_MOUNTS]
    shared = next(mount for mount in mounts if mount["destination"] == "/dev/shm")
    shared["options"] = [*shared["options"], f"size={container.config.shm_size}"]
    ids = container.id_map.size if container.id_map is not None else id_map.size()
    if ids <= TERMINALS_GROUP:
        for mount in mounts:
            mount["options"] = [word for word in mount["options"] if word != f"gid={TERMINALS_GROUP}"]
    return mounts


def _namespaces(config: ContainerConfig, own_ids: bool, time_namespace: bool) -> list[str]:
    names = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"]
    if time_namespace:
        names.append("time")
    if config.networking.networks == ("host",):
        names.remove("network")
    if not own_ids:
        names.remove("user")
    return names


def _device_rules(security: Security) -> list[dict[str, Any]]:
    if security.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for _, major, minor in (*DEVICES, ("/dev/ptmx", 5, 2), ("/dev/console", 5, 1)):
        rules.append({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    rules.append({"allow": True, "type": "c", "major": 136, "access": "rwm"})  # /dev/pts/*
    if "MKNOD" in security.capabilities:
        rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    return rules


def _scratch_mounts(config: ContainerConfig) -> list[dict[str, Any]]:
    """What programs must be able to write even where the root is read-only, unless the user mounts there."""
    if not (config.security.read_only and config.security.read_only_tmpfs):
        return []
    own = config.mount_points
    return [
        {
            "destination": target,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", mode],
        }
        for target, mode in SCRATCH
        if target not in own
    ]


def _engine_mount(target: str, source: str, config: ContainerConfig) -> dict[str, Any]:
    """One of the engine's files. They lie on the host's disk, where a disk limit does not reach: it makes them read-only."""
    mode = "rw" if config.resources.disk_limit is None else "ro"
    return {"destination": target, "type": "bind", "source": source, "options": ["bind", mode]}


def _volume_mount(volume: Volume) -> dict[str, Any]:
    if volume.kind == "tmpfs":
        options = ["nosuid", "nodev", "mode=1777"] + ([f"size={volume.source}"] if volume.source else [])
        return {"destination": volume.target, "type": "tmpfs", "source": "tmpfs", "options": options}
    return {
        "destination": volume.target,
        "type": "bind",
        "source": volume.source,
        "options": ["rbind", "nosuid", "nodev", volume.mode],
    }
