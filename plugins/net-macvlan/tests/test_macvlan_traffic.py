"""Containers on a LAN with a neighbour that knows nothing of containers: namespaces play all of them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from pyroute2 import IPRoute

from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed, Unsupported
from multios.model.health import Health
from multios.model.network import PortMapping
from multios.testing.network_box import (
    WAIT,
    Namespace,
    ask,
    bare,
    bare6,
    endpoint_on,
    mac_of,
    reaches,
    serving,
)
from multios_net_macvlan import MODES, MacvlanNetwork

pytestmark = pytest.mark.needs_root

NEIGHBOUR, NEIGHBOUR6 = "10.214.0.254", "fd00:214::254"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
def test_the_neighbour_is_reached_under_the_containers_own_address(lan: Any, mode: str, kind: Any) -> None:
    container, endpoint = lan.container(lan.network(mode=mode), 2)
    with serving(lan.neighbour, 7000, kind, "::"):
        assert ask(container, NEIGHBOUR, 7000, kind) == f"::ffff:{bare(endpoint)}"
        assert ask(container, NEIGHBOUR6, 7000, kind) == bare6(endpoint)
    with serving(container, 80, kind):
        assert ask(lan.neighbour, bare(endpoint), 80, kind) == NEIGHBOUR


@pytest.mark.parametrize(("mode", "reached"), [("bridge", True), ("private", False), ("vepa", False)])
def test_the_mode_says_whether_containers_reach_each_other(lan: Any, mode: str, reached: bool) -> None:
    network = lan.network(mode=mode)
    (one, place), (two, _) = lan.container(network, 2), lan.container(network, 3)
    with serving(one, 80):
        assert reaches(two, bare(place), 80, wait=WAIT if reached else 0.3) is reached


def test_in_vepa_mode_a_switch_that_sends_back_lets_containers_reach_each_other(lan: Any) -> None:
    with lan.switch.entered():
        with IPRoute() as kernel:
            kernel.brport("set", index=kernel.link_lookup(ifname="lan0")[0], mode=1)
    network = lan.network(mode="vepa")
    (one, place), (two, _) = lan.container(network, 2), lan.container(network, 3)
    with serving(one, 80):
        assert reaches(two, bare(place), 80, wait=WAIT)


def test_isolated_containers_reach_the_lan_but_not_each_other(lan: Any) -> None:
    network = lan.network(isolate=True)
    (one, place), (two, _) = lan.container(network, 2), lan.container(network, 3)
    with serving(one, 80), serving(lan.neighbour, 7000):
        assert not reaches(two, bare(place), 80)
        assert reaches(two, NEIGHBOUR, 7000, wait=WAIT)


def test_two_networks_may_have_one_parent(lan: Any) -> None:
    (one, place), (two, _) = lan.container(lan.network("a"), 2), lan.container(lan.network("b"), 3)
    with serving(one, 80):
        assert reaches(two, bare(place), 80, wait=WAIT)


def test_passthru_takes_one_container_and_gives_the_parent_its_mac_back(lan: Any) -> None:
    before = mac_of(lan.host, "lan0")
    network = lan.network(mode="passthru")
    container, endpoint = lan.container(network, 2)
    assert mac_of(container, "eth0") == endpoint.mac == mac_of(lan.host, "lan0")
    with pytest.raises(Conflict, match="interface lan0 takes no further child"):
        lan.container(network, 3)
    lan.driver.check(network, endpoint, container.descriptor)
    lan.driver.delete(network, endpoint)
    assert mac_of(lan.host, "lan0") == before
    lan.container(network, 3)


def test_a_restarted_container_has_its_mac_at_once(lan: Any) -> None:
    network = lan.network()
    endpoint = endpoint_on(network, 2)
    for _ in range(5):
        namespace = Namespace.new()
        lan.driver.add(network, endpoint, namespace.descriptor)
        assert mac_of(namespace, "eth0") == endpoint.mac
        namespace.close()
        lan.driver.delete(network, endpoint)


def test_forgetting_a_dead_container_leaves_the_next_ones_interface_alone(lan: Any) -> None:
    """The number of its namespace may be another's by then."""
    network = lan.network()
    first, second = endpoint_on(network, 2), endpoint_on(network, 3)
    namespace = Namespace.new()
    lan.driver.add(network, first, namespace.descriptor)
    namespace.close()
    other = lan.namespace()
    time.sleep(0.1)
    lan.driver.add(network, second, other.descriptor)
    place = lan.driver.context.runtime
    (place / first.id).write_text((place / second.id).read_text())  # the worst case
    os.utime(place / first.id, (0, 0))
    lan.driver.delete(network, first)
    lan.driver.check(network, second, other.descriptor)
    assert sorted(path.name for path in place.iterdir()) == [second.id]


@pytest.mark.parametrize(
    "disguise", [{"ifname": "mine"}, {"ifalias": "mine"}, {"address": "02:00:00:00:00:01"}]
)
def test_a_container_cannot_hide_its_interface_from_being_taken_away(
    lan: Any, disguise: dict[str, str]
) -> None:
    network = lan.network()
    container, endpoint = lan.container(network, 2)
    second = replace(endpoint_on(network, 3), interface="eth1")
    lan.driver.add(network, second, container.descriptor)
    with container.entered(), IPRoute() as kernel:
        index = kernel.link_lookup(ifname="eth0")[0]
        if "address" not in disguise:
            kernel.link("set", index=index, state="down")
        kernel.link("set", index=index, **disguise)
    lan.driver.delete(network, endpoint)
    assert container.interfaces() == {"lo", "eth1"}
    lan.driver.delete(network, second)
    assert container.interfaces() == {"lo"}
    assert not list(lan.driver.context.runtime.iterdir())


