"""Images from and to registries that speak the OCI distribution protocol."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.base import Capability
from multios.drivers.image_source import (
    ANYHOW,
    ContentReader,
    ContentSink,
    Credentials,
    FetchRequest,
    ImageSourceDriver,
    Progress,
)
from multios.errors import InvalidInput, MultiosError
from multios.model.image import Descriptor, ResolvedImage
from multios.model.reference import parse
from multios_image_registry.journal import Journal

if TYPE_CHECKING:
    from multios.drivers.base import DriverContext
    from multios_image_registry.transfers import Transfers

__version__ = "0.1.0"


def _mirrors(value: Any, where: str) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{where}: must be a table", 'for example { "docker.io" = ["https://mirror.example.org"] }'
        )
    mirrors = {}
    for registry, urls in value.items():
        if not isinstance(urls, list) or not all(
            isinstance(url, str) and re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url) for url in urls
        ):
            raise InvalidInput(f"{where}.{registry}: must be a list of URLs", "https://host[:port][/path]")
        mirrors[registry] = tuple(url.rstrip("/") for url in urls)
    return mirrors


@dataclass(frozen=True, slots=True)
class Settings:
    """``mirrors`` by registry; ``insecure`` registries (host, host:port or IPv4 network) may speak plain HTTP.

    ``ca_bundle`` is trusted besides the system's certificates; timeouts are seconds; ``retries`` are those of one request.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata={"parse": _mirrors})
    insecure: tuple[str, ...] = ()
    ca_bundle: Path | None = None
    parallel_downloads: int = 4
    connect_timeout: float = 10.0
    stall_timeout: float = 30.0
    retries: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.parallel_downloads <= 32:
            raise ValueError("parallel_downloads must be 1 to 32")
        if not 0 <= self.retries <= 20:
            raise ValueError("retries must be 0 to 20")
        for name in ("connect_timeout", "stall_timeout"):
            if not 0 < getattr(self, name) <= 3600:
                raise ValueError(f"{name} must be more than 0 and at most 3600 seconds")


class RegistrySource(ImageSourceDriver):
    """Every name that no other source knows; without a registry in it, it is ``docker.io``'s."""

    name: ClassVar[str] = "registry"
    summary: ClassVar[str] = "images from and to OCI registries"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.PUSH})
    catch_all: ClassVar[bool] = True
    Settings: ClassVar[type] = Settings

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._lock = threading.Lock()
        self._journal = Journal(context.state)
        self._made: Transfers | None = None

    def resolve(self, reference: str) -> ResolvedImage | None:
        try:
            name = parse(reference)
        except MultiosError:
            return None
        return ResolvedImage(str(name), self.name, f"{name.path} of {name.domain or 'docker.io'}")

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        return self._transfers().pull(image.reference, content, progress, request)

    def push(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> str:
        return self._transfers().push(reference, manifest, content, progress, request)

    def fetch_artifact(
        self,
        reference: str,
        artifact_type: str,
        largest: int,
        content: ContentSink,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> Descriptor:
        return self._transfers().pull_artifact(reference, artifact_type, largest, content, progress, request)

    def push_artifact(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> str:
        return self._transfers().push_artifact(reference, manifest, content, progress, request)

    def login(self, registry: str, credentials: Credentials) -> None:
        self._transfers().login(registry, credentials)

    def kept_digests(self) -> Iterable[str]:
        return self._journal.kept_digests()

    def _transfers(self) -> Transfers:
        with self._lock:
            if self._made is None:
                from multios_image_registry.transfers import Transfers  # deferred: heavy work stands beside

                self._made = Transfers(self.settings, self._journal)
            return self._made
