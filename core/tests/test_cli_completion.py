"""Completion: the scripts, and what they are answered."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def names(daemon: Any) -> None:
    daemon.answers.update(
        {
            "containers.list": [{"name": "my-python"}, {"name": "web"}],
            "networks.list": [{"name": "default"}, {"name": "lab"}],
            "templates.list": [{"name": "python-learning"}],
            "images.list": [{"references": ["debian:12", "deb:x"]}],
            "volumes.list": [{"name": "homework"}],
            "plugins.list": [{"name": "overlay"}],
        }
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], "start stats stop"),
        (["network", ""], "connect create disconnect inspect list ls prune repair rm"),
        (["network", "i"], "inspect"),
        (["--so"], "--socket"),
        (["start", ""], "my-python web"),
        (["start", "my-python", "w"], "web"),
        (["rm", "m"], "my-python"),
        (["exec", "-it", "m"], "my-python"),
        (["exec", "my-python", ""], ""),
        (["logs", "--fo"], "--follow"),
        (["logs", "--tail", "3", "w"], "web"),
        (["create", "--template", ""], "python-learning"),
        (["run", "--network", "l"], "lab"),
        (["image", "save", "--format", ""], "docker-archive oci-archive oci-dir"),
        (["run", "deb"], "deb:x debian:12"),
        (["run", "p"], "python-learning"),
        (["run", "debian:12", "--"], ""),
        (["volume", "rm", ""], "homework"),
        (["image", "rm", "debian"], "debian:12"),
        (["plugin", "show", "o"], "overlay"),
        (["completion", ""], "bash fish zsh"),
        (["validate", ""], ":files"),
        (["create", "--config", ""], ":files"),
        (["cp", "m"], "my-python:"),
        (["cp", "./m"], ":files"),
        (["update", "web", "--cpu-s"], "--cpu-shares"),
        (["nonsense", ""], ""),
        ([], None),
    ],
)
def test_words_are_completed(words: list[str], expected: str | None, cli: Any) -> None:
    done = cli("__complete", *words)
    assert (done.returncode, done.stderr) == (0, "")
    if expected is None:
        assert {"ps", "network", "rm"} <= set(done.stdout.split())
    else:
        assert done.stdout.split() == expected.split()


def test_without_a_daemon_completion_is_quiet_and_starts_none(daemon: Any, cli: Any) -> None:
    daemon.die()
    done = cli("__complete", "start", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bash_completes_with_live_names(cli: Any, environment: dict[str, str]) -> None:
    script = cli("completion", "bash").stdout
    program = f"""{script}
COMP_WORDS=(multios-container exec my); COMP_CWORD=2; _multios_container; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(multios-container ps ''); COMP_CWORD=2; _multios_container; echo "${{COMPREPLY[@]}}."
cd /; COMP_WORDS=(multios-container validate /et); COMP_CWORD=2; _multios_container; echo "${{COMPREPLY[@]}}"
"""
    path = {**environment, "PATH": f"{SCRIPTS}:{environment['PATH']}"}
    done = subprocess.run(["bash", "-c", program], env=path, capture_output=True, text=True, check=False)
    assert done.stdout == "my-python\n.\n/etc\n", done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_script_asks_the_program_and_parses(shell: str, cli: Any) -> None:
    script = cli("completion", shell).stdout
    assert "multios-container" in script and "__complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
