"""The macvlan driver against the suite that third parties use."""

from __future__ import annotations

from multios.testing.child_link_network import ChildLinkNetworkSuite
from multios_net_macvlan import MacvlanNetwork


class TestMacvlanConformance(ChildLinkNetworkSuite):
    driver_type = MacvlanNetwork
