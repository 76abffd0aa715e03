"""Where the commands of a build run: the contract between the steps of a build and the engine's containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from multios.drivers.storage import StorageDriver
from multios.errors import MultiosError, StepFailed
from multios.model.container import Resources, Volume

Hear = Callable[[str], None]
"""Gets each line of a command's output and errors."""


class Cancelled(MultiosError):
    """Nobody wants the build any more: its client is gone, or another of its steps has failed."""

    code = "error"

    def __init__(self) -> None:
        super().__init__("the build was cancelled")


class CommandFailed(MultiosError):
    """A command of a build exited with ``exit_code``, which is not 0."""

    code = "error"

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the command exited with {exit_code}")
        self.exit_code = exit_code


class InstructionFailed(StepFailed):
    """A RUN's command failed: ``line`` is the instruction's, ``said`` the last lines of its output."""

    def __init__(self, where: str, line: int, exit_code: int, said: Sequence[str]) -> None:
        words = " | ".join(text.strip() for text in said if text.strip())[-300:]
        cause = f"exited with {exit_code}" + (f": {words}" if words else "")
        super().__init__(where, cause, "correct the command, or what it works on")
        self.line, self.exit_code, self.said = line, exit_code, tuple(said)


@dataclass(frozen=True, slots=True)
class Command:
    """A command and all that it sees. ``user`` as an image's config has it; ``mounts`` are there while it runs."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    user: str = ""
    network: str = "default"
    resources: Resources = Resources()
    mounts: tuple[Volume, ...] = ()


class Box(Protocol):
    """One command on a writable snapshot of its own, made and not yet started."""

    @property
    def snapshot(self) -> str:
        """The storage key of the active snapshot; whoever takes it away commits or removes it."""

    def run(self, hear: Hear, cancelled: Callable[[], bool]) -> int:
        """Run the command to its end; its exit code. Afterwards no process of it runs any more.

        Raises :class:`Cancelled`, the command killed, soon after ``cancelled`` says so.
        """


class Sandbox(Protocol):
    """Makes boxes. Several threads may."""

    @property
    def storage(self) -> StorageDriver:
        """The driver that holds the snapshots."""

    def open(self, command: Command, parent: str) -> AbstractContextManager[Box]:
        """A box on the committed snapshot ``parent`` (empty: on nothing).

        What is left of it after the block, its snapshot if it is still there, goes soon; see :meth:`settle`.
        """

    def settle(self) -> None:
        """Wait until nothing is left of boxes that were left."""
