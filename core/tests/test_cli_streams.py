"""Attached commands: streams, terminals, signals, exit codes, and the death of the daemon in the middle."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import no_such_container, pipes

from multios.testing.isolation_box import eventually

SCRIPT = str(Path(sys.executable).with_name("multios-container"))


def writer(stdout: bytes, stderr: bytes = b"", exit_code: int | None = 0) -> Any:
    """A handler of ``run``, ``start`` and ``attach``: a container that writes and exits."""

    def answer(request: Any) -> dict[str, Any]:
        ours, theirs = pipes()
        request.attached({"id": "0123", "terminal": False}, ours)
        for end, data in zip(theirs, (stdout, stderr), strict=True):
            os.write(end, data)
            os.close(end)
        return {"id": "0123", "exit_code": exit_code}

    return answer


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 137, 255])
def test_run_shows_both_streams_and_exits_as_the_container_did(code: int, daemon: Any, cli: Any) -> None:
    daemon.answers["containers.run"] = writer(b"out\n", b"err\n", code)
    done = cli("run", "--rm", "x")
    assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")
    assert daemon.asked == [
        ("containers.run", {"config": {"auto_remove": True, "image": "x"}, "attach": True})
    ]


def test_start_attached_asks_for_the_exit_code_afterwards(daemon: Any, cli: Any) -> None:
    def start(request: Any) -> dict[str, str]:
        writer(b"hello\n")(request)
        return {"id": "0123"}

    daemon.answers.update({"containers.start": start, "containers.wait": {"exit_code": 3, "error": ""}})
    done = cli("start", "--attach", "c")
    assert (done.returncode, done.stdout) == (3, "hello\n")
    assert [method for method, _ in daemon.asked] == ["containers.start", "containers.wait"]


def test_attach_shows_output_and_takes_the_exit_code(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.attach"] = writer(b"tail\n", exit_code=7)
    done = cli("attach", "c")
    assert (done.returncode, done.stdout) == (7, "tail\n")
    assert daemon.asked == [("containers.attach", {"ref": "c", "stdin": True})]


def test_much_output_arrives_whole_through_a_pipe_and_into_a_file(
    daemon: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)

    def run(request: Any) -> dict[str, Any]:
        ours, (out, err) = pipes()
        request.attached({"id": "0123", "terminal": False}, ours)
        os.close(err)
        with os.fdopen(out, "wb") as stream:
            stream.write(data)
        return {"id": "0123", "exit_code": 0}

    daemon.answers["containers.run"] = run
    done = subprocess.run([SCRIPT, "run", "x"], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == data
    for mode in ("wb", "ab"):
        with open(tmp_path / "file", mode) as file:
            subprocess.run([SCRIPT, "run", "x"], env=environment, stdout=file, check=True, timeout=60)
    assert (tmp_path / "file").read_bytes() == data * 2


def test_run_interactive_hands_its_own_stdin_over(daemon: Any, cli: Any) -> None:
    def run(request: Any) -> dict[str, Any]:
        return writer(os.read(request.fds[0], 100).upper())(request)

    daemon.answers["containers.run"] = run
    done = cli("run", "-i", "x", input="typed")
    assert (done.returncode, done.stdout) == (0, "TYPED")


def test_start_interactive_copies_stdin_to_its_end(daemon: Any, cli: Any) -> None:
    text = "line\n" * 50_000

    def start(request: Any) -> dict[str, str]:
        stdin, (out, err) = os.pipe(), os.pipe()
        more = os.pipe()
        request.attached({"id": "0123", "terminal": False, "stdin": True}, [stdin[1], out, more[0]])
        with os.fdopen(stdin[0], "rb") as stream:
            size = len(stream.read())
        os.write(err, b"%d bytes" % size)
        os.close(err)
        os.close(more[1])
        return {"id": "0123"}

    daemon.answers.update({"containers.start": start, "containers.wait": {"exit_code": 0, "error": ""}})
    done = cli("start", "-ai", "c", input=text)
    assert (done.returncode, done.stdout) == (0, f"{len(text)} bytes")


def test_exec_hands_its_own_three_streams_over(daemon: Any, cli: Any) -> None:
    def execute(request: Any) -> dict[str, int]:
        stdin, stdout, stderr = request.fds
        os.write(stdout, b"out:" + os.read(stdin, 100))
        os.write(stderr, b"err")
        return {"exit_code": 9}

    daemon.answers["containers.exec"] = execute
    done = cli("exec", "-i", "c", "cat", input="in")
    assert (done.returncode, done.stdout, done.stderr) == (9, "out:in", "err")
    done = cli("exec", "c", "cat", input="not given")
    assert done.stdout == "out:"


@pytest.mark.parametrize(
    ("kind", "status"), [("NotFound", 125), ("CommandNotExecutable", 126), ("CommandNotFound", 127)]
)
def test_errors_of_the_daemon_are_two_lines_and_an_exit_code(
    kind: str, status: int, daemon: Any, cli: Any
) -> None:
    def refuse(request: Any) -> Any:
        from multios import errors

        raise getattr(errors, kind)("the cause", "the remedy")

    for method in ("run", "exec", "start"):
        daemon.answers[f"containers.{method}"] = refuse
    for line in ("run x", "exec c x", "start -a c", "exec -t c x"):
        done = cli(*line.split())
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr == "Error: the cause\nthe remedy\n"


def test_an_error_after_the_streams_were_attached_is_shown_too(daemon: Any, cli: Any) -> None:
    def run(request: Any) -> Any:
        writer(b"partly\n")(request)
        no_such_container(request)

    daemon.answers["containers.run"] = run
    done = cli("run", "x")
    assert (done.returncode, done.stdout) == (125, "partly\n")
    assert done.stderr.startswith("Error: no such container")


# --- the daemon dies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["run x", "start -a x", "attach x"])
def test_streams_outlive_the_daemon_and_the_next_one_is_asked_for_the_exit_code(
    line: str, daemon: Any, cli: Any
) -> None:
    """The streams come from the supervisor; only the answer comes from the daemon."""

    def attach(request: Any) -> Any:
        ours, (out, err) = pipes()
        request.attached({"id": "0123", "terminal": False}, ours)
        os.write(out, b"before ")
        if line.startswith("start"):
            request.send({"result": {"id": "0123"}})
        daemon.die()
        threading.Thread(target=carry_on, args=(out, err)).start()

    def carry_on(out: int, err: int) -> None:
        os.write(out, b"after\n")
        os.close(err)
        time.sleep(0.2)
        daemon.listen()
        os.close(out)

    method = f"containers.{line.split()[0]}"
    daemon.answers.update({method: attach, "containers.wait": {"exit_code": 5, "error": ""}})
    done = cli(*line.split())
    assert (done.returncode, done.stdout, done.stderr) == (5, "before after\n", "")
    assert daemon.asked[-1] == ("containers.wait", {"ref": "0123", "condition": "exited"})


def test_an_unknown_exit_code_is_never_invented(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.run"] = writer(b"", exit_code=None)
    done = cli("run", "x")
    assert done.returncode == 125
    assert "not known" in done.stderr


def test_a_container_that_went_with_its_daemon_is_told_without_inventing_a_code(
    daemon: Any, cli: Any
) -> None:
    def run(request: Any) -> None:
        writer(b"")(request)
        daemon.die()
        daemon.listen()

    daemon.answers.update({"containers.run": run, "containers.wait": no_such_container})
    done = cli("run", "--rm", "x")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("Error: the daemon was replaced and the container is gone")


def test_a_daemon_that_dies_under_an_exec_is_a_clear_error(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.exec"] = lambda request: daemon.die()
    done = cli("exec", "c", "sleep", "9")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 2 and "closed" in done.stderr


# --- signals ---------------------------------------------------------------------------------------------


def test_signals_go_to_the_container_when_there_is_no_terminal(
    daemon: Any, environment: dict[str, str]
) -> None:
    ready = threading.Event()
    ended = threading.Event()

    def run(request: Any) -> dict[str, Any]:
        ours, theirs = pipes()
        request.attached({"id": "0123", "terminal": False}, ours)
        os.write(theirs[0], b"up\n")
        assert ended.wait(30)
        for end in theirs:
            os.close(end)
        return {"id": "0123", "exit_code": 143}

    def kill(request: Any) -> dict[str, str]:
        if request.params["signal"] == "TERM":
            ended.set()
        else:
            ready.set()
        return {"id": "0123"}

    daemon.answers.update({"containers.run": run, "containers.kill": kill})
    with subprocess.Popen([SCRIPT, "run", "x"], env=environment, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.send_signal(signal.SIGINT)
        assert ready.wait(30)
        client.send_signal(signal.SIGTERM)
        assert client.wait(30) == 143
    assert [params for method, params in daemon.asked if method == "containers.kill"] == [
        {"ref": "0123", "signal": "INT"},
        {"ref": "0123", "signal": "TERM"},
    ]


def test_an_interrupt_before_the_container_runs_ends_the_client_quietly(
    daemon: Any, environment: dict[str, str]
) -> None:
    asked, release = threading.Event(), threading.Event()

    def run(request: Any) -> None:
        request.send({"progress": {"what": "pulling debian:12", "done": 1, "total": 9}})
        asked.set()
        release.wait(10)

    daemon.answers["containers.run"] = run
    with subprocess.Popen([SCRIPT, "run", "x"], env=environment, stderr=subprocess.PIPE, text=True) as client:
        assert asked.wait(30)
        assert client.stderr is not None
        assert client.stderr.readline() == "pulling debian:12\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(30) == 130
        assert client.stderr.read().strip() == ""
    release.set()


def test_a_reader_that_leaves_ends_the_client_quietly(daemon: Any, environment: dict[str, str]) -> None:
    def run(request: Any) -> None:
        ours, theirs = pipes()
        request.attached({"id": "0123", "terminal": False}, ours)
        try:
            while True:
                os.write(theirs[0], b"y\n" * 1000)
        except BrokenPipeError:
            pass
        for end in theirs:
            os.close(end)

    daemon.answers["containers.run"] = run
    line = f"{SCRIPT} run x | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "y\n", "")


# --- terminals -------------------------------------------------------------------------------------------


class Screen:
    """A real pty with the client on its other side, and the master of the container's own pty."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.client = subprocess.Popen(
            [SCRIPT, *words], env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )

    def read_until(self, text: bytes, seconds: float = 30.0) -> bytes:
        seen, deadline = b"", time.monotonic() + seconds
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self.master], [], [], 0.1)[0]:
                seen += os.read(self.master, 4096)
        return seen

    def close(self) -> None:
        if self.client.poll() is None:
            self.client.kill()
            self.client.wait()
        os.close(self.master)
        os.close(self.slave)


