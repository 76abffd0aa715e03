"""What the driver leaves on the host: made once, repaired, removed whole, and nobody else's touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from multios.errors import Conflict, InvalidInput, MultiosError, StepFailed
from multios.model.health import Health
from multios.model.network import Network, PortMapping
from multios.netlink import container_side, namespaces
from multios.netlink import messages as netlink
from multios.testing.network_box import WAIT, Namespace, ask, bare, endpoint_on, reaches, serving
from multios_net_bridge import BridgeNetwork, forwarding, links, nfnetlink, ruleset
from multios_net_bridge.host import table_name
from multios_net_bridge.nfnetlink import Batch, commit, read_elements

pytestmark = pytest.mark.needs_root


def tables() -> set[str]:
    """The nftables tables for IPv4 of the thread's namespace."""
    connection = netlink.Connection(nfnetlink.PROTOCOL)
    try:
        replies = connection.dump(nfnetlink.message(nfnetlink.GET_TABLE, 0))
        return {netlink.attributes(reply[4:])[1].rstrip(b"\0").decode() for reply in replies}
    finally:
        connection.close()


def elements(table: str) -> dict[str, set[nfnetlink.Element]]:
    """All that the table's sets hold."""
    connection = netlink.Connection(nfnetlink.PROTOCOL)
    try:
        return {name: read_elements(connection, table, name) for name in ruleset.SETS}
    finally:
        connection.close()


# --- networks -----------------------------------------------------------------------------------


def test_the_table_comes_with_the_first_network_and_goes_with_the_last(world: Any) -> None:
    assert tables() == set()
    one, two = world.network("a"), world.network("b")
    assert tables() == {table_name(world.driver.context.state)}
    world.driver.delete_network(one)
    assert len(tables()) == 1
    world.driver.delete_network(two)
    assert tables() == set()
    assert world.host.interfaces() == {"lo", "up0"}


def test_deleting_one_network_leaves_the_others_sets_and_ports_alone(world: Any) -> None:
    table = table_name(world.driver.context.state)
    world.network("b")
    before = elements(table)
    neighbour = world.network("a")
    _, endpoint = world.container(neighbour, 2)
    world.driver.publish(
        neighbour, endpoint, (PortMapping(80, 8080), PortMapping(53, 53, "udp", "127.0.0.1"))
    )
    world.driver.delete_network(neighbour)
    assert elements(table) == before


def test_neighbouring_subnets_come_and_go_in_any_order(world: Any) -> None:
    table = table_name(world.driver.context.state)
    networks = {letter: world.network(letter) for letter in "cabed"}
    full = elements(table)
    for letter in "bdace":
        world.driver.delete_network(networks[letter])
        world.driver.create_network(networks[letter])
        assert elements(table) == full


def test_a_change_of_options_takes_effect_when_the_network_is_created_again(world: Any) -> None:
    network = world.network("a")
    table = table_name(world.driver.context.state)
    assert elements(table)["outgoing"] and elements(table)["same"]
    world.driver.create_network(replace(network, options={"masquerade": "no", "isolate": "yes"}))
    assert not elements(table)["outgoing"] and not elements(table)["same"]
    world.driver.create_network(network)
    assert elements(table)["outgoing"] and elements(table)["same"]


def test_a_second_daemon_finds_networks_and_ports_as_they_were(
    world: Any, make_driver: Callable[[str], BridgeNetwork]
) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    successor = make_driver("one")
    successor.create_network(network)
    with serving(container, 80):
        assert reaches(world.outside, world.host_address, 8080, wait=WAIT)
    successor.check(network, endpoint, container.descriptor)
    successor.publish(network, endpoint, (PortMapping(80, 8080),))


def test_two_engines_on_one_host_do_not_disturb_each_other(
    world: Any, make_driver: Callable[[str], BridgeNetwork]
) -> None:
    first, other = world.network("a"), make_driver("two")
    second = replace(first, id="b" * 64, subnet="10.213.9.0/24", gateway="10.213.9.1", interface="testb")
    other.create_network(second)
    assert len(tables()) == 2
    container, endpoint = world.container(first, 2)
    alien, place = world.namespace(), endpoint_on(second, 2)
    other.add(second, place, alien.descriptor)
    with serving(container, 80), serving(world.outside, 7000):
        assert not reaches(alien, bare(endpoint), 80)
        assert ask(alien, world.outside_address, 7000) == world.host_address
        other.delete_network(second)
        assert ask(container, world.outside_address, 7000) == world.host_address


