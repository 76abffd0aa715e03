"""Addresses and subnets: what is given out, what never is, and what the errors name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.engine.addresses import (
    DEFAULT_POOLS,
    Pool,
    choose_address,
    choose_subnet,
    host_routes,
    mac_for,
    validate,
)
from multios.errors import Conflict, InvalidInput

subnets = st.builds(
    lambda number, prefix: IPv4Network((number & (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF, prefix)),
    st.integers(0x01000000, 0xDFFFFFFF),
    st.integers(26, 30),
)


@given(subnets, st.data())
def test_every_host_is_given_once_and_never_network_broadcast_or_gateway(
    subnet: IPv4Network, data: st.DataObject
) -> None:
    gateway = str(data.draw(st.sampled_from(list(subnet.hosts()))))
    used: list[str] = []
    last = ""
    for _ in range(subnet.num_addresses - 3):
        last = choose_address(str(subnet), gateway, used, last=last)
        assert last not in used
        used.append(last)
    assert set(used) == {str(host) for host in subnet.hosts()} - {gateway}
    with pytest.raises(Conflict, match="no free address"):
        choose_address(str(subnet), gateway, used, last=last)


@given(subnets, st.data())
def test_a_freed_address_can_be_had_again(subnet: IPv4Network, data: st.DataObject) -> None:
    hosts = [str(host) for host in subnet.hosts()][1:]
    freed = data.draw(st.sampled_from(hosts))
    used = [host for host in hosts if host != freed]
    last = data.draw(st.sampled_from(["", *hosts]))
    assert choose_address(str(subnet), str(subnet[1]), used, last=last) == freed


@given(st.integers(0, 60))
def test_an_address_just_freed_rests_while_others_are_free(offset: int) -> None:
    subnet = IPv4Network("10.1.2.0/24")
    last = str(subnet[2 + offset])
    assert choose_address(str(subnet), "10.1.2.1", [], last=last) == str(subnet[3 + offset])


def test_the_search_wraps_round_at_the_end() -> None:
    assert choose_address("10.1.2.0/24", "10.1.2.1", [], last="10.1.2.254") == "10.1.2.2"


def test_a_range_limits_the_choice() -> None:
    got = {
        choose_address("10.1.2.0/24", "10.1.2.1", [], "10.1.2.128/31", last) for last in ("", "10.1.2.128")
    }
    assert got == {"10.1.2.128", "10.1.2.129"}
    with pytest.raises(Conflict, match=r"10\.1\.2\.128/31: all 2 are in use"):
        choose_address("10.1.2.0/24", "10.1.2.1", got, "10.1.2.128/31")
    assert choose_address("10.1.2.0/24", "10.1.2.1", [], "10.1.2.0/30") == "10.1.2.2"


blocks = st.lists(
    st.builds(
        lambda number, prefix: str(IPv4Network((number, prefix), strict=False)),
        st.one_of(st.integers(0xAC100000, 0xAC200000), st.integers(0x0A580000, 0x0A600000)),
        st.integers(11, 32),
    ),
    max_size=12,
)


@given(blocks, blocks)
def test_a_subnet_overlaps_nothing_that_exists(used: list[str], routes: list[str]) -> None:
    try:
        chosen = IPv4Network(choose_subnet(DEFAULT_POOLS, used, routes))
    except Conflict:
        return
    assert not any(chosen.overlaps(IPv4Network(text)) for text in used + routes)


def test_subnets_come_in_the_order_of_the_pools_and_run_out() -> None:
    pools = (Pool("172.17.0.0/16", 16), Pool("10.88.0.0/23", 24))
    used: list[str] = []
    for _ in range(3):
        used.append(choose_subnet(pools, used, ["fd00::/64"]))
    assert used == ["172.17.0.0/16", "10.88.0.0/24", "10.88.1.0/24"]
    with pytest.raises(Conflict, match="no free subnet"):
        choose_subnet(pools, used, [])


def test_the_pools_hold_as_many_networks_as_a_course_needs() -> None:
    used: list[str] = []
    for _ in range(400):
        used.append(choose_subnet(DEFAULT_POOLS, used, ["172.16.0.0/12"]))
    assert len(set(used)) == 400


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_a_mac_belongs_to_one_address_and_is_local_unicast(one: int, other: int) -> None:
    first, second = str(IPv4Address(one)), str(IPv4Address(other))
    assert (mac_for(first) == mac_for(second)) == (one == other)
    assert mac_for(first + "/16") == mac_for(first)
    assert int(mac_for(first)[:2], 16) & 3 == 2


def test_the_hosts_routes_are_read_without_the_default() -> None:
    for text in host_routes():
        assert IPv4Network(text).prefixlen > 0


@pytest.mark.parametrize(
    ("subnet", "gateway", "ip_range", "message"),
    [
        ("nonsense", "", None, "subnet: 'nonsense' is no IPv4 subnet"),
        ("172.20.0.5/16", "", None, "subnet: '172.20.0.5/16' has host bits set"),
        ("172.20.0.0", "", None, "subnet: '172.20.0.0' has no prefix length"),
        ("fd00::/64", "", None, "subnet: 'fd00::/64' is IPv6"),
        ("10.0.0.0/31", "", None, "subnet: '10.0.0.0/31' must be between /8 and /30"),
        ("0.0.0.0/0", "", None, "subnet: '0.0.0.0/0' must be between"),
        ("127.0.0.0/8", "", None, "subnet: '127.0.0.0/8' is reserved"),
        ("255.255.255.0/24", "", None, "subnet: '255.255.255.0/24' is reserved"),
        ("10.0.0.0/24", "x", None, "gateway: 'x' is no IPv4 address"),
        ("10.0.0.0/24", "10.0.1.1", None, "gateway: '10.0.1.1' is no host of 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.255", None, "gateway: '10.0.0.255' is no host"),
        ("10.0.0.0/24", "", "10.0.1.0/25", "ip_range: '10.0.1.0/25' is not within 10.0.0.0/24"),
        ("10.0.0.0/24", "", "10.0.0.9/25", "ip_range: '10.0.0.9/25' has host bits set"),
    ],
)
def test_what_cannot_be_right_is_named(subnet: str, gateway: str, ip_range: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(subnet, gateway, ip_range)
    assert caught.value.cause.startswith(message)
    assert caught.value.remedy


def test_what_is_right_passes() -> None:
    validate("172.20.0.0/16")
    validate("10.0.0.0/24", "10.0.0.254", "10.0.0.128/25")
