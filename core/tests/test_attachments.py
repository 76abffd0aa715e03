"""A container's places on networks, over fakes: reserved, connected, forwarded, and undone when a step fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from engine_box import ALICE, ROOT, Box

from multios.drivers.base import Capability
from multios.engine.endpoints import Endpoints, Wanted, confinement
from multios.engine.networks import NetworkRequest
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, Unsupported
from multios.model.container import Attachment, Container
from multios.model.network import Network, PortMapping

LAB = NetworkRequest(subnet="10.198.0.0/24")
EVERYTHING = frozenset(Capability) - {Capability.GATEWAY, Capability.NAMES_INSIDE}


@pytest.fixture(autouse=True)
def own_namespace(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake isolation's containers have no process: their namespace is any descriptor."""

    @contextmanager
    def opened(container: Container) -> Iterator[int]:
        descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
        yield descriptor
        os.close(descriptor)

    monkeypatch.setattr(box.containers.attachments, "_opened", opened)


def connect(box: Box, container: Container, name: str, attachment: Attachment | None = None) -> Container:
    network = box.engine.networks.find(name, ROOT)
    box.containers.attachments.connect(box.now(container), network, attachment or Attachment())
    return box.now(container)


def test_a_running_container_is_connected_and_disconnected(box: Box) -> None:
    lab = box.engine.networks.create("lab", ROOT, LAB)
    container = connect(box, box.started(), "lab", Attachment(address="10.198.0.9"))
    places = box.engine.networks.endpoints_of(container.id)
    assert [(network.name, endpoint.interface) for network, endpoint in places] == [
        ("default", "eth0"),
        ("lab", "eth1"),
    ]
    assert places[1][1].address == "10.198.0.9/24"
    with pytest.raises(Conflict, match="already"):
        connect(box, container, "lab")
    box.containers.attachments.disconnect(container, lab)
    assert box.now(container).config.networking.networks == ("default",)
    assert [item.network_id for item in box.engine.database.endpoints()] != [lab.id]
    box.exits(container)
    box.check_agreement()


