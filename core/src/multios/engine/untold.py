"""What a former daemon has recorded and was killed before it told: the difference between the records and the events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from multios.engine.events import Events
from multios.engine.registry import Registry
from multios.model.container import Container, Status


@dataclass(slots=True)
class _Life:
    """What events tell of a container: ``times`` has the latest of each action."""

    last: dict[str, Any]
    times: dict[str, float] = field(default_factory=dict)


def tell_untold(registry: Registry, events: Events) -> None:
    """Publish beginnings and ends of containers and of their runs that no event tells of, at the times recorded.

    Called once, before anything else is published. When a container was deleted is recorded nowhere: that is told
    as of now.
    """
    beginning, lives = _told(events)
    untold = [
        (at, action, container)
        for container in registry.all(removing=True)
        for action, at in _recorded(container)
        if at >= beginning and at > _latest(lives.get(container.id), action)
    ]
    for at, action, container in sorted(untold, key=lambda item: item[0]):
        extra = {"exit_code": container.exit_code} if action == "die" else {}
        events.of_container(action, container, at, **extra)
    for container_id, life in lives.items():
        if registry.get(container_id) is None and "delete" not in life.times:
            about = {key: life.last["attributes"][key] for key in ("owner", "image", "labels")
                     if key in life.last["attributes"]}  # fmt: skip
            events.publish("container", "delete", container_id, life.last["name"], **about)


def _told(events: Events) -> tuple[float, dict[str, _Life]]:
    """Since when events are kept without a gap, and what they tell of each container."""
    beginning, lives = 0.0, dict[str, _Life]()
    for number, event in enumerate(events.kept()):
        if number == 0 and event["sequence"] > 1:
            beginning = event["time"]
        if event["type"] == "container":
            life = lives.setdefault(event["id"], _Life(event))
            life.last = event
            life.times[event["action"]] = max(event["time"], life.times.get(event["action"], 0.0))
    return beginning, lives


def _recorded(container: Container) -> list[tuple[str, float]]:
    """What its record says has happened to it, and when."""
    found = [("create", container.created)]
    if container.started:
        found.append(("start", container.started))
    if container.status == Status.EXITED:
        found.append(("die", container.finished))
    return found


def _latest(life: _Life | None, action: str) -> float:
    return life.times.get(action, 0.0) if life else 0.0
