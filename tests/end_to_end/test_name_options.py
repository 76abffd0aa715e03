"""Options of names: a host name that neighbours find, domains that complete a name, lines of /etc/hosts."""

from __future__ import annotations

import shutil

import pytest

import debian_image
from name_server import name_server
from private_engine import IMAGE, PrivateEngine

SERVER = "127.54.0.1"
KNOWN, ADDRESS = "www.example.org", "192.0.2.43"


@pytest.fixture(scope="module")
def debian(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose C library asks for names; the small image's nslookup does it in another way."""
    return debian_image.provide(engine, tmp_path_factory.mktemp("debian"))


@pytest.mark.needs_network
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="this host has no mmdebstrap")
def test_a_search_domain_completes_a_name_but_hides_no_neighbour(
    engine: PrivateEngine, running: str, debian: str
) -> None:
    options = ("--dns", SERVER, "--dns-search", "example.net", "--dns-search", "example.org")
    place = engine.inspect(running)["NetworkSettings"]["IPAddress"]
    with name_server(SERVER, {KNOWN: ADDRESS}) as asked:
        found = engine.out("run", "--rm", *options, debian, "getent", "ahostsv4", "www", running)
    assert found.split()[0] == ADDRESS and place in found.split()
    assert "www.example.net" in asked and "www.example.org" in asked
    assert not any(name.startswith(running) for name in asked)


def test_search_domains_stand_in_resolv_conf(engine: PrivateEngine) -> None:
    options = ("--dns", SERVER, "--dns-search", "example.net", "--dns-search", "example.org")
    lines = engine.out("run", "--rm", *options, IMAGE, "cat", "/etc/resolv.conf").splitlines()
    assert "search example.net example.org" in lines
    assert f"nameserver {engine.gateway}" in lines, "the engine asks the server that was named"


def test_a_neighbour_is_found_by_the_host_name_that_was_asked_for(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--hostname", "blackboard", IMAGE, "sleep", "1000")
    assert engine.out("exec", name, "hostname") == engine.out("exec", name, "cat", "/etc/hostname")
    place = engine.inspect(name)["NetworkSettings"]["IPAddress"]
    assert f"{place} blackboard {name}" in " ".join(engine.out("exec", name, "cat", "/etc/hosts").split())
    assert place in engine.out("run", "--rm", IMAGE, "nslookup", "blackboard")


def test_an_added_host_is_known_to_that_container_only(
    engine: PrivateEngine, running: str, name: str
) -> None:
    hosts = ("--add-host", "far:192.0.2.7", "--add-host", "farther:2001:db8::7")
    lines = engine.out("run", "--rm", *hosts, IMAGE, "cat", "/etc/hosts").splitlines()
    assert {"192.0.2.7 far", "2001:db8::7 farther"} <= {" ".join(line.split()) for line in lines}
    assert "far" not in engine.out("exec", running, "cat", "/etc/hosts").split()
    for wrong in ("far", "far:", "far:nowhere", ":192.0.2.7"):
        refused = engine.run("run", "--rm", "--add-host", wrong, IMAGE, "true", status=125).stderr
        assert "host" in refused and "Traceback" not in refused
