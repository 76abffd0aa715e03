"""The ipvlan driver against the suite that third parties use, where the kernel has ipvlan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyroute2 import IPRoute

from multios.model.network import Network
from multios.netlink.child_links import attempt
from multios.testing.network import NetworkDriverSuite
from multios.testing.network_box import Namespace
from multios_net_ipvlan import IpvlanNetwork, IpvlanSettings


class TestIpvlanConformance(NetworkDriverSuite):
    driver_type = IpvlanNetwork

    @pytest.fixture(autouse=True)
    def host(self) -> Iterator[Namespace]:
        if attempt(IpvlanNetwork.child(IpvlanSettings(), False)):
            pytest.skip("this kernel lacks ipvlan")
        namespace = Namespace.new()
        try:
            with namespace.entered():
                with IPRoute() as kernel:
                    kernel.link("add", ifname="lan0", kind="veth", peer={"ifname": "lan0-far"})
                    for name in ("lan0", "lan0-far"):
                        kernel.link("set", index=kernel.link_lookup(ifname=name)[0], state="up")
                yield namespace
        finally:
            namespace.close()

    @pytest.fixture
    def network(self, driver: IpvlanNetwork) -> Network:
        network: Network = super().network.__wrapped__(self, driver)  # type: ignore[attr-defined]
        return replace(network, options={"parent": "lan0"})
