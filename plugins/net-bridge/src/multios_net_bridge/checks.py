"""What comes in is checked before anything is done."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)

from multios.errors import Conflict, InvalidInput, Unsupported
from multios.model.network import Endpoint, Network, PortMapping
from multios.netlink.namespaces import read_setting
from multios_net_bridge import forwarding, ruleset
from multios_net_bridge.failures import failed

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def check_network(network: Network) -> None:
    """Raise for a network that this driver cannot have."""
    _check_interface(network.interface)
    try:
        subnet = IPv4Network(network.subnet)
        inside = IPv4Address(network.gateway) in subnet
    except ValueError:
        raise Unsupported(
            f"network {network.name!r}: the bridge driver needs an IPv4 subnet and gateway",
            "give it an IPv4 --subnet",
        ) from None
    if not inside or subnet.prefixlen > 30 or subnet.is_reserved:
        raise InvalidInput(
            f"gateway: {network.gateway!r} is no host of {network.subnet}", "choose one inside"
        )
    if network.subnet6:
        _check_network6(network)


def _check_network6(network: Network) -> None:
    try:
        inside = IPv6Address(network.gateway6) in IPv6Network(network.subnet6)
    except ValueError:
        inside = False
    if not inside:
        raise InvalidInput(
            f"gateway: {network.gateway6!r} is no host of {network.subnet6}", "choose one inside"
        )
    if not read_setting("ipv6/conf/all/forwarding"):
        raise Unsupported("this kernel has no IPv6", "leave out --ipv6 and IPv6 subnets")


def check_endpoint(endpoint: Endpoint) -> None:
    """Raise ``InvalidInput`` for an endpoint that cannot be."""
    _check_interface(endpoint.interface)
    _check_interface(endpoint.host_interface)
    for text, kind, example in (
        (endpoint.address, IPv4Interface, "172.17.0.2/16"),
        (endpoint.address6, IPv6Interface, "fd12:3456:789a::2/64"),
    ):
        if text or kind is IPv4Interface:
            try:
                kind(text)
            except ValueError:
                raise InvalidInput(
                    f"address: {text!r} is no {kind.__name__[:4]} address", f"for example {example}"
                ) from None
    if not _MAC.fullmatch(endpoint.mac):
        raise InvalidInput(f"mac: {endpoint.mac!r} is no MAC", "for example 02:6d:ac:11:00:02")


def _check_interface(name: str) -> None:
    if not _INTERFACE_NAME.fullmatch(name) or name.isdecimal():
        raise InvalidInput(
            f"interface: {name!r} is no interface name",
            "1 to 15 of A-Z a-z 0-9 _ -, with a letter among them",
        )


def check_port(port: PortMapping, endpoint: Endpoint) -> None:
    """Raise for a mapping that cannot lead to the endpoint."""
    if port.protocol not in ruleset.PROTOCOLS:
        raise Unsupported(
            f"the bridge driver does not forward {port.protocol!r}", "tcp, udp and sctp ports are forwarded"
        )
    for name, number in (("host", port.host), ("container", port.container)):
        if not 1 <= number <= 65535:
            raise InvalidInput(
                f"ports: {name} port {number} is not between 1 and 65535", "choose another port"
            )
    if port.address:
        _check_address(port.address, endpoint)


def _check_address(text: str, endpoint: Endpoint) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(f"ports: {text!r} is no IP address", "for example 127.0.0.1:8080:80") from None
    if address.version == 4:
        return
    if not endpoint.address6:
        raise Unsupported(
            f"ports: the container has no IPv6 address that {text} could lead to",
            "create its network with --ipv6, or publish on an IPv4 address",
        )
    if address.is_loopback and not forwarding.loopback6_is_possible():
        raise Unsupported(
            f"ports: nothing can be published on {text} while bridged packets pass the IPv6 rules",
            "publish on 127.0.0.1, or set net.bridge.bridge-nf-call-ip6tables=0 if no other program needs it",
        )


def check_free(port: PortMapping, is_dual: bool) -> None:
    """Raise ``Conflict`` if a program of the host listens there: it would be cut off without a word."""
    addresses = [port.address] if port.address else ["0.0.0.0", *(["::"] if is_dual else [])]
    for address in addresses:
        _check_bindable(port, address)


def _check_bindable(port: PortMapping, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, protocol = {
        "tcp": (socket.SOCK_STREAM, 0),
        "udp": (socket.SOCK_DGRAM, 0),
        "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
    }[port.protocol]
    try:
        probe = socket.socket(family, kind, protocol)
    except OSError:
        return  # a kernel without such sockets has no program that listens
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port.host))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidInput(
                    f"ports: {address} is no address of this host", "leave it out for all addresses"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise failed(f"publish {port.host}/{port.protocol}", error) from error
            raise Conflict(
                f"host port {port.host}/{port.protocol} is in use by another program",
                "choose another host port",
            ) from error
