"""A lab as records: what ``lab.toml`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("integer", "choice", "word", "password", "port", "subnet")


@dataclass(frozen=True, slots=True)
class LabParameter:
    """A value that each student gets his own of. ``minimum`` and ``maximum`` bound an integer or a port.

    ``length`` is a password's; ``pool`` the network whose parts of ``prefix`` bits are a subnet's values.
    """

    name: str
    kind: str
    minimum: int = 1
    maximum: int = 1_000_000
    choices: tuple[str, ...] = ()
    length: int = 12
    pool: str = "10.0.0.0/8"
    prefix: int = 24


@dataclass(frozen=True, slots=True)
class LabCheck:
    """A command that must exit 0 with ``expect`` in its output; ``timeout`` in seconds."""

    name: str
    command: tuple[str, ...]
    expect: str = ""
    hint: str = ""
    points: int = 1
    timeout: int = 60


@dataclass(frozen=True, slots=True)
class LabStep:
    """A part of the task. ``setup`` runs as root inside when the step begins."""

    id: str
    title: str
    goal: str = ""
    setup: tuple[str, ...] = ()
    checks: tuple[LabCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class LabFile:
    """A file of the lab's that is copied in; ``{{parameter}}`` in it is filled unless ``raw``."""

    source: str
    target: str
    mode: int = 0o644
    raw: bool = False


@dataclass(frozen=True, slots=True)
class GradeCheck:
    """A judgement of the teacher's. Either ``command``, which runs with the student's rights and whose output is compared
    outside, or ``test``, a file of ``private/`` that runs as root of the container and exits 0.

    ``input`` is given on stdin; the output must have ``expect`` in it, or be it if ``exact``.
    """

    name: str
    command: tuple[str, ...] = ()
    test: str = ""
    input: str = ""
    expect: str = ""
    exact: bool = False
    points: int = 1
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class GradeLimits:
    """What a submission may use while it is judged, in the words of the container document."""

    memory: str = "256M"
    disk: str = "64M"
    cpus: float = 1.0
    pids: int = 64


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as written. ``folder`` is where it was read from; ``digest`` is of all that a student gets."""

    name: str
    version: str
    title: str
    folder: Path
    digest: str
    image: str = ""
    template: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    network: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    submit: tuple[str, ...] = ()
    parameters: tuple[LabParameter, ...] = ()
    files: tuple[LabFile, ...] = ()
    steps: tuple[LabStep, ...] = ()

    def step(self, name: str) -> LabStep | None:
        """The step with this id."""
        return next((step for step in self.steps if step.id == name), None)
