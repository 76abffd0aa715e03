"""Health probes of running containers: begun when they are due, killed when their time is over, counted.

One thread of timers serves all containers, and a few workers do what may block: start a probe, kill one, record a
result. A probe that runs costs neither, so one that hangs delays nobody. What a result makes of a container's state
stands in its record, which is written when more than the list of results has changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from multios.engine import health_states, probe_processes
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.events import Events
from multios.engine.exits import Exits
from multios.engine.probe_processes import ProbeProcess
from multios.engine.registry import RUNNING, Registry
from multios.engine.timers import Timer, Timers
from multios.errors import CommandNotExecutable, CommandNotFound, Conflict, MultiosError, StepFailed
from multios.model.container import Container, HealthProbe, HealthState, ProbeResult, Status
from multios.model.quantities import format_duration
from multios.supervisor.client import Supervisor

log = logging.getLogger(__name__)
WORKERS = 4
KILLED = -1
"""The exit code of a probe whose time was over."""
_LOCKED_SECONDS = 0.1
"""So long until a container is asked for again that somebody is just changing."""
_FIRST_READ, _SLOWEST_READ = 0.05, 1.0
"""A probe's output is taken so often, the less often the longer there is none: no flood of it costs the others."""

Told = Callable[[ProbeResult | MultiosError], object]


@dataclass(eq=False, slots=True)
class _Run:
    """One run of a container that is probed, from its start or resumption to its end or pause."""

    container_id: str
    started: float
    probe: HealthProbe
    next: Timer | None = None


@dataclass(eq=False, slots=True)
class _Probe:
    """One probe under way. ``told`` is who asked for it; else the timer did, and the next one follows it."""

    run: _Run
    process: ProbeProcess
    began: float
    deadline: float
    """By the clock of the timers."""
    told: Told | None
    timer: Timer | None = None
    is_done: bool = False