class Shell:
    """The container's side: a pty whose slave echoes lines in capitals until ``exit``."""

    def __init__(self, method: str) -> None:
        self.exec = method == "exec"
        self.size: tuple[int, ...] = ()
        self.slave = -1
        self.typed = b""

    def __call__(self, request: Any) -> dict[str, Any]:
        master, slave = pty.openpty()
        tty.setraw(slave)
        self.slave = slave
        ends = [master] if self.exec else [master, os.dup(master)]
        request.attached({"id": "0123", "terminal": True}, ends)
        os.write(slave, b"ready>")
        while b"exit" not in self.typed:
            readable, _, _ = select.select([slave, request.sock], [], [], 10)
            if request.sock in readable or not readable:
                os.close(slave)
                return {"exit_code": 0}
            data = os.read(slave, 100)
            self.typed += data
            self.size = self.size_now()
            os.write(slave, data.upper())
        os.close(slave)
        return {"id": "0123", "exit_code": 4}

    def size_now(self) -> tuple[int, ...]:
        return struct.unpack("HHHH", fcntl.ioctl(self.slave, termios.TIOCGWINSZ, bytes(8)))[:2]


@pytest.mark.parametrize(
    "line", ["run -it x", "attach x", "start -ai x", "exec -it x bash", "exec x bash", "shell x"]
)
def test_a_terminal_is_raw_sized_and_restored(line: str, daemon: Any, environment: dict[str, str]) -> None:
    method = "exec" if line.startswith("shell") else line.split()[0]
    shell = Shell(method)
    daemon.answers.update({f"containers.{method}": shell, "containers.wait": {"exit_code": 4, "error": ""}})
    screen = Screen(environment, *line.split())
    try:
        screen.read_until(b"ready>")
        os.write(screen.master, b"\x03abc")
        screen.read_until(b"\x03ABC")
        assert shell.size == (33, 77)
        fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
        screen.client.send_signal(signal.SIGWINCH)
        eventually(lambda: shell.size_now() == (40, 90), "the container's terminal has the new size")
        os.write(screen.master, b"d")
        screen.read_until(b"D")
        assert shell.size == (40, 90)
        os.write(screen.master, b"exit")
        screen.read_until(b"EXIT")
        assert screen.client.wait(30) == 4
        assert termios.tcgetattr(screen.slave) == screen.before
        assert shell.typed == b"\x03abcdexit"
    finally:
        screen.close()


