"""``reset`` and ``snapshot``: back to the beginning at once, whatever was changed; whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fault_injection
from faults import RESET_FAULTS, Fault
from leaks import assert_nothing_leaked, settled
from multios.api.client import Client
from private_engine import IMAGE, PrivateEngine, eventually


def sh(engine: PrivateEngine, name: str, command: str) -> str:
    return engine.out("exec", name, "sh", "-c", command)


def test_a_running_container_is_back_at_its_beginning_and_runs(engine: PrivateEngine, running: str) -> None:
    before, fresh = engine.inspect(running)["State"]["Pid"], engine.out("diff", running)
    sh(engine, running, "rm -rf /etc /home; echo x > /bin/own; mkdir /new; echo mine > /root/notes")
    assert engine.out("reset", running) == running
    assert (
        sh(engine, running, "cat /etc/greeting; ls -d /new /bin/own /root/notes 2>/dev/null; true") == "hello"
    )
    after = engine.inspect(running)["State"]
    assert after["Status"] == "running" and after["Pid"] != before
    assert engine.out("diff", running) == fresh


def test_a_stopped_container_is_reset_and_stays_stopped(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "sh", "-c", "echo x > /changed")
    assert "/changed" in engine.out("diff", name)
    engine.run("reset", name)
    assert engine.out("diff", name) == "" and engine.status_of(name) == "exited"


def test_a_paused_container_is_reset(engine: PrivateEngine, running: str) -> None:
    sh(engine, running, "touch /changed")
    engine.run("pause", running)
    engine.run("reset", running)
    assert engine.status_of(running) == "running" and "/changed" not in engine.out("diff", running)


def test_keep_home_keeps_the_homes_and_nothing_else(engine: PrivateEngine, running: str) -> None:
    sh(
        engine,
        running,
        "echo a > /root/a; echo b > /home/student/b; chown 1000 /home/student/b; rm /etc/greeting",
    )
    engine.run("reset", "--keep-home", running)
    assert sh(engine, running, "cat /root/a /home/student/b /etc/greeting; stat -c %u /home/student/b").split() == [
        "a", "b", "hello", "1000",
    ]  # fmt: skip


def test_back_to_a_snapshot_as_often_as_one_likes(engine: PrivateEngine, running: str) -> None:
    sh(engine, running, "echo one > /work; rm /etc/greeting")
    assert engine.out("snapshot", running, "first") == "first"
    for _ in range(2):
        sh(engine, running, "echo two > /work; touch /etc/greeting")
        engine.run("reset", "--to", "first", running)
        assert sh(engine, running, "cat /work; ls /etc/greeting 2>/dev/null; true") == "one"
    assert [row["name"] for row in engine.json("snapshot", running)] == ["first"]
    engine.run("snapshot", "--remove", running, "first")
    assert engine.json("snapshot", running) == []
    said = engine.run("reset", "--to", "first", running, status=125).stderr
    assert "no such snapshot" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("snapshot", "NAME", "Not/A-Name"), "bad snapshot name"),
        (("snapshot", "NAME", "same"), "already"),
        (("reset", "--to", "smae", "NAME"), "did you mean 'same'?"),
        (("reset", "--to", "same", "--keep-home", "NAME"), "not both"),
        (("reset", "nobody"), "no such container"),
        (("snapshot", "--remove", "NAME"), "no snapshot was named"),
    ],
)
def test_what_cannot_be_is_said(
    engine: PrivateEngine, running: str, words: tuple[str, ...], says: str
) -> None:
    engine.run("snapshot", running, "same")
    said = engine.run(*(running if word == "NAME" else word for word in words), status=125).stderr
    assert says in said and "Traceback" not in said
    assert engine.status_of(running) == "running"


def test_a_reset_container_keeps_its_disk_limit(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--disk-limit", "16M", IMAGE, "sleep", "1000")
    full = "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; stat -c %s /big"
    first = int(sh(engine, name, full))
    engine.run("snapshot", name, "full")
    engine.run("reset", name)
    assert sh(engine, name, "ls /big 2>/dev/null; true") == ""
    assert 0 < int(sh(engine, name, full)) <= 16 << 20 and first <= 16 << 20
    engine.run("reset", "--to", "full", name)
    assert int(sh(engine, name, "stat -c %s /big")) == first


@pytest.mark.parametrize(
    "change",
    [
        "true",
        "i=0; while [ $i -lt 1500 ]; do echo x > /etc/f$i; i=$((i+1)); done",
        "dd if=/dev/urandom of=/etc/big bs=1M count=256 2>/dev/null",  # which the disk has not seen yet
    ],
    ids=["nothing", "many files", "many bytes"],
)
def test_a_reset_takes_at_most_a_tenth_of_a_second_whatever_was_changed(
    engine: PrivateEngine, running: str, change: str
) -> None:
    took: list[float] = []
    with Client(str(engine.exec_root / "api.sock")) as client:
        client.call("containers.reset", {"ref": running})
        names = sh(engine, running, "ls /etc")
        # A busy host may take the processor away from most of them.
        while len(took) < 5 or min(took) > 0.1 and len(took) < 30:
            sh(engine, running, change)
            start = time.monotonic()
            client.call("containers.reset", {"ref": running})
            took.append(time.monotonic() - start)
            assert sh(engine, running, "ls /etc") == names
    assert min(took) <= 0.1, took


# --- faults ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def faulty(make_engine: object, tmp_path_factory: pytest.TempPathFactory, orders: Path) -> PrivateEngine:
    site = tmp_path_factory.mktemp("site")
    fault_injection.install(site)
    made: PrivateEngine = make_engine({"PYTHONPATH": str(site), fault_injection.ENVIRONMENT: str(orders)})  # type: ignore[operator]
    return made


@pytest.fixture
def changed(faulty: PrivateEngine, orders: Path) -> Iterator[str]:
    """A running container whose files were changed."""
    faulty.run("run", "-d", "--name", "changed", IMAGE, "sleep", "1000")
    sh(faulty, "changed", "echo mine > /work")
    faulty.run("reset", "changed")  # what the first one loads and makes
    sh(faulty, "changed", "echo mine > /work")
    yield "changed"
    (orders / "order").unlink(missing_ok=True)
    faulty.run("delete", "--force", "changed", status=None)


def _act(engine: PrivateEngine, fault: Fault, name: str, status: int | None) -> str:
    words = (name, "kept") if fault.operation == "snapshot" else (name,)
    return engine.run(fault.operation, *words, status=status).stderr


@pytest.mark.parametrize("fault", RESET_FAULTS, ids=str)
def test_a_step_that_fails_changes_nothing(
    faulty: PrivateEngine, orders: Path, changed: str, fault: Fault
) -> None:
    before = settled(faulty)
    fault_injection.order(orders, fault.step, fault.when, "fail")
    said = _act(faulty, fault, changed, 125)
    assert not (orders / "order").exists()
    assert "injected" in said and "Traceback" not in said
    assert faulty.status_of(changed) == "running"
    assert sh(faulty, changed, "cat /work") == "mine"
    assert faulty.json("snapshot", changed) == []
    assert_nothing_leaked(faulty, before)
    _act(faulty, fault, changed, 0)


@pytest.mark.parametrize("fault", RESET_FAULTS, ids=str)
def test_a_daemon_that_is_killed_in_a_step_leaves_a_whole_container(
    faulty: PrivateEngine, orders: Path, changed: str, fault: Fault
) -> None:
    fault_injection.order(orders, fault.step, fault.when, "kill")
    _act(faulty, fault, changed, None)
    assert not (orders / "order").exists()
    eventually(lambda: faulty.run("version", status=None).returncode == 0, "a daemon answers again")
    if faulty.status_of(changed) == "paused":
        faulty.run("resume", changed)
    faulty.run("start", changed)
    assert sh(faulty, changed, "cat /work 2>/dev/null; true") in ("mine", "")
    kept = [row["name"] for row in faulty.json("snapshot", changed)]
    assert kept in ([], ["kept"])
    index = faulty.data_root / "snapshots/overlay/index"
    identity = faulty.inspect(changed)["Id"]
    names = {path.name for path in index.glob(f"{identity}*")}
    assert names == {f"{identity}.json", *(f"{identity}.snapshot.{name}.json" for name in kept)}
