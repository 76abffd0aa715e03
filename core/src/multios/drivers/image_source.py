"""Image sources: where root filesystems come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Protocol

from multios.drivers.base import Driver
from multios.errors import Unsupported
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


class ContentReader(Protocol):
    """The content store as one who pushes sees it."""

    def open(self, digest: str) -> BinaryIO:
        """The blob, to read and to close."""

    def read_json(self, digest: str) -> dict[str, Any]:
        """A stored JSON object."""

    def has(self, digest: str) -> bool:
        """Whether the blob is stored."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody is at a registry: a name and a password, or an identity token. Secrets show in no ``repr``."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """How an image is wanted: ``platform`` (``linux/arm64/v8``) empty is this machine's; credentials by registry host.

    With ``refresh`` the source is asked even for what is stored already: a name may mean another image today. A long
    transfer asks ``is_wanted`` now and then, and ends as if it had been cut off when that is false.
    """

    platform: str = ""
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    refresh: bool = False
    is_wanted: Callable[[], bool] = field(default=_always, compare=False, repr=False)


ANYHOW = FetchRequest()
"""This machine's platform, nobody's credentials, as stored."""


class ImageSourceDriver(Driver):
    """Contract. A source with ``Capability.PUSH`` takes images too: it has :meth:`push` and :meth:`login`.

    ``catch_all`` is true for a source that resolves every name, as a registry does, because it cannot know without
    asking: it is asked after all others, and only its answer to ``fetch`` tells whether there is such an image.
    """

    kind: ClassVar[str] = "image_source"
    catch_all: ClassVar[bool] = False

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
    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        """Bring the image into ``content`` and return its manifest's descriptor.

        An image manifest and config as in image-spec; layers as tar, gzip or zstd. Interrupted or failed,
        it leaves no reference behind. ``NotFound`` when there is no such image, ``Unsupported`` when it is not made
        for the platform asked for. ``progress`` is called by one thread at a time.
        """

    def kept_digests(self) -> Iterable[str]:
        """Blobs of fetches that were cut off, by a kill too: they stay, so that the next one carries on."""
        return ()

    def push(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> str:
        """Store the image of ``manifest`` under ``reference`` at this source; the digest it has there."""
        raise Unsupported(f"the image source {self.name!r} takes no images", "push to a registry")

    def fetch_artifact(
        self,
        reference: str,
        artifact_type: str,
        largest: int,
        content: ContentSink,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> Descriptor:
        """Bring the one blob of what is no image but an artifact of this type (image-spec, ``artifactType``).

        Returns the blob's descriptor. ``Unsupported`` when what the reference names is of another type, ``InvalidInput``
        when the blob has more than ``largest`` bytes.
        """
        raise Unsupported(f"the image source {self.name!r} has no artifacts", "use a registry")

    def push_artifact(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> str:
        """Store an artifact, whose manifest need be no image's, under ``reference``; the digest it has there."""
        raise Unsupported(f"the image source {self.name!r} takes no artifacts", "push to a registry")

    def login(self, registry: str, credentials: Credentials) -> None:
        """Ask the registry (host and port) whether it knows these credentials; ``Refused`` when it does not."""
        raise Unsupported(f"the image source {self.name!r} knows no logins", "log in to a registry")