class HealthProbes:
    """Thread-safe. Event: ``health_status`` (``health``) at every change of a container's status."""

    def __init__(
        self,
        registry: Registry,
        containers: Containers,
        drivers: Drivers,
        exits: Exits,
        events: Events,
        timers: Timers,
        workers: Executor,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry, self._containers, self._drivers = registry, containers, drivers
        self._exits, self._events = exits, events
        self._timers, self._workers, self._now = timers, workers, now
        self._runs: dict[str, _Run] = {}
        self._under_way: set[_Probe] = set()
        registry.observe(self._changed)

    def begin(self, supervisor: Supervisor) -> None:
        """Go on with the containers that run, where an earlier daemon has stopped; its probes under way are killed."""
        probes = [row for row in supervisor.processes() if probe_processes.is_probe(row["id"]) and row["pid"]]
        for row in probes:
            container = self._registry.get(row["container_id"])
            if container is not None:
                self._work(self._kill, container, row["id"], int(row["pid"]))
        for container in self._registry.all():
            if container.probe is not None:
                with self._registry.lock(container.id):
                    self._changed(self._registry.get(container.id) or container)
        self._timers.begin()

    def close(self) -> None:
        """Kill what is under way; the next daemon probes on."""
        self._timers.close()
        for probe in list(self._under_way):
            container = self._registry.get(probe.run.container_id)
            if container is not None:
                self._work(self._kill, container, probe.process.exec_id, probe.process.pid)
        self._workers.shutdown()

    def probe_now(self, container: Container) -> ProbeResult:
        """Probe a running container and wait for the result, which counts as any other."""
        if container.probe is None:
            raise Conflict(
                f"container {container.name!r} has no health check",
                "give it one when it is created: --health-cmd COMMAND",
            )
        run = self._runs.get(container.id)
        if run is None:
            state = (
                "being stopped" if container.status == Status.RUNNING else f"{container.status}, not running"
            )
            raise Conflict(f"container {container.name!r} is {state}", "start or resume it")
        answer: Future[ProbeResult | MultiosError] = Future()
        self._work(self._start, run, answer.set_result)
        result = answer.result()
        if isinstance(result, MultiosError):
            raise result
        return result

    # --- which containers are probed, and when -----------------------------------------------------

    def _changed(self, container: Container) -> None:
        """Begin or end a run, as the record now says; called at every change, under the container's lock."""
        if container.probe is None:
            return
        former = self._runs.get(container.id)
        # What fails while it is being stopped says nothing.
        runs = container.status == Status.RUNNING and not (container.removing or container.stopped_by_user)
        if former is not None and not (runs and former.started == container.started):
            self._runs.pop(container.id, None)
            if former.next is not None:
                self._timers.cancel(former.next)
            if container.status == Status.PAUSED:  # they could not end, and their time would be over
                for probe in [one for one in list(self._under_way) if one.run is former]:
                    self._timers.after(0.0, partial(self._time_is_over, probe))
            former = None
        if runs and former is None:
            run = _Run(container.id, container.started, container.probe)
            self._runs[container.id] = run
            self._schedule(run, container.health or HealthState())

    def _schedule(self, run: _Run, state: HealthState) -> None:
        now = self._now()
        due = health_states.next_due(state, run.probe, run.started, now)
        run.next = self._timers.after(due - now, partial(self._work, self._start, run, None))

    def _schedule_again(self, run: _Run) -> None:
        container = self._registry.get(run.container_id)
        if container is not None and self._is_current(run):
            self._schedule(run, container.health or HealthState())

    def _is_current(self, run: _Run) -> bool:
        return self._runs.get(run.container_id) is run

    # --- one probe, in the workers and in the thread of timers ----------------------------------------

    def _work(self, action: Callable[..., object], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the daemon ends
            self._workers.submit(_logged, action, *arguments)

    def _start(self, run: _Run, told: Told | None) -> None:
        """Start a probe, with the container's lock: it shall not be paused or removed meanwhile."""
        lock = self._registry.lock(run.container_id)
        if not lock.acquire(blocking=False):
            self._timers.after(_LOCKED_SECONDS, partial(self._work, self._start, run, told))
            return
        began = self._now()
        try:
            if not self._is_current(run):
                raise _interrupted()
            container = self._registry.current(run.container_id)
            process = probe_processes.start(self._containers, self._drivers, container, run.probe.command)
            deadline = self._timers.now() + run.probe.timeout
            probe = _Probe(run, process, began, deadline, told)
            self._under_way.add(probe)
        except (CommandNotFound, CommandNotExecutable, StepFailed) as error:
            result = ProbeResult(began, self._now(), error.exit_status, error.cause)
            self._work(self._record, run, result, told)
            return
        except Exception as error:
            self._leave(run, told, error)
            return
        finally:
            lock.release()
        self._look_later(probe, _FIRST_READ)
        self._exits.when_exec_ends(
            process.exec_id, lambda code: self._timers.after(0.0, partial(self._ended, probe, code))
        )

    def _leave(self, run: _Run, told: Told | None, error: Exception) -> None:
        """Nothing came of a probe that says anything of the container: it has ended, or the engine is in trouble."""
        if not isinstance(error, MultiosError):
            log.error("a probe of container %s failed", run.container_id, exc_info=error)
            error = MultiosError("the probe failed", "see the daemon's log")
        if told is not None:
            told(error)
        else:
            self._schedule_again(run)

    def _look_later(self, probe: _Probe, pause: float) -> None:
        left = probe.deadline - self._timers.now()
        probe.timer = self._timers.after(min(pause, left), partial(self._look, probe, pause))

    def _look(self, probe: _Probe, pause: float) -> None:
        """Take its output, and see whether its time is over; in the thread of timers, as the three below."""
        if probe.is_done:
            return
        if self._timers.now() >= probe.deadline:
            self._time_is_over(probe)
            return
        self._look_later(probe, _FIRST_READ if probe.process.read() else min(2 * pause, _SLOWEST_READ))

    def _time_is_over(self, probe: _Probe) -> None:
        if probe.is_done:
            return
        self._exits.not_awaited(probe.process.exec_id)
        container = self._registry.get(probe.run.container_id)
        if container is not None and container.status in RUNNING:
            self._work(self._kill, container, probe.process.exec_id, probe.process.pid)
        said = f"killed: it took longer than {format_duration(probe.run.probe.timeout)}"
        self._finish(probe, KILLED, said)

    def _ended(self, probe: _Probe, exit_code: int | None) -> None:
        if not probe.is_done:
            self._finish(probe, KILLED if exit_code is None else exit_code, "")

    def _finish(self, probe: _Probe, exit_code: int, said: str) -> None:
        probe.is_done = True
        self._under_way.discard(probe)
        if probe.timer is not None:
            self._timers.cancel(probe.timer)
        probe.process.close()
        output = probe.process.output.decode("utf-8", "replace")
        output = f"{output.rstrip()}\n{said}".lstrip() if said else output
        result = ProbeResult(probe.began, self._now(), exit_code, output)
        self._work(self._record, probe.run, result, probe.told)

    def _kill(self, container: Container, exec_id: str, pid: int) -> None:
        with suppress(MultiosError):  # it has ended
            probe_processes.kill(self._drivers.isolation(container), container.id, exec_id, pid)

    # --- what comes of it -------------------------------------------------------------------------------

    def _record(self, run: _Run, result: ProbeResult, told: Told | None) -> None:
        """Count a result, unless the run has ended; then the next probe may be due."""
        lock = self._registry.lock(run.container_id)
        if not lock.acquire(blocking=False):
            self._timers.after(_LOCKED_SECONDS, partial(self._work, self._record, run, result, told))
            return
        try:
            container = self._registry.get(run.container_id)
            if container is None or not self._is_current(run):
                raise _interrupted()
            before = container.health or HealthState()
            state = health_states.after(before, result, run.probe, run.started)
            if (state.status, state.failing_streak) == (before.status, before.failing_streak):
                self._registry.note(container, health=state)
            else:
                self._registry.change(container, health=state)
        except Exception as error:
            self._leave(run, told, error)
            return
        finally:
            lock.release()
        if state.status != before.status:
            self._events.of_container("health_status", container, health=str(state.status))
        if told is not None:
            told(result)
        else:
            self._schedule_again(run)


def _interrupted() -> Conflict:
    return Conflict("the container was stopped or paused meanwhile", "try again")


def _logged(action: Callable[..., object], *arguments: Any) -> None:
    try:
        action(*arguments)
    except Exception:
        log.exception("a health probe failed")
