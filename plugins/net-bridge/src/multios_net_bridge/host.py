"""What the driver's verbs do to the host, in order, with the inverse of what was done when one fails."""

from __future__ import annotations

import errno
import hashlib
from ipaddress import ip_address
from pathlib import Path

from multios.drivers.network import HostRule
from multios.errors import Conflict
from multios.model.network import Endpoint, Network, PortMapping
from multios.netlink.container_side import check_mtu
from multios_net_bridge import conntrack, forwarding, links, rules_in_words, ruleset
from multios_net_bridge.attach import Port, Veths
from multios_net_bridge.checks import check_endpoint, check_free, check_network, check_port
from multios_net_bridge.failures import failed
from multios_net_bridge.firewall import Firewall
from multios_net_bridge.guard import Guard
from multios_net_bridge.ruleset import Forward


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
        check_network(network)
        check_mtu(network, mtu)
        made = False
        try:
            made = links.ensure_bridge(network, mtu)
            forwarding.enable(network)
            self._guard.install()
            self.firewall.add_network(network, isolate, masquerade, forwarding.loopback6_is_possible())
        except BaseException as error:
            if made:
                links.delete_bridge(network)
            if not self.firewall.has_any_network():
                self._guard.uninstall()
            if isinstance(error, OSError):
                raise failed(f"make network {network.name!r}", error) from error
            raise

    def delete(self, network: Network) -> None:
        """Remove the network's rules, then its bridge."""
        check_network(network)
        try:
            self.firewall.remove_network(network)
            if not self.firewall.has_any_network():
                self._guard.uninstall()
            links.delete_bridge(network)
        except OSError as error:
            raise failed(f"remove network {network.name!r}", error) from error

    def attach(self, network: Network, endpoint: Endpoint, netns: int, mtu: int, port: Port) -> None:
        """Make the endpoint's veth pair, guarded before it is there."""
        check_endpoint(endpoint)
        try:
            if port.guarded:
                self._guard.add(endpoint)
            try:
                self.firewall.confine(endpoint)
                self._veths.attach(network, endpoint, netns, mtu, port)
            except BaseException:
                if not self._veths.has(endpoint):  # another container's may stand there
                    self._guard.remove(endpoint)
                    self.firewall.release(endpoint)
                raise
        except OSError as error:
            raise failed(f"attach to network {network.name!r}", error) from error

    def restore(self, network: Network, endpoint: Endpoint, port: Port) -> None:
        """Guard and confine an endpoint that is attached, and put it on the bridge again."""
        check_endpoint(endpoint)
        try:
            if port.guarded:
                self._guard.add(endpoint)
            self.firewall.confine(endpoint)
            self._veths.restore(network, endpoint, port)
        except OSError as error:
            raise failed("restore the container's place", error) from error

    def permit(self, endpoint: Endpoint, addresses: tuple[str, ...], seconds: int) -> None:
        """Let a confined endpoint reach addresses for a time."""
        check_endpoint(endpoint)
        try:
            self.firewall.permit(endpoint, addresses, seconds)
        except OSError as error:
            raise failed("permit what a name leads to", error) from error

    def refused(self, endpoint: Endpoint) -> int:
        """How many of a confined endpoint's packets were dropped."""
        try:
            return self.firewall.refused(endpoint)
        except OSError as error:
            raise failed("count what was refused", error) from error

    def rules(self, network: Network, endpoint: Endpoint) -> tuple[HostRule, ...]:
        """What the kernel's tables hold of the network and the endpoint, for people."""
        try:
            return rules_in_words.rules(self.firewall, network, endpoint)
        except OSError as error:
            raise failed("read the host's rules", error) from error

    def detach(self, endpoint: Endpoint) -> None:
        """Withdraw the endpoint's ports, and remove its pair if the kernel does not."""
        check_endpoint(endpoint)
        try:
            self.firewall.withdraw(endpoint)
            self._veths.detach(endpoint)
            self._guard.remove(endpoint)
            self.firewall.release(endpoint)
        except OSError as error:
            raise failed("detach from the network", error) from error

    def faults(self, network: Network, endpoint: Endpoint, netns: int) -> list[str]:
        """What is not as create and attach left it."""
        try:
            faults = self._veths.faults(network, endpoint, netns)
            if not self.firewall.has_network(network):
                faults.append("the host's nftables rules for the network are missing")
        except OSError as error:
            raise failed(f"check network {network.name!r}", error) from error
        return faults

    def publish(self, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward the ports: all, or none."""
        for port in ports:
            check_port(port, endpoint)
            check_free(port, is_dual=bool(endpoint.address6))
        forwards = _forwards(endpoint, ports)
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
            raise failed(f"publish {listed}", error) from error

    def serve_names(self, network: Network, port: int) -> None:
        """Send questions for port 53 of the gateway to ``port`` there."""
        check_network(network)
        gateways = [gateway for gateway in (network.gateway, network.gateway6) if gateway]
        packed = [ip_address(gateway).packed for gateway in gateways]
        forwards = [
            ruleset.forward(gateway, protocol, 53, gateway, port)
            for gateway in gateways
            for protocol in ("udp", "tcp")
        ]
        try:
            self.firewall.replace(forwards)
            # A flow of a former network with this gateway would go on leading to that one's port.
            conntrack.forget_datagrams({53}, lambda address: address in packed)
        except OSError as error:
            raise failed(f"serve names on network {network.name!r}", error) from error

    def unpublish(self, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        """Forward the ports no longer."""
        forwards = _forwards(endpoint, ports)
        try:
            self.firewall.unpublish(forwards)
            self._forget_flows(ports)
        except OSError as error:
            raise failed("unpublish", error) from error

    def _forget_flows(self, ports: tuple[PortMapping, ...]) -> None:
        # A UDP flow keeps its old way for as long as it is used: TCP ends by itself.
        datagrams = {port.host for port in ports if port.protocol == "udp"}
        if datagrams:
            own = self._veths.host_addresses()
            conntrack.forget_datagrams(
                datagrams, lambda target: target in own or ip_address(target).is_loopback
            )


def _forwards(endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> list[Forward]:
    """Where each port goes in each family; a port on all addresses, to all that the endpoint has."""
    own = [text.partition("/")[0] for text in (endpoint.address, endpoint.address6) if text]
    found = []
    for port in ports:
        bound = "" if port.address in ("0.0.0.0", "::") else port.address
        for address in own:
            if not port.address or (":" in port.address) == (":" in address):
                found.append(ruleset.forward(bound, port.protocol, port.host, address, port.container))
    return found
