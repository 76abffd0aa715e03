"""Orchestrators: several containers as one app. ``plan`` is pure and can be shown before it is done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from multios.drivers.base import Driver


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a plan: ``verb`` (create, recreate, remove, keep), what it is done to, and why."""

    verb: str
    subject: str
    reason: str


class OrchestratorDriver(Driver):
    """Contract."""

    kind: ClassVar[str] = "orchestrator"

    @abstractmethod
    def plan(self, app: Mapping[str, Any], existing: Mapping[str, Any]) -> tuple[Action, ...]:
        """What :meth:`apply` would do. Pure: the same input, the same plan."""

    @abstractmethod
    def apply(self, app: Mapping[str, Any], plan: tuple[Action, ...]) -> None:
        """Do it. Idempotent."""

    @abstractmethod
    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        """The app's events, one shared stream."""

    @abstractmethod
    def destroy(self, app: str) -> None:
        """Remove everything of the app. Absent: no error."""
