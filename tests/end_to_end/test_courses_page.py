"""docs/how-to/courses.md is gone through line by line, as a teacher would."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from private_engine import SCRIPTS, PrivateEngine

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/how-to/courses.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.needs_network
@pytest.mark.timeout(1800)
def test_a_term_goes_as_written(engine: PrivateEngine, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    lines = [line for block in BLOCK.findall(PAGE.read_text()) for line in block.strip().splitlines()]
    assert any("wipe" in line for line in lines)
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert engine.out("course", "list", "--format", "{{.Course}}") == ""


def test_the_course_on_the_page_is_valid(engine: PrivateEngine, tmp_path: Path) -> None:
    (written,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    roster, *_ = re.findall(r"^```csv\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "labs/first").mkdir(parents=True)
    (tmp_path / "labs/first/lab.toml").write_text("")
    (tmp_path / "course.toml").write_text(written)
    (tmp_path / "students.csv").write_text(roster)
    assert "3 students, 3 machines" in engine.out("course", "validate", str(tmp_path))