def test_what_is_missing_is_repaired(world: Any) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    with IPRoute() as kernel:
        index = kernel.link_lookup(ifname=network.interface)[0]
        kernel.addr("delete", index=index, address=network.gateway, prefixlen=24)
        kernel.link("set", index=index, state="down")
    drop_table(table_name(world.driver.context.state))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    with pytest.raises(StepFailed, match=r"testa is missing or down; the host's nftables rules .* missing"):
        world.driver.check(network, endpoint, container.descriptor)
    with pytest.raises(StepFailed, match="nftables rules are missing"):
        world.driver.publish(network, endpoint, (PortMapping(80, 8080),))
    world.driver.create_network(network)
    world.driver.check(network, endpoint, container.descriptor)
    with serving(world.outside, 7000):
        assert reaches(container, world.outside_address, 7000, wait=WAIT)


def test_containers_of_a_deleted_bridge_are_put_on_the_next(world: Any) -> None:
    network = world.network(isolate="yes")
    container, endpoint = world.container(network, 2)
    neighbour, _ = world.container(network, 3)
    with IPRoute() as kernel:
        kernel.link("del", index=kernel.link_lookup(ifname=network.interface)[0])
    with pytest.raises(StepFailed, match="bridge testa is gone"):
        world.driver.restore(network, endpoint)
    world.driver.create_network(network)
    with serving(container, 80), serving(neighbour, 80):
        assert not reaches(world.host, bare(endpoint), 80)
        world.driver.restore(network, endpoint)
        world.driver.restore(network, endpoint)
        world.driver.restore(network, endpoint_on(network, 3))
        assert reaches(world.host, bare(endpoint), 80, wait=WAIT)
        assert not reaches(neighbour, bare(endpoint), 80), "still apart"
    world.driver.check(network, endpoint, container.descriptor)
    with IPRoute() as kernel:
        kernel.link("del", index=kernel.link_lookup(ifname=endpoint.host_interface)[0])
    with pytest.raises(StepFailed, match="the container's link is gone"):
        world.driver.restore(network, endpoint)


def drop_table(name: str) -> None:
    """What another program's flush does to ours."""
    connection = netlink.Connection(nfnetlink.PROTOCOL)
    batch = Batch(name)
    batch.delete_table()
    commit(connection, batch)
    connection.close()


def test_a_foreign_interface_of_the_bridges_name_is_a_conflict_and_stays(world: Any) -> None:
    with IPRoute() as kernel:
        kernel.link("add", ifname="testa", kind="bridge")
    with pytest.raises(Conflict, match="already has an interface 'testa'"):
        world.network("a")
    world.driver.delete_network(Network("a" * 64, "a", "bridge", "10.213.0.0/24", "10.213.0.1", "testa"))
    assert "testa" in world.host.interfaces()
    assert tables() == set()


def test_a_route_of_the_host_over_the_subnet_is_a_conflict_that_names_it(world: Any) -> None:
    with IPRoute() as kernel:
        kernel.route("add", dst="10.213.0.0/16", gateway=world.outside_address)
    with pytest.raises(Conflict, match=r"overlaps the host's route 10\.213\.0\.0/16 \(interface up0\)"):
        world.network("a")
    assert world.host.interfaces() == {"lo", "up0"}


def test_another_programs_rules_survive(world: Any) -> None:
    connection = netlink.Connection(nfnetlink.PROTOCOL)
    foreign = Batch("filter")
    foreign.make_table()
    foreign.make_chain("FORWARD", "filter", nfnetlink.FORWARD, 0)
    commit(connection, foreign)
    before = list(nfnetlink.base_chains(connection))
    world.driver.delete_network(world.network())
    assert list(nfnetlink.base_chains(connection)) == before
    connection.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"mtuu": "9"}}, "mtuu: no such setting"),
        ({"options": {"mtu": "big"}}, "mtu: 'big' is not valid"),
        ({"options": {"mtu": "9"}}, "mtu: 9 is not between"),
        ({"interface": "../../x"}, "'../../x' is no interface name"),
        ({"interface": "a" * 16}, "is no interface name"),
        ({"gateway": "10.9.9.9"}, "'10.9.9.9' is no host of"),
        ({"subnet": "fd00::/64", "gateway": "fd00::1"}, "needs an IPv4 subnet"),
    ],
)
def test_a_network_that_cannot_be_is_refused(world: Any, changes: dict[str, Any], message: str) -> None:
    network = Network("a" * 64, "a", "bridge", "10.213.0.0/24", "10.213.0.1", "testa")
    with pytest.raises(MultiosError) as caught:
        world.driver.create_network(replace(network, **changes))
    assert message in caught.value.cause
    assert world.host.interfaces() == {"lo", "up0"}


