"""A host of the tests' own with a LAN: its interface ``lan0`` leads to a bridge at which a neighbour is, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from multios.drivers.base import DriverContext
from multios.model.network import Endpoint, Network
from multios.testing.network_box import Namespace, endpoint_on
from multios_net_macvlan import MacvlanNetwork, MacvlanSettings

HOST_ADDRESS, NEIGHBOUR_ADDRESS = "10.214.0.1", "10.214.0.254"
NEIGHBOUR_ADDRESS6 = "fd00:214::254"


@dataclass
class Lan:
    """``host`` and ``neighbour`` are on one LAN; the test's thread is in ``host``."""

    host: Namespace
    neighbour: Namespace
    switch: Namespace
    driver: MacvlanNetwork
    containers: list[Namespace] = field(default_factory=list)

    def network(self, letter: str = "a", isolate: bool = False, **options: str) -> Network:
        """A created network on the LAN; each letter has a part of its addresses."""
        made = Network(
            id=letter * 64,
            name=f"lan-{letter}",
            driver="macvlan",
            subnet="10.214.0.0/24",
            gateway=NEIGHBOUR_ADDRESS,
            interface=f"none{letter}",
            isolate=isolate,
            options={"parent": "lan0", **options},
            subnet6="fd00:214::/64",
            gateway6=NEIGHBOUR_ADDRESS6,
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


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    """A host with a LAN."""
    host, neighbour, switch = (Namespace.new() for _ in range(3))
    try:
        with host.entered():
            plug_in(switch, host, "lan0", HOST_ADDRESS)
            plug_in(switch, neighbour, "lan1", NEIGHBOUR_ADDRESS, NEIGHBOUR_ADDRESS6)
            driver = MacvlanNetwork(MacvlanSettings(), DriverContext(tmp_path, tmp_path))
            made = Lan(host, neighbour, switch, driver)
            try:
                yield made
            finally:
                for namespace in made.containers:
                    namespace.close()
                driver.close()
    finally:
        for namespace in (host, neighbour, switch):
            namespace.close()


def plug_in(switch: Namespace, machine: Namespace, name: str, address: str, address6: str = "") -> None:
    """Give a machine an interface that leads to the switch, which is a bridge."""
    with switch.entered(), IPRoute() as kernel:
        if not kernel.link_lookup(ifname="switch"):
            kernel.link("add", ifname="switch", kind="bridge")
            kernel.link("set", index=kernel.link_lookup(ifname="switch")[0], state="up")
        kernel.link("add", ifname=name, kind="veth", peer={"ifname": name, "net_ns_fd": machine.descriptor})
        port = kernel.link_lookup(ifname=name)[0]
        kernel.link("set", index=port, master=kernel.link_lookup(ifname="switch")[0], state="up")
    with machine.entered(), IPRoute() as kernel:
        index = kernel.link_lookup(ifname=name)[0]
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
        kernel.addr("add", index=index, address=address, prefixlen=24)
        if address6:
            kernel.addr("add", index=index, address=address6, prefixlen=64, flags=2)
        kernel.link("set", index=index, state="up")
