"""Images to and from elsewhere: asked for anew, pushed, and logins tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from multios.drivers.base import Capability
from multios.drivers.image_source import Credentials, FetchRequest, ImageSourceDriver, Progress
from multios.drivers.storage import StorageDriver
from multios.engine.images import Images
from multios.errors import InvalidInput, Refused, Unsupported
from multios.model import platform
from multios.model.image import Image
from multios.model.reference import parse
from multios.store.content import ContentStore


class Registries:
    """``sources`` are asked in order; the first with ``Capability.PUSH`` takes what is pushed."""

    def __init__(
        self,
        images: Images,
        content: ContentStore,
        sources: Sequence[ImageSourceDriver],
        storage: Callable[[], StorageDriver],
    ) -> None:
        self._images, self._content, self._sources, self._storage = images, content, sources, storage

    def pull(
        self, reference: str, request: FetchRequest, progress: Progress, is_administrator: bool = False
    ) -> Image:
        """The image as it is at its source today, unpacked in the default storage.

        A source that makes its images itself is not asked for one that is stored. Images are everyone's: only an
        administrator replaces one that was made here, or has one for another machine (``Refused``).
        """
        foreign = request.platform and (
            platform.of_this_machine().preference(platform.parse(request.platform)) is None
        )
        if foreign and not is_administrator:
            raise Refused(
                f"images for {request.platform} are for administrators: others would get them under this name",
                "leave out --platform",
            )
        refresh = self.may_be_newer(reference, is_administrator)
        image = self._images.ensure(reference, progress, is_administrator, replace(request, refresh=refresh))
        self._images.unpack(image, self._storage(), progress)
        return image

    def may_be_newer(self, reference: str, is_administrator: bool) -> bool:
        """Whether the source is asked again for an image that is stored; an administrator may replace any."""
        stored = self._images.find(reference)
        asked = [item.name for item in self._sources if item.catch_all]
        made_here = any(item.resolve(reference) for item in self._sources if not item.catch_all)
        return not made_here and (is_administrator or stored is None or stored.source in asked)

    def push(self, reference: str, destination: str, request: FetchRequest, progress: Progress) -> str:
        """Store an image at the registry that ``destination`` names, empty for its own name; the digest there."""
        image = self._images.get(reference)
        target = parse(destination or reference)
        if target.digest or (not destination and str(target) not in image.references):
            raise InvalidInput(
                f"{str(target)!r} is no name to push to",
                "write image push IMAGE registry.example.org/name:tag",
            )
        with self._content.holding():
            layers = [layer.blob.digest for layer in self._images.layers_of(image)]
            for digest in (image.manifest.digest, f"sha256:{image.id}", *layers):
                self._content.has(digest)  # from here on it stays, even if the image is removed
            return self._taker().push(str(target), image.manifest, self._content, progress, request)

    def login(self, registry: str, credentials: Credentials) -> None:
        """Ask the registry (host and port) whether it knows these credentials; ``Refused`` when it does not."""
        if parse(f"{registry}/name").domain != registry:
            raise InvalidInput(
                f"{registry!r} is not a registry's host", "write host.example.org or host:port"
            )
        self._taker().login(registry, credentials)

    def _taker(self) -> ImageSourceDriver:
        for source in self._sources:
            if Capability.PUSH in source.capabilities:
                return source
        raise Unsupported("no image source takes images", "pip install multios-image-registry")