def test_nothing_is_left_of_containers_that_have_gone(lan: Any) -> None:
    network = lan.network()
    endpoints = [lan.container(network, number)[1] for number in range(2, 12)]
    for namespace, endpoint in zip(lan.containers, endpoints, strict=True):
        namespace.close()
        lan.driver.delete(network, endpoint)
        lan.driver.delete(network, endpoint)
    assert not list(lan.driver.context.runtime.iterdir())
    assert lan.host.interfaces() == {"lo", "lan0"}


# --- the parent ---------------------------------------------------------------------------------


def test_without_a_name_the_parent_is_where_the_hosts_default_route_leaves(lan: Any) -> None:
    with pytest.raises(NotFound, match="the host has no default route"):
        lan.network(parent="")
    with IPRoute() as kernel:
        kernel.route("add", dst="0.0.0.0/0", gateway=NEIGHBOUR)
    container, _ = lan.container(lan.network(parent=""), 2)
    with serving(lan.neighbour, 7000):
        assert reaches(container, NEIGHBOUR, 7000, wait=WAIT)


def test_a_parent_that_vanishes_takes_the_interface_along_and_is_said(lan: Any) -> None:
    network = lan.network()
    container, endpoint = lan.container(network, 2)
    with IPRoute() as kernel:
        kernel.link("del", index=kernel.link_lookup(ifname="lan0")[0])
    assert container.interfaces() == {"lo"}
    with pytest.raises(StepFailed, match="interface eth0 is missing in the container"):
        lan.driver.check(network, endpoint, container.descriptor)
    for action in (lambda: lan.driver.create_network(network), lambda: lan.container(network, 3)):
        with pytest.raises(NotFound, match="the host has no interface 'lan0'"):
            action()
    lan.driver.delete(network, endpoint)
    lan.driver.delete_network(network)
    assert not list(lan.driver.context.runtime.iterdir())


def test_a_parent_that_is_a_bridges_port_is_refused_in_words(lan: Any) -> None:
    network = lan.network()
    with IPRoute() as kernel:
        kernel.link("add", ifname="other", kind="bridge")
        bridge = kernel.link_lookup(ifname="other")[0]
        kernel.link("set", index=kernel.link_lookup(ifname="lan0")[0], master=bridge)
    with pytest.raises(MultiosError) as caught:
        lan.container(network, 2)
    assert "lan0" in caught.value.cause + caught.value.remedy
    assert not list(lan.driver.context.runtime.iterdir())


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parent": "nowhere"}, "the host has no interface 'nowhere'"),
        ({"parent": "a-name-that-is-too-long"}, "the host has no interface 'a-name-that-is-too-long'"),
        ({"parent": "1"}, "the host has no interface '1'"),
        ({"mtu": "9000"}, "mtu: 9000 is larger than the 1500 of lan0"),
        ({"mtu": "1000"}, "mtu: 1000 is too small for IPv6"),
        ({"mode": "bride"}, "mode: 'bride' is none of private, vepa, bridge, passthru"),
        ({"mod": "bridge"}, "mod: no such setting"),
        ({"mtu": "9"}, "mtu: 9 is not between"),
    ],
)
def test_a_network_that_cannot_be_is_refused(lan: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(MultiosError) as caught:
        lan.network(**options)
    assert message in caught.value.cause


def test_publishing_is_refused_with_the_way_to_go(lan: Any) -> None:
    network = lan.network()
    _, endpoint = lan.container(network, 2)
    with pytest.raises(Unsupported, match="publishes no ports") as caught:
        lan.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    assert "10.214.0.2" in caught.value.remedy
    lan.driver.unpublish(network, endpoint, (PortMapping(80, 8080),))


def test_an_endpoint_id_never_becomes_another_path(lan: Any) -> None:
    network = lan.network()
    endpoint = replace(endpoint_on(network, 2), id="../../escaped")
    for action in (
        lambda: lan.driver.add(network, endpoint, lan.namespace().descriptor),
        lambda: lan.driver.delete(network, endpoint),
    ):
        with pytest.raises(InvalidInput, match="is no id"):
            action()


def test_the_mtu_is_the_containers(lan: Any) -> None:
    container, _ = lan.container(lan.network(mtu="1400"), 2)
    with container.entered(), IPRoute() as kernel:
        assert next(iter(kernel.link("get", ifname="eth0"))).get("mtu") == 1400


def test_the_doctor_says_that_such_links_can_be_made(lan: Any) -> None:
    before = lan.host.interfaces()
    (finding,) = MacvlanNetwork.health_checks()
    assert finding.health is Health.OK
    assert lan.host.interfaces() == before


def test_a_container_is_on_the_lan_and_on_another_network_at_once(lan: Any) -> None:
    network = lan.network()
    container, _ = lan.container(network, 2)
    second = replace(endpoint_on(network, 3), interface="eth1")
    lan.driver.add(network, second, container.descriptor)
    assert container.interfaces() == {"lo", "eth0", "eth1"}
    lan.driver.delete(network, second)
    assert container.interfaces() == {"lo", "eth0"}
    with closing(container.socket()):
        assert mac_of(container, "eth0")