@pytest.mark.parametrize("verb", ["add", "write", "change"])
def test_a_connection_that_fails_leaves_nothing(box: Box, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    box.engine.networks.create("lab", ROOT, LAB)
    container = box.started()
    before = box.holdings()
    owner, name = {
        "add": (box.network, "add"),
        "write": (box.containers.attachments, "_write_files"),
        "change": (box.registry, "change"),
    }[verb]
    genuine, calls = getattr(owner, name), []

    def once(*words: Any, **fields: Any) -> Any:
        calls.append(words)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return genuine(*words, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, once)
        with pytest.raises((MultiosError, OSError), match="No space left"):
            connect(box, container, "lab")
    assert box.holdings() == before
    assert box.now(container).config.networking.networks == ("default",)
    connect(box, container, "lab")


def test_published_ports_move_when_their_network_is_left(box: Box) -> None:
    box.engine.networks.create("lab", ROOT, LAB)
    ports = [{"container": 80, "host": 18501}]
    container = connect(box, box.started(networking={"ports": ports}), "lab")
    default = box.engine.networks.find("default", ROOT)
    places = box.engine.networks.endpoints_of(container.id)
    assert {item[0] for item in box.network.published} == {places[0][1].id}
    box.containers.attachments.disconnect(container, default)
    assert {item[0] for item in box.network.published} == {places[1][1].id}
    box.containers.attachments.disconnect(box.now(container), places[1][0])
    assert not box.network.published and box.now(container).ports == ()
    assert box.now(container).config.networking.networks == ("none",)
    assert not box.engine.database.endpoints()


def test_a_network_named_by_a_part_of_its_id_is_the_containers_after_a_repair(box: Box) -> None:
    lab = box.engine.networks.create("lab", ROOT, LAB)
    container = box.started(
        networking={"networks": [lab.id[:12]], "attachments": {lab.id[:12]: {"aliases": ["a"]}}}
    )
    assert container.config.networking.networks == ("lab",)
    assert set(container.config.networking.attachments) == {"lab"}
    box.containers.attachments.restore(container)
    assert [network.name for network, _ in box.engine.networks.endpoints_of(container.id)] == ["lab"]


def test_what_a_killed_daemon_had_begun_is_undone(box: Box) -> None:
    lab = box.engine.networks.create("lab", ROOT, LAB)
    container = box.started()
    before = box.holdings()
    box.engine.networks.reserve(lab, Wanted(container, "eth1", Attachment()))
    box.containers.attachments.restore(container)
    assert box.holdings() == before


def test_all_that_can_be_put_back_is_put_back_and_the_first_failure_told(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.engine.networks.create("lab", ROOT, LAB)
    container = connect(box, box.started(), "lab")
    restored: list[str] = []

    def restore(network: Network, endpoint: Any) -> None:
        restored.append(network.name)
        raise Conflict(f"{network.name} is broken", "")

    monkeypatch.setattr(box.network, "restore", restore)
    with pytest.raises(Conflict, match="default is broken"):
        box.containers.attachments.restore(container)
    assert restored == ["default", "lab"]


def test_ports_are_forwarded_and_withdrawn(box: Box) -> None:
    container = box.started()
    attachments = box.containers.attachments
    attachments.forward(container, (PortMapping(80, 18502), PortMapping(53, 18502, "udp")))
    with pytest.raises(Conflict, match="already"):
        attachments.forward(box.now(container), (PortMapping(81, 18502),))
    assert len(box.network.published) == 2
    box.check_agreement()
    with pytest.raises(NotFound, match="no forward"):
        attachments.withdraw(box.now(container), (PortMapping(80, 1),))
    attachments.withdraw(box.now(container), (PortMapping(80),))
    assert box.now(container).ports == (PortMapping(53, 18502, "udp"),)
    assert box.now(container).config.networking.ports == (PortMapping(53, 18502, "udp"),)
    box.check_agreement()


def test_a_driver_is_only_asked_for_what_it_can(box: Box) -> None:
    networks = box.engine.networks
    for fields in ({"ipv6": True}, {"internal": True}, {"isolate": True}, {"egress_allow": ("10.0.0.0/8",)}):
        with pytest.raises(Unsupported, match="has no"):
            networks.create("lab", ROOT, NetworkRequest(**fields))  # type: ignore[arg-type]
    for networking in ({"egress_allow": ["10.0.0.1"]}, {"bandwidth": "10mbit"}):
        with pytest.raises(Unsupported, match="has no"):
            box.containers.start(box.create(networking=networking))
    assert [network.name for network in box.engine.database.all(Network)] == ["default"]


def test_ordinary_users_get_no_way_into_the_hosts_network(box: Box) -> None:
    for request in (
        NetworkRequest(subnet="8.8.8.0/24"),
        NetworkRequest(subnet="192.168.7.0/24"),
        NetworkRequest(subnet6="fd00:ec2::/64"),
        NetworkRequest(options={"parent": "eth0"}),
        NetworkRequest(driver="macvlan"),
    ):
        with pytest.raises(Refused, match="administrators"):
            box.engine.networks.create("mine", ALICE, request)
    box.engine.networks.create("mine", ALICE)
    box.engine.networks.create("other", ALICE, NetworkRequest(subnet="172.30.0.0/16"))


def test_ipv6_addresses_follow_the_ipv4_ones(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(box.network), "capabilities", EVERYTHING)
    request = replace(LAB, ipv6=True, subnet6="fd00:1::/64")
    box.engine.networks.create("six", ROOT, request)
    container = box.started(networking={"network": "six", "address": "10.198.0.20"})
    other = box.started(networking={"network": "six", "address6": "fd00:1::15", "address": "10.198.0.22"})
    third = box.started(networking={"network": "six", "address": "10.198.0.21"})
    found = [box.engine.networks.endpoints_of(item.id)[0][1].address6 for item in (container, other, third)]
    assert found == ["fd00:1::14/64", "fd00:1::15/64", "fd00:1::16/64"]
    for address6, kind in (("fd00:2::1", InvalidInput), ("fd00:1::1", Conflict), ("fd00:1::14", Conflict)):
        with pytest.raises(kind, match=address6):
            box.containers.start(box.create(networking={"network": "six", "address6": address6}))
    with pytest.raises(InvalidInput, match="no IPv6"):
        box.containers.start(box.create(networking={"address6": "fd00:1::9"}))
    with pytest.raises(Conflict, match="'six'"):
        box.engine.networks.create("seven", ROOT, NetworkRequest(subnet6="fd00::/16"))


def test_a_container_may_only_narrow_what_its_network_allows(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(box.network), "capabilities", EVERYTHING)
    allowed = ("10.0.0.0/8", "*.example.org")
    exam = box.engine.networks.create("exam", ROOT, replace(LAB, egress_allow=allowed))
    container = box.started(networking={"network": "exam"})
    assert box.engine.networks.endpoints_of(container.id)[0][1].egress == ("10.0.0.0/8",)
    narrow = box.started(networking={"network": "exam", "egress_allow": ["a.example.org"]})
    assert box.engine.networks.endpoints_of(narrow.id)[0][1].egress == ()
    assert confinement(exam, narrow) == ("a.example.org",)
    with pytest.raises(InvalidInput, match="does not allow"):
        box.containers.start(box.create(networking={"network": "exam", "egress_allow": ["0.0.0.0/0"]}))


def test_250_containers_fit_a_slash_24_and_the_251st_after_253_does_not(box: Box) -> None:
    lab = box.engine.networks.create("lab", ROOT, LAB)
    container = box.create()
    endpoints: Endpoints = box.engine.networks.endpoints
    taken = [endpoints.reserve(lab, Wanted(container, f"e{number}", Attachment())) for number in range(253)]
    assert len({item.address for item in taken}) == 253
    with pytest.raises(Conflict, match="no free address"):
        endpoints.reserve(lab, Wanted(container, "e", Attachment()))
    endpoints.release(taken[100])
    assert endpoints.reserve(lab, Wanted(container, "e", Attachment())).address == taken[100].address
    for item in taken:
        endpoints.release(item)


def test_a_network_is_removed_as_soon_as_an_ended_container_has_given_its_place_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.engine.networks.create("lab", ROOT, LAB)
    container = box.started(networking={"network": "lab"})
    genuine, delete = threading.Event(), box.network.delete

    def slowly(*words: Any) -> None:
        genuine.wait(0.3)
        delete(*words)

    monkeypatch.setattr(box.network, "delete", slowly)
    box.exits(container, wait=False)
    box.eventually(lambda: str(box.now(container).status) == "exited" or genuine.is_set())
    box.call("networks.remove", name="lab")
    box.settle()
    with pytest.raises(NotFound):
        box.engine.networks.find("lab", ROOT)
