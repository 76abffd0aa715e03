"""Ports of services: ``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`` with ranges, and the long form."""

from __future__ import annotations

from multios.compose.addresses import address as checked_address
from multios.compose.field import Field
from multios.compose.tree import Table, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_PORTS = 4096
"""Of one service."""
_PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST = 65535


def published(field: Field) -> list[dict[str, Any]]:
    """``networking.ports`` of the container document."""
    found: list[dict[str, Any]] = []
    for item in field.items():
        mappings = _long(item) if isinstance(item.value, Table) else _short(item)
        found += [mapping for mapping in mappings if mapping not in found]
        if len(found) > MOST_PORTS:
            raise item.error(f"there are more than {MOST_PORTS} ports", "publish fewer")
    return found


def check_exposed(field: Field) -> None:
    """``expose`` says what is so anyway; what it says must be ports."""
    for item in field.items():
        text, _, protocol = item.text().partition("/")
        if protocol and protocol not in _PROTOCOLS:
            raise item.expected("a port such as 80, 8000-8010 or 53/udp")
        _range(item, text)


def identity(item: Any) -> Any:
    """What makes two entries the same: address, port of the host, port and protocol; ``None`` if it cannot be told."""
    if isinstance(item, Table):
        fields = (item.get("host_ip"), item.get("published"), item.get("target"), item.get("protocol"))
        if any(isinstance(part, (dict, list)) for part in fields):
            return None
        address, host, inside, protocol = ("" if part is None else written(part) for part in fields)
    elif isinstance(item, (str, int, float)):
        address, host, inside, protocol = _parts(written(item))
    else:
        return None
    return address or "0.0.0.0", host, inside, protocol or "tcp"


def _parts(text: str) -> tuple[str, str, str, str]:
    """Address, host, inside and protocol, as they are written."""
    rest, _, protocol = text.partition("/")
    rest, _, inside = rest.rpartition(":")
    address, _, host = rest.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return address, host, inside, protocol


def _short(field: Field) -> list[dict[str, Any]]:
    text = field.text()
    address, host, inside, protocol = _parts(text)
    if (":" in address and "[" not in text) or not inside or "/" in protocol:
        raise field.expected("[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]")
    if protocol and protocol not in _PROTOCOLS:
        raise field.error(f"{protocol[:20]!r} is no protocol", "use tcp, udp or sctp")
    first, last = _range(field, inside)
    begin, end = _range(field, host) if host else (0, 0)
    if host and first == last and begin < end:
        _check_address(field, address)
        return [{**_mapping(first, begin, protocol, address), "host_last": end}]
    if host and end - begin != last - first:
        raise field.error(
            f"{host} and {inside} are not equally many ports",
            "give as many ports of the host as inside, or no port of the host for any that is free",
        )
    _check_address(field, address)
    return [
        _mapping(port, begin + port - first if host else 0, protocol, address)
        for port in range(first, last + 1)
    ]


def _long(field: Field) -> list[dict[str, Any]]:
    keys = field.table("ports")
    if "target" not in keys:
        raise field.error("target is missing", "say which port inside is meant")
    inside = keys["target"].whole(1, _LARGEST)
    host = keys["published"] if keys.get("published") else None
    if "mode" in keys:
        keys["mode"].one_of("host", "ingress")
    protocol = keys["protocol"].one_of(*_PROTOCOLS) if "protocol" in keys else ""
    address = keys["host_ip"].text() if "host_ip" in keys else ""
    _check_address(keys.get("host_ip", field), address)
    if host is not None and "-" in host.text():
        begin, end = _range(host, host.text())
        return [{**_mapping(inside, begin, protocol, address), "host_last": end}]
    return [_mapping(inside, host.whole(0, _LARGEST) if host else 0, protocol, address)]


def _check_address(field: Field, address: str) -> None:
    if address:
        checked_address(Field(address, field.path, field.place, field.report))


def _mapping(inside: int, host: int, protocol: str, address: str) -> dict[str, Any]:
    mapping: dict[str, Any] = {"container": inside}
    if host:
        mapping["host"] = host
    if protocol and protocol != "tcp":
        mapping["protocol"] = protocol
    if address:
        mapping["address"] = address
    return mapping


def _range(field: Field, text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 5 for part in numbers):
        raise field.expected("a port such as 80, 8000-8010 or 53/udp")
    begin, end = (int(part) for part in numbers)
    if not 1 <= begin <= end <= _LARGEST:
        raise field.error(f"{text} are no ports", f"ports are 1 to {_LARGEST}, the lower one first")
    if end - begin >= MOST_PORTS:
        raise field.error(f"{text} are more than {MOST_PORTS} ports", "publish fewer")
    return begin, end
