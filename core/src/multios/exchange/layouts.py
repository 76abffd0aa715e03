"""The images of an archive, found by its documents: OCI layouts (image-spec, image-layout.md), docker's archives
(docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format") and skopeo's directories.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multios.errors import InvalidInput, Unsupported
from multios.exchange.spool import Archive
from multios.model import platform
from multios.model.image import Descriptor
from multios.model.reference import parse
from multios.store import manifest
from multios.store.content import INDEX_TYPE, REFERENCE_ANNOTATION, ContentStore

CONTAINERD_NAME = "io.containerd.image.name"
"""Where docker and containerd write an image's whole name; the specification's own annotation has often only a tag."""
MANIFEST_TYPES = (manifest.MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
INDEX_TYPES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")

_DEEPEST_INDEX = 3
_MOST_IMAGES = 1000
_REMEDY = "it is damaged, or was changed on its way; make it again"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MAGIC = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}


@dataclass(frozen=True, slots=True)
class Found:
    """An image of the archive: its stored manifest, and the names that the archive gives it."""

    manifest: Descriptor
    names: tuple[str, ...]


def images_of(archive: Archive, content: ContentStore, wanted: platform.Platform) -> tuple[Found, ...]:
    """Every image, checked to be whole; of one for several platforms that for ``wanted``.

    Raises ``InvalidInput`` for an archive that is wrong, ``Unsupported`` when it has nothing for ``wanted``.
    """
    documents = archive.documents
    described = _json(archive, "manifest.json") if "manifest.json" in documents else None
    if "index.json" in documents:
        found = _of_layout(_json(archive, "index.json"), content, wanted)
        if isinstance(described, list):
            found = _with_docker_names(found, described, archive, content)
    elif isinstance(described, list):
        found = [_of_docker(item, archive, content) for item in described[:_MOST_IMAGES]]
    elif isinstance(described, dict):
        found = [_of_directory(documents["manifest.json"], described, content)]
    elif "repositories" in documents:
        raise InvalidInput(
            "the archive was written by docker before 1.10: it has no manifest.json",
            "save it with a newer docker",
        )
    else:
        raise InvalidInput("the archive has neither index.json nor manifest.json", _REMEDY)
    if not found:
        raise InvalidInput("the archive has no image in it", "save an image into it")
    for item in found:
        _check(item.manifest, content)
    return tuple(found)


# --- OCI layouts ------------------------------------------------------------------------------------


def _of_layout(index: Any, content: ContentStore, wanted: platform.Platform) -> list[Found]:
    """An image for each name of the index; entries without one are images of their own."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for number, item in enumerate(_entries(index)):
        annotations = _annotations(item)
        name = annotations.get(CONTAINERD_NAME) or annotations.get(REFERENCE_ANNOTATION) or f"\0{number}"
        groups.setdefault(name, []).append(item)
    found: dict[str, Found] = {}
    for name, items in groups.items():
        descriptor = _chosen(items, content, wanted, 0)
        names = found[descriptor.digest].names if descriptor.digest in found else ()
        found[descriptor.digest] = Found(descriptor, (*names, *_usable([name])))
    return list(found.values())


def _entries(index: Any) -> list[Mapping[str, Any]]:
    entries = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(entries, list) or len(entries) > _MOST_IMAGES:
        raise InvalidInput("the archive's index is no index of images", _REMEDY)
    if not all(isinstance(item, dict) and isinstance(item.get("mediaType"), str) for item in entries):
        raise InvalidInput("the archive's index has an entry that is no descriptor", _REMEDY)
    # What says how an image was made is listed beside it, for no machine (BuildKit, attestation-storage.md).
    return [item for item in entries if "vnd.docker.reference.type" not in _annotations(item)]


def _annotations(item: Mapping[str, Any]) -> Mapping[str, str]:
    found = item.get("annotations")
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _chosen(
    items: Sequence[Mapping[str, Any]], content: ContentStore, wanted: platform.Platform, depth: int
) -> Descriptor:
    """The manifest for ``wanted`` among entries that are one image; the only one is taken whatever it is for."""
    if depth == _DEEPEST_INDEX:
        raise InvalidInput(f"the archive has indexes more than {_DEEPEST_INDEX} deep", _REMEDY)
    offered = [(_platform_of(item), item) for item in items]
    suited = [
        (preference, item)
        for machine, item in offered
        if (preference := wanted.preference(machine) if machine else 100) is not None
    ]
    if len(items) == 1 and not depth:
        suited = [(0, items[0])]
    if not suited:
        has = ", ".join(sorted({str(machine) for machine, _ in offered if machine})) or "none"
        raise Unsupported(f"the archive has no image for {wanted}", f"it has: {has}")
    item = min(suited, key=lambda pair: pair[0])[1]
    descriptor = _descriptor(item, content)
    if descriptor.media_type not in INDEX_TYPES:
        return descriptor
    return _chosen(_entries(content.read_json(descriptor.digest)), content, wanted, depth + 1)


