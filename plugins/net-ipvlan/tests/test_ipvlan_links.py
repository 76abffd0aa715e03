"""What the kernel is asked for, and what is said where it has no ipvlan."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from multios.drivers.base import DriverContext
from multios.errors import MultiosError, Unsupported
from multios.model.health import Health
from multios.model.network import Network
from multios.netlink.child_links import attempt
from multios.netlink.container_side import DefaultRoute
from multios.testing.network_box import Namespace, endpoint_on
from multios_net_ipvlan import IpvlanNetwork, IpvlanSettings

NETWORK = Network(
    "a" * 64, "lan", "ipvlan", "10.214.0.0/24", "10.214.0.1", "none0", options={"parent": "lan0"}
)


@pytest.mark.parametrize(
    ("mode", "number", "route"),
    [("l2", 0, DefaultRoute.GATEWAY), ("l3", 1, DefaultRoute.LINK), ("l3s", 2, DefaultRoute.LINK)],
)
@pytest.mark.parametrize("isolate", [False, True])
def test_modes_and_isolation_are_the_kernels_numbers(
    mode: str, number: int, route: DefaultRoute, isolate: bool
) -> None:
    child = IpvlanNetwork.child(IpvlanSettings(mode=mode), isolate)
    assert child.data == {1: struct.pack("=H", number), 2: struct.pack("=H", int(isolate))}
    assert child.default_route is route
    assert not child.own_mac


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mode": "l4"}, "mode: 'l4' is none of l2, l3, l3s"), ({"mtu": "70000"}, "mtu: 70000 is not between")],
)
def test_a_network_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    driver = IpvlanNetwork(IpvlanSettings(), DriverContext(tmp_path, tmp_path))
    network = Network("a" * 64, "lan", "ipvlan", "10.214.0.0/24", "10.214.0.1", "none0", options=options)
    with pytest.raises(MultiosError) as caught:
        driver.create_network(network)
    assert message in caught.value.cause
    driver.close()


@pytest.mark.needs_root
def test_the_doctor_and_a_containers_start_agree_on_whether_the_kernel_has_it(tmp_path: Path) -> None:
    has = attempt(IpvlanNetwork.child(IpvlanSettings(), False)) is None
    (finding,) = IpvlanNetwork.health_checks()
    assert finding.health is (Health.OK if has else Health.SKIP)
    host, container = Namespace.new(), Namespace.new()
    with host.entered():
        with IPRoute() as kernel:
            kernel.link("add", ifname="lan0", kind="veth", peer={"ifname": "lan0-far"})
        driver = IpvlanNetwork(IpvlanSettings(), DriverContext(tmp_path, tmp_path))
        driver.create_network(NETWORK)
        if has:
            driver.add(NETWORK, endpoint_on(NETWORK, 2), container.descriptor)
            assert "eth0" in container.interfaces()
        else:
            with pytest.raises(Unsupported, match="this kernel has no ipvlan links") as caught:
                driver.add(NETWORK, endpoint_on(NETWORK, 2), container.descriptor)
            assert "modprobe ipvlan" in caught.value.remedy
            assert not list(tmp_path.iterdir())
        driver.close()
    host.close()
    container.close()
