"""Images to and from archives: saved, loaded, and root filesystems imported, recognised by content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, cast

from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.engine.images import Images
from multios.errors import InvalidInput, MultiosError, StepFailed
from multios.exchange.layouts import Found, images_of
from multios.exchange.members import Members
from multios.exchange.spool import is_of_images, spool
from multios.exchange.writing import FORMATS, ArchiveWriter, Saved, digests_of, write_docker, write_oci
from multios.layers.compression import decompressed
from multios.model import platform
from multios.model.image import Image
from multios.model.reference import parse
from multios.store.content import ContentStore


class ImageArchives:
    """Reads and writes the archives of one store. ``storage`` gives where what is read gets unpacked."""

    def __init__(self, images: Images, content: ContentStore, storage: Callable[[], StorageDriver]) -> None:
        self._images, self._content, self._storage = images, content, storage

    def bring(
        self,
        stream: BinaryIO,
        reference: str,
        rootfs_name: str,
        changes: Sequence[str],
        wanted: str,
        progress: Progress,
    ) -> tuple[Image, ...]:
        """The images of what ``stream`` gives: an archive of images, or the tar of a root filesystem.

        Images keep the names that the archive has unless ``reference`` is one; a root filesystem is called
        ``reference`` or ``rootfs_name``, and ``InvalidInput`` when both are empty. ``changes`` as for
        :meth:`Images.import_tar`; ``wanted`` is the platform, empty for this machine's.
        """
        name = str(parse(reference)) if reference else ""
        members = Members(decompressed(stream.read))
        has_images, listed = is_of_images(members)
        if not has_images:
            if not (name or rootfs_name):
                raise InvalidInput(
                    "the archive has no image, but perhaps a root filesystem",
                    "write image import NAME < FILE",
                )
            plain = cast(BinaryIO, _Chunks(members.whole()))
            return (self._images.import_tar(name or rootfs_name, plain, changes, self._storage(), progress),)
        if changes:
            raise InvalidInput("an image in an archive cannot be changed", "--change is for root filesystems")
        machine = platform.parse(wanted) if wanted else platform.of_this_machine()
        with self._images.restoring():
            archive = spool(members, listed, self._content, _told(progress, "Reading the archive", 0))
            found = images_of(archive, self._content, machine)
            if name and len(found) > 1:
                raise InvalidInput(
                    f"the archive has {len(found)} images, which cannot all be {name!r}", "leave out the name"
                )
            return tuple(self._stored(item, name, progress) for item in found)

    def _stored(self, found: Found, name: str, progress: Progress) -> Image:
        names = (name,) if name else found.names
        return self._images.register(found.manifest, names, "import", self._storage(), progress)

    def save(self, references: Sequence[str], form: str, target: BinaryIO, progress: Progress) -> None:
        """Write images to one archive of the format ``form``: an image named twice is there once."""
        if form not in FORMATS:
            raise InvalidInput(f"no such format: {form!r}", f"valid: {', '.join(FORMATS)}")
        if not references:
            raise InvalidInput("no image is named", "write save IMAGE > FILE")
        with self._images.holding():
            saved = self._saved(references)
            digests = digests_of(saved, self._content)
            for digest in digests:
                self._content.has(digest)  # from here on it stays, even if the image is removed
            total = sum(self._content.size(digest) for digest in digests)
            told = _told(progress, f"Writing {references[0]}", total)
            try:
                write = write_oci if form == "oci-archive" else write_docker
                write(saved, self._content, ArchiveWriter(target, told))
            except OSError as error:
                raise StepFailed(
                    "write the archive", os.strerror(error.errno or 0), "write it elsewhere"
                ) from error

    def _saved(self, references: Sequence[str]) -> list[Saved]:
        """A name given is the only name written; by its id an image is written with all its names."""
        images: dict[str, Image] = {}
        names: dict[str, list[str]] = {}
        for reference in references:
            image = self._images.get(reference)
            images[image.manifest.digest] = image
            given = [name for name in image.references if name == _full(reference)]
            names.setdefault(image.manifest.digest, []).extend(given or image.references)
        return [Saved(image, tuple(dict.fromkeys(names[digest]))) for digest, image in images.items()]


class _Chunks:
    """Pieces of bytes as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int) -> bytes:
        """The next piece, whatever its size; empty at the end."""
        return next(self._chunks, b"")


def _full(reference: str) -> str:
    try:
        return str(parse(reference))
    except MultiosError:
        return ""


def _told(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress(what, min(done, total) if total else done, total)

    return tell