def _platform_of(item: Mapping[str, Any]) -> platform.Platform | None:
    section = item.get("platform")
    if not isinstance(section, dict) or "unknown" in section.values():
        return None
    words = [section.get(key) for key in ("os", "architecture", "variant")]
    return platform.parse("/".join(str(word) for word in words if word))


def _descriptor(item: Mapping[str, Any], content: ContentStore) -> Descriptor:
    """The stored blob that a descriptor describes."""
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not content.has(digest):
        raise InvalidInput(
            f"the archive lacks the blob {str(digest)[:80]}", "it is incomplete; make it again"
        )
    if content.size(digest) != size:
        raise InvalidInput(f"blob {digest} has {content.size(digest)} bytes instead of {size}", _REMEDY)
    return Descriptor(str(item.get("mediaType", "")), digest, size)


# --- docker's archives ------------------------------------------------------------------------------


def _of_docker(item: Any, archive: Archive, content: ContentStore) -> Found:
    try:
        config = archive.file(_inner(item["Config"]))
        layers = [archive.file(_inner(name)) for name in item["Layers"] or ()]
        diff_ids = content.read_json(config.blob.digest)["rootfs"]["diff_ids"] or []
        names = _usable([str(name) for name in item.get("RepoTags") or ()])
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"the archive's manifest.json or a config of it is wrong: {error!r}", _REMEDY
        ) from None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        raise InvalidInput(
            f"the archive has an image of {len(layers)} layers that names {len(diff_ids)}", _REMEDY
        )
    stored = []
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        ending = next((end for magic, end in _MAGIC.items() if layer.head.startswith(magic)), "")
        if not ending and layer.blob.digest != diff_id:
            raise InvalidInput(
                f"a layer has digest {layer.blob.digest} instead of {str(diff_id)[:80]}", _REMEDY
            )
        stored.append(manifest.Layer(replace(layer.blob, media_type=_LAYER_TYPE + ending), str(diff_id)))
    described = replace(config.blob, media_type=manifest.CONFIG_TYPE)
    return Found(manifest.write_manifest(content, described, stored), names)


def _with_docker_names(
    found: Sequence[Found], described: Sequence[Any], archive: Archive, content: ContentStore
) -> list[Found]:
    """What is both an OCI layout and docker's archive says the whole names only in docker's way."""
    names: dict[str, tuple[str, ...]] = {}
    for item in described:
        if isinstance(item, dict) and isinstance(item.get("Config"), str):
            digest = archive.file(_inner(item["Config"])).blob.digest
            names[digest] = _usable([str(name) for name in item.get("RepoTags") or ()])
    result = []
    for image in found:
        section = content.read_json(image.manifest.digest).get("config")
        digest = str(section.get("digest")) if isinstance(section, dict) else ""
        result.append(replace(image, names=names.get(digest) or image.names))
    return result


def _inner(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"the archive's manifest.json names a file {name!r}", _REMEDY)
    return name.removeprefix("./")


# --- skopeo's directories ---------------------------------------------------------------------------


def _of_directory(text: bytes, document: Mapping[str, Any], content: ContentStore) -> Found:
    media_type = document.get("mediaType") or manifest.MANIFEST_TYPE
    return Found(content.put_bytes(str(media_type), text), ())


# --- all of them ------------------------------------------------------------------------------------


def _check(descriptor: Descriptor, content: ContentStore) -> None:
    """That it is a manifest of the kind it says, and that all of its blobs are there and as large as said."""
    document = content.read_json(descriptor.digest)
    said = document.get("mediaType", descriptor.media_type)
    if descriptor.media_type not in MANIFEST_TYPES or said != descriptor.media_type:
        raise InvalidInput(
            f"manifest {descriptor.digest[:19]} is {str(said)[:80]!r}, listed as {descriptor.media_type[:80]!r}",
            "only manifests of OCI images and of docker's schema 2 can be read",
        )
    for item in _parts(document):
        _descriptor(item, content)


def _parts(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    layers = document.get("layers")
    for item in (document.get("config"), *(layers if isinstance(layers, list) else (None,))):
        if not isinstance(item, dict):
            raise InvalidInput("a manifest of the archive has no config or no layers", _REMEDY)
        yield item


def _json(archive: Archive, name: str) -> Any:
    try:
        return json.loads(archive.documents[name])
    except (ValueError, RecursionError):
        raise InvalidInput(f"the archive's {name} is no JSON", _REMEDY) from None


def _usable(names: Sequence[str]) -> tuple[str, ...]:
    """The names that are references, in full; others are left out: an archive may call an image as it likes."""
    found = []
    for name in names:
        try:
            reference = parse(name)
        except InvalidInput:
            continue
        if not reference.digest:
            found.append(str(reference))
    return tuple(dict.fromkeys(found))