@pytest.mark.parametrize("line", ["run -it x", "attach x", "exec -it x bash"])
def test_the_detach_keys_leave_the_container_running(
    line: str, daemon: Any, environment: dict[str, str]
) -> None:
    shell = Shell(line.split()[0])
    daemon.answers[f"containers.{line.split()[0]}"] = shell
    screen = Screen(environment, *line.split())
    try:
        screen.read_until(b"ready>")
        os.write(screen.master, b"\x10x")
        screen.read_until(b"\x10X")
        os.write(screen.master, b"\x10")
        time.sleep(0.05)
        os.write(screen.master, b"\x11")
        assert screen.client.wait(30) == 0
        assert termios.tcgetattr(screen.slave) == screen.before
        assert shell.typed == b"\x10x"
    finally:
        screen.close()


def test_a_terminated_client_restores_the_terminal(daemon: Any, environment: dict[str, str]) -> None:
    daemon.answers["containers.run"] = Shell("run")
    screen = Screen(environment, "run", "-it", "x")
    try:
        screen.read_until(b"ready>")
        assert termios.tcgetattr(screen.slave) != screen.before
        screen.client.terminate()
        assert screen.client.wait(30) == 143
        assert termios.tcgetattr(screen.slave) == screen.before
    finally:
        screen.close()


