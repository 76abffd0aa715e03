"""The pasta process of each endpoint: started, found again by a later daemon, ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multios.errors import Conflict, InvalidInput, NotFound, StepFailed, Unsupported
from multios.model.network import Endpoint, Network, PortMapping
from multios.netlink import container_side
from multios.netlink.container_side import DefaultRoute
from multios.netlink.namespaces import done_inside
from multios.supervisor import flags
from multios.supervisor.mounts import in_private_namespace
from multios.supervisor.syscalls import kernel
from multios_net_pasta.command import words

PROGRAM = "pasta"
INSTALL = "ask the administrator: apt-get install passt"
_START_SECONDS = 15.0
_END_SECONDS = 5.0
_ENDPOINT_ID = re.compile(r"[0-9a-f]{1,128}")


@dataclass(frozen=True, slots=True)
class Place:
    """A pasta process, known by its pid and its start time (proc_pid_stat(5)), and the ports that it holds."""

    pid: int
    started: int
    ports: tuple[PortMapping, ...] = ()


class Places:
    """Records as files of ``directory``, by endpoint.

    ``find`` opens the network namespace of a container by its id, −1 for one that has ended. Without it, outside
    the daemon, namespaces are kept open from :meth:`start` on.
    """

    def __init__(self, directory: Path, find: Callable[[str], int] | None) -> None:
        self._directory = directory
        self._find = find
        self._lock = threading.Lock()
        self._kept: dict[str, int] = {}

    def program(self) -> str:
        """Where pasta is; ``Unsupported`` if nowhere."""
        found = shutil.which(PROGRAM)
        if not found:
            raise Unsupported(f"{PROGRAM} is not installed", f"{INSTALL}; or use --network none")
        return found

    def start(self, network: Network, endpoint: Endpoint, netns: int, ports: tuple[PortMapping, ...]) -> None:
        """Start a pasta for the namespace ``netns`` and wait until it serves; a failure leaves nothing."""
        program, file = self.program(), self._file(endpoint)
        if endpoint.interface in done_inside(netns, _interfaces):
            raise Conflict(
                f"the container already has an interface {endpoint.interface!r}",
                "disconnect it first, or use another interface name",
            )
        pid_file, door = file.with_suffix(".pid"), file.with_suffix(".netns")
        command = [program, *words(endpoint, str(door), str(pid_file), ports)]

        def run() -> None:
            kernel.mount(f"/proc/self/fd/{netns}", str(door), "", flags.MS_BIND)
            self._run(network, command)

        try:
            door.touch()
            # pasta opens a path, and may not look into our descriptors: it gets a mount that only it sees.
            in_private_namespace(run)
            pid = int(pid_file.read_text())
        finally:
            pid_file.unlink(missing_ok=True)
            door.unlink(missing_ok=True)
        self._write(file, Place(pid, _start_time(pid), ports))
        if self._find is None:
            self._keep(endpoint, os.dup(netns))

    def stop(self, endpoint: Endpoint) -> None:
        """End the endpoint's pasta; none is no error."""
        file = self._file(endpoint)
        place = _read(file)
        if place is not None:
            _end(place)
        file.unlink(missing_ok=True)
        self._keep(endpoint, -1)

    def close(self) -> None:
        """Let go of the namespaces; the pastas go on."""
        with self._lock:
            for netns in self._kept.values():
                os.close(netns)
            self._kept.clear()

    def change(
        self,
        network: Network,
        endpoint: Endpoint,
        add: tuple[PortMapping, ...] = (),
        remove: tuple[PortMapping, ...] = (),
    ) -> None:
        """Replace the endpoint's pasta by one with other ports, in the same namespace; the old one comes back
        where the new one cannot start."""
        place = _read(self._file(endpoint))
        if place is None:
            if remove:
                return
            raise NotFound(f"endpoint {endpoint.id[:12]} has no pasta", "restart the container")
        wanted = tuple(dict.fromkeys([*(port for port in place.ports if port not in remove), *add]))
        if wanted == place.ports:
            return
        words(endpoint, "", "", wanted)  # what it cannot do is said before anything is ended
        netns = self._namespace(endpoint)
        if netns < 0 and not add:  # the ports go with what is left of it
            self.stop(endpoint)
            return
        if netns < 0:
            raise StepFailed("change published ports", "the container has just ended", "start it again")
        try:
            self._restart(network, endpoint, netns, wanted, place.ports)
        finally:
            os.close(netns)

    def _restart(
        self,
        network: Network,
        endpoint: Endpoint,
        netns: int,
        ports: tuple[PortMapping, ...],
        former: tuple[PortMapping, ...],
    ) -> None:
        self.stop(endpoint)
        try:
            self.start(network, endpoint, netns, ports)
        except BaseException:
            with contextlib.suppress(StepFailed):
                self.start(network, endpoint, netns, former)
            raise

    def faults(self, endpoint: Endpoint, netns: int) -> list[str]:
        """What is not as :meth:`start` left it, in words."""
        found = container_side.faults(endpoint, netns, DefaultRoute.GATEWAY)
        place = _read(self._file(endpoint))
        if place is None or not _alive(place):
            found.append("its pasta process has ended")
        return found

    def _keep(self, endpoint: Endpoint, netns: int) -> None:
        with self._lock:
            former = self._kept.pop(endpoint.id, -1)
            if netns >= 0:
                self._kept[endpoint.id] = netns
        if former >= 0:
            os.close(former)

    def _namespace(self, endpoint: Endpoint) -> int:
        """The endpoint's namespace, the caller's to close; −1 when its container has ended."""
        if self._find is not None:
            return self._find(endpoint.container_id)
        with self._lock:
            kept = self._kept.get(endpoint.id, -1)
            return os.dup(kept) if kept >= 0 else -1

    def _run(self, network: Network, command: list[str]) -> None:
        """pasta goes to the background when it serves; until then what it says is kept."""
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_START_SECONDS,
                check=False,
                cwd="/",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(f"attach to network {network.name!r}", f"{PROGRAM}: {error}", INSTALL) from error
        if done.returncode:
            raise StepFailed(f"attach to network {network.name!r}", *_explained(done.stderr))

    def _file(self, endpoint: Endpoint) -> Path:
        if not _ENDPOINT_ID.fullmatch(endpoint.id):
            raise InvalidInput(f"endpoint: {endpoint.id!r} is no id", "an id is of hexadecimal digits")
        return self._directory / f"{endpoint.id}.json"

    def _write(self, file: Path, place: Place) -> None:
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(place)))
        os.replace(temporary, file)


