"""The networks between a lab's machines, as commands: a template holds one machine and no network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from multios_template_converters.values import Account, Value

# The lab gives its machines addresses of its own, which the guard would take for forged ones.
_CREATE_NETWORK = ("network", "create", "--internal", "--network-opt", "source_guard=false")


@dataclass(frozen=True, slots=True)
class _Interface:
    key: str
    value: Value
    network: str
    mac: str


class Links:
    """``first`` is the number of the first interface that is a link; those before it are on the default network."""

    def __init__(self, account: Account, first: int) -> None:
        self._account, self._first = account, first
        self._machines: dict[str, dict[int, _Interface]] = {}

    def join(self, machine: str, number: int, network: str, key: str, value: Value, mac: str = "") -> None:
        """The machine's interface ``eth<number>`` is on ``network``."""
        interfaces = self._machines.setdefault(machine, {})
        if number in interfaces:
            raise self._account.wrong(
                key, value, f"{machine} has eth{number} twice", "give each a number of its own"
            )
        interfaces[number] = _Interface(key, value, network, mac)

    def count(self, machine: str) -> int:
        """How many links a machine has."""
        return len(self._machines.get(machine, {}))

    def leave(self) -> None:
        """Say of every interface what becomes of it."""
        for interfaces in self._machines.values():
            for place, number in enumerate(sorted(interfaces), self._first):
                one = interfaces[number]
                why = f"a template holds no links: the commands below make the network {one.network}"
                if place != number:
                    why += f", where its interface is eth{place}"
                self._account.leave(one.key, one.value, why)

    def commands(self, templates: Mapping[str, str]) -> tuple[str, ...]:
        """Command lines that make the networks, and the machines of ``templates`` on them."""
        joined = {name: [found[number] for number in sorted(found)] for name, found in self._machines.items()}
        networks = dict.fromkeys(one.network for interfaces in joined.values() for one in interfaces)
        lines = [[*_CREATE_NETWORK, network] for network in networks]
        for machine, interfaces in joined.items():
            first, rest = interfaces[: not self._first], interfaces[not self._first :]
            options = [word for one in first for word in ("--network", one.network, *_address(one))]
            lines.append(["create", "--template", templates[machine], *options, machine])
            lines += [["network", "connect", *_address(one), one.network, machine] for one in rest]
            lines.append(["start", machine])
        return tuple(shlex.join(["multios-container", *line]) for line in lines)


def _address(interface: _Interface) -> list[str]:
    return ["--mac-address", interface.mac] if interface.mac else []
