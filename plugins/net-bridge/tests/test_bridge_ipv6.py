"""What IPv6 packets may do, and what is left of IPv6 where a network has none."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from multios.errors import Conflict, MultiosError, Unsupported
from multios.model.network import Endpoint, PortMapping
from multios.netlink import messages
from multios.testing.isolation_box import eventually
from multios.testing.network_box import (
    SILENCE,
    WAIT,
    Namespace,
    ask,
    bare,
    bare6,
    bytes_of,
    endpoint_on,
    reaches,
    send_frame,
    send_raw,
    serving,
)
from multios_net_bridge import nfnetlink

pytestmark = pytest.mark.needs_root

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PROTOCOLS = pytest.mark.parametrize(("protocol", "kind"), [("tcp", TCP), ("udp", UDP)])
RA = 9  # RTPROT_RA
TENTATIVE = 0x40  # IFA_F_TENTATIVE
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables")


@pytest.fixture(params=["0", "1"], ids=["bridge-nf-off", "bridge-nf-on"])
def bridge_netfilter(request: pytest.FixtureRequest, world: Any) -> bool:
    """Both ways in which bridged packets may pass the rules of IPv6; whether they do."""
    if not BRIDGE_NETFILTER.exists():
        if request.param == "1":
            pytest.skip("this kernel lacks br_netfilter")
        return False
    BRIDGE_NETFILTER.write_text(request.param)
    return bool(request.param == "1")


def tables() -> list[str]:
    """The families of the nftables tables of the thread's namespace."""
    connection = messages.Connection(nfnetlink.PROTOCOL)
    found = []
    with closing(connection):
        for name, family in (("ip", nfnetlink.IPV4), ("ip6", nfnetlink.IPV6)):
            query = nfnetlink.message(nfnetlink.GET_TABLE, 0, family=family.number)
            found += [name for _ in connection.dump(query)]
    return found


# --- to and fro ---------------------------------------------------------------------------------


@PROTOCOLS
def test_the_outside_is_reached_under_the_hosts_address(world: Any, protocol: str, kind: Any) -> None:
    container, _ = world.container(world.network(ipv6=True), 2)
    with serving(world.outside, 7000, kind, "::"):
        assert ask(container, world.outside_address6, 7000, kind) == world.host_address6


def test_without_masquerade_the_outside_sees_the_containers_own_address(world: Any) -> None:
    container, endpoint = world.container(world.network(ipv6=True, masquerade="no"), 2)
    with serving(world.outside, 7000, address="::"):
        assert ask(container, world.outside_address6, 7000) == bare6(endpoint)


@PROTOCOLS
def test_a_published_port_is_reached_in_both_families_with_the_clients_address(
    world: Any, protocol: str, kind: Any
) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080, protocol),)
    with serving(container, 80, kind, "::"):
        assert not reaches(world.outside, world.host_address6, 8080, kind)
        world.driver.publish(network, endpoint, ports)
        assert ask(world.outside, world.host_address6, 8080, kind) == world.outside_address6
        assert ask(world.outside, world.host_address, 8080, kind) == f"::ffff:{world.outside_address}"
        world.driver.unpublish(network, endpoint, ports)
        for address in (world.host_address, world.host_address6):
            assert not reaches(world.outside, address, 8080, kind)


@PROTOCOLS
def test_a_published_port_is_reached_from_the_hosts_addresses_and_its_loopback_where_that_is_possible(
    world: Any, protocol: str, kind: Any, bridge_netfilter: bool
) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080, protocol),))
    with serving(container, 80, kind, "::"):
        for address in (world.host_address6, network.gateway6, "127.0.0.1"):
            assert reaches(world.host, address, 8080, kind, WAIT), address
        started = time.monotonic()
        assert reaches(world.host, "::1", 8080, kind, WAIT) is not bridge_netfilter
        assert time.monotonic() - started < WAIT - 1, "who asks at ::1 first must not wait"


