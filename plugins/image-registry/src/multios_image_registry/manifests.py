"""Manifests and indexes: read with distrust, chosen by platform."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multios.errors import InvalidInput, Unsupported
from multios.model import platform
from multios.model.image import Descriptor
from multios.model.platform import Platform
from multios_image_registry.session import Session

LARGEST_MANIFEST = 4 << 20
LARGEST_CONFIG = 8 << 20
LARGEST_LAYER = 64 << 30
MOST_LAYERS = 128
DEEPEST_INDEX = 3

_OCI, _DOCKER = "application/vnd.oci.image.", "application/vnd.docker.distribution."
MANIFEST_TYPES = (f"{_OCI}manifest.v1+json", f"{_DOCKER}manifest.v2+json")
INDEX_TYPES = (f"{_OCI}index.v1+json", f"{_DOCKER}manifest.list.v2+json")
CONFIG_TYPES = (f"{_OCI}config.v1+json", "application/vnd.docker.container.image.v1+json")
ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
_SCHEMA_1 = (f"{_DOCKER}manifest.v1+json", f"{_DOCKER}manifest.v1+prettyjws")
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.diff\.tar(?:\.gzip|\.zstd)?)"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index: its descriptor, its bytes and what they say."""

    descriptor: Descriptor
    data: bytes
    content: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        """Whether it only lists manifests."""
        return self.descriptor.media_type in INDEX_TYPES


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest, checked; layers lowest first."""

    descriptor: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


def fetch(session: Session, repository: str, target: str, wanted: Platform) -> Manifest:
    """The manifest for a platform that a tag or digest leads to.

    Raises ``InvalidInput`` for what is no image, ``Unsupported`` when there is none for the platform.
    """
    document = get(session, repository, target)
    for _ in range(DEEPEST_INDEX):
        if not document.is_index:
            return read(session.step, document)
        chosen = choose(session.step, document, wanted)
        document = get(session, repository, chosen.digest, chosen)
    raise InvalidInput(f"{session.step}: its index leads from one to another", "ask who pushed it")


def get(session: Session, repository: str, target: str, expected: Descriptor | None = None) -> Document:
    """One document; its digest is computed here, whatever the registry says of it."""
    response = session.request(
        "GET",
        f"{repository}/manifests/{target}",
        {"Accept": ACCEPT},
        scopes=(f"repository:{repository}:pull",),
    )
    stated = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    data = session.document(response, LARGEST_MANIFEST)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if ":" in target and digest != target:
        raise session.failed(f"sent {digest[:19]}… when asked for {target[:19]}…", "ask who runs it")
    content = _object(session.step, data)
    media_type = _media_type(session.step, stated, content)
    if expected and (media_type, len(data)) != (expected.media_type, expected.size):
        raise InvalidInput(
            f"{session.step}: the index lies about {digest[:19]}…: {expected.media_type}, {expected.size} bytes",
            "ask who pushed it",
        )
    return Document(Descriptor(media_type, digest, len(data)), data, content)


def _object(step: str, data: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidInput(f"{step}: the registry sent no manifest", "check the name; is it a registry?")
    return content


def _media_type(step: str, stated: str, content: Mapping[str, Any]) -> str:
    """The one media type that header, document and structure agree on (CVE-2021-41190 is about those that do not)."""
    written = content.get("mediaType", "")
    if stated in _SCHEMA_1 or content.get("schemaVersion") == 1:
        raise Unsupported(
            f"{step}: the image has a manifest of schema 1", "ask who pushed it to push it anew"
        )
    known = (*MANIFEST_TYPES, *INDEX_TYPES)
    media_type = stated if stated in known else written
    if media_type not in known:
        raise Unsupported(
            f"{step}: {str(written or stated)[:80]!r} is not an image's manifest",
            "only OCI and docker images",
        )
    is_index = media_type in INDEX_TYPES
    parts, others = ("manifests", ("config", "layers")) if is_index else ("config", ("manifests",))
    if (written and written != media_type) or parts not in content or any(name in content for name in others):
        raise InvalidInput(f"{step}: the manifest lies about its media type", "ask who pushed it")
    return str(media_type)


def choose(step: str, document: Document, wanted: Platform) -> Descriptor:
    """The index's entry that suits the platform best; ``Unsupported`` lists those there are."""
    ranked: list[tuple[int, Descriptor]] = []
    offered: dict[str, None] = {}
    for item in _list(step, document.content, "manifests"):
        described = _descriptor(step, item, (*MANIFEST_TYPES, *INDEX_TYPES), LARGEST_MANIFEST)
        if described is None:
            continue
        entry = _platform(item.get("platform"))
        if entry is None:  # a nested index, or an image that does not say
            ranked.append((100, described))
            continue
        if entry.architecture == "unknown":  # an attestation
            continue
        offered[str(entry)] = None
        rank = wanted.preference(entry)
        if rank is not None:
            ranked.append((rank, described))
    if ranked:
        return min(ranked, key=lambda pair: pair[0])[1]
    raise Unsupported(
        f"{step}: there is no image for {wanted}",
        f"there is: {', '.join(offered) or 'none for any platform'}",
    )


