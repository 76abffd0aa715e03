"""Fixtures of the command line's tests: a fake daemon, and the real console script driven against it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(sys.executable).with_name("multios-container")
Run = Callable[..., subprocess.CompletedProcess[str]]


def _load(name: str) -> ModuleType:
    """A module beside the tests, which --import-mode=importlib does not find by itself."""
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert specification is not None and specification.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(sys.modules[name])
    return sys.modules[name]


_load("open_descriptors")
_load("fake_daemon")
_load("engine_box")
_load("compose_box")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Any]:
    """A fake daemon at ``tmp_path/api.sock``."""
    fake = sys.modules["fake_daemon"].FakeDaemon(tmp_path / "api.sock")
    yield fake
    fake.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command line that talks to the fake daemon."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MULTIOS_")}
    return {**kept, "MULTIOS_SOCKET": str(tmp_path / "api.sock"), "COLUMNS": "100"}


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run ``multios-container`` with words; keyword arguments as for ``subprocess.run``."""

    def run(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        settings = {"stdin": subprocess.DEVNULL, "env": environment, "cwd": tmp_path, **settings}
        if "input" in settings:
            del settings["stdin"]
        return subprocess.run(
            [SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False, **settings
        )

    return run


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A whole engine over fake drivers."""
    made = sys.modules["engine_box"].make(tmp_path, monkeypatch)
    yield made
    made.close()
