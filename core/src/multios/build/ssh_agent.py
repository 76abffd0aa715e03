"""``RUN --mount=type=ssh``: the client's ssh agent, reached through a socket of the build's own.

An agent answers only its own user and root (ssh-agent(1)), and a container's root is neither; so the bytes are
relayed by the daemon.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

MOST_CONNECTIONS = 16
_CHUNK = 65536
_BACKLOG = 128


@contextlib.contextmanager
def relayed(agent: int, path: Path, owner: tuple[int, int], mode: int) -> Iterator[None]:
    """Listen on ``path`` while the block runs; ``agent`` is an O_PATH descriptor of the agent's socket."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stop_read, stop_write = os.pipe2(os.O_CLOEXEC)
    try:
        listening.bind(str(path))
        os.chown(path, *owner)
        os.chmod(path, mode)
        listening.listen(_BACKLOG)
        thread = threading.Thread(
            target=_serve, args=(listening, stop_read, agent), name="ssh-agent", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            os.close(stop_write)
            stop_write = -1
            thread.join()
    finally:
        path.unlink(missing_ok=True)
        listening.close()
        os.close(stop_read)
        if stop_write >= 0:
            os.close(stop_write)


def _serve(listening: socket.socket, stop: int, agent: int) -> None:
    """One thread relays all connections: an agent's messages are short, and one is under way at a time."""
    peers: dict[socket.socket, socket.socket] = {}
    try:
        while True:
            watched: list[socket.socket | int] = [listening, stop, *peers]
            ready, _, _ = select.select(watched, [], [])
            if stop in ready:
                return
            for one in ready:
                if isinstance(one, int):
                    continue
                if one is listening:
                    _accept(listening, agent, peers)
                elif one in peers:
                    _pass_on(one, peers)
    finally:
        for one in peers:
            one.close()


def _accept(listening: socket.socket, agent: int, peers: dict[socket.socket, socket.socket]) -> None:
    client, _ = listening.accept()
    upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if len(peers) >= 2 * MOST_CONNECTIONS:
            raise OSError("too many connections")
        for one in (client, upstream):
            one.settimeout(10)
        upstream.connect(f"/proc/self/fd/{agent}")
    except OSError:
        client.close()
        upstream.close()
        return
    peers[client], peers[upstream] = upstream, client


def _pass_on(one: socket.socket, peers: dict[socket.socket, socket.socket]) -> None:
    other = peers[one]
    try:
        data = one.recv(_CHUNK)
        if data:
            other.sendall(data)
            return
    except OSError:
        pass
    for end in (one, other):
        del peers[end]
        end.close()
