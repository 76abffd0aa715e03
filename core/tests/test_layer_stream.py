"""Layers as they stream: compressed, identified, bounded."""

from __future__ import annotations

import gzip
import hashlib
import io
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.store.layer_stream import CompressedLayer, chunks_of, written_by


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_a_compressed_layer_knows_the_digest_of_what_went_in(pieces: list[bytes]) -> None:
    layer = CompressedLayer(pieces)
    compressed = io.BufferedReader(layer).read()
    data = b"".join(pieces)
    assert gzip.decompress(compressed) == data
    assert layer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert layer.size == len(data)


def test_the_same_tar_always_gives_the_same_blob() -> None:
    once, twice = (CompressedLayer([b"tar"] * 5000).readall() for _ in range(2))
    assert once == twice


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger"):
        CompressedLayer(chunks_of(io.BytesIO(b"x" * 2000)), limit=1999).readall()


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