def test_a_port_on_the_loopback_alone_is_refused_where_it_would_lead_nowhere(
    world: Any, bridge_netfilter: bool
) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080, "tcp", "::1"),)
    if bridge_netfilter:
        with pytest.raises(Unsupported, match="nothing can be published on ::1"):
            world.driver.publish(network, endpoint, ports)
        return
    world.driver.publish(network, endpoint, ports)
    with serving(container, 80, address="::"):
        assert reaches(world.host, "::1", 8080, wait=WAIT)
        assert not reaches(world.outside, world.host_address6, 8080)
        assert not reaches(world.host, "127.0.0.1", 8080)


@PROTOCOLS
def test_a_container_reaches_its_own_and_its_neighbours_published_port(
    world: Any, protocol: str, kind: Any, bridge_netfilter: bool
) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    neighbour, _ = world.container(network, 3)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080, protocol),))
    with serving(container, 80, kind, "::"):
        for address in (world.host_address6, network.gateway6):
            assert reaches(neighbour, address, 8080, kind, WAIT), address
            assert reaches(container, address, 8080, kind, WAIT), address


def test_a_udp_flow_follows_the_port_to_its_next_container(world: Any) -> None:
    network = world.network(ipv6=True)
    (first, one), (second, two) = world.container(network, 2), world.container(network, 3)
    ports = (PortMapping(53, 5353, "udp"),)
    with (
        closing(world.outside.socket(UDP, "::")) as client,
        serving(first, 53, UDP, "::"),
        serving(second, 53, UDP, "::"),
    ):
        client.connect((world.host_address6, 5353))
        client.settimeout(WAIT)
        for endpoint in (one, two):
            world.driver.publish(network, endpoint, ports)
            client.send(b"hello")
            assert client.recv(64).endswith(b"hello")
            world.driver.unpublish(network, endpoint, ports)


def test_names_are_asked_for_at_the_gateways_address(world: Any) -> None:
    network = world.network(ipv6=True)
    container, _ = world.container(network, 2)
    world.driver.serve_names(network, 5300)
    for kind in (TCP, UDP):
        with serving(world.host, 5300, kind, network.gateway6):
            assert reaches(container, network.gateway6, 53, kind, WAIT)


# --- kept apart ---------------------------------------------------------------------------------


def test_networks_do_not_reach_each_other_and_the_outside_reaches_only_what_is_published(
    world: Any, bridge_netfilter: bool
) -> None:
    one, _ = world.container(world.network("a", ipv6=True), 2)
    two, endpoint = world.container(world.network("b", ipv6=True), 2)
    with serving(two, 80, address="::"):
        assert reaches(world.host, bare6(endpoint), 80, wait=WAIT)
        assert not reaches(one, bare6(endpoint), 80)
        assert not reaches(world.outside, bare6(endpoint), 80)


def test_isolated_containers_reach_the_outside_but_not_each_other(world: Any, bridge_netfilter: bool) -> None:
    network = world.network(ipv6=True, isolate="yes")
    (one, endpoint), (two, _) = world.container(network, 2), world.container(network, 3)
    with serving(one, 80, address="::"), serving(world.outside, 7000, address="::"):
        assert not reaches(two, bare6(endpoint), 80)
        assert reaches(two, world.outside_address6, 7000, wait=WAIT)


def test_an_internal_network_has_no_way_out(world: Any) -> None:
    network = world.network(internal=True, ipv6=True)
    (one, endpoint), (two, _) = world.container(network, 2), world.container(network, 3)
    with two.entered(), IPRoute() as kernel:
        kernel.route("add", dst="::/0", gateway=network.gateway6)
    with serving(world.outside, 7000, address="::"), serving(one, 80, address="::"):
        assert reaches(two, bare6(endpoint), 80, wait=WAIT)
        assert not reaches(two, world.outside_address6, 7000)


