"""What multios-core adds to everybody's pytest: markers, and next to no time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.needs_network
def test_network(): ...

@pytest.mark.needs_feature("pidfd")
def test_present(): ...

@pytest.mark.needs_feature("overlay", "teleport")
def test_unknown(): ...
"""


def run(directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_markers_are_registered_and_obeyed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = run(tmp_path, "-rs", MULTIOS_TEST_OFFLINE="1")
    assert "1 passed, 1 skipped, 1 error" in done.stdout
    assert "needs_feature('teleport'): unknown" in done.stdout
    assert "MULTIOS_TEST_OFFLINE" in done.stdout


def test_a_run_that_uses_nothing_imports_nothing_else_of_ours(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    ours = {name for name in sys.modules if name.split('.')[0] == 'multios'}\n"
        "    assert ours == {'multios', 'multios.testing', 'multios.testing.pytest_plugin'}\n"
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
