"""A plan is done: networks and volumes, then the services, side by side as far as they do not depend on each other."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from functools import partial

from multios.app_labels import APP_LABEL, FINGERPRINT_LABEL, NETWORK_LABEL, VOLUME_LABEL
from multios.drivers.base import Calls
from multios.drivers.orchestrator import Action, ApplyOptions, Told
from multios.errors import Conflict, MultiosError, NotFound
from multios.model.app import COMPLETED, HEALTHY, STARTED, App, Dependency, Instance, Service, fingerprint
from multios.pace import Pace
from multios_orchestrator_local import existing
from multios_orchestrator_local.planning import shared_container
from multios_orchestrator_local.replacing import LOOK_SECONDS, Replacing, health_of, trouble
from multios_orchestrator_local.running import restart, start, stop

BEGUN_SECONDS = 1.0
"""One that has no probe must run so long to be called good,"""
SETTLED_SECONDS = 3.0
"""and so long when it was restarted."""
MOST_AT_ONCE = 16
"""Services that are worked on at once, and containers of one."""


class Applying:
    """One apply of one app."""

    def __init__(self, engine: Calls, app: App, told: Told, options: ApplyOptions) -> None:
        self._engine, self._app, self._options = engine, app, options
        self._told, self._telling = told, threading.Lock()
        self._pace = Pace(options.rate, options.burst)
        self._deadline = time.monotonic() + options.wait if options.wait else math.inf

    def run(self, plan: Sequence[Action]) -> None:
        """Do it. The first failure is raised, when what does not depend on it is done."""
        replaces = any(action.verb in ("remove", "recreate", "start", "restart") for action in plan)
        found = existing.instances(self._engine, self._app.name) if replaces else ()
        self._instances = {item.name: item for item in found}
        removed = {action.subject for action in plan if action.verb == "remove"}
        self._by_place = {
            (item.service, item.number): item
            for item in found
            if item.name not in removed  # of two with one number, the other
        }
        for action in plan:
            if action.kind == "network":
                self._do(action, partial(self._network, action))
            elif action.kind == "volume":
                self._do(action, partial(self._volume, action))
        work: dict[str, list[Action]] = {}
        for action in plan:
            if action.kind == "container":
                work.setdefault(action.service, []).append(action)
        self._side_by_side({name: actions for name, actions in work.items() if not self._is_kept(actions)})
        if self._options.wait:
            self._await_all(plan)

    def _is_kept(self, actions: Sequence[Action]) -> bool:
        """Whether a service is as it shall be; that is told."""
        if any(action.verb != "keep" for action in actions):
            return False
        for action in actions:
            self._tell(action, "done")
        return True

    # --- order --------------------------------------------------------------------------------------

    def _side_by_side(self, work: dict[str, list[Action]]) -> None:
        """Each service as soon as those are done that it depends on; what depends on a failed one is left."""
        waiting = {name: self._awaited(name, work) for name in work}
        failed: dict[str, MultiosError] = {}
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(MOST_AT_ONCE, "app") as pool:
            while waiting or running:
                for name in [name for name, before in waiting.items() if not before]:
                    del waiting[name]
                    running[pool.submit(self._work_on, name, work[name])] = name
                if not running:
                    break  # the rest depends on what failed
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(done)
                    error = done.exception()
                    if error is None:
                        for before in waiting.values():
                            before.discard(name)
                    elif isinstance(error, MultiosError):
                        failed[name] = error
                        self._let_go(name, waiting)
                    else:
                        raise error
        if failed:
            raise next(iter(failed.values()))

    def _awaited(self, name: str, work: dict[str, list[Action]]) -> set[str]:
        service = self._app.service(name)
        return {item.service for item in service.depends_on if item.service in work} if service else set()

    def _let_go(self, name: str, waiting: dict[str, set[str]]) -> None:
        """Those that could do without the failed one need not wait for it."""
        for other, before in waiting.items():
            service = self._app.service(other)
            if service and any(item.service == name and not item.required for item in service.depends_on):
                before.discard(name)

    def _work_on(self, name: str, actions: Sequence[Action]) -> None:
        service = self._app.service(name)
        if service is not None:
            for dependency in service.depends_on:
                if dependency.condition != STARTED:
                    self._await_dependency(service, dependency)
        removals = [action for action in actions if action.verb == "remove"]
        self._each(removals, lambda action: self._do(action, lambda: self._remove(action)))
        rest = [action for action in actions if action.verb != "remove"]
        if service is None:
            return
        replaced = [action for action in rest if action.verb == "recreate"]
        others = [action for action in rest if action.verb != "recreate"]
        self._each(others, lambda action: self._do(action, lambda: self._simple(service, action)))
        if replaced:
            self._replace(service, replaced)

    def _each(self, actions: Sequence[Action], do: Callable[[Action], None]) -> None:
        """All of one service, side by side."""
        if len(actions) <= 1:
            for action in actions:
                do(action)
            return
        with ThreadPoolExecutor(min(MOST_AT_ONCE, len(actions)), "replica") as pool:
            for done in [pool.submit(do, action) for action in actions]:
                done.result()

    # --- one action ---------------------------------------------------------------------------------

    def _do(self, action: Action, how: Callable[[], object]) -> None:
        if action.verb == "keep":
            self._tell(action, "done")
            return
        self._pace.wait()
        self._tell(action, "begun")
        try:
            how()
        except MultiosError as error:
            self._tell(action, f"failed: {error.cause}")
            raise
        self._tell(action, "done")

    def _tell(self, action: Action, what: str) -> None:
        with self._telling:
            self._told(action, what)

    def _network(self, action: Action) -> None:
        network = next(item for item in self._app.networks if item.name == action.subject)
        labels = {
            **network.request.get("labels", {}),
            APP_LABEL: self._app.name,
            NETWORK_LABEL: network.key,
            FINGERPRINT_LABEL: json.dumps(fingerprint(network.request), sort_keys=True),
        }
        self._engine.call("networks.create", {**network.request, "name": network.name, "labels": labels})

    def _volume(self, action: Action) -> None:
        volume = next(item for item in self._app.volumes if item.name == action.subject)
        labels = {**volume.labels, APP_LABEL: self._app.name, VOLUME_LABEL: volume.key}
        self._engine.call("volumes.create", {"name": volume.name, "labels": labels})

    def _remove(self, action: Action) -> None:
        instance = self._instances.get(action.subject)
        if instance is not None:
            stop(self._engine, instance, self._options.stop_timeout, self._tell)
            with contextlib.suppress(NotFound):
                self._engine.call("containers.delete", {"ref": instance.id, "force": True})

    def _simple(self, service: Service, action: Action) -> None:
        if action.verb == "create":
            Replacing(self._engine, self._app, service, self._options, self._tell).create(
                action.number, self._options.start
            )
        elif action.verb == "start":
            there = self._there(action)
            start(self._engine, there.id, there.labels)
        elif action.verb == "restart":
            restart(self._engine, self._there(action), self._options.stop_timeout, self._tell)

    def _there(self, action: Action) -> Instance:
        """The container in an action's place, whatever it is called; ``NotFound`` where somebody was quicker."""
        instance = self._by_place.get((action.service, action.number))
        if instance is None:
            raise NotFound(f"container {action.subject!r} is gone meanwhile", "bring the app up once more")
        return instance

    def _guests(self, name: str) -> list[Instance]:
        """The app's containers that use the network of the container ``name``."""
        services = {service.name for service in self._app.services if shared_container(service) == name}
        return [item for item in self._instances.values() if item.service in services]

    def _replace(self, service: Service, actions: Sequence[Action]) -> None:
        """All at once without a policy, else some at a time."""
        policy = service.update
        replacing = Replacing(self._engine, self._app, service, self._options, self._tell)
        together = (policy.parallelism if policy else 0) or len(actions)
        failure: MultiosError | None = None

        def one(action: Action) -> None:
            guests = self._guests(action.subject)
            self._do(
                action,
                lambda: replacing.replace(
                    self._there(action), action.number, policy, self._options.start, guests
                ),
            )

        for position in range(0, len(actions), together):
            try:
                if position and policy is not None:
                    self._engine.rest(policy.delay)
                self._each(actions[position : position + together], one)
            except MultiosError as error:
                failure = failure or error
                if policy is not None and policy.failure_action == "rollback":
                    replacing.roll_back()
                if policy is None or policy.failure_action != "continue":
                    break
        replacing.finish()
        if failure is not None:
            raise failure

    # --- waiting ------------------------------------------------------------------------------------

    def _await_dependency(self, service: Service, dependency: Dependency) -> None:
        try:
            for instance in existing.instances(self._engine, self._app.name):
                if instance.service == dependency.service:
                    self._await(instance, dependency.condition)
        except MultiosError as error:
            if dependency.required:
                raise Conflict(
                    f"service {service.name!r} waits for {dependency.service!r}: {error.cause}", error.remedy
                ) from error

    def _await(self, instance: Instance, condition: str) -> None:
        """Block until a container is healthy, or has completed; raise ``Conflict`` when it never will."""
        logs = f"see `multios-container logs {instance.name}`"
        if condition == COMPLETED:
            said = self._engine.call("containers.wait", {"ref": instance.id, **self._left()})
            self._check_in_time(instance, said["status"] == "exited", "has not completed")
            if said["exit_code"] != 0:
                raise Conflict(f"{instance.name} ended with status {said['exit_code']}", logs)
        elif condition == HEALTHY:
            answers = ["healthy", "unhealthy"]
            said = self._engine.call(
                "containers.wait", {"ref": instance.id, "condition": answers, **self._left()}
            )
            self._check_in_time(instance, said["health"] in answers, "is not healthy")
            if said["health"] != "healthy":
                raise Conflict(f"{instance.name} is {said['health']}", logs)

    def _left(self) -> dict[str, int]:
        """How long something may be waited for, as ``containers.wait`` takes it."""
        if self._deadline == math.inf:
            return {}
        return {"timeout": max(0, math.ceil(self._deadline - time.monotonic()))}

    def _check_in_time(self, instance: Instance, is_reached: bool, what: str) -> None:
        if not is_reached and time.monotonic() >= self._deadline:
            raise Conflict(
                f"{instance.name} {what} after {self._options.wait:g} s", "wait longer: --wait-timeout"
            )

    def _await_all(self, plan: Sequence[Action]) -> None:
        """Until all services run at once, and are healthy where they have a probe; tasks that others wait for may have ended."""
        names = {action.service for action in plan if action.kind == "container" and action.verb != "remove"}
        while True:
            found = existing.instances(self._engine, self._app.name)
            waiting = [item for item in found if item.service in names and not self._is_good(item)]
            if not waiting:
                return
            self._check_in_time(waiting[0], False, "is not healthy")
            self._engine.rest(LOOK_SECONDS)

    def _is_good(self, instance: Instance) -> bool:
        """Raises ``Conflict`` for one that is not, and will not be."""
        if instance.status == "exited" and self._is_task(instance.service):
            self._await(instance, COMPLETED)
            return True
        record = self._engine.call("containers.inspect", {"ref": instance.id})
        state = record["State"]
        if problem := trouble(state):
            raise Conflict(f"{instance.name} {problem}", f"see `multios-container logs {instance.name}`")
        if health_of(state):
            return health_of(state) == "healthy"
        return _age(state["StartedAt"]) >= (SETTLED_SECONDS if record["RestartCount"] else BEGUN_SECONDS)

    def _is_task(self, name: str) -> bool:
        """Whether some service waits until this one has completed."""
        return any(
            item.service == name and item.condition == COMPLETED
            for service in self._app.services
            for item in service.depends_on
        )


def _age(started: str) -> float:
    """Seconds since a moment as ``inspect`` writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
