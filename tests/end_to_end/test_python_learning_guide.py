"""examples/python-learning.md: every command of it, those that are typed into Python and a shell included."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import debian_image
import document_session
from private_engine import SCRIPTS, PrivateEngine

PAGE = Path(__file__).resolve().parents[2] / "examples/python-learning.md"


@pytest.fixture
def guided(engine: PrivateEngine, tmp_path: Path) -> Iterator[PrivateEngine]:
    """The engine, with Debian at hand, and without what a guide that failed half-way leaves."""
    debian_image.provide(engine, tmp_path)
    yield engine
    engine.run("delete", "--force", "my-python", "notebooks", status=None)
    engine.run("volume", "rm", "homework", status=None)
    engine.run("image", "rm", "my-lab:1", status=None)


@pytest.mark.needs_network
@pytest.mark.timeout(1500)
def test_the_guide_goes_as_written(guided: PrivateEngine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # The host's port 8888 may be taken.
    replace = {"127.0.0.1:8888": f"127.0.0.1:{port}"}
    environment = {**guided.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    directory = tmp_path / "work"
    directory.mkdir()
    played = document_session.commands(PAGE, replace)
    assert sum(bool(command.typed) for command in played) == 2, "a session with Python, and one with a shell"
    for command in played:
        document_session.play(command, directory, environment)
    left = guided.run("ps", "--all", "--quiet", "--filter", "name=my-python", status=0).stdout
    assert left == "", "the guide cleans up after itself"
