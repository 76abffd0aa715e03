"""Frames on the API socket: whatever is sent arrives whole, and what is no frame is refused without leaks."""

from __future__ import annotations

import _socket
import json
import os
import socket
import threading
from collections.abc import Iterator

import open_descriptors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.api import protocol, wire_json
from multios.api.protocol import PeerGone, receive_frame, send_frame
from multios.errors import InvalidInput, MultiosError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@given(JSON_VALUES)
def test_the_small_json_agrees_with_the_standard_library(value: object) -> None:
    text = wire_json.dumps(value)
    assert json.loads(text) == value
    assert wire_json.loads(text) == value
    assert wire_json.loads(json.dumps(value, indent=1, ensure_ascii=False)) == value


@given(st.text() | st.sampled_from(["[" * 200_000, "1" * 5000, "{} {}", "", "nul"]))
def test_text_that_is_not_json_is_a_value_error_in_both(text: str) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(ValueError, match="."):
            wire_json.loads(text)
    else:
        assert wire_json.loads(text) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.dictionaries(st.text(), JSON_VALUES, max_size=3), st.integers(0, 16)), max_size=5)
)
def test_messages_and_descriptors_arrive_in_order_and_together(
    messages: list[tuple[dict[str, object], int]],
) -> None:
    before = open_descriptors.number()
    left, right = socket.socketpair()
    with left, right, open("/dev/null") as null:
        for message, count in messages:
            message.pop("fds", None)
            send_frame(left, message, [null.fileno()] * count)
        for message, count in messages:
            received, fds = receive_frame(right)
            assert received.pop("fds", 0) == len(fds) == count
            assert received == message
            assert all(os.fstat(fd).st_rdev == os.fstat(null.fileno()).st_rdev for fd in fds)
            assert not any(os.get_inheritable(fd) for fd in fds)
            protocol.close_all(fds)
    open_descriptors.assert_no_more_than(before)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_message_or_a_clear_error(data: bytes) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        try:
            message, _ = receive_frame(right)
        except MultiosError as error:
            assert error.cause and "\n" not in error.cause
        else:
            assert isinstance(message, dict)


def test_a_frame_that_dribbles_in_byte_by_byte_is_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    body = b'{"result":{"id":"a"}}'
    data = len(body).to_bytes(4, "big") + body

    def dribble() -> None:
        for byte in data:
            left.send(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    assert receive_frame(right) == ({"result": {"id": "a"}}, [])
    thread.join()


def test_a_message_larger_than_the_socket_buffer_keeps_its_descriptors(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    left, right = pair
    message = {"text": "x" * 3_000_000}
    with open("/dev/null") as null:
        thread = threading.Thread(target=send_frame, args=(left, message, [null.fileno()]))
        thread.start()
        received, fds = receive_frame(right)
        thread.join()
    assert received == {**message, "fds": 1}
    protocol.close_all(fds)


def test_the_bare_socket_type_speaks_with_the_full_one(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    bare = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(right.fileno()))
    send_frame(left, {"method": "system.version"})
    assert receive_frame(bare) == ({"method": "system.version"}, [])
    send_frame(bare, {"result": None})
    assert receive_frame(left) == ({"result": None}, [])
    bare.close()


def test_the_end_of_the_connection_is_told_from_a_broken_frame(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    left, right = pair
    left.sendall(b"\0\0\0\x09{")
    left.close()
    with pytest.raises(PeerGone, match="middle"):
        receive_frame(right)
    with pytest.raises(PeerGone, match="closed$"):
        receive_frame(right)
    with pytest.raises(PeerGone):
        send_frame(right, {"result": "x"})


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (protocol.MAXIMUM_FRAME + 1).to_bytes(4, "big"),
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{x",
        b"\0\0\0\x02\xff\xfe",
        b'\0\0\0\x09{"fds":3}',
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    left.sendall(data)
    with pytest.raises(InvalidInput):
        receive_frame(right)


def test_descriptors_of_a_refused_frame_are_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    before = open_descriptors.number()
    for body in (b"[]", b"{}", b'{"fds":1}'):
        socket.send_fds(left, [len(body).to_bytes(4, "big") + body], [0, 0])
        with pytest.raises(InvalidInput):
            receive_frame(right)
    open_descriptors.assert_no_more_than(before)


def test_too_many_descriptors_are_refused_on_both_sides() -> None:
    before = open_descriptors.number()
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(InvalidInput):
            send_frame(left, {}, [0] * 17)
        socket.send_fds(left, [b"\0\0\0\x02{}"], [0] * 40)
        with pytest.raises(InvalidInput):
            receive_frame(right)
    open_descriptors.assert_no_more_than(before)
