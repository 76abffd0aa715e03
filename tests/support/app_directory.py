"""A directory with Compose files and the app that they describe, driven by the real programs."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from typing import Any

from private_engine import PrivateEngine, eventually


class AppDirectory:
    """One app of an engine; its name is its directory's."""

    def __init__(self, engine: PrivateEngine, directory: Path, name: str) -> None:
        self.engine, self.name = engine, name
        self.directory = directory / name
        self.directory.mkdir()

    def write(self, text: str, file: str = "compose.yaml") -> Path:
        """Put a file there; common indentation goes."""
        path = self.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def run(self, *words: str, status: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """``app --project-directory … WORDS``."""
        return self.engine.run(
            "app", "--project-directory", str(self.directory), *words, status=status, **options
        )

    def out(self, *words: str, **options: Any) -> str:
        """What it printed, stripped."""
        return self.run(*words, **options).stdout.strip()

    def up(self, *words: str, **options: Any) -> list[str]:
        """Bring it up; what was done, a line a thing."""
        return self.run("up", "--detach", "--timeout", "0", *words, **options).stderr.splitlines()

    def down(self, *words: str) -> list[str]:
        """Take it down; what was done."""
        return self.run("down", "--timeout", "0", *words).stderr.splitlines()

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """``app …`` in the background."""
        return self.engine.popen("app", "--project-directory", str(self.directory), *words, **options)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The app's containers by name."""
        found = self.engine.json("ps", "--all", "--filter", f"label=org.multios.app={self.name}")
        return {row["name"]: row for row in found}

    def ids(self) -> dict[str, str]:
        """The ids of its containers by their names without the app's."""
        return {name.removeprefix(f"{self.name}-"): row["id"] for name, row in self.rows().items()}

    def status_of(self, container: str) -> str:
        """The state of ``SERVICE-NUMBER``."""
        return self.engine.status_of(f"{self.name}-{container}")

    def plan(self, *words: str) -> list[str]:
        """What would be done, without what is kept: ``+ container SERVICE-NUMBER``."""
        lines = self.run("up", "--dry-run", *words).stdout.splitlines()
        shown = [line.partition("  (")[0].replace(f" {self.name}-", " ") for line in lines]
        return [line for line in shown if not line.startswith(" ")]

    def left(self) -> list[str]:
        """Everything that is the app's: containers, networks, volumes."""
        networks = self.engine.out("network", "ls", "--quiet").split()
        volumes = self.engine.out("volume", "ls", "--quiet").split()
        return [
            *self.rows(),
            *(f"network {name}" for name in networks if name.startswith(f"{self.name}_")),
            *(f"volume {name}" for name in volumes if name.startswith(f"{self.name}_")),
        ]

    def log_of(self, service: str) -> list[str]:
        """The lines that a service has written."""
        return self.out("logs", "--no-log-prefix", service).splitlines()

    def says(self, service: str, text: str) -> None:
        """Wait until a service has written a line with this text."""
        eventually(lambda: any(text in line for line in self.log_of(service)), f"{service} says {text!r}")
