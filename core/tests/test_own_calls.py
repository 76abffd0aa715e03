"""Requests that the daemon makes for a caller: as if he had made them himself, through the same door."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_descriptors
import pytest

from multios.api.own_calls import OwnCalls
from multios.api.protocol import receive_frame, send_frame
from multios.api.server import Call, Server, WithDescriptors
from multios.errors import Conflict, MultiosError, Unsupported

ENDED: list[str] = []
"""Streams that have noticed that nobody reads on."""


def outer(call: Call) -> Any:
    """Runs what the test put in place of it."""
    return STEPS[call.text("step")](call)


def who(call: Call) -> Any:
    return {"uid": call.caller.uid, **call.params}


def refused(call: Call) -> Any:
    raise Conflict("a cause", "a remedy")


def handing_over(call: Call) -> Any:
    return WithDescriptors({}, [os.open("/dev/null", os.O_RDONLY)])


def attaching(call: Call) -> Any:
    call.attached({}, [os.open("/dev/null", os.O_RDONLY)])


def counting(call: Call) -> Any:
    number = 0
    while call.alive() and number != call.params.get("until"):
        call.progress("nobody hears it", number, 0)
        call.item(number)
        number += 1
        time.sleep(0.001)
    ENDED.append("counting")
    return {}


def own(call: Call) -> OwnCalls:
    return OwnCalls(call, call.alive)


def read_three(call: Call) -> Any:
    found = []
    for number in own(call).stream("inner.counting"):
        found.append(number)
        if number == 2:
            break
    return found


def given_up(call: Call) -> Any:
    wanted = threading.Event()
    for number in OwnCalls(call, lambda: not wanted.is_set()).stream("inner.counting"):
        if number == 2:
            wanted.set()
    return "ended"


STEPS = {
    "who": lambda call: own(call).call("inner.who", {"a": 1}),
    "unknown": lambda call: own(call).call("inner.unknown"),
    "denied": lambda call: own(call).call("inner.who", {"deny": True}),
    "refused": lambda call: own(call).call("inner.refused"),
    "fds": lambda call: own(call).call("inner.fds"),
    "attached": lambda call: own(call).call("inner.attached"),
    "stream": lambda call: list(own(call).stream("inner.counting", {"until": 5})),
    "stream refused": lambda call: list(own(call).stream("inner.refused")),
    "three": read_three,
    "given up": given_up,
}
METHODS = {
    "outer": outer,
    "inner.who": who,
    "inner.refused": refused,
    "inner.fds": handing_over,
    "inner.attached": attaching,
    "inner.counting": counting,
}


def deny(uid: int, method: str, params: dict[str, Any]) -> Any:
    return "you may not" if params.get("deny") else None


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Any]:
    server = Server(tmp_path / "api.sock", METHODS, deny)
    server.open()
    thread = threading.Thread(target=server.serve)
    thread.start()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect(str(tmp_path / "api.sock"))

    def asked(step: str) -> Any:
        send_frame(connection, {"method": "outer", "params": {"step": step}}, ())
        return receive_frame(connection)[0]

    yield asked
    connection.close()
    server.close()
    thread.join(30)


def test_it_is_answered_as_to_the_caller_himself(ask: Any) -> None:
    assert ask("who")["result"] == {"uid": os.getuid(), "a": 1}


@pytest.mark.parametrize(
    ("step", "says"), [("unknown", "inner.unknown"), ("denied", "you may not"), ("refused", "a cause")]
)
def test_what_he_may_not_is_refused_to_it_too(ask: Any, step: str, says: str) -> None:
    assert says in str(ask(step)["error"])


@pytest.mark.parametrize("step", ["fds", "attached"])
def test_what_answers_with_descriptors_is_refused_and_they_are_closed(ask: Any, step: str) -> None:
    ask("who")
    before = open_descriptors.number()
    assert "through the socket" in str(ask(step)["error"])
    open_descriptors.assert_no_more_than(before)
    assert issubclass(Unsupported, MultiosError)


def test_a_stream_gives_its_items_as_they_come(ask: Any) -> None:
    assert ask("stream")["result"] == [0, 1, 2, 3, 4]
    assert "a cause" in str(ask("stream refused")["error"])


def test_a_stream_ends_when_nobody_reads_on(ask: Any) -> None:
    ENDED.clear()
    assert ask("three")["result"] == [0, 1, 2]
    deadline = time.monotonic() + 30
    while ENDED != ["counting"] and "own-stream" in [thread.name for thread in threading.enumerate()]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_stream_ends_when_nobody_wants_the_answer(ask: Any) -> None:
    assert ask("given up")["result"] == "ended"