def test_a_confined_container_reaches_what_is_allowed_and_what_it_learned(world: Any) -> None:
    network = world.network(ipv6=True)
    places = {}
    for number, allowed in enumerate(("203.0.113.0/24", "2001:db8:213::/48", "2001:db8:999::/48"), 2):
        places[allowed] = (world.namespace(), replace(endpoint_on(network, number), egress=(allowed,)))
        world.driver.add(network, places[allowed][1], places[allowed][0].descriptor)
    with serving(world.outside, 7000, address="::"), serving(world.host, 7001, address="::"):
        for allowed, (namespace, endpoint) in places.items():
            can = allowed == "2001:db8:213::/48"
            assert reaches(namespace, world.outside_address6, 7000, wait=WAIT if can else SILENCE) is can
            assert not reaches(namespace, network.gateway6, 7001)
            world.driver.permit(network, endpoint, (world.outside_address6,), 60)
            assert reaches(namespace, world.outside_address6, 7000, wait=WAIT), allowed
    for _, endpoint in places.values():
        world.driver.delete(network, endpoint)
    free, _ = world.container(network, 2)
    with serving(world.host, 7001, address="::"):
        assert reaches(free, network.gateway6, 7001, wait=WAIT), "the next one with the address is free"


def checksum(data: bytes) -> int:
    """The Internet's (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send6(
    where: Namespace,
    mac: str,
    to_mac: str,
    source: str,
    target: str,
    following: int,
    body: bytes,
    interface: str = "eth0",
    first: int = 0,
) -> None:
    """Send an IPv6 packet as a frame by hand; the checksum stands at 6 in UDP and at 2 in ICMPv6.

    With ``first`` it goes in two fragments, the first one of that many bytes.
    """
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    place = 6 if following == 17 else 2
    summed = checksum(ends + struct.pack(">II", len(body), following) + body)
    body = body[:place] + struct.pack(">H", summed) + body[place + 2 :]
    parts = [(following, body)]
    if first:  # RFC 8200, section 4.5
        heads = (struct.pack(">BBHI", following, 0, 1, 7), struct.pack(">BBHI", following, 0, first, 7))
        parts = [(44, heads[0] + body[:first]), (44, heads[1] + body[first:])]
    with where.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(sender):
        sender.bind((interface, 0))
        for kind, part in parts:
            packet = struct.pack(">IHBB", 6 << 28, len(part), kind, 255) + ends + part
            sender.send(bytes_of(to_mac) + bytes_of(mac) + b"\x86\xdd" + packet)


def advertise(where: Namespace, place: Endpoint, to: Endpoint, address: str, first: int = 0) -> None:
    """Tell a neighbour that ``address`` is here."""
    told = socket.inet_pton(socket.AF_INET6, address) + b"\2\1" + bytes_of(place.mac)
    body = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + told
    send6(where, place.mac, to.mac, bare6(place), bare6(to), 58, body, first=first)


ROUTER = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0x08, 1800, 0, 0)
"""A router advertisement (RFC 4861, section 4.2) of high preference (RFC 4191)."""


def ways_by_routers(where: Namespace) -> set[str]:
    """Interfaces by which a namespace has a default route that a router has advertised."""
    with where.entered(), IPRoute() as kernel:
        rows = list(kernel.get_routes(family=socket.AF_INET6, table=254))
        names = {link["index"]: link.get("ifname") for link in kernel.get_links()}
        return {names[row.get("oif")] for row in rows if row["dst_len"] == 0 and row["proto"] == RA}


def neighbours(where: Namespace) -> dict[str, str]:
    """Who is where, as a namespace's kernel knows."""
    with where.entered(), IPRoute() as kernel:
        return {row.get("dst"): row.get("lladdr") for row in kernel.get_neighbours(family=socket.AF_INET6)}


def test_nobody_sends_as_another(world: Any) -> None:
    network = world.network(ipv6=True)
    (one, place), (two, target) = world.container(network, 2), world.container(network, 3)
    hello = struct.pack(">HHHH", 7001, 7000, 12, 0) + b"hell"
    with closing(two.socket(UDP, "::")) as server:
        server.bind(("::", 7000))
        server.settimeout(SILENCE)
        heard = ""
        until = time.monotonic() + WAIT
        while not heard and time.monotonic() < until:  # a busy machine may not have the bridge's port up yet
            send6(one, place.mac, target.mac, bare6(place), bare6(target), 17, hello)
            with contextlib.suppress(TimeoutError):
                heard = server.recvfrom(64)[1][0]
        assert heard == bare6(place)
        with contextlib.suppress(TimeoutError):  # what was sent once more
            while server.recvfrom(64)[1][0] == bare6(place):
                pass
        for source in ("fd00:213:1::99", network.gateway6, "fe80::1", "::"):
            send6(one, place.mac, target.mac, source, bare6(target), 17, hello)
            with pytest.raises(TimeoutError):
                server.recvfrom(64)


