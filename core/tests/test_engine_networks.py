"""Networks and addresses as the engine keeps them, over the fake driver."""

from __future__ import annotations

import threading

import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.engine import host_ports
from multios.engine.endpoints import Wanted
from multios.engine.networks import NetworkRequest
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused
from multios.model.container import Attachment
from multios.model.network import Network, PortMapping


def test_a_network_that_cannot_be_recorded_or_made_leaves_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(box.network.endpoints), box.engine.database.all(Network)
    for owner, name in ((box.engine.database, "save"), (box.network, "create_network")):

        def failing(*words: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            with pytest.raises(MultiosError, match="No space left"):
                box.engine.networks.create("lab", ROOT)
        assert (set(box.network.endpoints), box.engine.database.all(Network)) == before
    box.engine.networks.create("lab", ROOT)


def test_the_default_network_is_not_a_users_to_make(box: Box) -> None:
    box.engine.networks.remove("default", ROOT)
    with pytest.raises(Refused):
        box.engine.networks.create("default", ALICE)
    box.started(BOB)
    assert box.engine.networks.find("default", BOB).owner == 0


def test_a_shared_network_is_everyones_to_use_and_its_owners_to_remove(box: Box) -> None:
    box.engine.networks.create("exam", ROOT, NetworkRequest(subnet="10.198.0.0/24", shared=True))
    box.engine.networks.create("mine", ROOT, NetworkRequest(subnet="10.198.1.0/24"))
    container = box.started(ALICE, networking={"network": "exam"})
    assert box.engine.networks.endpoints_of(container.id)[0][0].name == "exam"
    with pytest.raises(NotFound):
        box.engine.networks.find("mine", ALICE)
    with pytest.raises(Refused, match="belongs to another user"):
        box.engine.networks.remove("exam", ALICE)
    with pytest.raises(Refused, match="for everyone is for administrators"):
        box.engine.networks.create("open", ALICE, NetworkRequest(shared=True))
    seen = {row["name"]: row for row in box.call("networks.list", caller=BOB)}
    assert set(seen) >= {"exam"} and not seen["exam"]["endpoints"], "others' containers are not seen"


def test_a_name_goes_before_an_id_that_begins_like_it(box: Box) -> None:
    first = box.engine.networks.create("first", ROOT, NetworkRequest(subnet="10.198.1.0/24"))
    second = box.engine.networks.create(first.id[:6], ROOT, NetworkRequest(subnet="10.198.2.0/24"))
    assert box.engine.networks.find(first.id[:6], ROOT) == second
    assert box.engine.networks.find(first.id[:12], ROOT) == first


def test_subnets_never_overlap(box: Box) -> None:
    box.engine.networks.create("one", ROOT, NetworkRequest(subnet="10.198.0.0/24"))
    with pytest.raises(Conflict, match="'one'"):
        box.engine.networks.create("two", ROOT, NetworkRequest(subnet="10.198.0.0/16"))
    for subnet in ("nonsense", "10.0.0.0/33", "127.0.0.0/8", "0.0.0.0/0"):
        with pytest.raises(InvalidInput, match="subnet"):
            box.engine.networks.create("two", ROOT, NetworkRequest(subnet=subnet))


def test_a_network_with_running_containers_stays(box: Box) -> None:
    box.engine.networks.create("lab", ROOT, NetworkRequest(subnet="10.198.0.0/24"))
    container = box.started(networking={"network": "lab"})
    with pytest.raises(Conflict, match="running"):
        box.engine.networks.remove("lab", ROOT)
    box.exits(container)
    network = box.engine.networks.find("lab", ROOT)
    box.engine.networks.remove("lab", ROOT)
    with pytest.raises(Conflict, match="removed"):
        box.engine.networks.reserve(network, Wanted(container, "eth0", Attachment()))
    with pytest.raises(NotFound):
        box.containers.start(container)
    box.check_agreement()


def test_no_address_is_given_twice(box: Box) -> None:
    containers = [box.create() for _ in range(12)]
    threads = [threading.Thread(target=box.containers.start, args=(item,)) for item in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    addresses = [item.address for item in box.engine.database.endpoints()]
    assert len(set(addresses)) == 12
    box.check_agreement()


def test_an_address_of_ones_choice_must_be_free_and_inside(box: Box) -> None:
    box.started(networking={"address": "10.199.0.77"})
    for address, kind in (("10.199.0.77", Conflict), ("10.1.1.1", InvalidInput), ("10.199.0.1", Conflict)):
        with pytest.raises(kind, match=address):
            box.containers.start(box.create(networking={"address": address}))
    box.check_agreement()


def test_a_host_without_ipv6_says_that_the_port_is_not_to_be_had() -> None:
    with pytest.raises((Conflict, InvalidInput)):
        host_ports.choose_ports((PortMapping(80, 18999, "tcp", "2001:db8::1"),), [])
    with pytest.raises(InvalidInput, match="192.0.2.9 is no address of this host"):
        host_ports.choose_ports((PortMapping(80, 18999, "tcp", "192.0.2.9"),), [])


def test_a_range_that_another_program_has_just_taken_is_passed_over(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, refused = box.network.create_network, []

    def taken(network: Network) -> None:
        if len(refused) < 2:
            refused.append(network.subnet)
            raise Conflict("overlaps the host's route", "choose another")
        genuine(network)

    monkeypatch.setattr(box.network, "create_network", taken)
    assert box.engine.networks.create("lab", ROOT).subnet not in refused
    refused.clear()
    with pytest.raises(Conflict, match="host's route"):
        box.engine.networks.create("other", ROOT, NetworkRequest(subnet="10.198.0.0/24"))
    assert len(refused) == 1, "what was asked for is not replaced"


def test_of_a_range_the_first_free_port_is_chosen() -> None:
    wanted = PortMapping(80, 18990, host_last=18992)
    chosen = host_ports.choose_ports((wanted, wanted), [PortMapping(80, 18990)])
    assert [(port.host, port.host_last) for port in chosen] == [(18991, 0), (18992, 0)]
    with pytest.raises(Conflict, match="18990-18992/tcp are all in use"):
        host_ports.choose_ports((wanted,), [PortMapping(1, 18990), *chosen])


def test_free_ports_are_chosen_apart() -> None:
    wanted = (PortMapping(80), PortMapping(81), PortMapping(80, protocol="udp"))
    chosen = host_ports.choose_ports(wanted, [PortMapping(80, 32768)])
    assert len({(port.protocol, port.host) for port in chosen}) == 3
    assert ("tcp", 32768) not in {(port.protocol, port.host) for port in chosen}
