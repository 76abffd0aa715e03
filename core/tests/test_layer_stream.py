"""Layers as they stream: compressed, identified, bounded."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zlib
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.store.layer_stream import CompressedLayer, decompressed, written_by

chunks = st.lists(st.binary(max_size=3000), max_size=20).map(b"".join)


@given(chunks, st.binary(max_size=600))
def test_a_compressed_layer_knows_the_digest_of_what_went_in(data: bytes, first: bytes) -> None:
    layer = CompressedLayer(io.BytesIO(data), first=first)
    compressed = io.BufferedReader(layer).read()
    assert gzip.decompress(compressed) == first + data
    assert layer.diff_id == "sha256:" + hashlib.sha256(first + data).hexdigest()
    assert layer.size == len(first + data)


def test_the_same_tar_always_gives_the_same_blob() -> None:
    once, twice = (CompressedLayer(io.BytesIO(b"tar" * 5000)).readall() for _ in range(2))
    assert once == twice


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger"):
        CompressedLayer(io.BytesIO(b"x" * 2000), limit=1999).readall()


@given(chunks)
def test_plain_gzip_and_xz_are_told_by_their_first_bytes(data: bytes) -> None:
    for packed in (
        gzip.compress(data),
        lzma.compress(data),
        gzip.compress(data[:9]) + gzip.compress(data[9:]),
    ):
        assert decompressed(io.BytesIO(packed)).read() == data
    plain = b"plain" + data
    assert decompressed(io.BytesIO(plain)).read() == plain


def test_several_xz_streams_with_padding_are_one_file() -> None:
    packed = lzma.compress(b"one ") + b"\0" * 8 + lzma.compress(b"two")
    assert decompressed(io.BytesIO(lzma.compress(b"one ") + lzma.compress(b"two"))).read() == b"one two"
    assert decompressed(io.BytesIO(packed)).read() == b"one two"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_stream_that_is_cut_off_is_an_error(pack: object) -> None:
    packed: bytes = pack(bytes(range(256)) * 400)  # type: ignore[operator]
    with pytest.raises((EOFError, OSError, zlib.error, lzma.LZMAError)):
        decompressed(io.BytesIO(packed[: len(packed) // 2])).read()


def test_what_a_writer_raises_reaches_the_reader() -> None:
    def writer(target: BinaryIO) -> None:
        target.write(b"some")
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"), written_by(writer) as stream:
        assert stream.read() == b"some"


def test_a_reader_that_gives_up_ends_the_writer() -> None:
    def writer(target: BinaryIO) -> None:
        while True:
            target.write(b"x" * 65536)

    with pytest.raises(ValueError, match="enough"), written_by(writer) as stream:
        stream.read(10)
        raise ValueError("enough")
