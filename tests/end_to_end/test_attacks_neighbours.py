"""Attacks on the others: bombs, floods, and ways from one container into another or into its viewer's terminal.

While a bomb goes off, ``exec true`` in another container must stay quick. The docstrings are rows of
docs/explanation/attacks.md: the attack, ``CVE:`` where it has a number, ``Stopped by:``.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacker import QUICK, python_inside, python_words, resident, seconds_of_another, volumes
from private_engine import IMAGE, PrivateEngine, eventually

LITTLE = ("--pids-limit", "64", "--memory-limit", "128M", "--memory-swap", "128M", "--cpu-limit", "0.5")


@pytest.fixture(scope="module")
def other(engine: PrivateEngine) -> Iterator[str]:
    """A container that has done nothing wrong."""
    engine.run("run", "-d", "--name", "neighbour", IMAGE, "sleep", "1000")
    yield "neighbour"
    engine.run("delete", "--force", "neighbour")


BOMBS = {
    "fork": "while True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)",
    "zombie": "while True:\n    try:\n        if os.fork() == 0: os._exit(0)\n    except OSError: time.sleep(0.01)",
    "memory": "kept = []\nwhile True: kept.append(b'x' * 1_000_000)",
    "shared memory": "n = 0\nwhile True:\n    n += 1\n    open(f'/dev/shm/{n}', 'wb').write(b'x' * 1_000_000)",
    "memory file": "n = os.memfd_create('x')\nwhile True: os.write(n, b'x' * 1_000_000)",
    "System V": (
        "while True:\n    n = libc.shmget(0, 1_000_000, 0o1600)\n    libc.shmat.restype = ctypes.c_void_p\n"
        "    p = libc.shmat(n, 0, 0)\n    ctypes.memset(p, 1, 1_000_000)"
    ),
    "descriptor": (
        "for _ in range(30):\n    if os.fork() == 0: break\nwhile True:\n    try: os.open('/etc/greeting', os.O_RDONLY)\n"
        "    except OSError: time.sleep(0.01)"
    ),
    "inotify and epoll": (
        "import select\nkept = []\nwhile True:\n    try:\n        kept.append(select.epoll())\n        n = libc.inotify_init()\n"
        "        for path in os.listdir('/bin'): libc.inotify_add_watch(n, f'/bin/{path}'.encode(), 2)\n"
        "    except OSError: time.sleep(0.01)"
    ),
    "pipe": (
        "import fcntl\nwhile True:\n    try:\n        _, n = os.pipe()\n        os.set_blocking(n, False)\n"
        "        os.write(n, b'x' * 65536)\n    except OSError: time.sleep(0.01)"
    ),
    "socket buffer": (
        "kept = []\nwhile True:\n    try:\n        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "        kept += [a, b]\n        a.setblocking(False)\n        for _ in range(10): a.send(b'x' * 60_000)\n"
        "    except OSError: time.sleep(0.01)"
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_takes_its_own_container_only(engine: PrivateEngine, name: str, other: str, kind: str) -> None:
    """Bombs of processes, zombies, memory, shared memory, descriptors, watches, pipes and socket buffers.

    Stopped by: the cgroup's limits of processes, memory and CPU; what the kernel allocates for it counts too
    """
    program = f"os.close(os.open('/tmp/begun', os.O_CREAT | os.O_WRONLY))\n{BOMBS[kind]}"
    words = [*volumes(), *LITTLE, "--tmpfs", "/tmp:size=1M"]
    engine.run("run", "-d", "--name", name, *words, IMAGE, *python_words(program))
    supervisor = resident(engine.supervisor_pid)
    deadline = time.monotonic() + 4
    slowest = 0.0
    while time.monotonic() < deadline:
        slowest = max(slowest, seconds_of_another(engine, other))
    said = engine.run("logs", name).stderr
    assert not any(mistake in said for mistake in ("SyntaxError", "NameError", "TypeError")), said
    engine.run("delete", "--force", name, timeout=30)
    assert slowest < QUICK
    assert resident(engine.supervisor_pid) - supervisor < 10_000_000


def log_size(engine: PrivateEngine, name: str) -> int:
    """Bytes of all log files of a container."""
    directory = engine.data_root / "containers" / engine.inspect(name)["Id"]
    return sum(file.stat().st_size for file in directory.glob("log*"))


@pytest.mark.parametrize("line", ["y", "", "no end of line"])
def test_a_flood_of_output_is_rotated_and_slows_nobody(
    engine: PrivateEngine, name: str, other: str, line: str
) -> None:
    """Write to standard output as fast as it goes: short lines, empty lines, one line without end.

    Stopped by: logs have a largest size and number; the supervisor keeps nothing that is not written
    """
    before = resident(engine.supervisor_pid), resident(engine.daemon_pid)
    command = ["cat", "/dev/zero"] if line == "no end of line" else ["yes", line]
    limits = ["--cpu-limit", "0.5", "--log-opt", "max-size=1M", "--log-opt", "max-file=2"]
    engine.run("run", "-d", "--name", name, *limits, IMAGE, *command)
    deadline = time.monotonic() + 3
    slowest = 0.0
    while time.monotonic() < deadline:
        slowest = max(slowest, seconds_of_another(engine, other))
    eventually(lambda: log_size(engine, name) > 500_000, "it has written a lot")
    size = log_size(engine, name)
    after = resident(engine.supervisor_pid), resident(engine.daemon_pid)
    engine.run("delete", "--force", name)
    assert size < 2_500_000
    assert slowest < QUICK
    assert after[0] - before[0] < 10_000_000 and after[1] - before[1] < 20_000_000


def test_a_container_that_ends_again_and_again_is_made_to_wait(
    engine: PrivateEngine, name: str, other: str
) -> None:
    """End at once with ``--restart always``, to fill the queue of events and keep the daemon busy.

    Stopped by: each restart waits twice as long; events are kept in 4 MB at most
    """
    engine.run("run", "-d", "--name", name, "--restart", "always", IMAGE, "false")

    def starts() -> int:
        return sum(event["action"] == "start" for event in events(engine, name))

    eventually(lambda: starts() >= 2, "it comes back")
    time.sleep(3)
    slowest = seconds_of_another(engine, other)
    started = starts()
    engine.run("delete", "--force", name)
    assert started < 20
    assert slowest < QUICK


def test_a_listener_that_does_not_read_costs_the_daemon_nothing(
    engine: PrivateEngine, name: str, other: str
) -> None:
    """Follow the events and never read them, while many come.

    Stopped by: a listener reads the log on disk as fast as it likes; nothing is kept for it in memory
    """
    with engine.popen("events", "--since", "0", stdout=subprocess.PIPE) as listener:
        before = resident(engine.daemon_pid)
        engine.run("create", "--name", name, IMAGE, "true")
        for number in range(40):
            engine.run("rename", name if number == 0 else f"{name}{number - 1}", f"{name}{number}")
        assert seconds_of_another(engine, other) < QUICK
        assert resident(engine.daemon_pid) - before < 10_000_000
        listener.kill()
    engine.run("delete", f"{name}39")


def events(engine: PrivateEngine, name: str) -> list[dict[str, object]]:
    """What has happened to a container."""
    lines = engine.out(
        "events", "--no-follow", "--filter", f"container={name}", "--format", "json"
    ).splitlines()
    return [json.loads(line) for line in lines]


REACH = """
found = []
segment = libc.shmget(0x4D4F, 16, 0o666)
found.append("System V memory" if segment >= 0 else "")
found.append("semaphores" if libc.semget(0x4D4F, 1, 0o666) >= 0 else "")
found.append("message queue" if call(240, b"multios", os.O_RDONLY, 0, 0) == "done" else "")
client = socket.socket(socket.AF_UNIX)
for name in sys.argv[1:]:
    try:
        client.connect("\\0" + name)
        found.append("abstract socket " + name)
    except OSError:
        pass
