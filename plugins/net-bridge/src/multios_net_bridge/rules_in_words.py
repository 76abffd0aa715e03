"""What our table does with an endpoint's packets, in nft(8)'s words, from what the kernel holds."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from multios.drivers.network import HostRule
from multios.model.network import Endpoint, Network
from multios_net_bridge.firewall import Firewall
from multios_net_bridge.ruleset import PROTOCOLS, Forward


def rules(firewall: Firewall, network: Network, endpoint: Endpoint) -> tuple[HostRule, ...]:
    """The rules that a packet meets on its way out, then those on its way in; IPv4's."""
    table, sets = f"ip {firewall.table}", firewall.sets_with(network)
    found = []

    def say(chain: str, words: str) -> None:
        found.append(HostRule(f"table {table}, chain {chain}", words, f"nft list chain {table} {chain}"))

    if "apart" in sets:
        say("passing", "iifname . oifname @apart drop: no packet goes from one container to another")
    if "internal" in sets:
        say("passing", "iifname @internal drop: nothing leaves this network")
    if endpoint.egress is not None:
        say("passing", "ip saddr @confined: only to what its allow-list names")
    if "outgoing" in sets:
        say("leaving", f"ip saddr {network.subnet} masquerade: it goes out under the host's address")
    if "bridges" in sets:
        say("passing", "oifname @bridges drop: nothing comes in but answers and what is published")
    found.extend(_published(table, firewall.published_to(endpoint)))
    return tuple(found)


def _published(table: str, forwards: list[Forward]) -> Iterator[HostRule]:
    names = {number: name for name, number in PROTOCOLS.items()}
    for item in forwards:
        key, target = item.element.key, item.element.data
        at = ""
        if item.map == "bound":
            at, key = f"ip daddr {IPv4Address(key[:4])} ", key[4:]
        port, inside = int.from_bytes(key[4:6], "big"), int.from_bytes(target[4:6], "big")
        words = (
            f"{at}{names.get(key[0], str(key[0]))} dport {port} dnat to {IPv4Address(target[:4])}:{inside}"
        )
        yield HostRule(f"table {table}, map {item.map}", words, f"nft list map {table} {item.map}")
