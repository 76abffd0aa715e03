"""Health checks through the CLI: what makes a container healthy or not, what ends a probe, what outlives the daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import document_session
from private_engine import IMAGE, SCRIPTS, PrivateEngine, eventually

EngineFactory = Callable[..., PrivateEngine]
EXISTS = "test -e /works"
BACKGROUND_SECONDS = "98765"


def run(engine: PrivateEngine, name: str, test: str, *options: str, command: str = "sleep 1000") -> None:
    """A container that is probed five times a second, unless ``options`` say otherwise."""
    interval = () if "--health-interval" in options else ("--health-interval", "200ms")
    words = ("--health-cmd", test, *interval, *options)
    engine.run("run", "-d", "--name", name, *words, IMAGE, "sh", "-c", command)


def health(engine: PrivateEngine, name: str) -> dict[str, Any]:
    record: dict[str, Any] = engine.inspect(name)["State"]["Health"]
    return record


def status(engine: PrivateEngine, name: str) -> str:
    return str(health(engine, name)["Status"])


def shown(engine: PrivateEngine, name: str) -> str:
    return engine.out("ps", "--all", "--filter", f"name={name}", "--format", "{{.Status}}")


@pytest.fixture
def own_engine(make_engine: EngineFactory) -> PrivateEngine:
    """One whose daemon the test may kill."""
    return make_engine()


# --- states ----------------------------------------------------------------------------------------------


def test_it_becomes_healthy_unhealthy_and_healthy_again(engine: PrivateEngine, name: str) -> None:
    began = time.time()
    period = ("--health-start-period", "1h", "--health-start-interval", "200ms")
    run(engine, name, EXISTS, "--health-retries", "2", *period)
    assert shown(engine, name).endswith("(starting)")
    engine.run("exec", name, "touch", "/works")
    assert engine.out("wait", "--condition", "healthy", name) == "-1"
    assert shown(engine, name).endswith("(healthy)")
    engine.run("exec", name, "rm", "/works")
    engine.out("wait", "--condition", "unhealthy", name)
    found = health(engine, name)
    assert found["Status"] == "unhealthy" and found["FailingStreak"] >= 2
    assert found["Log"][-1]["ExitCode"] == 1 and len(found["Log"]) <= 5
    assert name in engine.out("ps", "--filter", "health=unhealthy").split()
    assert name not in engine.out("ps", "--filter", "health=healthy").split()
    engine.run("exec", name, "touch", "/works")
    engine.out("wait", "--condition", "healthy", name)
    assert health(engine, name)["FailingStreak"] == 0
    words = ("--filter", "action=health_status", "--filter", f"name={name}", "--since", str(began))
    lines = engine.out("events", "--no-stream", *words, "--format", "json").splitlines()
    told = [json.loads(line)["attributes"]["health"] for line in lines]
    assert told == ["healthy", "unhealthy", "healthy"]


def test_a_healthy_one_bears_fewer_failures_than_its_retries(engine: PrivateEngine, name: str) -> None:
    run(engine, name, EXISTS, "--health-retries", "1000", command="touch /works; sleep 1000")
    engine.out("wait", "--condition", "healthy", name)
    engine.run("exec", name, "rm", "/works")
    eventually(lambda: health(engine, name)["FailingStreak"] >= 3, "some have failed")
    assert status(engine, name) == "healthy"


def test_failures_in_the_start_period_do_not_count(engine: PrivateEngine, name: str) -> None:
    options = ("--health-start-period", "1h", "--health-start-interval", "100ms", "--health-retries", "1")
    run(engine, name, EXISTS, *options)
    eventually(lambda: len(health(engine, name)["Log"]) >= 3, "some have failed")
    found = health(engine, name)
    assert (found["Status"], found["FailingStreak"]) == ("starting", 0)
    engine.run("exec", name, "touch", "/works")
    engine.out("wait", "--condition", "healthy", name)
    engine.run("exec", name, "rm", "/works")
    engine.out("wait", "--condition", "unhealthy", name)  # the first success has ended the period


def test_what_a_probe_says_is_kept_up_to_a_bound(engine: PrivateEngine, name: str) -> None:
    run(engine, name, "echo begin; yes | head -c 300000; echo oops >&2; exit 3")
    eventually(lambda: health(engine, name)["Log"], "one has ended")
    entry = health(engine, name)["Log"][0]
    assert entry["ExitCode"] == 3
    assert entry["Output"].startswith("begin\ny\n") and len(entry["Output"]) == 4096
    assert entry["Start"] < entry["End"]


def test_a_command_that_is_not_there_is_unhealthy(engine: PrivateEngine, name: str) -> None:
    run(engine, name, '["nosuch"]', "--health-retries", "1")
    engine.out("wait", "--condition", "unhealthy", name)
    entry = health(engine, name)["Log"][-1]
    assert entry["ExitCode"] == 127 and "nosuch" in entry["Output"]


def test_a_probe_runs_as_the_container_does(engine: PrivateEngine, name: str) -> None:
    run(engine, name, 'echo "$(id -un) $PWD $COLOUR"', "-u", "student", "-w", "/home", "-e", "COLOUR=red")
    engine.out("wait", "--condition", "healthy", name)
    assert health(engine, name)["Log"][-1]["Output"] == "student /home red\n"


def test_words_are_run_without_a_shell(engine: PrivateEngine, name: str) -> None:
    run(engine, name, '["echo", "$HOME", "a b"]')
    engine.out("wait", "--condition", "healthy", name)
    assert health(engine, name)["Log"][-1]["Output"] == "$HOME a b\n"


def test_a_new_run_begins_anew(engine: PrivateEngine, name: str) -> None:
    run(engine, name, "true", "--health-interval", "1h")
    engine.run("healthcheck", "run", name)
    assert status(engine, name) == "healthy"
    engine.run("stop", "-t", "0", name)
    assert "healthy" not in shown(engine, name)
    engine.run("start", name)
    assert health(engine, name) == {"Status": "starting", "FailingStreak": 0, "Log": []}


# --- the end of a probe ------------------------------------------------------------------------------------


def _inside(engine: PrivateEngine, name: str) -> list[str]:
    return [
        line for line in engine.out("top", name, "-o", "args").splitlines()[1:] if BACKGROUND_SECONDS in line
    ]


def test_a_probe_is_killed_at_its_time_with_all_that_it_started(engine: PrivateEngine, name: str) -> None:
    asleep = f"sleep {BACKGROUND_SECONDS}"
    test = f"({asleep} &); (setsid {asleep} &); env -i {asleep} & echo waits; {asleep}; true"
    run(engine, name, test, "--health-timeout", "3s", "--health-retries", "1", "--health-interval", "1s")
    eventually(lambda: len(_inside(engine, name)) >= 4, "it hangs, and so do its children")
    engine.out("wait", "--condition", "unhealthy", name)
    engine.run("exec", name, "touch", "/alive")  # the container's own processes are not touched
    entry = health(engine, name)["Log"][-1]
    assert entry["ExitCode"] == -1 and "longer than 3s" in entry["Output"] and "waits" in entry["Output"]
    eventually(lambda: not _inside(engine, name), "all of it is gone")


def test_hanging_probes_delay_no_other(engine: PrivateEngine, name: str) -> None:
    hanging = [f"{name}-{number}" for number in range(6)]
    try:
        for one in hanging:
            run(engine, one, "sleep 1000", "--health-timeout", "1h")
        run(engine, name, "true", command="sleep 1000")
        time.sleep(0.5)
        began = time.monotonic()
        engine.run("healthcheck", "run", name)
        engine.out("wait", "--condition", "healthy", name)
        assert time.monotonic() - began < 10
        first = health(engine, name)["Log"][-1]["Start"]
        eventually(lambda: health(engine, name)["Log"][-1]["Start"] != first, "it is probed again")
        assert all(status(engine, one) == "starting" for one in hanging)
    finally:
        engine.run("delete", "--force", *hanging, status=None)


def test_a_flood_of_output_ends_at_its_time(engine: PrivateEngine, name: str) -> None:
    run(engine, name, "yes", "--health-timeout", "1s", "--health-retries", "1")
    engine.out("wait", "--condition", "unhealthy", name)
    assert health(engine, name)["Log"][-1]["ExitCode"] == -1


def test_what_a_probe_leaves_running_on_purpose_does_not_hold_it_up(engine: PrivateEngine, name: str) -> None:
    run(engine, name, "test -e /once || { touch /once; sleep 1000 & }", "--health-timeout", "20s")
    began = time.monotonic()
    engine.out("wait", "--condition", "healthy", name)
    assert time.monotonic() - began < 15


def test_a_paused_container_is_not_probed(engine: PrivateEngine, name: str) -> None:
    run(engine, name, "true", "--health-retries", "1", "--health-timeout", "2s")
    engine.out("wait", "--condition", "healthy", name)
    engine.run("pause", name)
    time.sleep(1)  # one that was under way comes to nothing
    before = health(engine, name)
    time.sleep(2.5)
    assert health(engine, name) == before and before["Status"] == "healthy"
    assert "(Paused)" in shown(engine, name)
    engine.run("healthcheck", "run", name, status=125)
    engine.run("resume", name)
    eventually(lambda: health(engine, name)["Log"] != before["Log"], "it is probed again")
    assert status(engine, name) == "healthy"


def test_a_pause_in_the_middle_of_a_probe_is_no_failure(engine: PrivateEngine, name: str) -> None:
    seconds = 5  # from the first sight of the probe to the pause goes by what two commands take
    options = ("--health-retries", "1", "--health-timeout", f"{seconds}s", "--health-interval", "500ms")
    run(
        engine,
        name,
        f"test -e /works || sleep {BACKGROUND_SECONDS}",
        *options,
        command="touch /works; sleep 1000",
    )
    engine.out("wait", "--condition", "healthy", name)
    engine.run("exec", name, "rm", "/works")
    eventually(lambda: _inside(engine, name), "one is under way")
    engine.run("pause", name)
    time.sleep(seconds + 0.5)
    assert status(engine, name) == "healthy"
    engine.run("unpause", name)
    engine.run("exec", name, "touch", "/works")
    eventually(lambda: not _inside(engine, name), "it was killed")


def test_a_container_that_ends_in_the_middle_of_a_probe(engine: PrivateEngine, name: str) -> None:
    run(engine, name, f"sleep {BACKGROUND_SECONDS}")
    eventually(lambda: _inside(engine, name), "one is under way")
    engine.run("stop", "-t", "0", name)
    assert engine.run("wait", "--condition", "healthy", name, status=125).stderr.count("has exited") == 1
    engine.run("delete", name)


def test_what_fails_while_it_is_being_stopped_does_not_count(engine: PrivateEngine, name: str) -> None:
    command = "trap 'rm /works; sleep 1.5; exit 0' TERM; touch /works; while :; do sleep 0.05; done"
    run(engine, name, EXISTS, "--health-retries", "1", "--health-interval", "100ms", command=command)
    engine.out("wait", "--condition", "healthy", name)
    engine.run("stop", name)
    assert engine.inspect(name)["State"]["ExitCode"] == 0
    assert health(engine, name)["Status"] == "healthy"


# --- the daemon ----------------------------------------------------------------------------------------------


def test_streak_and_status_outlive_a_killed_daemon(own_engine: PrivateEngine) -> None:
    engine = own_engine
    run(engine, "ill", "false", "--health-retries", "2")
    run(engine, "well", "true")
    run(engine, "counting", "false", "--health-retries", "100", "--health-interval", "1s")
    run(engine, "rare", "true", "--health-interval", "1h")
    run(engine, "hanging", f"sleep {BACKGROUND_SECONDS}", "--health-timeout", "1h")
    engine.run("healthcheck", "run", "rare")
    engine.out("wait", "--condition", "unhealthy", "ill")
    engine.out("wait", "--condition", "healthy", "well")
    eventually(lambda: health(engine, "counting")["FailingStreak"] >= 2, "some have failed")
    eventually(lambda: _inside(engine, "hanging"), "one is under way")
    before = {name: health(engine, name) for name in ("ill", "well", "counting", "rare")}
    os.kill(engine.daemon_pid, signal.SIGKILL)
    seen = {name: health(engine, name) for name in before}
    assert [seen[name]["Status"] for name in before] == ["unhealthy", "healthy", "starting", "healthy"]
    for name in ("ill", "counting"):
        assert seen[name]["FailingStreak"] >= before[name]["FailingStreak"], name
    assert seen["rare"] == before["rare"], "the next is due in an hour, not now"
    streak = seen["counting"]["FailingStreak"]
    eventually(lambda: health(engine, "counting")["FailingStreak"] > streak, "it is probed on")
    last = health(engine, "well")["Log"][-1]
    eventually(lambda: health(engine, "well")["Log"][-1] != last, "this one, too")
    eventually(lambda: len(_inside(engine, "hanging")) == 1, "a probe whose daemon is gone was killed")
    assert health(engine, "rare") == before["rare"]


def test_an_orderly_end_keeps_the_results_too(own_engine: PrivateEngine) -> None:
    engine = own_engine
    run(engine, "well", "true", "--health-interval", "1h")
    for _ in range(3):
        engine.run("healthcheck", "run", "well")
    before = health(engine, "well")
    assert len(before["Log"]) == 3
    engine.daemon("stop")
    assert health(engine, "well") == before


# --- where a check comes from -------------------------------------------------------------------------------


@pytest.fixture
def checked_image(engine: PrivateEngine, tmp_path: Path) -> Iterator[str]:
    """An image with a HEALTHCHECK and a shell of its own."""
    (tmp_path / "Dockerfile").write_text(
        f'FROM {IMAGE}\nSHELL ["/bin/sh", "-uc"]\n'
        "HEALTHCHECK --interval=200ms --retries=7 CMD echo $0 $-; test -e /works\n"
    )
    reference = f"checked-{tmp_path.name.replace('_', '-')}:1"[-60:].lstrip("-")
    engine.run("image", "build", "-t", reference, str(tmp_path))
    yield reference
    engine.run("rmi", "--force", reference, status=None)


def test_the_images_check_is_honoured_changed_and_switched_off(
    engine: PrivateEngine, name: str, checked_image: str
) -> None:
    sleeping = (checked_image, "sleep", "1000")
    engine.run("run", "-d", "--name", name, checked_image, "sh", "-c", "touch /works; sleep 1000")
    engine.out("wait", "--condition", "healthy", name)
    check = engine.inspect(name)["Config"]["Healthcheck"]
    assert (check["Interval"], check["Retries"], check["Timeout"]) == (200_000_000, 7, 30_000_000_000)
    assert "u" in health(engine, name)["Log"][-1]["Output"], "it ran in the image's shell"
    engine.run("delete", "--force", name)

    engine.run("run", "-d", "--name", name, "--health-retries", "2", *sleeping)
    engine.out("wait", "--condition", "unhealthy", name)
    assert engine.inspect(name)["Config"]["Healthcheck"]["Interval"] == 200_000_000
    for off in (("--no-healthcheck",), ("--health-cmd", "none")):
        engine.run("delete", "--force", name)
        engine.run("run", "-d", "--name", name, *off, *sleeping)
        assert engine.inspect(name)["State"]["Health"] is None
        assert "(" not in shown(engine, name)
        assert "no health check" in engine.run("wait", "--condition", "healthy", name, status=125).stderr
        assert "no health check" in engine.run("healthcheck", "run", name, status=125).stderr


def test_a_check_from_a_configuration(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    file = tmp_path / "container.json"
    check = {"test": ["CMD", "true"], "interval": "0.2s", "timeout": 2, "start_period": "1m30s"}
    file.write_text(json.dumps({"image": IMAGE, "command": ["sleep", "1000"], "healthcheck": check}))
    engine.run("run", "-d", "--name", name, "--config", str(file), "--health-retries", "5")
    engine.out("wait", "--condition", "healthy", name)
    found = engine.inspect(name)["Config"]["Healthcheck"]
    assert found == {
        "Test": ["CMD", "true"],
        "Interval": 200_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 5,
        "StartPeriod": 90_000_000_000,
        "StartInterval": 5_000_000_000,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--health-cmd", "true", "--health-interval", "0"), "healthcheck.interval"),
        (("--health-cmd", "true", "--health-interval", "25h"), "healthcheck.interval"),
        (("--health-cmd", "true", "--health-timeout", "soon"), "healthcheck.timeout"),
        (("--health-cmd", "true", "--health-retries", "0"), "healthcheck.retries"),
        (("--health-cmd", "true", "--health-start-period=-1s"), "healthcheck.start_period"),
        (("--health-interval", "5s"), "no test"),
        (("--health-cmd", ""), "healthcheck.test"),
        (("--health-cmd", "[]"), "healthcheck.test"),
        (("--health-cmd", "[1]"), "healthcheck.test"),
        (("--no-healthcheck", "--health-cmd", "true"), "--no-healthcheck"),
        (("--no-healthcheck", "--health-retries", "2"), "--no-healthcheck"),
        (("--health-cmd", "none", "--health-retries", "2"), "NONE"),
    ],
)
def test_what_cannot_be_is_refused_at_the_door(
    engine: PrivateEngine, words: tuple[str, ...], said: str
) -> None:
    done = engine.run("create", *words, IMAGE, status=125)
    assert said in done.stderr and "Traceback" not in done.stderr


# --- asking and waiting ----------------------------------------------------------------------------------------


def test_a_probe_at_once_has_an_exit_status_and_counts(engine: PrivateEngine, name: str) -> None:
    run(engine, name, EXISTS, "--health-interval", "1h", "--health-retries", "1")
    assert engine.run("healthcheck", "run", name, status=1).stdout == "unhealthy\n"
    assert status(engine, name) == "unhealthy"
    engine.run("exec", name, "touch", "/works")
    assert engine.run("healthcheck", "run", name).stdout == ""
    assert status(engine, name) == "healthy"
    engine.run("stop", "-t", "0", name)
    assert "not running" in engine.run("healthcheck", "run", name, status=125).stderr


def test_several_conditions_are_alternatives(engine: PrivateEngine, name: str) -> None:
    until_told = "while [ ! -e /go ]; do sleep 0.05; done; exit 3"
    run(engine, name, "true", "--health-interval", "1h", command=until_told)
    assert engine.out("wait", "--condition", "running", name) == "-1"
    conditions = ("--condition", "healthy", "--condition", "exited")
    waiting = engine.popen("wait", *conditions, name, stdout=subprocess.PIPE)
    engine.run("exec", name, "touch", "/go")
    assert waiting.communicate(timeout=30)[0] == b"3\n"
    assert engine.out("wait", "--condition", "stopped", name) == "3"
    assert "has exited (3)" in engine.run("wait", "--condition", "healthy", name, status=125).stderr


def test_one_that_is_not_started_yet_is_waited_for(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "create", "--name", name, "--health-cmd", "true", "--health-interval", "100ms", IMAGE, "sleep", "99"
    )
    waiting = engine.popen("wait", "--condition", "healthy", name)
    time.sleep(0.3)
    assert waiting.poll() is None
    engine.run("start", name)
    assert waiting.wait(30) == 0


# --- other drivers, other hosts ---------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("runc") is None, reason="this host has no runc")
def test_containers_of_another_runtime_are_probed(engine: PrivateEngine, name: str) -> None:
    asleep = f"sleep {BACKGROUND_SECONDS}"
    test = f"test -e /works || {{ (setsid {asleep} &); {asleep}; }}"
    options = ("--isolation", "oci", "--health-timeout", "3s", "--health-retries", "1")
    run(engine, name, test, *options, command="touch /works; sleep 1000")
    engine.out("wait", "--condition", "healthy", name)
    engine.run("exec", name, "rm", "/works")
    engine.out("wait", "--condition", "unhealthy", name)
    engine.run("exec", name, "touch", "/works")
    engine.out("wait", "--condition", "healthy", name)
    eventually(lambda: not _inside(engine, name), "what was killed is gone whole")


# --- the page about it ------------------------------------------------------------------------------------------


def test_the_page_goes_as_written(engine: PrivateEngine, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/how-to/health.md"
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        for command in document_session.commands(page, {"debian:12": IMAGE}):
            document_session.play(command, tmp_path, environment)
    finally:
        engine.run("delete", "--force", "web", "picky", status=None)


# --- what it costs ------------------------------------------------------------------------------------------------

MANY = 100
MOST_CPU = 1.5
"""Of one processor, for a hundred probes a second: with all that a process inside costs."""


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf(
        "SC_CLK_TCK"
    )  # its own, and of children that it waited for


@pytest.mark.timeout(900)
def test_a_hundred_containers_probed_every_second(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    engine = PrivateEngine(tmp_path, containers=MANY + 4)
    engine.start()
    try:
        engine.import_small_image()
        for number in range(MANY):
            run(engine, f"c{number}", "true", "--health-interval", "1s", "--network", "none")
        for number in range(MANY):
            engine.out("wait", "--condition", "healthy", f"c{number}")
        pids = (engine.daemon_pid, engine.supervisor_pid)
        began, used, seconds = time.monotonic(), sum(map(_cpu_seconds, pids)), 5.0
        time.sleep(seconds)
        share = (sum(map(_cpu_seconds, pids)) - used) / (time.monotonic() - began)
        record_property("cpu_of_100_probes_a_second", round(share, 2))
        log = health(engine, f"c{MANY - 1}")["Log"]
        assert len(log) == 5 and log[-1]["ExitCode"] == 0
        status_lines = Path(f"/proc/{pids[0]}/status").read_text().splitlines()
        daemon_threads = next(int(line.split()[1]) for line in status_lines if line.startswith("Threads"))
        assert daemon_threads < 40, "no thread a container"
        assert share < MOST_CPU, f"{share:.2f} processors for {MANY} probes a second"
    finally:
        engine.end()
