"""Limits hold, each measured by a program inside, and change while a container runs. On cgroup v1, v2 and hybrid hosts."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import limit_probes as probes
from limit_probes import MIB
from private_engine import IMAGE, PrivateEngine, eventually

needs_python = pytest.mark.skipif(not probes.PYTHON.exists(), reason="this host has no /usr/bin/python3")
FORKS = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); sleep 1 & done; wait"
SPIN = "while :; do :; done"


def measure(engine: PrivateEngine, options: list[str], program: str, *arguments: str) -> float:
    """What ``program`` prints in a container of its own, with ``options``; the last line."""
    done = engine.run(
        "run", "--rm", *options, *probes.mounts(), IMAGE, *probes.command(program, *arguments), status=None
    )
    assert done.stdout, done.stderr
    return float(done.stdout.split()[-1])


@pytest.fixture
def room(engine: PrivateEngine, name: str) -> str:
    """A container that sleeps, with a Python inside."""
    engine.run("run", "-d", "--name", name, *probes.mounts(), IMAGE, "sleep", "1000")
    return name


def measure_in(engine: PrivateEngine, room: str, program: str) -> float:
    done = engine.run("exec", room, *probes.command(program), status=None)
    assert done.stdout, done.stderr
    return float(done.stdout.split()[-1])


def assert_between(low: float, high: float, measured: Callable[[], float]) -> None:
    """Never ``high`` or more; more than ``low`` at least once, for how much of the rest one gets is the busy host's to say."""
    found: list[float] = []
    while not found or found[-1] <= low and len(found) < 5:
        found.append(measured())
        assert found[-1] < high
    assert found[-1] > low, found


def update(engine: PrivateEngine, room: str, *options: str) -> None:
    engine.run("update", room, *options)


