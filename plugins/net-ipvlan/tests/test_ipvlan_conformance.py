"""The ipvlan driver against the suite that third parties use, where the kernel has ipvlan."""

from __future__ import annotations

import pytest

from multios.netlink.child_links import attempt
from multios.testing.child_link_network import ChildLinkNetworkSuite
from multios_net_ipvlan import IpvlanNetwork, IpvlanSettings


class TestIpvlanConformance(ChildLinkNetworkSuite):
    driver_type = IpvlanNetwork

    @pytest.fixture(autouse=True)
    def kernel(self) -> None:
        if attempt(IpvlanNetwork.child(IpvlanSettings(), False)):
            pytest.skip("this kernel lacks ipvlan")
