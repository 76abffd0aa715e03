"""Images: found, fetched, unpacked, made and removed.

What images there are is told by the content store's index alone; a snapshot is named by the chain ID of its
layers. So both may be lost or left half by a kill, and what is missing is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol, TypeGuard, cast

from multios.drivers.image_source import ANYHOW, FetchRequest, ImageSourceDriver, Progress
from multios.drivers.storage import StorageDriver
from multios.engine.config_lines import with_changes
from multios.engine.image_filters import PRUNE_FILTERS, select
from multios.engine.image_records import ImageRecords, hint, no_image, normal
from multios.engine.locks import KeyedLocks
from multios.engine.unpacking import Unpacker
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, StepFailed, Unsupported
from multios.layers.archive import Entry
from multios.layers.compression import decompressed
from multios.layers.leaving_out import leaving_out
from multios.layers.unpack import Bounds
from multios.model import platform
from multios.model.image import Descriptor, Image, ImageConfig, ResolvedImage
from multios.model.reference import parse
from multios.store import manifest
from multios.store.content import ContentStore
from multios.store.layer_stream import GZIP_LAYER_TYPE, CompressedLayer, chunks_of, written_by

log = logging.getLogger(__name__)

LARGEST_ROOTFS = 64 << 30
"""Bytes of an imported root filesystem; more is taken for a bomb."""


class Keeper(Protocol):
    """Who needs content that no image needs: a build cache."""

    def kept_digests(self) -> Iterable[str]:
        """Blobs that stay."""

    def kept_chains(self) -> Iterable[str]:
        """Chain IDs whose snapshots stay, and with them those they stand on."""


class Images(ImageRecords):
    """The images of one content store. ``storages`` and ``sources`` are read at every use, so they may grow.

    What a killed process left stays until :meth:`collect_garbage`, to be called when every keeper is known.
    """

    def __init__(
        self,
        content: ContentStore,
        storages: Sequence[StorageDriver],
        sources: Sequence[ImageSourceDriver],
        bounds: Bounds | None = None,
    ) -> None:
        self._keepers: list[Keeper] = []
        self._storages = storages
        self._sources = sources
        self._fetching = KeyedLocks()
        self._unpacker = Unpacker(content, self._needed_chains, bounds or Bounds())
        super().__init__(content)

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
        hindrance: Unsupported | None = None
        for source, resolved in self._resolve(reference):
            if resolved.data.get("host_path") and not host_paths:
                raise Refused(
                    f"image {reference!r} is a file of the host, which only an administrator may use",
                    "import it: multios-container image import < FILE",
                )
            try:
                return self._ensured(reference, source, resolved, progress, request)
            except Unsupported as error:  # this source cannot make it on this host; the next one may have it
                log.info("image %s: %s: %s", reference, source.name, error)
                hindrance = hindrance or error
            except MultiosError as error:
                if hindrance:
                    error.remedy = f"{error.remedy}; or: {hindrance.cause}: {hindrance.remedy}"
                raise
        assert hindrance is not None, "there is a source, else _resolve raises"
        raise hindrance

    def _ensured(
        self,
        reference: str,
        source: ImageSourceDriver,
        resolved: ResolvedImage,
        progress: Progress,
        request: FetchRequest,
    ) -> Image:
        with self._fetching.holding(resolved.reference):
            image = self.find(resolved.reference)
            descriptor = (
                image.manifest
                if _serves(image, request)
                else self._fetch(source, resolved, progress, request)
            )
            for name in dict.fromkeys([resolved.reference, normal(reference)]):
                if name and "@" not in name:
                    self._tag(name, descriptor)
        return self.get(resolved.reference)

    def known_names(self) -> tuple[str, ...]:
        """The names of stored images, then those that sources offer."""
        stored = [name for image in self.list() for name in image.references]
        offered = [name for source in self._sources for name in source.offers()]
        return tuple(dict.fromkeys([*stored, *offered]))

    def _resolve(self, reference: str) -> list[tuple[ImageSourceDriver, ResolvedImage]]:
        """Every source that may have the image, in order; ``NotFound`` when there is none."""
        found = [(source, resolved) for source in self._sources if (resolved := source.resolve(reference))]
        for _, resolved in found:
            parse(resolved.reference)
        if found:
            return found
        parse(reference)
        names = self.known_names()
        valid = f"there are {', '.join(names[:8])}" if names else "install multios-image-bootstrap"
        raise no_image(
            reference, names, f"{valid}; import a root filesystem with 'multios-container image import'"
        )

    def _fetch(
        self, source: ImageSourceDriver, resolved: ResolvedImage, progress: Progress, request: FetchRequest
    ) -> Descriptor:
        try:
            with self.holding():
                found = source.fetch(resolved, self._content, progress, request)
                found = _annotated(found, source.name)
                manifest.read_image(self._content, found)
                self._tag(resolved.reference, found)
                return found
        except MultiosError as error:
            self.collect_garbage()
            if source.catch_all:  # it could not tell before that it has no such image
                error.remedy = f"{hint(resolved.reference, self.known_names())}{error.remedy}"
            raise
        except Exception as error:
            self.collect_garbage()
            log.exception("fetching %s from %s failed", resolved.reference, source.name)
            raise StepFailed(
                f"fetch {resolved.reference}", f"{source.name}: {error}", "the daemon's log has the details"
            ) from error

    # --- unpacking --------------------------------------------------------------------------------

    def unpack(self, image: Image, storage: StorageDriver, progress: Progress) -> str:
        """The key of the committed snapshot that holds the image's root filesystem.

        Each layer is unpacked once per storage driver; several threads that ask wait for one another.
        """
        return self.unpack_layers(self.layers_of(image), storage, progress)

    # --- making -----------------------------------------------------------------------------------

    def import_tar(
        self,
        reference: str,
        stream: BinaryIO,
        changes: Sequence[str],
        storage: StorageDriver,
        progress: Progress,
    ) -> Image:
        """An image of one layer from the tar (plain, gzip or xz) of a root filesystem.

        It is unpacked in ``storage`` before it gets its name: what does not unpack is no image. ``changes`` as for
        :func:`multios.engine.config_lines.with_changes`.
        """
        name = self._writable_name(reference)
        default = ImageConfig(command=("/bin/sh",), environment=(manifest.DEFAULT_PATH,))
        config = with_changes(default, changes)
        with self.restoring():
            progress(f"Reading {name}", 0, 0)
            layer = self._store_layer(decompressed(stream.read), LARGEST_ROOTFS)
            self.unpack_layers([layer], storage, progress)
            created = manifest.now()
            history = [manifest.history_entry(created, f"import {name}")]
            return self.write(config, [layer], history, [name], "import", created)

    def register(
        self,
        descriptor: Descriptor,
        names: Sequence[str],
        source: str,
        storage: StorageDriver,
        progress: Progress,
    ) -> Image:
        """The image of a stored manifest, unpacked before it gets its ``names``; it may have none."""
        image = manifest.read_image(self._content, descriptor)
        self.unpack(image, storage, progress)
        return self._registered(_annotated(descriptor, source), names)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """As :meth:`holding`; what an error leaves behind is collected."""
        try:
            with self.holding():
                yield
        except BaseException:
            self.collect_garbage()
            raise

    def write(
        self,
        config: ImageConfig,
        layers: Sequence[manifest.Layer],
        history: Sequence[Mapping[str, Any]],
        references: Sequence[str],
        source: str,
        created: float,
        platform: str = "",
    ) -> Image:
        """An image of stored layers; without ``references`` it has no name. Call it while :meth:`holding`.

        ``history`` is the whole of it; ``created`` in seconds since the epoch; an empty ``platform`` is this
        machine's.
        """
        names = [self._writable_name(reference) for reference in references]
        descriptor = manifest.write_document(self._content, config, layers, history, created, platform)
        return self._registered(_annotated(descriptor, source), names)

    def store_layer_of(
        self,
        snapshot: str,
        storage: StorageDriver,
        latest: float | None,
        unwanted: Callable[[Entry], bool] | None = None,
    ) -> manifest.Layer:
        """What an active snapshot changes, stored as a layer; with ``latest`` no file in it is younger.

        Empty entries that are ``unwanted`` are left out.
        """

        def write(target: BinaryIO) -> None:
            if latest is None:
                storage.diff(snapshot, target)
            else:
                cast(Any, storage).diff(snapshot, target, latest)

        with written_by(write) as tar:
            chunks = chunks_of(tar)
            return self._store_layer(leaving_out(chunks, unwanted) if unwanted else chunks)

    def adopt(self, layers: Sequence[manifest.Layer], storage: StorageDriver, snapshot: str) -> str:
        """Let the active snapshot, of which the last layer was made, be the committed one of ``layers``; its key."""
        return self._unpacker.adopt([layer.diff_id for layer in layers], storage, snapshot)

    def unpack_layers(
        self, layers: Sequence[manifest.Layer], storage: StorageDriver, progress: Progress
    ) -> str:
        """The key of the committed snapshot of ``layers``; empty for none."""
        return self._unpacker.unpack(layers, storage, progress)

    def opened(self, layer: manifest.Layer) -> BinaryIO:
        """A stored layer's blob, compressed as it is; the caller closes it."""
        return self._content.open(layer.blob.digest)

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
        name = normal(reference)
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
            self.collect_garbage()
        return tuple(removed)

    def prune(
        self, everything: bool, filters: Mapping[str, Any], used: Collection[str]
    ) -> tuple[tuple[str, ...], int]:
        """Remove the images without names, with ``everything`` the named ones too, but not those whose id is ``used``.

        What was removed, as :meth:`remove` says it, and how many bytes of blobs are free now.
        """
        before = self._content.total_size()
        removed: list[str] = []
        for image in select(self.list(), filters, PRUNE_FILTERS, self):
            if image.id not in used and (everything or not image.references):
                with suppress(NotFound):  # another one was faster
                    removed += self.remove(f"sha256:{image.id}", force=True)
        self.collect_garbage()
        return tuple(removed), max(0, before - self._content.total_size())

    # --- keeping ----------------------------------------------------------------------------------

    def keep(self, keeper: Keeper) -> None:
        """From now on nothing goes that ``keeper`` needs."""
        self._keepers.append(keeper)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While this lasts, nothing that is put or found in the store or unpacked is collected."""
        with self._unpacker.holding(), self._content.holding():
            yield

    def _needed_chains(self) -> Iterator[str]:
        for image in self.list():
            yield from manifest.chain_ids(image.layers)
        for keeper in self._keepers:
            yield from keeper.kept_chains()

    def collect_garbage(self) -> None:
        """Remove blobs and snapshots that no image and no keeper needs, but for what a cut-off fetch goes on with."""
        keepers: list[ImageSourceDriver | Keeper] = [*self._sources, *self._keepers]
        self._content.collect_garbage([digest for keeper in keepers for digest in keeper.kept_digests()])
        for storage in self._storages:
            self._unpacker.collect(storage)

    def _registered(self, descriptor: Descriptor, names: Sequence[str]) -> Image:
        """The image of a stored manifest, from now on in the index under ``names``, or without one."""
        image = manifest.read_image(self._content, descriptor)
        if not names:
            self._content.add(descriptor)
        for name in names:
            self._content.tag(name, descriptor)
        self._refresh()
        return self._records.get(descriptor.digest, image)


def _serves(image: Image | None, request: FetchRequest) -> TypeGuard[Image]:
    """Whether a stored image is what was asked for."""
    if image is None or request.refresh:
        return False
    if not request.platform:
        return True
    return platform.parse(request.platform).preference(platform.parse(image.platform)) is not None


def _annotated(descriptor: Descriptor, source: str) -> Descriptor:
    annotations = {**descriptor.annotations, manifest.SOURCE_ANNOTATION: source}
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
