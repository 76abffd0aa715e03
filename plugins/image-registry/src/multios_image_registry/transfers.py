"""Whole images: pulled, pushed; and logins tried."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, BinaryIO, cast

from multios.drivers.image_source import ContentReader, ContentSink, Credentials, FetchRequest, Progress
from multios.engine.locks import KeyedLocks
from multios.errors import InvalidInput, MultiosError
from multios.model import platform
from multios.model.image import Descriptor
from multios.model.platform import Platform
from multios_image_registry import manifests, places, upload
from multios_image_registry.download import BlobStream
from multios_image_registry.journal import Journal
from multios_image_registry.manifests import Manifest
from multios_image_registry.places import Endpoint, Place
from multios_image_registry.session import Interrupted, Session, finish
from multios_image_registry.transport import Transport

if TYPE_CHECKING:
    from multios_image_registry import Settings

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
_MOST_MOUNT_SOURCES = 3

Meter = Callable[[int], None]


class Transfers:
    """Everything a driver does with registries. Thread-safe; a blob that two pulls want is fetched once."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._downloading = KeyedLocks()
        self._transport = Transport(
            settings.ca_bundle,
            settings.connect_timeout,
            settings.stall_timeout,
            size=settings.parallel_downloads,
        )

    # --- pull -------------------------------------------------------------------------------------

    def pull(
        self, reference: str, content: ContentSink, progress: Progress, request: FetchRequest
    ) -> Descriptor:
        """Bring an image here, from the first address that has it; its manifest's descriptor."""
        place = places.locate(reference)
        wanted = platform.parse(request.platform) if request.platform else platform.of_this_machine()
        *mirrors, registry = self._endpoints(place.registry)
        for mirror in mirrors:
            try:
                return self._pull_from(mirror, place, reference, wanted, content, progress, request)
            except MultiosError as error:
                log.warning("%s", error.cause)
        return self._pull_from(registry, place, reference, wanted, content, progress, request)

    def _pull_from(
        self,
        endpoint: Endpoint,
        place: Place,
        reference: str,
        wanted: Platform,
        content: ContentSink,
        progress: Progress,
        request: FetchRequest,
    ) -> Descriptor:
        session = self._session(f"pull {reference}", endpoint, request.credentials)
        progress(f"Asking {place.registry} for {reference}", 0, 0)
        manifest = manifests.fetch(session, place.repository, place.target, wanted)
        config = self._small(session, place.repository, manifest.config)
        manifests.check_config(session.step, config, len(manifest.layers), wanted)
        try:
            self._fetch_layers(session, place, reference, manifest, content, progress, request)
        except Interrupted:
            raise  # what has come stays for the next pull
        except BaseException:
            self._journal.finished(reference)
            raise
        content.put_bytes(manifest.config.media_type, config)
        found = content.put_bytes(manifest.descriptor.media_type, manifest.data)
        self._journal.finished(reference)
        blobs = [item.digest for item in (manifest.config, *manifest.layers)]
        self._journal.came_from(place.registry, place.repository, blobs)
        return found

    def _fetch_layers(
        self,
        session: Session,
        place: Place,
        reference: str,
        manifest: Manifest,
        content: ContentSink,
        progress: Progress,
        request: FetchRequest,
    ) -> None:
        def fetch(layer: Descriptor, meter: Meter) -> None:
            with self._downloading.holding(layer.digest):
                if not content.has(layer.digest):
                    self._journal.note(reference, layer.digest)
                    stream = BlobStream(session, place.repository, layer, meter)
                    try:
                        content.put(layer.media_type, cast(BinaryIO, stream), layer.digest)
                    finally:
                        stream.close()
            meter(layer.size)

        self._side_by_side(session, manifest.layers, fetch, progress, request)

    def pull_artifact(
        self,
        reference: str,
        artifact_type: str,
        largest: int,
        content: ContentSink,
        progress: Progress,
        request: FetchRequest,
    ) -> Descriptor:
        """Bring the one blob of an artifact here; its descriptor. Mirrors are not asked: they are of images."""
        place = places.locate(reference)
        session = self._session(f"pull {reference}", self._endpoints(place.registry)[-1], request.credentials)
        progress(f"Asking {place.registry} for {reference}", 0, 0)
        document = manifests.get(session, place.repository, place.target)
        blob = manifests.artifact_blob(session.step, document, artifact_type, largest)
        stream = BlobStream(session, place.repository, blob, lambda _: None)
        try:
            return content.put(blob.media_type, cast(BinaryIO, stream), blob.digest)
        finally:
            stream.close()

    def _small(self, session: Session, repository: str, blob: Descriptor) -> bytes:
        """A blob that is needed in memory, verified."""
        stream = BlobStream(session, repository, blob, lambda _: None)
        data = stream.read()
        if "sha256:" + hashlib.sha256(data).hexdigest() != blob.digest:
            raise InvalidInput(f"{session.step}: the config is not what its digest says", "ask who runs it")
        return data

    # --- push -------------------------------------------------------------------------------------

    def push(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest,
    ) -> str:
        """Store an image at the registry that ``reference`` names; its digest."""

        def image_parts(step: str, document: manifests.Document) -> tuple[Descriptor, ...]:
            parts = manifests.read(step, document)
            return (*parts.layers, parts.config)

        return self._push(reference, manifest, image_parts, content, progress, request)

    def push_artifact(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest,
    ) -> str:
        """As :meth:`push`, of what need not be an image."""
        return self._push(reference, manifest, manifests.artifact_parts, content, progress, request)

    def _push(
        self,
        reference: str,
        manifest: Descriptor,
        parts_of: Callable[[str, manifests.Document], tuple[Descriptor, ...]],
        content: ContentReader,
        progress: Progress,
        request: FetchRequest,
    ) -> str:
        place = places.locate(reference)
        session = self._session(f"push {reference}", self._endpoints(place.registry)[-1], request.credentials)
        with content.open(manifest.digest) as file:
            data = file.read(manifests.LARGEST_MANIFEST + 1)
        document = manifests.Document(manifest, data, content.read_json(manifest.digest))
        parts = parts_of(session.step, document)

        def send(blob: Descriptor, meter: Meter) -> None:
            known = self._journal.repositories(place.registry, blob.digest)
            others = [name for name in known if name != place.repository]
            upload.upload(session, place.repository, blob, content, others[:_MOST_MOUNT_SOURCES], meter)

        self._side_by_side(session, parts, send, progress, request)
        response = session.request(
            "PUT",
            f"{place.repository}/manifests/{place.target}",
            {"Content-Type": manifest.media_type},
            lambda: data,
            scopes=(upload.push_scope(place.repository),),
            accept=(201, 202),
        )
        finish(response)
        self._journal.came_from(place.registry, place.repository, [item.digest for item in parts])
        return manifest.digest

    # --- login ------------------------------------------------------------------------------------

    def login(self, registry: str, credentials: Credentials) -> None:
        """Ask a registry whether it lets this user in. Raises ``Refused`` when it does not."""
        name = places.registry_of(registry)
        session = self._session(f"login {registry}", self._endpoints(name)[-1], {name: credentials})
        response = session.request("GET", "", accept=(200, 404))
        finish(response)
        if response.status == 404:
            raise session.failed("is no registry", "check the name")

    # --- both -------------------------------------------------------------------------------------

    def _endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        return places.endpoints(registry, self._settings.mirrors, self._settings.insecure)

    def _session(self, step: str, endpoint: Endpoint, credentials: Mapping[str, Credentials]) -> Session:
        return Session(
            step,
            endpoint,
            self._transport,
            credentials.get(endpoint.registry),
            self._settings.retries,
            lambda host: places.is_insecure(host, self._settings.insecure),
        )

    def _side_by_side(
        self,
        session: Session,
        blobs: Iterable[Descriptor],
        move: Callable[[Descriptor, Meter], None],
        progress: Progress,
        request: FetchRequest,
    ) -> None:
        """Move every blob once, several at a time; the first failure ends the others, as nobody's waiting does."""
        wanted = {blob.digest: blob for blob in blobs}
        moved = dict.fromkeys(wanted, 0)
        told = dict.fromkeys(wanted, -1)

        def report() -> None:
            for digest, blob in wanted.items():
                if moved[digest] != told[digest]:
                    told[digest] = moved[digest]
                    progress(f"Layer {digest[7:19]}", told[digest], blob.size)

        def task(blob: Descriptor) -> None:
            def meter(done: int) -> None:
                session.pause(0)
                moved[blob.digest] = done

            move(blob, meter)

        with ThreadPoolExecutor(self._settings.parallel_downloads, "registry") as pool:
            pending = {pool.submit(task, blob) for blob in wanted.values()}
            try:
                while pending:
                    done, pending = wait(pending, REPORT_SECONDS, FIRST_COMPLETED)
                    report()
                    for future in done:
                        future.result()
                    if not request.is_wanted():
                        raise Interrupted(session.step, "nobody waits for it any more", "")
            except BaseException:
                session.cancelled.set()
                for future in pending:
                    future.cancel()
                raise
