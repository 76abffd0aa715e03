"""The conformance suite of network drivers.

A driver's tests subclass :class:`NetworkDriverSuite` and name the driver class::

    class TestBridge(NetworkDriverSuite):
        driver_type = BridgeNetwork

Every test runs in a network namespace of its own, so that neither links nor rules of the machine are
touched; ``host`` is that namespace. A driver that needs a parent interface makes it in an overridden
``host`` fixture; one that cannot serve the default ``network`` overrides that too.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from multios.drivers.base import Capability
from multios.drivers.network import NetworkDriver
from multios.errors import MultiosError, StepFailed, Unsupported
from multios.model.network import Endpoint, Network, PortMapping
from multios.supervisor.flags import CLONE_NEWNET
from multios.supervisor.syscalls import Syscalls
from multios.testing.base import DriverSuite

WAIT = 2.0
"""Seconds that a test waits for a packet which must come."""
SILENCE = 0.2
"""Seconds without a packet that count as: it does not come."""

_kernel = Syscalls()


class Namespace:
    """A network namespace, open as ``descriptor``; it lives as long as something in it or the descriptor does."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def new(cls) -> Namespace:
        """A fresh one, with its loopback up."""
        opened: list[int] = []

        def leave() -> None:
            _kernel.unshare(CLONE_NEWNET)
            _kernel.interface_up("lo")
            opened.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        if not opened:
            raise OSError("cannot make a network namespace")
        return cls(opened[0])

    @classmethod
    def current(cls) -> Namespace:
        """The calling thread's."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and threads that it starts meanwhile, are in it."""
        home = Namespace.current()
        try:
            _kernel.setns(self.descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                _kernel.setns(home.descriptor, CLONE_NEWNET)
        finally:
            home.close()

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket that stays in it, whoever uses it."""
        with self.entered():
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(WAIT)
        return made

    def interfaces(self) -> set[str]:
        """The names of its interfaces."""
        with self.entered():
            return {name for _, name in socket.if_nameindex()}

    def close(self) -> None:
        """Close the descriptor; closing twice is no error."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@contextmanager
def serving(
    where: Namespace, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "0.0.0.0"
) -> Iterator[None]:
    """Something that answers each message at ``port`` with the sender's address and the message."""
    with closing(where.socket(kind)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.settimeout(0.05)
        if kind is socket.SOCK_STREAM:
            server.listen(64)
        stop = threading.Event()
        thread = threading.Thread(target=_answer, args=(server, kind, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _answer(server: socket.socket, kind: socket.SocketKind, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            if kind is socket.SOCK_STREAM:
                stream, sender = server.accept()
                with stream:
                    stream.settimeout(WAIT)
                    stream.sendall(sender[0].encode() + b" " + stream.recv(64))
            else:
                data, sender = server.recvfrom(64)
                server.sendto(sender[0].encode() + b" " + data, sender)
        except OSError:
            continue


def ask(
    where: Namespace,
    address: str,
    port: int,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    wait: float = WAIT,
) -> str:
    """Who the server at ``address`` says is asking; ``OSError`` when there is no answer."""
    with closing(where.socket(kind)) as client:
        client.settimeout(wait)
        client.connect((address, port))
        client.send(b"hello")
        sender, _, rest = client.recv(128).decode().partition(" ")
        assert rest == "hello"
        return sender


def reaches(
    where: Namespace,
    address: str,
    port: int,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    wait: float = SILENCE,
) -> bool:
    """Whether a server at ``address`` answers."""
    try:
        ask(where, address, port, kind, wait)
    except OSError:
        return False
    return True


class NetworkDriverSuite(DriverSuite):
    """What every network driver must do. The driver is made in ``host``."""

    pytestmark = pytest.mark.needs_root

    # --- fixtures -------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def host(self) -> Iterator[Namespace]:
        """The namespace that plays the host; the test's thread is in it."""
        namespace = Namespace.new()
        try:
            with namespace.entered():
                yield namespace
        finally:
            namespace.close()

    @pytest.fixture
    def network(self, driver: NetworkDriver) -> Network:
        """A network that the driver can serve; not created."""
        return Network(
            id="a" * 64,
            name="suite",
            driver=driver.name,
            subnet="10.213.7.0/24",
            gateway="10.213.7.1",
            interface="suite0",
        )

    @pytest.fixture
    def ready(self, driver: NetworkDriver, network: Network) -> Iterator[Network]:
        """The network, created."""
        driver.create_network(network)
        yield network
        driver.delete_network(network)

    @pytest.fixture
    def container(self) -> Iterator[Callable[[], Namespace]]:
        """Makes namespaces that play containers."""
        made: list[Namespace] = []

        def make() -> Namespace:
            made.append(Namespace.new())
            return made[-1]

        yield make
        for namespace in made:
            namespace.close()

    @pytest.fixture
    def endpoint(self, network: Network) -> Callable[[], Endpoint]:
        """Makes endpoints, each with its own address."""
        numbers = itertools.count(2)
        return lambda: endpoint_on(network, next(numbers))

    # --- networks -------------------------------------------------------------------------------

    def test_a_network_can_be_created_again_and_again(self, driver: NetworkDriver, ready: Network) -> None:
        driver.create_network(ready)
        driver.create_network(ready)

    def test_deleting_a_network_leaves_the_host_as_it_was(
        self, driver: NetworkDriver, network: Network, host: Namespace
    ) -> None:
        before = host.interfaces()
        driver.create_network(network)
        driver.delete_network(network)
        assert host.interfaces() == before

    def test_deleting_an_absent_network_is_no_error(self, driver: NetworkDriver, network: Network) -> None:
        driver.delete_network(network)
        driver.create_network(network)
        driver.delete_network(network)
        driver.delete_network(network)

    # --- endpoints ------------------------------------------------------------------------------

    def test_a_container_gets_its_interface_address_and_default_route(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        namespace, place = container(), endpoint()
        driver.add(ready, place, namespace.descriptor)
        assert place.interface in namespace.interfaces()
        assert own_address(namespace, ready.gateway) == bare(place)
        assert own_address(namespace, "192.0.2.1") == bare(place), "the default route is missing"
        assert mac_of(namespace, place.interface) == place.mac
        driver.check(ready, place, namespace.descriptor)
        driver.delete(ready, place)

    def test_containers_of_a_network_reach_each_other_at_once(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        places = [(container(), endpoint()) for _ in range(3)]
        for namespace, place in places:
            driver.add(ready, place, namespace.descriptor)
        (first, one), (second, two), (third, _) = places
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with serving(first, 7000, kind):
                assert ask(second, bare(one), 7000, kind) == bare(two)
                assert reaches(third, bare(one), 7000, kind, WAIT)

    def test_the_namespace_stays_the_callers(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        host: Namespace,
    ) -> None:
        namespace, place = container(), endpoint()
        driver.add(ready, place, namespace.descriptor)
        os.fstat(namespace.descriptor)
        here = Namespace.current()
        assert os.path.sameopenfile(here.descriptor, host.descriptor), "the calling thread was left elsewhere"
        here.close()

    def test_leaving_takes_the_interface_of_a_running_container_away(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        host: Namespace,
    ) -> None:
        namespace, place = container(), endpoint()
        before = host.interfaces()
        driver.add(ready, place, namespace.descriptor)
        driver.delete(ready, place)
        assert namespace.interfaces() == {"lo"}
        assert host.interfaces() == before
        driver.delete(ready, place)
        driver.add(ready, place, namespace.descriptor)
        driver.check(ready, place, namespace.descriptor)

    def test_a_container_that_died_can_be_forgotten_and_started_again_at_once(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        place, other = endpoint(), endpoint()
        neighbour = container()
        driver.add(ready, other, neighbour.descriptor)
        for _ in range(3):
            namespace = container()
            driver.add(ready, place, namespace.descriptor)
            with serving(namespace, 7000):
                assert reaches(neighbour, bare(place), 7000, wait=WAIT)
            namespace.close()
            driver.delete(ready, place)

    def test_check_says_what_is_missing(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        namespace, place = container(), endpoint()
        with pytest.raises(StepFailed):
            driver.check(ready, place, namespace.descriptor)
        driver.add(ready, place, namespace.descriptor)
        driver.check(ready, place, namespace.descriptor)
        driver.delete(ready, place)
        with pytest.raises(StepFailed) as caught:
            driver.check(ready, place, namespace.descriptor)
        assert caught.value.cause

    def test_a_failed_add_leaves_nothing_behind(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        host: Namespace,
    ) -> None:
        namespace, place, second = container(), endpoint(), endpoint()
        driver.add(ready, place, namespace.descriptor)
        before = host.interfaces(), namespace.interfaces()
        with pytest.raises(MultiosError):  # the container has an interface of that name
            driver.add(ready, second, namespace.descriptor)
        assert (host.interfaces(), namespace.interfaces()) == before
        driver.check(ready, place, namespace.descriptor)

    def test_threads_may_add_and_delete_at_once(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        places = [(container(), endpoint()) for _ in range(24)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: driver.add(ready, item[1], item[0].descriptor), places))
            list(pool.map(lambda item: driver.check(ready, item[1], item[0].descriptor), places))
            list(pool.map(lambda item: driver.delete(ready, item[1]), places))
        for namespace, _ in places:
            assert namespace.interfaces() == {"lo"}

    # --- what a container may send ----------------------------------------------------------------

    def test_nobody_sends_as_another_if_that_is_declared(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
    ) -> None:
        if Capability.SOURCE_GUARD not in driver.capabilities:
            pytest.skip("the driver does not declare SOURCE_GUARD")
        (one, place), (two, target) = [(container(), endpoint()) for _ in range(2)]
        for namespace, taken in ((one, place), (two, target)):
            driver.add(ready, taken, namespace.descriptor)
        forged_address, forged_mac = bare(endpoint()), "02:6d:00:00:00:99"
        with closing(two.socket(socket.SOCK_DGRAM)) as server:
            server.bind(("0.0.0.0", 7000))
            server.settimeout(SILENCE)
            send_frame(one, place, target, place.mac, bare(place))
            assert server.recvfrom(64)[1][0] == bare(place)
            for mac, address in (
                (place.mac, forged_address),
                (forged_mac, bare(place)),
                (target.mac, bare(target)),
                (place.mac, ready.gateway),
            ):
                send_frame(one, place, target, mac, address)
                with pytest.raises(TimeoutError):
                    server.recvfrom(64)
        assert reaches_by_arp(one, place, target, place.mac, bare(place))
        assert not reaches_by_arp(one, place, target, place.mac, ready.gateway)
        assert not reaches_by_arp(one, place, target, forged_mac, bare(place))

    # --- how fast -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("direction", ["in", "out"])
    def test_bandwidth_is_limited_if_and_only_if_it_is_declared(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        direction: str,
    ) -> None:
        if Capability.BANDWIDTH not in driver.capabilities:
            pytest.skip("the driver does not declare BANDWIDTH")
        rate = 20_000_000
        (one, place), (two, other) = [(container(), endpoint()) for _ in range(2)]
        incoming, outgoing = (rate, 0) if direction == "in" else (0, rate)
        limited = replace(place, bandwidth_in=incoming, bandwidth_out=outgoing)
        driver.add(ready, limited, one.descriptor)
        driver.add(ready, other, two.descriptor)
        to, source, target = (one, two, place) if direction == "in" else (two, one, other)
        assert throughput(source, to, bare(target)) == pytest.approx(rate, rel=0.2)
        source, to, target = to, source, other if direction == "in" else place
        assert throughput(source, to, bare(target)) > 4 * rate, "the other way is not limited"

    # --- ports ----------------------------------------------------------------------------------

    def test_publishing_works_if_and_only_if_it_is_declared(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        host: Namespace,
    ) -> None:
        namespace, place = container(), endpoint()
        driver.add(ready, place, namespace.descriptor)
        port = (PortMapping(container=7000, host=free_port(host)),)
        if Capability.PUBLISH not in driver.capabilities:
            with pytest.raises(Unsupported):
                driver.publish(ready, place, port)
            return
        with serving(namespace, 7000):
            driver.publish(ready, place, port)
            driver.publish(ready, place, port)
            assert reaches(host, "127.0.0.1", port[0].host, wait=WAIT)
            driver.unpublish(ready, place, port)
            driver.unpublish(ready, place, port)
            assert not reaches(host, "127.0.0.1", port[0].host)

    def test_deleting_an_endpoint_withdraws_its_ports(
        self,
        driver: NetworkDriver,
        ready: Network,
        container: Callable[[], Namespace],
        endpoint: Callable[[], Endpoint],
        host: Namespace,
    ) -> None:
        if Capability.PUBLISH not in driver.capabilities:
            pytest.skip("the driver does not declare PUBLISH")
        first, place = container(), endpoint()
        port = (PortMapping(container=7000, host=free_port(host)),)
        driver.add(ready, place, first.descriptor)
        driver.publish(ready, place, port)
        driver.delete(ready, place)
        second = container()
        driver.add(ready, place, second.descriptor)
        with serving(second, 7000):
            assert not reaches(host, "127.0.0.1", port[0].host)


# --- what tests ask for ------------------------------------------------------------------------------


def endpoint_on(network: Network, number: int) -> Endpoint:
    """The endpoint of the ``number``-th address of a network."""
    subnet = IPv4Network(network.subnet)
    address = subnet[number]
    return Endpoint(
        id=f"{number:032x}",
        container_id=f"{number:064x}",
        network_id=network.id,
        address=f"{address}/{subnet.prefixlen}",
        gateway=network.gateway,
        mac="02:6d:" + ":".join(f"{octet:02x}" for octet in address.packed),
        host_interface=f"t{network.id[:4]}v{number}",
    )


def other_network(network: Network, letter: str, subnet: str, internal: bool = False) -> Network:
    """A further network beside ``network``."""
    gateway = str(IPv4Network(subnet)[1])
    return replace(
        network,
        id=letter * 64,
        name=f"suite-{letter}",
        subnet=subnet,
        gateway=gateway,
        interface=f"suite{letter}",
        internal=internal,
    )


def bare(endpoint: Endpoint) -> str:
    """An endpoint's address without prefix length."""
    return endpoint.address.partition("/")[0]


def own_address(where: Namespace, towards: str) -> str:
    """The address that packets to ``towards`` would leave with; empty when there is no route."""
    with closing(where.socket(socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((towards, 9))
        except OSError as error:
            if error.errno == errno.ENETUNREACH:
                return ""
            raise
        return str(probe.getsockname()[0])


def mac_of(where: Namespace, interface: str) -> str:
    """An interface's MAC."""
    import fcntl

    with closing(where.socket(socket.SOCK_DGRAM)) as probe:
        answer = fcntl.ioctl(probe, 0x8927, interface.encode().ljust(40, b"\0"))  # SIOCGIFHWADDR
    return answer[18:24].hex(":")


def send_frame(where: Namespace, place: Endpoint, target: Endpoint, mac: str, address: str) -> None:
    """Send a UDP datagram to port 7000 of ``target`` as a frame by hand, from a MAC and an address of one's choice."""
    datagram = struct.pack(">HHHH", 7001, 7000, 8 + 5, 0) + b"hello"
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(datagram),
        1,
        0,
        64,
        17,
        0,
        *map(socket.inet_aton, (address, bare(target))),
    )
    total = sum(struct.unpack(">10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    _send_raw(where, place, bytes_of(target.mac) + bytes_of(mac) + b"\x08\x00" + header + datagram)


def reaches_by_arp(where: Namespace, place: Endpoint, target: Endpoint, mac: str, address: str) -> bool:
    """Whether ``target`` answers an ARP request that names this MAC and address as its sender's."""
    sender = bytes_of(mac) + socket.inet_aton(address)
    request = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + sender + bytes(6) + socket.inet_aton(bare(target))
    frame = b"\xff" * 6 + bytes_of(place.mac) + b"\x08\x06" + request
    with where.entered():
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with closing(listening):
        listening.bind((place.interface, 0x0806))
        listening.settimeout(SILENCE)
        _send_raw(where, place, frame)
        try:
            while True:
                answer = listening.recv(64)
                if answer[20:22] == b"\0\2" and answer[28:32] == socket.inet_aton(bare(target)):
                    return True
        except TimeoutError:
            return False


def _send_raw(where: Namespace, place: Endpoint, frame: bytes) -> None:
    with where.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(sender):
        sender.bind((place.interface, 0))
        sender.send(frame)


def bytes_of(mac: str) -> bytes:
    """A MAC's six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def throughput(source: Namespace, to: Namespace, address: str, seconds: float = 0.8) -> float:
    """Bits a second of a TCP connection, after its first 0.3 seconds."""
    stop = threading.Event()
    with closing(to.socket()) as server, closing(source.socket()) as client:
        server.bind((address, 7010))
        server.listen()

        def send() -> None:
            data = bytes(65536)
            with contextlib.suppress(OSError):
                client.connect((address, 7010))
                while not stop.is_set():
                    client.send(data)

        thread = threading.Thread(target=send)
        thread.start()
        with server.accept()[0] as stream:
            begin = time.monotonic()
            while time.monotonic() < begin + 0.3:
                stream.recv(1 << 20)
            begin, count = time.monotonic(), 0
            while time.monotonic() < begin + seconds:
                count += len(stream.recv(1 << 20))
            measured = count * 8 / (time.monotonic() - begin)
            stop.set()
        thread.join()
    return measured


def free_port(where: Namespace) -> int:
    """A TCP port that nothing listens on there."""
    with closing(where.socket()) as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])
