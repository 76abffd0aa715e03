"""The runtime's program, and calls of it from the daemon: everything but ``create``, ``start`` and ``exec``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from multios.errors import StepFailed, Unavailable, Unsupported

_SECONDS = 30.0
_GONE = (
    "does not exist",
    "not running",
    "no such process",
    "not found",
    "process already finished",
    "is not created or running",
)


class Runtime:
    """One program, and the directory in which it keeps its containers. Thread-safe."""

    def __init__(self, program: str, root: Path) -> None:
        self._program = program
        self._root = root

    def words(self, log: Path) -> list[str]:
        """The command line before the operation; ``Unsupported`` when there is no such program."""
        found = shutil.which(self._program)
        if found is None:
            raise Unsupported(
                f"there is no OCI runtime {self._program!r} on this host",
                "install it (apt install runc), or set runtime in [isolation.oci]",
            )
        return [found, "--root", str(self._root), "--log", str(log), "--log-format", "json"]

    def call(self, log: Path, *words: str) -> str:
        """Run an operation to its end: what it printed. ``StepFailed`` with the runtime's own words."""
        command = [*self.words(log), *words]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{self._program} {words[0]} takes more than {_SECONDS:.0f} s") from None
        if done.returncode:
            told = done.stderr.strip().splitlines()
            raise StepFailed(
                f"{self._program} {words[0]}", told[-1] if told else f"exit status {done.returncode}"
            )
        return done.stdout

    def try_call(self, log: Path, *words: str) -> None:
        """The same, where a container that has ended or is gone already is no error."""
        try:
            self.call(log, *words)
        except StepFailed as error:
            if not any(word in error.cause.lower() for word in _GONE):
                raise
