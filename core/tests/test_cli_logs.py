"""``logs`` reads the files that the daemon opened: choosing, following, and what rotation does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from multios.engine.log_files import open_log
from multios.errors import NotFound
from multios.testing.isolation_box import eventually

SCRIPT = str(Path(sys.executable).with_name("multios-container"))
STAMP = "2001-02-03T10:00:{:02}.000000000Z"


def line(second: int, text: str, stream: str = "stdout", kind: str = "F") -> str:
    return f"{STAMP.format(second)} {stream} {kind} {text}\n"


class Log:
    """A container's log as the supervisor writes it, and the daemon's methods that serve it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log"
        self.path.touch()
        self.exited = threading.Event()

    def write(self, *lines: str) -> None:
        with open(self.path, "a") as file:
            file.write("".join(lines))

    def rotate(self, keep: int = 3) -> None:
        for number in range(keep - 1, 0, -1):
            older = self.path.with_suffix(f".{number}") if number > 1 else self.path
            source = self.path.with_suffix(f".{number - 1}") if number > 1 else older
            if source.exists():
                source.rename(self.path.with_suffix(f".{number}"))
        self.path.touch()

    def serve(self, request: Any) -> None:
        fds = open_log(self.path, max_files=4)
        request.send({"result": {"path": str(self.path), "files": len(fds)}}, fds)
        for fd in fds:
            os.close(fd)

    def wait(self, request: Any) -> dict[str, Any]:
        self.exited.wait(120)
        return {"exit_code": 0, "error": ""}


@pytest.fixture
def log(daemon: Any, tmp_path: Path) -> Log:
    made = Log(tmp_path)
    daemon.answers.update({"containers.logs": made.serve, "containers.wait": made.wait})
    return made


def test_lines_of_both_streams_go_where_they_were_written(log: Log, cli: Any) -> None:
    log.write(line(1, "a"), line(2, "b", "stderr"), line(3, "not ", kind="P"), line(3, "split"), line(4, ""))
    done = cli("logs", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nnot split\n\n", "b\n")


def test_rotated_files_come_first(log: Log, cli: Any) -> None:
    log.write(line(1, "a"))
    log.rotate()
    log.write(line(2, "b"))
    log.rotate()
    log.write(line(3, "c"))
    assert cli("logs", "c").stdout == "a\nb\nc\n"
    assert cli("logs", "--tail", "2", "c").stdout == "b\nc\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--tail 0", ""),
        ("--tail 1", "e\n"),
        ("--tail 2", "cd\ne\n"),
        ("-n 99", "a\nb\ncd\ne\n"),
        ("--tail -1", "a\nb\ncd\ne\n"),
        ("--since 2001-02-03T10:00:02Z", "b\ncd\ne\n"),
        ("--until 2001-02-03T10:00:02Z", "a\nb\n"),
        ("--since 2001-02-03T10:00:02+00:00 --until 2001-02-03T10:00:03Z", "b\ncd\n"),
        ("--since 1h", ""),
        ("--until 1h30m", "a\nb\ncd\ne\n"),
        ("--since 981194404", "e\n"),
        ("--timestamps --tail 1", STAMP.format(4) + " e\n"),
        ("-t --since 2001-02-03T10:00:03Z --until 2001-02-03T10:00:03Z", STAMP.format(3) + " cd\n"),
    ],
)
def test_lines_are_chosen(options: str, expected: str, log: Log, cli: Any) -> None:
    log.write(line(1, "a"), line(2, "b"), line(3, "c", kind="P"), line(3, "d"), line(4, "e"))
    done = cli("logs", *options.split(), "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_a_time_that_is_none_is_refused(log: Log, cli: Any) -> None:
    done = cli("logs", "--since", "yesterday", "c")
    assert done.returncode == 125
    assert done.stderr.startswith("Error: --since: 'yesterday' is no time\nwrite a duration such as 10m")


def follow(environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SCRIPT, "logs", "--follow", *options, "c"], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_following_shows_new_lines_and_ends_with_the_container(log: Log, environment: dict[str, str]) -> None:
    log.write(line(1, "a"))
    with follow(environment) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "a\n"
        log.write(line(2, "b"))
        assert client.stdout.readline() == "b\n"
        log.write(line(3, "c")[:-3])
        time.sleep(0.1)
        log.write(line(3, "c")[-3:], line(4, "last words"))
        log.exited.set()
        assert client.stdout.read() == "c\nlast words\n"
        assert client.wait(30) == 0


@pytest.mark.parametrize("times", [1, 2, 4])
def test_following_goes_on_after_rotation_without_losing_a_line(
    times: int, log: Log, environment: dict[str, str]
) -> None:
    log.write(line(1, "a"))
    with follow(environment, "--tail", "1") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "a\n"
        log.write(line(2, "before"))
        for number in range(times):
            log.rotate(keep=4)
            log.write(line(3, f"after {number}"))
        expected = "".join(f"after {number}\n" for number in range(max(0, times - 4), times))
        assert client.stdout.readline() == "before\n"
        assert "".join(client.stdout.readline() for _ in range(expected.count("\n"))) == expected
        log.write(line(5, "end"))
        log.exited.set()
        assert client.stdout.read() == "end\n"


def test_a_log_that_is_rotated_while_it_is_handed_over_is_followed(
    log: Log, daemon: Any, environment: dict[str, str]
) -> None:
    log.write(line(1, "a"))

    def serve(request: Any) -> None:
        fds = open_log(log.path, max_files=4)
        log.rotate()
        log.write(line(2, "b"))
        daemon.answers["containers.logs"] = log.serve
        request.send({"result": {"path": str(log.path), "files": len(fds)}}, fds)
        for fd in fds:
            os.close(fd)

    daemon.answers["containers.logs"] = serve
    with follow(environment) as client:
        assert client.stdout is not None
        assert [client.stdout.readline() for _ in range(2)] == ["a\n", "b\n"]
        log.exited.set()
        assert client.stdout.read() == ""


def test_following_ends_quietly_when_the_container_is_removed(
    log: Log, daemon: Any, environment: dict[str, str]
) -> None:
    def gone(request: Any) -> None:
        raise NotFound("no container 'c'", "look with `ps -a`")

    log.write(line(1, "a"))
    with follow(environment) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "a\n"
        log.write(line(2, "b"))
        daemon.answers["containers.logs"] = gone
        log.path.unlink()
        log.exited.set()
        assert client.stdout.read() == "b\n"
        assert client.wait(30) == 0


def test_following_under_a_storm_of_rotations_keeps_every_line_in_order(
    log: Log, environment: dict[str, str]
) -> None:
    with follow(environment) as client:
        assert client.stdout is not None

        shown: list[str] = []

        def storm() -> None:
            for number in range(400):
                log.write(line(number % 60, str(number)))
                if number % 20 == 19:
                    log.rotate(keep=4)
                    # What has been rotated away cannot be followed: one file and what comes next may be unread.
                    eventually(lambda until=number - 19: len(shown) >= until, "they are shown")  # type: ignore[misc]
            log.exited.set()

        thread = threading.Thread(target=storm)
        thread.start()
        for shown_line in client.stdout:
            shown.append(shown_line.strip())
        thread.join()
    assert shown == [str(number) for number in range(400)]


def test_a_followed_log_whose_container_has_exited_ends_at_once(log: Log, cli: Any) -> None:
    log.write(line(1, "a"))
    log.exited.set()
    done = cli("logs", "-f", "c")
    assert (done.returncode, done.stdout) == (0, "a\n")
