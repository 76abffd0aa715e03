"""Events: each once and in order, whatever happens to the daemon meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from private_engine import IMAGE, PrivateEngine, eventually

LIFE = ["create", "start", "die", "delete"]


@pytest.fixture(scope="module")
def mortal(make_engine: object) -> PrivateEngine:
    """An engine whose daemon may be killed."""
    engine: PrivateEngine = make_engine()  # type: ignore[operator]
    return engine


def kept(engine: PrivateEngine, *words: str) -> list[dict[str, Any]]:
    """The events that there are."""
    lines = engine.out("events", "--no-follow", "--format", "json", *words).splitlines()
    return [json.loads(line) for line in lines]


def actions(events: list[dict[str, Any]], name: str) -> list[str]:
    return [event["action"] for event in events if event["name"] == name]


class Follower:
    """``events`` in the background, and what it has printed."""

    def __init__(self, engine: PrivateEngine, file: Path, *words: str) -> None:
        self._file = file
        with file.open("wb") as output:
            self.process = engine.popen("events", "--format", "json", *words, stdout=output)

    def seen(self) -> list[dict[str, Any]]:
        """So far."""
        return [json.loads(line) for line in self._file.read_text().splitlines()]


@contextmanager
def followed(engine: PrivateEngine, file: Path, *words: str) -> Iterator[Follower]:
    """One that surely listens."""
    follower = Follower(engine, file, "--since", str(time.time()), *words)
    try:
        yield follower
        assert follower.process.poll() is None, "it goes on"
    finally:
        follower.process.terminate()
        follower.process.wait()


def kill_daemon(engine: PrivateEngine) -> None:
    os.kill(engine.daemon_pid, signal.SIGKILL)


def test_a_follower_misses_and_doubles_nothing_when_the_daemon_is_killed(
    mortal: PrivateEngine, tmp_path: Path
) -> None:
    def run(name: str, *words: str) -> None:
        mortal.run("run", "-d", "--rm", "--name", name, IMAGE, *words)

    with followed(mortal, tmp_path / "seen") as follower:
        for number in range(3):
            run(f"before-{number}", "true")
            run(f"during-{number}", "sleep", "1000")
            run(f"after-{number}", "sleep", "1000")
        eventually(lambda: [event for event in follower.seen() if event["action"] == "delete"], "it hears")
        pids = [mortal.inspect(f"during-{number}")["State"]["Pid"] for number in range(3)]
        kill_daemon(mortal)
        began = time.time()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they end without a daemon"
        )
        ended = time.time()
        time.sleep(1.0)
        for number in range(3):
            mortal.run("delete", "--force", f"after-{number}")
            run(f"later-{number}", "true")
        names = [f"{when}-{number}" for when in ("before", "during", "after", "later") for number in range(3)]
        eventually(
            lambda: sum(event["action"] == "delete" for event in follower.seen()) >= len(names),
            "all has come",
        )
        seen = follower.seen()
    numbers = [event["sequence"] for event in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(seen))), "none missing, none twice, in order"
    assert {name: actions(seen, name) for name in names} == dict.fromkeys(names, LIFE)
    death = {event["name"]: event["time"] for event in seen if event["action"] == "die"}
    for number in range(3):
        told = death[f"during-{number}"]
        assert began - 0.1 < told < ended + 0.9, "told with the time at which it happened"
    assert kept(mortal)[-len(seen) :] == seen


def test_a_follower_bears_an_ordered_restart_and_starts_no_daemon(
    mortal: PrivateEngine, tmp_path: Path
) -> None:
    with followed(mortal, tmp_path / "seen", "--filter", "container=planned") as follower:
        mortal.run("create", "--name", "planned", IMAGE, "true")
        eventually(lambda: actions(follower.seen(), "planned") == ["create"], "it hears")
        mortal.daemon("stop")
        time.sleep(1.0)
        mortal.daemon("status", status=3)
        mortal.start()
        mortal.run("delete", "planned")
        eventually(lambda: actions(follower.seen(), "planned") == ["create", "delete"], "it hears again")


def test_killed_again_and_again_every_life_is_told_whole(mortal: PrivateEngine, tmp_path: Path) -> None:
    with followed(mortal, tmp_path / "seen") as follower:
        for number in range(8):
            client = mortal.popen(
                "run", "--rm", "--name", f"loop-{number}", IMAGE, "true",
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(0.1 + number * 0.012)
            kill_daemon(mortal)
            client.wait(60)
            eventually(lambda: mortal.run("version", status=None).returncode == 0, "a daemon answers")
        eventually(lambda: "loop-" not in mortal.out("ps", "-a", "--format", "{{.Names}}"), "all are gone")
        mortal.run("run", "--rm", "--name", "last", IMAGE, "true")
        eventually(lambda: actions(follower.seen(), "last") == LIFE, "it hears the last")
        seen = follower.seen()
    numbers = [event["sequence"] for event in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(seen)))
    for number in range(8):
        assert actions(seen, f"loop-{number}") in ([], LIFE, ["create", "delete"]), number


def test_what_was_before_the_restart_can_be_asked_for(mortal: PrivateEngine) -> None:
    began = time.time()
    mortal.run("run", "--rm", "--name", "old", IMAGE, "true")
    between = time.time()
    kill_daemon(mortal)
    mortal.run("run", "--rm", "--name", "new", IMAGE, "true")
    eventually(lambda: len(kept(mortal, "--filter", "container=new")) == 4, "it has ended")
    assert actions(kept(mortal, "--since", str(began)), "old") == LIFE
    recent = kept(mortal, "--since", "10m")
    assert actions(recent, "old") == actions(recent, "new") == LIFE
    old = kept(mortal, "--since", str(began), "--until", str(between))
    assert {event["name"] for event in old} == {"old"}


def test_until_ends_a_follower(engine: PrivateEngine, running: str) -> None:
    began = time.monotonic()
    until = str(time.time() + 1.5)
    events = engine.out("events", "--since", "10m", "--until", until, "--filter", f"container={running}")
    assert 1.0 < time.monotonic() - began < 10
    assert (
        f"container start {engine.inspect(running)['Id'][:12]} (name={running}, owner=0, image={IMAGE})"
        in events
    )
    assert engine.out("events", "--since", "20m", "--until", "10m", "--filter", f"name={running}") == ""


def test_filters_and_templates(engine: PrivateEngine, name: str) -> None:
    labels = ["--label", f"course={name}", "--label", "term=winter"]
    engine.run("run", "--rm", "--name", name, *labels, IMAGE, "false", status=1)
    template = ["--format", "{{.Action}} {{.Type}} {{.Name}} {{json .Attributes.labels}}"]

    def found(*filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return engine.out("events", "--stream=false", *words, "--format", "{{.Action}}").splitlines()

    own = f"label=course={name}"
    eventually(lambda: found(own) == LIFE, "it has ended")
    assert found(own, "event=die", "action=die") == ["die"]
    assert found(own, "event=die", "event=start") == ["start", "die"]
    assert found(own, f"container={name}", "type=container", f"image={IMAGE}") == LIFE
    assert found(own, f"image={IMAGE.partition(':')[0]}", "label=term") == LIFE
    identity = kept(engine, "--filter", own)[0]["id"]
    assert found(f"id={identity[:12]}") == found(f"container={identity}") == LIFE
    assert found(own, "type=network") == found(f"{own}1") == []
    line = engine.out("events", "--no-stream", "--filter", own, "--filter", "event=die", *template)
    assert line == f'die container {name} {{"course":"{name}","term":"winter"}}'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--filter", "colour=red"], "no such filter: 'colour'"),
        (["--filter", "red"], "is not KEY=VALUE"),
        (["--since", "never"], "--since: 'never' is no time"),
        (["--until", "1x"], "--until: '1x' is no time"),
        (["--format", "{{.Colour}}", "--no-follow"], "no such field: 'Colour'"),
        (["--format", "nothing"], "the template names no field"),
        (["--follow", "--no-follow"], "exclude each other"),
        (["--follow", "--stream=false"], "exclude each other"),
        (["--stream=perhaps"], "'perhaps' is not one of true, false"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    engine: PrivateEngine, running: str, words: list[str], said: str
) -> None:
    done = engine.run("events", *words, status=None, timeout=20)
    assert done.returncode not in (0, 1) and done.stdout == ""
    assert said in done.stderr and len(done.stderr.splitlines()) <= 2
