"""Unpacking untrusted layers into a snapshot: in a child process, chrooted into it before it reads a byte.

``python -m multios.layers.unpack`` is that child; it is not on the way of a container's start.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO, NoReturn

from multios.errors import MultiosError, StepFailed, from_wire
from multios.model.mount import Mount

_PROGRESS_SECONDS = 0.2
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


_NO_BOMB = 1 << 30
"""Bytes that any layer may have, however well it was compressed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a layer may have at most; ``size`` is of the uncompressed tar, in bytes.

    ``ratio`` is how many times its compressed size that may be, beyond 1 GiB.
    """

    entries: int = 2_000_000
    size: int = 64 << 30
    ratio: int = 1100

    def of(self, compressed: int) -> Bounds:
        """These for a layer of so many compressed bytes."""
        return replace(self, size=min(self.size, max(_NO_BOMB, compressed * self.ratio)))


@dataclass(frozen=True, slots=True)
class Unpacked:
    """``digest`` of the uncompressed tar is the layer's diff ID; ``size`` is that tar's, in bytes.

    ``blob`` is the digest of the stream as it came.
    """

    digest: str
    blob: str
    size: int
    entries: int


def unpack(
    stream: BinaryIO,
    target: str | os.PathLike[str] | int | Sequence[Mount],
    *,
    bounds: Bounds | None = None,
    progress: Callable[[int], None] | None = None,
) -> Unpacked:
    """Apply the layer tar in ``stream`` (plain, gzip, zstd, xz) to ``target``.

    ``target`` is a directory, a descriptor of one, or a snapshot's mounts; it holds what the layers below made, of
    which whiteouts remove. So an overlay's upper directory is no target, its mount is. ``progress`` is told how
    many bytes of ``stream`` were read. Needs root.

    Raises ``InvalidInput`` for a layer that is corrupt, hostile or out of bounds and ``StepFailed`` where the
    host fails. After any error the target is half done: discard it.
    """
    with _opened(target) as directory, contextlib.ExitStack() as stack:
        source = _descriptor(stream)
        feeder = None
        if source is None:
            source, feeder = _feed(stream)
        order = json.dumps(asdict(bounds or Bounds()))
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", "multios.layers.unpack", str(directory), order],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(directory,),
            cwd="/",
        )
        stack.callback(_end, child)
        if feeder:
            os.close(source)  # the child has it: the feeder must see when the child is gone
            feeder.start()
        output, errors = _wait(child, progress, None if feeder else source, feeder)
    return _answer(output, errors, child.returncode)


def _wait(
    child: subprocess.Popen[bytes],
    progress: Callable[[int], None] | None,
    source: int | None,
    feeder: _Feeder | None,
) -> tuple[bytes, bytes]:
    while True:
        try:
            output = child.communicate(timeout=_PROGRESS_SECONDS if progress else None)
        except subprocess.TimeoutExpired:
            output = None
        if progress:
            progress(feeder.done if feeder else _offset(source))
        if output is not None:
            break
    if feeder and child.returncode == 0:  # else it may wait for a stream that nobody needs any more
        feeder.join()
        if feeder.error:
            raise feeder.error
    return output


def _answer(output: bytes, errors: bytes, status: int) -> Unpacked:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        lines = errors.decode("utf-8", "replace").strip().splitlines() or [
            f"the unpacker ended with status {status}"
        ]
        raise StepFailed("unpack layer", lines[-1]) from None
    if "error" in answer:
        raise from_wire(answer["error"])
    return Unpacked(**answer)


class _Feeder(threading.Thread):
    """Copies a stream that has no descriptor of its own into the child."""

    def __init__(self, stream: BinaryIO, pipe: int) -> None:
        super().__init__(name="layer-feeder", daemon=True)
        self.done = 0
        self.error: Exception | None = None
        self._stream = stream
        self._pipe = pipe

    def run(self) -> None:
        """Until the stream ends or the child does."""
        try:
            while data := self._stream.read(1 << 18):
                self.done += len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(self._pipe, view) :]
        except BrokenPipeError:
            pass  # the child tells why it left
        except Exception as error:  # raised in the caller's thread
            self.error = error
        finally:
            os.close(self._pipe)


def _feed(stream: BinaryIO) -> tuple[int, _Feeder]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return reader, _Feeder(stream, writer)


def _descriptor(stream: BinaryIO) -> int | None:
    """The stream's own descriptor, where what Python has buffered does not matter."""
    try:
        descriptor = stream.fileno()
        if isinstance(stream, io.BufferedReader):
            if not stream.seekable():
                return None
            os.lseek(descriptor, stream.tell(), os.SEEK_SET)
        elif not isinstance(stream, io.FileIO):
            return None
    except (OSError, AttributeError, ValueError):
        return None
    return descriptor


def _offset(source: int | None) -> int:
    """How far the child has read: the offset belongs to the open file, which both share."""
    try:
        return 0 if source is None else os.lseek(source, 0, os.SEEK_CUR)
    except OSError:
        return 0


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
        child.wait()
    for pipe in (child.stdout, child.stderr):
        if pipe:
            pipe.close()


@contextlib.contextmanager
def _opened(target: str | os.PathLike[str] | int | Sequence[Mount]) -> Iterator[int]:
    """A directory descriptor of ``target``."""
    if isinstance(target, int):
        yield target
    elif isinstance(target, (str, os.PathLike)):
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StepFailed("unpack layer", f"{target}: {error.strerror}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        from multios.supervisor.mounts import mounted  # deferred: a plain directory needs no mounts

        with mounted(target) as descriptor:
            yield descriptor


def _child(directory: int, order: dict[str, Any]) -> dict[str, Any]:
    """Runs in the child: everything is imported and prepared, then chroot, then the layer."""
    from multios.closed_imports import close_imports
    from multios.layers.apply import Applier
    from multios.layers.archive import Source
    from multios.layers.compression import decompressed
    from multios.layers.read_ahead import Digested, read_ahead
    from multios.supervisor import id_map
    from multios.supervisor.syscalls import Syscalls

    Syscalls().prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    ids, devices = id_map.size(), id_map.is_initial()
    close_imports()
    try:
        os.umask(0)
        os.fchdir(directory)
        os.chroot(".")
        os.chdir("/")
    except OSError as error:
        raise StepFailed("unpack layer", f"chroot: {error.strerror}", "unpacking needs root") from error
    blob = Digested(lambda count: os.read(0, count))
    source = Source(read_ahead(decompressed(blob.read)), order["size"])
    applier = Applier(order["entries"], ids=ids, devices=devices)
    applier.apply(source)
    source.drain()
    return {"digest": source.digest, "blob": blob.digest, "size": source.size, "entries": applier.count}


def _main() -> int:
    try:
        answer = _child(int(sys.argv[1]), json.loads(sys.argv[2]))
    except MultiosError as error:
        answer = {"error": error.to_wire()}
    sys.stdout.write(json.dumps(answer))
    return 1 if "error" in answer else 0


def _run() -> NoReturn:
    """Without the interpreter's own end: to stop a thread that reads ahead it loads libgcc_s, which the chroot has not."""
    status = 1
    try:
        status = _main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _run()
