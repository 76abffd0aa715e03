"""Archives of images, as bytes: what is read, what is refused, and that nothing else ever comes out."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError
from multios.exchange.layouts import images_of
from multios.exchange.members import Members, check_inside
from multios.exchange.spool import is_of_images, spool
from multios.exchange.writing import ArchiveWriter
from multios.layers.unpack import Bounds
from multios.model import platform
from multios.model.reference import parse
from multios.store.content import ContentStore


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def archive(*members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as writer:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            writer.addfile(info, io.BytesIO(content))
    return target.getvalue()


def read_all(data: bytes, size: int = 700) -> dict[str, bytes]:
    members = Members(pieces(data, size))
    found = {}
    for member in members:
        parts = []
        while part := members.read(100):
            parts.append(part)
        found[member.name] = b"".join(parts)
    return found


NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/"), min_size=1, max_size=150
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(NAMES, st.binary(max_size=3000), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 2000),
)
def test_members_are_what_tarfile_wrote_however_they_arrive(
    files: dict[str, bytes], form: int, size: int
) -> None:
    assert read_all(archive(*files.items(), format=form), size) == files


def test_an_archive_that_is_written_is_read_by_tarfile_and_the_same_twice() -> None:
    written = []
    for _ in range(2):
        target = io.BytesIO()
        writer = ArchiveWriter(target, lambda count: None)
        writer.add("blobs/sha256/" + "a" * 64, 3, [b"ab", b"c"])
        writer.add("blobs/sha256/" + "a" * 64, 3, [b"again"])
        writer.add_json("index.json", {"b": 1, "a": [2]})
        writer.close()
        written.append(target.getvalue())
    assert written[0] == written[1]
    with tarfile.open(fileobj=io.BytesIO(written[0])) as reader:
        assert [(item.name, item.size) for item in reader] == [
            ("blobs/sha256/" + "a" * 64, 3),
            ("index.json", 15),
        ]


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (archive(("oci-layout", b"{}")), True),
        (archive(("manifest.json", b"[]")), True),
        (archive(("blobs/sha256/" + "0" * 64, b"x")), True),
        (archive(("a" * 64 + "/layer.tar", b"x")), True),
        (archive(("b" * 64 + ".json", b"x")), True),
        (archive(("etc/passwd", b"x")), False),
        (archive(("./usr/bin/sh", b"x")), False),
        (archive(("blobs/readme", b"x")), False),
        (archive(), False),
    ],
)
def test_an_archive_of_images_is_told_from_a_root_filesystem_that_stays_whole(
    data: bytes, is_one: bool
) -> None:
    members = Members(pieces(data))
    found, _ = is_of_images(members)
    assert found is is_one
    if not found:
        assert b"".join(members.whole()) == data


@pytest.mark.parametrize("name", ["/x", "../x", "..", "a\0b", "../../etc/passwd"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="leads out of itself"):
        check_inside(name)


GOOD = archive(
    ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
    ("index.json", json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "y", "size": 1}]}).encode()),
    ("manifest.json", json.dumps([{"Config": "a", "RepoTags": ["b:1"], "Layers": ["c"]}]).encode()),
    ("a", b'{"rootfs":{"diff_ids":["sha256:0"]}}'),
    ("c", b"layer"),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_damage_to_an_archive_is_one_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    data = bytearray(GOOD)
    for _ in range(dice.randint(1, 6)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    data = data[: dice.randint(0, len(data))] if dice.random() < 0.3 else data
    content = ContentStore(tmp_path_factory.getbasetemp() / "content")
    members = Members(pieces(bytes(data)))
    try:
        found, listed = is_of_images(members)
        if found:
            images_of(
                spool(members, listed, content, lambda count: None), content, platform.of_this_machine()
            )
    except MultiosError as error:
        assert "\n" not in error.cause


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidInput:
        return
    assert parse(str(reference)) == reference


def test_members_beyond_any_sense_are_refused() -> None:
    endless = archive(("index.json", b"{}"))[:1024]

    def forever() -> Iterator[bytes]:
        while True:
            yield endless

    members = Members(forever())
    with pytest.raises(InvalidInput, match="more than 100000 members"):
        for _ in members:
            pass


def test_a_large_document_or_header_is_not_held(tmp_path: Path) -> None:
    data = archive(("index.json", bytes(9 << 20)))
    members = Members(pieces(data, 1 << 20))
    _, listed = is_of_images(members)
    with pytest.raises(InvalidInput, match="it can have|bytes"):
        spool(members, listed, ContentStore(tmp_path / "content"), lambda count: None)
    with pytest.raises(InvalidInput, match="a name of 70000 bytes"):
        read_all(archive(("x" * 70_000, b"")))


def test_a_layers_bound_is_its_ratio_beyond_a_gibibyte() -> None:
    bounds = Bounds(size=64 << 30, ratio=10)
    assert bounds.of(1).size == 1 << 30
    assert bounds.of(1 << 30).size == 10 << 30
    assert bounds.of(1 << 40).size == 64 << 30
