"""Containers on a LAN under one MAC, where the kernel has ipvlan: a namespace plays a neighbour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from multios.drivers.base import DriverContext
from multios.model.network import Endpoint, Network
from multios.netlink.child_links import attempt
from multios.testing.network_box import WAIT, Namespace, ask, bare, endpoint_on, mac_of, reaches, serving
from multios_net_ipvlan import MODES, IpvlanNetwork, IpvlanSettings

pytestmark = pytest.mark.needs_root

NEIGHBOUR = "10.214.0.254"
Attach = Callable[[int], tuple[Namespace, Endpoint]]


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Namespace]:
    """At the other end of ``lan0``, an interface of the host; the test's thread is in the host's namespace."""
    if attempt(IpvlanNetwork.child(IpvlanSettings(), False)):
        pytest.skip("this kernel lacks ipvlan")
    host, far = Namespace.new(), Namespace.new()
    with host.entered():
        with IPRoute() as kernel:
            kernel.link(
                "add", ifname="lan0", kind="veth", peer={"ifname": "lan0", "net_ns_fd": far.descriptor}
            )
            kernel.link("set", index=kernel.link_lookup(ifname="lan0")[0], state="up")
        with far.entered(), IPRoute() as kernel:
            index = kernel.link_lookup(ifname="lan0")[0]
            kernel.addr("add", index=index, address=NEIGHBOUR, prefixlen=24)
            kernel.link("set", index=index, state="up")
        yield far
    host.close()
    far.close()


@pytest.fixture
def attach(tmp_path: Path, neighbour: Namespace, request: pytest.FixtureRequest) -> Iterator[Attach]:
    """Makes containers on a network in the mode and with the isolation that the test names."""
    mode, isolate = request.param
    driver = IpvlanNetwork(IpvlanSettings(), DriverContext(tmp_path, tmp_path))
    options = {"parent": "lan0", "mode": mode}
    network = Network(
        "a" * 64, "lan", "ipvlan", "10.214.0.0/24", NEIGHBOUR, "", options=options, isolate=isolate
    )
    driver.create_network(network)
    made: list[Namespace] = []

    def make(number: int) -> tuple[Namespace, Endpoint]:
        made.append(Namespace.new())
        endpoint = endpoint_on(network, number)
        driver.add(network, endpoint, made[-1].descriptor)
        driver.check(network, endpoint, made[-1].descriptor)
        return made[-1], endpoint

    yield make
    for namespace in made:
        namespace.close()
    driver.close()


@pytest.mark.parametrize("attach", [(mode, False) for mode in MODES], indirect=True, ids=list(MODES))
def test_containers_reach_each_other_under_one_mac_in_every_mode(attach: Attach) -> None:
    (one, place), (two, other) = attach(2), attach(3)
    assert mac_of(one, "eth0") == mac_of(two, "eth0")
    with serving(one, 80):
        assert ask(two, bare(place), 80) == bare(other)


@pytest.mark.parametrize("attach", [("l2", False)], indirect=True)
def test_the_lan_is_reached_under_the_containers_address(attach: Attach, neighbour: Namespace) -> None:
    one, place = attach(2)
    with serving(neighbour, 7000):
        assert ask(one, NEIGHBOUR, 7000) == bare(place)
    with serving(one, 80):
        assert ask(neighbour, bare(place), 80) == NEIGHBOUR


@pytest.mark.parametrize("attach", [("l2", True)], indirect=True)
def test_isolated_containers_reach_the_lan_but_not_each_other(attach: Attach, neighbour: Namespace) -> None:
    (one, place), (two, _) = attach(2), attach(3)
    with serving(one, 80), serving(neighbour, 7000):
        assert not reaches(two, bare(place), 80)
        assert reaches(two, NEIGHBOUR, 7000, wait=WAIT)
