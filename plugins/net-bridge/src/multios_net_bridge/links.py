"""The bridge of a network: made, repaired, removed with pyroute2, which only this module imports.

A bridge is known as ours by its MAC, which is made from the network's id and set in the request that
makes the link: so there is no moment at which a crash leaves a bridge that nobody owns.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from multios.errors import Conflict
from multios.model.network import Network
from multios.netlink.namespaces import write_setting

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

_IFF_UP = 1
_NO_LINK_LOCAL = "1"  # IN6_ADDR_GEN_MODE_NONE
_NO_DETECTION = 0x02  # IFA_F_NODAD
_LOCAL_TABLE, _LOCAL_ROUTE, _LAST = 255, 2, 4096


def bridge_mac(network: Network) -> str:
    """The MAC of a network's bridge: fixed, else it would change with every port and confuse neighbours."""
    digest = hashlib.sha256(network.id.encode()).digest()
    return "02:" + ":".join(f"{octet:02x}" for octet in digest[:5])


def ensure_bridge(network: Network, mtu: int) -> bool:
    """Make the bridge with its addresses, or repair it; whether it was made.

    A clash raises ``Conflict``; what the kernel refuses is an ``OSError``, and then no new bridge is left.
    """
    with _rtnetlink() as kernel:
        link = _find(kernel, network.interface)
        if link is not None:
            _check_ours(link, network)
        for subnet in filter(None, (network.subnet, network.subnet6)):
            _check_routes(kernel, network, ipaddress.ip_network(subnet))
        if link is not None:
            _complete(kernel, link, network, mtu)
            return False
        mac = bridge_mac(network)
        kernel.link("add", ifname=network.interface, kind="bridge", address=mac, mtu=mtu)
        try:
            _complete(kernel, _find(kernel, network.interface), network, mtu)
        except BaseException:
            _delete(kernel, network.interface)
            raise
        return True


def delete_bridge(network: Network) -> None:
    """Remove the bridge; an absent one is no error, and neither is another's of that name, which stays."""
    with _rtnetlink() as kernel:
        link = _find(kernel, network.interface)
        if link is not None and link.get("address") == bridge_mac(network):
            _delete(kernel, network.interface)


@contextmanager
def _rtnetlink() -> Iterator[IPRoute]:
    """A socket of the calling thread's own: pyroute2's event loop is not for sharing."""
    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[-1])) from error


def _complete(kernel: IPRoute, link: Mapping[str, Any] | None, network: Network, mtu: int) -> None:
    if link is None:
        raise OSError(errno.ENODEV, f"{network.interface} vanished")
    index = link["index"]
    _settle_ipv6(network)
    if not link["flags"] & _IFF_UP or link.get("mtu") != mtu:
        kernel.link("set", index=index, state="up", mtu=mtu, ifalias=f"MultiOS network {network.name}"[:255])
    present = {
        (row.get("local") or row.get("address"), row["prefixlen"]) for row in kernel.get_addr(index=index)
    }
    for own in _own_addresses(network):
        if (str(own.ip), own.network.prefixlen) not in present:
            _add_address(kernel, index, own)
    if network.subnet6:
        _add_loopback_route(kernel, index)


def _settle_ipv6(network: Network) -> None:
    """No IPv6 but on a network that has it, and then our addresses alone: no router's, none that the kernel makes."""
    settings = f"ipv6/conf/{network.interface}"
    if network.subnet6:
        write_setting(f"{settings}/accept_ra", "0")
        write_setting(f"{settings}/addr_gen_mode", _NO_LINK_LOCAL)
    write_setting(f"{settings}/disable_ipv6", "0" if network.subnet6 else "1")


def _own_addresses(network: Network) -> Iterator[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """The bridge's: the gateways, and a link-local one, from which the kernel seeks neighbours for others' packets.

    The kernel would make the latter by itself, but only when the first container is there, and a moment too late.
    """
    yield ipaddress.IPv4Interface(f"{network.gateway}/{network.subnet.partition('/')[2]}")
    if network.subnet6:
        yield ipaddress.IPv6Interface(f"{network.gateway6}/{network.subnet6.partition('/')[2]}")
        first, *rest = bytes.fromhex(bridge_mac(network).replace(":", ""))
        identifier = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])  # RFC 4291, appendix A
        yield ipaddress.IPv6Interface((b"\xfe\x80" + bytes(6) + identifier, 64))


def _add_address(kernel: IPRoute, index: int, own: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    flags = {} if own.version == 4 else {"flags": _NO_DETECTION}
    kernel.addr(
        "add", index=index, family=family, address=str(own.ip), prefixlen=own.network.prefixlen, **flags
    )


def _add_loopback_route(kernel: IPRoute, index: int) -> None:
    """Let answers to ``::1`` come in by the bridge, as ``route_localnet`` does for 127.0.0.1.

    The kernel takes a packet for ``::1`` only where a route has it come from (the strict look-up of ip6_route_input);
    this one is worse than the loopback's own, so that nothing is sent by it.
    """
    try:
        kernel.route(
            "append",
            family=socket.AF_INET6,
            dst="::1/128",
            oif=index,
            table=_LOCAL_TABLE,
            type=_LOCAL_ROUTE,
            priority=_LAST,
        )
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _check_ours(link: Mapping[str, Any], network: Network) -> None:
    if link.get("address") != bridge_mac(network) or _kind(link) != "bridge":
        raise Conflict(
            f"the host already has an interface {network.interface!r} that is not network {network.name!r}'s",
            f"choose another name for the bridge, or remove it: ip link delete {network.interface}",
        )


def _check_routes(kernel: IPRoute, network: Network, subnet: Subnet) -> None:
    family = socket.AF_INET if subnet.version == 4 else socket.AF_INET6
    for route in kernel.get_routes(family=family):
        if not route.get("dst") or route["dst_len"] == 0:
            continue
        other: Subnet = type(subnet)((route.get("dst"), route["dst_len"]))
        if not other.overlaps(subnet):
            continue
        outgoing = _name_of(kernel, route.get("oif"))
        if outgoing != network.interface:
            raise Conflict(
                f"subnet {subnet} of network {network.name!r} overlaps the host's route {other} (interface {outgoing})",
                "choose another subnet with --subnet",
            )


def _find(kernel: IPRoute, name: str) -> Mapping[str, Any] | None:
    try:
        found = list(kernel.link("get", ifname=name))
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return found[0] if found else None


def _name_of(kernel: IPRoute, index: int | None) -> str:
    if index is None:
        return "none"
    found = list(kernel.link("get", index=index))
    return str(found[0].get("ifname")) if found else str(index)


def _kind(link: Mapping[str, Any]) -> str:
    information = link.get("linkinfo")
    return str(information.get("kind")) if information else ""


def _delete(kernel: IPRoute, name: str) -> None:
    try:
        kernel.link("del", ifname=name)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
