"""What the driver says of its rules is what the kernel's tables hold, and goes when they do."""

from __future__ import annotations

from typing import Any

import pytest

from multios.model.network import PortMapping
from multios_net_bridge.host import table_name

pytestmark = pytest.mark.needs_root


def words(world: Any, network: Any, endpoint: Any) -> str:
    return "\n".join(rule.words for rule in world.driver.rules(network, endpoint))


def test_a_network_with_a_way_out_says_so_and_where(world: Any) -> None:
    network = world.network("a")
    _, endpoint = world.container(network, 2)
    rules = world.driver.rules(network, endpoint)
    table = table_name(world.driver.context.state)
    assert any("masquerade" in rule.words for rule in rules)
    for rule in rules:
        assert rule.place.startswith(f"table ip {table}, ") and f" ip {table} " in rule.see


def test_published_ports_are_told_until_they_are_withdrawn(world: Any) -> None:
    network = world.network("a")
    _, endpoint = world.container(network, 2)
    ports = (PortMapping(80, 8080), PortMapping(53, 5353, "udp", "127.0.0.1"))
    world.driver.publish(network, endpoint, ports)
    address = endpoint.address.partition("/")[0]
    said = words(world, network, endpoint)
    assert f"tcp dport 8080 dnat to {address}:80" in said
    assert f"ip daddr 127.0.0.1 udp dport 5353 dnat to {address}:53" in said
    world.driver.unpublish(network, endpoint, ports)
    assert "dnat" not in words(world, network, endpoint)


@pytest.mark.parametrize(
    ("kind", "word"), [("internal", "nothing leaves"), ("isolate", "one container to another")]
)
def test_an_internal_and_an_isolated_network_say_so(world: Any, kind: str, word: str) -> None:
    network = world.network("a", **{kind: True})
    _, endpoint = world.container(network, 2)
    said = words(world, network, endpoint)
    assert word in said and ("masquerade" in said) is (kind != "internal")


def test_rules_that_are_gone_are_not_told(world: Any) -> None:
    network = world.network("a")
    _, endpoint = world.container(network, 2)
    world.driver.delete_network(network)
    assert world.driver.rules(network, endpoint) == ()
