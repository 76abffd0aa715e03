"""What can be waited for: that a container exits, runs, or is healthy or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from multios.engine.exits import comes_back
from multios.engine.registry import RUNNING, Registry
from multios.errors import Conflict, InvalidInput, nearest
from multios.model.container import Container, HealthStatus, Status

_ALIASES = {"stopped": "exited"}
_HEALTH = frozenset({"healthy", "unhealthy"})
_KNOWN = ("exited", "stopped", "running", *sorted(_HEALTH))


def parse(words: Sequence[str]) -> frozenset[str]:
    """Conditions, any of which is waited for; ``InvalidInput`` for one that is not known."""
    for word in words:
        if word not in _KNOWN:
            guess = nearest(word, list(_KNOWN))
            raise InvalidInput(
                f"no such condition: {word!r}",
                f"did you mean {guess!r}?" if guess else f"use {', '.join(_KNOWN)}",
            )
    return frozenset(_ALIASES.get(word, word) for word in words)


def wait(
    registry: Registry,
    container_id: str,
    conditions: frozenset[str],
    alive: Callable[[], bool],
    deadline: float = math.inf,
) -> Container:
    """The record of a container that has reached one of the conditions, or as it is at ``deadline``.

    ``Conflict`` where it cannot be told any more whether it is healthy: it has no probe, or has exited for good.
    """

    def reached(container: Container, ended: Container | None) -> Container | None:
        if ended is not None and "exited" in conditions:
            return ended
        is_running = "running" in conditions and container.status == Status.RUNNING
        if is_running or (conditions & _HEALTH and _has_health(container, conditions)):
            return container
        return None

    return registry.wait_for(container_id, reached, alive, deadline)


def _has_health(container: Container, conditions: frozenset[str]) -> bool:
    if container.probe is None:
        raise Conflict(
            f"container {container.name!r} has no health check",
            "give it one when it is created: --health-cmd COMMAND",
        )
    if container.removing or (container.status == Status.EXITED and not comes_back(container)):
        code = "unknown" if container.exit_code is None else container.exit_code
        raise Conflict(
            f"container {container.config.name!r} has exited ({code})",
            f"see `multios-container logs {container.config.name}`",
        )
    health = container.health.status if container.health else HealthStatus.STARTING
    return container.status in RUNNING and str(health) in conditions
