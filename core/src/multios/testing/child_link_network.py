"""The conformance suite of network drivers whose containers get children of one of the host's interfaces.

Subclassed like :class:`~multios.testing.network.NetworkDriverSuite`, which it is, with a parent ``lan0`` in ``host``.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from multios.drivers.network import NetworkDriver
from multios.model.network import Network
from multios.netlink import interfaces
from multios.netlink.interfaces import LINK, UP, find_link
from multios.netlink.messages import F_ACK, F_CREATE, F_EXCLUSIVE, Connection, Message, nested, text
from multios.testing.network import NetworkDriverSuite

PARENT = "lan0"


class ChildLinkNetworkSuite(NetworkDriverSuite):
    """What every such driver must do."""

    def prepare_host(self) -> None:
        """An interface that leads to a LAN."""
        make_parent()

    @pytest.fixture
    def network(self, driver: NetworkDriver) -> Network:
        """A network over that interface; not created."""
        return Network(
            id="a" * 64,
            name="suite",
            driver=driver.name,
            subnet="10.213.7.0/24",
            gateway="10.213.7.1",
            interface="",
            options={"parent": PARENT},
        )


def make_parent() -> None:
    """Make a pair of interfaces in the thread's namespace, both up, one of them :data:`PARENT`."""
    with closing(Connection(interfaces.PROTOCOL)) as connection:
        made = text(interfaces.NAME, PARENT) + nested(interfaces.INFO, text(interfaces.KIND, "veth"))
        flags = F_ACK | F_CREATE | F_EXCLUSIVE
        connection.request([Message(interfaces.NEW_LINK, flags, LINK.pack(0, 0, 0, UP, UP) + made)])
        parent = find_link(connection, PARENT)
        assert parent is not None
        far = LINK.pack(0, 0, parent.parent, UP, UP)  # a veth's parent is its peer
        connection.request([Message(interfaces.NEW_LINK, F_ACK, far)])
