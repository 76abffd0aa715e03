"""Ends: what happens when a container's first process has exited, and what a new daemon finds."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multios.drivers.isolation import ProcessState
from multios.engine.container_parts import Parts
from multios.engine.containers import Containers
from multios.engine.registry import ALIVE_CHECK_SECONDS, RUNNING
from multios.engine.sandbox import LABEL
from multios.engine.snapshot_keys import snapshot_keys
from multios.engine.watch import Watch
from multios.errors import Conflict, MultiosError
from multios.model.container import Container, Status
from multios.supervisor.client import Supervisor

log = logging.getLogger(__name__)
FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
EXEC_EXITS_KEPT = 4096
"""So many exits of exec'ed processes wait for who asks: a detached one's is asked for by nobody."""
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
SETTLED_SECONDS = 10.0
"""A container that ran this long begins its back-off anew."""


class Exits:
    """Listens to the supervisor. Work on one container is serialised by its lock."""

    def __init__(self, parts: Parts, containers: Containers, supervisor: Supervisor, watch: Watch) -> None:
        self._parts, self._containers, self._supervisor = parts, containers, supervisor
        self._watch = watch
        self._registry = parts.registry
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="exit")
        self._condition = threading.Condition()
        self._executed: OrderedDict[str, int | None] = OrderedDict()
        self._awaited: dict[str, Callable[[int | None], object]] = {}
        self._restarts: dict[str, threading.Timer] = {}
        self._closed = False

    def listen(self) -> None:
        """Begin; exits that happened while nobody listened come first."""
        self._supervisor.on_exit(self._on_exit)

    def close(self) -> None:
        """Cancel waiting restarts and finish what is under way; later exits are the next daemon's."""
        with self._condition:
            self._closed = True
            for timer in self._restarts.values():
                timer.cancel()
            self._restarts.clear()
        self._workers.shutdown()

    def _submit(self, action: Callable[..., object], *arguments: Any) -> None:
        with self._condition:
            if not self._closed:
                self._workers.submit(_logged, action, *arguments)

    def _on_exit(self, process_id: str, exit_code: int | None, number: int, finished: float) -> None:
        if self._registry.get(process_id) is not None:
            self._submit(self._ended, process_id, exit_code, finished)
            return
        if not CONTAINER_ID.fullmatch(process_id):
            self._exec_ended(process_id, exit_code)
        self._submit(self._supervisor.forget, process_id)

    def _exec_ended(self, exec_id: str, exit_code: int | None) -> None:
        with self._condition:
            tell = self._awaited.pop(exec_id, None)
            if tell is None:
                self._executed[exec_id] = exit_code
                while len(self._executed) > EXEC_EXITS_KEPT:
                    self._executed.popitem(last=False)
                self._condition.notify_all()
        if tell is not None:
            tell(exit_code)

    def when_exec_ends(self, exec_id: str, tell: Callable[[int | None], object]) -> None:
        """Have ``tell`` called with the exit code of an exec'ed process, ``None`` when unknown; it must be short."""
        with self._condition:
            if exec_id not in self._executed:
                self._awaited[exec_id] = tell
                return
            exit_code = self._executed.pop(exec_id)
        tell(exit_code)

    def not_awaited(self, exec_id: str) -> None:
        """Nobody wants to be told of this process's end any more."""
        with self._condition:
            self._awaited.pop(exec_id, None)

    def wait_for_exec(self, exec_id: str, alive: Callable[[], bool]) -> int | None:
        """Block until an exec'ed process has ended; its exit code, ``None`` when unknown."""
        with self._condition:
            ask_at = time.monotonic() + ALIVE_CHECK_SECONDS
            while exec_id not in self._executed:
                self._condition.wait(max(0.0, ask_at - time.monotonic()))
                if time.monotonic() >= ask_at:
                    if not alive():
                        return None
                    ask_at = time.monotonic() + ALIVE_CHECK_SECONDS
            return self._executed.pop(exec_id)

    def _ended(self, container_id: str, exit_code: int | None, finished: float) -> None:
        with self._registry.lock(container_id):
            container = self._registry.get(container_id)
            if container is None or container.status not in RUNNING:
                self._supervisor.forget(container_id)
                return
            state = self._state(container)
            if state.status != "stopped":
                return  # the exit of an earlier run, told late
            if state.finished > finished:  # of an earlier run too, and this one has ended as well
                exit_code, finished = state.exit_code, state.finished
            ended = self._registry.change(
                container,
                status=Status.EXITED,
                pid=0,
                exit_code=exit_code,
                finished=finished,
                oom_killed=state.oom_killed,
                counters=state.counters,
                error="" if exit_code is not None else "how it ended is not known: its parent died before it",
                **self._fresh_count(container),
                **(self._registry.hidden(container) if container.config.auto_remove else {}),
            )
            self._watch.ended(container, state.counters)
            self._parts.events.of_container("die", ended, finished, exit_code=exit_code)
            _logged(self._supervisor.forget, container_id)
            self._containers.clear_run(container)
            ended = self._registry.change(ended, ports=())  # only now may others have them
            if ended.removing:
                self._containers.discard(ended)
        if not ended.removing:
            self._restart_if_due(ended)

    def _state(self, container: Container) -> ProcessState:
        """How the driver says it stands; *stopped* when it does not know it any more, or is not there to ask."""
        try:
            return self._parts.drivers.isolation(container).state(container.id)
        except MultiosError as error:
            log.warning("container %s has ended: %s", container.name, error.cause)
            return ProcessState("stopped")

    def _fresh_count(self, container: Container) -> dict[str, Any]:
        settled = time.time() - container.started >= SETTLED_SECONDS
        return (
            {"restart_count": 0} if settled and container.config.restart_policy.name != "on-failure" else {}
        )

    # --- restart policies -----------------------------------------------------------------------------

    def _restart_if_due(self, container: Container) -> None:
        if comes_back(container):
            delay = min(FIRST_DELAY * 2 ** min(container.restart_count, 16), LONGEST_DELAY)
            # The work is the workers', whose end :meth:`close` awaits.
            timer = threading.Timer(delay, self._submit, (self._restart, container.id))
            timer.daemon = True
            with self._condition:
                if self._closed:
                    return
                former = self._restarts.pop(container.id, None)
                if former is not None:
                    former.cancel()
                self._restarts[container.id] = timer
                timer.start()

    def _restart(self, container_id: str) -> None:
        with self._condition:
            self._restarts.pop(container_id, None)
        container = self._registry.get(container_id)
        if container is None or container.removing:
            return
        try:
            self._containers.start_again(container)
        except Exception as error:
            self._restart_failed(container_id, str(error) or type(error).__name__)

    def _restart_failed(self, container_id: str, reason: str) -> None:
        with self._registry.lock(container_id):
            container = self._registry.get(container_id)
            if container is None or container.removing or container.status != Status.EXITED:
                return
            log.warning("restarting %s failed: %s", container.name, reason)
            container = self._registry.change(container, error=reason)
        self._restart_if_due(container)

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
                _logged(self._forget_stray, process["id"])
        self._sweep_snapshots(ids)
        for directory in self._parts.directory.iterdir():
            if directory.name not in ids:
                shutil.rmtree(directory, ignore_errors=True)
        self._parts.id_ranges.keep_only(ids)

    def _forget_stray(self, process_id: str) -> None:
        """A process of no container: an exec's record, or a run that could not be cleaned up."""
        try:
            self._supervisor.forget(process_id)
        except Conflict:
            self._supervisor.signal(process_id, signal.SIGKILL)  # forgotten when its exit is told

    def _reconcile_one(self, container: Container, process: dict[str, Any] | None) -> None:
        session_is_gone = LABEL in container.config.labels and container.name.startswith(("build-", "test-"))
        never_ran = container.of_run and container.config.auto_remove and container.status == Status.CREATED
        if container.removing or session_is_gone or never_ran:
            self._containers.clear_run(container)
            self._containers.discard(container)
        elif container.status not in RUNNING:
            if process is not None or self._parts.networks.endpoints_of(container.id):
                self._containers.clear_run(container)
        elif process is None:
            self._end_unseen(container, "how it ended is not known: host or supervisor went down with it")
        elif process["status"] == "running":
            self._containers.restore_network(container)
        elif process["status"] != "stopped":
            self._end_unseen(container, "the daemon died while it was being started")

    def _end_unseen(self, container: Container, reason: str) -> None:
        self._containers.clear_run(container)
        ended = self._registry.change(
            container,
            status=Status.EXITED,
            pid=0,
            exit_code=None,
            finished=time.time(),
            ports=(),
            error=reason,
        )
        self._parts.events.of_container("die", ended, ended.finished, exit_code=None)
        if container.config.auto_remove:
            self._containers.discard(self._registry.hide(ended))

    def start_again(self) -> None:
        """Start what a restart policy wants running and is not: after a reboot, or a daemon's end before its turn."""
        for container in self._registry.all():
            if container.status == Status.EXITED:
                self._restart_if_due(container)

    def _sweep_snapshots(self, ids: set[str]) -> None:
        for storage in self._parts.drivers.storages:
            for snapshot in list(storage.walk()):
                owner = snapshot.key.partition(".")[0]
                if CONTAINER_ID.fullmatch(owner) and not self._is_wanted(snapshot.key, owner, ids):
                    _logged(storage.remove, snapshot.key)

    def _is_wanted(self, key: str, owner: str, ids: set[str]) -> bool:
        """Whether a snapshot is a container's root filesystem or one of its kept states, not a half-made one."""
        container = self._registry.get(owner)
        return owner in ids and (key == owner or (container is not None and key in snapshot_keys(container)))


def comes_back(container: Container) -> bool:
    """Whether an exited container is started again as its restart policy wants."""
    policy = container.config.restart_policy
    wanted = {
        "no": False,
        "on-failure": container.exit_code != 0
        and (policy.maximum_retries == 0 or container.restart_count < policy.maximum_retries),
        "always": True,
        "unless-stopped": True,
    }[policy.name]
    return wanted and not container.stopped_by_user


def _logged(action: Callable[..., object], *arguments: Any) -> None:
    try:
        action(*arguments)
    except Exception:
        log.exception("%s failed", getattr(action, "__name__", action))
