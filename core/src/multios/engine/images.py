"""Images: found, fetched, unpacked, made and removed.

What images there are is told by the content store's index alone; a snapshot is named by the chain ID of its
layers. So both may be lost or left half by a kill, and what is missing is made again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, TypeGuard

from multios.drivers.image_source import ANYHOW, FetchRequest, ImageSourceDriver, Progress
from multios.drivers.storage import StorageDriver
from multios.engine.locks import KeyedLocks
from multios.engine.unpacking import Unpacker
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, StepFailed, nearest
from multios.layers.compression import decompressed
from multios.model import platform
from multios.model.image import Descriptor, Image, ImageConfig, ResolvedImage
from multios.model.reference import parse
from multios.store import manifest
from multios.store.content import REFERENCE_ANNOTATION, ContentStore
from multios.store.layer_stream import GZIP_LAYER_TYPE, CompressedLayer, chunks_of, written_by

log = logging.getLogger(__name__)

LARGEST_ROOTFS = 64 << 30
"""Bytes of an imported root filesystem; more is taken for a bomb."""

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


class Images:
    """The images of one content store. ``storages`` and ``sources`` are read at every use, so they may grow."""

    def __init__(
        self,
        content: ContentStore,
        storages: Sequence[StorageDriver],
        sources: Sequence[ImageSourceDriver],
    ) -> None:
        self._content = content
        self._storages = storages
        self._sources = sources
        self._fetching = KeyedLocks()
        self._lock = threading.Lock()
        self._records: dict[str, Image] = {}
        self._unpacker = Unpacker(content, self.list)
        self._collect_garbage()
        self._refresh()

    # --- finding ----------------------------------------------------------------------------------

    def list(self) -> tuple[Image, ...]:
        """All images, newest first; one without a name has no references."""
        records = tuple(self._records.values())
        return tuple(sorted(records, key=lambda image: image.created, reverse=True))

    def find(self, reference: str) -> Image | None:
        """The image with this name (the tag is ``latest`` unless given), id or unambiguous id prefix.

        Raises ``InvalidInput`` for a prefix of several ids; what cannot be a name is simply not found.
        """
        records = self._records
        name = _normal(reference)
        for image in records.values():
            if name in image.references or (name and name.partition("@")[2] == image.manifest.digest):
                return image
        if match := _ID.fullmatch(reference):
            found = [image for image in records.values() if image.id.startswith(match[1])]
            if len(found) > 1:
                raise InvalidInput(f"image id {reference!r} is ambiguous", "write more of it")
            return found[0] if found else None
        return None

    def get(self, reference: str) -> Image:
        """As :meth:`find`; ``NotFound`` with the nearest name when there is none."""
        image = self.find(reference)
        if image is None:
            parse(reference)
            known = [name for item in self.list() for name in item.references]
            raise _no_image(reference, known, "see 'multios-container images'")
        return image

    def inspect(self, reference: str) -> dict[str, Any]:
        """The whole record, with podman's keys."""
        image = self.get(reference)
        system, _, architecture = image.platform.partition("/")
        details = self._content.read_json(f"sha256:{image.id}")
        return {
            "Id": image.id,
            "Digest": image.manifest.digest,
            "RepoTags": list(image.references),
            "Created": details.get("created", ""),
            "Size": image.size,
            "Os": system,
            "Architecture": architecture,
            "Source": image.source,
            "Config": manifest.config_json(image.config),
            "Labels": dict(image.config.labels),
            "RootFS": {"Type": "layers", "Layers": list(image.layers)},
            "History": [dict(item) for item in manifest.read_history(self._content, image)],
        }

    # --- bringing ---------------------------------------------------------------------------------

    def ensure(
        self,
        reference: str,
        progress: Progress,
        host_paths: bool = False,
        request: FetchRequest = ANYHOW,
    ) -> Image:
        """The image, fetched from the first source that has it unless it is stored for the platform asked for.

        Several threads that ask for one image fetch it once; with ``request.refresh`` each asks its source. An image
        that would be read from a path of the host is ``Refused`` without ``host_paths``: only an administrator may
        name one.
        """
        image = self.find(reference)
        if _serves(image, request):
            return image
        source, resolved = self._resolve(reference)
        if resolved.data.get("host_path") and not host_paths:
            raise Refused(
                f"image {reference!r} is a file of the host, which only an administrator may use",
                "import it: multios-container image import < FILE",
            )
        with self._fetching.holding(resolved.reference):
            image = self.find(resolved.reference)
            descriptor = (
                image.manifest
                if _serves(image, request)
                else self._fetch(source, resolved, progress, request)
            )
            for name in dict.fromkeys([resolved.reference, _normal(reference)]):
                if name and "@" not in name:
                    self._tag(name, descriptor)
        return self.get(resolved.reference)

    def known_names(self) -> tuple[str, ...]:
        """The names of stored images, then those that sources offer."""
        stored = [name for image in self.list() for name in image.references]
        offered = [name for source in self._sources for name in source.offers()]
        return tuple(dict.fromkeys([*stored, *offered]))

    def _resolve(self, reference: str) -> tuple[ImageSourceDriver, ResolvedImage]:
        for source in self._sources:
            resolved = source.resolve(reference)
            if resolved is not None:
                parse(resolved.reference)
                return source, resolved
        parse(reference)
        names = self.known_names()
        valid = f"there are {', '.join(names[:8])}" if names else "install multios-image-bootstrap"
        raise _no_image(
            reference, names, f"{valid}; import a root filesystem with 'multios-container image import'"
        )

    def _fetch(
        self, source: ImageSourceDriver, resolved: ResolvedImage, progress: Progress, request: FetchRequest
    ) -> Descriptor:
        try:
            with self._content.holding():
                found = source.fetch(resolved, self._content, progress, request)
                found = _annotated(found, source.name)
                manifest.read_image(self._content, found)
                self._tag(resolved.reference, found)
                return found
        except MultiosError as error:
            self._collect_garbage()
            if source.catch_all:  # it could not tell before that it has no such image
                error.remedy = f"{_hint(resolved.reference, self.known_names())}{error.remedy}"
            raise
        except Exception as error:
            self._collect_garbage()
            log.exception("fetching %s from %s failed", resolved.reference, source.name)
            raise StepFailed(
                f"fetch {resolved.reference}", f"{source.name}: {error}", "the daemon's log has the details"
            ) from error

    # --- unpacking --------------------------------------------------------------------------------

    def unpack(self, image: Image, storage: StorageDriver, progress: Progress) -> str:
        """The key of the committed snapshot that holds the image's root filesystem.

        Each layer is unpacked once per storage driver; several threads that ask wait for one another.
        """
        return self._unpacker.unpack(image, storage, progress)

    # --- making -----------------------------------------------------------------------------------

    def import_tar(
        self,
        reference: str,
        stream: BinaryIO,
        changes: Mapping[str, Any],
        storage: StorageDriver,
        progress: Progress,
    ) -> Image:
        """An image of one layer from the tar (plain, gzip or xz) of a root filesystem.

        It is unpacked in ``storage`` before it gets its name: what does not unpack is no image. ``changes`` as for
        :func:`multios.store.manifest.changed`.
        """
        name = self._writable_name(reference)
        default = ImageConfig(command=("/bin/sh",), environment=(manifest.DEFAULT_PATH,))
        config = manifest.changed(default, changes)
        try:
            with self._content.holding():
                progress(f"Reading {name}", 0, 0)
                layer = self._store_layer(decompressed(stream.read), LARGEST_ROOTFS)
                descriptor = manifest.write_image(self._content, config, [layer], f"import {name}")
                descriptor = _annotated(descriptor, "import")
                self.unpack(manifest.read_image(self._content, descriptor), storage, progress)
                self._tag(name, descriptor)
        except MultiosError:
            self._collect_garbage()
            raise
        return self.get(name)

    def commit(
        self,
        snapshot: str,
        storage: StorageDriver,
        base: Image,
        config: ImageConfig,
        references: Sequence[str],
        created_by: str = "commit",
        consume: bool = False,
    ) -> Image:
        """A new image from an active snapshot on ``base``: its changes become one more layer.

        With ``consume`` the snapshot itself becomes the layer's committed snapshot, and is gone when this returns.
        """
        names = [self._writable_name(reference) for reference in references]
        with self._content.holding():
            with written_by(lambda target: storage.diff(snapshot, target)) as tar:
                layer = self._store_layer(chunks_of(tar))
            layers = [*manifest.read_layers(self._content, base), layer]
            history = manifest.read_history(self._content, base)
            stored = manifest.write_image(self._content, config, layers, created_by, history)
            descriptor = _annotated(stored, "build")
            if consume:
                self._unpacker.adopt(manifest.read_image(self._content, descriptor), storage, snapshot)
            for name in names:
                self._tag(name, descriptor)
        return self.get(names[0])

    def layers_of(self, image: Image) -> tuple[manifest.Layer, ...]:
        """The image's stored layers, lowest first."""
        return manifest.read_layers(self._content, image)

    def history_of(self, image: Image) -> tuple[Mapping[str, Any], ...]:
        """How the image came to be (image-spec, config.md, ``history``), oldest first."""
        return manifest.read_history(self._content, image)

    def holding(self) -> AbstractContextManager[None]:
        """While it is held, nothing that is put into the content store is collected."""
        return self._content.holding()

    def tag(self, reference: str, name: str) -> Image:
        """Give the image one more name."""
        image = self.get(reference)
        self._tag(self._writable_name(name), image.manifest)
        return self.get(name)

    def _store_layer(self, tar: Iterable[bytes], limit: int = 0) -> manifest.Layer:
        compressed = CompressedLayer(tar, limit)
        blob = self._content.put(GZIP_LAYER_TYPE, compressed)  # type: ignore[arg-type]
        return manifest.Layer(blob, compressed.diff_id)

    def _writable_name(self, reference: str) -> str:
        name = parse(reference)
        if name.digest:
            raise InvalidInput(
                f"image {reference!r}: a new image cannot be named by a digest", "leave out @sha256:…"
            )
        return str(name)

    # --- removing ---------------------------------------------------------------------------------

    def remove(self, reference: str, force: bool = False, used_by: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove a name; with its last name, or by id, the image. What was removed: names and ``sha256:<id>``.

        ``used_by`` are the names of the containers made from it: they are a ``Conflict`` unless ``force``, and then
        the image only loses its names. Blobs and snapshots that no image needs go, except below a container.
        """
        image = self.get(reference)
        name = _normal(reference)
        names = [name] if name in image.references else list(image.references)
        if len(names) > 1 and not force:
            raise Conflict(
                f"image {image.id[:12]} has several names: {', '.join(names)}", "remove each, or use --force"
            )
        last = len(names) == len(image.references)
        if last and used_by and not force:
            raise Conflict(
                f"image {reference!r} is used by container {', '.join(used_by)}",
                "delete it first, or use --force",
            )
        for item in names:
            self._content.untag(item, keep=bool(used_by))
        removed = list(names)
        if last and not used_by:
            self._content.drop(image.manifest.digest)
            removed.append(f"sha256:{image.id}")
        self._refresh()
        if last and not used_by:
            self._collect_garbage()
            for storage in self._storages:
                self._unpacker.release(image, storage)
        return tuple(removed)

    def _collect_garbage(self) -> None:
        """Remove what no image needs, but for what a fetch that was cut off goes on with."""
        self._content.collect_garbage(
            [digest for source in self._sources for digest in source.kept_digests()]
        )

    # --- the index --------------------------------------------------------------------------------

    def _tag(self, name: str, descriptor: Descriptor) -> None:
        self._content.tag(name, descriptor)
        self._refresh()

    def _refresh(self) -> None:
        """Read the index again; only manifests that are new are opened. A damaged image is left out and logged."""
        with self._lock:
            names: dict[str, list[str]] = {}
            entries = {item.digest: item for item in self._content.manifests()}
            for item in self._content.manifests():
                name = item.annotations.get(REFERENCE_ANNOTATION)
                names.setdefault(item.digest, []).extend([name] if name else [])
            records = {}
            for digest, item in entries.items():
                known = self._records.get(digest)
                references = tuple(names[digest])
                if known is not None and known.references == references:
                    records[digest] = known
                    continue
                try:
                    records[digest] = manifest.read_image(self._content, item, references)
                except MultiosError as error:
                    log.warning("image %s is left out: %s", references or digest, error)
            self._records = records


def _serves(image: Image | None, request: FetchRequest) -> TypeGuard[Image]:
    """Whether a stored image is what was asked for."""
    if image is None or request.refresh:
        return False
    if not request.platform:
        return True
    return platform.parse(request.platform).preference(platform.parse(image.platform)) is not None


def _normal(reference: str) -> str:
    """The full form of a name, or empty when ``reference`` cannot be one."""
    try:
        return str(parse(reference))
    except InvalidInput:
        return ""


def _annotated(descriptor: Descriptor, source: str) -> Descriptor:
    annotations = {**descriptor.annotations, manifest.SOURCE_ANNOTATION: source}
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)


def _no_image(reference: str, known: Sequence[str], remedy: str) -> NotFound:
    return NotFound(f"no such image: {reference!r}", _hint(reference, known) + remedy)


def _hint(reference: str, known: Sequence[str]) -> str:
    guess = nearest(reference, [*known])
    return f"did you mean {guess!r}? " if guess not in ("", reference) else ""
