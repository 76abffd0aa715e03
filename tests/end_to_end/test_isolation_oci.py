"""Containers of the driver ``oci`` through the CLI: runc makes them, everything else is as with ``ns``."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from private_engine import IMAGE, SCRIPTS, PrivateEngine, eventually

OCI = ("--isolation", "oci")


@pytest.fixture(autouse=True)
def runc() -> None:
    if shutil.which("runc") is None:
        pytest.skip("this host has no runc")


@pytest.fixture
def busy(engine: PrivateEngine, name: str) -> str:
    """A container that runs until SIGTERM, which it answers with 9."""
    script = "trap 'exit 9' TERM; echo hello; while :; do sleep 0.05; done"
    engine.run("run", *OCI, "-d", "--name", name, "-m", "64m", IMAGE, "sh", "-c", script)
    eventually(lambda: engine.run("logs", name).stdout == "hello\n", "it has begun")
    return name


def test_a_run_gives_output_and_exit_status(engine: PrivateEngine) -> None:
    done = engine.run(
        "run", *OCI, "--rm", IMAGE, "sh", "-c", "id -u; echo oops >/dev/stderr; exit 7", status=7
    )
    assert (done.stdout, done.stderr) == ("0\n", "oops\n")


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_a_command_that_does_not_run(engine: PrivateEngine, command: str, status: int) -> None:
    engine.run("run", *OCI, "--rm", IMAGE, command, status=status)


def test_root_inside_is_nobody_outside_and_is_on_the_network(engine: PrivateEngine, busy: str) -> None:
    pid = json.loads(engine.run("inspect", busy).stdout)[0]["State"]["Pid"]
    assert os.stat(f"/proc/{pid}").st_uid >= 100_000
    assert (
        engine.gateway.rpartition(".")[0]
        in engine.run("exec", busy, "ip", "-4", "addr", "show", "eth0").stdout
    )
    arp = engine.run(
        "exec", busy, "sh", "-c", f"nc -w1 {engine.gateway} 9 </dev/null; cat /proc/net/arp"
    ).stdout
    assert f"{engine.gateway} " in arp and "00:00:00:00:00:00" not in arp


def test_everything_that_is_done_to_a_running_container(
    engine: PrivateEngine, busy: str, tmp_path: Path
) -> None:
    paths = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    assert (
        engine.run("exec", busy, "sh", "-c", f"cat {paths} 2>/dev/null; exit 3", status=3).stdout
        == f"{64 << 20}\n"
    )
    engine.run("exec", busy, "nosuch", status=127)
    assert "sh -c" in engine.run("top", busy).stdout
    assert "64 MiB" in engine.run("stats", "--no-stream", busy).stdout
    engine.run("update", "--memory", "128m", busy)
    engine.run("pause", busy)
    assert "(Paused)" in engine.run("ps").stdout
    engine.run("unpause", busy)
    engine.run("cp", f"{busy}:/etc/greeting", str(tmp_path / "greeting"))
    assert (tmp_path / "greeting").read_text() == "hello\n"
    engine.run("stop", busy)
    assert json.loads(engine.run("inspect", busy).stdout)[0]["State"]["ExitCode"] == 9
    engine.run("start", busy)
    engine.run("rm", "-f", busy)


def test_it_outlives_the_supervisor_and_its_exit_is_known(engine: PrivateEngine, busy: str) -> None:
    former = engine.supervisor_pid
    pid = json.loads(engine.run("inspect", busy).stdout)[0]["State"]["Pid"]
    os.kill(former() if callable(former) else former, signal.SIGKILL)
    eventually(
        lambda: engine.run("exec", busy, "true", status=None).returncode == 0, "the next supervisor serves it"
    )
    assert os.path.exists(f"/proc/{pid}")
    engine.run("stop", busy)
    assert json.loads(engine.run("inspect", busy).stdout)[0]["State"]["ExitCode"] == 9


def test_another_runtime_by_an_option(engine: PrivateEngine) -> None:
    ours = ("--isolation-opt", f"runtime={SCRIPTS / 'multios-oci-runtime'}")
    assert engine.run("run", *OCI, *ours, "--rm", IMAGE, "id", "-u").stdout == "0\n"


def test_a_runtime_that_is_not_there(engine: PrivateEngine) -> None:
    done = engine.run("run", *OCI, "--isolation-opt", "runtime=norunc", "--rm", IMAGE, "true", status=125)
    assert "norunc" in done.stderr and "install" in done.stderr


def test_an_init_is_refused_with_the_way_out(engine: PrivateEngine) -> None:
    done = engine.run("run", *OCI, "--init", "--rm", IMAGE, "true", status=125)
    assert "--init" in done.stderr
