"""The driver's verbs. What has been done is undone in reverse when a later step fails."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multios.drivers.base import DriverContext
from multios.drivers.isolation import Bundle, Launched, ProcessState, RefusedCall, Stdio
from multios.errors import Conflict, InvalidInput, NotFound, StepFailed, Unavailable, Unsupported
from multios.model.container import Counters, ProcessSpec, Resources, Stats
from multios.netlink.traffic import network_bytes
from multios.supervisor import flags, mounts
from multios.supervisor.processes import NEVER_STARTED
from multios.supervisor.syscalls import kernel
from multios_isolation_ns import device_nodes, landlock, limits, plan, seccomp, watching
from multios_isolation_ns.groups import Group, Groups, v1_hierarchies
from multios_isolation_ns.mount_options import parse
from multios_isolation_ns.no_cgroup import start_time
from multios_isolation_ns.records import Record, Records

if TYPE_CHECKING:
    from multios.supervisor.client import Reservation, Supervisor

log = logging.getLogger(__name__)
_KILL_SECONDS = 10.0


class Containers:
    """Thread-safe; what must survive a restart of the daemon stands in :class:`Records`."""

    def __init__(self, settings: Any, context: DriverContext, launcher: str) -> None:
        self._settings = settings
        self._context = context
        self._launcher = launcher
        self._records = Records(context.runtime)
        self._groups = Groups(str(context.state))

    # --- life ---

    def create(self, bundle: Bundle) -> Launched:
        """All that can be checked is checked before anything is made."""
        spec = bundle.spec
        own = plan.namespaces(spec, bundle.joined)
        if ("user" in own) != (bundle.id_map is not None):
            raise InvalidInput("a user namespace and an id map come together or not at all")
        program, program_flags, program_path = self._filter(spec["linux"].get("seccomp"))
        binds = [entry for entry in spec.get("mounts") or () if entry["destination"] in bundle.volumes]
        made = plan.container(
            self._with_cgroup_mounts(spec),
            v1_hierarchies(self._groups.of("").hierarchy),
            [entry["destination"] for entry in binds],
            program,
            program_flags,
            bundle.joined,
        )
        record_path = bundle.refusals if program_path and watching.is_possible() else ""
        if bundle.foresee and not record_path:
            raise Unsupported(
                "refusals of the kernel can be foreseen only with a system call filter, on Linux 5.5 or later",
                "leave out --security-opt explain=all",
            )
        watch = self._watch(made, program_path, record_path, bundle.foresee)
        resources, devices = limits.of_spec(spec["linux"].get("resources") or {}, bundle.resources)
        supervisor = self._supervisor
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as closing:
            new = [name for name in own if name not in bundle.joined]
            reservation = supervisor.reserve(
                bundle.container_id, self._launcher, new, bundle.id_map, bundle.joined
            )
            undo.callback(_quietly, supervisor.forget, bundle.container_id)
            undo.callback(_close, reservation.network_namespace)
            closing.callback(_close, reservation.user_namespace)
            closing.callback(_close, reservation.pidfd)
            started = 0 if reservation.cgroup else start_time(reservation.pid)
            record = Record(
                reservation.cgroup,
                program_path,
                program_flags,
                "user" in own,
                reservation.pid,
                record_path,
                bundle.foresee,
                (spec.get("annotations") or {}).get(plan.LANDLOCK_ANNOTATION) or "",
                started,
            )
            group = self._groups.group(record)
            group.cgroups.limit(group.name, resources)
            group.cgroups.allow_devices(group.name, devices)
            descriptors = list(_mounts(bundle, binds, reservation, supervisor, closing))
            descriptors += device_nodes.make(made["devices"], bundle.id_map, len(descriptors), closing)
            held = made["process"]
            held["rlimits"] = limits.permitted(held["rlimits"], reservation.pid)
            held["capabilities"] = limits.available(held["capabilities"], "user" in own)
            self._records.write(bundle.container_id, record)
            undo.callback(self._records.remove, bundle.container_id)
            attached = supervisor.launch(bundle.container_id, made, descriptors, bundle.stdio, watch)
            undo.pop_all()
        return Launched(reservation.pid, reservation.cgroup, reservation.network_namespace, attached)

    def start(self, container_id: str) -> None:
        """Let it exec."""
        self._supervisor.start(container_id)

    def kill(self, container_id: str, number: int, everything: bool) -> None:
        """By descriptor, or by cgroup."""
        group = self._group(container_id)
        if not everything:
            self._supervisor.signal(container_id, number)
        elif number == signal.SIGKILL:
            group.cgroups.kill(group.name)
        else:
            for pid in group.cgroups.processes(group.name):
                _signal(pid, number)

    def delete(self, container_id: str) -> None:
        """The supervisor removes the cgroup when the end of the first process has been recorded."""
        try:
            group = self._group(container_id)
        except NotFound:
            self._supervisor.forget(container_id)  # a daemon that died in a start may not have noted it yet
            return
        row = self._supervisor.process(container_id)
        if row is None:
            self._end_orphan(group)
        elif row["status"] in NEVER_STARTED:
            self._supervisor.forget(container_id)
        elif row["pid"]:
            group.cgroups.kill(group.name)
            self._wait_for_end(container_id)
        self._records.remove(container_id)

    def _end_orphan(self, group: Group) -> None:
        """Nobody is its parent any more: supervisor and daemon died at once, or it has ended long ago."""
        deadline = time.monotonic() + _KILL_SECONDS
        while group.cgroups.processes(group.name) and time.monotonic() < deadline:
            group.cgroups.kill(group.name)
            time.sleep(0.01)
        group.cgroups.remove(group.name)

    def state(self, container_id: str) -> ProcessState:
        """What the supervisor knows, and whether it is frozen."""
        ended = self._supervisor.exit_of(container_id)
        if ended is not None:
            counters = self._last_counters(container_id)
            killed = bool(counters and counters.oom_kills)
            return ProcessState("stopped", 0, ended["exit_code"], float(ended["finished"]), killed, counters)
        row = self._supervisor.process(container_id)
        if row is None:
            raise NotFound(f"isolation driver ns has no container {container_id}")
        return self._state_of(row)

    def _last_counters(self, container_id: str) -> Counters | None:
        try:
            return self.counters(container_id)
        except (NotFound, Conflict):
            return None  # the cgroup has been removed

    # --- while it runs ---

    def exec(self, container_id: str, exec_id: str, process: ProcessSpec, stdio: Stdio) -> Launched:
        """Confined as the first process is, but for what ``process`` itself says."""
        record = self._records.read(container_id)
        state = self.state(container_id)
        if state.status != "running":
            raise Conflict(f"container {container_id} is {state.status}", "start or resume it first")
        program = Path(record.program).read_bytes() if record.program else b""
        section = {**process.process, "terminal": process.terminal}
        rules = landlock.ruleset(record.landlock)
        made = plan.process(section, program, record.program_flags, ruleset=rules)
        held = made["process"]
        held["rlimits"] = limits.permitted(held["rlimits"], state.pid, raising=False)
        held["capabilities"] = limits.available(held["capabilities"], record.user_namespace)
        watch = self._watch(made, record.program, record.refusals, record.foresee)
        pid, attached = self._supervisor.exec(container_id, exec_id, self._launcher, made, (), stdio, watch)
        return Launched(pid, record.cgroup, -1, attached)

    def pause(self, container_id: str) -> None:
        """Freeze the cgroup."""
        self._require(container_id, "running")
        group = self._group(container_id)
        group.cgroups.freeze(group.name)

    def resume(self, container_id: str) -> None:
        """Thaw the cgroup."""
        self._require(container_id, "paused")
        group = self._group(container_id)
        group.cgroups.thaw(group.name)

    def update(self, container_id: str, resources: Resources) -> None:
        """Write the new limits."""
        group = self._group(container_id)
        group.cgroups.limit(group.name, resources)

    def stats(self, container_id: str) -> Stats:
        """The cgroup's reading, and the traffic of the first process's network namespace.

        The supervisor is not asked: it would answer with all of its processes, for each of many containers.
        """
        record = self._records.read(container_id)
        if self._supervisor.exit_of(container_id) is not None:
            raise Conflict(f"container {container_id} has ended", "")
        group = self._groups.group(record)
        return network_bytes(record.pid, group.cgroups.stats(group.name))

    def counters(self, container_id: str) -> Counters:
        """What the cgroup counts, until it is removed."""
        group = self._group(container_id)
        found = group.cgroups.counters(group.name)
        if found == Counters():
            raise Conflict(f"the cgroup of container {container_id} is gone", "")
        return found

    def processes(self, container_id: str) -> tuple[int, ...]:
        """All in the cgroup."""
        group = self._group(container_id)
        return tuple(group.cgroups.processes(group.name))

    def refused(self, container_id: str, record: str) -> tuple[RefusedCall, ...]:
        """What the supervisor wrote down, or has yet to."""
        self._supervisor.write_refusals(container_id)
        return watching.read(record)

    def watches(self, container_id: str) -> bool:
        """Whether its filter asks."""
        try:
            return bool(self._records.read(container_id).refusals)
        except NotFound:
            return False

    # --- parts ---

    @staticmethod
    def _watch(made: dict[str, Any], program: str, record: str, foresee: bool) -> dict[str, Any] | None:
        """Have the filter of a plan ask, where there is a record to write to."""
        if not record:
            return None
        watching.watched(made, program, foresee)
        return watching.watch(program, record, foresee)

    def _state_of(self, row: Mapping[str, Any]) -> ProcessState:
        status = str(row["status"])
        if status == "running":
            group = self._group(row["id"])
            status = "paused" if group.cgroups.frozen(group.name) else status
        elif status != "created":
            status = "stopped"
        return ProcessState(status, row["pid"], row["exit_code"], float(row["finished"] or 0))

    def _group(self, container_id: str) -> Group:
        return self._groups.group(self._records.read(container_id))

    @property
    def _supervisor(self) -> Supervisor:
        if self._context.supervisor is None:
            raise Unavailable("no supervisor here", "isolation drivers work in the daemon")
        return self._context.supervisor

    def _filter(self, section: Mapping[str, Any] | None) -> tuple[bytes, int, str]:
        if not section:
            return b"", 0, ""
        path = seccomp.program_file(section, self._context.state / "seccomp")
        return Path(path).read_bytes(), seccomp.installation_flags(section), path

    def _with_cgroup_mounts(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._settings.cgroup_mount and self._groups.of("").mode != "none":
            return spec
        kept = [entry for entry in spec.get("mounts") or () if entry.get("type") not in ("cgroup", "cgroup2")]
        return {**spec, "mounts": kept}

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
    bundle: Bundle,
    binds: list[Any],
    reservation: Reservation,
    supervisor: Supervisor,
    closing: contextlib.ExitStack,
) -> Iterator[int]:
    """The root and the bind mounts, detached; they live on in the container when ours are closed."""
    # From 0 on they are our own ids, and those on disk: nothing is to be mapped.
    space = None
    if bundle.id_map is not None and bundle.id_map.start:
        space = bundle.joined.get("user", reservation.user_namespace)
    root = mounts.make_rootfs(bundle.rootfs, space)
    closing.callback(os.close, root)
    if space is not None:  # nobody inside can make a device node, so one in the root is the image's
        kernel.mount_setattr(root, "", flags.AT_EMPTY_PATH, set_attributes=flags.MOUNT_ATTR_NODEV)
    yield root
    for entry in binds:
        options = parse(entry["destination"], entry.get("options") or ())
        source = bundle.volumes[entry["destination"]]
        users, groups = (plan.id_lines(entry.get(key) or ()) for key in ("uidMappings", "gidMappings"))
        own = space
        if users or groups:
            own = supervisor.map_ids(users, groups)
            closing.callback(os.close, own)
        try:
            bind = mounts.make_bind(source, options.attributes, options.recursive, own)
        except Unsupported:
            raise Unsupported(
                f"the filesystem of {entry.get('source')}, or one mounted below it, cannot show other ids",
                "mount what is on ext4, xfs, btrfs or tmpfs and has nothing else mounted below",
            ) from None
        closing.callback(os.close, bind)
        yield bind


def _signal(pid: int, number: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        kernel.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _quietly(action: Any, *arguments: Any) -> None:
    """An inverse that fails must not hide why it was needed."""
    try:
        action(*arguments)
    except Exception:
        log.exception("undoing a create")


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
