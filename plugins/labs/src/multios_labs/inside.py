"""Commands and files inside a container, with a bound on time and on what is read: what runs there is not trusted."""

from __future__ import annotations

import io
import os
import select
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from multios.api.client import Client
from multios.api.protocol import close_all
from multios.errors import MultiosError, NotFound

MOST_OUTPUT = 256 << 10
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. ``exit_code`` is ``None`` when it did not end in time, wrote too much, or could not be started;
    ``problem`` says so."""

    exit_code: int | None
    output: bytes
    problem: str = ""

    def text(self) -> str:
        """What it wrote, for people: control characters are shown as escapes."""
        written = self.output.decode("utf-8", "replace")
        return "".join(
            letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in written
        )


@dataclass(frozen=True, slots=True)
class File:
    """A file to be put into a container."""

    path: str
    content: bytes
    mode: int = 0o644


def execute(
    socket: str,
    ref: str,
    command: Sequence[str],
    timeout: float,
    input: bytes = b"",
    user: str = "",
    directory: str = "",
    environment: Mapping[str, str] | None = None,
    most: int = MOST_OUTPUT,
) -> Outcome:
    """Run ``command`` in the running container ``ref`` and read what it writes, stdout and stderr together.

    When the time is over, or more than ``most`` bytes came, this returns; the process is then still there.
    """
    params = {
        "ref": ref,
        "command": list(command),
        "user": user,
        "working_directory": directory,
        "environment": dict(environment or {}),
        "terminal": False,
        "stdin": True,
    }
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as stdin, Client(socket, start=False) as client:
        stdin.write(input)
        stdin.seek(0)
        reading, writing = os.pipe()
        try:
            try:
                answers = client.request("containers.exec", params, [stdin.fileno(), writing, writing])
            finally:
                os.close(writing)
            output, problem = _collect(reading, deadline, most)
        finally:
            os.close(reading)
        if problem:
            return Outcome(
                None, output, f"{problem} {timeout:g} s" if problem == "did not end in" else problem
            )
        if not _readable(answers.fileno(), deadline):  # it closed its output and runs on
            return Outcome(None, output, f"did not end in {timeout:g} s")
        try:
            for _, _, received in answers:
                close_all(received)
        except MultiosError as error:
            return Outcome(None, output, error.cause)
        return Outcome((answers.result or {}).get("exit_code"), output)


def _readable(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _collect(reading: int, deadline: float, most: int) -> tuple[bytes, str]:
    """What came until the end, and why it was not waited for."""
    parts: list[bytes] = []
    size = 0
    while True:
        if not _readable(reading, deadline):
            return b"".join(parts), "did not end in"
        data = os.read(reading, _CHUNK)
        if not data:
            return b"".join(parts), ""
        size += len(data)
        parts.append(data)
        if size > most:
            return b"".join(parts)[:most], f"wrote more than {most >> 10} kB"


def put(client: Client, ref: str, files: Sequence[File]) -> None:
    """Write ``files`` into a container, running or not; missing directories are made."""
    with tempfile.TemporaryFile() as spool:
        with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for file in files:
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.mode, entry.size, entry.mtime = file.mode, len(file.content), int(time.time())
                archive.addfile(entry, io.BytesIO(file.content))
        put_archive(client, ref, spool)


def put_archive(client: Client, ref: str, archive: IO[bytes]) -> None:
    """Unpack a tar at the root of a container."""
    archive.flush()
    archive.seek(0)
    client.call("containers.copy_in", {"ref": ref, "path": "/"}, [archive.fileno()])


def get(client: Client, ref: str, path: str, most: int = 8 << 20) -> bytes | None:
    """The content of a regular file, ``None`` when there is none (nothing, a directory, a link) or it is larger than ``most``."""
    with tempfile.TemporaryFile() as spool:
        try:
            client.call("containers.copy_out", {"ref": ref, "path": path}, [spool.fileno()])
        except NotFound:
            return None
        spool.seek(0)
        try:
            with tarfile.open(fileobj=spool, mode="r:") as archive:
                member = archive.next()
                if member is None or not member.isreg() or member.size > most:
                    return None
                content = archive.extractfile(member)
                return content.read() if content else None
        except (tarfile.TarError, OSError, ValueError):
            return None
