"""The listeners of all containers: each refused call is answered as the filter would have, and written down.

A flood of refused calls slows down who makes it: a container gets so much of each slice of time, then waits for the
next. The daemon holds copies of the listeners; so does a memory file hold the call that is being answered, which
a successor of ours could not receive a second time.
"""

from __future__ import annotations

import json
import os
import time

from multios.supervisor import foresight, notification, refusals, wire
from multios.supervisor.complaint import complain
from multios.supervisor.loop import ENDED, READ
from multios.supervisor.refusals import Refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multios.supervisor.loop import Loop

    Teller = Callable[[dict[str, Any], Sequence[int]], None]

SLICE_SECONDS = 0.01
SECONDS_OF_ONE, SECONDS_OF_ALL = 0.0015, 0.003
WRITE_SECONDS = 1.0
SAMPLE_SECONDS = 1.0
_LOST = 16  # so many calls may have been received after the one that was noted last


class Listener:
    """``watch``: the paths of the filter's ``program``, of the ``record`` to write, and of the ``rules``, a JSON object.

    Both its members are by ``architecture:call``: ``texts`` are the places of arguments that are texts, ``foreseen`` the
    guesses to make of calls that the filter allows.
    """

    __slots__ = ("container_id", "descriptor", "id", "instructions", "noted", "rules", "watch")

    def __init__(self, identity: str, container_id: str, watch: dict[str, Any], descriptor: int) -> None:
        self.id, self.container_id, self.watch, self.descriptor = identity, container_id, watch, descriptor
        self.noted = -1
        self.instructions: notification.Instructions = ()
        self.rules: dict[str, Any] = {"texts": {}, "foreseen": {}}


