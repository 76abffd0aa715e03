"""The life of a process, from reservation to the end of its cgroup: what the requests set off."""

from __future__ import annotations

import os
import signal

from multios.supervisor import processes, stdio, wire
from multios.supervisor.birth import Nursery
from multios.supervisor.complaint import complain
from multios.supervisor.fetching import Handover
from multios.supervisor.processes import Process
from multios.supervisor.slots import Slots, new_group
from multios.supervisor.transit import Transit
from multios.supervisor.watches import Watches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from multios.supervisor.birth import Child
    from multios.supervisor.connections import Connection, Reply
    from multios.supervisor.exits import Exits

CLEAR_ATTEMPTS, CLEAR_SECONDS = 100, 0.05


class Supervision:
    """All processes, and what happens to them. Answers go to the :class:`Reply` that came with a request."""

    def __init__(self, nursery: Nursery, exits: Exits, wanted_slots: int) -> None:
        self.nursery = nursery
        self.loop = nursery.loop
        self.hierarchy = nursery.hierarchy
        self.exits = exits
        self.processes: dict[str, Process] = {}
        self.subscribers: list[Connection] = []
        self.transit = Transit()
        self.watches = Watches(self.loop, self.tell)
        self.slots = Slots(nursery, wanted_slots, self.clear_group)

    # --- a container's first process ---

    def reserve(
        self,
        reply: Reply,
        container_id: str,
        launcher: str,
        namespaces: frozenset[str],
        id_map: tuple[int, int] | None,
        joined: dict[str, int],
    ) -> None:
        """Get a child in its namespaces and cgroup: a warm slot if one fits."""
        if container_id in self.processes or container_id in self.exits.records:
            reply.bad("conflict", f"{container_id} exists already", "forget it first")
            return
        if launcher not in self.nursery.launchers:
            reply.bad("step_failed", f"{launcher} is not loaded", "restart the daemon", step="launcher")
            return
        process = Process(container_id, container_id, launcher, processes.RESERVING)
        process.owner = id_map[0] if id_map else 0
        process.reply = reply
        self.processes[container_id] = process

        def born(child: Child, error: dict[str, Any] | None) -> None:
            self._reserved(process, child, error, namespaces, id_map)

        slot = None if joined else self.slots.take(namespaces)
        if slot is not None:
            born(slot, None)
            return
        try:
            process.group = new_group()
            self.nursery.clone(process.group, namespaces, born, joined)
        except OSError as error:
            self._give_up(process, _account("clone", error))

    def _reserved(
        self,
        process: Process,
        child: Child,
        error: dict[str, Any] | None,
        namespaces: frozenset[str],
        id_map: tuple[int, int] | None,
    ) -> None:
        process.group = child.group
        if error is not None:
            self._give_up(process, error)
            return
        self._adopt_child(process, child)
        given = [os.dup(process.pidfd)]
        try:
            if id_map and "user" in namespaces:
                process.write_id_map(*id_map)
            for name in ("user", "network"):
                given.append(process.open_namespace(name) if name in namespaces else -1)
        except OSError as problem:
            wire.close_all(given)
            child.kill()
            self._fail(process, _account("id map", problem))
            return
        process.status = processes.RESERVED
        cgroup = f"{self.hierarchy.parent}/{process.group}" if self.hierarchy.mode != "none" else ""
        self._answer(process, {"pid": process.pid, "cgroup": cgroup}, given)
        if process.forgetting:
            child.kill()

    def launch(self, reply: Reply, process: Process, asked: dict[str, Any], given: list[int]) -> None:
        """Run the launcher's ``create``. ``given``: the plan, then the plan's descriptors, then stdio's."""
        if process.status != processes.RESERVED or process.child is None:
            reply.bad("conflict", f"{process.id} is {process.status}, not reserved")
            return
        process.reply = reply
        self._order(process, process.child, "create", asked, given, self._on_created)

    def _on_created(
        self, process: Process, made: stdio.Wiring, message: dict[str, Any] | None, received: list[int]
    ) -> None:
        if self._heard_failure(process, "create", message):
            made.abandon()
            return
        self._take_streams(process, made, received)
        process.status = processes.CREATED
        self.tell_process(process)
        self._answer(process, {"terminal": made.streams.terminal}, made.attached or [-1, -1, -1])

    def start(self, reply: Reply, process: Process) -> None:
        """Let it run ``execute``; its socket's end is the sign of success."""
        if process.status != processes.CREATED or process.child is None:
            reply.bad("conflict", f"{process.id} is {process.status}, not created")
            return
        process.reply = reply
        process.status = processes.STARTING
        process.child.heard = lambda message, received: self._on_started(process, message, received)
        process.child.send({"do": "start"}, [])

    def _on_started(self, process: Process, message: dict[str, Any] | None, received: list[int]) -> None:
        wire.close_all(received)
        if message is not None:
            self._heard_failure(process, "start", message)
            return
        process.status = processes.RUNNING
        self.tell({"event": "status", "id": process.id, "status": process.status})
        self._answer(process, {}, ())

    # --- a process of exec ---

    def execute(
        self,
        reply: Reply,
        container: Process,
        exec_id: str,
        launcher: str,
        asked: dict[str, Any],
        given: list[int],
    ) -> None:
        """Make a process inside a running container."""
        if exec_id in self.processes or exec_id in self.exits.records:
            reply.bad("conflict", f"{exec_id} exists already")
            return
        if container.status not in (processes.CREATED, processes.RUNNING) or not container.alive:
            reply.bad("conflict", f"{container.id} is {container.status}, not running")
            return
        process = Process(exec_id, container.id, launcher, processes.STARTING)
        process.owner, process.group, process.reply = container.owner, container.group, reply
        self.processes[exec_id] = process
        self._order(process, container, "enter", asked, given, self._on_entered)

    def _on_entered(
        self, process: Process, made: stdio.Wiring, message: dict[str, Any] | None, received: list[int]
    ) -> None:
        if self._heard_failure(process, "exec", message):
            made.abandon()
            return
        self._take_streams(process, made, received)
        assert process.child is not None
        process.child.heard = lambda message, rest: self._on_executed(process, made, message, rest)

    def _on_executed(
        self, process: Process, made: stdio.Wiring, message: dict[str, Any] | None, received: list[int]
    ) -> None:
        wire.close_all(received)
        if message is not None:
            wire.close_all(made.attached)
            self._heard_failure(process, "exec", message)
            return
        process.status = processes.RUNNING
        self.tell_process(process)
        result = {"pid": process.pid, "terminal": made.streams.terminal}
        self._answer(process, result, made.attached or [-1, -1, -1])

    def _order(
        self,
        process: Process,
        where: Child | Process,
        verb: str,
        asked: dict[str, Any],
        given: list[int],
        heard: Any,
    ) -> None:
        """Wire the streams and give the child its first order; ``where`` is it, or the container to enter."""
        count = int(asked.get("descriptors", 0))
        process.watch = asked.get("watch")
        own, streams = given[1 : len(given) - count], given[len(given) - count :]
        try:
            made = stdio.make(self.loop, self.transit, asked, streams, process.owner, process.is_container)
        except OSError as error:
            self._give_up(process, _account("stdio", error))
            return
        order = {"do": verb, "launcher": process.launcher, "terminal": made.streams.terminal}

        def listen(message: dict[str, Any] | None, received: list[int]) -> None:
            try:
                heard(process, made, message, received)
            except Exception as error:  # whoever waits for an answer gets one
                self._give_up(process, _account(verb, error))
                raise

        def born(child: Child, error: dict[str, Any] | None) -> None:
            if error is not None:
                made.abandon()
                self._give_up(process, error)
                return
            self._adopt_child(process, child)
            child.heard = listen

        descriptors = [given[0], *made.child, *own]
        try:
            if isinstance(where, Process):
                kinds = where.other_namespaces()
                self.nursery.enter(where.group, where.pidfd, kinds, (order, descriptors), born)
            else:
                where.heard = listen
                where.send(order, descriptors)
                process.status = processes.CREATING
        except (OSError, wire.Malformed) as error:
            made.abandon()
            self._give_up(process, _account(verb, error))
            return
        wire.close_all(made.child)
        made.child = []

    def _take_streams(self, process: Process, made: stdio.Wiring, received: list[int]) -> None:
        process.streams = made.streams
        if made.streams.terminal and received:
            made.take_master(self.loop, received[0])
        else:
            wire.close_all(received)

    # --- the end ---

    def end(
        self, process: Process, exit_code: int | None, number: int, finished: float | None = None
    ) -> None:
        """Its end is known; called before a child of ours is reaped."""
        process.alive = False
        if process.streams:
            process.streams.finish()
            process.streams = None
        if process.child is not None:
            if process.status == processes.STARTING:
                # It ended without a complaint, so exec succeeded; a slow helper may still hold the socket open.
                process.child.heard(None, [])
            process.child.hang_up()
        wire.close_all([process.pidfd])
        process.pidfd = -1
        if process.is_container:
            self.watches.end(process.id)
        if process.status in (processes.RESERVED, processes.RESERVING, processes.CREATING):
            self._fail(process, {"step": "create", "errno": 0, "detail": "the process died", "status": 125})
        if process.status == processes.FAILED or process.forgetting:
            self.tell({"event": "gone", "id": process.id})
        else:
            process.status = processes.STOPPED
            record = self.exits.write(process.id, process.container_id, exit_code, number, finished)
            self.tell({"event": "exit", **record})
        if process.forgetting or not process.is_container:
            self._drop(process)
        elif process.status == processes.FAILED:
            self.loop.when_quiet(lambda: self.clear_group(process.group))
        # Else a container's cgroup stays until it is forgotten: the daemon may ask it about the end.

    def forget(self, reply: Reply, process_id: str) -> None:
        """Drop what is known of an ended process; end one that never started."""
        process = self.processes.get(process_id)
        if process is None:
            self.exits.forget(process_id)
            reply.good()
        elif not process.alive:
            process.forgetting.append(reply)
            self._drop(process)
        elif process.status in processes.NEVER_STARTED:
            process.forgetting.append(reply)
            if process.child is not None:
                process.child.kill()
            else:
                # A predecessor's, which died before it could say that it was started.
                process.signal(signal.SIGKILL)
        else:
            reply.bad("conflict", f"{process_id} is running", "stop it first")

    def _drop(self, process: Process) -> None:
        """The last of it."""
        self.processes.pop(process.id, None)
        if process.is_container:
            self.clear_group(process.group)
        if process.forgetting:
            self.exits.forget(process.id)
        for reply in process.forgetting:
            self.loop.later(0, reply.good)  # when it is reaped, too
        process.forgetting = []

    def leave(self) -> None:
        """Let the warm slots go, then stop; only the last one's cgroup is waited for."""
        self.slots.close()

        def look(rounds: int) -> None:
            if self.slots.pids and rounds:
                self.loop.later(0.01, lambda: look(rounds - 1))
            else:
                self.loop.running = False

        look(100)

    def clear_group(self, group: str, attempt: int = 0) -> None:
        """Remove a cgroup; whoever is still in it is killed."""
        if not group:
            return
        if self.hierarchy.processes(group):
            if attempt < CLEAR_ATTEMPTS:
                self.hierarchy.kill(group)
                self.loop.later(CLEAR_SECONDS, lambda: self.clear_group(group, attempt + 1))
            else:
                complain(f"cgroup {group}", "its processes do not die")
            return
        self.hierarchy.remove(group)

    # --- telling ---

    def tell(self, event: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send an event to every subscriber."""
        for subscriber in list(self.subscribers):
            subscriber.send(event, descriptors)

    def tell_process(self, process: Process, whom: Sequence[Connection] | None = None) -> None:
        """Give subscribers copies of what a successor of ours would need."""
        names, descriptors = process.copies()
        event = {"event": "process", "copies": names, **process.describe()}
        for subscriber in self.subscribers if whom is None else whom:
            subscriber.send(event, descriptors)

    def _adopt_child(self, process: Process, child: Child) -> None:
        process.child, process.pid, process.pidfd = child, child.pid, child.pidfd
        child.ended = lambda exit_code, number: self.end(process, exit_code, number)
        handover = Handover(self.loop, child, lambda listener: self._watch(process, listener))
        child.listening = handover.hear

    def _watch(self, process: Process, listener: int) -> None:
        if process.watch is None:
            complain(process.id, "a listener that nobody asked for")
            os.close(listener)
        else:
            self.watches.add(process.container_id, process.watch, listener)

    def _heard_failure(self, process: Process, step: str, message: dict[str, Any] | None) -> bool:
        """Whether this is not the news hoped for; then the caller has been told."""
        if message is not None and "error" not in message:
            return False
        died = {"step": step, "errno": 0, "detail": "the process died", "status": 125}
        self._fail(process, message["error"] if message else died)
        return True

    def _fail(self, process: Process, error: dict[str, Any]) -> None:
        """A step failed: the process is about to end, or has."""
        process.status = processes.FAILED
        if process.child is not None:
            process.child.heard = lambda message, received: wire.close_all(received)
        if process.reply is not None:
            process.reply.failed(error)
            process.reply = None

    def _give_up(self, process: Process, error: dict[str, Any]) -> None:
        """There is no process, or a useless one: tell, and leave it to be forgotten."""
        self._fail(process, error)
        if process.child is not None:
            process.child.kill()
        else:
            process.alive = False
            self._drop(process)

    def _answer(self, process: Process, result: dict[str, Any], descriptors: Sequence[int]) -> None:
        reply, process.reply = process.reply, None
        if reply is None:
            wire.close_all(descriptors)
        else:
            reply.good(result, descriptors)


def _account(step: str, error: Exception) -> dict[str, Any]:
    number = error.errno or 0 if isinstance(error, OSError) else 0
    detail = getattr(error, "filename", None) or error
    return {"step": step, "errno": number, "detail": str(detail), "status": 125}