pids = [word for word in os.listdir("/proc") if word.isdigit()]
found.append("processes" if len(pids) > 2 else "")
print(", ".join(filter(None, found)) or "nothing")
"""
OFFER = """
libc.shmget(0x4D4F, 16, 0o1666)
libc.semget(0x4D4F, 1, 0o1666)
call(240, b"multios", os.O_CREAT | os.O_RDWR, 0o666, 0)
server = socket.socket(socket.AF_UNIX)
server.bind("\\0multios-attack")
server.listen(4)
os.close(os.open("/tmp/offered", os.O_CREAT | os.O_WRONLY))
time.sleep(100)
"""


def test_one_container_reaches_nothing_of_anothers_or_the_hosts(engine: PrivateEngine, name: str) -> None:
    """Shared memory, semaphores, queues, abstract sockets and processes of another container, sockets of the host.

    CVE: CVE-2020-15257
    Stopped by: IPC, network and PID namespaces of its own
    """
    engine.run("run", "-d", "--name", name, *volumes(), IMAGE, *python_words(OFFER))
    engine.run("exec", name, "sh", "-c", "until [ -e /tmp/offered ]; do sleep 0.1; done")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"\0{name}-host")
        door.listen(1)
        words = ["run", "--rm", *volumes(), IMAGE, *python_words(REACH, "multios-attack", f"{name}-host")]
        assert engine.out(*words) == "nothing"
    inside = engine.out("exec", name, *python_words(REACH, "multios-attack"))
    assert "System V memory" in inside and "abstract socket multios-attack" in inside, (
        "the test can see nothing"
    )


ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def test_nothing_that_a_terminal_obeys_is_shown(engine: PrivateEngine, name: str) -> None:
    """Escape sequences in commands, labels, processes' names and files' names, for ``ps``, ``top``, ``diff``, ``inspect``.

    CVE: CVE-2003-0063, CVE-2021-25743
    Stopped by: what cannot be printed is shown as an escape
    """
    command = ["sh", "-c", 'touch "/root/$1"; exec sleep 100', ESCAPE, ESCAPE]
    engine.run("run", "-d", "--name", name, "--label", f"note={ESCAPE}", IMAGE, *command)
    engine.run("exec", "-d", name, "sh", "-c", "sleep 99; true", ESCAPE)
    engine.run("exec", name, "sh", "-c", 'until [ "$(ls /root)" ]; do sleep 0.1; done')
    for words in (
        ["ps", "--no-trunc"],
        ["top", name],
        ["diff", name],
        ["inspect", name],
        ["ps", "--format", "json"],
    ):
        shown = engine.run(*words).stdout
        assert not [
            letter for letter in shown if letter != "\n" and ord(letter) < 32 or 127 <= ord(letter) < 160
        ]
        assert "owned" in shown, words


def test_a_process_name_cannot_pass_for_another_user(engine: PrivateEngine, running: str) -> None:
    """A process whose name has line feeds and brackets, to make ``top`` show another user or process.

    Stopped by: the name is skipped to its last bracket; lines of the kernel's are read by their first colon
    """
    trick = "cp /bin/busybox '/root/sleep) R 1 1'; ln -s /bin/busybox \"/root/a\nUid:\t0 0\"; exec -a x '/root/sleep) R 1 1' sleep 50"
    engine.run("exec", "-u", "student", running, "sh", "-c", trick, status=None)
    engine.run("exec", "-d", running, "sh", "-c", "cp /bin/busybox '/bin/sleep'; sleep 51")
    rows = engine.out("top", running).splitlines()
    assert all(row.split()[1].isdecimal() and row.split()[2].isdecimal() for row in rows[1:])


def test_own_network_settings_stay_its_own(engine: PrivateEngine, running: str) -> None:
    """Write to ``/proc/sys/net`` and see whether the host changes.

    Stopped by: /proc/sys is read-only, and what is below net belongs to its own network namespace
    """
    forward = Path("/proc/sys/net/ipv4/ip_default_ttl")
    before = forward.read_text()
    done = engine.run("exec", running, "sh", "-c", f"echo 77 >{forward}", status=1)
    assert "Read-only" in done.stderr or "denied" in done.stderr
    assert forward.read_text() == before
    said = python_inside(
        engine, "print(attempt('/proc/sys/net/ipv4/ip_default_ttl', os.O_WRONLY))", "--cap-add", "NET_ADMIN"
    )
    assert said in ("EROFS", "EACCES")
