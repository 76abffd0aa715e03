"""Confined containers: what they reach, what they learn, and what is left when they go."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.model.network import Endpoint, Network, PortMapping
from multios.testing.network_box import WAIT, Namespace, bare, endpoint_on, reaches, serving
from multios_net_bridge import confinement
from multios_net_bridge.nfnetlink import read_elements

pytestmark = pytest.mark.needs_root


def confined(world: Any, network: Network, number: int, *allowed: str) -> tuple[Namespace, Endpoint]:
    namespace = world.namespace()
    endpoint = replace(endpoint_on(network, number), egress=allowed)
    world.driver.add(network, endpoint, namespace.descriptor)
    return namespace, endpoint


def test_only_what_is_allowed_is_reached(world: Any) -> None:
    network = world.network("a")
    free, _ = world.container(network, 2)
    student, _ = confined(world, network, 3, "203.0.113.0/24")
    allowed, _ = confined(world, network, 4, "198.51.100.2", "198.51.100.0/24")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with serving(world.outside, 7000, kind):
            assert reaches(free, world.outside_address, 7000, kind, WAIT)
            assert reaches(allowed, world.outside_address, 7000, kind, WAIT)
            assert not reaches(student, world.outside_address, 7000, kind)


def test_neighbours_are_reached_and_published_ports_answer(world: Any) -> None:
    network = world.network("a")
    free, place = world.container(network, 2)
    student, own = confined(world, network, 3)
    with serving(free, 7000):
        assert reaches(student, bare(place), 7000, wait=WAIT)
    with serving(student, 7000):
        world.driver.publish(network, own, (PortMapping(7000, 17000),))
        assert reaches(world.outside, world.host_address, 17000, wait=WAIT)


def test_neither_the_host_nor_others_published_ports_nor_other_networks_are_reached(world: Any) -> None:
    network, other = world.network("a"), world.network("b")
    free, _ = world.container(network, 2)
    far, place = world.container(other, 2)
    everything = "0.0.0.0/0"
    student, _ = confined(world, network, 3, everything)
    world.driver.publish(other, place, (PortMapping(7000, 17001),))
    near, neighbour = world.container(network, 4)
    world.driver.publish(network, neighbour, (PortMapping(7000, 17002),))
    with serving(far, 7000), serving(world.host, 7001):
        for address in (network.gateway, world.host_address):
            assert reaches(free, address, 7001, wait=WAIT)
            assert not reaches(student, address, 7001)
        assert reaches(free, world.host_address, 17001, wait=WAIT)
        assert not reaches(student, world.host_address, 17001)
        with serving(near, 7000):
            assert reaches(free, world.host_address, 17002, wait=WAIT)
            assert not reaches(student, world.host_address, 17002), "a neighbour's neither"
        assert not reaches(student, bare(place), 7000)


def test_names_at_the_gateway_are_reached(world: Any) -> None:
    network = world.network("a")
    student, _ = confined(world, network, 3)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with serving(world.host, 5300, kind, network.gateway):
            world.driver.serve_names(network, 5300)
            assert reaches(student, network.gateway, 53, kind, WAIT)
            assert not reaches(student, network.gateway, 5300, kind)
    with serving(world.host, 5301):
        world.driver.serve_names(network, 5301)
        assert reaches(student, network.gateway, 53, wait=WAIT)


def test_what_is_permitted_is_reached_for_a_time_that_can_be_prolonged(world: Any) -> None:
    network = world.network("a")
    student, own = confined(world, network, 3)
    with serving(world.outside, 7000):
        world.driver.permit(network, own, (world.outside_address, "2001:db8::1"), 4)
        first_ends = time.monotonic() + 4
        assert reaches(student, world.outside_address, 7000, wait=WAIT)
        time.sleep(max(0.0, first_ends - 1 - time.monotonic()))
        world.driver.permit(network, own, (world.outside_address,), 4)
        second_ends = time.monotonic() + 4
        time.sleep(max(0.0, first_ends + 0.2 - time.monotonic()))
        assert reaches(student, world.outside_address, 7000, wait=WAIT)
        time.sleep(max(0.0, second_ends + 0.2 - time.monotonic()))
        assert not reaches(student, world.outside_address, 7000)


def test_the_next_container_with_the_address_is_free(world: Any) -> None:
    network = world.network("a")
    student, own = confined(world, network, 3, "203.0.113.0/24", "203.0.113.7")
    world.driver.permit(network, own, ("192.0.2.1",), 60)
    world.driver.delete(network, own)
    world.driver.delete(network, own)
    firewall = world.driver._host.firewall
    for name in (confinement.CONFINED, confinement.BLOCKS, confinement.HOSTS):
        assert not confinement_elements(firewall, name)
    free, _ = world.container(network, 3)
    with serving(world.outside, 7000):
        assert reaches(free, world.outside_address, 7000, wait=WAIT)


def test_a_flushed_confinement_is_restored(world: Any) -> None:
    network = world.network("a")
    student, own = confined(world, network, 3, "203.0.113.0/24")
    world.driver.delete_network(replace(network, interface="other"))  # does nothing to ours
    world.driver._host.firewall.remove_network(network)
    world.driver.create_network(network)
    with serving(world.outside, 7000):
        assert reaches(student, world.outside_address, 7000, wait=WAIT)
        world.driver.restore(network, own)
        world.driver.restore(network, own)
        assert not reaches(student, world.outside_address, 7000)


def confinement_elements(firewall: Any, name: str) -> set[Any]:
    return read_elements(firewall._connection, firewall.table, name)


@given(st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), max_size=20))
def test_blocks_never_overlap(blocks: list[tuple[Any, int]]) -> None:
    texts = [str(ip_network(f"{address}/{prefix}", strict=False)) for address, prefix in blocks]
    found = confinement.collapsed(texts)
    for number, one in enumerate(found):
        assert not any(one.overlaps(other) for other in found[number + 1 :])
    for address, _ in blocks:
        assert any(address in one for one in found)
