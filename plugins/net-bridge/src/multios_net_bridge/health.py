"""What the doctor says of bridge networks on this host; changes nothing."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from multios.model.health import Health, HealthCheck
from multios_net_bridge import attach, nfnetlink
from multios_net_bridge.namespaces import leave_for_new, read_setting
from multios_net_bridge.netlink import F_ACK, F_CREATE, F_EXCLUSIVE, Connection, Message, nested, text


def checks() -> Iterator[HealthCheck]:
    """Every finding."""
    yield _links()
    yield _nftables()
    yield _forwarding()
    yield from _others_rules()
    yield from _bridge_netfilter()


def _links() -> HealthCheck:
    """Make a bridge and a veth pair in a namespace of a thread's own, which vanishes with it."""
    subject, outcome = "bridge and veth links", []

    def attempt() -> None:
        try:
            leave_for_new()
            connection = Connection(attach.PROTOCOL)
            try:
                for kind in ("bridge", "veth"):
                    link = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + text(3, f"probe-{kind}")
                    link += nested(18, text(1, kind))
                    connection.request([Message(attach.NEW_LINK, F_ACK | F_CREATE | F_EXCLUSIVE, link)])
            finally:
                connection.close()
        except OSError as error:
            outcome.append(error)

    if os.geteuid() != 0:
        return HealthCheck(
            subject, Health.SKIP, "only root can make links", "ask the daemon: it runs as root"
        )
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    if outcome:
        return HealthCheck(
            subject, Health.FAIL, f"cannot be made: {outcome[0]}", "run `modprobe -a bridge veth`"
        )
    return HealthCheck(subject, Health.OK, "can be made")


def _nftables() -> HealthCheck:
    subject = "nftables over netlink"
    try:
        connection = Connection(nfnetlink.PROTOCOL)
        try:
            connection.request([nfnetlink.message(nfnetlink.GET_GENERATION, F_ACK)])
        finally:
            connection.close()
    except OSError as error:
        if os.geteuid() != 0:
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
        f"{chain.table} {chain.name}"
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
