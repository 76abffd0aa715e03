"""Wrong input is answered with one line of cause, the nearest valid name, one line of what to do, and 125."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine


def refusal(engine: PrivateEngine, *words: str, status: int = 125) -> str:
    """What was said, after checking its manners."""
    done = engine.run(*words, status=status)
    _, mark, said = done.stderr.rpartition("Error: ")
    assert mark and 1 <= len(said.splitlines()) <= 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "bad", ["../../x", "..", "a/b", "-a", ".hidden", "a b", "a\nb", "x" * 200, "caf\u00e9", "a:b"]
)
def test_names_that_could_be_paths_or_options_are_refused(engine: PrivateEngine, bad: str) -> None:
    engine_names = engine.out("ps", "--all", "--quiet")
    done = engine.run("create", f"--name={bad}", IMAGE, status=125)
    assert done.stderr.startswith("Error: ")
    assert engine.out("ps", "--all", "--quiet") == engine_names


def test_two_containers_of_one_name_are_refused(engine: PrivateEngine, running: str) -> None:
    assert running in refusal(engine, "create", "--name", running, IMAGE)


def test_an_unknown_container_is_answered_with_the_nearest(engine: PrivateEngine, running: str) -> None:
    assert repr(running) in refusal(engine, "start", running[:-1] + "_")


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["create", "--template", "python-lerning", "x"], "python-learning"),
        (["create", "--storage", "overlai", IMAGE], "overlay"),
        (["create", "--isolation", "nss", IMAGE], "ns"),
        (["create", "--network", "defalt", IMAGE], "default"),
        (["creat", IMAGE], "create"),
        (["run", "--memory-limt", "1G", IMAGE], "--memory-limit"),
        (["plugin", "show", "brigde"], "bridge"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(
    engine: PrivateEngine, words: list[str], guess: str
) -> None:
    done = engine.run(*words, status=125)
    assert guess in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", ["lots", "-1G", "1X", "1e400", ""])
def test_a_wrong_size_names_the_field(engine: PrivateEngine, size: str) -> None:
    assert "memory_limit" in refusal(engine, "create", f"--memory-limit={size}", IMAGE)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"resources": {"memory_limit": "1 parsec"}}, "resources.memory_limit"),
        ({"resources": {"cpu_limit": "fast"}}, "resources.cpu_limit"),
        ({"resources": {"memroy_limit": "1G"}}, "memory_limit"),
        ({"environment": ["A=b"]}, "environment"),
        ({"command": {"run": "ls"}}, "command"),
        ({"volumes": [{"host": "/etc", "container": "relative"}]}, "volumes"),
        ({"volumes": [{"host": "/etc", "container": "/x", "mode": "rwx"}]}, "mode"),
        ({"restart_policy": "sometimes"}, "restart_policy"),
        ({"networking": {"ports": [{"container": 99999}]}}, "ports"),
        ({"nmae": "x"}, "name"),
    ],
)
def test_a_wrong_config_names_the_field(
    engine: PrivateEngine, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"name": "never-made", "image": IMAGE, **change}))
    assert field in refusal(engine, "validate", str(file))
    assert field in refusal(engine, "create", "--config", str(file))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a": ' * 3000])
def test_a_config_that_is_no_object_is_refused(engine: PrivateEngine, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    refusal(engine, "validate", str(file))


def test_a_limit_that_no_process_fits_in_leaves_nothing(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--rm", "--name", name, "--memory-limit", "1K", IMAGE, "true", status=None)
    engine.run("inspect", name, status=125)


def test_an_archive_that_is_none_is_refused(engine: PrivateEngine, tmp_path: Path) -> None:
    file = tmp_path / "not.tar"
    file.write_bytes(b"this is no archive" * 1000)
    refusal(engine, "image", "import", str(file), "broken:1")
    assert "broken" not in engine.out("images")
