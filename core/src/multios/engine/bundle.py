"""What a start hands to the isolation driver: the finished spec, the root's mounts, opened volumes, streams."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from multios.drivers.isolation import Bundle, Stdio
from multios.engine import devices, given_files, runtime_spec, users
from multios.engine.caller import Caller
from multios.engine.host_paths import id_mappings, open_source
from multios.engine.volumes import Volumes
from multios.errors import InvalidInput, Refused
from multios.model.container import Container
from multios.model.image import ImageConfig
from multios.model.mount import Mount
from multios.supervisor import id_map

ENGINE_FILES = {"/etc/hosts": "hosts", "/etc/hostname": "hostname", "/etc/resolv.conf": "resolv.conf"}
LOG = "log"
REFUSALS = "refusals"


def draft(
    container: Container,
    image: ImageConfig,
    rootfs: tuple[Mount, ...],
    directory: Path,
    time_namespace: bool,
    joined: Mapping[str, str],
) -> dict[str, Any]:
    """The runtime spec before security drivers and amendments; ``joined`` are paths of another container's namespaces."""
    account = users.resolve(container.config.user or image.user, rootfs, container.config.groups)
    _check_mapped(container, account)
    engine_files = {target: str(path) for target, path in _engine_files(container, directory).items()}
    spec = runtime_spec.draft(container, image, account, engine_files, time_namespace, joined)
    given_files.add(spec, container.config.files, directory)
    devices.add(spec, container.config.devices)
    if not spec["process"]["args"]:
        raise InvalidInput(
            f"container {container.name!r} has no command, and its image has none", "name one at create"
        )
    _map_binds(container, spec)
    return spec


def _map_binds(container: Container, spec: dict[str, Any]) -> None:
    """Bind mounts of an ordinary user's container show only the user's own ids; see :func:`id_mappings`."""
    owner = Caller(container.owner, container.owner)
    binds = {volume.target for volume in container.config.volumes if volume.kind == "bind"}
    if owner.is_administrator or not binds:
        return
    if container.id_map is None:
        raise Refused(
            "a bind mount of an ordinary user's needs a container with a user namespace of its own",
            "use a named volume and `cp`",
        )
    process = spec["process"]["user"]
    users, groups = id_mappings(owner, container.id_map, process["uid"], process["gid"])
    for entry in spec["mounts"]:
        if entry["type"] == "bind" and entry["destination"] in binds:
            entry["uidMappings"], entry["gidMappings"] = users, groups


def _check_mapped(container: Container, account: users.Account) -> None:
    """Raise ``InvalidInput`` for an id that the container's user namespace does not have."""
    most = container.id_map.size if container.id_map else id_map.size()
    wanted = next((number for number in (account.uid, account.gid, *account.groups) if number >= most), None)
    if wanted is not None:
        raise InvalidInput(
            f"there is no user or group {wanted} in this container: it has {most} id{'s' if most > 1 else ''}",
            "ask the administrator for subordinate ids (/etc/subuid, /etc/subgid), or run it as root",
        )


def _engine_files(container: Container, directory: Path) -> dict[str, Path]:
    """The engine's files, but for those that the user mounts something else over."""
    own = container.config.mount_points
    network = network_directory(container, directory)
    return {
        target: (directory if name == "hostname" else network) / name
        for target, name in ENGINE_FILES.items()
        if target not in own
    }


def network_directory(container: Container, directory: Path) -> Path:
    """Where the files are that tell of a container's network: its own ``directory``, or that of the container whose it is."""
    return directory.with_name(container.config.networking.shared_with or directory.name)


@contextmanager
def opened(
    container: Container,
    spec: dict[str, Any],
    rootfs: tuple[Mount, ...],
    directory: Path,
    volumes: Volumes,
    stdio: Stdio,
    joined: Mapping[str, int],
) -> Iterator[Bundle]:
    """The bundle, written to ``directory/config.json``, with its volumes open; they are closed on leaving.

    ``joined`` are open namespaces of another container, the caller's.
    """
    (directory / "config.json").write_text(json.dumps(spec))
    owner = Caller(container.owner, container.owner)
    descriptors: dict[str, int] = {}
    try:
        for target, path in _engine_files(container, directory).items():
            descriptors[target] = os.open(path, os.O_PATH | os.O_CLOEXEC)
        for volume in container.config.volumes:
            if volume.kind == "bind":
                descriptors[volume.target] = open_source(volume, owner)
            elif volume.kind == "volume":
                place = volumes.ensure(volume.source, owner)
                descriptors[volume.target] = os.open(place, os.O_PATH | os.O_CLOEXEC)
        for file, source in given_files.sources(container.config.files, directory):
            descriptors[file.path] = os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        yield Bundle(
            container_id=container.id,
            spec=spec,
            rootfs=rootfs,
            stdio=stdio,
            id_map=container.id_map,
            resources=container.config.resources,
            volumes=descriptors,
            joined=joined,
            refusals="" if container.config.security.explain == "off" else str(directory / REFUSALS),
            foresee=container.config.security.explain == "all",
        )
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def stdio_for(container: Container, directory: Path, attach: bool, stdin: int | None) -> Stdio:
    """The streams of a container's first process; ``stdin`` is a client's own descriptor."""
    config = container.config
    base = Stdio(
        terminal=config.terminal,
        log_path=str(directory / LOG),
        log_max_size=config.log_max_size,
        log_max_files=config.log_max_files,
        attach=attach,
    )
    if config.terminal:
        return base
    if stdin is not None:
        return replace(base, stdin="fd", descriptors=(stdin,))
    return replace(base, stdin="pipe" if config.open_stdin else "null")
