"""The daemon's door on a real socket: who is there, what is no request, what goes wrong within."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_descriptors
import pytest

from multios.api import server as server_module
from multios.api.protocol import receive_frame, send_frame
from multios.api.server import Call, Server, WithDescriptors
from multios.engine.caller import Caller
from multios.errors import Conflict, Unavailable


def echo(call: Call) -> Any:
    return {"uid": call.caller.uid, "params": call.params, "fds": len(call.fds)}


def broken(call: Call) -> Any:
    raise ZeroDivisionError("of the engine's own")


def refused(call: Call) -> Any:
    raise Conflict("a cause", "a remedy")


def handing_over(call: Call) -> Any:
    return WithDescriptors({"n": 1}, [os.open("/dev/null", os.O_RDONLY)])


METHODS = {"a.echo": echo, "a.broken": broken, "a.refused": refused, "a.fds": handing_over}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "api.sock", METHODS, lambda uid, method, params: params.get("deny"))
    made.open()
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.close()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def client(server: Server) -> Iterator[socket.socket]:
    with connected(server) as connection:
        yield connection


def connected(server: Server) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect(str(server._path))
    return connection


def ask(connection: socket.socket, method: Any, fds: tuple[int, ...] = (), **params: Any) -> dict[str, Any]:
    send_frame(connection, {"method": method, "params": params}, fds)
    answer, received = receive_frame(connection)
    for descriptor in received:
        os.close(descriptor)
    return answer


def test_the_caller_is_who_the_kernel_says(client: socket.socket) -> None:
    assert ask(client, "a.echo", uid=4101)["result"]["uid"] == os.getuid()


def test_the_socket_is_for_root_and_the_group_alone(server: Server) -> None:
    status = server._path.stat()
    assert status.st_mode & 0o777 == 0o660
    assert status.st_uid == os.getuid()


def test_without_the_group_the_door_still_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "GROUP", "no-such-group-here")
    made = Server(tmp_path / "other.sock", METHODS, lambda *words: None)
    made.open()
    assert (tmp_path / "other.sock").stat().st_gid == os.getgid()
    made.close()


def test_a_path_that_cannot_be_bound_is_said_in_one_line(tmp_path: Path) -> None:
    made = Server(tmp_path / ("x" * 120), METHODS, lambda *words: None)
    with pytest.raises(Unavailable, match="listening"):
        made.open()
    made.close()


@pytest.mark.parametrize("method", [None, 7, ["a.echo"], "a.ecko", ""])
def test_what_is_no_method_is_answered_and_ends_at_worst_the_connection(
    client: socket.socket, server: Server, method: Any
) -> None:
    assert ask(client, method)["error"]["code"] == "invalid"
    with connected(server) as other:
        assert "result" in ask(other, "a.echo")


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"method": "a.echo", "params": [1]}']
)
def test_what_is_no_frame_is_answered(client: socket.socket, server: Server, body: bytes) -> None:
    client.sendall(len(body).to_bytes(4, "big") + body)
    assert receive_frame(client)[0]["error"]["code"] == "invalid"
    with connected(server) as other:
        assert "result" in ask(other, "a.echo")


def test_a_refusal_and_a_failure_leave_the_connection_usable(client: socket.socket) -> None:
    assert ask(client, "a.refused")["error"]["remedy"] == "a remedy"
    assert ask(client, "a.echo", deny="a plugin says no")["error"]["cause"] == "a plugin says no"
    failed = ask(client, "a.broken")["error"]
    assert failed["code"] == "error" and "\n" not in failed["cause"]
    assert "result" in ask(client, "a.echo")


def test_no_descriptor_stays_open_whatever_comes_of_the_request(client: socket.socket) -> None:
    ask(client, "a.echo")
    before = open_descriptors.number()
    null = os.open("/dev/null", os.O_RDONLY)
    for method in ("a.echo", "a.refused", "a.broken", "a.fds", "none"):
        ask(client, method, (null, null, null))
    os.close(null)
    ask(client, "a.echo")
    open_descriptors.assert_no_more_than(before)


def test_one_user_cannot_have_all_the_threads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_A_USER", 2)
    monkeypatch.setattr(server_module, "_peer", lambda connection: Caller(4101, 4101))
    held = [connected(server) for _ in range(2)]
    for connection in held:
        assert "result" in ask(connection, "a.echo")
    with connected(server) as third:
        assert "connections" in receive_frame(third)[0]["error"]["cause"]
    for connection in held:
        connection.close()


def test_a_failing_accept_does_not_make_the_daemon_deaf(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """Says once that descriptors are short."""

        def __init__(self, genuine: socket.socket) -> None:
            self.genuine, self.failed = genuine, False

        def accept(self) -> Any:
            if not self.failed:
                self.failed = True
                raise OSError(24, "Too many open files")
            return self.genuine.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.genuine, name)

    server._listening = Failing(server._listening)  # type: ignore[assignment]
    for _ in range(3):
        with connected(server) as connection:
            assert "result" in ask(connection, "a.echo")
