"""The files that tell a container about its networks: hosts, resolv.conf, hostname."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from multios.engine.resolver_process import FALLBACK_RESOLVERS
from multios.model.container import HOST_GATEWAY, Container
from multios.model.network import Endpoint

_MOST_RESOLVERS = 3  # resolv.conf(5), MAXNS


def write_files(
    directory: Path,
    container: Container,
    endpoints: list[Endpoint],
    resolvers: list[str],
    host_addresses: list[str],
) -> None:
    """Write the files, in place: they may be mounted already.

    ``resolvers`` are where the engine serves names; without any, the host's resolvers or ``--dns`` are written.
    ``host_addresses`` are what ``HOST_GATEWAY`` stands for.
    """
    networking = container.config.networking
    hostname = container.config.hostname or container.id[:12]
    names = " ".join(dict.fromkeys([hostname, container.name, *networking.aliases]))
    (directory / "hostname").write_text(hostname + "\n")
    if networking.shared_with:
        return  # the rest is in the files of the container whose network it is
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for endpoint in endpoints:
        own = [text.partition("/")[0] for text in (endpoint.address, endpoint.address6) if text]
        lines += [f"{address} {names}" for address in own]
    if not endpoints:
        lines.append(f"127.0.1.1 {names}")
    for name, wanted in networking.extra_hosts.items():
        addresses = host_addresses if wanted == HOST_GATEWAY else [wanted]
        lines += [f"{address} {name}" for address in addresses]
    (directory / "hosts").write_text("\n".join(lines) + "\n")
    (directory / "resolv.conf").write_text(_resolver_text(container, resolvers))


def _resolver_text(container: Container, resolvers: list[str]) -> str:
    networking = container.config.networking
    if networking.networks == ("none",):
        return ""
    try:
        host = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    except OSError:
        host = []
    on_host = networking.networks == ("host",)
    servers = (
        resolvers
        or list(networking.dns)
        or [
            words[1]
            for words in host
            if words[:1] == ["nameserver"] and len(words) > 1 and (on_host or not _is_loopback(words[1]))
        ]
    )
    search = list(networking.dns_search) or [
        name for words in host if words[:1] == ["search"] for name in words[1:]
    ]
    lines = [f"nameserver {server}" for server in (servers or FALLBACK_RESOLVERS)[:_MOST_RESOLVERS]]
    if search:
        lines.append("search " + " ".join(search))
    if resolvers:  # a container's name is asked for as it is, not first with a search domain
        lines.append("options ndots:0")
    return "\n".join(lines) + "\n"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True
