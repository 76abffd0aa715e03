"""COPY and ADD: sources chosen, identified, and written into a stage's root filesystem."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from multios.build.archives import is_archive, unpack_archive
from multios.build.context import Entry
from multios.build.download import Download, check_url, fetch, is_url
from multios.build.ignore import Patterns
from multios.build.modes import parse_mode
from multios.build.placing import chosen, destination_of, place
from multios.build.trees import Placed, RootTree, Source, TreeWriter, content_digest, opened_directory
from multios.dockerfile import syntax
from multios.engine import users
from multios.errors import InvalidInput
from multios.model.mount import Mount

_DOWNLOAD_MODE = 0o600


@dataclass(slots=True)
class Copying:
    """One COPY or ADD, ready: what was chosen of which source, and where it goes."""

    item: syntax.Copy | syntax.Add
    source: Source
    keeps_owners: bool
    paths: list[tuple[str, str]]
    downloads: list[Download]
    working_directory: str
    scratch: Path
    cancelled: Callable[[], bool]

    def _placed(self, paths: Sequence[tuple[str, str]], destination: str, into: bool) -> list[Placed]:
        excluded = Patterns(self.item.exclude, "--exclude") if self.item.exclude else None
        return place(self.source, paths, destination, into, self._parents, excluded)

    @property
    def _parents(self) -> bool:
        return isinstance(self.item, syntax.Copy) and self.item.parents

    def digest(self) -> str:
        """What the content is: of times it knows nothing."""
        placed = self._placed(self.paths, "", True)
        return content_digest(self.source, placed, self.keeps_owners)

    def fill(self, root: int, mounts: Sequence[Mount]) -> bool:
        """Write it all below ``root``."""
        item = self.item
        count = len(self.paths) + len(self.downloads) + len(item.heredocs)
        destination, into = destination_of(item.destination, self.working_directory, count)
        owner = owner_of(item.chown, mounts) if item.chown else None
        if owner is None and not self.keeps_owners:
            owner = (0, 0)
        mode = parse_mode(item.chmod) if item.chmod else None
        archives = [path for path in self.paths if self._is_archive(path[0])]
        plain = [path for path in self.paths if path not in archives]
        with TreeWriter(root, owner, mode) as writer:
            into = into or bool(archives) or writer.is_directory(destination)
            if plain or item.heredocs:
                placed = self._prepare(writer, plain, destination, into)
                writer.write(self.source, placed, self.cancelled)
            for document in item.heredocs:
                name = posixpath.basename(document.name)
                writer.write_text(posixpath.join(destination, name) if into else destination, document.text)
        for path, _ in archives:
            with os.fdopen(self.source.open(path), "rb") as file:
                self._unpack(root, file, destination, owner if item.chown else None)
        for download in self.downloads:
            self._place_download(root, download, destination, into, owner)
        return True

    def _prepare(
        self, writer: TreeWriter, paths: Sequence[tuple[str, str]], destination: str, into: bool
    ) -> list[Placed]:
        """What is to be written, and the directories made that have to be there before.

        A directory's content goes into one that is there already, whose own looks stay.
        """
        tops = {path for path, _ in paths}
        placed = [
            item
            for item in self._placed(paths, destination, into)
            if not (item.entry.path in tops and item.entry.is_directory and writer.is_directory(item.target))
        ]
        above = [posixpath.dirname(item.target) for item in placed if item.entry.path in tops]
        first = destination if into else posixpath.dirname(destination)
        for directory in dict.fromkeys([first, *above]):
            writer.make_directories(directory)
        return placed

    # --- archives and downloads -----------------------------------------------------------------------

    def _is_archive(self, path: str) -> bool:
        if not isinstance(self.item, syntax.Add) or self.item.unpack is False:
            return False
        if not stat.S_ISREG(next(iter(self.source.walk(path))).status.st_mode):
            return False
        with os.fdopen(self.source.open(path), "rb") as file:
            return is_archive(file)

    def _unpack(self, root: int, file: BinaryIO, destination: str, owner: tuple[int, int] | None) -> None:
        """By way of a directory of its own: an archive's links lead nowhere else, and rules for targets hold."""
        directory = self.scratch / secrets.token_hex(8)
        try:
            unpack_archive(file, directory)
            mode = parse_mode(self.item.chmod) if self.item.chmod else None
            with opened_directory(directory) as unpacked, TreeWriter(root, owner, mode) as writer:
                tree = RootTree(unpacked)
                whole = place(tree, [("", "")], destination, True)
                if writer.is_directory(destination):
                    del whole[0]  # the looks of one that is there already stay
                writer.make_directories(posixpath.dirname(destination))
                writer.write(tree, whole, self.cancelled)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _place_download(
        self, root: int, download: Download, destination: str, into: bool, owner: tuple[int, int] | None
    ) -> None:
        with download.path.open("rb") as file:
            if isinstance(self.item, syntax.Add) and self.item.unpack and is_archive(file):
                self._unpack(root, file, destination, owner if self.item.chown else None)
                return
        moment = round(download.modified * 1_000_000_000)
        os.chmod(download.path, _DOWNLOAD_MODE)
        os.utime(download.path, ns=(moment, moment))
        target = posixpath.join(destination, download.name) if into else destination
        mode = parse_mode(self.item.chmod) if self.item.chmod else None
        with opened_directory(download.path.parent) as directory, TreeWriter(root, owner, mode) as writer:
            writer.make_directories(posixpath.dirname(target))
            name = download.path.name
            entry = Entry(name, os.stat(name, dir_fd=directory, follow_symlinks=False))
            writer.write(RootTree(directory), [Placed(entry, target)], self.cancelled)


@contextlib.contextmanager
def prepared(
    item: syntax.Copy | syntax.Add,
    source: Source,
    keeps_owners: bool,
    working_directory: str,
    scratch: Path,
    cancelled: Callable[[], bool],
) -> Iterator[Copying]:
    """Choose and fetch what an instruction names; what was fetched is removed again on leaving.

    Everything that can be wrong in the instruction itself is told here.
    """
    if item.chmod:
        parse_mode(item.chmod)
    checksum = item.checksum if isinstance(item, syntax.Add) else ""
    urls = [name for name in item.sources if isinstance(item, syntax.Add) and is_url(name)]
    if checksum and (len(urls) != 1 or len(item.sources) != 1):
        raise InvalidInput("--checksum is of one source, which is fetched", "write an ADD for each URL")
    for url in urls:
        check_url(url, checksum)
    patterns = [name for name in item.sources if name not in urls]
    paths = chosen(source, patterns)
    destination_of(item.destination, working_directory, len(paths) + len(urls) + len(item.heredocs))
    downloads: list[Download] = []
    try:
        for url in urls:
            downloads.append(fetch(url, checksum, scratch, cancelled))
        yield Copying(item, source, keeps_owners, paths, downloads, working_directory, scratch, cancelled)
    finally:
        for download in downloads:
            download.path.unlink(missing_ok=True)


def owner_of(text: str, mounts: Sequence[Mount]) -> tuple[int, int]:
    """``--chown`` as ids: names are looked up in the image's own files; a number alone is user and group."""
    if text.isdecimal():
        text = f"{text}:{text}"
    account = users.resolve(text, mounts)
    return account.uid, account.gid
