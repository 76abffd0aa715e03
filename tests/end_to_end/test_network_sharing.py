"""``--network container:NAME``: two containers in one network namespace."""

from __future__ import annotations

import pytest

from greeting_server import ASK, SERVER
from private_engine import IMAGE, PrivateEngine, eventually


def namespace(engine: PrivateEngine, name: str, kind: str) -> str:
    return engine.out("exec", name, "readlink", f"/proc/self/ns/{kind}")


@pytest.fixture
def pair(engine: PrivateEngine, name: str) -> tuple[str, str]:
    """A web server, and a container that uses its network."""
    other = f"{name}-2"
    engine.run("run", "-d", "--name", name, IMAGE, *SERVER)
    engine.run("run", "-d", "--name", other, "--network", f"container:{name}", IMAGE, "sleep", "1000")
    return name, other


def test_two_containers_see_each_other_at_the_loopback(engine: PrivateEngine, pair: tuple[str, str]) -> None:
    server, guest = pair
    eventually(
        lambda: "hello" in engine.out("exec", guest, "sh", "-c", ASK.format("127.0.0.1", 80)), "it answers"
    )
    for kind in ("net", "user"):
        assert namespace(engine, server, kind) == namespace(engine, guest, kind)
    for kind in ("pid", "mnt", "uts", "ipc"):
        assert namespace(engine, server, kind) != namespace(engine, guest, kind)
