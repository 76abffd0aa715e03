"""``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]``: every form of a published port, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.cli.container_config import ports
from multios.errors import InvalidInput
from multios.model.network import PortMapping
from multios.model.networking_section import parse_ports


def read(text: str) -> tuple[PortMapping, ...]:
    """What the daemon makes of it."""
    return parse_ports(ports(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", (PortMapping(80),)),
        ("8080:80", (PortMapping(80, 8080),)),
        ("8080:80/udp", (PortMapping(80, 8080, "udp"),)),
        ("8080:80/SCTP", (PortMapping(80, 8080, "sctp"),)),
        ("127.0.0.1:8080:80", (PortMapping(80, 8080, "tcp", "127.0.0.1"),)),
        ("127.0.0.1::80", (PortMapping(80, 0, "tcp", "127.0.0.1"),)),
        ("127.0.0.1:80", (PortMapping(80, 0, "tcp", "127.0.0.1"),)),
        ("[::1]:8080:80", (PortMapping(80, 8080, "tcp", "::1"),)),
        ("[::1]::80", (PortMapping(80, 0, "tcp", "::1"),)),
        ("[::1]:80", (PortMapping(80, 0, "tcp", "::1"),)),
        ("[::]:8080:80/udp", (PortMapping(80, 8080, "udp", "::"),)),
        ("8080-8082:80-82", tuple(PortMapping(80 + n, 8080 + n) for n in range(3))),
        ("80-81/udp", tuple(PortMapping(80 + n, 0, "udp") for n in range(2))),
        ("[::]:8080-8081:80-81", tuple(PortMapping(80 + n, 8080 + n, "tcp", "::") for n in range(2))),
    ],
)
def test_a_form_means_its_mappings(text: str, expected: Any) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "80/", "/tcp", "8080:", "a:80", "80:b", "-1:80", "8090-8080:90-80", "8080-8082:80", "80:80:80:80",
        "[::1:8080:80", "::1]:8080:80", "[::1]8080:80", "[]:8080:80", "[80]:80", "65536", "80/icmp", "0",
        "[::ffff:127.0.0.1]:8080:80", "224.0.0.1:8080:80", "[ff02::1]:8080:80", "255.255.255.255:8080:80",
        "[fe80::1%eth0]:8080:80", "256.0.0.1:8080:80", "example.org:8080:80",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert "\n" not in caught.value.cause and caught.value.remedy


@given(st.text("[]:.-/0123456789abcdeftuscp%", max_size=30))
def test_any_text_is_a_mapping_or_refused(text: str) -> None:
    try:
        found = read(text)
    except InvalidInput:
        return
    assert all(0 < port.container < 65536 and 0 <= port.host < 65536 for port in found)
