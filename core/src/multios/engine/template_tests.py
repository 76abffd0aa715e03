"""``template test``: a real container of a template, started, its services awaited, every check run inside; then removed."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from multios.drivers.image_source import Progress
from multios.engine.caller import Caller
from multios.engine.checks import Inside, Outcome, last_lines
from multios.engine.containers import Containers
from multios.engine.drivers import Drivers
from multios.engine.exits import Exits
from multios.engine.sandbox import LABEL
from multios.engine.templates import Templates
from multios.errors import MultiosError, NotFound
from multios.model.container import Container, ContainerConfig
from multios.model.template import Check

log = logging.getLogger(__name__)
Tell = Callable[[Outcome], None]


class TemplateTests:
    """Tests templates in containers of the caller's: within his quotas and with what policy grants him."""

    def __init__(self, templates: Templates, containers: Containers, drivers: Drivers, exits: Exits) -> None:
        self._templates, self._containers = templates, containers
        self._drivers, self._exits = drivers, exits

    def run(
        self,
        name: str,
        options: Mapping[str, str],
        caller: Caller,
        progress: Progress,
        locked: bool,
        tell: Tell,
        wanted: Callable[[], bool],
    ) -> dict[str, Any]:
        """Tell every outcome as it comes; how many checks there are and how many of them hold.

        Raises what building and creating raise; a container that does not stay up is an outcome.
        """
        plan = self._templates.plan(name, options, caller)
        checks = self._templates.checks(name, options, caller)
        config = ContainerConfig(
            name=f"test-{name}-{secrets.token_hex(3)}",
            template=name,
            template_options=options,
            labels={LABEL: "test"},
        )
        self._templates.image_for(name, options, progress, caller, locked)
        container = self._containers.create(config, caller, progress)
        outcomes: list[Outcome] = []

        def note(outcome: Outcome) -> None:
            outcomes.append(outcome)
            tell(outcome)

        try:
            self._containers.start(container)
            inside = Inside(self._containers, self._drivers, self._exits, container, wanted)
            are_ready = True
            if plan.services:
                ready = inside.services()
                note(ready)
                are_ready = not ready.cause
            for check in checks:
                if not wanted():
                    break
                note(self._one(inside, check, container, are_ready))
        finally:
            self._remove(container)
        failed = sum(bool(outcome.cause) for outcome in outcomes)
        return {"checks": len(outcomes), "failed": failed}

    def _one(self, inside: Inside, check: Check, container: Container, are_ready: bool) -> Outcome:
        if check.running and not are_ready:
            return Outcome(check.name, "not run: the services are not ready", check.hint, (), 0.0)
        outcome = inside.check(check)
        if outcome.cause and self._has_ended(container):
            return Outcome(check.name, "the container has ended", check.hint, self._said(container), 0.0)
        return outcome

    def _has_ended(self, container: Container) -> bool:
        try:
            self._containers.running(container)
        except MultiosError:
            return True
        return False

    def _said(self, container: Container) -> tuple[str, ...]:
        """The end of the container's log, without times and streams."""
        with contextlib.suppress(OSError):
            text = (self._containers.directory(container) / "log").read_text(errors="replace")[-65536:]
            return last_lines("\n".join(line.split(" ", 3)[-1] for line in text.splitlines()))
        return ()

    def _remove(self, container: Container) -> None:
        try:
            self._containers.delete(container, force=True)
        except NotFound:
            pass  # an administrator was faster
        except MultiosError:
            log.exception("removing %s failed", container.name)
