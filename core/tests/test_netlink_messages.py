"""Netlink attributes and messages, for any content."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.netlink.messages import NESTED, attribute, attributes, nested, text, unsigned, walk

kinds = st.integers(1, 0x3FFF)
pairs = st.lists(st.tuples(kinds, st.binary(max_size=200)), max_size=20)


@given(pairs)
def test_what_is_encoded_is_read_back_in_order(given_pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in given_pairs)
    assert list(walk(data)) == given_pairs
    assert attributes(data) == dict(given_pairs)


@given(kinds, st.binary(max_size=0xFFFF - 4))
def test_an_attribute_is_padded_to_four_bytes_and_says_its_true_length(kind: int, payload: bytes) -> None:
    data = attribute(kind, payload)
    assert len(data) % 4 == 0
    assert struct.unpack_from("=HH", data) == (len(payload) + 4, kind)
    assert data[4 : 4 + len(payload)] == payload
    assert not any(data[4 + len(payload) :])


def test_a_payload_too_long_for_an_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 65535"):
        attribute(1, bytes(0xFFFF - 3))


@given(kinds, pairs)
def test_nesting_is_marked_and_reversible(kind: int, inner: list[tuple[int, bytes]]) -> None:
    data = nested(kind, *(attribute(*pair) for pair in inner))
    assert struct.unpack_from("=HH", data)[1] == kind | NESTED
    ((found, payload),) = walk(data)
    assert found == kind
    assert list(walk(payload)) == inner


@given(
    kinds,
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    st.integers(0, 2**32 - 1),
)
def test_strings_end_with_a_zero_and_numbers_are_four_bytes(kind: int, word: str, number: int) -> None:
    assert attributes(text(kind, word))[kind] == word.encode() + b"\0"
    assert int.from_bytes(attributes(unsigned(kind, number))[kind], "little") == number


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_never_read_past(data: bytes) -> None:
    try:
        found = list(walk(data))
    except ValueError:
        return
    assert sum(len(payload) + 4 for _, payload in found) <= len(data)