def test_an_endpoint_that_cannot_be_is_refused(world: Any) -> None:
    network = world.network()
    sound = endpoint_on(network, 2)
    for changes in ({"interface": "../x"}, {"host_interface": "7"}, {"address": "x"}, {"mac": "x"}):
        with pytest.raises(InvalidInput, match=next(iter(changes)).partition("_")[2] or next(iter(changes))):
            world.driver.add(network, replace(sound, **changes), world.namespace().descriptor)


def test_a_live_containers_link_is_never_taken_over(world: Any) -> None:
    network = world.network()
    container, endpoint = world.container(network, 2)
    with pytest.raises(Conflict, match=f"already has an interface {endpoint.host_interface!r}"):
        world.driver.add(network, endpoint, world.namespace().descriptor)
    world.driver.check(network, endpoint, container.descriptor)


def test_the_mtu_is_that_of_bridge_and_container(world: Any) -> None:
    network = world.network(mtu="1400")
    container, _ = world.container(network, 2)
    for where, name in ((world.host, network.interface), (container, "eth0")):
        with where.entered(), IPRoute() as kernel:
            assert next(iter(kernel.link("get", ifname=name))).get("mtu") == 1400


# --- faults -------------------------------------------------------------------------------------


class Faults:
    """Counts every step to the kernel and makes one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fail_at = -1
        for method in ("request", "dump"):
            original = getattr(netlink.Connection, method)
            monkeypatch.setattr(netlink.Connection, method, self._wrap(original))
        for module in (forwarding, links, container_side):
            monkeypatch.setattr(module, "write_setting", self._wrap(namespaces.write_setting))
        monkeypatch.setattr(links, "IPRoute", lambda: _FaultyRoute(self))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.step()
            return function(*arguments, **named)

        return step

    def step(self) -> None:
        """Count; fail if it is this one's turn."""
        self.count += 1
        if self.count == self.fail_at:
            raise OSError(5, "injected")


class _FaultyRoute:
    def __init__(self, faults: Faults) -> None:
        self._faults, self._real = faults, IPRoute()

    def __enter__(self) -> _FaultyRoute:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __getattr__(self, name: str) -> Any:
        return self._faults._wrap(getattr(self._real, name))


@pytest.fixture
def faults(world: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    yield Faults(monkeypatch)


def each_fault(faults: Faults, action: Callable[[], None], undo: Callable[[], None]) -> Iterator[int]:
    """Run ``action`` once with each of its steps failing, then once whole."""
    faults.count, faults.fail_at = 0, -1
    action()
    steps = faults.count
    undo()
    for number in range(1, steps + 1):
        faults.count, faults.fail_at = 0, number
        with pytest.raises(StepFailed, match="injected"):
            action()
        faults.fail_at = -1
        yield number
    action()


def test_a_fault_at_any_step_of_create_network_leaves_nothing(world: Any, faults: Faults) -> None:
    network = Network("a" * 64, "a", "bridge", "10.213.0.0/24", "10.213.0.1", "testa")
    done = []
    for step in each_fault(
        faults, lambda: world.driver.create_network(network), lambda: world.driver.delete_network(network)
    ):
        assert world.host.interfaces() == {"lo", "up0"}
        assert tables() == set()
        done.append(step)
    assert len(done) >= 10


def test_a_fault_at_any_step_of_add_leaves_nothing(world: Any, faults: Faults) -> None:
    network, namespace = world.network(), world.namespace()
    endpoint = endpoint_on(network, 2)
    before = world.host.interfaces()
    done = []
    for step in each_fault(
        faults,
        lambda: world.driver.add(network, endpoint, namespace.descriptor),
        lambda: world.driver.delete(network, endpoint),
    ):
        assert world.host.interfaces() == before
        assert namespace.interfaces() == {"lo"}
        done.append(step)
    assert len(done) >= 6
    world.driver.check(network, endpoint, namespace.descriptor)


def test_a_fault_at_any_step_of_publish_leaves_nothing(world: Any, faults: Faults) -> None:
    network = world.network()
    _, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080), PortMapping(53, 5353, "udp"), PortMapping(81, 8081, "tcp", "127.0.0.1"))
    table = table_name(world.driver.context.state)
    before = elements(table)
    for _ in each_fault(
        faults,
        lambda: world.driver.publish(network, endpoint, ports),
        lambda: world.driver.unpublish(network, endpoint, ports),
    ):
        assert elements(table) == before


