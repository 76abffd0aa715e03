"""Published SCTP ports. No socket is made: the packets are, so a kernel without SCTP of its own forwards them too."""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from typing import Any

import pytest

from multios.model.network import PortMapping
from multios.testing.network_box import SILENCE, WAIT, Namespace, bare, bare6

pytestmark = pytest.mark.needs_root

INIT = struct.pack(">BBHIIHHI", 1, 0, 20, 0x12345678, 65536, 1, 1, 1)
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def packet(source: int, target: int) -> bytes:
    """The first packet of an association."""
    head = struct.pack(">HHI", source, target, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + INIT)) + INIT


def raw(where: Namespace, family: int) -> socket.socket:
    """A socket for SCTP packets by hand."""
    with where.entered():
        made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    made.settimeout(WAIT)
    return made


def arrived(listening: socket.socket, wait: float) -> bytes:
    """The SCTP packet that comes, without IP's head; empty when none does."""
    listening.settimeout(wait)
    try:
        data = listening.recv(2048)
    except TimeoutError:
        return b""
    return data[20:] if listening.family == socket.AF_INET else data


@FAMILIES
def test_a_published_port_leads_into_the_container(world: Any, family: int) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080, "sctp"),)
    host = world.host_address if family == socket.AF_INET else world.host_address6
    with closing(raw(world.outside, family)) as client, closing(raw(container, family)) as server:
        client.sendto(packet(4000, 8080), (host, 0))
        assert not arrived(server, SILENCE)
        world.driver.publish(network, endpoint, ports)
        client.sendto(packet(4001, 8080), (host, 0))
        assert arrived(server, WAIT) == packet(4001, 80), "the port is the container's, the checksum right"
        world.driver.unpublish(network, endpoint, ports)
        client.sendto(packet(4002, 8080), (host, 0))
        assert not arrived(server, SILENCE)


@FAMILIES
def test_sctp_passes_between_neighbours_and_not_between_networks(world: Any, family: int) -> None:
    one, two = world.network("a", ipv6=True), world.network("b", ipv6=True)
    (source, _), (target, endpoint) = world.container(one, 2), world.container(one, 3)
    stranger, _ = world.container(two, 2)
    address = bare(endpoint) if family == socket.AF_INET else bare6(endpoint)
    with (
        closing(raw(source, family)) as near,
        closing(raw(stranger, family)) as far,
        closing(raw(target, family)) as server,
    ):
        far.sendto(packet(4000, 80), (address, 0))
        assert not arrived(server, SILENCE)
        near.sendto(packet(4000, 80), (address, 0))
        assert arrived(server, WAIT) == packet(4000, 80)
