"""Image sources: where root filesystems come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import BinaryIO, ClassVar, Protocol

from multios.drivers.base import Driver
from multios.model.image import Descriptor, ResolvedImage

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done so far, total or 0 when unknown)."""


class ContentSink(Protocol):
    """The content store as an image source sees it (an OCI image layout)."""

    def put(self, media_type: str, stream: BinaryIO, expected_digest: str = "") -> Descriptor:
        """Store what ``stream`` gives; verified while it streams, in place only when whole."""

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Store ``data``."""

    def has(self, digest: str) -> bool:
        """Whether the blob is stored."""


class ImageSourceDriver(Driver):
    """Contract."""

    kind: ClassVar[str] = "image_source"

    def offers(self) -> tuple[str, ...]:
        """References that this source knows without asking anyone, for lists and for hints; need not be all."""
        return ()

    @abstractmethod
    def resolve(self, reference: str) -> ResolvedImage | None:
        """What ``reference`` (``debian:12``) is at this source, or ``None`` when it has no such image. No network.

        The answer's ``reference`` is the one name under which the image is kept (``debian:12`` for
        ``debian:bookworm``). An image that is read from a path of the host has ``host_path`` in its ``data``.
        """

    @abstractmethod
    def fetch(self, image: ResolvedImage, content: ContentSink, progress: Progress) -> Descriptor:
        """Bring the image into ``content`` and return its manifest's descriptor.

        An image manifest and config as in image-spec; layers as tar, gzip or zstd. Interrupted or failed,
        it leaves no reference behind.
        """
