"""Builds of the tests: files of a context, a Dockerfile, and a look at what came of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from private_engine import PrivateEngine


class Kitchen:
    """One test's: its images are called after ``name``, its context is the directory ``context``."""

    def __init__(self, engine: PrivateEngine, directory: Path, name: str) -> None:
        self.engine, self.context, self._name = engine, directory / "context", name.lower().replace("_", "-")
        self.context.mkdir()
        self._count = 0

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Files of the context, by path."""
        for path, content in files.items():
            target = self.context / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)

    def run(
        self,
        text: str,
        *options: str,
        status: int | None = 0,
        environment: Mapping[str, str] | None = None,
        **words: Any,
    ) -> subprocess.CompletedProcess[str]:
        """``image build`` of a Dockerfile's text, which comes from stdin."""
        before = self.engine.environment
        self.engine.environment = {**before, **(environment or {})}
        try:
            arguments = ("image", "build", "-f", "-", *options, str(self.context))
            return self.engine.run(*arguments, status=status, input=text, **words)
        finally:
            self.engine.environment = before

    def build(self, text: str, *options: str, **words: Any) -> str:
        """As :meth:`run`; a new image's name."""
        self._count += 1
        name = f"{self._name}:{self._count}"
        self.run(text, "-t", name, *options, **words)
        return name

    def fails(self, text: str, *options: str, **words: Any) -> str:
        """What a build that cannot succeed says."""
        return self.run(text, *options, status=125, **words).stderr

    def out(self, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """What a command prints in a container of the image; without one, the image's own."""
        return self.engine.out("run", "--rm", *options, image, *command)

    def shell(self, image: str, script: str, options: tuple[str, ...] = ()) -> str:
        """What a script prints there."""
        return self.out(image, "sh", "-c", script, options=options)

    def record(self, image: str) -> dict[str, Any]:
        """``image inspect``."""
        record: dict[str, Any] = json.loads(self.engine.out("image", "inspect", image))[0]
        return record

    def config(self, image: str) -> dict[str, Any]:
        """The image's config."""
        config: dict[str, Any] = self.record(image)["Config"]
        return config

    def clear(self) -> None:
        """Remove the context."""
        shutil.rmtree(self.context)
