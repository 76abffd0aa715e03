"""Attacks on the API's socket by an ordinary user: each fails, and the others are served meanwhile."""

from __future__ import annotations

import array
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.api.access import METHODS
from multios.api.protocol import PeerGone, receive_frame, send_frame
from multios.api.server import CONNECTIONS_A_USER, LARGEST_REQUEST
from multios.engine.host_paths import Account, as_user
from multios.errors import MultiosError
from other_users import User, open_to_group
from private_engine import PrivateEngine, eventually

SERVED_SECONDS = 15.0
"""Within which the others are served: this machine may be busy with other things."""


@pytest.fixture(scope="module")
def engine(make_engine: Callable[..., PrivateEngine]) -> PrivateEngine:
    made = make_engine()
    open_to_group(made)
    return made


@pytest.fixture
def mallory(engine: PrivateEngine) -> User:
    return User(engine, "games")


@pytest.fixture
def victim(engine: PrivateEngine) -> Iterator[User]:
    user = User(engine, "news")
    user.run(
        "run", "-d", "--name", "victim", "--network", "none", "small:1", "sh", "-c", "echo secret; sleep 1000"
    )
    yield user
    user.run("delete", "--force", "victim")


@pytest.fixture(autouse=True)
def nothing_is_left_open_and_others_are_served(engine: PrivateEngine) -> Iterator[None]:
    """After each attack: the daemon is the same one, answers another user, says no traceback, and has no more descriptors."""
    pid, descriptors = engine.daemon_pid, lambda: len(os.listdir(f"/proc/{pid}/fd"))
    before = descriptors()
    said = engine.log.stat().st_size
    yield
    began = time.monotonic()
    assert User(engine, "news").run("ps", "--quiet").returncode == 0
    assert time.monotonic() - began < SERVED_SECONDS
    assert engine.daemon_pid == pid
    with engine.log.open() as log:
        log.seek(said)
        assert "Traceback" not in log.read()
    eventually(lambda: descriptors() <= before + 3, "its descriptors are closed")


