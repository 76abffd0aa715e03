"""Terminals: -it, window size, attach, shell."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from private_engine import IMAGE, PrivateEngine, eventually

TALK = "while [ ! -e /go ]; do echo here; sleep 0.05; done"
"""Of a container: who is attached sees it, and so may let it go on."""


class Terminal:
    """The client on a pty of 90 columns and 33 rows."""

    def __init__(self, engine: PrivateEngine, *words: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 90, 0, 0))
        self.process = subprocess.Popen(
            engine.command(*words), stdin=slave, stdout=slave, stderr=slave, env=engine.environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def expect(self, text: str, patience: float = 20.0) -> None:
        """Read until ``text`` was seen, and forget all up to it."""
        deadline = time.monotonic() + patience
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited for {text!r}, saw {self.seen!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            assert data, f"it ended before {text!r}: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        """Type it."""
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Its exit status."""
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            os.close(self.master)


def test_run_it_gives_a_shell_on_a_terminal_of_the_right_size(engine: PrivateEngine) -> None:
    terminal = Terminal(engine, "run", "--rm", "-it", IMAGE, "sh")
    terminal.expect("# ")
    terminal.type("tty; stty size; echo $TERM\n")
    terminal.expect("/dev/pts/0")
    terminal.expect("33 90")
    terminal.expect("xterm")
    terminal.type("exit 6\n")
    assert terminal.end() == 6


def test_the_window_size_follows(engine: PrivateEngine, running: str) -> None:
    terminal = Terminal(engine, "exec", "-it", running, "sh")
    terminal.expect("# ")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    terminal.process.send_signal(28)  # SIGWINCH: the kernel sends it to the foreground group only
    terminal.type('while [ "$(stty size)" = "33 90" ]; do sleep 0.1; done; stty size\n')
    terminal.expect("40 100")
    terminal.type("exit\n")
    assert terminal.end() == 0


def test_interrupt_reaches_the_process_inside_only(engine: PrivateEngine, running: str) -> None:
    terminal = Terminal(engine, "exec", "-it", running, "sh")
    terminal.expect("# ")
    terminal.type("sleep 987\n")
    eventually(lambda: "sleep 987" in engine.out("top", running), "it sleeps")
    terminal.type("\x03")
    terminal.expect("# ")
    terminal.type("exit 4\n")
    assert terminal.end() == 4


def test_shell_opens_a_shell(engine: PrivateEngine, running: str) -> None:
    terminal = Terminal(engine, "shell", running)
    terminal.expect("# ")
    terminal.type("cat /etc/greeting\n")
    terminal.expect("hello")
    terminal.type("exit\n")
    assert terminal.end() == 0


def test_attach_shows_output_and_takes_the_exit_code(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run",
        "-d",
        "--name",
        name,
        IMAGE,
        "sh",
        "-c",
        f"{TALK}; echo gone; exit 8",
    )
    attached = engine.popen("attach", "--no-stdin", name, bufsize=0, stdout=subprocess.PIPE)
    assert attached.stdout is not None and attached.stdout.readline() == b"here\n"
    engine.run("exec", name, "touch", "/go")
    out, _ = attached.communicate(timeout=20)
    assert out.replace(b"here\n", b"") == b"gone\n"
    assert attached.returncode == 8


def test_two_can_be_attached_and_one_may_leave(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", f"{TALK}; echo both")
    first, second = (
        engine.popen("attach", "--no-stdin", name, bufsize=0, stdout=subprocess.PIPE) for _ in range(2)
    )
    for attached in (first, second):
        assert attached.stdout is not None and attached.stdout.readline() == b"here\n"
    first.kill()
    first.communicate()
    engine.run("exec", name, "touch", "/go")
    assert second.communicate(timeout=20)[0].replace(b"here\n", b"") == b"both\n"


def test_attach_gives_stdin_to_a_container_that_keeps_it_open(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "-i", "--name", name, IMAGE, "sh", "-c", "read line; echo got $line")
    engine.run("start", name)
    assert engine.run("attach", name, input="a word\n").stdout == "got a word\n"
    eventually(lambda: engine.status_of(name) == "exited", "it ends")


def test_run_i_reads_stdin_to_its_end(engine: PrivateEngine) -> None:
    data = "x" * 300_000
    assert engine.run("run", "--rm", "-i", IMAGE, "wc", "-c", input=data).stdout.strip() == "300000"


def test_without_i_stdin_is_empty(engine: PrivateEngine) -> None:
    assert engine.out("run", "--rm", IMAGE, "wc", "-c", input="unheard") == "0"
