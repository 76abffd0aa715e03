"""What the doctor says of bridge networks on this host; changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from multios import features
from multios.model.health import Health, HealthCheck
from multios.netlink import interfaces
from multios.netlink.messages import F_ACK, F_CREATE, F_EXCLUSIVE, Connection, Message, nested, text
from multios.netlink.namespaces import in_new_namespace, read_setting
from multios_net_bridge import guard, nfnetlink, rates

_LOOPBACK = 1  # its index in every network namespace


def checks() -> Iterator[HealthCheck]:
    """Every finding."""
    yield _links()
    yield _tbf()
    yield _nftables()
    yield _source_guard()
    yield _forwarding()
    yield from _others_rules()
    yield from _bridge_netfilter()


def _links() -> HealthCheck:
    subject = "bridge and veth links"
    if not features.is_host_root():
        return HealthCheck(
            subject, Health.SKIP, "only root can make links", "ask the daemon: it runs as root"
        )
    links = [
        Message(
            interfaces.NEW_LINK,
            F_ACK | F_CREATE | F_EXCLUSIVE,
            struct.pack("=BxHiII", 0, 0, 0, 0, 0) + text(3, f"probe-{kind}") + nested(18, text(1, kind)),
        )
        for kind in ("bridge", "veth")
    ]
    if error := in_new_namespace(lambda: _request(links)):
        return HealthCheck(subject, Health.FAIL, f"cannot be made: {error}", "run `modprobe -a bridge veth`")
    return HealthCheck(subject, Health.OK, "can be made")


def _tbf() -> HealthCheck:
    subject = "bandwidth limits (tbf)"
    if not features.is_host_root():
        return HealthCheck(subject, Health.SKIP, "only root can ask", "ask the daemon: it runs as root")
    if error := in_new_namespace(lambda: _request([rates.limit(_LOOPBACK, 1_000_000)])):
        return HealthCheck(
            subject,
            Health.WARN,
            f"none: {error}; --bandwidth is refused",
            "run `modprobe sch_tbf`",
        )
    return HealthCheck(subject, Health.OK, "can be set")


def _source_guard() -> HealthCheck:
    subject = "source guard (nftables for bridges)"
    if not features.is_host_root():
        return HealthCheck(subject, Health.SKIP, "only root can ask", "ask the daemon: it runs as root")

    def probe() -> None:
        with closing(Connection(nfnetlink.PROTOCOL)) as connection:
            guard.make_probe(connection)

    if error := in_new_namespace(probe):
        return HealthCheck(
            subject,
            Health.WARN,
            f"none: {error}; containers of a network may forge each other's addresses",
            "run `modprobe nf_tables_bridge`, or use a kernel with CONFIG_NF_TABLES_BRIDGE",
        )
    return HealthCheck(subject, Health.OK, "can be set")


def _request(messages: list[Message]) -> None:
    with closing(Connection(interfaces.PROTOCOL)) as connection:
        connection.request(messages)


def _nftables() -> HealthCheck:
    subject = "nftables over netlink"
    try:
        connection = Connection(nfnetlink.PROTOCOL)
        try:
            connection.request([nfnetlink.message(nfnetlink.GET_GENERATION, F_ACK)])
        finally:
            connection.close()
    except OSError as error:
        if not features.is_host_root():
            return HealthCheck(subject, Health.SKIP, "only root can ask", "ask the daemon: it runs as root")
        return HealthCheck(
            subject, Health.FAIL, f"no answer: {error}", "run `modprobe -a nf_tables nft_nat nft_fib_ipv4`"
        )
    return HealthCheck(subject, Health.OK, "answers; no nft or iptables program is needed")


def _forwarding() -> HealthCheck:
    subject = "net.ipv4.ip_forward"
    if read_setting("ipv4/ip_forward") == "1":
        return HealthCheck(subject, Health.OK, "on")
    return HealthCheck(
        subject,
        Health.WARN,
        "off: containers do not reach the outside until it is on; making a network turns it on",
        "if something turns it off again: echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-multios.conf",
    )


def _others_rules() -> Iterator[HealthCheck]:
    """Each base chain judges a packet by itself: what another one drops, ours cannot accept."""
    subject = "other programs' packet filters"
    try:
        connection = Connection(nfnetlink.PROTOCOL)
        try:
            chains = list(nfnetlink.base_chains(connection))
        finally:
            connection.close()
    except OSError:
        return  # said by the check of nftables already
    dropping = [
        f"{chain.family} {chain.table} {chain.name}"
        for chain in chains
        if chain.hook == nfnetlink.FORWARD and chain.policy == nfnetlink.DROP
    ]
    if dropping:
        yield HealthCheck(
            subject,
            Health.WARN,
            f"chain {', '.join(dropping)} drops forwarded packets by default, ours cannot undo that",
            "allow the bridges there, for example: iptables -I DOCKER-USER -i multios0 -j ACCEPT; "
            "iptables -I DOCKER-USER -o multios0 -j ACCEPT",
        )
    elif _legacy_iptables():
        yield HealthCheck(
            subject, Health.WARN, "iptables-legacy rules exist; whether they drop cannot be seen", ""
        )
    else:
        yield HealthCheck(subject, Health.OK, "none drops forwarded packets by default")


def _legacy_iptables() -> bool:
    try:
        return "filter" in Path("/proc/thread-self/net/ip_tables_names").read_text().split()
    except OSError:
        return False


def _bridge_netfilter() -> Iterator[HealthCheck]:
    if read_setting("bridge/bridge-nf-call-iptables") == "1":
        yield HealthCheck(
            "net.bridge.bridge-nf-call-iptables",
            Health.OK,
            "1: packets between containers of one network pass the host's rules too, which costs a little speed",
        )