# --- processes ---


def _read(file: Path) -> Place | None:
    try:
        row: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return Place(row["pid"], row["started"], tuple(PortMapping(**port) for port in row["ports"]))


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _alive(place: Place) -> bool:
    return _start_time(place.pid) == place.started != 0


def _end(place: Place) -> None:
    """Ask it, wait, make it; and bury it where it is our child."""
    try:
        process = os.pidfd_open(place.pid)
    except ProcessLookupError:
        return
    try:
        if not _alive(place):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if select.select([process], [], [], _END_SECONDS)[0]:
                break
    finally:
        os.close(process)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(place.pid, os.WNOHANG)


def _explained(said: bytes) -> tuple[str, str]:
    """Cause and remedy for what pasta wrote."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed to send")]
    text = "; ".join(lines[-2:]) or "it ended without a word"
    if "tun " in text or "/dev/net/tun" in text:
        return f"{PROGRAM}: {text}", "the administrator can allow it: chmod 0666 /dev/net/tun"
    if "external" in text.lower():
        return f"{PROGRAM}: {text}", "this host has no default route now: use --network none"
    if "bind" in text.lower():
        return f"{PROGRAM}: {text}", "choose another host port; below 1024 the administrator must allow it"
    return f"{PROGRAM}: {text}", "run multios-container doctor"