@pytest.mark.parametrize("first", [0, 8], ids=["whole", "in fragments"])
def test_nobody_advertises_anothers_address(world: Any, bridge_netfilter: bool, first: int) -> None:
    network = world.network(ipv6=True)
    (one, place), (two, target) = world.container(network, 2), world.container(network, 3)
    third, other = world.container(network, 4)
    with serving(third, 7000, address="::"), serving(world.host, 7001, address="::"):
        assert reaches(two, bare6(other), 7000, wait=WAIT)
        assert reaches(two, network.gateway6, 7001, wait=WAIT)
        before = neighbours(two)
        assert before[bare6(other)] == other.mac
        for victim in (bare6(other), network.gateway6):
            advertise(one, place, target, victim, first)
            advertise(third, other, target, bare6(other))  # one's own address may be told
        time.sleep(SILENCE)
        assert neighbours(two)[bare6(other)] == other.mac
        assert neighbours(two)[network.gateway6] == before[network.gateway6]
        assert reaches(two, bare6(other), 7000, wait=WAIT)


def test_without_the_guard_an_advertisement_is_believed(world: Any) -> None:
    """The attack of the test above works where nothing keeps it off: so that test shows something."""
    network = world.network(ipv6=True, source_guard="no")
    (one, place), (two, target) = world.container(network, 2), world.container(network, 3)
    third, other = world.container(network, 4)
    with serving(third, 7000, address="::"):
        assert reaches(two, bare6(other), 7000, wait=WAIT)
    advertise(one, place, target, bare6(other))
    eventually(lambda: neighbours(two).get(bare6(other)) == place.mac, "it is believed")


@pytest.mark.parametrize("group", range(16))
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_frames_for_bridges_themselves_are_guarded_too(world: Any, ipv6: bool, group: int) -> None:
    """IEEE 802.1D, 7.12.6: what a bridge does not forward would come in by the container's end on the host."""
    network = world.network(ipv6=ipv6)
    (one, place), (two, target) = world.container(network, 2), world.container(network, 3)
    to = f"01:80:c2:00:00:{group:02x}"
    send_raw(one, place, bytes_of(to) + bytes_of(target.mac) + b"\x88\xcc" + bytes(50))
    with serving(two, 7000):
        assert reaches(world.host, bare(target), 7000, wait=WAIT), "the victim is where it was"
    send6(one, place.mac, to, "fe80::bad", "ff02::1", 58, ROUTER)
    with closing(world.host.socket(UDP)) as server:
        server.bind(("0.0.0.0", 7000))
        server.settimeout(SILENCE)
        at_host = replace(target, address=f"{network.gateway}/24", mac=to)
        send_frame(one, place, at_host, place.mac, "10.213.0.77")
        with pytest.raises(TimeoutError):
            server.recvfrom(64)
    assert not ways_by_routers(world.host)


# --- the host -----------------------------------------------------------------------------------


def test_a_network_without_ipv6_leaves_none_on_bridge_and_container(world: Any) -> None:
    container, _ = world.container(world.network("a"), 2)
    world.container(world.network("b", ipv6=True), 2)
    for where, name in ((world.host, "testa"), (container, "eth0")):
        with where.entered():
            assert name not in Path("/proc/thread-self/net/if_inet6").read_text()


def test_a_container_has_the_networks_address_and_no_link_local_one(world: Any) -> None:
    network = world.network(ipv6=True)
    container, _ = world.container(network, 2)
    for where, name, starts in ((world.host, "testa", ["fd00", "fe80"]), (container, "eth0", ["fd00"])):
        with where.entered():
            lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
        found = [line.split() for line in lines if line.endswith(name)]
        assert sorted(fields[0][:4] for fields in found) == starts
        assert not any(int(fields[4], 16) & TENTATIVE for fields in found), "usable at once"