def _platform(value: Any) -> Platform | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) or "" for name in ("os", "architecture", "variant")]
    try:
        return platform.parse("/".join(part for part in parts if part))
    except (InvalidInput, TypeError):
        return Platform("unknown", "unknown")


def read(step: str, document: Document) -> Manifest:
    """The parts of an image manifest. Raises ``InvalidInput`` for nonsense, ``Unsupported`` for other artifacts."""
    content = document.content
    config = _descriptor(step, content.get("config"), CONFIG_TYPES, LARGEST_CONFIG)
    if config is None:
        kind = content.get("artifactType") or content["config"].get("mediaType")
        raise Unsupported(f"{step}: {str(kind)[:80]!r} is no container image", "only images can be run")
    layers = _list(step, content, "layers")
    if len(layers) > MOST_LAYERS:
        raise InvalidInput(f"{step}: {len(layers)} layers, at most {MOST_LAYERS} are allowed", "squash it")
    return Manifest(document.descriptor, document.data, config, tuple(_layer(step, item) for item in layers))


def artifact_blob(step: str, document: Document, artifact_type: str, largest: int) -> Descriptor:
    """The one blob of an artifact of this type (image-spec, "Guidelines for Artifact Usage").

    Raises ``Unsupported`` for what is of another type or an index, ``InvalidInput`` for nonsense and for a large blob.
    """
    content = document.content
    config = content.get("config")
    stated = config.get("mediaType") if isinstance(config, dict) else None
    kind = content.get("artifactType") or stated
    if document.is_index or kind != artifact_type:
        raise Unsupported(
            f"{step}: it is {str(kind or document.descriptor.media_type)[:80]!r}, not {artifact_type}",
            "check the name",
        )
    layers = _list(step, content, "layers")
    if len(layers) != 1:
        raise InvalidInput(f"{step}: {len(layers)} blobs, and it must be one", "ask who pushed it")
    return _any_blob(step, layers[0], largest)


def artifact_parts(step: str, document: Document) -> tuple[Descriptor, ...]:
    """The blobs of any manifest, its config first."""
    layers = _list(step, document.content, "layers")
    return tuple(_any_blob(step, item, LARGEST_LAYER) for item in (document.content.get("config"), *layers))


def _any_blob(step: str, item: Any, largest: int) -> Descriptor:
    kind = item.get("mediaType") if isinstance(item, dict) else None
    blob = _descriptor(step, item, (str(kind),), largest)
    assert blob is not None, "its media type is its own"
    return blob


def check_config(step: str, data: bytes, layers: int, wanted: Platform) -> None:
    """Refuse a config that does not fit its manifest or is made for another platform."""
    config = _object(step, data)
    try:
        diff_ids = config["rootfs"]["diff_ids"]
        fits = isinstance(diff_ids, list) and len(diff_ids) == layers
        fits = fits and all(_DIGEST.fullmatch(item) for item in diff_ids)
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise InvalidInput(f"{step}: config and manifest do not fit together", "ask who pushed it")
    made_for = _platform({name: config.get(name) for name in ("os", "architecture", "variant")})
    if config.get("architecture") and made_for and wanted.preference(made_for) is None:
        raise Unsupported(
            f"{step}: the image is for {made_for}, not for {wanted}",
            f"to have it anyhow: --platform {made_for}",
        )


def _layer(step: str, item: Any) -> Descriptor:
    kind = item.get("mediaType") if isinstance(item, dict) else None
    if not isinstance(kind, str) or not _LAYER.fullmatch(kind):
        raise Unsupported(f"{step}: {str(kind)[:80]!r} is not a layer that can be unpacked", "")
    layer = _descriptor(step, item, (kind,), LARGEST_LAYER)
    assert layer is not None, "its media type is its own"
    return layer


def _list(step: str, content: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = content.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidInput(f"{step}: the manifest has no list of {name}", "ask who pushed it")
    return value


def _descriptor(step: str, item: Any, types: Sequence[str], largest: int) -> Descriptor | None:
    """A descriptor of one of these media types, ``None`` when it is of another. Raises when it is none, or too large."""
    kind, digest, size = (
        (item.get("mediaType"), item.get("digest"), item.get("size")) if isinstance(item, dict) else (0, 0, 0)
    )
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise InvalidInput(f"{step}: the manifest has a descriptor that is none", "ask who pushed it")
    if kind not in types:
        return None
    if size > largest:
        raise InvalidInput(
            f"{step}: {digest[:19]}… is said to have {size} bytes, more than the {largest} allowed",
            "it is not an image's",
        )
    return Descriptor(str(kind), digest, size)
