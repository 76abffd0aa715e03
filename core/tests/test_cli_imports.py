"""What the command line imports on its fast way is counted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multios.cli.commands import COMMANDS

SCRIPT = Path(sys.executable).with_name("multios-container")
HEAVY = [
    "click",
    "pluggy",
    "stevedore",
    "pyroute2",
    "asyncio",
    "typing",
    "dataclasses",
    "re",
    "enum",
    "socket",
    "json",
    "argparse",
    "pathlib",
    "importlib.metadata",
    "tarfile",
    "datetime",
    "threading",
    "subprocess",
    "signal",
    "ctypes",
    "multios.model",
    "multios.drivers",
    "multios.engine",
    "multios.hookspecs",
]


def imported(environment: dict[str, str], *words: str) -> tuple[set[str], int]:
    """The modules that a command imports beyond what an empty program does, and its exit status."""
    empty = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, text=True, check=True
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, *words],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    pattern = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)
    return set(pattern.findall(done.stderr)) - set(pattern.findall(empty.stderr)), done.returncode


@pytest.mark.parametrize(
    "line",
    [
        "ps",
        "ps --all --filter status=exited",
        "start a",
        "stop -t 1 a b",
        "delete --force a",
        "create --template python-learning my-python",
        "run -d --name a -p 80:80 debian:12 sleep 1",
        "run --rm debian:12 true",
        "exec a true",
        "logs a",
        "images",
        "image pull debian:12",
        "image push debian:12 lab:5000/debian:12",
        "network list",
        "template list",
        "--version",
    ],
)
def test_the_fast_way_imports_nothing_heavy(line: str, daemon: Any, environment: dict[str, str]) -> None:
    def attached(request: Any) -> Any:
        if not request.params["attach"]:
            return {"id": "0123"}
        ends = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        request.attached({"id": "0123", "terminal": False}, ends)
        return {"id": "0123", "exit_code": 0}

    def log(request: Any) -> None:
        end = os.open(os.devnull, os.O_RDONLY)
        request.send({"result": {"path": "x", "files": 1}}, [end])
        os.close(end)

    listings = ("containers.list", "images.list", "networks.list", "templates.list")
    daemon.answers = {
        **dict.fromkeys(listings, []),
        "containers.run": attached,
        "containers.exec": {"exit_code": 0},
        "images.pull": {"id": "0123", "digest": "sha256:0"},
        "images.push": {"digest": "sha256:0"},
        "containers.logs": log,
    }
    modules, status = imported(environment, *line.split())
    assert status == 0
    assert not {name for name in modules for heavy in HEAVY if name == heavy or name.startswith(heavy + ".")}
    assert len(modules) < 40


def test_help_imports_no_command(environment: dict[str, str]) -> None:
    modules, status = imported(environment, "--help")
    assert status == 0
    assert not {f"multios.cli.{module}" for module, _ in COMMANDS.values()} & modules
    assert not any(name.startswith(("stevedore", "pluggy", "pyroute2")) for name in modules)
