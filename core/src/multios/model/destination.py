"""What a confined container may reach: addresses, CIDRs and domain names, as text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from multios.errors import InvalidInput

_DOMAIN = re.compile(r"(\*\.)?(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})+")


def parse(text: str, field: str = "egress_allow") -> str:
    """A destination in its normal form. ``InvalidInput`` for what is neither address, CIDR nor domain name."""
    try:
        network = ipaddress.ip_network(text, strict=False)
        return str(network.network_address) if network.num_addresses == 1 else str(network)
    except ValueError:
        pass
    name = text.lower().rstrip(".")
    if not _DOMAIN.fullmatch(name) or name.rpartition(".")[2].isdecimal():
        raise InvalidInput(
            f"{field}: {text!r} is no address, CIDR or domain name",
            "for example 192.0.2.7, 192.0.2.0/24, example.org or *.example.org",
        )
    return name


def is_domain(destination: str) -> bool:
    """Whether a parsed destination is a domain name."""
    return ":" not in destination and not destination.rpartition(".")[2].partition("/")[0].isdecimal()


def domains(destinations: Iterable[str]) -> tuple[str, ...]:
    """The domain names among them."""
    return tuple(item for item in destinations if is_domain(item))


def blocks(destinations: Iterable[str]) -> tuple[str, ...]:
    """The addresses and CIDRs among them."""
    return tuple(item for item in destinations if not is_domain(item))


def covers(allowed: Iterable[str], wanted: str) -> bool:
    """Whether who may reach ``allowed`` may reach ``wanted``."""
    if is_domain(wanted):
        return any(item == wanted or _is_above(item, wanted) for item in domains(allowed))
    block = ipaddress.ip_network(wanted)
    others = (ipaddress.ip_network(item) for item in blocks(allowed))
    return any(other.version == block.version and block.subnet_of(other) for other in others)  # type: ignore[arg-type]


def _is_above(pattern: str, name: str) -> bool:
    return pattern.startswith("*.") and name.removeprefix("*.").endswith(pattern[1:])
