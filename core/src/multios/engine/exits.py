"""Ends: what happens when a container's first process has exited, and what a new daemon finds."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multios.engine.caller import Caller
from multios.engine.containers import RUNNING, Containers, Parts
from multios.errors import MultiosError
from multios.model.container import Container, Status
from multios.supervisor.client import Supervisor

log = logging.getLogger(__name__)
FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
SETTLED_SECONDS = 10.0
"""A container that ran this long begins its back-off anew."""


class Exits:
    """Listens to the supervisor. Work on one container is serialised by its lock."""

    def __init__(self, parts: Parts, containers: Containers, supervisor: Supervisor) -> None:
        self._parts, self._containers, self._supervisor = parts, containers, supervisor
        self._registry = parts.registry
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="exit")
        self._condition = threading.Condition()
        self._executed: dict[str, int | None] = {}
        self._restarts: dict[str, threading.Timer] = {}

    def listen(self) -> None:
        """Begin; exits that happened while nobody listened come first."""
        self._supervisor.on_exit(self._on_exit)

    def close(self) -> None:
        """Cancel waiting restarts and finish what is under way."""
        for timer in list(self._restarts.values()):
            timer.cancel()
        self._workers.shutdown()

    def _on_exit(self, process_id: str, exit_code: int | None, signal: int, finished: float) -> None:
        if self._registry.get(process_id) is None:
            with self._condition:
                self._executed[process_id] = exit_code
                self._condition.notify_all()
            self._workers.submit(_logged, self._supervisor.forget, process_id)
        else:
            self._workers.submit(_logged, self._ended, process_id, exit_code, finished)

    def wait_for_exec(self, exec_id: str, alive: Callable[[], bool]) -> int | None:
        """Block until an exec'ed process has ended; its exit code, ``None`` when unknown."""
        with self._condition:
            while exec_id not in self._executed:
                if not self._condition.wait(5) and not alive():
                    return None
            return self._executed.pop(exec_id)

    def _ended(self, container_id: str, exit_code: int | None, finished: float) -> None:
        with self._registry.lock(container_id):
            container = self._registry.get(container_id)
            if container is None or container.status not in RUNNING:
                self._supervisor.forget(container_id)
                return
            if self._parts.drivers.isolation(container).state(container_id).status != "stopped":
                return  # the exit of an earlier run, told late
            ended = self._registry.change(
                container,
                status=Status.EXITED,
                pid=0,
                exit_code=exit_code,
                finished=finished,
                error="" if exit_code is not None else "how it ended is not known: its parent died before it",
                **self._fresh_count(container),
                **(self._registry.hidden(container) if container.config.auto_remove else {}),
            )
            self._supervisor.forget(container_id)
            self._containers.clear_run(container)
            ended = self._registry.change(ended, ports=())
            if ended.removing:
                self._containers.discard(ended)
        self._parts.events.publish("container", "die", container.id, container.name, exit_code=exit_code)
        if not ended.removing:
            self._restart_if_due(ended)

    def _fresh_count(self, container: Container) -> dict[str, Any]:
        settled = time.time() - container.started >= SETTLED_SECONDS
        return (
            {"restart_count": 0} if settled and container.config.restart_policy.name != "on-failure" else {}
        )

    # --- restart policies -----------------------------------------------------------------------------

    def _restart_if_due(self, container: Container) -> None:
        policy = container.config.restart_policy
        wanted = {
            "no": False,
            "on-failure": container.exit_code != 0
            and (policy.maximum_retries == 0 or container.restart_count < policy.maximum_retries),
            "always": True,
            "unless-stopped": True,
        }[policy.name]
        if wanted and not container.stopped_by_user:
            delay = min(FIRST_DELAY * 2 ** min(container.restart_count, 16), LONGEST_DELAY)
            timer = threading.Timer(delay, self._restart, (container.id,))
            timer.daemon = True
            self._restarts[container.id] = timer
            timer.start()

    def _restart(self, container_id: str) -> None:
        self._restarts.pop(container_id, None)
        with self._registry.lock(container_id):
            container = self._registry.get(container_id)
            if container is None or container.removing or container.status != Status.EXITED:
                return
            if container.stopped_by_user:
                return
            container = self._registry.change(container, restart_count=container.restart_count + 1)
            try:
                self._containers.start(container)
            except MultiosError as error:
                log.warning("restarting %s failed: %s", container.name, error.cause)
                current = self._registry.get(container_id)
                if current is not None:
                    self._restart_if_due(self._registry.change(current, error=error.cause))

    # --- what a new daemon finds -------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make the records agree with the kernel; called once, before :meth:`listen`.

        Containers whose process lives go on; those whose exit is recorded end when the supervisor tells; the rest
        ended when nobody could see it: *unknown*. Half-made and half-removed ones are cleaned up.
        """
        known = {process["id"]: process for process in self._supervisor.processes()}
        for container in self._registry.all(removing=True):
            try:
                self._reconcile_one(container, known.get(container.id))
            except Exception:
                log.exception("reconciling container %s failed", container.name)
        ids = {container.id for container in self._registry.all()}
        for process in known.values():
            if process["container_id"] not in ids:
                _logged(self._supervisor.forget, process["id"])
        self._sweep_snapshots(ids)
        for directory in self._parts.directory.iterdir():
            if directory.name not in ids:
                shutil.rmtree(directory, ignore_errors=True)
        self._parts.id_ranges.keep_only(ids)

    def _reconcile_one(self, container: Container, process: dict[str, Any] | None) -> None:
        if container.removing:
            self._containers.clear_run(container)
            self._containers.discard(container)
        elif container.status not in RUNNING:
            if process is not None or self._parts.networks.endpoints_of(container.id):
                self._containers.clear_run(container)
        elif process is None:
            self._containers.clear_run(container)
            self._registry.change(
                container,
                status=Status.EXITED,
                pid=0,
                exit_code=None,
                finished=time.time(),
                ports=(),
                error="how it ended is not known: host or supervisor went down with it",
            )
        elif process["status"] != "stopped" and process["status"] != "exited":
            owner = Caller(container.owner, container.owner)
            for network, _ in self._parts.networks.endpoints_of(container.id):
                self._parts.networks.ensure(network.name, owner)

    def start_again(self) -> None:
        """Start what a restart policy wants running and is not (after a reboot)."""
        for container in self._registry.all():
            policy = container.config.restart_policy.name
            wanted = policy == "always" or (policy == "unless-stopped" and not container.stopped_by_user)
            if wanted and container.status == Status.EXITED and container.exit_code is None:
                self._workers.submit(_logged, self._restart, container.id)

    def _sweep_snapshots(self, ids: set[str]) -> None:
        for storage in self._parts.drivers.storages:
            for snapshot in list(storage.walk()):
                if CONTAINER_ID.fullmatch(snapshot.key) and snapshot.key not in ids:
                    _logged(storage.remove, snapshot.key)


def _logged(action: Callable[..., object], *arguments: Any) -> None:
    try:
        action(*arguments)
    except Exception:
        log.exception("%s failed", getattr(action, "__name__", action))
