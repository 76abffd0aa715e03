"""A fault at every step of create and start: one error that names it, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fault_injection
from faults import (
    CREATE_HOOKS,
    CREATE_STEPS,
    FAULTS,
    NATURAL_FAULTS,
    START_HOOKS,
    START_STEPS,
    Fault,
    NaturalFault,
)
from leaks import assert_nothing_leaked, settled
from private_engine import IMAGE, PrivateEngine, eventually

PORT = 18211


class FaultyEngine:
    """A private engine whose steps fail on order."""

    def __init__(self, engine: PrivateEngine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory

    def order(self, fault: Fault, action: str) -> None:
        fault_injection.order(self.directory, fault.step, fault.when, action)

    def was_met(self) -> bool:
        return not (self.directory / "order").exists()

    def create(self, name: str, status: int | None = 0) -> str:
        words = ("create", "--name", name, "-p", f"127.0.0.1:{PORT}:80", IMAGE, "sleep", "1000")
        return self.engine.run(*words, status=status).stderr


@pytest.fixture(scope="module")
def faulty(make_engine: object, tmp_path_factory: pytest.TempPathFactory) -> FaultyEngine:
    site, orders = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("orders")
    fault_injection.install(site)
    engine = make_engine({"PYTHONPATH": str(site), fault_injection.ENVIRONMENT: str(orders)})  # type: ignore[operator]
    return FaultyEngine(engine, orders)


@pytest.fixture
def warm(faulty: FaultyEngine) -> Iterator[FaultyEngine]:
    """After one whole life of a container: networks are made, modules loaded."""
    faulty.engine.run("delete", "--force", "warm-up", status=None)
    faulty.create("warm-up")
    faulty.engine.run("start", "warm-up")
    faulty.engine.run("delete", "--force", "warm-up")
    yield faulty
    (faulty.directory / "order").unlink(missing_ok=True)
    faulty.engine.run("delete", "--force", "broken", status=None)


def test_the_list_of_faults_has_every_step(faulty: FaultyEngine) -> None:
    def seen(*words: str) -> set[str]:
        (faulty.directory / "seen").unlink(missing_ok=True)
        if words:
            faulty.engine.run(*words)
        else:
            faulty.create("whole")
        return set((faulty.directory / "seen").read_text().splitlines())

    try:
        assert seen() == {*CREATE_STEPS, *(f"hook {hook}" for hook in CREATE_HOOKS)}
        assert seen("start", "whole") == {*START_STEPS, *(f"hook {hook}" for hook in START_HOOKS)}
    finally:
        faulty.engine.run("delete", "--force", "whole")


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_step_that_fails_leaves_nothing(warm: FaultyEngine, fault: Fault) -> None:
    engine = warm.engine
    before = settled(engine)
    if fault.operation == "create":
        warm.order(fault, "fail")
        said = warm.create("broken", status=125)
    else:
        warm.create("broken")
        created = settled(engine)
        warm.order(fault, "fail")
        said = engine.run("start", "broken", status=125).stderr
        assert_nothing_leaked(engine, created)
        assert engine.status_of("broken") in ("created", "exited")
        engine.run("start", "broken")
        assert engine.status_of("broken") == "running"
        engine.run("delete", "--force", "broken")
    assert warm.was_met()
    assert "injected" in said and "Traceback" not in said
    assert_nothing_leaked(engine, before)
    engine.run("inspect", "broken", status=125)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_daemon_that_is_killed_in_a_step_leaves_nothing(warm: FaultyEngine, fault: Fault) -> None:
    engine = warm.engine
    before = settled(engine)
    if fault.operation == "create":
        warm.order(fault, "kill")
        warm.create("broken", status=None)
    else:
        warm.create("broken")
        warm.order(fault, "kill")
        engine.run("start", "broken", status=None)
    assert warm.was_met()
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers again")
    # A container is either there, whole and usable, or not at all.
    if "broken" in engine.out("ps", "--all", "--format", "{{.Names}}").split():
        engine.run("start", "broken")
        assert engine.out("exec", "broken", "echo", "well") == "well"
        engine.run("delete", "--force", "broken")
    else:
        assert fault.operation == "create"
    # Another daemon has descriptors of its own: they are compared with those it has once it stands still.
    kept = {**before, "descriptors of the daemon": settled(engine)["descriptors of the daemon"]}
    assert_nothing_leaked(engine, kept)


@pytest.mark.parametrize("fault", NATURAL_FAULTS, ids=lambda fault: fault.title)
def test_a_run_that_cannot_be_leaves_nothing(warm: FaultyEngine, fault: NaturalFault) -> None:
    engine = warm.engine
    before = settled(engine)
    words = ("run", "--rm", "--name", "broken", *fault.options, IMAGE, *fault.command)
    said = engine.run(*words, status=fault.status).stderr
    assert fault.says in said and "Traceback" not in said
    assert_nothing_leaked(engine, before)
    engine.run("inspect", "broken", status=125)
