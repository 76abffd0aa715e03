"""Who reaches whom: every kind of container, the host and a host outside, against everything that could be reached.

The table is what docs/how-to/networking.md and plugins/net-bridge/README.md promise. What a container's root could do
to get further is done for it: the containers of the internal network have a default route, packets for 127.0.0.1 leave
by the interface, and the outside has a route to the containers. So it is the rules that keep them out.
"""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from multios.testing.network_box import WAIT, Namespace
from private_engine import IMAGE, PrivateEngine

MATRIX = """
from           a    b    internal  isolated  port-a  port-b  port-isolated  port-confined  port-local  gateway  outside  loopback
a              yes  no   no        no        yes     yes     yes            yes            no          yes      yes      no
a-two          yes  no   no        no        yes     yes     yes            yes            no          yes      yes      no
b              no   yes  no        no        yes     yes     yes            yes            no          yes      yes      no
internal       no   no   yes       no        no      no      no             no             no          yes      no       no
internal-two   no   no   yes       no        no      no      no             no             no          yes      no       no
isolated       no   no   no        yes       yes     yes     no             yes            no          yes      yes      no
isolated-two   no   no   no        no        yes     yes     no             yes            no          yes      yes      no
confined       yes  no   no        no        no      no      no             -              no          no       yes      no
confined-two   yes  no   no        no        no      no      no             no             no          no       no       no
host           yes  yes  yes       yes       yes     yes     yes            yes            yes         yes      yes      yes
outside        no   no   no        no        yes     yes     yes            yes            no          -        yes      no
"""
"""Rows are who asks. A dash is not promised. Columns:

=========================== ==========================================================================
a, b, internal, isolated    the container of that name, at its own address
port-a and the like         a port published for that container, at the host's address
port-local                  a port published for a at 127.0.0.1 only, at that address
gateway                     a service of the host at the asker's own gateway
outside                     a service of the host outside
loopback                    a service of the host at 127.0.0.1
=========================== ==========================================================================

confined may reach the outside's address, confined-two only addresses elsewhere. Neither is promised whether a confined
container reaches its own published port, nor whether the outside reaches the host's further addresses.
"""

CONTAINERS = {
    "a": ("a", "-p", "{port}:7000", "-p", "127.0.0.1:{port}:7001"),
    "a-two": ("a",),
    "b": ("b", "-p", "{port}:7000"),
    "internal": ("internal",),
    "internal-two": ("internal",),
    "isolated": ("isolated", "-p", "{port}:7000"),
    "isolated-two": ("isolated",),
    "confined": ("a", "-p", "{port}:7000", "--egress-allow", "{outside}"),
    "confined-two": ("a", "--egress-allow", "203.0.113.0/24"),
}
"""By name: network and options, with a port of the host that no other has."""

NETWORKS = {"a": (), "b": (), "internal": ("--internal",), "isolated": ("--isolate",)}
FORWARDED, LOCAL = 7000, 7001
SILENCE = 0.5
"""Seconds without an answer, after all have asked, that count as: it does not come."""


def promises() -> dict[tuple[str, str], bool]:
    """Who reaches what, as the table says."""
    head, *rows = (line.split() for line in MATRIX.strip().splitlines())
    return {
        (source, target): {"yes": True, "no": False}[promise]
        for source, *words in rows
        for target, promise in zip(head[1:], words, strict=True)
        if promise != "-"
    }


def cells() -> Iterator[Any]:
    """The promises as cases of a test."""
    for (source, target), is_reached in promises().items():
        verb = "reaches" if is_reached else "does not reach"
        yield pytest.param(source, target, is_reached, id=f"{source} {verb} {target}")