def test_the_table_for_ipv6_comes_and_goes_with_networks_that_have_it(world: Any) -> None:
    one = world.network("a")
    assert tables() == ["ip"]
    two = world.network("b", ipv6=True)
    assert tables() == ["ip", "ip6"]
    world.driver.delete_network(two)
    assert tables() == ["ip"]
    world.driver.delete_network(one)
    assert tables() == []


def test_a_host_that_heeds_routers_goes_on_to_when_it_forwards(world: Any) -> None:
    with IPRoute() as kernel:
        kernel.link("add", ifname="other0", kind="bridge")
    heeds, other = (Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra") for name in ("up0", "other0"))
    for setting in (heeds, other):
        setting.write_text("1")
    deadline = time.monotonic() + 10
    while not ways_by_routers(world.host) and time.monotonic() < deadline:
        send6(
            world.outside, "02:00:00:00:00:01", "33:33:00:00:00:01", "fe80::1", "ff02::1", 58, ROUTER, "down0"
        )
        time.sleep(SILENCE)
    assert ways_by_routers(world.host) == {"up0"}
    world.network("a")
    assert heeds.read_text().strip() == "1", "without IPv6 nothing of it is touched"
    world.network("b", ipv6=True)
    assert heeds.read_text().strip() == "2"
    assert other.read_text().strip() == "1", "where no router has spoken, containers of others might"
    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text().strip() == "1"


def test_what_is_missing_is_said_and_repaired(world: Any) -> None:
    network = world.network(ipv6=True)
    container, endpoint = world.container(network, 2)
    with IPRoute() as kernel:
        index = kernel.link_lookup(ifname=network.interface)[0]
        kernel.addr("delete", index=index, address=network.gateway6, prefixlen=64)
    connection = messages.Connection(nfnetlink.PROTOCOL)
    batch = nfnetlink.Batch(world.driver._host.firewall.table, nfnetlink.IPV6.number)
    batch.delete_table()
    nfnetlink.commit(connection, batch)
    connection.close()
    with pytest.raises(MultiosError, match="nftables rules for the network are missing"):
        world.driver.check(network, endpoint, container.descriptor)
    world.driver.create_network(network)
    world.driver.check(network, endpoint, container.descriptor)
    with serving(world.outside, 7000, address="::"):
        assert reaches(container, world.outside_address6, 7000, wait=WAIT)
    with container.entered(), IPRoute() as kernel:
        kernel.flush_routes(family=socket.AF_INET6, table=254)
    with pytest.raises(MultiosError, match="default route by fd00:213:1::1 is missing"):
        world.driver.check(network, endpoint, container.descriptor)


def test_a_route_of_the_host_over_the_subnet_is_a_conflict_that_names_it(world: Any) -> None:
    with IPRoute() as kernel:
        kernel.route("add", dst="fd00:213::/32", gateway=world.outside_address6)
    with pytest.raises(Conflict, match=r"overlaps the host's route fd00:213::/32 \(interface up0\)"):
        world.network("a", ipv6=True)
    assert world.host.interfaces() == {"lo", "up0"}
    assert tables() == []


def test_a_container_on_two_networks_keeps_a_way_out_when_it_leaves_one(world: Any) -> None:
    one, two = world.network("a", ipv6=True), world.network("b", ipv6=True)
    container, first = world.container(one, 2)
    world.second_nic(container, two, 2)
    with serving(world.outside, 7000, address="::"):
        assert reaches(container, world.outside_address6, 7000, wait=WAIT)
        world.driver.delete(one, first)
        assert reaches(container, world.outside_address6, 7000, wait=WAIT)


def test_a_program_that_listens_for_ipv6_only_keeps_its_port(world: Any) -> None:
    network = world.network(ipv6=True)
    _, endpoint = world.container(network, 2)
    with closing(world.host.socket(TCP, "::")) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("::", 8080))
        server.listen()
        with pytest.raises(Conflict, match="in use by another program"):
            world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    with serving(world.outside, 7000):
        assert bare(endpoint)
