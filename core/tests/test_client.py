"""The Python client: results, streams, errors, a daemon that is replaced, and collected output."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import open_descriptors
import pytest
from fake_daemon import no_such_container, pipes

from multios import connect
from multios.api.protocol import PeerGone
from multios.errors import CommandNotFound, MultiosError, NotFound, Unavailable


def client_of(listening: socket.socket, path: Path) -> Any:
    listening.bind(str(path))
    listening.listen()
    return connect(str(path))


@pytest.fixture
def client(daemon: Any) -> Any:
    with connect(str(daemon.path)) as made:
        yield made


def test_a_call_gives_its_result_after_its_progress(daemon: Any, client: Any) -> None:
    def pull(request: Any) -> dict[str, str]:
        for done in (1, 2):
            request.send({"progress": {"what": "pull", "done": done, "total": 2}})
        return {"id": "x"}

    daemon.answers["images.pull"] = pull
    seen: list[int] = []
    assert client.call(
        "images.pull", {"ref": "a"}, on_progress=lambda report: seen.append(report["done"])
    ) == {"id": "x"}
    assert seen == [1, 2]
    assert client.call("images.pull", {"ref": "a"}) == {"id": "x"}


def test_a_stream_gives_its_items(daemon: Any, client: Any) -> None:
    def events(request: Any) -> dict[str, Any]:
        for number in range(3):
            request.send({"item": number})
        return {}

    daemon.answers["system.events"] = events
    assert list(client.stream("system.events")) == [0, 1, 2]


def test_errors_are_the_daemons_own(daemon: Any, client: Any) -> None:
    daemon.answers["containers.inspect"] = no_such_container
    with pytest.raises(NotFound) as caught:
        client.call("containers.inspect", {"ref": "x"})
    assert (caught.value.cause, caught.value.remedy) == ("no such container: 'x'", "see ps --all")
    assert client.call("system.version") == {"id": "0123456789abcdef"}, "the connection goes on"


def test_the_socket_comes_from_the_environment(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIOS_EXEC_ROOT", str(daemon.path.parent))
    monkeypatch.delenv("MULTIOS_SOCKET", raising=False)
    with connect(start=False) as client:
        assert client.path == str(daemon.path)
    monkeypatch.setenv("MULTIOS_SOCKET", str(daemon.path) + ".other")
    with pytest.raises(Unavailable, match="other"):
        connect()


def test_a_daemon_replaced_between_two_calls_is_not_noticed(daemon: Any, client: Any) -> None:
    client.call("system.version")
    daemon.die()
    daemon.listen()
    time.sleep(0.05)
    assert client.call("system.version") == {"id": "0123456789abcdef"}


def test_a_daemon_that_dies_in_a_call_is_told_and_the_next_call_connects_anew(
    daemon: Any, client: Any
) -> None:
    daemon.answers["containers.stop"] = lambda request: daemon.die()
    with pytest.raises(PeerGone):
        client.call("containers.stop", {"ref": "x"})
    daemon.listen()
    assert client.call("system.version") == {"id": "0123456789abcdef"}


@pytest.mark.parametrize("accepted", [True, False])
def test_what_a_dead_daemon_never_read_is_asked_of_the_next(daemon: Any, accepted: bool) -> None:
    daemon.die()
    daemon.path.unlink()
    with socket.socket(socket.AF_UNIX) as dying, client_of(dying, daemon.path) as client:
        connection = dying.accept()[0] if accepted else None
        answers = client.request("containers.stop", {"ref": "x"})
        if connection:
            connection.close()
        dying.close()
        daemon.path.unlink()
        daemon.listen()
        assert list(answers) == []
    assert [method for method, _ in daemon.asked] == ["containers.stop"]


def test_a_request_with_descriptors_is_not_sent_twice(daemon: Any) -> None:
    daemon.die()
    daemon.path.unlink()
    with socket.socket(socket.AF_UNIX) as dying, client_of(dying, daemon.path) as client:
        answers = client.request("images.import", {}, [0])
        dying.close()
        daemon.path.unlink()
        daemon.listen()
        with pytest.raises(PeerGone):
            answers.next()


def test_run_collects_output_feeds_input_and_leaks_nothing(daemon: Any, client: Any) -> None:
    data = b"x" * 300_000

    def run(request: Any) -> dict[str, Any]:
        ours, (out, err) = pipes()
        request.attached({"id": "1", "terminal": False}, ours)
        os.write(err, b"warning")
        with os.fdopen(out, "wb") as stream:
            if request.fds:
                while part := os.read(request.fds[0], 65536):
                    stream.write(part.upper())
        os.close(err)
        return {"id": "1", "exit_code": 2}

    daemon.answers["containers.run"] = run
    client.call("system.version")
    before = open_descriptors.number()
    done = client.run(image="debian:12", command=["tr", "a-z", "A-Z"], input=data)
    assert (done.exit_code, done.stdout, done.stderr) == (2, data.upper(), b"warning")
    assert client.run({"image": "x"}, auto_remove=False).stdout == b""
    open_descriptors.assert_no_more_than(before)
    first, second = (params["config"] for method, params in daemon.asked if method == "containers.run")
    assert first == {
        "auto_remove": True,
        "image": "debian:12",
        "command": ["tr", "a-z", "A-Z"],
        "terminal": False,
        "open_stdin": True,
    }
    assert second == {"auto_remove": False, "image": "x", "terminal": False, "open_stdin": False}


def test_exec_collects_output_and_feeds_input(daemon: Any, client: Any) -> None:
    def execute(request: Any) -> dict[str, int]:
        stdin, stdout, stderr = request.fds
        total = 0
        while part := os.read(stdin, 65536):
            total += len(part)
        os.write(stdout, b"%d" % total)
        os.write(stderr, b"e")
        return {"exit_code": 1}

    daemon.answers["containers.exec"] = execute
    done = client.exec("c", ["wc", "-c"], input=b"x" * 200_000, user="nobody")
    assert (done.exit_code, done.stdout, done.stderr) == (1, b"200000", b"e")
    assert client.exec("c", ["true"]).stdout == b"0"
    assert daemon.asked[0][1] == {
        "ref": "c",
        "command": ["wc", "-c"],
        "user": "nobody",
        "terminal": False,
        "stdin": True,
    }


def test_a_run_that_fails_leaks_nothing(daemon: Any, client: Any) -> None:
    def refuse(request: Any) -> Any:
        raise CommandNotFound("'nonsense' is not in the image", "check the command")

    daemon.answers.update({"containers.run": refuse, "containers.exec": refuse})
    client.call("system.version")
    before = open_descriptors.number()
    for attempt in (
        lambda: client.run(image="x", input=b"y"),
        lambda: client.run(image="x"),
        lambda: client.exec("c", ["nonsense"], input=b"y" * 200_000),
    ):
        with pytest.raises(CommandNotFound) as caught:
            attempt()
        assert caught.value.exit_status == 127
    open_descriptors.assert_no_more_than(before)


def test_a_path_that_is_no_socket_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none", tmp_path / "file" / "x", tmp_path / ("x" * 200)):
        with pytest.raises(MultiosError) as caught:
            connect(str(path))
        assert caught.value.remedy
