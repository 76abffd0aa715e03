"""The containers that exist: in memory for reading, in the database for keeping, with a lock each."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from multios.app_labels import APP_LABEL, SERVICE_LABEL
from multios.engine.caller import Caller
from multios.errors import Conflict, NotFound, unknown
from multios.model.container import Container, Status
from multios.store.database import Database

log = logging.getLogger(__name__)
RUNNING = (Status.RUNNING, Status.PAUSED)
ENDED_KEPT = 1000
ALIVE_CHECK_SECONDS = 5.0


class Owned(Protocol):
    """What belongs to a user: a container, a network, a volume."""

    @property
    def owner(self) -> int:
        """The uid."""


Thing = TypeVar("Thing", bound=Owned)


def choose_own(called: list[Thing], caller: Caller) -> Thing | None:
    """Of things of one name, each of another owner, the caller's own, else the only one."""
    own = [thing for thing in called if thing.owner == caller.uid]
    return own[0] if own else called[0] if len(called) == 1 else None


class Registry:
    """Lookups by name, id and id prefix, seen with a caller's eyes; state changes; waiting for an end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._times_asked = 0
        self._containers = {container.id: container for container in database.all(Container)}
        self._locks = {container_id: threading.RLock() for container_id in self._containers}
        self._ended: OrderedDict[str, Container] = OrderedDict()
        self._last_ends: dict[str, Container] = {}
        self._observers: list[Callable[[Container], object]] = []
        self._unwritten: set[str] = set()

    def observe(self, observer: Callable[[Container], object]) -> None:
        """Have ``observer`` called with every changed record, under its container's lock where the change is."""
        self._observers.append(observer)

    def add(self, container: Container) -> None:
        """Record a new container; a name in use raises ``Conflict``."""
        with self._changed:
            self._database.save(container)
            self._containers[container.id] = container
            self._locks[container.id] = threading.RLock()

    def check_name_free(self, name: str, owner: int) -> None:
        """Raise ``Conflict`` if another container of this owner has the name."""
        for item in self.all(removing=True):
            if item.name == name and item.owner == owner:
                raise _name_in_use(item)

    def change(self, container: Container, **fields: Any) -> Container:
        """Record new values for some fields and wake who waits; the new record."""
        changed = replace(container, **fields)
        with self._changed:
            self._database.save(changed)
            before = self._containers.get(container.id)
            self._containers[container.id] = changed
            if before is not None and before.status in RUNNING and changed.status == Status.EXITED:
                self._last_ends[container.id] = changed
            self._unwritten.discard(container.id)
            self._changed.notify_all()
        for observer in self._observers:
            observer(changed)
        return changed

    def note(self, container: Container, **fields: Any) -> None:
        """New values that nobody waits for, written with the next change or at :meth:`close`: for what comes often."""
        with self._changed:
            self._containers[container.id] = replace(container, **fields)
            self._unwritten.add(container.id)

    def close(self) -> None:
        """Write what has only been noted, as far as that goes."""
        with self._changed:
            for container_id in self._unwritten:
                try:
                    self._database.save(self._containers[container_id])
                except Exception:
                    log.exception("container %s could not be written", container_id)
            self._unwritten.clear()

    def hide(self, container: Container) -> Container:
        """Take a container out of sight and free its name; what is left of it is removed later."""
        return self.change(container, **self.hidden(container))

    @staticmethod
    def hidden(container: Container) -> dict[str, Any]:
        """The fields that change when a container is hidden; no user can choose such a name."""
        return {"removing": True, "name": f"removing:{container.id}"}

    def remove(self, container: Container) -> None:
        """Forget a container; who waits for it still gets its exit."""
        with self._changed:
            self._database.delete(Container, container.id)
            last = self._containers.pop(container.id, container)
            self._unwritten.discard(container.id)
            self._locks.pop(container.id, None)
            self._last_ends.pop(container.id, None)
            self._ended[container.id] = last
            while len(self._ended) > ENDED_KEPT:
                self._ended.popitem(last=False)
            self._changed.notify_all()

    def lock(self, container_id: str) -> threading.RLock:
        """The lock under which a container's state is changed; of no meaning when there is no such container."""
        with self._changed:
            return self._locks.get(container_id) or threading.RLock()

    def get(self, container_id: str) -> Container | None:
        """The record as it is now, by full id."""
        return self._containers.get(container_id)

    def current(self, container_id: str) -> Container:
        """The record as it is now; ``NotFound`` when it has been removed."""
        container = self._containers.get(container_id)
        if container is None or container.removing:
            raise NotFound(f"container {container_id[:12]} has been removed", "")
        return container

    def all(self, removing: bool = False) -> list[Container]:
        """Every container; those being removed only when asked for."""
        with self._changed:
            rows = list(self._containers.values())
        return [row for row in rows if removing or not row.removing]

    def visible(self, caller: Caller) -> list[Container]:
        """Every container that the caller may see."""
        return [container for container in self.all() if caller.may_see(container.owner)]

    def find(self, ref: str, caller: Caller) -> Container:
        """By name, id or unambiguous id prefix. Others' containers do not exist for an ordinary caller.

        Each user has names of his own: to an administrator a name is his own container's, else the only user's.
        """
        visible = self.visible(caller)
        called = [container for container in visible if ref in (container.name, container.id)]
        if found := choose_own(called, caller):
            return found
        if called:
            raise Conflict(
                f"{len(called)} users have a container {ref!r}", "name it by its id, see `ps --all`"
            )
        matches = [container for container in visible if ref and container.id.startswith(ref)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Conflict(
                f"{len(matches)} containers have an id that begins with {ref!r}", "give more of the id"
            )
        names = [container.name for container in visible]
        raise unknown("container", ref, names, "see `multios-container ps --all`")

    def ended(self, container_id: str, caller: Caller) -> Container | None:
        """A container of the caller's, by full id, that is being removed or was not long ago, as it was last."""
        with self._changed:
            container = self._containers.get(container_id)
            if container is None or not container.removing:
                container = self._ended.get(container_id)
        return container if container is not None and caller.may_see(container.owner) else None

    def wait_until_ended(self, run: Container, deadline: float) -> bool:
        """Block until this run of a container has ended, or ``time.monotonic()`` reaches ``deadline``; whether it has."""
        with self._changed:
            while True:
                container = self._containers.get(run.id)
                if container is None or container.status not in RUNNING or container.started != run.started:
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)

    def wait(self, container_id: str, alive: Callable[[], bool] = lambda: True) -> Container:
        """Block until a container has ended or is removed; its record then, even if it has been started again since.

        ``alive`` is asked now and then whether anybody still wants to know.
        """
        return self.wait_for(container_id, lambda container, ended: ended, alive)

    def wait_for(
        self,
        container_id: str,
        reached: Callable[[Container, Container | None], Container | None],
        alive: Callable[[], bool],
        deadline: float = math.inf,
    ) -> Container:
        """Block until ``reached`` has an answer to a container's record, and that of its end if it has ended meanwhile.

        ``reached`` may raise, and must be short. Nobody ``alive``, or ``time.monotonic()`` at ``deadline``: the record as it is.
        """
        with self._changed:
            former = self._last_ends.get(container_id)
            asked, ask_at = -1, 0.0
            while True:
                container = self._containers.get(container_id) or self._ended.get(container_id)
                if container is None:
                    raise NotFound(f"container {container_id[:12]} has been removed", "")
                ended = self._last_ends.get(container_id)
                if container.status == Status.EXITED or container.id not in self._containers:
                    ended = container
                elif ended is former:
                    ended = None
                if (answer := reached(container, ended)) is not None:
                    return answer
                now = time.monotonic()
                if now >= deadline:
                    return container
                # Not at each change of any container: many may wait, and all of them are woken by it.
                if asked != self._times_asked or now >= ask_at:
                    if not alive():
                        return container
                    asked, ask_at = self._times_asked, now + ALIVE_CHECK_SECONDS
                self._changed.wait(min(deadline, ask_at) - now)

    def ask_who_waits(self) -> None:
        """Have everybody who waits look at once whether anybody still wants to know."""
        with self._changed:
            self._times_asked += 1
            self._changed.notify_all()


def _name_in_use(holder: Container) -> Conflict:
    """Nobody is told to delete what an app has: it would make it again, or miss it."""
    name, app = holder.name, holder.config.labels.get(APP_LABEL)
    if app is None:
        return Conflict(
            f"the container name {name!r} is in use",
            f"choose another name, or `multios-container delete {name}` first",
        )
    service = holder.config.labels.get(SERVICE_LABEL, "")
    return Conflict(
        f"the container name {name!r} is in use by service {service!r} of app {app!r}", "choose another name"
    )
