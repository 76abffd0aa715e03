"""The supervisor as the daemon sees it: one object, usable from every thread."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multios.drivers.isolation import Stdio
from multios.errors import InvalidInput
from multios.model.mount import IdMap
from multios.supervisor import spawn
from multios.supervisor.channel import Channels
from multios.supervisor.exits import is_process_id
from multios.supervisor.guardian import Guardian

log = logging.getLogger(__name__)

Ends = tuple[int, int, int]
"""A client's ends of a process's streams: stdin, stdout, stderr; or master, output, -1. The caller's."""

ExitCallback = Callable[[str, int | None, int, float], None]
"""Called with process id, exit code (``None``: unknown), signal (0: none) and the time it finished."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A stopped child in its namespaces. Descriptors are the caller's; -1 where there is none.

    ``cgroup`` is the group's path below every hierarchy's top, ``multios/<slot>``.
    """

    pid: int
    pidfd: int
    user_namespace: int
    network_namespace: int
    cgroup: str


class Supervisor:
    """A handle to the supervisor at ``socket``, which is started if nobody answers, and again if it dies.

    ``launchers`` are the modules it loads; ``slots`` how many children it keeps ready; ``import_paths`` are
    further directories to find launchers in; ``log`` takes what it complains about. Every method raises
    ``Unavailable`` when the supervisor is gone and could not be replaced.
    """

    def __init__(
        self,
        socket: Path,
        exits: Path,
        cgroup_parent: str,
        launchers: Sequence[str],
        slots: int = 2,
        import_paths: Sequence[Path] = (),
        log: str = "",
    ) -> None:
        self._exits = exits
        self._told: dict[str, dict[str, Any]] = {}
        self._callbacks: list[ExitCallback] = []
        self._lock = threading.Lock()
        self._news: queue.SimpleQueue[tuple[ExitCallback, dict[str, Any]] | None] = queue.SimpleQueue()
        self._teller = threading.Thread(target=self._tell, name="supervisor-exits", daemon=True)
        self._teller.start()
        command = spawn.Command(
            socket, exits, cgroup_parent, tuple(launchers), slots, tuple(import_paths), log
        )
        self._guardian = Guardian(command, Channels(str(socket)), self._on_exit)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._guardian.supervisor_pid

    def status(self) -> dict[str, Any]:
        """``pid``, ``slots`` (pids of the children that wait; 0: on its way) and ``launchers`` that loaded."""
        return self._guardian.request({"do": "status"}, again=True)[0]

    def reserve(
        self,
        container_id: str,
        launcher: str,
        namespaces: Sequence[str],
        id_map: IdMap | None,
        joined: Mapping[str, int] | None = None,
    ) -> Reservation:
        """A stopped child in new namespaces and a fresh cgroup. ``Conflict`` if the id is in use.

        ``joined`` are namespaces that are there already, by kind: descriptors of them. ``id_map`` is that of the user
        namespace, whether it is new or joined.
        """
        message = {
            "do": "reserve",
            "id": container_id,
            "launcher": launcher,
            "namespaces": list(namespaces),
            "joined": list(joined or ()),
            "id_map": [id_map.start, id_map.size] if id_map else None,
        }
        result, ends = self._guardian.request(message, tuple((joined or {}).values()))
        return Reservation(result["pid"], ends[0], ends[1], ends[2], result["cgroup"])

    def map_ids(self, users: Sequence[Sequence[int]], groups: Sequence[Sequence[int]]) -> int:
        """A descriptor, the caller's, of a user namespace for an idmapped mount: lines are (on disk, on the host, how many)."""
        message = {
            "do": "map",
            "users": [list(line) for line in users],
            "groups": [list(line) for line in groups],
        }
        return self._guardian.request(message, again=True)[1][0]

    def launch(
        self,
        container_id: str,
        plan: Mapping[str, Any],
        descriptors: Sequence[int],
        stdio: Stdio,
        watch: Mapping[str, Any] | None = None,
    ) -> Ends:
        """Run the launcher's ``create``. ``StepFailed`` names the step; then :meth:`forget` cleans up.

        ``watch`` says how to serve the listener of its filter: see :class:`multios.supervisor.watches.Listener`.
        """
        message = {"do": "launch", "id": container_id, "stdio": _stdio(stdio, watch)}
        return _three(self._with_plan(message, plan, descriptors, stdio)[1])

    def start(self, container_id: str) -> None:
        """Run ``execute``: ``CommandNotFound``, ``CommandNotExecutable`` or ``StepFailed`` if it fails."""
        self._guardian.request({"do": "start", "id": container_id})

    def exec(
        self,
        container_id: str,
        exec_id: str,
        launcher: str,
        plan: Mapping[str, Any],
        descriptors: Sequence[int],
        stdio: Stdio,
        watch: Mapping[str, Any] | None = None,
    ) -> tuple[int, Ends]:
        """Start another process in the container: its pid, and the ends; a terminal's master is the first.

        Its exit is reported under ``exec_id``.
        """
        message = {
            "do": "exec",
            "id": container_id,
            "exec_id": exec_id,
            "launcher": launcher,
            "stdio": _stdio(stdio, watch),
        }
        result, ends = self._with_plan(message, plan, descriptors, stdio)
        return int(result["pid"]), _three(ends)

    def attach(self, container_id: str, stdin: bool) -> tuple[bool, Ends]:
        """Whether it has a terminal, and new ends of its streams, from now on.

        Standard input goes to the first who asks for it: when he closes it, the process reads its end.
        """
        result, ends = self._guardian.request({"do": "attach", "id": container_id, "stdin": stdin})
        return bool(result["terminal"]), _three(ends)

    def signal(self, process_id: str, number: int) -> None:
        """Send a signal to the process itself; a dead one is no error, an unknown one ``NotFound``."""
        if not self._guardian.signal(process_id, number):
            self._guardian.request({"do": "signal", "id": process_id, "signal": number}, again=True)

    def processes(self) -> list[dict[str, Any]]:
        """All known: ``id``, ``container_id``, ``pid`` (0 when ended), ``status``, ``exit_code``, ``finished``."""
        rows: list[dict[str, Any]] = []
        while True:
            after = rows[-1]["id"] if rows else ""
            page = self._guardian.request({"do": "processes", "after": after}, again=True)[0]["rows"]
            if not page:
                return rows
            rows += page

    def process(self, process_id: str) -> dict[str, Any] | None:
        """The row of one, without the others', which may be many; ``None`` when it is not known."""
        # A supervisor of an earlier release knows no ``id``, and answers with a page that would begin with it.
        message = {"do": "processes", "id": process_id, "after": process_id[:-1]}
        rows = self._guardian.request(message, again=True)[0]["rows"]
        return next((row for row in rows if row["id"] == process_id), None)

    def write_refusals(self, container_id: str) -> None:
        """Have what is known of a container's refused calls written to its record; unknown: no error."""
        self._guardian.request({"do": "write-refusals", "id": container_id}, again=True)

    def exit_of(self, process_id: str) -> dict[str, Any] | None:
        """The recorded exit: ``id``, ``container_id``, ``exit_code``, ``signal``, ``finished``."""
        if not is_process_id(process_id):
            raise InvalidInput(f"bad process id {process_id!r}")
        try:
            record: dict[str, Any] = json.loads((self._exits / process_id).read_bytes())
        except FileNotFoundError:
            return None
        return record

    def forget(self, process_id: str) -> None:
        """Drop the record of an ended process; end and remove one that never started. Unknown: no error.

        ``Conflict`` if it runs.
        """
        self._guardian.request({"do": "forget", "id": process_id}, again=True)
        with self._lock:
            self._told.pop(process_id, None)

    def on_exit(self, callback: ExitCallback) -> None:
        """Have ``callback`` called for every exit, also for those not forgotten from before; in one thread."""
        with self._lock:
            self._callbacks.append(callback)
            for record in self._told.values():
                self._news.put((callback, record))

    def close(self) -> None:
        """Let go of the supervisor, which lives on with its containers."""
        self._guardian.close()
        self._news.put(None)

    def shutdown(self) -> None:
        """Ask the supervisor to leave, then :meth:`close`. ``Conflict`` while anything runs in it."""
        self._guardian.dismiss()
        self._news.put(None)

    def _with_plan(
        self, message: dict[str, Any], plan: Mapping[str, Any], descriptors: Sequence[int], stdio: Stdio
    ) -> tuple[dict[str, Any], list[int]]:
        """Send the plan in a memfd: it may be bigger than a packet, and only the child reads it."""
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            with open(memory, "wb", closefd=False) as file:
                file.write(json.dumps(plan).encode())
            return self._guardian.request(message, (memory, *descriptors, *stdio.descriptors))
        finally:
            os.close(memory)

    def _on_exit(self, record: dict[str, Any]) -> None:
        with self._lock:
            former = self._told.get(record["id"])
            if former is not None and former["finished"] == record["finished"]:
                return  # a supervisor tells all exits again to whoever subscribes
            self._told[record["id"]] = record
            for callback in self._callbacks:
                self._news.put((callback, record))

    def _tell(self) -> None:
        while (news := self._news.get()) is not None:
            callback, record = news
            try:
                callback(record["id"], record["exit_code"], record["signal"], record["finished"])
            except Exception:
                log.exception("a callback for the exit of %s", record["id"])


def _stdio(stdio: Stdio, watch: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "watch": watch and dict(watch),
        "terminal": stdio.terminal,
        "stdin": stdio.stdin,
        "log_path": stdio.log_path,
        "log_max_size": stdio.log_max_size,
        "log_max_files": stdio.log_max_files,
        "attach": stdio.attach,
        "descriptors": len(stdio.descriptors),
    }


def _three(ends: list[int]) -> Ends:
    first, second, third = ends
    return first, second, third
