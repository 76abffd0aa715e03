"""What the driver's verbs do to the host, in order, with the inverse of what was done when one fails."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from multios.errors import Conflict, InvalidInput, StepFailed, Unsupported
from multios.model.network import Endpoint, Network, PortMapping
from multios_net_bridge import conntrack, links, ruleset
from multios_net_bridge.attach import Veths
from multios_net_bridge.firewall import Firewall
from multios_net_bridge.guard import Guard
from multios_net_bridge.namespaces import write_setting
from multios_net_bridge.nfnetlink import Element

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def table_name(state: Path) -> str:
    """The nftables table of the engine that keeps its state there: engines on one host stay apart."""
    return "multios-" + hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:8]


class Host:
    """One engine's networks on this host."""

    def __init__(self, table: str) -> None:
        self.firewall = Firewall(table)
        self._guard = Guard(table)
        self._veths = Veths()

    def close(self) -> None:
        """Close the netlink sockets."""
        self.firewall.close()
        self._guard.close()
        self._veths.close()

    def create(self, network: Network, mtu: int, isolate: bool, masquerade: bool) -> None:
        """Make or repair the network; a failure leaves what was there before."""
        _check_network(network)
        made = False
        try:
            made = links.ensure_bridge(network, mtu)
            # No address of its own: nothing on the network can reach the host's IPv6 services, and no
            # router advertisement from it is heeded.
            write_setting(f"ipv6/conf/{network.interface}/disable_ipv6", "1")
            write_setting(f"ipv4/conf/{network.interface}/route_localnet", "1")
            if not network.internal:
                write_setting("ipv4/ip_forward", "1")
            self._guard.install()
            self.firewall.add_network(
                network.interface, network.subnet, network.internal, isolate, masquerade
            )
        except BaseException as error:
            if made:
                links.delete_bridge(network)
            if not self.firewall.has_any_network():
                self._guard.uninstall()
            if isinstance(error, OSError):
                raise _failed(f"make network {network.name!r}", error) from error
            raise

    def delete(self, network: Network) -> None:
        """Remove the network's rules, then its bridge."""
        _check_network(network)
        try:
            self.firewall.remove_network(network.interface, network.subnet)
            if not self.firewall.has_any_network():
                self._guard.uninstall()
            links.delete_bridge(network)
        except OSError as error:
            raise _failed(f"remove network {network.name!r}", error) from error

    def attach(
        self, network: Network, endpoint: Endpoint, netns: int, mtu: int, isolate: bool, guard: bool
    ) -> None:
        """Make the endpoint's veth pair, guarded before it is there."""
        _check_endpoint(endpoint)
        try:
            if guard:
                self._guard.add(endpoint)
            try:
                self.firewall.confine(endpoint)
                self._veths.attach(network, endpoint, netns, mtu, isolate)
            except BaseException:
                if not self._veths.has(endpoint):  # another container's may stand there
                    self._guard.remove(endpoint)
                    self.firewall.release(endpoint)
                raise
        except OSError as error:
            raise _failed(f"attach to network {network.name!r}", error) from error

    def restore(self, endpoint: Endpoint, guard: bool) -> None:
        """Guard and confine an endpoint that is attached."""
        _check_endpoint(endpoint)
        try:
            if guard:
                self._guard.add(endpoint)
            self.firewall.confine(endpoint)
        except OSError as error:
            raise _failed("restore the container's place", error) from error

    def permit(self, endpoint: Endpoint, addresses: tuple[str, ...], seconds: int) -> None:
        """Let a confined endpoint reach addresses for a time."""
        _check_endpoint(endpoint)
        try:
            self.firewall.permit(endpoint, addresses, seconds)
        except OSError as error:
            raise _failed("permit what a name leads to", error) from error

    def detach(self, endpoint: Endpoint) -> None:
        """Withdraw the endpoint's ports, and remove its pair if the kernel does not."""
        _check_endpoint(endpoint)
        try:
            self.firewall.withdraw(endpoint.address.partition("/")[0])
            self._veths.detach(endpoint)
            self._guard.remove(endpoint)
            self.firewall.release(endpoint)
        except OSError as error:
            raise _failed("detach from the network", error) from error

    def faults(self, network: Network, endpoint: Endpoint, netns: int) -> list[str]:
        """What is not as create and attach left it."""
        try:
            faults = self._veths.faults(network, endpoint, netns)
            if not self.firewall.has_network(network.interface, network.subnet):
                faults.append("the host's nftables rules for the network are missing")
        except OSError as error:
            raise _failed(f"check network {network.name!r}", error) from error
        return faults

    def publish(self, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward the ports: all, or none."""
        forwards = _forwards(endpoint, ports)
        for port in ports:
            _check_free(port)
        listed = ", ".join(f"{port.host}/{port.protocol}" for port in ports)
        try:
            self.firewall.publish(forwards)
            try:
                self._forget_flows(ports)
            except BaseException:
                self.firewall.unpublish(forwards)
                raise
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.EBUSY):
                raise Conflict(
                    f"host port {listed} is published to another container already",
                    "choose another host port",
                ) from error
            raise _failed(f"publish {listed}", error) from error

    def serve_names(self, network: Network, port: int) -> None:
        """Send questions for port 53 of the gateway to ``port`` there."""
        _check_network(network)
        gateway = network.gateway
        forwards = [ruleset.forward(gateway, protocol, 53, gateway, port) for protocol in ("udp", "tcp")]
        try:
            self.firewall.replace(forwards)
            # A flow of a former network with this gateway would go on leading to that one's port.
            conntrack.forget_datagrams({53}, lambda address: address == socket.inet_aton(gateway))
        except OSError as error:
            raise _failed(f"serve names on network {network.name!r}", error) from error

    def unpublish(self, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward the ports no longer."""
        forwards = _forwards(endpoint, ports)
        try:
            self.firewall.unpublish(forwards)
            self._forget_flows(ports)
        except OSError as error:
            raise _failed("unpublish", error) from error

    def _forget_flows(self, ports: tuple[PortMapping, ...]) -> None:
        # A UDP flow keeps its old way for as long as it is used: TCP ends by itself.
        datagrams = {port.host for port in ports if port.protocol == "udp"}
        if datagrams:
            own = self._veths.host_addresses()
            conntrack.forget_datagrams(datagrams, lambda target: target in own or target[:1] == b"\x7f")


def _forwards(endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> list[tuple[str, Element]]:
    address = endpoint.address.partition("/")[0]
    found = []
    for port in ports:
        _check_port(port)
        bound = "" if port.address == "0.0.0.0" else port.address
        found.append(ruleset.forward(bound, port.protocol, port.host, address, port.container))
    return found


# --- what is refused ----------------------------------------------------------------------------


def _check_network(network: Network) -> None:
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


def _check_endpoint(endpoint: Endpoint) -> None:
    _check_interface(endpoint.interface)
    _check_interface(endpoint.host_interface)
    try:
        IPv4Interface(endpoint.address)
    except ValueError:
        raise InvalidInput(
            f"address: {endpoint.address!r} is no IPv4 address", "for example 172.17.0.2/16"
        ) from None
    if not _MAC.fullmatch(endpoint.mac):
        raise InvalidInput(f"mac: {endpoint.mac!r} is no MAC", "for example 02:6d:ac:11:00:02")


def _check_interface(name: str) -> None:
    if not _INTERFACE_NAME.fullmatch(name) or name.isdecimal():
        raise InvalidInput(
            f"interface: {name!r} is no interface name",
            "1 to 15 of A-Z a-z 0-9 _ -, with a letter among them",
        )


def _check_port(port: PortMapping) -> None:
    if port.protocol not in ruleset.PROTOCOLS:
        raise Unsupported(
            f"the bridge driver does not forward {port.protocol!r}", "tcp and udp ports are forwarded"
        )
    for name, number in (("host", port.host), ("container", port.container)):
        if not 1 <= number <= 65535:
            raise InvalidInput(
                f"ports: {name} port {number} is not between 1 and 65535", "choose another port"
            )
    if port.address:
        try:
            IPv4Address(port.address)
        except AddressValueError:
            raise InvalidInput(
                f"ports: {port.address!r} is no IPv4 address", "for example 127.0.0.1:8080:80"
            ) from None


def _check_free(port: PortMapping) -> None:
    """Raise ``Conflict`` if a program of the host listens there: it would be cut off without a word."""
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address, port.host))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidInput(
                    f"ports: {port.address} is no address of this host", "leave it out for all addresses"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise _failed(f"publish {port.host}/{port.protocol}", error) from error
            raise Conflict(
                f"host port {port.host}/{port.protocol} is in use by another program",
                "choose another host port",
            ) from error


def _failed(step: str, error: OSError) -> StepFailed:
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        return StepFailed(
            step, f"the nftables rules are missing ({reason})", "restart the daemon to repair them"
        )
    if error.errno == errno.EPERM:
        return StepFailed(step, reason, "the daemon needs CAP_NET_ADMIN")
    if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return StepFailed(
            step, reason, "the kernel lacks bridge, veth or nftables: see `multios-container doctor`"
        )
    return StepFailed(step, reason, "see `multios-container doctor`")
