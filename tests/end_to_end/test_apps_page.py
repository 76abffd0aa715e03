"""docs/how-to/apps.md is gone through line by line, with a smaller image."""

from __future__ import annotations

import re
from pathlib import Path

from document_session import commands, play
from private_engine import SCRIPTS, PrivateEngine

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/apps.md"
FILES = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_page_about_apps_goes_as_written(engine: PrivateEngine, tmp_path: Path) -> None:
    smaller = {"debian:12": "small:1"}
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    for name, text in FILES.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text.replace("debian:12", "small:1"))
    try:
        for command in commands(PAGE, smaller):
            play(command, tmp_path, environment)
        assert engine.out("ps", "--all", "--quiet", "--filter", "label=org.multios.app=shop") == ""
    finally:
        engine.run("app", "--project-name", "shop", "down", "--volumes", status=None)
