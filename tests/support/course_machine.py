"""A container of a template, made as a course makes it, and what all templates promise of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import debian_image
import lessons
from private_engine import PrivateEngine

_BUILD = 900


class CourseMachine:
    """A started container of ``template``; its name is ``name``."""

    def __init__(self, engine: PrivateEngine, template: str, name: str) -> None:
        self.engine, self.template, self.name = engine, template, name

    def out(self, *command: str) -> str:
        """What a command prints in it; it must exit 0."""
        return self.engine.out("exec", self.name, *command, timeout=600)

    def shell(self, script: str) -> str:
        """What a script prints in it."""
        return self.out("bash", "-ec", script)

    def failed_checks(self) -> dict[str, str]:
        """Run every check of the template, in a container of its own; those that do not hold, with the reason."""
        done = self.engine.run(
            "template", "test", "--format", "json", self.template, status=None, timeout=_BUILD
        )
        rows = json.loads(done.stdout)
        assert rows, done.stderr
        failed = {row["name"]: row["cause"] for row in rows if row["cause"]}
        assert (done.returncode != 0) == bool(failed), done
        return failed

    def lesson(self) -> int:
        """Go through the lesson; how many lines were typed."""
        return lessons.play(self.engine, self.name, self.engine.out("template", "show", self.template))


def started(engine: PrivateEngine, template: str, directory: Path) -> Iterator[CourseMachine]:
    """The machine, built unless the engine has its image; deleted afterwards."""
    debian_image.provide(engine, directory)
    name = template.removesuffix("-learning") + "-course"
    engine.run("create", "--template", template, name, timeout=_BUILD)
    engine.run("start", name)
    yield CourseMachine(engine, template, name)
    engine.run("delete", "--force", name)
