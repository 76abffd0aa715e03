"""docs/tutorials/plugin-author.md is gone through from the first command to the last, in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from document_session import commands, play
from elsewhere import CLIENT_PROGRAM, DAEMON_PROGRAM, Elsewhere
from other_users import User, open_to_group
from private_engine import IMAGE, eventually

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorials/plugin-author.md"
PIP_PROGRAM = "import sys; from pip._internal.cli.main import main; sys.exit(main())"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may pass through."""
    path = Path(tempfile.mkdtemp(prefix="multios-author-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def engine(place: Path, tmp_path: Path) -> Iterator[Elsewhere]:
    """Its programs are in ``.venv/bin``; a plugin is installed there without a network, as its core is there already."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Elsewhere(tmp_path, venv=place / ".venv")
    for name, program in (
        ("multios-container", CLIENT_PROGRAM),
        ("multios-containerd", DAEMON_PROGRAM),
        ("pip", PIP_PROGRAM),
    ):
        script = made.venv / "bin" / name
        script.write_text(f"#!{made.venv}/bin/python\n{program}\n")
        script.chmod(0o755)
    made.environment["PATH"] = f"{made.venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # What pip would fetch to build with is here (an environment's 0 is pip's way to say "no isolation").
    made.environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    made.start()
    made.import_small_image()
    made.run("image", "tag", IMAGE, "debian:12")  # the template's base: its content does not matter here
    yield made
    made.end()


def at_night() -> str:
    """A time zone in which it is three o'clock in the night (tzset(3): its sign is that of the west)."""
    ahead = (3 - time.gmtime().tm_hour + 12) % 24 - 12
    return f"NIGHT{-ahead:+d}"


def test_an_author_does_what_the_page_says_and_sees_what_it_shows(engine: Elsewhere, place: Path) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    (policy,) = [text for language, text in blocks if language == "python"]
    kit, refusal, trace = [text for language, text in blocks if not language]
    for command in commands(PAGE, {}):
        play(command, place, engine.environment)
        if "plugin new --kind hooks" in command.line:
            (place / "multios-hooks-curfew/src/multios_hooks_curfew/__init__.py").write_text(policy)
    tested = engine.out("plugin", "test", "multios-template-greek")
    assert re.findall(r"\d+ passed", tested) == re.findall(r"\d+ passed", kit)
    engine.run("cp", "my-greek:/opt/greek/greeting", str(place / "greeting"))
    assert (place / "greeting").read_text() == "Salve\n"
    engine.run("run", "--rm", IMAGE, "true")
    names = re.findall(r"^multios: (\w+: \w+): done", trace, re.MULTILINE)
    assert len(names) > 5
    eventually(lambda: all(name in engine.log.read_text() for name in names), f"the log has {names}")
    engine.daemon("stop")
    engine.environment["TZ"] = at_night()
    engine.start()
    open_to_group(engine)
    student = User(engine, "games")
    student.run("create", "--name", "his", IMAGE, "true")
    assert student.run("start", "his", status=None).stderr == refusal


@pytest.mark.parametrize("kind", ["template", "network"])
def test_a_new_plugin_passes_its_own_tests_where_it_is_installed(
    engine: Elsewhere, place: Path, kind: str
) -> None:
    written = engine.out("plugin", "new", "--kind", kind, "--directory", str(place), "wire")
    folder = Path(written.splitlines()[0])
    for words in (
        ["pip", "install", "--editable", folder],
        ["python", "-m", "pytest", "-p", "no:cacheprovider", folder],
    ):
        done = subprocess.run(words, env=engine.environment, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "failed" not in done.stdout
    (row,) = [row for row in engine.json("plugin", "list") if row["distribution"] == folder.name]
    assert (row["kind"], row["name"], row["status"]) == (kind, "wire", "ready")
