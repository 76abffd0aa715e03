"""Builds whose bases are in a registry: logins, newer bases, pulls that nobody waits for any more."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitchen import Kitchen
from private_engine import PrivateEngine
from registry_server import PASSWORD, PROGRAM, USER, Registry, registry

pytestmark = pytest.mark.skipif(
    not shutil.which(PROGRAM), reason="needs docker-registry: scripts/install-system-packages test"
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("guarded"), password=True) as running:
        yield running


@pytest.fixture(scope="module")
def pulling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine that may speak plain HTTP on loopback, whose user has an empty home."""
    directory = tmp_path_factory.mktemp("pulling")
    engine = PrivateEngine(directory, {"HOME": str(directory)})
    with engine.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\nstall_timeout = 5.0\n')
    engine.start()
    engine.import_small_image()
    yield engine
    engine.end()


def test_a_base_is_pulled_with_the_callers_login_and_anew_when_asked(
    pulling: PrivateEngine, guarded: Registry, tmp_path: Path
) -> None:
    kitchen = Kitchen(pulling, tmp_path, "pulled")
    name = f"{guarded.host}/course/base:1"
    pulling.run("login", "-u", USER, "--password-stdin", guarded.host, input=f"{PASSWORD}\n")
    for number in ("one", "two"):
        image = kitchen.build(f"FROM small:1\nRUN echo {number} > /said\n")
        pulling.run("image", "push", image, name)
        if number == "one":
            built = kitchen.build(f"FROM {name}\nRUN cat /said > /seen\n")
            assert kitchen.out(built, "cat", "/seen") == "one"
    text = f"FROM {name}\nRUN cat /said > /seen\nCOPY --from={name} /said /copied\n"
    assert kitchen.out(kitchen.build(text), "cat", "/seen", "/copied") == "one\none"
    assert kitchen.out(kitchen.build(text, "--pull"), "cat", "/seen", "/copied") == "two\ntwo"
    pulling.run("logout", guarded.host)
    assert f"login {guarded.host}" in kitchen.fails(text, "--pull")
    # One that was made here is asked for nowhere.
    kitchen.build("FROM small:1\n", "--pull")


def test_the_error_of_a_base_that_nobody_has_names_its_line(
    pulling: PrivateEngine, guarded: Registry, tmp_path: Path
) -> None:
    began = time.monotonic()
    said = Kitchen(pulling, tmp_path, "absent").fails("# nothing\nFROM 127.0.0.1:1/none/such:1\n")
    assert "Dockerfile:2: " in said
    assert time.monotonic() - began < 20