def test_a_delete_that_failed_can_be_repeated(world: Any, faults: Faults) -> None:
    network = world.network()
    for number in range(1, 12):
        faults.count, faults.fail_at = 0, number
        try:
            world.driver.delete_network(network)
        except StepFailed:
            faults.fail_at = -1
            world.driver.delete_network(network)
        faults.fail_at = -1
        assert world.host.interfaces() == {"lo", "up0"}
        assert tables() == set()
        world.driver.create_network(network)


# --- numbers ------------------------------------------------------------------------------------


def test_250_containers_attach_in_roughly_constant_time_and_all_are_reached(world: Any) -> None:
    network = world.network()
    namespaces_ = [Namespace.new() for _ in range(250)]
    times = []
    try:
        for number, namespace in enumerate(namespaces_, 2):
            started = time.perf_counter()
            world.driver.add(network, endpoint_on(network, number), namespace.descriptor)
            times.append(time.perf_counter() - started)
        # The quickest of each: others have their turns too, and not as many at any time.
        assert min(times[-50:]) < 5 * min(times[:50])
        for number in (2, 126, 251):
            with serving(namespaces_[number - 2], 80):
                assert reaches(namespaces_[249 - number % 3], f"10.213.0.{number}", 80, wait=WAIT)
                assert reaches(world.host, f"10.213.0.{number}", 80, wait=WAIT)
    finally:
        for namespace in namespaces_:
            namespace.close()


def test_eight_threads_start_and_stop_containers_of_two_networks(world: Any) -> None:
    networks = [world.network("a"), world.network("b")]

    def live(number: int) -> None:
        network = networks[number % 2]
        endpoint = endpoint_on(network, number)
        namespace = Namespace.new()
        world.driver.add(network, endpoint, namespace.descriptor)
        port = (PortMapping(80, 8000 + number),)
        world.driver.publish(network, endpoint, port)
        with serving(namespace, 80):
            assert reaches(world.host, "127.0.0.1", 8000 + number, wait=WAIT)
        namespace.close()
        world.driver.unpublish(network, endpoint, port)
        world.driver.delete(network, endpoint)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(2, 42)))
    for network in networks:
        world.driver.delete_network(network)
    assert tables() == set()


# --- the doctor ---------------------------------------------------------------------------------


def test_the_doctor_finds_all_well_on_a_working_host_and_changes_nothing(world: Any) -> None:
    world.network()
    before = world.host.interfaces()
    findings = {finding.subject: finding for finding in BridgeNetwork.health_checks()}
    assert {finding.health for finding in findings.values()} == {Health.OK}
    assert world.host.interfaces() == before


def test_the_doctor_says_that_forwarding_is_off_and_who_drops(world: Any) -> None:
    connection = netlink.Connection(nfnetlink.PROTOCOL)
    foreign = Batch("filter")
    foreign.make_table()
    foreign.make_chain("FORWARD", "filter", nfnetlink.FORWARD, 0)
    policy = netlink.text(1, "filter") + netlink.text(3, "FORWARD") + netlink.attribute(5, bytes(4))
    foreign.messages.append(nfnetlink.message(nfnetlink.NEW_CHAIN, 0, policy))
    commit(connection, foreign)
    connection.close()
    findings = {finding.subject: finding for finding in BridgeNetwork.health_checks()}
    assert findings["net.ipv4.ip_forward"].health is Health.WARN
    assert findings["other programs' packet filters"].health is Health.WARN
    assert "filter FORWARD" in findings["other programs' packet filters"].detail
