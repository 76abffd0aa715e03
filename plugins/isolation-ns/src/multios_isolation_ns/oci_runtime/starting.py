"""Letting a created container run: what *start* and *run* share."""

from __future__ import annotations

import os
import socket

from multios.errors import Conflict, MultiosError, StepFailed
from multios.supervisor import wire
from multios_isolation_ns.oci_runtime import hooks, store
from multios_isolation_ns.oci_runtime.failures import failure
from multios_isolation_ns.oci_runtime.life import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def start(kept: store.Store, container_id: str) -> None:
    """Tell the waiting process to go on, and wait until it has become the command."""
    record = kept.read(container_id)
    status = status_of(kept, record)
    if status != "created":
        raise Conflict(f"cannot start a container that is {status}: {container_id}")
    directory = kept.directory(container_id)
    channel = _connect(directory, container_id)
    with channel:
        accepted, _ = wire.receive(channel)
        if accepted is None or "accepted" not in accepted:
            raise Conflict(f"cannot start container {container_id}: another start was faster, or it has died")
        os.unlink(f"{directory}/{store.START_SOCKET}")
        message, _ = _last_word(channel)
    if message is not None:
        raise failure(message["error"])
    try:
        hooks.run("poststart", record["hooks"].get("poststart", ()), store.state(record, "running"))
    except StepFailed as error:
        raise MultiosError(f"{error.cause}; the container runs") from None


def _connect(directory: str, container_id: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # through the directory's descriptor, because a socket's path holds 107 bytes (unix(7))
        channel.connect(f"/proc/self/fd/{place}/{store.START_SOCKET}")
    except (ConnectionRefusedError, FileNotFoundError):
        channel.close()
        raise Conflict(f"cannot start container {container_id}: its process does not wait any more") from None
    finally:
        os.close(place)
    return channel


def _last_word(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """An error, or nothing: exec(2) closed the other end."""
    try:
        return wire.receive(channel)
    except ConnectionResetError:
        return None, []
