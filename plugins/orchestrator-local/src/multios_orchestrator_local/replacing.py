"""One container of a service: made, replaced, and put back where its replacement fails."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from multios.app_labels import (
    APP_LABEL,
    DEPENDS_LABEL,
    FINGERPRINT_LABEL,
    NUMBER_LABEL,
    POST_START_LABEL,
    PRE_STOP_LABEL,
    SERVICE_LABEL,
)
from multios.drivers.base import Calls
from multios.drivers.orchestrator import ApplyOptions, Told
from multios.errors import Conflict, MultiosError, NotFound
from multios.model.app import App, Instance, Service, UpdatePolicy
from multios_orchestrator_local import running
from multios_orchestrator_local.planning import container_name, hooks, of_service

LOOK_SECONDS = 0.1
"""Between two looks at a new container that is being monitored."""


def document(app: App, service: Service, number: int) -> dict[str, Any]:
    """The container document of one of a service's containers."""
    container = dict(service.container)
    files = {file.key: file for file in app.files}
    container["name"] = container_name(app, service, number)
    container["labels"] = {
        **container.get("labels", {}),
        APP_LABEL: app.name,
        SERVICE_LABEL: service.name,
        NUMBER_LABEL: str(number),
        DEPENDS_LABEL: ",".join(item.service for item in service.depends_on),
        FINGERPRINT_LABEL: json.dumps(of_service(app, service), sort_keys=True, separators=(",", ":")),
    }
    for label, asked in ((POST_START_LABEL, service.post_start), (PRE_STOP_LABEL, service.pre_stop)):
        if asked:
            container["labels"][label] = json.dumps(hooks(asked))
    if service.files:
        container["files"] = [
            {
                "path": use.target,
                "content": base64.b64encode(files[use.source].content).decode(),
                "secret": files[use.source].secret,
                "mode": use.mode,
                "uid": use.uid,
                "gid": use.gid,
            }
            for use in service.files
        ]
    return container


class Replacing:
    """Makes and replaces a service's containers. ``finish`` throws away what was replaced, ``roll_back`` brings it back."""

    def __init__(self, engine: Calls, app: App, service: Service, options: ApplyOptions, told: Told) -> None:
        self._engine, self._app, self._service, self._options = engine, app, service, options
        self._told = told
        self._replaced: list[tuple[Instance, str, Sequence[Instance]]] = []
        """Each that was replaced, under the name it has meanwhile, the id of the new one, and who used its network."""

    def create(self, number: int, start: bool) -> str:
        """Make one and start it; the id. One that does not start is removed again."""
        config = self._document(number)
        made = str(self._engine.call("containers.create", {"config": config})["id"])
        if start:
            try:
                running.start(self._engine, made, config["labels"])
            except MultiosError:
                self._remove(made)
                raise
        return made

    def replace(
        self,
        old: Instance,
        number: int,
        policy: UpdatePolicy | None,
        start: bool,
        guests: Sequence[Instance] = (),
    ) -> None:
        """Put a new one in the place of ``old``, which waits beside until :meth:`finish`.

        ``guests`` run in its network and end with it: they run again when it is brought back.
        """
        aside = f"{old.name[:100]}-old-{old.id[:6]}"
        stop_first = policy is None or policy.order == "stop-first"
        if stop_first:
            self._stop(old)
        self._engine.call("containers.rename", {"ref": old.id, "name": aside})
        made = ""
        try:
            made = self.create(number, start)
            if start and policy is not None:
                self._monitor(made, policy.monitor)
        except MultiosError:
            self._bring_back(old, made, guests)
            raise
        if not stop_first:
            self._stop(old)
        self._replaced.append((old, made, guests))

    def finish(self) -> None:
        """Remove what was replaced."""
        while self._replaced:
            self._remove(self._replaced.pop()[0].id)

    def roll_back(self) -> None:
        """Bring back what was replaced."""
        while self._replaced:
            self._bring_back(*self._replaced.pop())

    def _bring_back(self, old: Instance, made: str, guests: Sequence[Instance]) -> None:
        if made:
            self._remove(made)
        with contextlib.suppress(MultiosError):
            self._engine.call("containers.rename", {"ref": old.id, "name": old.name})
        for ended in (item for item in (old, *guests) if item.status == "running"):
            with contextlib.suppress(MultiosError):  # what failed first is what is told
                running.start(self._engine, ended.id, ended.labels)

    def _document(self, number: int) -> dict[str, Any]:
        return document(self._app, self._service, number)

    def _stop(self, old: Instance) -> None:
        running.stop(self._engine, old, self._options.stop_timeout, self._told)

    def _remove(self, container_id: str) -> None:
        with contextlib.suppress(NotFound):
            self._engine.call("containers.delete", {"ref": container_id, "force": True})

    def _monitor(self, container_id: str, seconds: float) -> None:
        """Raise ``Conflict`` when the new one ends, or is unhealthy, before ``seconds`` are over and it is healthy, if probed."""
        deadline = time.monotonic() + seconds
        while True:
            state = self._engine.call("containers.inspect", {"ref": container_id})["State"]
            if problem := trouble(state):
                raise Conflict(
                    f"service {self._service.name!r}: its new container {problem}",
                    f"see `multios-container app --project-name {self._app.name} logs {self._service.name}`",
                )
            if time.monotonic() >= deadline and health_of(state) != "starting":
                return
            self._engine.rest(LOOK_SECONDS)


def trouble(state: Mapping[str, Any]) -> str:
    """What is wrong with a container that should run, by its ``State``; empty for nothing."""
    if not state["Running"]:
        return f"ended with status {state['ExitCode']}"
    return "is unhealthy" if health_of(state) == "unhealthy" else ""


def health_of(state: Mapping[str, Any]) -> str:
    """``starting``, ``healthy`` or ``unhealthy``; empty for a container without a probe."""
    health: Mapping[str, str] = state.get("Health") or {}
    return health.get("Status", "")
