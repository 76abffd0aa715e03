"""Exit codes: 125 for the engine's own errors, 126 and 127 for the command, else the process's own."""

from __future__ import annotations

import pytest

from private_engine import IMAGE, PrivateEngine


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_run_exits_as_the_process(engine: PrivateEngine, code: int) -> None:
    engine.run("run", "--rm", IMAGE, "sh", "-c", f"exit {code}", status=code)


def test_run_exits_with_128_and_the_signal(engine: PrivateEngine) -> None:
    engine.run("run", "--rm", IMAGE, "sh", "-c", "kill -9 $$; sleep 1", status=None)
    done = engine.run("run", "--rm", "--init", IMAGE, "sh", "-c", "kill -9 $$; sleep 1", status=None)
    assert done.returncode == 137


@pytest.mark.parametrize(
    ("command", "status"),
    [("/nothing/here", 127), ("nothing-here", 127), ("/etc/not-executable", 126), ("/etc", 126)],
)
def test_a_command_that_cannot_run_is_told_from_one_that_is_not_found(
    engine: PrivateEngine, running: str, command: str, status: int
) -> None:
    for words in (["run", "--rm", IMAGE], ["exec", running]):
        done = engine.run(*words, command, status=status)
        assert command in done.stderr
        assert "Traceback" not in done.stderr


def test_start_attached_exits_as_the_process(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "--name", name, IMAGE, "sh", "-c", "echo out; exit 3")
    assert engine.run("start", "--attach", name, status=3).stdout == "out\n"
