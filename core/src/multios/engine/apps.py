"""Apps: which there are, and one change of each at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.engine.caller import Caller
from multios.engine.registry import Registry
from multios.errors import Conflict
from multios.model.container import Container


class Change:
    """One change of an app that is under way."""

    def __init__(self, app: str, alive: Callable[[], bool], takes_down: bool) -> None:
        self._app, self._alive, self.takes_down = app, alive, takes_down
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """The app is to go, or nobody waits for this: end between two actions."""
        self._given_up.set()

    def is_wanted(self) -> bool:
        """Whether it is not given up, and somebody waits for it."""
        return not self._given_up.is_set() and self._alive()

    def check(self) -> None:
        """Raise ``Conflict`` once it is given up."""
        if self._given_up.is_set():
            raise Conflict(f"app {self._app!r} is being taken down", "bring it up again afterwards")


class Apps:
    """What is known of apps is what their containers' labels say."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._changed = threading.Condition()
        self._under_way: dict[tuple[int, str], Change] = {}

    def rows(self, caller: Caller) -> list[dict[str, Any]]:
        """Every app that the caller may see, by name."""
        found: dict[tuple[str, int], list[Container]] = {}
        for container in self._registry.visible(caller):
            if app := container.config.labels.get(APP_LABEL):
                found.setdefault((app, container.owner), []).append(container)
        return [_row(name, owner, containers) for (name, owner), containers in sorted(found.items())]

    @contextmanager
    def changing(
        self, app: str, caller: Caller, alive: Callable[[], bool], take_down: bool = False
    ) -> Iterator[Change]:
        """A change of the caller's app while the block runs; ``alive`` says whether anybody waits for it.

        A second one raises ``Conflict``, but to take the app down. Then, and where nobody waits for the first, it ends the
        first and waits until that has ended; one that takes it down too is let end by itself.
        """
        key, change = (caller.uid, app), Change(app, alive, take_down)
        with self._changed:
            while (other := self._under_way.get(key)) is not None:
                if other.is_wanted() and not take_down:
                    raise Conflict(f"app {app!r} is being changed", "wait until that is done")
                if not (other.is_wanted() and other.takes_down):
                    other.give_up()
                    self._registry.ask_who_waits()
                self._changed.wait()
            self._under_way[key] = change
        try:
            yield change
        finally:
            with self._changed:
                del self._under_way[key]
                self._changed.notify_all()


def _row(name: str, owner: int, containers: list[Container]) -> dict[str, Any]:
    counts = Counter(str(container.status) for container in containers)
    return {
        "name": name,
        "owner": owner,
        "status": ", ".join(f"{status} ({count})" for status, count in sorted(counts.items())),
        "services": sorted({container.config.labels.get(SERVICE_LABEL, "") for container in containers}),
        "containers": len(containers),
        "running": counts["running"],
    }