class Watches:
    """All listeners. ``tell`` sends an event with descriptors to the subscribers."""

    def __init__(self, loop: Loop, tell: Teller) -> None:
        self._loop, self._tell = loop, tell
        self.listeners: dict[str, Listener] = {}
        self._records: dict[str, Refusals] = {}
        self._programs: dict[str, notification.Instructions] = {}
        self._rules: dict[str, dict[str, Any]] = {}
        self._names: dict[int, tuple[str, int]] = {}
        self._spent: dict[str, float] = {}
        self._paused: list[Listener] = []
        self._slice_ends = False
        self._writing = False

    def add(self, container_id: str, watch: dict[str, Any], descriptor: int) -> None:
        """Serve a new filter's listener, which is ours now."""
        listener = Listener(os.urandom(6).hex(), container_id, watch, descriptor)
        listener.noted = os.memfd_create("notification", os.MFD_CLOEXEC)
        self._serve(listener)

    def adopt(self, described: dict[str, Any], copies: list[int]) -> None:
        """Go on with a predecessor's; the call that it was answering when it died gets its answer now."""
        if described["id"] in self.listeners or len(copies) != 2:
            wire.close_all(copies)
            return
        listener = Listener(
            str(described["id"]), str(described["container_id"]), described["watch"], copies[0]
        )
        listener.noted = copies[1]
        self._serve(listener)
        noted = os.pread(listener.noted, notification.NOTIFICATION.size, 0)
        if len(noted) == notification.NOTIFICATION.size and listener.instructions:
            identity = int.from_bytes(noted[:8], "little")
            error = notification.refusal(listener.instructions, noted)
            notification.refuse(listener.descriptor, identity, error)
            for following in range(identity + 1, identity + _LOST):
                notification.refuse(listener.descriptor, following % 2**64, error)

    def describe(self, listener: Listener) -> tuple[dict[str, Any], list[int]]:
        """What a successor needs: an event, and its descriptors."""
        event = {"event": "listener", "id": listener.id, "container_id": listener.container_id}
        return event | {"watch": listener.watch}, [listener.descriptor, listener.noted]

    def write(self, container_id: str) -> None:
        """Write down what is known of a container now."""
        if container_id in self._records:
            self._records[container_id].write()

    def end(self, container_id: str) -> None:
        """The container has ended: none of its processes is left to ask."""
        self.write(container_id)
        self._records.pop(container_id, None)
        for listener in [one for one in self.listeners.values() if one.container_id == container_id]:
            self._close(listener)

    def _serve(self, listener: Listener) -> None:
        self.listeners[listener.id] = listener
        try:
            listener.instructions = self._program(listener.watch["program"])
            listener.rules = self._rules_in(listener.watch["rules"])
            if listener.container_id not in self._records:
                self._records[listener.container_id] = Refusals(listener.watch["record"])
        finally:  # without a program the answer is EPERM; without an answer, the call would wait for ever
            self._loop.watch(listener.descriptor, READ, lambda events: self._on_ready(listener, events))
            self._tell(*self.describe(listener))

    def _program(self, path: str) -> notification.Instructions:
        if path not in self._programs:
            with open(path, "rb") as file:
                self._programs[path] = notification.instructions(file.read())
        return self._programs[path]

    def _rules_in(self, path: str) -> dict[str, Any]:
        if path not in self._rules:
            with open(path, "rb") as file:
                self._rules[path] = json.loads(file.read())
        return self._rules[path]

    def _close(self, listener: Listener) -> None:
        if self.listeners.pop(listener.id, None) is None:
            return
        self._loop.unwatch(listener.descriptor)
        wire.close_all([listener.descriptor, listener.noted])
        if listener in self._paused:
            self._paused.remove(listener)
        self._tell({"event": "listener-gone", "id": listener.id}, ())

    # --- a call ---

    def _on_ready(self, listener: Listener, events: int) -> None:
        if not events & READ:
            if events & ENDED:  # the last process with the filter is gone
                self._close(listener)
            return
        self._begin_slice()
        spent = self._spent.get(listener.container_id, 0.0)
        if spent >= SECONDS_OF_ONE or sum(self._spent.values()) >= SECONDS_OF_ALL:
            self._loop.change(listener.descriptor, 0)
            self._paused.append(listener)
            return
        began = time.monotonic()
        call = notification.receive(listener.descriptor)
        if call is not None:
            os.pwrite(listener.noted, call, 0)
            self._answer(listener, call)
        self._spent[listener.container_id] = spent + time.monotonic() - began

    def _answer(self, listener: Listener, call: bytes) -> None:
        """Refuse as the filter would. What it allows, and was only asked about to be explained, goes on."""
        identity = int.from_bytes(call[:8], "little")
        allowed = bool(listener.instructions) and notification.allows(listener.instructions, call)
        error = 1  # EPERM
        try:
            if allowed:
                self._foresee(listener, call)
            else:
                if listener.instructions:
                    error = notification.refusal(listener.instructions, call)
                self._note(listener, call, error, "")
        except OSError:
            pass  # the caller has gone, or what it named is not to be read
        except Exception as trouble:  # whatever it is, the call must not wait for ever
            complain(f"a call of {listener.container_id}", trouble)
        finally:
            if allowed:
                notification.let_go_on(listener.descriptor, identity)
            else:
                notification.refuse(listener.descriptor, identity, error)

    def _foresee(self, listener: Listener, call: bytes) -> None:
        _, thread, _, number, architecture, _, *arguments = notification.NOTIFICATION.unpack(call)
        for rule in listener.rules["foreseen"].get(f"{architecture}:{number}", ()):
            guessed = foresight.guess(rule, thread, arguments)
            if guessed is not None:
                self._note(listener, call, *guessed)
                return

    def _note(self, listener: Listener, call: bytes, error: int, by: str) -> None:
        record = self._records.get(listener.container_id)
        if record is None:
            return
        identity, thread, _, number, architecture, _, *arguments = notification.NOTIFICATION.unpack(call)
        now = time.time()
        if thread not in self._names:
            self._names[thread] = refusals.identify(thread)
        name, inside = self._names[thread]
        key = (architecture, number, error, name, by)
        known, sample = record.find(key), None
        if known is None or now - known["last"] > SAMPLE_SECONDS:
            places = listener.rules["texts"].get(f"{architecture}:{number}", ())
            texts = _texts(thread, {place: arguments[place] for place in places})
            sample = {"pid": inside, "arguments": arguments, "texts": texts}
        if notification.waits(listener.descriptor, identity):  # else another may have got its pid
            record.count(key, now, sample)
            self._write_later()
        else:
            self._names.pop(thread, None)

    # --- time ---

    def _begin_slice(self) -> None:
        if not self._slice_ends:
            self._slice_ends = True
            self._loop.later(SLICE_SECONDS, self._end_slice)

    def _end_slice(self) -> None:
        self._slice_ends = False
        self._spent.clear()
        self._names.clear()
        paused, self._paused = self._paused, []
        for listener in paused:
            self._loop.change(listener.descriptor, READ)

    def _write_later(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.later(WRITE_SECONDS, self._write_all)

    def _write_all(self) -> None:
        self._writing = False
        for record in self._records.values():
            record.write()


def _texts(thread: int, addresses: dict[int, int]) -> dict[str, str]:
    """The texts of a call's arguments, by place, where they can be read without waiting for anyone."""
    wanted = {place: address for place, address in addresses.items() if address}
    if not wanted or not refusals.holds_still(thread, list(wanted.values())):
        return {}
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return {str(place): refusals.text_at(memory, address) for place, address in wanted.items()}
    finally:
        os.close(memory)
