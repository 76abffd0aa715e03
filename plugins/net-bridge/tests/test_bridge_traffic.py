"""What packets may do: real sockets in namespaces that play host, outside and containers."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from multios.errors import Conflict, InvalidInput, Unsupported
from multios.model.network import PortMapping
from multios.testing.network_box import SILENCE, WAIT, Namespace, ask, bare, own_address, reaches, serving

pytestmark = pytest.mark.needs_root

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PROTOCOLS = pytest.mark.parametrize(("protocol", "kind"), [("tcp", TCP), ("udp", UDP)])
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@pytest.fixture(params=["0", "1"], ids=["bridge-nf-off", "bridge-nf-on"])
def bridge_netfilter(request: pytest.FixtureRequest, world: Any) -> None:
    """Both ways in which bridged packets may pass the rules of IP."""
    if not BRIDGE_NETFILTER.exists():
        if request.param == "1":
            pytest.skip("this kernel has no br_netfilter")
        return
    BRIDGE_NETFILTER.write_text(request.param)


@PROTOCOLS
def test_the_outside_is_reached_under_the_hosts_address(world: Any, protocol: str, kind: Any) -> None:
    container, _ = world.container(world.network(), 2)
    with serving(world.outside, 7000, kind):
        assert ask(container, world.outside_address, 7000, kind) == world.host_address


def test_without_masquerade_the_outside_sees_the_containers_own_address(world: Any) -> None:
    container, endpoint = world.container(world.network(masquerade="no"), 2)
    with serving(world.outside, 7000):
        assert ask(container, world.outside_address, 7000) == bare(endpoint)


@PROTOCOLS
def test_a_published_port_is_reached_from_outside_with_the_clients_address(
    world: Any, protocol: str, kind: Any
) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080, protocol),)
    with serving(container, 80, kind):
        assert not reaches(world.outside, world.host_address, 8080, kind)
        world.driver.publish(network, endpoint, ports)
        assert ask(world.outside, world.host_address, 8080, kind) == world.outside_address
        world.driver.unpublish(network, endpoint, ports)
        assert not reaches(world.outside, world.host_address, 8080, kind)


@PROTOCOLS
def test_a_published_port_is_reached_from_the_hosts_loopback_and_other_addresses(
    world: Any, protocol: str, kind: Any, bridge_netfilter: None
) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080, protocol),))
    with serving(container, 80, kind):
        for address in ("127.0.0.1", "127.0.0.53", world.host_address, network.gateway):
            assert reaches(world.host, address, 8080, kind, WAIT), address


@PROTOCOLS
def test_a_container_reaches_its_own_and_its_neighbours_published_port(
    world: Any, protocol: str, kind: Any, bridge_netfilter: None
) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    neighbour, _ = world.container(network, 3)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080, protocol),))
    with serving(container, 80, kind):
        for address in (world.host_address, network.gateway):
            assert reaches(neighbour, address, 8080, kind, WAIT), address
            assert reaches(container, address, 8080, kind, WAIT), address


def test_a_published_port_is_reached_from_another_network(world: Any, bridge_netfilter: None) -> None:
    one, two = world.network("a"), world.network("b")
    container, endpoint = world.container(one, 2)
    other, _ = world.container(two, 2)
    world.driver.publish(one, endpoint, (PortMapping(80, 8080),))
    with serving(container, 80):
        assert reaches(other, world.host_address, 8080, wait=WAIT)


def test_a_port_bound_to_one_address_is_published_there_only(world: Any) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080, "tcp", "127.0.0.1"),)
    world.driver.publish(network, endpoint, ports)
    with serving(container, 80):
        assert reaches(world.host, "127.0.0.1", 8080, wait=WAIT)
        assert not reaches(world.host, world.host_address, 8080)
        assert not reaches(world.outside, world.host_address, 8080)
        world.driver.unpublish(network, endpoint, ports)
        assert not reaches(world.host, "127.0.0.1", 8080)


@pytest.mark.parametrize("bound", ["127.0.0.1", ""], ids=["on the loopback alone", "on all addresses"])
def test_what_is_aimed_at_the_hosts_loopback_from_outside_reaches_no_container(
    world: Any, bound: str
) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080, "tcp", bound),))
    _route_loopback_out(world.outside, world.host_address, "down0")
    with serving(container, 80):
        assert reaches(world.host, "127.0.0.1", 8080, wait=WAIT)
        assert not reaches(world.outside, "127.0.0.1", 8080)


def test_a_udp_flow_follows_the_port_to_its_next_container(world: Any) -> None:
    network = world.network()
    first, one = world.container(network, 2)
    second, two = world.container(network, 3)
    ports = (PortMapping(53, 5353, "udp"),)
    with closing(world.outside.socket(UDP)) as client, serving(first, 53, UDP), serving(second, 53, UDP):
        client.connect((world.host_address, 5353))
        client.settimeout(SILENCE)
        client.send(b"before it is published")
        with pytest.raises(OSError):
            client.recv(64)
        client.settimeout(WAIT)
        for endpoint in (one, two):
            world.driver.publish(network, endpoint, ports)
            client.send(b"hello")
            assert client.recv(64).endswith(b"hello")
            world.driver.unpublish(network, endpoint, ports)


def test_networks_do_not_reach_each_other(world: Any, bridge_netfilter: None) -> None:
    one, _ = world.container(world.network("a"), 2)
    two, endpoint = world.container(world.network("b"), 2)
    for kind in (TCP, UDP):
        with serving(two, 80, kind):
            assert reaches(world.host, bare(endpoint), 80, kind, WAIT)
            assert not reaches(one, bare(endpoint), 80, kind)


def test_containers_of_one_network_reach_each_other_either_way(world: Any, bridge_netfilter: None) -> None:
    network = world.network()
    one, endpoint = world.container(network, 2)
    two, _ = world.container(network, 3)
    with serving(one, 80):
        assert reaches(two, bare(endpoint), 80, wait=WAIT)


def test_isolated_containers_reach_the_outside_but_not_each_other(world: Any, bridge_netfilter: None) -> None:
    network = world.network(isolate="yes")
    one, endpoint = world.container(network, 2)
    two, _ = world.container(network, 3)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    with serving(one, 80), serving(world.outside, 7000):
        assert not reaches(two, bare(endpoint), 80)
        assert not reaches(two, world.host_address, 8080), "by a published port neither"
        assert reaches(world.outside, world.host_address, 8080, wait=WAIT)
        assert reaches(two, world.outside_address, 7000, wait=WAIT)


def test_an_unpublished_container_is_not_reached_from_outside(world: Any) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    with serving(container, 80):
        assert not reaches(world.outside, bare(endpoint), 80)
        assert reaches(world.host, bare(endpoint), 80, wait=WAIT)


def test_an_internal_network_has_no_way_out_and_none_in(world: Any) -> None:
    inner, outer = world.network("a", internal=True), world.network("b")
    one, endpoint = world.container(inner, 2)
    two, _ = world.container(inner, 3)
    public, published = world.container(outer, 2)
    world.driver.publish(outer, published, (PortMapping(80, 8080),))
    with serving(world.outside, 7000), serving(one, 80), serving(public, 80):
        assert reaches(two, bare(endpoint), 80, wait=WAIT)
        assert own_address(two, world.outside_address) == ""
        _default_route(two, inner.gateway)
        assert own_address(two, world.outside_address) != ""
        assert not reaches(two, world.outside_address, 7000)
        assert not reaches(two, world.host_address, 8080)
        assert not reaches(two, bare(published), 80)
        assert not reaches(world.outside, bare(endpoint), 80)
    with pytest.raises(Unsupported, match="internal"):
        world.driver.publish(inner, endpoint, (PortMapping(80, 8081),))


def _default_route(where: Namespace, gateway: str) -> None:
    from pyroute2 import IPRoute

    with where.entered(), IPRoute() as kernel:
        kernel.route("add", dst="0.0.0.0/0", gateway=gateway)


def test_a_container_does_not_reach_what_listens_on_the_hosts_loopback(world: Any) -> None:
    network = world.network()
    container, _ = world.container(network, 2)
    _route_loopback_out(container, network.gateway, "eth0")
    with serving(world.host, 7000, address="127.0.0.1"), serving(world.host, 7001):
        assert not reaches(container, "127.0.0.1", 7000)
        assert reaches(container, network.gateway, 7001, wait=WAIT)


def _route_loopback_out(where: Namespace, gateway: str, interface: str) -> None:
    """What root may do to send packets for 127.0.0.1 to a gateway."""
    from pyroute2 import IPRoute

    with where.entered(), IPRoute() as kernel:
        Path(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet").write_text("1")
        kernel.flush_addr(index=1)
        kernel.route("add", dst="127.0.0.1/32", gateway=gateway)


def test_a_container_on_two_networks_keeps_a_way_out_when_it_leaves_one(world: Any) -> None:
    one, two = world.network("a"), world.network("b")
    container, first = world.container(one, 2)
    second = world.second_nic(container, two, 2)
    world.driver.check(one, first, container.descriptor)
    world.driver.check(two, second, container.descriptor)
    with serving(world.outside, 7000):
        assert reaches(container, world.outside_address, 7000, wait=WAIT)
        world.driver.delete(one, first)
        assert reaches(container, world.outside_address, 7000, wait=WAIT)


# --- refused ------------------------------------------------------------------------------------


def test_a_port_of_another_container_or_of_a_program_of_the_host_is_a_conflict(world: Any) -> None:
    network = world.network()
    (_, one), (_, two) = world.container(network, 2), world.container(network, 3)
    world.driver.publish(network, one, (PortMapping(80, 8080),))
    with pytest.raises(Conflict, match="8080/tcp is published to another container"):
        world.driver.publish(network, two, (PortMapping(81, 8081), PortMapping(80, 8080)))
    world.driver.publish(network, one, (PortMapping(80, 8081),))  # all or none: 8081 stayed free
    with serving(world.host, 9000), pytest.raises(Conflict, match="9000/tcp is in use by another program"):
        world.driver.publish(network, one, (PortMapping(80, 9000),))


@pytest.mark.parametrize(
    ("port", "error", "message"),
    [
        (PortMapping(80, 0), InvalidInput, "host port 0"),
        (PortMapping(0, 80), InvalidInput, "container port 0"),
        (PortMapping(80, 65536), InvalidInput, "host port 65536"),
        (PortMapping(80, 80, "dccp"), Unsupported, "'dccp'"),
        (PortMapping(80, 80, "tcp", "nowhere"), InvalidInput, "'nowhere' is no IP address"),
        (PortMapping(80, 80, "tcp", "::1"), Unsupported, "no IPv6 address that ::1 could lead to"),
        (PortMapping(80, 80, "tcp", "192.0.2.7"), InvalidInput, "192.0.2.7 is no address of this host"),
    ],
)
def test_a_mapping_that_cannot_be_is_named(world: Any, port: PortMapping, error: Any, message: str) -> None:
    network = world.network()
    _, endpoint = world.container(network, 2)
    with pytest.raises(error, match=message):
        world.driver.publish(network, endpoint, (port,))


def test_many_threads_publish_at_once(world: Any) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    threads = [
        threading.Thread(target=world.driver.publish, args=(network, endpoint, (PortMapping(80, 8000 + n),)))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with serving(container, 80):
        assert all(reaches(world.host, "127.0.0.1", 8000 + n, wait=WAIT) for n in range(16))


def test_a_question_from_the_same_port_follows_the_name_server_to_its_next_port(world: Any) -> None:
    network = world.network("a")
    container, _ = world.container(network, 2)
    for port in (5301, 5302):
        world.driver.serve_names(network, port)
        with serving(world.host, port, socket.SOCK_DGRAM, network.gateway):
            with closing(container.socket(socket.SOCK_DGRAM)) as client:
                client.bind(("0.0.0.0", 40053))
                client.connect((network.gateway, 53))
                client.send(b"hello")
                assert client.recv(64).endswith(b" hello")
