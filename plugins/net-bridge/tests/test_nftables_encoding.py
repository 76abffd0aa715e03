"""Batches of nftables and elements of its sets, for any content."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from multios.netlink.messages import attributes, walk
from multios_net_bridge.nfnetlink import IPV4, IPV6, Batch, Element
from multios_net_bridge.ruleset import PROTOCOLS, forward


@given(st.integers(0, 2000))
def test_no_message_of_a_large_batch_is_too_long(count: int) -> None:
    batch = Batch("t")
    batch.add_elements("s", [Element(struct.pack(">Q", number), bytes(8)) for number in range(count)])
    listed = [attributes(message.payload[4:])[3] for message in batch.messages]
    keys = [attributes(attributes(item)[1])[1] for payload in listed for _, item in walk(payload)]
    assert keys == [struct.pack(">Q", number) for number in range(count)]


@given(st.ip_addresses(), st.booleans(), st.sampled_from(sorted(PROTOCOLS)), st.integers(1, 65535))
def test_published_ports_differ_in_their_keys_only_by_what_they_are(
    target: Any, is_bound: bool, protocol: str, port: int
) -> None:
    bound = "127.0.0.1" if target.version == 4 else "::1"
    family, name, element = forward(bound if is_bound else "", protocol, port, str(target), 80)
    assert family is (IPV4 if target.version == 4 else IPV6)
    own = ip_address(bound).packed if is_bound else b""
    assert name == ("bound" if is_bound else "ports")
    assert element.key == own + bytes([PROTOCOLS[protocol], 0, 0, 0]) + port.to_bytes(2, "big") + bytes(2)
    assert element.data == target.packed + bytes([0, 80, 0, 0])
