"""What a confined container may reach, as text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.model import destination


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fd00::/8", "fd00::/8"),
        ("Example.ORG.", "example.org"),
        ("*.example.org", "*.example.org"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_destination_has_a_normal_form(text: str, normal: str) -> None:
    assert destination.parse(text) == normal
    assert destination.parse(normal) == normal
    assert destination.is_domain(normal) == ("example" in normal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example",
        "1.2.3",
        "1.2.3.400",
        "10.0.0.0/33",
        "*.*.org",
        "a b.org",
        "-a.org",
        "a..org",
        "*",
        "x" * 300 + ".org",
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="egress_allow"):
        destination.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_destination_or_refused_in_words(text: str) -> None:
    try:
        found = destination.parse(text)
    except InvalidInput as error:
        assert error.cause and error.remedy
    else:
        assert destination.parse(found) == found


@given(st.ip_addresses(), st.integers(0, 32))
def test_a_block_covers_its_addresses(address: ipaddress.IPv4Address, prefix: int) -> None:
    block = destination.parse(f"{address}/{prefix}")
    assert destination.covers([block], destination.parse(str(address)))
    assert destination.blocks([block]) == (block,)


@pytest.mark.parametrize(
    ("allowed", "wanted", "covered"),
    [
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "*.www.example.org", True),
        ("*.example.org", "badexample.org", False),
        ("10.0.0.0/8", "10.1.0.0/16", True),
        ("10.1.0.0/16", "10.0.0.0/8", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("0.0.0.0/0", "example.org", False),
    ],
)
def test_who_may_reach_one_may_reach_what_it_covers(allowed: str, wanted: str, covered: bool) -> None:
    assert destination.covers([allowed], wanted) is covered
