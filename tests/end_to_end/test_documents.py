"""The documents that are whole sessions are run, line by line, as a reader would."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from private_engine import SCRIPTS, PrivateEngine

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = ("docs/tutorials/student.md",)
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.needs_network
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", SESSIONS)
def test_a_session_goes_as_written(engine: PrivateEngine, page: str, tmp_path: Path) -> None:
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    for block in BLOCK.findall((ROOT / page).read_text()):
        for line in block.strip().splitlines():
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=800,
            )  # fmt: skip
            assert done.returncode == 0, f"{page}: {line}\n{done.stdout}{done.stderr}"
