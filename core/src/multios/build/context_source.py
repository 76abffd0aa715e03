"""What COPY reads without ``--from``: a directory of the client's, or an archive from its stdin."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from multios.build.archives import is_archive, unpack_archive
from multios.build.context import Context, Entry
from multios.build.ignore import FILE_NAME, Patterns
from multios.build.stat_cache import StatCache
from multios.build.trees import Source
from multios.errors import InvalidInput
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel

LARGEST_TEXT = 4 << 20
LARGEST_STREAM = 64 << 30
IGNORE_FILES = (".containerignore", FILE_NAME)
_BELOW = flags.RESOLVE_BENEATH | flags.RESOLVE_NO_MAGICLINKS
_CHUNK = 1 << 20


class _Nothing:
    """No context at all: nothing is there."""

    def select(self, pattern: str) -> Sequence[str]:
        return ()

    def walk(self, path: str) -> Iterator[Entry]:
        raise _nothing()

    def open(self, path: str) -> int:
        raise _nothing()

    def digest(self, entry: Entry) -> str:
        raise _nothing()


def _nothing() -> InvalidInput:
    return InvalidInput("this build has no context", "give it a directory")


def empty_source() -> Source:
    """A context without a file."""
    return _Nothing()


def directory_source(directory: int, cache: StatCache, ignore: str = "") -> Source:
    """The directory, but for what ``ignore``, the text of a .dockerignore, or else its own, leaves out."""
    text = ignore
    for name in IGNORE_FILES:
        text = text or read_text(directory, name) or ""
    return Context(directory, Patterns.of_file(text), cache)


def read_text(directory: int, path: str) -> str | None:
    """A text file of the context, ``None`` when it is not there; ``InvalidInput`` when it is no text, or too large."""
    try:
        descriptor = kernel.openat2(directory, path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, _BELOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput(
            f"{path} in the context: {error.strerror}", "it must be a file inside it"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = file.read(LARGEST_TEXT + 1)
            text = content.decode()
        except (OSError, UnicodeDecodeError):
            raise InvalidInput(f"{path} in the context is no text file", "save it as UTF-8") from None
    if len(content) > LARGEST_TEXT:
        raise InvalidInput(
            f"{path} in the context is larger than {LARGEST_TEXT >> 20} MiB", "make it smaller"
        )
    return text


@contextlib.contextmanager
def stream_source(stream: int, directory: Path) -> Iterator[int | str]:
    """What comes on ``stream``: an archive, unpacked into the new ``directory`` and given as its descriptor, or a text."""
    spool = directory.with_name(directory.name + ".stream")
    with spool.open("w+b") as file:
        size = 0
        while part := os.read(stream, _CHUNK):
            size += len(part)
            if size > LARGEST_STREAM:
                raise InvalidInput(
                    f"the context is larger than {LARGEST_STREAM >> 30} GiB", "make it smaller"
                )
            file.write(part)
        file.seek(0)
        if not is_archive(file):
            yield _as_text(file)
            return
        unpack_archive(file, directory)
    spool.unlink()
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _as_text(file: io.BufferedIOBase) -> str:
    content = file.read(LARGEST_TEXT + 1)
    try:
        if len(content) <= LARGEST_TEXT:
            return content.decode()
    except UnicodeDecodeError:
        pass
    raise InvalidInput("stdin is neither a tar archive nor a Dockerfile", "send one of these")
