"""The whole document: what ``containers.explain`` answers with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multios.engine.bundle import LOG, network_directory
from multios.engine.caller import Caller
from multios.engine.registry import RUNNING
from multios.errors import InvalidInput, MultiosError, NotFound, nearest
from multios.explain import (
    PARTS,
    control_groups,
    mounts,
    namespaces,
    network_path,
    parentage,
    privileges,
)
from multios.explain.live import LiveProcess
from multios.explain.network_path import Attached
from multios.model.container import Container
from multios.rootless import roots

if TYPE_CHECKING:
    from multios.engine.engine import Engine


def document(container: Container, engine: Engine, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """The parts that are ``wanted``, all when none is named, of what the container is, or would be if it ran.

    ``InvalidInput`` for an unknown part; ``Conflict`` when it ends meanwhile.
    """
    _check(wanted)
    directory = engine.containers.directory(container)
    runs = container.status in RUNNING
    spec = _written(directory) if runs else engine.containers.launching.planned_spec(container)
    with contextlib.ExitStack() as stack:
        process = LiveProcess(container) if runs else None
        if process:
            stack.callback(process.close)
        parts = _readers(container, process, spec, engine, directory)
        found = [parts[name]() for name in PARTS if not wanted or name in wanted]
    return {
        "name": container.name,
        "id": container.id,
        "image": container.config.image,
        "template": container.config.template,
        "labels": dict(container.config.labels),
        "status": str(container.status),
        "running": runs,
        "rootless": roots.own() is not None,
        "parts": found,
    }


def _check(wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in PARTS:
            guess = nearest(name, list(PARTS))
            raise InvalidInput(
                f"explain knows no part {name!r}",
                f"did you mean {guess!r}?" if guess else f"parts: {', '.join(PARTS)}",
            )


def _readers(
    container: Container,
    process: LiveProcess | None,
    spec: Mapping[str, Any],
    engine: Engine,
    directory: Path,
) -> dict[str, Callable[[], dict[str, Any]]]:
    config = container.config
    return {
        "namespaces": lambda: namespaces.namespaces(process, spec),
        "ids": lambda: namespaces.ids(process, spec),
        "mounts": lambda: mounts.mounts(
            process,
            spec,
            engine.drivers.storage(container).mounts(container.id),
            _volumes(container, engine),
        ),
        "cgroups": lambda: control_groups.cgroups(
            process, config.resources, spec["linux"]["resources"].get("devices") or ()
        ),
        "capabilities": lambda: privileges.capabilities(process, spec),
        "seccomp": lambda: privileges.seccomp(process, spec, directory),
        "confinement": lambda: privileges.confinement(
            process, spec, engine.containers.confinement.report(container, directory)["Drivers"]
        ),
        "network": lambda: _network(container, process, engine, directory),
        "process": lambda: parentage.process(process, spec, directory / LOG),
    }


def _network(
    container: Container, process: LiveProcess | None, engine: Engine, directory: Path
) -> dict[str, Any]:
    owner = engine.containers.sharing.other(container) or container
    resolver = network_directory(container, directory) / "resolv.conf"
    return network_path.network(container, process, owner, _attached(owner, engine), resolver)


def _volumes(container: Container, engine: Engine) -> dict[str, str]:
    owner = Caller(container.owner, container.owner)
    rows = engine.volumes.rows(owner)
    return {row["name"]: row["path"] for row in rows if row["owner"] == container.owner}


def _attached(container: Container, engine: Engine) -> Attached:
    """Where it is attached, with the host's rules as the network's driver finds them; a driver that cannot say has none."""
    found = []
    for network, endpoint in engine.networks.endpoints_of(container.id):
        try:
            rules = engine.drivers.network(network.driver).rules(network, endpoint)
        except MultiosError:
            rules = ()
        found.append((network, endpoint, rules))
    return found


def _written(directory: Path) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = json.loads((directory / "config.json").read_text())
        return spec
    except (OSError, ValueError) as error:
        raise NotFound(f"its bundle cannot be read: {error}", "restart the container") from error
