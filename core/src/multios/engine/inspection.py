"""What is told about containers: rows for ``ps``, the whole record for ``inspect``, readings for ``stats``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multios.engine import runtime_spec
from multios.engine.bundle import LOG
from multios.engine.containers import Containers
from multios.engine.networks import Networks
from multios.engine.registry import RUNNING
from multios.engine.users import Account
from multios.errors import InvalidInput, nearest
from multios.model.container import Container, Counters, HealthProbe, HealthState, Stats, Status
from multios.model.image import ImageConfig
from multios.model.json import to_json

FILTERS = (
    "id",
    "name",
    "status",
    "health",
    "label",
    "image",
    "ancestor",
    "template",
    "network",
    "volume",
    "owner",
)


def row(container: Container, command: tuple[str, ...]) -> dict[str, Any]:
    """What ``ps`` shows of a container."""
    config = container.config
    return {
        "id": container.id,
        "name": container.name,
        "image": config.template or config.image,
        "image_id": container.image_id,
        "command": list(command),
        "created": container.created,
        "started": container.started,
        "finished": container.finished,
        "status": str(container.status),
        "status_text": _status_text(container),
        "health": health_of(container),
        "ports": [to_json(port) for port in container.ports],
        "pid": container.pid,
        "owner": container.owner,
        "exit_code": container.exit_code,
        "labels": dict(config.labels),
        "template": config.template,
    }


def matches(container: Container, filters: Mapping[str, Any]) -> bool:
    """Whether a container passes every filter; an unknown filter raises ``InvalidInput``."""
    for key, wanted in filters.items():
        if key not in FILTERS:
            guess = nearest(key, list(FILTERS))
            raise InvalidInput(
                f"no such filter: {key!r}",
                f"did you mean {guess!r}?" if guess else f"valid: {', '.join(FILTERS)}",
            )
        choices = wanted if isinstance(wanted, list) else [wanted]
        if not any(_passes(container, key, str(choice)) for choice in choices):
            return False
    return True


def _passes(container: Container, key: str, wanted: str) -> bool:
    config = container.config
    if key == "label":
        name, separator, value = wanted.partition("=")
        return name in config.labels and (not separator or config.labels[name] == value)
    if key == "id":
        return container.id.startswith(wanted)
    if key == "name":
        return wanted in container.name
    if key in ("image", "ancestor"):
        return wanted in (config.image, config.image.partition(":")[0], container.image_id)
    if key == "network":
        return wanted in config.networking.networks
    if key == "volume":
        return any(wanted in (volume.source, volume.target) for volume in config.volumes)
    if key == "owner":
        return wanted == str(container.owner)
    if key == "health":
        return wanted == (health_of(container) or "none")
    return wanted == (str(container.status) if key == "status" else config.template)


def health_of(container: Container) -> str:
    """``starting``, ``healthy`` or ``unhealthy``; empty for one that has no probe, or does not run."""
    return str(container.health.status) if container.health and container.status in RUNNING else ""


def _status_text(container: Container) -> str:
    if container.status == Status.CREATED:
        return "Created"
    if container.status == Status.EXITED:
        code = "unknown" if container.exit_code is None else container.exit_code
        return f"Exited ({code}) {_ago(container.finished)} ago"
    health = health_of(container)
    mark = " (Paused)" if container.status == Status.PAUSED else f" ({health})" if health else ""
    return f"Up {_ago(container.started)}{mark}"


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def inspect(
    container: Container,
    image: ImageConfig | None,
    containers: Containers,
    networks: Networks,
    mounts: Mapping[str, str],
    counters: Counters | None,
    disk: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole record with podman's keys. ``mounts`` maps a volume's name to its path; ``disk`` is the disk limit."""
    config, directory = container.config, containers.directory(container)
    image = image or ImageConfig()  # it may have been removed by force
    hostname = config.hostname or container.id[:12]
    account = Account()
    process = runtime_spec.process(config, image, account, hostname)
    return {
        "Id": container.id,
        "Name": container.name,
        "Created": _iso(container.created),
        "Path": process["args"][0] if process["args"] else "",
        "Args": process["args"][1:],
        "State": _state(container, counters or Counters()),
        "Image": container.image_id,
        "ImageName": config.image,
        "Template": config.template,
        "Owner": container.owner,
        "RestartCount": container.restart_count,
        "Drivers": {kind: asdict(identity) for kind, identity in container.drivers.items()},
        "IDMappings": to_json(container.id_map),
        "Confinement": containers.confinement.report(container, directory),
        "Mounts": [
            {
                "Type": volume.kind,
                "Name": volume.source if volume.kind == "volume" else "",
                "Source": mounts.get(volume.source, "") if volume.kind == "volume" else volume.source,
                "Destination": volume.target,
                "RW": volume.mode == "rw",
            }
            for volume in config.volumes
        ],
        "Files": [
            {
                "Destination": file.path,
                "Size": None if file.secret else file.size,
                "Mode": f"{file.mode:04o}",
                "UID": file.uid,
                "GID": file.gid,
                "Secret": file.secret,
            }
            for file in config.files
        ],
        "Config": {
            "Hostname": hostname,
            "User": config.user or image.user,
            "Env": process["env"],
            "Cmd": list(config.command or image.command),
            "Entrypoint": list(image.entrypoint if config.entrypoint is None else config.entrypoint),
            "WorkingDir": process["cwd"],
            "Tty": config.terminal,
            "OpenStdin": config.open_stdin,
            "Labels": {**image.labels, **config.labels},
            "StopSignal": config.stop_signal or image.stop_signal,
            "StopTimeout": config.stop_timeout,
            "Healthcheck": _probe(container.probe) if container.probe else None,
        },
        "HostConfig": {
            "Resources": to_json(config.resources),
            "DiskLimit": disk,
            "RestartPolicy": to_json(config.restart_policy),
            "AutoRemove": config.auto_remove,
            "Init": config.init,
            "NetworkMode": ",".join(config.networking.networks),
            "Security": to_json(config.security),
            "Devices": [
                {"PathOnHost": one.host, "PathInContainer": one.container, "CgroupPermissions": one.access}
                for one in config.devices
            ],
            "Ulimits": to_json(config.rlimits),
            "ShmSize": config.shm_size,
            "Sysctls": dict(config.sysctls),
            "LogConfig": {
                "Path": str(directory / LOG),
                "MaxSize": config.log_max_size,
                "MaxFiles": config.log_max_files,
            },
        },
        "NetworkSettings": _network_settings(container, networks),
        "Published": [to_json(port) for port in container.ports],
        "BundlePath": str(directory),
        "CgroupPath": container.cgroup,
    }


