"""The conformance suite of network drivers.

A driver's tests subclass :class:`NetworkDriverSuite` and name the driver class::

    class TestBridge(NetworkDriverSuite):
        driver_type = BridgeNetwork

Every test runs in a network namespace of its own, so that neither links nor rules of the machine are
touched; ``host`` is that namespace. A driver that needs a parent interface makes it in an overridden
``prepare_host``; one that cannot serve the default ``network`` overrides that too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from multios.drivers.base import Capability
from multios.drivers.network import NetworkDriver
from multios.errors import MultiosError, StepFailed, Unsupported
from multios.model.network import Endpoint, Network, PortMapping
from multios.testing.base import DriverSuite
from multios.testing.network_box import (
    SILENCE,
    WAIT,
    Namespace,
    ask,
    bare,
    bare6,
    endpoint_on,
    free_port,
    mac_of,
    own_address,
    reaches,
    reaches_by_arp,
    send_frame,
    serving,
    throughput,
)

Join = Callable[..., tuple[Namespace, Endpoint]]


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
                self.prepare_host()
                yield namespace
        finally:
            namespace.close()

    def prepare_host(self) -> None:
        """Make what the driver needs of a host, such as an interface, in the thread's namespace."""

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

    @pytest.fixture
    def join(self, driver: NetworkDriver, container: Callable[[], Namespace]) -> Join:
        """Puts a fresh container on a network; ``fields`` are its endpoint's."""
        numbers = itertools.count(2)

        def make(network: Network, **fields: Any) -> tuple[Namespace, Endpoint]:
            namespace, place = container(), replace(endpoint_on(network, next(numbers)), **fields)
            driver.add(network, place, namespace.descriptor)
            return namespace, place

        return make

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
        if Capability.PARENTS_MAC not in driver.capabilities:
            assert mac_of(namespace, place.interface) == place.mac
        driver.check(ready, place, namespace.descriptor)
        driver.delete(ready, place)

    def test_containers_of_a_network_reach_each_other_at_once_unless_they_are_declared_alone(
        self, driver: NetworkDriver, ready: Network, join: Join
    ) -> None:
        if Capability.ALONE in driver.capabilities:
            (here, place), (there, _) = join(ready), join(ready)
            with serving(here, 7000):
                assert not reaches(there, bare(place), 7000)
            return
        (first, one), (second, two), (third, _) = join(ready), join(ready), join(ready)
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
            driver.check(ready, place, namespace.descriptor)
            if Capability.ALONE not in driver.capabilities:
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

    def test_nobody_sends_as_another_if_that_is_declared(self, ready: Network, join: Join) -> None:
        self.require(Capability.SOURCE_GUARD)
        (one, place), (two, target) = join(ready), join(ready)
        forged_address, forged_mac = bare(endpoint_on(ready, 99)), "02:6d:00:00:00:99"
        with closing(two.socket(socket.SOCK_DGRAM)) as server:
            server.bind(("0.0.0.0", 7000))
            server.settimeout(SILENCE)
            heard, until = "", time.monotonic() + WAIT
            while not heard and time.monotonic() < until:  # the kernel may not have a new link's port up yet
                send_frame(one, place, target, place.mac, bare(place))
                with contextlib.suppress(TimeoutError):
                    heard = server.recvfrom(64)[1][0]
            assert heard == bare(place)
            with contextlib.suppress(TimeoutError):  # what was sent once more
                while server.recvfrom(64)[1][0] == bare(place):
                    pass
            for mac, address in (
                (place.mac, forged_address),
                (forged_mac, bare(place)),
                (target.mac, bare(target)),
                (place.mac, ready.gateway),
            ):
                send_frame(one, place, target, mac, address)
                with pytest.raises(TimeoutError):
                    server.recvfrom(64)
        assert reaches_by_arp(one, place, target, place.mac, bare(place), WAIT)
        assert not reaches_by_arp(one, place, target, place.mac, ready.gateway)
        assert not reaches_by_arp(one, place, target, forged_mac, bare(place))

    # --- how fast -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("direction", ["in", "out"])
    def test_bandwidth_is_limited_if_and_only_if_it_is_declared(
        self, ready: Network, join: Join, direction: str
    ) -> None:
        self.require(Capability.BANDWIDTH)
        rate = 20_000_000
        incoming, outgoing = (rate, 0) if direction == "in" else (0, rate)
        one, place = join(ready, bandwidth_in=incoming, bandwidth_out=outgoing)
        two, other = join(ready)
        to, source, target = (one, two, place) if direction == "in" else (two, one, other)
        limited = pytest.approx(rate, rel=0.2)
        # Where threads wait for their turn, so short a time may see less, or what has piled up.
        for _ in range(5):
            if (measured := throughput(source, to, bare(target))) == limited:
                break
        assert measured == limited
        source, to, target = to, source, other if direction == "in" else place
        assert throughput(source, to, bare(target)) > 4 * rate, "the other way is not limited"

    # --- what a network may be besides ---------------------------------------------------------------

    @pytest.fixture
    def variant(self, driver: NetworkDriver, network: Network) -> Iterator[Callable[..., Network]]:
        """Creates the network with other fields."""
        made: list[Network] = []

        def make(**fields: Any) -> Network:
            made.append(replace(network, **fields))
            driver.create_network(made[-1])
            return made[-1]

        yield make
        for item in made:
            driver.delete_network(item)

    def test_ipv6_addresses_reach_each_other_if_that_is_declared(
        self, driver: NetworkDriver, variant: Callable[..., Network], join: Join
    ) -> None:
        self.require(Capability.IPV6)
        network = variant(subnet6="fd00:213:7::/64", gateway6="fd00:213:7::1")
        places = [join(network), join(network)]
        for namespace, place in places:
            driver.check(network, place, namespace.descriptor)
            assert own_address(namespace, "2001:db8::1") == bare6(place), "the default route is missing"
        (one, place), (two, other) = places
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with serving(one, 7000, kind, "::"):
                assert ask(two, bare6(place), 7000, kind) == bare6(other)
        driver.delete(network, place)
        assert one.interfaces() == {"lo"}

    def test_names_are_asked_for_at_the_gateway_if_that_is_declared(
        self, driver: NetworkDriver, ready: Network, join: Join, host: Namespace
    ) -> None:
        self.require(Capability.GATEWAY)
        namespace, _ = join(ready)
        for port in (5301, 5302):
            driver.serve_names(ready, port)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with serving(host, port, kind, ready.gateway):
                    assert reaches(namespace, ready.gateway, 53, kind, WAIT)

    def test_an_internal_network_has_no_way_out_if_that_is_declared(
        self, driver: NetworkDriver, variant: Callable[..., Network], join: Join
    ) -> None:
        self.require(Capability.INTERNAL)
        network = variant(internal=True)
        (one, place), (two, other) = join(network), join(network)
        driver.check(network, place, one.descriptor)
        assert own_address(one, "192.0.2.1") == ""
        with serving(two, 7000):
            assert reaches(one, bare(other), 7000, wait=WAIT)
        with pytest.raises(Unsupported):
            driver.publish(network, place, (PortMapping(container=80, host=8080),))

    def test_isolated_neighbours_do_not_reach_each_other_if_that_is_declared(
        self, variant: Callable[..., Network], join: Join
    ) -> None:
        self.require(Capability.ISOLATE)
        network = variant(isolate=True)
        (one, _), (two, other) = join(network), join(network)
        with serving(two, 7000):
            assert not reaches(one, bare(other), 7000)

    def test_a_confined_container_does_not_reach_the_host_if_that_is_declared(
        self, driver: NetworkDriver, ready: Network, join: Join, host: Namespace
    ) -> None:
        self.require(Capability.EGRESS)
        free, _ = join(ready)
        confined, place = join(ready, egress=("203.0.113.0/24",))
        with serving(host, 7000):
            assert reaches(free, ready.gateway, 7000, wait=WAIT)
            assert not reaches(confined, ready.gateway, 7000)
        driver.permit(ready, place, ("192.0.2.7",), 60)

    # --- ports ----------------------------------------------------------------------------------

    def test_publishing_works_if_and_only_if_it_is_declared(
        self, driver: NetworkDriver, ready: Network, join: Join, host: Namespace
    ) -> None:
        namespace, place = join(ready)
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
        join: Join,
        container: Callable[[], Namespace],
        host: Namespace,
    ) -> None:
        self.require(Capability.PUBLISH)
        _, place = join(ready)
        port = (PortMapping(container=7000, host=free_port(host)),)
        driver.publish(ready, place, port)
        driver.delete(ready, place)
        second = container()
        driver.add(ready, place, second.descriptor)
        with serving(second, 7000):
            assert not reaches(host, "127.0.0.1", port[0].host)
