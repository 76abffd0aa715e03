"""One private engine a worker, with the image ``small:1``, for all end-to-end tests; most tests share it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from app_directory import AppDirectory
from private_engine import PrivateEngine

HERE = Path(__file__).parent
EngineFactory = Callable[..., PrivateEngine]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, and so would all that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder runs containers, so needs root."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.needs_root)


@pytest.fixture(scope="session")
def make_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineFactory]:
    """Make, start and provision further private engines; all are ended with the session."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    engines: list[PrivateEngine] = []

    def make(
        environment: dict[str, str] | None = None, image: bool = True, hidden_calls: Sequence[str] = ()
    ) -> PrivateEngine:
        engine = PrivateEngine(tmp_path_factory.mktemp("engine"), environment, hidden_calls=hidden_calls)
        engines.append(engine)
        engine.start()
        if image:
            engine.import_small_image()
        return engine

    yield make
    for engine in engines:
        engine.end()


@pytest.fixture(scope="session")
def engine(make_engine: EngineFactory) -> PrivateEngine:
    """The engine that tests share: they use names of their own, and never stop it."""
    return make_engine()


@pytest.fixture
def name(engine: PrivateEngine, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container's name that is this test's own; the container is deleted afterwards."""
    text = _letters(request.node.name)[:50].strip("-")
    yield text
    engine.run("delete", "--force", text, status=None)


@pytest.fixture
def running(engine: PrivateEngine, name: str) -> str:
    """A container that sleeps."""
    engine.run("run", "-d", "--name", name, "small:1", "sleep", "1000")
    return name


@pytest.fixture
def app(engine: PrivateEngine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppDirectory]:
    """An app of the test's own, which is gone afterwards."""
    made = AppDirectory(
        engine, tmp_path, f"{_letters(request.node.name).lower()[5:35].strip('-')}-{os.urandom(3).hex()}"
    )
    yield made
    engine.run("app", "--project-name", made.name, "down", "--volumes", "--timeout", "0")
    assert made.left() == []


def _letters(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)