def reading(engine: PrivateEngine, name: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(engine.out("stats", "--no-stream", "--format", "json", name))[0]
    return row


def limits_of(engine: PrivateEngine, name: str) -> dict[str, Any]:
    resources: dict[str, Any] = engine.inspect(name)["HostConfig"]["Resources"]
    return resources


def supports(engine: PrivateEngine, name: str, *options: str) -> None:
    """Skip where the host has no controller for ``options``: that it is refused has a test of its own."""
    done = engine.run("update", name, *options, status=None)
    refusals = ("no cgroup controller", "does not lie on a block device", "does not count swap")
    if any(words in done.stderr for words in refusals):
        pytest.skip(f"this host cannot limit it: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr


# --- each limit, from the start and by update ------------------------------------------------------


@needs_python
def test_a_busy_loop_gets_no_more_cpu_than_allowed(engine: PrivateEngine) -> None:
    assert_between(0.1, 0.36, lambda: measure(engine, ["--cpu-limit", "0.3"], probes.CPU))
    assert_between(0.05, 0.25, lambda: measure(engine, ["--cpu-limit", "20%"], probes.CPU))


@needs_python
def test_the_cpu_limit_changes_while_it_runs_and_goes(engine: PrivateEngine, room: str) -> None:
    update(engine, room, "--cpu-limit", "0.05")
    assert measure_in(engine, room, probes.CPU) < 0.08
    update(engine, room, "--cpu-limit", "15%")
    assert_between(0.08, 0.19, lambda: measure_in(engine, room, probes.CPU))
    update(engine, room, "--cpu-limit", "0")
    before = engine.inspect(room)["State"]["Limits"]["ThrottledPeriods"]
    assert_between(0.1, math.inf, lambda: measure_in(engine, room, probes.CPU))
    # How much it gets is the busy host's to say; that nothing stops it, the kernel's.
    assert engine.inspect(room)["State"]["Limits"]["ThrottledPeriods"] == before > 10


@needs_python
@pytest.mark.parametrize("by_update", [False, True])
def test_shares_divide_one_processor(engine: PrivateEngine, name: str, by_update: bool) -> None:
    names = {1600: f"{name[:40]}-more", 400: f"{name[:40]}-less"}

    def started(patience: float) -> bool:
        """Whether both run with two seconds left before they begin together."""
        begin = time.time() + patience
        engine.run("delete", "--force", *names.values(), status=None)
        for shares, each in names.items():
            options = ["--cpuset", "0", "--cpu-shares", "1000" if by_update else str(shares)]
            words = probes.command(probes.CPU_UNTIL, str(begin))
            engine.run("run", "-d", "--name", each, *options, *probes.mounts(), IMAGE, *words)
            if by_update:
                update(engine, each, "--cpu-shares", str(shares))
        return time.time() < begin - 2

    try:
        assert any(started(patience) for patience in (4, 8, 16, 32))
        for each in names.values():
            engine.run("wait", each)
        more, less = (float(engine.out("logs", each)) for each in names.values())
    finally:
        engine.run("delete", "--force", *names.values(), status=None)
    assert 2.5 < more / less < 6


@needs_python
def test_a_cpuset_is_all_that_is_seen_and_changes_while_it_runs(engine: PrivateEngine, room: str) -> None:
    everything = measure_in(engine, room, probes.PROCESSORS)
    assert measure(engine, ["--cpuset", "0"], probes.PROCESSORS) == 1
    update(engine, room, "--cpuset", "0")
    assert measure_in(engine, room, probes.PROCESSORS) == 1
    update(engine, room, "--cpuset", "all")
    assert measure_in(engine, room, probes.PROCESSORS) == everything


@needs_python
def test_memory_beyond_the_limit_is_not_had(engine: PrivateEngine) -> None:
    words = ["--memory-limit", "48M", "--memory-swap", "48M"]
    assert 30 <= measure(engine, words, probes.MEMORY) < 48
    assert 30 <= measure(engine, ["--memory-limit", "48MiB", "--memory-swap", "48mb"], probes.MEMORY) < 48


@needs_python
def test_memory_limits_go_up_and_down_and_away_while_it_runs(engine: PrivateEngine, room: str) -> None:
    for size in (40, 80, 32):
        update(engine, room, "--memory-limit", f"{size}M", "--memory-swap", f"{size}M")
        assert size * 0.6 <= measure_in(engine, room, probes.MEMORY) < size
    update(engine, room, "--memory-limit", "-1")
    assert measure_in(engine, room, probes.MEMORY) == 400
    assert limits_of(engine, room)["memory_swap"] is None


def test_memory_and_swap_together_are_limited(engine: PrivateEngine, room: str) -> None:
    """Inside, what is seen is the kernel's own number: that swap is used needs a host that has some."""
    supports(engine, room, "--memory-limit", "64M", "--memory-swap", "96M")
    files = "/sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
    shown = f"cat {files} 2>/dev/null || true"
    assert int(engine.out("exec", room, "sh", "-c", shown)) in (32 * MIB, 96 * MIB)
    update(engine, room, "--memory-swap", "128M")
    assert int(engine.out("exec", room, "sh", "-c", shown)) in (64 * MIB, 128 * MIB)
    update(engine, room, "--memory-swap", "-1")
    last = engine.out("exec", room, "sh", "-c", shown)
    assert last == "max" or int(last) > 1 << 60


@needs_python
def test_no_more_processes_than_allowed_can_be_made(engine: PrivateEngine, room: str) -> None:
    assert measure(engine, ["--pids-limit", "20"], probes.PROCESSES) == 20
    update(engine, room, "--pids-limit", "12")
    assert measure_in(engine, room, probes.PROCESSES) == 11  # and the one that sleeps
    update(engine, room, "--pids-limit", "30")
    assert measure_in(engine, room, probes.PROCESSES) == 29
    update(engine, room, "--pids-limit", "-1")
    assert measure_in(engine, room, probes.PROCESSES) == 501


@needs_python
@pytest.mark.parametrize("program", [probes.WRITES, probes.READS], ids=["writes", "reads"])
def test_no_more_operations_a_second_than_allowed(engine: PrivateEngine, room: str, program: str) -> None:
    supports(engine, room, "--io-limit", "50")
    assert measure_in(engine, room, program) < 75
    update(engine, room, "--io-limit", "150")
    assert_between(75, 200, lambda: measure_in(engine, room, program))
    update(engine, room, "--io-limit", "0")
    assert_between(200, math.inf, lambda: measure_in(engine, room, program))


@needs_python
@pytest.mark.parametrize("program", [probes.WRITES, probes.READS], ids=["writes", "reads"])
def test_operations_are_counted_where_the_room_on_disk_is_limited_too(
    engine: PrivateEngine, name: str, program: str
) -> None:
    words = ("--disk-limit", "256M", *probes.mounts(), IMAGE, "sleep", "1000")
    engine.run("run", "-d", "--name", name, *words)
    supports(engine, name, "--io-limit", "50")
    assert measure_in(engine, name, program) < 75


@needs_python
@pytest.mark.parametrize("program", [probes.WRITTEN, probes.READ], ids=["written", "read"])
def test_no_more_bytes_a_second_than_allowed(engine: PrivateEngine, room: str, program: str) -> None:
    supports(engine, room, "--io-bps", "2M")
    assert measure_in(engine, room, program) < 3 * MIB
    update(engine, room, "--io-bps", "6M")
    assert_between(3 * MIB, 8 * MIB, lambda: measure_in(engine, room, program))
    update(engine, room, "--io-bps", "0")
    assert_between(8 * MIB, math.inf, lambda: measure_in(engine, room, program))


@pytest.fixture
def huge_pages() -> Iterator[None]:
    with probes.huge_pages(10) as there:
        if not there:
            pytest.skip("this host has no free huge pages of 2 MiB, and gives us none")
        yield


@needs_python
def test_no_more_huge_pages_than_allowed(engine: PrivateEngine, room: str, huge_pages: None) -> None:
    supports(engine, room, "--hugepages", "2M=4M")
    assert measure_in(engine, room, probes.HUGE) == 4
    update(engine, room, "--hugepages", "2M=12M")
    assert measure_in(engine, room, probes.HUGE) == 12
    assert measure(engine, ["--hugepages", "2048K=8MiB"], probes.HUGE) == 8
    update(engine, room, "--hugepages", "2M=-1")
    assert measure_in(engine, room, probes.HUGE) > 12


def test_a_size_of_pages_that_the_host_lacks_is_refused(engine: PrivateEngine, room: str) -> None:
    done = engine.run("update", room, "--hugepages", "8K=8M", status=125)
    assert "8KB" in done.stderr or "'hugetlb'" in done.stderr
    assert limits_of(engine, room)["hugepages"] is None


def test_open_files_can_be_limited(engine: PrivateEngine) -> None:
    assert (
        engine.out("run", "--rm", "--ulimit", "nofile=100:200", IMAGE, "sh", "-c", "ulimit -n; ulimit -Hn")
        == "100\n200"
    )


# --- update as a whole -------------------------------------------------------------------------------


def test_limits_that_were_changed_hold_after_a_restart(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--memory-limit", "64M", IMAGE, "sleep", "1000")
    assert reading(engine, name)["memory_limit"] == 64 * MIB
    update(engine, name, "--memory-limit", "128M", "--pids-limit", "77")
    engine.run("restart", "-t", "0", name)
    assert reading(engine, name)["memory_limit"] == 128 * MIB
    assert reading(engine, name)["pids_limit"] == 77


def test_an_update_that_fails_in_the_middle_changes_nothing(engine: PrivateEngine, name: str) -> None:
    words = ("--memory-limit", "64M", "--memory-swap", "80M", "--pids-limit", "50", "--cpu-limit", "1")
    engine.run("run", "-d", "--name", name, *words, IMAGE, "sleep", "1000")
    before = limits_of(engine, name)
    show = "cat $(find /sys/fs/cgroup/ -name '*limit_in_bytes' -o -name '*.max' -o -name cpu.cfs_quota_us)"
    seen = engine.out("exec", name, "sh", "-c", show)
    engine.run(
        "update", name, "--memory-limit", "0", "--cpu-limit", "0.5", "--pids-limit", "9", "--cpuset", "4000",
        status=125,
    )  # fmt: skip
    assert engine.out("exec", name, "sh", "-c", show) == seen
    assert limits_of(engine, name) == before
    row = reading(engine, name)
    assert (row["memory_limit"], row["pids_limit"]) == (64 * MIB, 50)


@needs_python
def test_less_memory_than_is_used_is_refused(engine: PrivateEngine, name: str) -> None:
    hold = "x = b'x' * (40 << 20); print('ready', flush=True); import time; time.sleep(100)"
    words = ["--memory-limit", "100M", "--memory-swap", "100M", *probes.mounts(), IMAGE]
    engine.run("run", "-d", "--name", name, *words, *probes.command(hold))
    eventually(lambda: "ready" in engine.out("logs", name), "it holds 40 MiB")
    engine.run("update", name, "--memory-limit", "20M", "--memory-swap", "20M", status=125)
    assert engine.status_of(name) == "running"
    assert reading(engine, name)["memory_limit"] == 100 * MIB


def test_swap_below_memory_is_refused_at_the_door(engine: PrivateEngine, name: str) -> None:
    done = engine.run("create", "--name", name, "--memory-swap", "64M", IMAGE, status=125)
    assert "memory_limit is not" in done.stderr
    done = engine.run("create", "--name", name, "-m", "64M", "--memory-swap", "32M", IMAGE, status=125)
    assert "smaller" in done.stderr


# --- what is told of limits that were met -----------------------------------------------------------


def events_of(engine: PrivateEngine, name: str, action: str) -> list[dict[str, Any]]:
    lines = engine.out(
        "events", "--no-stream", "--format", "json", "--filter", f"container={name}", "--filter", f"event={action}"
    ).splitlines()  # fmt: skip
    return [json.loads(line) for line in lines]


def test_an_oom_kill_is_an_event_and_is_kept(engine: PrivateEngine, name: str) -> None:
    eat = "x=a; while :; do x=$x$x; done"
    engine.run("run", "--name", name, "--memory-limit", "32M", IMAGE, "sh", "-c", eat, status=137)
    state = engine.inspect(name)["State"]
    assert state["ExitCode"] == 137
    assert state["OOMKilled"] is True
    assert state["Limits"]["OOMKills"] == 1
    assert state["Limits"]["MemoryLimitHits"] > 0
    assert [event["attributes"]["kills"] for event in events_of(engine, name, "oom")] == [1]


def test_limits_that_are_met_are_told_while_it_runs(engine: PrivateEngine, name: str) -> None:
    eat = "(x=a; while :; do x=$x$x; done)"
    words = ("--memory-limit", "32M", "--pids-limit", "10", "--cpu-limit", "0.2")
    engine.run("run", "-d", "--name", name, *words, IMAGE, "sh", "-c", f"{eat}; ({FORKS}); {SPIN}")
    for action in ("oom", "throttled", "pids_limit"):
        eventually(lambda action=action: events_of(engine, name, action), f"the event {action}")
    state = engine.inspect(name)["State"]
    assert state["Running"] and state["OOMKilled"]
    assert state["Limits"]["OOMKills"] == 1
    assert state["Limits"]["ThrottledPeriods"] > 0 and state["Limits"]["ThrottledSeconds"] > 0
    assert state["Limits"]["PidsRefused"] > 0
    assert len(events_of(engine, name, "throttled")) == 1  # once a minute at most
    engine.run("kill", name)
    eventually(lambda: engine.status_of(name) == "exited", "it has ended")
    assert engine.inspect(name)["State"]["Limits"]["PidsRefused"] == state["Limits"]["PidsRefused"]
    engine.run("start", name)
    assert engine.inspect(name)["State"]["Limits"]["OOMKills"] in (0, 1)  # those of this run


# --- stats and top -----------------------------------------------------------------------------------


def test_stats_tell_what_is_used_the_busiest_first(engine: PrivateEngine, running: str, name: str) -> None:
    busy = f"{name[:40]}-busy"
    engine.run("run", "-d", "--name", busy, "--cpu-limit", "0.3", IMAGE, "sh", "-c", SPIN)
    try:

        def rows_once_busy() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads(engine.out("stats", "--no-stream", "--format", "json"))
            return found if 10 < next(row["cpu_percent"] for row in found if row["name"] == busy) < 40 else []

        rows = eventually(rows_once_busy, "it uses what it may")
        names = [row["name"] for row in rows]
        assert names.index(busy) < names.index(running)
        idle = next(row for row in rows if row["name"] == running)
        assert idle["memory_bytes"] > 0 and idle["pids"] >= 1 and idle["cpu_percent"] < 10
        assert engine.out("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", busy) == f"{busy} 1"
    finally:
        engine.run("delete", "--force", busy)


def test_stats_show_stopped_containers_when_asked(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "true")
    assert name not in engine.out("stats", "--no-stream")
    assert name in engine.out("stats", "--no-stream", "--all")


def test_live_stats_are_redrawn_with_bars_on_a_terminal(engine: PrivateEngine, running: str) -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("this host has no script(1)")
    live = subprocess.Popen(
        [script, "-qec", " ".join(engine.command("stats", running)), "/dev/null"],
        env=engine.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert live.stdout is not None
    text = ""
    try:
        while text.count("\x1b[H") < 2 or "▁▁" not in text:
            data = os.read(live.stdout.fileno(), 65536)
            assert data, f"it ended: {text!r}"
            text += data.decode(errors="replace")
    finally:
        live.terminate()
        live.communicate()


def test_top_shows_ids_and_names_as_they_are_inside(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--name", name, "-u", "student", IMAGE, "sh", "-c", "sleep 1000 & sleep 1000; true"
    )
    eventually(lambda: len(engine.out("top", name).splitlines()) == 4, "its children run")
    rows = [line.split() for line in engine.out("top", name, "-o", "user,pid,ppid,comm").splitlines()]
    assert rows[0] == ["USER", "PID", "PPID", "COMMAND"]
    assert [row[:3] for row in rows[1:]] == [
        ["student", "1", "0"],
        ["student", "2", "1"],
        ["student", "3", "1"],
    ]
    inside = engine.out("exec", name, "sh", "-c", "cat /proc/2/stat").split()
    assert (inside[0], inside[3]) == ("2", "1")
    assert "did you mean 'pcpu'" in engine.run("top", name, "-o", "pcup", status=125).stderr


def test_top_follows_no_link_of_the_container_to_the_hosts_accounts(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run",
        "-d",
        "--name",
        name,
        IMAGE,
        "sh",
        "-c",
        "rm /etc/passwd; ln -s /proc/1/root/etc/passwd /etc/passwd; sleep 1000",
    )
    eventually(lambda: "sleep" in engine.out("top", name), "it runs")
    assert "root" in engine.out("top", name)
    engine.run("exec", name, "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd")
    assert "root" in engine.out("top", name)


# --- devices and bombs -------------------------------------------------------------------------------


def test_a_device_is_there_with_its_access_and_no_other(engine: PrivateEngine) -> None:
    if not Path("/dev/loop0").exists():
        pytest.skip("this host has no /dev/loop0")
    try_all = "ls -ln /dev/disk; head -c 0 /dev/disk && echo read; (: > /dev/disk); ls /dev/loop1"
    done = engine.run(
        "run", "--rm", "--device", "/dev/loop0:/dev/disk:r", IMAGE, "sh", "-c", try_all, status=None
    )
    assert done.stdout.splitlines()[0].split()[2:6] == ["0", "0", "7,", "0"]
    assert "read" in done.stdout
    assert "/dev/disk: Operation not permitted" in done.stderr
    assert "/dev/loop1" in done.stderr


def test_what_is_no_device_is_refused(engine: PrivateEngine) -> None:
    inside = engine.run("run", "--rm", "--device", "/etc/passwd", IMAGE, status=125).stderr
    assert "a path below /dev" in inside
    words = ("run", "--rm", "--device", "/etc/passwd:/dev/x", IMAGE)
    assert "no device" in engine.run(*words, status=125).stderr
    assert "/dev/none" in engine.run("run", "--rm", "--device", "/dev/none", IMAGE, status=125).stderr


def test_a_fork_bomb_is_held_and_deleted(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--name", name, "--pids-limit", "50", IMAGE,
        "sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1000",
    )  # fmt: skip
    time.sleep(0.5)
    engine.run("delete", "--force", name)
    eventually(lambda: name not in engine.out("ps", "-a"), "it is gone")
