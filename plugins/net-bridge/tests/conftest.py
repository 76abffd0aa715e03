"""A host of the tests' own with an outside to reach: namespaces, so that the machine's rules stay untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from multios.drivers.base import DriverContext
from multios.model.network import Endpoint, Network
from multios.testing.network_box import Namespace, endpoint_on
from multios_net_bridge import BridgeNetwork, BridgeSettings

HOST_ADDRESS, OUTSIDE_ADDRESS = "198.51.100.1", "198.51.100.2"
HOST_ADDRESS6, OUTSIDE_ADDRESS6 = "2001:db8:213::1", "2001:db8:213::2"
NO_DETECTION = 2  # IFA_F_NODAD


@dataclass
class World:
    """``host`` has a default route to ``outside``; the test's thread is in ``host``."""

    host: Namespace
    outside: Namespace
    driver: BridgeNetwork
    containers: list[Namespace] = field(default_factory=list)
    host_address: str = HOST_ADDRESS
    outside_address: str = OUTSIDE_ADDRESS
    host_address6: str = HOST_ADDRESS6
    outside_address6: str = OUTSIDE_ADDRESS6

    def network(
        self, letter: str = "a", internal: bool = False, ipv6: bool = False, **options: str
    ) -> Network:
        """A created network 10.213.<number of the letter>.0/24, and fd00:213:<number + 1>::/64."""
        number = ord(letter) - ord("a")
        subnet6, gateway6 = (f"fd00:213:{number + 1}::/64", f"fd00:213:{number + 1}::1") if ipv6 else ("", "")
        made = Network(
            id=letter * 64,
            name=f"net-{letter}",
            driver="bridge",
            subnet=f"10.213.{number}.0/24",
            gateway=f"10.213.{number}.1",
            interface=f"test{letter}",
            internal=internal,
            options=options,
            subnet6=subnet6,
            gateway6=gateway6,
        )
        self.driver.create_network(made)
        return made

    def container(self, network: Network, number: int) -> tuple[Namespace, Endpoint]:
        """A container with the network's ``number``-th address."""
        namespace = self.namespace()
        endpoint = endpoint_on(network, number)
        self.driver.add(network, endpoint, namespace.descriptor)
        return namespace, endpoint

    def namespace(self) -> Namespace:
        """A namespace that is closed at the end."""
        self.containers.append(Namespace.new())
        return self.containers[-1]

    def second_nic(self, namespace: Namespace, network: Network, number: int) -> Endpoint:
        """Attach a container to a further network as eth1."""
        endpoint = replace(endpoint_on(network, number), interface="eth1")
        self.driver.add(network, endpoint, namespace.descriptor)
        return endpoint


@pytest.fixture
def make_driver(tmp_path: Path) -> Iterator[Callable[[str], BridgeNetwork]]:
    """Makes drivers, each with a state directory by name."""
    made: list[BridgeNetwork] = []

    def make(name: str = "one") -> BridgeNetwork:
        state = tmp_path / name
        state.mkdir(exist_ok=True)
        made.append(BridgeNetwork(BridgeSettings(), DriverContext(state, state)))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def world(make_driver: Callable[[str], BridgeNetwork]) -> Iterator[World]:
    """A host with an outside."""
    host, outside = Namespace.new(), Namespace.new()
    try:
        with host.entered():
            _connect(outside)
            # New namespaces take over the machine's; a fresh host has it off.
            for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", setting).write_text("0")
            made = World(host, outside, make_driver("one"))
            try:
                yield made
            finally:
                for namespace in made.containers:
                    namespace.close()
    finally:
        host.close()
        outside.close()


def _connect(outside: Namespace) -> None:
    with IPRoute() as kernel:
        peer = {"ifname": "down0", "net_ns_fd": outside.descriptor}
        kernel.link("add", ifname="up0", kind="veth", peer=peer)
        _address(kernel, "up0", HOST_ADDRESS, HOST_ADDRESS6)
        with outside.entered(), IPRoute() as there:
            _address(there, "down0", OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6)
            # The outside knows the way to the containers: only the rules keep it from them.
            there.route("add", dst="10.213.0.0/16", gateway=HOST_ADDRESS)
            there.route("add", dst="fd00:213::/32", gateway=HOST_ADDRESS6)
        kernel.route("add", dst="0.0.0.0/0", gateway=OUTSIDE_ADDRESS)
        kernel.route("add", dst="::/0", gateway=OUTSIDE_ADDRESS6)


def _address(kernel: IPRoute, interface: str, address: str, address6: str) -> None:
    index = kernel.link_lookup(ifname=interface)[0]
    # A link-local address, from which neighbours are sought, would come only after a second.
    Path(f"/proc/sys/net/ipv6/conf/{interface}/accept_dad").write_text("0")
    kernel.addr("add", index=index, address=address, prefixlen=24)
    kernel.addr("add", index=index, address=address6, prefixlen=64, flags=NO_DETECTION)
    kernel.link("set", index=index, state="up")
