"""The pasta driver against the suite that third parties use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from multios.drivers.base import DriverContext
from multios.testing.network import NetworkDriverSuite
from multios.testing.network_box import Namespace
from multios_net_pasta import PastaNetwork

HOST_ADDRESS, WAY_OUT = "192.0.2.2", "192.0.2.1"


class TestPastaConformance(NetworkDriverSuite):
    driver_type = PastaNetwork

    @pytest.fixture(autouse=True)
    def nothing_left(self, context: DriverContext) -> Iterator[None]:
        """The suite leaves endpoints to the end of their namespaces; a pasta outlives it."""
        yield
        for record in context.runtime.glob("*.json"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)

    @pytest.fixture(autouse=True)
    def outside(self, host: Namespace) -> Iterator[None]:
        """What the host's default route leads to: without one pasta has no way out to offer."""
        outside = Namespace.new()
        try:
            with host.entered(), IPRoute() as kernel:
                peer = {"ifname": "out1", "net_ns_fd": outside.descriptor}
                kernel.link("add", ifname="out0", kind="veth", peer=peer)
                index = kernel.link_lookup(ifname="out0")[0]
                kernel.addr("add", index=index, address=HOST_ADDRESS, prefixlen=24)
                kernel.link("set", index=index, state="up")
                kernel.route("add", dst="default", gateway=WAY_OUT)
            with outside.entered(), IPRoute() as kernel:
                kernel.link("set", index=kernel.link_lookup(ifname="out1")[0], state="up")
            yield
        finally:
            outside.close()