class Servers:
    """Sockets in any namespace that answer each connection with a name; one thread serves all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ending, self._end = socket.socketpair()
        self._selector.register(self._ending, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def add(self, name: str, where: Namespace, port: int, address: str = "0.0.0.0") -> int:
        """Answer ``name`` there; 0 is a free port, which is returned."""
        server = where.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(64)
        self._selector.register(server, selectors.EVENT_READ, name)
        return int(server.getsockname()[1])

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with key.fileobj.accept()[0] as stream:  # type: ignore[union-attr]
                    stream.sendall(key.data.encode())


class World:
    """The containers, the host and the outside: where each is, and where each target is found."""

    def __init__(self, engine: PrivateEngine, ending: ExitStack) -> None:
        self.engine = engine
        number = int(engine.bridge.removeprefix("mtest")) % 64
        # A block of its own for every engine on this machine.
        self.host_address, self.outside_address = (f"198.51.100.{4 * number + last}" for last in (1, 2))
        self.namespaces: dict[str, Namespace] = {"host": Namespace.current(), "outside": Namespace.new()}
        self.devices = {"outside": f"moout{number}"}
        self.places: dict[str, tuple[str, int]] = {}
        self.gateways: dict[str, str] = {}
        self.servers = Servers()
        ending.callback(self._close)
        subnets = self._make_networks(ending)
        ending.enter_context(self._joined(f"mohost{number}", subnets))
        self._start_containers(ending)
        self._serve()
        self._asked: dict[tuple[str, str], socket.socket] = {}
        ending.callback(lambda: [client.close() for client in self._asked.values()])
        self._ask()

    def _close(self) -> None:
        self.servers.close()
        for namespace in self.namespaces.values():
            namespace.close()

    def _make_networks(self, ending: ExitStack) -> list[str]:
        subnets = []
        third = self.engine.bridge.removeprefix("mtest")
        for second, (name, options) in enumerate(NETWORKS.items(), 248):
            subnets.append(f"10.{second}.{third}.0/24")
            self.engine.run("network", "create", *options, "--subnet", subnets[-1], f"matrix-{name}")
            ending.callback(self.engine.run, "network", "rm", f"matrix-{name}", status=None)
            self.gateways[name] = f"10.{second}.{third}.1"
        return subnets

    @contextmanager
    def _joined(self, end: str, subnets: list[str]) -> Iterator[None]:
        """A veth pair between host and outside, which knows the way to the containers."""
        outside = self.namespaces["outside"]
        with IPRoute() as kernel:
            peer = {"ifname": self.devices["outside"], "net_ns_fd": outside.descriptor}
            kernel.link("add", ifname=end, kind="veth", peer=peer)
            try:
                index = kernel.link_lookup(ifname=end)[0]
                kernel.addr("add", index=index, address=self.host_address, prefixlen=30)
                kernel.link("set", index=index, state="up")
                with outside.entered(), IPRoute() as there:
                    index = there.link_lookup(ifname=self.devices["outside"])[0]
                    there.addr("add", index=index, address=self.outside_address, prefixlen=30)
                    there.link("set", index=index, state="up")
                    there.route("add", dst="0.0.0.0/0", gateway=self.host_address)
                    for subnet in subnets:
                        there.route("add", dst=subnet, gateway=self.host_address)
                    _expect_loopback_from(self.devices["outside"])
                yield
            finally:
                kernel.link("del", ifname=end)

    def _start_containers(self, ending: ExitStack) -> None:
        # Engines of other workers publish too, and do not see each other's forwards.
        ports = itertools.count(30_000 + 20 * int(self.engine.bridge.removeprefix("mtest")))
        for name, (network, *options) in CONTAINERS.items():
            full = f"matrix-{name}"
            words = [option.format(outside=self.outside_address, port=next(ports)) for option in options]
            ending.callback(self.engine.run, "delete", "--force", full, status=None)
            self.engine.run(
                "run", "-d", "--name", full, "--network", f"matrix-{network}", *words, IMAGE, "sleep", "1000"
            )
            record = self.engine.inspect(full)
            place = record["NetworkSettings"]["Networks"][f"matrix-{network}"]
            pid = record["State"]["Pid"]
            namespace = Namespace(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            self.namespaces[name], self.devices[name] = namespace, place["Interface"]
            self.gateways[name] = self.gateways[network]
            self.places[name] = (place["IPAddress"], FORWARDED)
            with namespace.entered():
                _expect_loopback_from(place["Interface"])
                if network == "internal":
                    with IPRoute() as kernel:
                        kernel.route("add", dst="0.0.0.0/0", gateway=self.gateways[network])

    def _serve(self) -> None:
        host = self.namespaces["host"]
        for name in CONTAINERS:
            self.servers.add(name, self.namespaces[name], FORWARDED)
            for line in self.engine.out("port", f"matrix-{name}").splitlines():
                inner, _, published = line.partition(" -> ")
                address, _, port = published.rpartition(":")
                if inner == f"{LOCAL}/tcp":
                    self.places["port-local"] = (address, int(port))
                    self.servers.add("port-local", self.namespaces[name], LOCAL)
                else:
                    self.places[f"port-{name}"] = (self.host_address, int(port))
        port = 0
        for name in NETWORKS:
            port = self.servers.add("gateway", host, port, self.gateways[name])
        self.places["gateway"] = ("", port)
        self.places["loopback"] = ("127.0.0.1", self.servers.add("loopback", host, 0, "127.0.0.1"))
        port = self.servers.add("outside", self.namespaces["outside"], FORWARDED)
        self.places["outside"] = (self.outside_address, port)

    def _ask(self) -> None:
        """Everyone asks everyone at once: so a test need not wait for the silence that is its answer."""
        for source, target in promises():
            address, port = self.places[target]
            if target == "gateway":
                address = self.gateways.get(source, self.gateways["a"])
            client = self.namespaces[source].socket()
            self._asked[source, target] = client
            if address == "127.0.0.1" and source in self.devices:
                # The way that a container's own processes have to send this out of the container.
                device = self.devices[source].encode() + b"\0"
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            client.setblocking(False)
            client.connect_ex((address, port))
        self._silent_after = time.monotonic() + SILENCE

    def answer(self, source: str, target: str, wait: float) -> str:
        """Who has answered ``source`` at ``target``, within ``wait`` seconds from now; empty when nobody has."""
        client = self._asked[source, target]
        wait = max(wait, self._silent_after - time.monotonic())
        try:
            client.settimeout(wait)
            return client.recv(64).decode()
        except OSError:
            return ""


def _expect_loopback_from(interface: str) -> None:
    """In the thread's namespace, answers of 127.0.0.1 that come from elsewhere are not thrown away."""
    for setting in ("route_localnet", "accept_local"):
        Path(f"/proc/sys/net/ipv4/conf/{interface}/{setting}").write_text("1")


@pytest.fixture(scope="module")
def world(engine: PrivateEngine) -> Iterator[World]:
    """Everything at once; it is only looked at, so all cells share it."""
    with ExitStack() as ending:
        yield World(engine, ending)


@pytest.mark.parametrize(("source", "target", "is_reached"), list(cells()))
def test_who_reaches_whom(world: World, source: str, target: str, is_reached: bool) -> None:
    expected = target if target == "port-local" else target.removeprefix("port-")
    assert world.answer(source, target, WAIT if is_reached else 0) == (expected if is_reached else "")
