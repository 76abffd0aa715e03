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

_IFF_UP = 1


def bridge_mac(network: Network) -> str:
    """The MAC of a network's bridge: fixed, else it would change with every port and confuse neighbours."""
    digest = hashlib.sha256(network.id.encode()).digest()
    return "02:" + ":".join(f"{octet:02x}" for octet in digest[:5])


def ensure_bridge(network: Network, mtu: int) -> bool:
    """Make the bridge with its address, or repair it; whether it was made.

    A clash raises ``Conflict``; what the kernel refuses is an ``OSError``, and then no new bridge is left.
    """
    subnet = ipaddress.IPv4Network(network.subnet)
    with _rtnetlink() as kernel:
        link = _find(kernel, network.interface)
        if link is not None:
            _check_ours(link, network)
        _check_routes(kernel, network, subnet)
        if link is not None:
            _complete(kernel, link, network, subnet, mtu)
            return False
        mac = bridge_mac(network)
        kernel.link("add", ifname=network.interface, kind="bridge", address=mac, mtu=mtu)
        try:
            _complete(kernel, _find(kernel, network.interface), network, subnet, mtu)
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


def _complete(
    kernel: IPRoute, link: Mapping[str, Any] | None, network: Network, subnet: ipaddress.IPv4Network, mtu: int
) -> None:
    if link is None:
        raise OSError(errno.ENODEV, f"{network.interface} vanished")
    index = link["index"]
    if not link["flags"] & _IFF_UP or link.get("mtu") != mtu:
        kernel.link("set", index=index, state="up", mtu=mtu, ifalias=f"MultiOS network {network.name}"[:255])
    present = {
        (row.get("local"), row["prefixlen"]) for row in kernel.get_addr(family=socket.AF_INET, index=index)
    }
    if (network.gateway, subnet.prefixlen) not in present:
        kernel.addr("add", index=index, address=network.gateway, prefixlen=subnet.prefixlen)


def _check_ours(link: Mapping[str, Any], network: Network) -> None:
    if link.get("address") != bridge_mac(network) or _kind(link) != "bridge":
        raise Conflict(
            f"the host already has an interface {network.interface!r} that is not network {network.name!r}'s",
            f"choose another name for the bridge, or remove it: ip link delete {network.interface}",
        )


def _check_routes(kernel: IPRoute, network: Network, subnet: ipaddress.IPv4Network) -> None:
    for route in kernel.get_routes(family=socket.AF_INET):
        if not route.get("dst") or route["dst_len"] == 0:
            continue
        other = ipaddress.IPv4Network((route.get("dst"), route["dst_len"]))
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
