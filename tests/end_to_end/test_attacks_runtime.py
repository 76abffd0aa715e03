"""Attacks on the processes that enter a container: its runtime, their descriptors, their memory.

The docstrings are rows of docs/explanation/attacks.md: the attack, ``CVE:`` where it has a number, ``Stopped by:``.
"""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import threading
import time
from pathlib import Path

import pytest

from attacker import import_image, python_inside, python_words, volumes
from multios.selfproof import interpreter
from private_engine import IMAGE, PrivateEngine

WATCH = """
def is_ours(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().startswith("multios")
    except OSError:
        return False
def has_descriptors(pid):
    try:
        return bool(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False
TRIES = {what: lambda pid, what=what: attempt(f"/proc/{pid}/{what}", os.O_RDONLY) == "done"
         for what in ("exe", "root", "cwd", "mem", "environ")}
TRIES["exe for writing"] = lambda pid: attempt(f"/proc/{pid}/exe", os.O_WRONLY) == "done"
TRIES["descriptors"] = has_descriptors
TRIES["traced"] = lambda pid: call(101, 16, int(pid), 0, 0) == "done"
found, end = set(), time.time() + float(sys.argv[1])
os.close(os.open("/tmp/watching", os.O_CREAT | os.O_WRONLY))
while time.time() < end or not found and time.time() < end + 60:
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) not in (1, os.getpid()) and is_ours(pid):
            found.add("seen")
            for what, is_done in TRIES.items():
                if is_done(pid) and is_ours(pid):  # still: it has not become the command meanwhile
                    found.add(what)
print(*sorted(found))
"""
"""Seize, or look into, every process of ours that appears, until the time is over and there was one; print what came of it."""


def digest() -> str:
    """The interpreter that is the host's runtime, as it is now."""
    return hashlib.sha256(Path(interpreter.executable()).read_bytes()).hexdigest()


@pytest.mark.parametrize("options", [(), ("--cap-add", "SYS_PTRACE")], ids=["default", "SYS_PTRACE"])
def test_a_process_that_enters_cannot_be_seized_or_looked_into(
    engine: PrivateEngine, name: str, options: tuple[str, ...]
) -> None:
    """Trace the process of exec in the moment before it becomes the command, or take its files.

    CVE: CVE-2016-9962, CVE-2019-5736
    Stopped by: it is not dumpable from before it enters, and its memory belongs to the host's user namespace
    """
    before = digest()
    engine.run("run", "-d", "--name", name, *volumes(), *options, IMAGE, *python_words(WATCH, "5"))
    # Any status: once it is the command, it is theirs to seize, and then it ends with the container only.
    engine.run("exec", name, "sh", "-c", "until [ -e /tmp/watching ]; do sleep 0.1; done", status=None)
    while engine.status_of(name) == "running":
        engine.run("exec", name, "true", status=None)
    assert engine.out("logs", name) == "seen"
    assert digest() == before


OVERWRITE = b"""#!/proc/self/exe
import os
os.set_inheritable(os.open('/proc/self/exe', os.O_PATH), True)
os.execv('/bin/sh', ['sh', '-c', 'for try in 1 2 3 4 5 6 7 8 9; do true >>/proc/self/fd/3 && echo written; done; echo end'])
"""
"""Run by the runtime's own binary; hands a way to that binary on to a shell, which opens it to append nothing."""


@pytest.mark.parametrize("options", [(), ("--userns", "host")], ids=["default", "host's ids"])
def test_an_entrypoint_that_is_the_runtime_itself_cannot_write_to_it(
    engine: PrivateEngine, name: str, options: tuple[str, ...]
) -> None:
    """An image whose entrypoint is ``#!/proc/self/exe``: run the host's runtime inside, then overwrite it.

    CVE: CVE-2019-5736
    Stopped by: a command or interpreter that leads to the runtime's own program is refused; were it run, root inside is another id than the file's
    """
    image = import_image(engine, "selfexe:1", [], {"start": OVERWRITE}, ('ENTRYPOINT ["/start"]',))
    before = digest()
    links = [word for path in ("/lib", "/lib64") for word in ("-v", f"{path}:{path}:ro")]
    done = engine.run("run", "--name", name, *volumes(), *links, *options, image, status=None)
    assert done.returncode == 126 and "Permission denied" in done.stderr and not done.stdout, done
    engine.run("delete", name)
    engine.run("create", "--name", name, *volumes(), *links, *options, IMAGE, "sleep", "100")
    engine.run("start", name)
    engine.run("exec", "-i", name, "sh", "-c", "cat >/start; chmod +x /start", input=OVERWRITE)
    done = engine.run("exec", name, "/start", status=None)
    assert done.returncode == 126 and not done.stdout, done
    assert digest() == before


LIST_DESCRIPTORS = """
found = []
for word in os.listdir("/proc/self/fd"):
    try:
        os.fstat(int(word))
        found.append(word)
    except OSError:
        pass  # the one that listed
print(*sorted(found))
"""