def test_a_terminal_without_a_terminal_on_our_side_copies_what_is_piped(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.run"] = Shell("run")
    done = cli("run", "-it", "x", input="abc exit")
    assert (done.returncode, done.stdout) == (4, "ready>ABC EXIT")


def test_things_that_go_on_at_once_have_a_line_each() -> None:
    from multios.cli.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    progress = Progress(shown)
    for what, done in (("one", 10), ("two", 20), ("one", 50), ("two", 100), ("one", 100)):
        progress.show({"what": what, "done": done, "total": 100})
    progress.end()
    lines = [""]
    row = 0
    for part in re.findall(r"\x1b\[\d*[ABK]|[\r\n]|[^\x1b\r\n]+", shown.getvalue()):
        if part.endswith("A") and part[0] == "\x1b":
            row -= int(part[2:-1])
        elif part.endswith("B") and part[0] == "\x1b":
            row += int(part[2:-1])
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part[0] not in "\x1b\r":
            lines[row] = part
    assert [line.split("]")[1].strip() for line in lines if line] == [
        "100% 100 of 100 one",
        "100% 100 of 100 two",
    ]


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    daemon: Any, cli: Any, environment: dict[str, str]
) -> None:
    def run(request: Any) -> dict[str, Any]:
        for done in (0, 40, 100):
            request.send({"progress": {"what": "unpacking", "done": done, "total": 100}})
        return writer(b"done\n")(request)

    daemon.answers["containers.run"] = run
    assert cli("run", "x").stderr == "unpacking\n"
    screen = Screen(environment, "run", "x")
    try:
        shown = screen.read_until(b"done")
        assert b"40%" in shown and "█".encode() in shown
        assert screen.client.wait(30) == 0
    finally:
        screen.close()
