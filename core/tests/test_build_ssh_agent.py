"""The relay between a container and the client's ssh agent."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.build.ssh_agent import relayed


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[int]:
    """An agent that answers in capitals; an O_PATH descriptor of its socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "agent"))
    listening.listen()

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data.upper())

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    descriptor = os.open(tmp_path / "agent", os.O_PATH)
    yield descriptor
    os.close(descriptor)
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def ask(path: Path, words: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(words)
        return client.recv(100)


def test_what_is_asked_is_answered_and_the_socket_goes_with_the_block(agent: int, tmp_path: Path) -> None:
    path = tmp_path / "relay"
    owner = os.getuid(), os.getgid()
    with relayed(agent, path, owner, 0o600):
        assert path.stat().st_mode & 0o777 == 0o600
        assert [ask(path, b"one"), ask(path, b"two")] == [b"ONE", b"TWO"]
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(str(path))
            assert ask(path, b"three") == b"THREE"
    assert not path.exists()


def test_an_agent_that_is_gone_closes_the_connection(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent"))
    descriptor = os.open(tmp_path / "agent", os.O_PATH)
    try:
        with relayed(descriptor, tmp_path / "relay", (os.getuid(), os.getgid()), 0o600):
            assert ask(tmp_path / "relay", b"one") == b""
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        os.close(descriptor)


def test_too_many_connections_are_closed_and_the_first_go_on(agent: int, tmp_path: Path) -> None:
    path = tmp_path / "relay"
    with relayed(agent, path, (os.getuid(), os.getgid()), 0o600):
        clients = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        try:
            for client in clients:
                client.settimeout(30)
                client.connect(str(path))
            clients[0].sendall(b"first")
            assert clients[0].recv(100) == b"FIRST"
            assert clients[-1].recv(100) == b""
        finally:
            for client in clients:
                client.close()
