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

    def failed_checks(self) -> list[str]:
        """Run every check of the template; what is wrong with those that do not hold."""
        record = json.loads(self.engine.out("template", "inspect", self.template))[0]
        assert record["checks"]
        return [text for check in record["checks"] if (text := self._failure(check))]

    def _failure(self, check: dict[str, str]) -> str:
        done = self.engine.run(
            "exec", self.name, *check["command"], status=None, timeout=float(check["timeout"])
        )
        said = done.stdout + done.stderr
        holds = done.returncode == 0 and check.get("expect", "") in said
        return "" if holds else f"{check['name']}: exit {done.returncode}: {said[-1500:]}"

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
