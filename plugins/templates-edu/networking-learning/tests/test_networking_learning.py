"""The template networking-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.testing.template import TemplateDriverSuite
from multios_template_networking_learning import NetworkingLearning


class TestNetworkingLearning(TemplateDriverSuite):
    driver_type = NetworkingLearning


@pytest.fixture
def template(tmp_path: Path) -> NetworkingLearning:
    return NetworkingLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_one_core_a_gigabyte_and_raw_sockets(template: NetworkingLearning) -> None:
    plan = template.render({})
    assert plan.resources == Resources(cpu_limit=1.0, memory_limit=2**30)
    assert plan.base == "debian:12"
    assert plan.capabilities == ("NET_RAW",)
    assert plan.seccomp_profile == ""


def test_every_base_installs_every_tool(template: NetworkingLearning) -> None:
    tools = {"tcpdump", "tshark", "netcat-openbsd", "iperf", "nmap", "iproute2", "iputils-ping", "traceroute"}
    for base in template.parameters()[0].choices:
        packages = set(template.render({"base": base}).packages)
        assert tools <= packages, base
        assert packages & {"bind9-dnsutils", "dnsutils"}, base


def test_what_needs_raw_sockets_is_checked_in_a_container_that_has_them(template: NetworkingLearning) -> None:
    """A build's own commands hold no requested capability."""
    for check in template.checks():
        text = " ".join(check.command)
        if any(word in text for word in ("tcpdump -i", "tshark -", "ping -c")):
            assert check.running or "--version" in text, check.name
