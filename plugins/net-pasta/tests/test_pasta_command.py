"""What pasta is told for an endpoint, and what is made of what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext, NoSettings
from multios.errors import Unsupported
from multios.model.network import Network, PortMapping
from multios.testing.network_box import endpoint_on
from multios_net_pasta import PastaNetwork
from multios_net_pasta.command import words
from multios_net_pasta.places import _explained

NETWORK = Network("a" * 64, "suite", "pasta", "10.213.7.0/24", "10.213.7.1", "")
ENDPOINT = endpoint_on(NETWORK, 2)


def after(given: list[str], option: str) -> list[str]:
    return [given[number + 1] for number, word in enumerate(given) if word == option]


def test_nothing_of_the_hosts_loopback_is_reached() -> None:
    given = words(ENDPOINT, "/netns", "/pid", ())
    assert "--no-map-gw" in given
    for option in ("--tcp-ns", "--udp-ns", "--tcp-ports", "--udp-ports"):
        assert after(given, option) == ["none"]


def test_ports_are_forwarded_by_protocol_and_address() -> None:
    ports = (
        PortMapping(80, 8080),
        PortMapping(443, 8443, address="127.0.0.1"),
        PortMapping(53, 5353, protocol="udp"),
    )
    given = words(ENDPOINT, "/netns", "/pid", ports)
    assert after(given, "--tcp-ports") == ["8080:80", "127.0.0.1/8443:443"]
    assert after(given, "--udp-ports") == ["5353:53"]


@pytest.mark.parametrize("port", [PortMapping(1, 2, "sctp"), PortMapping(1, 2, address="::1")])
def test_what_pasta_cannot_forward_is_refused(port: PortMapping) -> None:
    with pytest.raises(Unsupported):
        words(ENDPOINT, "/netns", "/pid", (port,))


def test_an_absent_program_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    driver = PastaNetwork(NoSettings(), DriverContext(tmp_path, tmp_path))
    with pytest.raises(Unsupported) as caught:
        driver.create_network(dataclasses.replace(NETWORK))
    assert "passt" in caught.value.remedy
    health = {check.subject: check for check in PastaNetwork.health_checks()}
    assert "passt" in health["pasta"].remedy


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (b"Failed to open tun socket in namespace", "chmod"),
        (b"No external routable interface for IPv4\nExternal interface not usable", "--network none"),
        (b"Failed to bind any port for '-t 80:80', exiting", "host port"),
        (b"", "doctor"),
    ],
)
def test_each_failure_has_a_remedy(said: bytes, remedy: str) -> None:
    assert remedy in _explained(said)[1]
