"""Images: what a reference names, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An OCI content descriptor (image-spec, descriptor.md)."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """How a container is asked whether it works; times in seconds, 0 and an empty ``test`` mean inherited.

    ``test`` starts with ``NONE``, ``CMD`` or ``CMD-SHELL`` (docker's image specification v1.2).
    """

    test: tuple[str, ...] = ()
    interval: float = 0.0
    timeout: float = 0.0
    start_period: float = 0.0
    start_interval: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of the container made from it (image-spec, config.md, section ``config``)."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    working_directory: str = "/"
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A stored image. ``id`` is the hex sha256 of its config; ``layers`` are diff IDs, lowest first."""

    id: str
    references: tuple[str, ...]
    manifest: Descriptor
    config: ImageConfig
    layers: tuple[str, ...]
    created: float
    size: int
    platform: str = "linux/amd64"
    source: str = ""
    """The image source it came from, ``build``, ``import`` or empty."""

    @property
    def chain_id(self) -> str:
        """The chain ID of the top layer (image-spec, config.md, "Layer ChainID")."""
        import hashlib

        chain = ""
        for diff_id in self.layers:
            chain = (
                diff_id
                if not chain
                else "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
            )
        return chain


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """What an image source found for a reference; ``data`` is the source's own."""

    reference: str
    source: str
    description: str
    data: Mapping[str, Any] = field(default_factory=dict)
