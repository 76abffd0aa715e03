"""Indexes of templates where they lie: opened and fetched here, by the client, with the caller's own rights.

What comes from one is copied into a file without a name, measured and digested there, before anything else sees it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

from multios.errors import InvalidInput, MultiosError, NotFound
from multios.template_format import index, index_place
from multios.template_format.index import Entry

_CHUNK = 1 << 20


class Place(Protocol):
    """A folder with an index in it, somewhere; ``where`` ends with a slash."""

    where: str

    def copy(self, name: str, target: IO[bytes], largest: int) -> None:
        """Write a file of it to ``target``; ``InvalidInput`` for one larger than ``largest`` bytes."""


class Folder:
    """A folder of this host."""

    def __init__(self, path: str) -> None:
        self.where = path.rstrip("/") + "/"

    def copy(self, name: str, target: IO[bytes], largest: int) -> None:
        """See :class:`Place`. No link leads out of the folder."""
        shown = self.where + name
        try:
            top, path = os.path.realpath(self.where), os.path.realpath(shown)
            if os.path.commonpath([top, path]) != top:
                raise InvalidInput(f"{shown}: leads out of the index", "do not trust where it came from")
            # A FIFO would keep us waiting.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as source:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise InvalidInput(f"{shown}: is no file", "an index has files only")
                copy_bounded(source.read, target, largest, shown)
        except FileNotFoundError:
            remedy = "make it: multios-container template index DIRECTORY" if name == index.FILE else ""
            raise NotFound(f"{shown}: there is no such file", remedy) from None
        except OSError as error:
            raise InvalidInput(f"{shown}: {error.strerror}", "give a folder that you may read") from None


def copy_bounded(read: Callable[[int], bytes], target: IO[bytes], largest: int, shown: str) -> None:
    """Copy until ``read`` gives nothing; ``InvalidInput`` as soon as there is more than ``largest``."""
    size = 0
    while chunk := read(_CHUNK):
        size += len(chunk)
        if size > largest:
            raise InvalidInput(f"{shown}: has more than {largest} bytes", "tell who keeps the index")
        try:
            target.write(chunk)
            target.flush()
        except OSError as error:
            raise MultiosError(f"{shown}: cannot be kept: {error.strerror}", "make room in $TMPDIR") from None


def place_at(where: str) -> Place:
    """The place that a user or the settings call ``where``."""
    if not index_place.is_web(where):
        return Folder(where)
    from multios.cli.web_folder import WebFolder  # deferred: it brings urllib

    return WebFolder(where)


class Indexes:
    """Several places in order: the first that has a name gives it. Each index is read once."""

    def __init__(self, wheres: Sequence[str]) -> None:
        self.places = [place_at(where) for where in wheres]
        self._read: dict[str, tuple[Entry, ...]] = {}

    def entries(self, place: Place) -> tuple[Entry, ...]:
        """The templates that the index at a place lists."""
        if place.where not in self._read:
            data = io.BytesIO()
            place.copy(index.FILE, data, index.LARGEST)
            self._read[place.where] = index.read(data.getvalue(), place.where + index.FILE)
        return self._read[place.where]

    def find(self, wanted: str) -> tuple[Place, Entry]:
        """Where ``NAME[==VERSION]`` comes from. An index that cannot be read ends the search: a later one is no substitute."""
        name, version = index.parse_wanted(wanted)
        for place in self.places:
            if entry := index.choose(self.entries(place), name, version, place.where):
                return place, entry
        raise index.not_found(name, self._read)


@contextmanager
def copied(place: Place, name: str, largest: int) -> Iterator[tuple[int, str, int]]:
    """A file of a place as our own copy: its descriptor, sha256 and size, for as long as the block runs."""
    with tempfile.TemporaryFile() as file:
        place.copy(name, file, largest)
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file.fileno(), digest, size


@contextmanager
def fetched(place: Place, entry: Entry) -> Iterator[int]:
    """A descriptor of the entry's archive, found to be what the index says."""
    with copied(place, entry.file, entry.size) as (descriptor, digest, size):
        if size != entry.size or digest != entry.sha256:
            said = f"{size} bytes" if size != entry.size else f"sha256 {digest}"
            promised = f"{entry.size}" if size != entry.size else entry.sha256
            raise InvalidInput(
                f"{place.where}{entry.file}: it has {said}, the index says {promised}",
                "it was changed or cut; nothing was imported",
            )
        yield descriptor