def _state(container: Container, counters: Counters) -> dict[str, Any]:
    return {
        "Status": str(container.status),
        "Running": container.status == Status.RUNNING,
        "Paused": container.status == Status.PAUSED,
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "OOMKilled": container.oom_killed or bool(counters.oom_kills),
        "StartedAt": _iso(container.started),
        "FinishedAt": _iso(container.finished),
        "Health": _health(container.health) if container.health else None,
        "Limits": {
            "OOMKills": counters.oom_kills,
            "MemoryLimitHits": counters.memory_limit_hits,
            "ThrottledPeriods": counters.throttled_periods,
            "ThrottledSeconds": None
            if counters.throttled_nanoseconds is None
            else counters.throttled_nanoseconds / 1e9,
            "PidsRefused": counters.pids_refused,
        },
    }


def _health(health: HealthState) -> dict[str, Any]:
    return {
        "Status": str(health.status),
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": _iso(result.started),
                "End": _iso(result.ended),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.log
        ],
    }


def _probe(probe: HealthProbe) -> dict[str, Any]:
    """Docker's form, times in nanoseconds."""
    return {
        "Test": list(probe.test),
        "Interval": round(probe.interval * 1e9),
        "Timeout": round(probe.timeout * 1e9),
        "Retries": probe.retries,
        "StartPeriod": round(probe.start_period * 1e9),
        "StartInterval": round(probe.start_interval * 1e9),
    }


def _network_settings(container: Container, networks: Networks) -> dict[str, Any]:
    endpoints = networks.endpoints_of(container.id)
    first = endpoints[0][1] if endpoints else None
    return {
        "IPAddress": first.address.partition("/")[0] if first else "",
        "Gateway": first.gateway if first else "",
        "MacAddress": first.mac if first else "",
        "Networks": {
            network.name: {
                "IPAddress": endpoint.address.partition("/")[0],
                "IPPrefixLen": int(endpoint.address.partition("/")[2]),
                "Gateway": endpoint.gateway,
                "GlobalIPv6Address": endpoint.address6.partition("/")[0],
                "IPv6Gateway": endpoint.gateway6,
                "MacAddress": endpoint.mac,
                "Interface": endpoint.interface,
            }
            for network, endpoint in endpoints
        },
        "Ports": _ports(container),
    }


def _ports(container: Container) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for port in container.ports:
        place = {"HostIp": port.address, "HostPort": port.host}
        found.setdefault(f"{port.container}/{port.protocol}", []).append(place)
    return found


def _iso(moment: float) -> str:
    if not moment:
        return ""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1e6):06}Z"


class Meter:
    """Turns readings of :class:`Stats` into rows with a CPU percentage, from one reading to the next.

    ``earlier`` knows what to compare the first reading of a container with: see ``Watch.earlier``.
    """

    def __init__(self, earlier: Callable[[Container], tuple[float, int]]) -> None:
        self._earlier = earlier
        self._last: dict[str, tuple[float, int]] = {}

    def row(self, container: Container, stats: Stats) -> dict[str, Any]:
        """One row of ``stats``."""
        now, used = time.time(), stats.cpu_nanoseconds
        before, used_before = self._last.get(container.id) or self._earlier(container)
        percent = None
        if used is not None:
            percent = max(0.0, (used - used_before) / max(now - before, 1e-3) / 1e7)
            self._last[container.id] = (now, used)
        share = None
        if stats.memory_bytes is not None and stats.memory_limit:
            share = 100 * stats.memory_bytes / stats.memory_limit
        row = to_json(stats)
        if row["received_bytes"] is None or container.config.networking.networks == ("host",):
            row["received_bytes"], row["sent_bytes"] = _traffic(container)
        return {
            **row,
            "id": container.id,
            "name": container.name,
            "status": str(container.status),
            "cpu_percent": percent,
            "memory_percent": share,
        }

    def idle_row(self, container: Container) -> dict[str, Any]:
        """The row of a container that does not run."""
        self._last.pop(container.id, None)
        return {
            **dict.fromkeys(Stats.__slots__),
            "id": container.id,
            "name": container.name,
            "status": str(container.status),
            "cpu_percent": None,
            "memory_percent": None,
        }


def _traffic(container: Container) -> tuple[int | None, int | None]:
    """Bytes in and out of a container's interfaces, loopback aside (proc(5), /proc/pid/net/dev)."""
    if container.config.networking.networks == ("host",):
        return None, None
    try:
        lines = Path(f"/proc/{container.pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return None, None
    counts = [line.split(":", 1)[1].split() for line in lines if not line.strip().startswith("lo:")]
    return sum(int(words[0]) for words in counts), sum(int(words[8]) for words in counts)
