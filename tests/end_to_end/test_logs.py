"""Logs: every line once, in order, with its time, while it runs and afterwards."""

from __future__ import annotations

import subprocess

from private_engine import IMAGE, PrivateEngine, eventually

COUNT = "i=0; while [ $i -lt 10 ]; do i=$((i+1)); echo line $i; done"


def test_both_streams_are_kept_apart(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "sh", "-c", "echo out; echo err >&2")
    done = engine.run("logs", name)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_tail_gives_the_last_lines(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "sh", "-c", COUNT)
    assert engine.out("logs", "--tail", "2", name) == "line 9\nline 10"
    assert engine.out("logs", "--tail", "0", name) == ""


def test_timestamps_and_since_agree(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "sh", "-c", "echo early; sleep 1.2; echo late")
    lines = engine.out("logs", "--timestamps", name).splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["early", "late"]
    assert engine.out("logs", "--since", lines[1].split()[0], name) == "late"
    assert engine.out("logs", "--until", lines[0].split()[0], name) in ("", "early")


def test_follow_ends_with_the_container(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo one; sleep 0.4; echo two")
    assert engine.out("logs", "--follow", name, timeout=20) == "one\ntwo"


def test_follow_shows_lines_as_they_come(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo first; sleep 1000")
    follower = engine.popen("logs", "-f", name, stdout=subprocess.PIPE)
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"first\n"
    finally:
        follower.kill()
        follower.wait()


def test_a_log_is_rotated_and_stays_within_its_bound(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "--name", name, "--log-opt", "max-size=100K", "--log-opt", "max-files=2", IMAGE,
        "sh", "-c", "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo this is line number $i of many; done",
    )  # fmt: skip
    lines = engine.out("logs", name).splitlines()
    assert lines[-1] == "this is line number 6000 of many"
    assert len(lines) < 6000
    numbers = [int(line.split()[4]) for line in lines]
    assert numbers == list(range(numbers[0], 6001))
    directory = engine.data_root / "containers" / engine.inspect(name)["Id"]
    files = sorted(path for path in directory.iterdir() if path.name.startswith("log"))
    assert len(files) <= 2
    assert sum(path.stat().st_size for path in files) < 250_000


def test_output_without_a_newline_is_kept(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--name", name, IMAGE, "printf", "no newline")
    assert engine.run("logs", name).stdout.rstrip("\n") == "no newline"


def test_binary_output_goes_through_run_unchanged(engine: PrivateEngine) -> None:
    done = subprocess.run(
        engine.command("run", "--rm", IMAGE, "cat", "/bin/busybox"),
        stdin=subprocess.DEVNULL, capture_output=True, env=engine.environment, timeout=60,
    )  # fmt: skip
    with open("/bin/busybox", "rb") as file:
        assert done.stdout == file.read()


def test_a_container_whose_output_nobody_reads_does_not_stand_still(engine: PrivateEngine, name: str) -> None:
    client = engine.popen(
        "run", "--name", name, IMAGE, "sh", "-c", "dd if=/dev/zero bs=1000 count=2000 2>/dev/null; exit 4",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert client.stdout is not None and client.stdout.read(1), "it writes"
        client.kill()
        eventually(lambda: engine.inspect(name)["State"]["Status"] == "exited", "it ends without its client")
        assert engine.inspect(name)["State"]["ExitCode"] == 4
    finally:
        client.wait()
        client.stdout.close()  # type: ignore[union-attr]


def test_following_through_rotations_shows_each_line_once(engine: PrivateEngine, name: str) -> None:
    count = "sleep 0.3; i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo this is line number $i of many; done"
    engine.run(
        "run", "-d", "--name", name, "--log-opt", "max-size=20K", "--log-opt", "max-files=100", IMAGE,
        "sh", "-c", count,
    )  # fmt: skip
    shown = engine.out("logs", "--follow", name, timeout=60).splitlines()
    numbers = [int(line.split()[4]) for line in shown]
    assert numbers == list(range(1, 6001))
