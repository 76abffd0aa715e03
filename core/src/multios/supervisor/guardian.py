"""The daemon's watch over its supervisor: it follows the events, holds copies, and provides a successor.

The copies are of each process's pidfd, outputs and terminal, and of what is on its way to a log. When the supervisor
dies, a new one is started and gets them; the processes go on, their pipes never having been without a reader.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from multios.errors import MultiosError, Unavailable
from multios.supervisor import flags, orphans, spawn, wire
from multios.supervisor.channel import Channels, Gone, connect
from multios.supervisor.syscalls import kernel
from multios.supervisor.transit import COPIES

ANSWER_SECONDS = 20.0
FIRST_RETRY_SECONDS, RETRY_SECONDS = 0.02, 1.0

log = logging.getLogger(__name__)


class Held:
    """A living process as its supervisor described it, and the copies of its descriptors by name."""

    def __init__(self, described: dict[str, Any], copies: dict[str, int]) -> None:
        self.described = described
        self.copies = copies

    def close(self) -> None:
        """Let the copies go."""
        wire.close_all(self.copies.values())
        self.copies = {}


class Guardian:
    """One thread that reads events; ``on_exit`` is called there with each exit record and must be quick."""

    def __init__(
        self, command: spawn.Command, channels: Channels, on_exit: Callable[[dict[str, Any]], None]
    ) -> None:
        self._command = command
        self._path = str(command.socket)
        self._channels = channels
        self._on_exit = on_exit
        self._held: dict[str, Held] = {}
        self._listeners: dict[str, Held] = {}
        self._transit: Held | None = None
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._caught_up = threading.Event()
        self._closing = False
        self._child = 0
        self.supervisor_pid = 0
        self._orphans = orphans.Orphans(self._report_end)
        kernel.prctl(flags.PR_SET_CHILD_SUBREAPER, 1)
        self._events = self._reach()
        self._thread = threading.Thread(target=self._run, name="supervisor-events", daemon=True)
        self._thread.start()
        if not self._caught_up.wait(ANSWER_SECONDS):
            raise Unavailable("the supervisor does not answer", "see the daemon's log")

    def request(
        self, message: dict[str, Any], descriptors: tuple[int, ...] = (), again: bool = False
    ) -> tuple[dict[str, Any], list[int]]:
        """A request that survives the supervisor's death: one not begun, or with ``again``, is repeated."""
        end = time.monotonic() + ANSWER_SECONDS
        while not self._closing and self._up.wait(max(0.0, end - time.monotonic())):
            try:
                return self._channels.request(message, descriptors)
            except Gone as gone:
                if gone.sent and not again:
                    raise Unavailable(f"the supervisor died during {message['do']!r}", "try again") from None
                time.sleep(0.01)
                if time.monotonic() > end:
                    break
        raise Unavailable("the supervisor is gone and could not be replaced", "see the daemon's log")

    def signal(self, process_id: str, number: int) -> bool:
        """Signal by our own copy; ``False`` when we have none."""
        with self._lock:
            held = self._held.get(process_id)
            if held is None:
                return False
            try:
                signal.pidfd_send_signal(held.copies["pidfd"], number)
            except ProcessLookupError:
                pass
            return True

    def close(self) -> None:
        """Stop watching; the supervisor lives on."""
        self._closing = True
        self._up.set()
        try:
            self._events.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(ANSWER_SECONDS)
        # Whoever inherits children and waits for none keeps them from being reaped by one who does.
        kernel.prctl(flags.PR_SET_CHILD_SUBREAPER, 0)
        self._events.close()
        self._orphans.close()
        self._channels.close()
        with self._lock:
            for held in (*self._held.values(), *self._listeners.values()):
                held.close()
            if self._transit is not None:
                self._transit.close()
            self._held.clear()
            self._listeners.clear()

    def dismiss(self) -> None:
        """Ask the supervisor to leave, and see it go."""
        self._closing = True
        try:
            self._channels.request({"do": "shutdown"})
        except Gone:
            pass
        except MultiosError:
            self._closing = False
            raise
        self._wait_for_end()
        self.close()

    # --- the thread ---

    def _run(self) -> None:
        while not self._closing:
            try:
                message, descriptors = wire.receive(self._events)
            except (OSError, wire.Malformed):
                message, descriptors = None, []
            if message is not None:
                try:
                    self._handle(message, descriptors)
                except Exception:
                    log.exception("event of the supervisor: %s", message)
            elif not self._closing:
                self._succeed()

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        event = message.pop("event", None)
        if event == "process":
            held = Held(message, dict(zip(message.pop("copies"), descriptors, strict=True)))
            with self._lock:
                former = self._held.pop(message["id"], None)
                self._held[message["id"]] = held
            if former is not None:
                former.close()
            if message["adopted"]:
                self._orphans.add(message["id"], held.copies["pidfd"])
            return
        if event == "listener":
            self._keep_listener(message, descriptors)
            return
        if event == "transit":
            self._keep_transit(descriptors)
            return
        wire.close_all(descriptors)
        if event in ("exit", "gone"):
            with self._lock:
                gone = self._held.pop(message["id"], None)
            if gone is not None:
                gone.close()
            if event == "exit":
                self._on_exit(message)
        elif event == "status":
            with self._lock:
                if message["id"] in self._held:
                    self._held[message["id"]].described["status"] = message["status"]
        elif event == "stdin":  # given to a client: our copy would keep its end of file away
            with self._lock:
                if message["id"] in self._held:
                    wire.close_all([self._held[message["id"]].copies.pop("stdin", -1)])
        elif event == "listener-gone":
            with self._lock:
                gone = self._listeners.pop(message["id"], None)
            if gone is not None:
                gone.close()
        elif event == "caught-up":
            self._caught_up.set()

    def _keep_listener(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Hold copies of a filter's listener and of its note: with the last copy gone, refusals become ENOSYS."""
        held = Held(message, dict(zip(("listener", "noted"), descriptors, strict=True)))
        with self._lock:
            former = self._listeners.pop(message["id"], None)
            self._listeners[message["id"]] = held
        if former is not None:
            former.close()

    def _keep_transit(self, descriptors: list[int]) -> None:
        """Hold copies of what :class:`multios.supervisor.transit.Transit` keeps a chunk in."""
        with self._lock:
            former, self._transit = self._transit, Held({}, dict(zip(COPIES, descriptors, strict=True)))
        if former is not None:
            former.close()

    def _succeed(self) -> None:
        """The supervisor died. Get another, which is given all that we hold."""
        log.error("the supervisor (pid %d) hung up", self.supervisor_pid)
        self._up.clear()
        self._events.close()
        self._channels.close()
        pause = FIRST_RETRY_SECONDS
        while not self._closing:
            try:
                self._events = self._reach()
                return
            except (OSError, Gone, MultiosError) as error:
                log.error("no new supervisor yet: %s", error)
                time.sleep(pause)
                pause = min(RETRY_SECONDS, 4 * pause)

    def _reach(self) -> socket.socket:
        """Connect to the supervisor, started if there is none, give it what we hold, and subscribe."""
        try:
            events = connect(self._path)
        except OSError:
            self._bury()
            self._child = spawn.start(self._command)
            events = connect(self._path)
        with self._lock:
            held, listeners = list(self._held.values()), list(self._listeners.values())
        try:
            if self._transit is not None:  # before the processes, whose next output comes after it
                self._hand_over({"do": "adopt-transit"}, self._transit)
            for one in listeners:  # their callers wait
                request = {"do": "adopt-listener", "listener": one.described}
                self._hand_over(request, one)
            for one in held:
                request = {"do": "adopt", "process": one.described, "copies": list(one.copies)}
                self._hand_over(request, one)
                # One that has ended already is told of as an exit only, and must be reaped all the same.
                self._orphans.add(one.described["id"], one.copies["pidfd"])
            wire.send(events, {"do": "subscribe"})
            answer, descriptors = wire.receive(events)
            wire.close_all(descriptors)
        except BaseException:
            events.close()
            raise
        if answer is None or "result" not in answer:
            events.close()
            raise Unavailable("the supervisor refuses us", "see the daemon's log")
        self.supervisor_pid = int(answer["result"]["pid"])
        with self._lock:  # those that live are told of again, with new copies
            for one in listeners:
                self._listeners.pop(one.described["id"], None)
                one.close()
        self._up.set()
        return events

    def _hand_over(self, request: dict[str, Any], one: Held) -> None:
        try:
            self._channels.request(request, list(one.copies.values()))
        except MultiosError as error:  # one that cannot be handed over must not keep the others
            log.error("%s %s: %s", request["do"], one.described.get("id", ""), error)

    def _bury(self) -> None:
        """Reap a dead supervisor, and end those of its children that had no container yet."""
        self._wait_for_end()
        with self._lock:
            known = {int(held.described["pid"]) for held in self._held.values()}
        orphans.end_strays(known)

    def _wait_for_end(self) -> None:
        """Wait until a supervisor that is about to end has, and reap it if it is ours."""
        for pid in {self._child, self.supervisor_pid} - {0}:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                select.select([pidfd], [], [], ANSWER_SECONDS)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                pass  # a former daemon's
            finally:
                os.close(pidfd)
        self._child = self.supervisor_pid = 0

    def _report_end(self, process_id: str, exit_code: int | None, number: int, when: float) -> None:
        """An orphan ended; the supervisor of the day writes it down."""
        message = {
            "do": "ended",
            "id": process_id,
            "exit_code": exit_code,
            "signal": number,
            "finished": when,
        }
        while not self._closing:
            try:
                self.request(message, again=True)
                return
            except MultiosError as error:
                log.error("exit of %s cannot be reported yet: %s", process_id, error)
                time.sleep(RETRY_SECONDS)