def test_no_descriptor_is_left_open_inside(engine: PrivateEngine, name: str) -> None:
    """Use a descriptor that the runtime left open.

    CVE: CVE-2024-21626
    Stopped by: everything of ours is close-on-exec; the helper closes all else before it enters
    """
    assert python_inside(engine, LIST_DESCRIPTORS) == "0 1 2"
    engine.run("run", "-d", "--name", name, *volumes(), IMAGE, "sleep", "100")
    assert engine.out("exec", name, *python_words(LIST_DESCRIPTORS)) == "0 1 2"


@pytest.mark.parametrize("number", range(3, 13))
def test_a_working_directory_cannot_be_a_descriptor_of_the_host(
    engine: PrivateEngine, name: str, number: int
) -> None:
    """``-w /proc/self/fd/N`` for run and exec, in hope of a directory of the host's.

    CVE: CVE-2024-21626
    Stopped by: no descriptor of the host's is open when the directory is changed; the old root is let go of before
    """
    host = os.stat("/")
    climb = "stat -c %d:%i ../../../../../.. . 2>/dev/null; ls ../../../../../../../proc/1/root/bin/busybox"
    where = f"/proc/self/fd/{number}"
    engine.run("run", "-d", "--name", name, IMAGE, "sleep", "100")
    for done in (
        engine.run("run", "--rm", "-w", where, IMAGE, "sh", "-c", climb, status=None),
        engine.run("exec", "-w", where, name, "sh", "-c", climb, status=None),
    ):
        assert f"{host.st_dev}:{host.st_ino}" not in done.stdout.split(), done


def test_what_is_typed_after_an_exec_is_not_read_inside(engine: PrivateEngine, running: str) -> None:
    """Leave a process behind that reads from the caller's terminal, which exec gave it for output.

    Stopped by: the client gives pipes where it has a terminal itself
    """
    master, slave = pty.openpty()
    try:
        steal = "(head -n 1 <&2 >/tmp/stolen 2>/dev/null; echo end >>/tmp/stolen) & echo out; echo err >&2; exit 3"
        done = subprocess.run(
            engine.command("exec", running, "sh", "-c", steal), stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
            env=engine.environment, timeout=60,
        )  # fmt: skip
        assert done.returncode == 3
        said = b""
        while len(said) < len(b"out\r\nerr\r\n"):
            said += os.read(master, 100)
        assert said == b"out\r\nerr\r\n"
        os.write(master, b"the caller's password\n")
        time.sleep(0.3)
        assert "password" not in engine.out("exec", running, "cat", "/tmp/stolen", status=None)
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_given_as_stdin_is_a_pipe_inside(engine: PrivateEngine) -> None:
    """Keep the caller's terminal that ``run -i`` and ``exec -i`` have as standard input.

    Stopped by: the client gives a pipe and copies what is typed, as long as it runs
    """
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(
            engine.command("run", "--rm", "-i", IMAGE, "sh", "-c", "readlink /proc/self/fd/0; cat"),
            stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=engine.environment,
        )  # fmt: skip
        os.write(master, b"typed\n\x04")
        output, errors = child.communicate(timeout=60)
        assert output.startswith(b"pipe:") and output.endswith(b"typed\n"), (output, errors)
    finally:
        os.close(master)
        os.close(slave)


INJECT = """
import fcntl
for code, argument in ((0x5412, b"x"), (0x541C, bytes([3])), (0x541C, bytes([2] + 10 * [0]))):
    try:
        fcntl.ioctl(0, code, argument)
        print("done")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


def test_nothing_is_typed_into_the_callers_shell(engine: PrivateEngine, running: str) -> None:
    """Push input into the terminal of whoever called exec (TIOCSTI), or paste into it (TIOCLINUX).

    CVE: CVE-2016-2568, CVE-2017-5226, CVE-2023-1523
    Stopped by: a container's terminal is one of its own; input pushed into that is its own
    """
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(
            engine.command("run", "--rm", "-it", *volumes(), IMAGE, *python_words(INJECT)),
            stdin=slave, stdout=slave, stderr=slave, env=engine.environment,
        )  # fmt: skip
        said = bytearray()
        reader = threading.Thread(target=lambda: said.extend(_until_ended(child, master)))
        reader.start()
        assert child.wait(60) == 0
        reader.join()
        os.set_blocking(slave, False)
        with pytest.raises(BlockingIOError):
            os.read(slave, 10)  # nothing waits to be read by who comes next
    finally:
        os.close(master)
        os.close(slave)
    assert said.count(b"\n") >= 3, said


def _until_ended(child: subprocess.Popen[bytes], master: int) -> bytes:
    """What comes until the client has ended and is silent."""
    import select

    said = b""
    while True:
        runs = child.poll() is None
        if select.select([master], [], [], 0.5)[0]:
            said += os.read(master, 1000)
        elif not runs:
            return said
