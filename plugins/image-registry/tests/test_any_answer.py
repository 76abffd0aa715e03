"""Whatever a registry says, and whatever a user calls an image: read, or refused in words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import MultiosError
from multios.model import platform
from multios.model.image import Descriptor
from multios_image_registry import manifests, places
from registry_box import CONFIG, INDEX, LAYER, MANIFEST

AMD64 = platform.parse("linux/amd64")
DIGEST = "sha256:" + "0" * 64

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
digests = st.just(DIGEST) | values
types = st.sampled_from([MANIFEST, INDEX, CONFIG, LAYER, "", "text/html"]) | values
platforms = st.fixed_dictionaries(
    {},
    optional={
        "os": st.just("linux") | values,
        "architecture": st.sampled_from(["amd64", "arm", "unknown"]) | values,
        "variant": values,
    },
)
descriptors = st.fixed_dictionaries(
    {}, optional={"mediaType": types, "digest": digests, "size": values, "platform": platforms | values}
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.just(2) | values,
        "mediaType": types,
        "config": descriptors | values,
        "layers": st.lists(descriptors | values, max_size=3) | values,
        "manifests": st.lists(descriptors | values, max_size=3) | values,
        "artifactType": values,
    },
)


@settings(deadline=None, max_examples=300)
@given(documents, st.sampled_from([MANIFEST, INDEX, "text/html", ""]))
def test_any_manifest_is_read_or_refused(content: dict[str, Any], stated: str) -> None:
    try:
        media_type = manifests._media_type("pull x", stated, content)
        document = manifests.Document(Descriptor(media_type, DIGEST, 1), b"", content)
        if document.is_index:
            found = [manifests.choose("pull x", document, AMD64)]
        else:
            manifest = manifests.read("pull x", document)
            found = [manifest.config, *manifest.layers]
    except MultiosError as error:
        assert "\n" not in error.cause
        return
    for item in found:
        assert item.digest == DIGEST
        assert 0 <= item.size <= manifests.LARGEST_LAYER


configs = st.fixed_dictionaries(
    {},
    optional={
        "os": st.just("linux") | values,
        "architecture": st.just("amd64") | values,
        "variant": values,
        "rootfs": st.fixed_dictionaries({}, optional={"diff_ids": st.lists(digests, max_size=2) | values})
        | values,
    },
)


@settings(deadline=None, max_examples=300)
@given(configs | values, st.integers(0, 2))
def test_any_config_is_read_or_refused(content: Any, layers: int) -> None:
    try:
        manifests.check_config("pull x", json.dumps(content).encode(), layers, AMD64)
    except MultiosError:
        return
    assert content["rootfs"]["diff_ids"] == [DIGEST] * layers


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9.:/@_-]{1,60}", fullmatch=True))
def test_any_name_leads_somewhere_or_is_refused(reference: str) -> None:
    try:
        place = places.locate(reference)
    except MultiosError:
        return
    for part in (place.registry, place.repository, place.target):
        assert part
        assert not set(part) & set(" \t\r\n?#\\%\0")
        assert ".." not in part.split("/")
