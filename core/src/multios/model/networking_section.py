"""The ``networking`` of the container document.

A part of :mod:`multios.model.container_document`: readers take a field's path and its value, and give the checked one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from multios.errors import InvalidInput
from multios.model import destination
from multios.model.container import HOST_GATEWAY, OF_CONTAINER, Attachment, Networking
from multios.model.container_names import check_name
from multios.model.fields import Reader, read_fields, read_integer, read_list, read_mapping, read_text, wrong
from multios.model.network import PortMapping
from multios.model.quantities import parse_rate


def _port(path: str, value: Any) -> PortMapping:
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"container": value}
    fields = read_fields(path, value, _PORT)
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say which port inside is meant")
    mapping = PortMapping(**fields)
    if mapping.host_last and not 0 < mapping.host <= mapping.host_last:
        raise wrong(f"{path}.host_last", mapping.host_last, "the last port of a range that begins with host")
    return mapping


def _protocol(path: str, value: Any) -> str:
    if value not in ("tcp", "udp", "sctp"):
        raise wrong(path, value, "tcp, udp or sctp")
    return str(value)


def _mac(path: str, value: Any) -> str:
    text = read_text(path, value).lower()
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", text) or text == "00:00:00:00:00:00":
        raise wrong(path, value, "a MAC of one interface such as 02:6d:ac:14:00:02")
    return text


def _host_address(path: str, value: Any) -> str:
    """An address that a port of the host can be published on."""
    address = ipaddress.ip_address(_address(path, value))
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if is_mapped or address.is_multicast or str(address) == "255.255.255.255":
        raise wrong(path, value, "an address of this host")
    return str(address)


def _address_of(version: int) -> Reader:
    def read(path: str, value: Any) -> str:
        address = _address(path, value)
        if ipaddress.ip_address(address).version != version:
            raise wrong(path, value, f"an IPv{version} address")
        return address

    return read


def _bandwidth(path: str, value: Any) -> dict[str, int]:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        value = {"in": value, "out": value}
    return read_fields(path, value, {"in": _rate, "out": _rate})


def _rate(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise wrong(path, value, "a rate such as 10mbit")
    return parse_rate(value, field=path)


def parse_attachment(document: Any) -> Attachment:
    """What ``network connect`` asks for, as ``networking.attachments`` has it for one network."""
    return _attachment("attachment", document)


def parse_ports(document: Any) -> tuple[PortMapping, ...]:
    """The ``networking.ports`` section alone, as ``port-forward`` sends it."""
    ports: tuple[PortMapping, ...] = read_list(_port)("ports", document)
    return ports


def _attachment(path: str, value: Any) -> Attachment:
    return Attachment(**read_fields(path, value, _ATTACHMENT))


def read_networking(path: str, value: Any) -> Networking:
    """The section; without a word of networks it is the default one."""
    fields = read_fields(path, value, _NETWORKING)
    for direction, rate in fields.pop("bandwidth", {}).items():
        fields[f"bandwidth_{direction}"] = rate
    single = fields.pop("network", None)
    names = fields.get("networks", ()) or ((single,) if single else ("default",))
    alone = [name for name in names if name in ("none", "host") or name.startswith(OF_CONTAINER)]
    if len(names) > 1 and alone:
        raise InvalidInput(
            f"{path}.networks: 'none', 'host' and '{OF_CONTAINER}NAME' stand alone", "name only one of them"
        )
    if names[0].startswith(OF_CONTAINER):
        for field in _OF_A_NAMESPACE:
            if fields.get(field):
                raise InvalidInput(
                    f"{path}.{field}: the network is that of container {names[0].removeprefix(OF_CONTAINER)!r}",
                    f"leave out {field!r} here, and say it of that container",
                )
    if {"none", "host"} & set(names):
        for field in _OF_A_NETWORK:
            if fields.get(field):
                raise InvalidInput(f"{path}.{field}: network {names[0]!r} has none", f"leave out {field!r}")
    if "none" in names and HOST_GATEWAY in fields.get("extra_hosts", {}).values():
        raise InvalidInput(
            f"{path}.extra_hosts: on network 'none' the host has no address", f"leave out {HOST_GATEWAY!r}"
        )
    for name in fields.get("attachments", {}):
        if name not in names:
            raise InvalidInput(f"{path}.attachments: {name!r} is not among the networks", "add it there")
    return Networking(**{**fields, "networks": tuple(dict.fromkeys(names))})


def _network_name(path: str, value: Any) -> str:
    name = read_text(path, value)
    if name.startswith(OF_CONTAINER):
        return OF_CONTAINER + check_name("container", name.removeprefix(OF_CONTAINER))
    return check_name("network", name)


def read_hostname(path: str, value: Any) -> str:
    """A host name of letters, digits and ``-`` (RFC 1123)."""
    text = read_text(path, value)
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", text) or len(text) > 64:
        raise wrong(path, value, "a host name of at most 64 letters, digits and '-'")
    return text


def _alias(path: str, value: Any) -> str:
    """A host name in which ``_`` is allowed too, as containers' own names have it."""
    text = read_text(path, value)
    read_hostname(path, text.replace("_", "-"))
    return text


def _address(path: str, value: Any) -> str:
    try:
        address = ipaddress.ip_address(read_text(path, value))
        if "%" in str(address):  # a scope is an interface of the host's, and may be any text
            raise ValueError
        return str(address)
    except ValueError:
        raise wrong(path, value, "an IP address") from None


def _extra_host(path: str, value: Any) -> str:
    return HOST_GATEWAY if value == HOST_GATEWAY else _address(path, value)


_PORT: dict[str, Reader] = {
    "container": read_integer(1, 65535),
    "host": read_integer(0, 65535),
    "host_last": read_integer(0, 65535),
    "protocol": _protocol,
    "address": _host_address,
}
_ATTACHMENT: dict[str, Reader] = {
    "address": _address_of(4),
    "address6": _address_of(6),
    "mac": _mac,
    "aliases": read_list(_alias),
}
_OF_A_NETWORK = ("ports", "address", "address6", "mac", "egress_allow", "bandwidth_in", "bandwidth_out")
_OF_A_NAMESPACE = (*_OF_A_NETWORK, "attachments", "aliases", "dns", "dns_search", "extra_hosts")
_NETWORKING: dict[str, Reader] = {
    "network": _network_name,
    "networks": read_list(_network_name),
    "attachments": read_mapping(_attachment),
    "aliases": read_list(_alias),
    "address": _address_of(4),
    "address6": _address_of(6),
    "mac": _mac,
    "egress_allow": read_list(lambda path, value: destination.parse(read_text(path, value), path)),
    "bandwidth": _bandwidth,
    "ports": read_list(_port),
    "dns": read_list(_address),
    "dns_search": read_list(read_hostname),
    "extra_hosts": lambda path, value: {
        read_hostname(path, name): address for name, address in read_mapping(_extra_host)(path, value).items()
    },
}