def raw(user: User) -> socket.socket:
    """A connection of the user's, without a client around it."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.connect(str(user.engine.exec_root / "api.sock"))
        made.settimeout(20)
        return made

    return as_user(Account(user.uid, user.gid, user.groups, user.name), connect)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def answer_of(connection: socket.socket) -> dict[str, Any]:
    """The final answer, or the error."""
    while True:
        message, fds = receive_frame(connection)
        for descriptor in fds:
            os.close(descriptor)
        if "result" in message or "error" in message:
            return message


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 4096, b"\xff" * 4096, os.urandom(4096), frame(b"\xff\xfe"),
        frame(b"null"), frame(b"[]"), frame(b"{"), frame(b'{"method":'), frame(b"[" * 500_000),
        frame(b'{"a":' * 100_000), frame(b'{"method": "system.version", "fds": 99}'), frame(b'{"method": "system.version", "fds": -1}'),
        frame(b'{"method": 5}'), frame(b'{"method": "x", "params": 7}'), frame(b'{"method": "' + b"x" * 900_000 + b'"}'),
        (LARGEST_REQUEST + 1).to_bytes(4, "big"), b"\xff\xff\xff\xff", frame(b"9" * 900_000), frame(b"1e999999"),
    ],
)  # fmt: skip
def test_garbage_is_answered_or_cut_off(mallory: User, data: bytes) -> None:
    with raw(mallory) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            said = answer_of(connection)
        except (PeerGone, BrokenPipeError, ConnectionResetError):
            return
        assert said["error"]["code"] in ("invalid", "unavailable")
        assert "Traceback" not in json.dumps(said) and "inside the engine" not in said["error"]["cause"]


def test_half_messages_hold_up_nobody(mallory: User, victim: User) -> None:
    held = []
    try:
        for number in range(100):
            connection = raw(mallory)
            connection.sendall(frame(b'{"method": "containers.list", "params": {}}')[: 1 + number % 20])
            held.append(connection)
        began = time.monotonic()
        assert "victim" in victim.out("ps")
        assert time.monotonic() - began < SERVED_SECONDS
    finally:
        for connection in held:
            connection.close()


def test_a_thousand_connections_of_one_user_leave_room_for_others(mallory: User, victim: User) -> None:
    held, refused = [], 0
    try:
        for _ in range(1000):
            connection = raw(mallory)
            held.append(connection)
        for connection in held:
            connection.settimeout(5)
        assert "victim" in victim.out("ps")
        for connection in held:
            try:
                send_frame(connection, {"method": "system.version", "params": {}})
                refused += "error" in answer_of(connection)
            except (MultiosError, OSError):
                refused += 1
        assert 1000 - refused <= CONNECTIONS_A_USER
    finally:
        for connection in held:
            connection.close()
    eventually(lambda: mallory.run("ps", status=None).returncode == 0, "who caused it may come in again")


@pytest.mark.parametrize("count", [1, 16, 17, 200, 253])
def test_descriptors_that_nobody_asked_for_are_closed(mallory: User, count: int) -> None:
    sent, kept = os.pipe()
    try:
        for _ in range(5):
            with raw(mallory) as connection:
                body = frame(json.dumps({"method": "system.version", "params": {}, "fds": count}).encode())
                rights = array.array("i", [sent] * count)
                try:
                    connection.sendmsg([body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                    answer_of(connection)
                except (PeerGone, OSError):
                    continue
    finally:
        os.close(sent)
    # All copies are closed when the other end notices it.
    eventually(lambda: _is_broken(kept), "the daemon keeps no copy")
    os.close(kept)


def _is_broken(writing: int) -> bool:
    try:
        os.write(writing, b"x")
    except BrokenPipeError:
        return True
    return False


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40) | st.sampled_from(["victim", "../../etc", "\x1b[2J", "a\0b", "\ud800", "/proc/self/fd/3", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
NAMES = [
    "ref",
    "refs",
    "config",
    "attach",
    "stdin",
    "timeout",
    "signal",
    "force",
    "volumes",
    "command",
    "terminal",
    "environment",
    "user",
    "working_directory",
    "privileged",
    "detach",
    "condition",
    "filters",
    "limit",
    "all",
    "since",
    "resources",
    "restart_policy",
    "name",
    "kind",
    "path",
    "driver",
    "subnets",
    "gateways",
    "internal",
    "options",
    "labels",
    "reference",
    "references",
    "changes",
    "registry",
    "destination",
    "platform",
    "network",
    "attachment",
    "ports",
    "names",
    "format",
]
SLOW = {
    "system.doctor",
    "images.pull",
    "templates.build",
    "templates.import",
    "system.features",
    "registries.login",
    "images.push",
}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(sorted(set(METHODS) - SLOW)),
    params=st.dictionaries(st.sampled_from(NAMES), values, max_size=6),
)
def test_wrong_parameters_are_never_a_fault_of_the_engine(
    mallory: User, method: str, params: dict[str, Any]
) -> None:
    with raw(mallory) as connection:
        body = json.dumps({"method": method, "params": {**params, "follow": False, "stream": False}})
        connection.sendall(frame(body.encode()))
        said = answer_of(connection)
    if "error" in said:
        assert said["error"]["code"] != "error" and "inside the engine" not in said["error"]["cause"]


def test_who_never_reads_his_events_holds_up_nobody(mallory: User, victim: User) -> None:
    held = []
    try:
        for _ in range(20):
            connection = raw(mallory)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            send_frame(connection, {"method": "system.events", "params": {"follow": True}})
            held.append(connection)
        with mallory.client() as client:
            for number in range(300):
                client.call("volumes.create", {"name": f"v{number}"})
                client.call("volumes.remove", {"name": f"v{number}"})
            for number in range(100):
                name = f"noise-{number}"
                client.call("containers.create", {"config": {"name": name, "image": "small:1", "networking": {"network": "none"}}})  # fmt: skip
                client.call("containers.delete", {"ref": name})
        began = time.monotonic()
        victim.run("exec", "victim", "true")
        assert time.monotonic() - began < SERVED_SECONDS
    finally:
        for connection in held:
            connection.close()


def test_a_request_that_never_ends_ends_with_its_connection(engine: PrivateEngine, mallory: User) -> None:
    mallory.run("run", "-d", "--name", "endless", "--network", "none", "small:1", "sleep", "1000")
    try:
        held = [raw(mallory) for _ in range(30)]
        for connection in held:
            send_frame(connection, {"method": "containers.wait", "params": {"ref": "endless"}})
        for connection in held:
            connection.close()
        eventually(lambda: _threads(engine) < 40, "the threads have ended")
    finally:
        mallory.run("delete", "--force", "endless")


def _threads(engine: PrivateEngine) -> int:
    return len(os.listdir(f"/proc/{engine.daemon_pid}/task"))


@pytest.mark.parametrize(
    "words",
    [
        ("inspect",), ("logs",), ("exec", "REF", "true"), ("attach",), ("stop",), ("kill",), ("start",), ("restart",),
        ("pause",), ("resume",), ("delete", "--force"), ("rename", "REF", "mine"), ("update", "--pids-limit", "5"), ("top",),
        ("export",), ("cp", "REF:/etc/passwd", "/tmp/stolen"), ("diff",), ("wait",), ("port-forward", "REF", "8099:80"), ("port",),
        ("stats", "--no-stream"), ("network", "connect", "default", "REF"), ("network", "disconnect", "default", "REF"),
    ],
    ids=lambda words: "-".join(words[:2]).replace("REF", ""),
)  # fmt: skip
def test_anothers_container_does_not_exist_by_name_or_by_id(
    mallory: User, victim: User, words: tuple[str, ...]
) -> None:
    whole = victim.out("inspect", "--format", "{{.Id}}", "victim")
    for ref in ("victim", whole, whole[:12], whole[:4]):
        line = [word.replace("REF", ref) for word in words]
        line = line if any("REF" in word for word in words) else [*line, ref]
        told = mallory.run(*line, status=None)
        assert told.returncode == 125 and "no such container" in told.stderr, told
        assert "secret" not in told.stdout
    assert "victim" not in mallory.out("ps", "--all")
    assert victim.out("inspect", "--format", "{{.State.Status}}", "victim") == "running"


def test_one_letter_prefixes_do_not_tell_whose_ids_there_are(mallory: User, victim: User) -> None:
    said = {
        letter: mallory.run("inspect", letter, status=125).stderr.replace(repr(letter), "REF") for letter in "0123456789abcdef"
    }  # fmt: skip
    assert len(set(said.values())) == 1


@pytest.mark.parametrize("name", ["../../../etc", "a/../b", "\x1b]0;owned\x07", "a\nb", "-rf", "%2e%2e", "."])
def test_names_that_are_paths_or_escapes_name_nothing(mallory: User, name: str) -> None:
    with mallory.client() as client:
        for method, params in (
            ("containers.create", {"config": {"name": name, "image": "small:1"}}),
            ("volumes.create", {"name": name}),
            ("networks.create", {"name": name}),
        ):
            with pytest.raises(MultiosError) as refused:
                client.call(method, params)
            assert refused.value.code == "invalid"


def test_a_user_cannot_ask_for_root_by_another_name(mallory: User) -> None:
    for words in (
        ("--privileged",), ("--cap-add", "SYS_ADMIN"), ("--userns", "host"), ("--network", "host"), ("-p", "80:80"),
        ("--security-opt", "seccomp=unconfined"), ("--security-opt", "no-new-privileges=false"), ("-v", "/root:/r"),
        ("-v", "/:/r:ro"), ("-v", "/var/run:/r"),
    ):  # fmt: skip
        told = mallory.run("run", "--rm", *words, "small:1", "true", status=None)
        assert told.returncode == 125 and len(told.stderr.strip().splitlines()) <= 2, words


def test_many_users_threads_at_once_are_all_served(engine: PrivateEngine) -> None:
    failures: list[str] = []

    def work(user: User, number: int) -> None:
        try:
            with user.client() as client:
                for round_ in range(5):
                    name = f"many-{number}-{round_}"
                    client.call("containers.create", {"config": {"name": name, "image": "small:1", "networking": {"network": "none"}}})  # fmt: skip
                    assert [
                        row["name"]
                        for row in client.call("containers.list", {"all": True})
                        if row["name"] == name
                    ]
                    client.call("containers.delete", {"ref": name})
        except Exception as error:
            failures.append(repr(error))

    threads = [
        threading.Thread(target=work, args=(User(engine, name), number))
        for number, name in enumerate(("games", "news", "irc", "list", "backup", "proxy", "uucp", "man"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
