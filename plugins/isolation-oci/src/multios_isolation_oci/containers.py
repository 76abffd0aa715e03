"""The driver's verbs. What has been done is undone in reverse when a later step fails."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multios.cgroups import Cgroups
from multios.drivers.base import DriverContext
from multios.drivers.isolation import Bundle, Launched, ProcessState, Stdio
from multios.errors import Conflict, NotFound, StepFailed, Unavailable
from multios.model.container import Counters, ProcessSpec, Resources, Stats
from multios.netlink.traffic import network_bytes
from multios.supervisor import flags, mounts
from multios.supervisor.processes import NEVER_STARTED
from multios_isolation_oci import specification
from multios_isolation_oci.records import Files, Record
from multios_isolation_oci.runtime import Runtime

if TYPE_CHECKING:
    from multios.supervisor.client import Supervisor

log = logging.getLogger(__name__)
_KILL_SECONDS = 10.0
_ATTRIBUTES = {
    "ro": flags.MOUNT_ATTR_RDONLY,
    "nosuid": flags.MOUNT_ATTR_NOSUID,
    "nodev": flags.MOUNT_ATTR_NODEV,
    "noexec": flags.MOUNT_ATTR_NOEXEC,
}


class Containers:
    """Thread-safe; what must survive a restart of the daemon stands in :class:`Files`."""

    def __init__(self, settings: Any, context: DriverContext, launcher: str) -> None:
        self._context = context
        self._launcher = launcher
        self._runtime = Runtime(settings.runtime, context.runtime / "containers")
        self._faces: dict[str, Cgroups] = {}

    # --- life ---

    def create(self, bundle: Bundle) -> Launched:
        """All that can be checked is checked before anything is made."""
        files = self._files(bundle.container_id)
        words = self._runtime.words(files.log)
        specification.check(bundle.spec)
        supervisor = self._supervisor
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as closing:
            undo.callback(files.remove)
            reservation = supervisor.reserve(bundle.container_id, self._launcher, (), None)
            undo.callback(_quietly, supervisor.forget, bundle.container_id)
            closing.callback(os.close, reservation.pidfd)
            # Beside the supervisor's group, not in it: on v2 only leaves may hold processes.
            parent = os.path.dirname(reservation.cgroup)
            cgroup = f"{parent}/oci-{bundle.container_id}"
            config, binds = specification.adapted(bundle, cgroup)
            space = self._user_namespace(bundle, closing)
            descriptors = list(_mounts(bundle, binds, space, closing))
            files.write(Record(cgroup))
            undo.callback(
                _quietly, self._runtime.try_call, files.log, "delete", "--force", bundle.container_id
            )
            plan = self._plan(bundle.container_id, words, files, config["process"], bundle.stdio.terminal)
            plan |= {
                "config": config,
                "places": specification.places(binds),
                "owner": bundle.id_map.start if bundle.id_map is not None else 0,
            }
            attached = supervisor.launch(bundle.container_id, plan, descriptors, bundle.stdio)
            pid = int(files.pid.read_text())
            record = Record(cgroup, pid)
            files.write(record)
            cgroups, name = self._group(record)
            cgroups.limit(name, bundle.resources)
            undo.pop_all()
        own_network = any(entry["type"] == "network" for entry in config["linux"]["namespaces"])
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC) if own_network else -1
        return Launched(pid, cgroup, netns, attached)

    def start(self, container_id: str) -> None:
        """Let it exec."""
        self._supervisor.start(container_id)

    def kill(self, container_id: str, number: int, everything: bool) -> None:
        """By the runtime; SIGKILL for all by cgroup, which no process can leave meanwhile."""
        files = self._files(container_id)
        record = files.read()
        if everything and number == signal.SIGKILL:
            cgroups, name = self._group(record)
            cgroups.kill(name)
            return
        every = ("--all",) if everything else ()
        self._runtime.try_call(files.log, "kill", *every, container_id, str(number))

    def delete(self, container_id: str) -> None:
        """The runtime removes what it made, and the launcher's process ends with the container's."""
        files = self._files(container_id)
        self._supervisor.forget(_map_holder(container_id))  # a daemon that died in a start could not
        try:
            record = files.read()
        except NotFound:
            self._supervisor.forget(container_id)  # nor has it noted it yet
            return
        self._runtime.try_call(files.log, "delete", "--force", container_id)
        row = self._row(container_id)
        if row is not None and row["status"] in NEVER_STARTED:
            self._supervisor.forget(container_id)
        elif row is not None and row["pid"]:
            self._wait_for_end(container_id)
        cgroups, name = self._group(record)
        cgroups.kill(name)
        cgroups.remove(name)
        files.remove()

    def state(self, container_id: str) -> ProcessState:
        """What the supervisor knows, and whether it is frozen."""
        ended = self._supervisor.exit_of(container_id)
        if ended is not None:
            counters = self._last_counters(container_id)
            killed = bool(counters and counters.oom_kills)
            return ProcessState("stopped", 0, ended["exit_code"], float(ended["finished"]), killed, counters)
        row = self._row(container_id)
        if row is None:
            raise NotFound(f"isolation driver oci has no container {container_id}")
        return self._state_of(row, self._files(container_id).read())

    # --- while it runs ---

    def exec(self, container_id: str, exec_id: str, process: ProcessSpec, stdio: Stdio) -> Launched:
        """As the runtime's ``exec``."""
        files = self._files(container_id)
        record = files.read()
        state = self.state(container_id)
        if state.status != "running":
            raise Conflict(f"container {container_id} is {state.status}", "start or resume it first")
        section = specification.limited({**process.process, "terminal": process.terminal})
        own = Files(self._context.runtime, exec_id)
        words = self._runtime.words(own.log)
        try:
            own.record.write_text(json.dumps(section))
            plan = self._plan(container_id, words, own, section, process.terminal)
            plan |= {"process_file": str(own.record), "console": str(own.record.with_suffix(".sock"))}
            _, attached = self._supervisor.exec(container_id, exec_id, self._launcher, plan, (), stdio)
            pid = int(own.pid.read_text())
        finally:
            own.remove()
        return Launched(pid, record.cgroup, -1, attached)

    def pause(self, container_id: str) -> None:
        """As the runtime's."""
        self._require(container_id, "running")
        self._runtime.call(self._files(container_id).log, "pause", container_id)

    def resume(self, container_id: str) -> None:
        """As the runtime's."""
        self._require(container_id, "paused")
        self._runtime.call(self._files(container_id).log, "resume", container_id)

    def update(self, container_id: str, resources: Resources) -> None:
        """Write the new limits into the cgroup that the runtime made: runtimes differ in what they take back."""
        cgroups, name = self._group(self._files(container_id).read())
        cgroups.limit(name, resources)

    def counters(self, container_id: str) -> Counters:
        """What the cgroup counts, until it is removed."""
        cgroups, name = self._group(self._files(container_id).read())
        found = cgroups.counters(name)
        if found == Counters():
            raise Conflict(f"the cgroup of container {container_id} is gone", "")
        return found

    def stats(self, container_id: str) -> Stats:
        """The cgroup's reading, and the traffic of the first process's network namespace."""
        state = self._require(container_id, "created", "running", "paused")
        cgroups, name = self._group(self._files(container_id).read())
        return network_bytes(state.pid, cgroups.stats(name))

    def processes(self, container_id: str) -> tuple[int, ...]:
        """All in the cgroup."""
        cgroups, name = self._group(self._files(container_id).read())
        return tuple(cgroups.processes(name))

    # --- parts ---

    @property
    def _supervisor(self) -> Supervisor:
        if self._context.supervisor is None:
            raise Unavailable("no supervisor here", "isolation drivers work in the daemon")
        return self._context.supervisor

    def _files(self, container_id: str) -> Files:
        return Files(self._context.runtime, container_id)

    def _group(self, record: Record) -> tuple[Cgroups, str]:
        parent, name = os.path.split(record.cgroup)
        if parent not in self._faces:
            self._faces[parent] = Cgroups(str(self._context.state), parent)
        return self._faces[parent], name

    @staticmethod
    def _plan(
        container_id: str, words: list[str], files: Files, process: Mapping[str, Any], terminal: bool
    ) -> dict[str, Any]:
        return {
            "id": container_id,
            "runtime": words,
            "log": str(files.log),
            "pid_file": str(files.pid),
            "terminal": terminal,
            "command": str((process.get("args") or [""])[0]),
        }

    def _user_namespace(self, bundle: Bundle, closing: contextlib.ExitStack) -> int | None:
        """A user namespace with the container's id map, for idmapped mounts: the runtime makes its own only later."""
        if bundle.id_map is None:
            return None
        supervisor, name = self._supervisor, _map_holder(bundle.container_id)
        reservation = supervisor.reserve(name, self._launcher, ("user",), bundle.id_map)
        os.close(reservation.pidfd)
        closing.callback(os.close, reservation.user_namespace)
        closing.callback(_quietly, supervisor.forget, name)
        return reservation.user_namespace

    def _row(self, container_id: str) -> dict[str, Any] | None:
        return self._supervisor.process(container_id)

    def _state_of(self, row: Mapping[str, Any], record: Record) -> ProcessState:
        status = str(row["status"])
        if status == "running":
            cgroups, name = self._group(record)
            with contextlib.suppress(NotFound, OSError):  # it is ending: its cgroup goes first
                status = "paused" if cgroups.frozen(name) else status
        elif status != "created":
            status = "stopped"
        return ProcessState(status, record.pid, row["exit_code"], float(row["finished"] or 0))

    def _last_counters(self, container_id: str) -> Counters | None:
        try:
            return self.counters(container_id)
        except (NotFound, Conflict, OSError):
            return None  # the cgroup has been removed

    def _require(self, container_id: str, *statuses: str) -> ProcessState:
        state = self.state(container_id)
        if state.status not in statuses:
            raise Conflict(f"container {container_id} is {state.status}, not {' or '.join(statuses)}")
        return state

    def _wait_for_end(self, container_id: str) -> None:
        end = time.monotonic() + _KILL_SECONDS
        while self._supervisor.exit_of(container_id) is None:
            if time.monotonic() > end:
                raise StepFailed("delete", f"container {container_id} does not die", "see the kernel's log")
            time.sleep(0.002)


def _mounts(
    bundle: Bundle, binds: Sequence[Mapping[str, Any]], space: int | None, closing: contextlib.ExitStack
) -> Iterator[int]:
    """The root and the bind mounts, detached; the launcher attaches them where the configuration says."""
    root = mounts.make_rootfs(bundle.rootfs, space)
    closing.callback(os.close, root)
    yield root
    for entry in binds:
        options = entry.get("options") or ()
        attributes = sum(_ATTRIBUTES.get(word, 0) for word in set(options))
        bind = mounts.make_bind(bundle.volumes[entry["destination"]], attributes, "rbind" in options, space)
        closing.callback(os.close, bind)
        yield bind


def _map_holder(container_id: str) -> str:
    """The id of the process that holds the user namespace for idmapped mounts while a container is made."""
    return f"{container_id}-ids"


def _quietly(action: Any, *arguments: Any) -> None:
    """An inverse that fails must not hide why it was needed."""
    try:
        action(*arguments)
    except Exception:
        log.exception("undoing a create")
