"""Where an app is planned and applied: in the daemon, or here where its orchestrator needs the user's own files."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from multios.cli.context import Context
    from multios.cli.grammar import Values

    class Orchestrator(Protocol):
        """Documents in, plain data out: actions, and of each what was done."""

        def plan(self, document: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]: ...
        def apply(self, document: dict[str, Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]: ...
        def destroy(self, app: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]: ...
        def snapshot(self, app: str, name: str) -> Iterator[dict[str, Any]]: ...
        def reset(self, app: str, to: str) -> Iterator[dict[str, Any]]: ...


LOCAL = "local"


def orchestrator(values: Values, context: Context) -> Orchestrator:
    """The one that was asked for: by option, by ``MULTIOS_ORCHESTRATOR``, else the daemon's default."""
    name = _name(values)
    if name not in ("", LOCAL):
        from multios.cli.app_drivers import here  # deferred: it finds and imports plugins

        found = here(name, values["orchestrator_options"])
        if found is not None:
            return found
    return _InDaemon(context, name)


def runs_here(values: Values) -> bool:
    """Whether the containers will run on this host, as far as the name tells."""
    return _name(values) in ("", LOCAL)


def _name(values: Values) -> str:
    return values["orchestrator"] or os.environ.get("MULTIOS_ORCHESTRATOR", "")


class _InDaemon:
    def __init__(self, context: Context, name: str) -> None:
        self._context, self._name = context, name

    def plan(self, document: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        params = {**options, "app": document, "orchestrator": self._name}
        actions: list[dict[str, Any]] = self._context.call("apps.plan", params)
        return actions

    def apply(self, document: dict[str, Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        params = {**options, "app": document, "orchestrator": self._name}
        return self._context.client.stream("apps.apply", params)

    def destroy(self, app: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        params = {**options, "name": app, "orchestrator": self._name}
        return self._context.client.stream("apps.destroy", params)

    def snapshot(self, app: str, name: str) -> Iterator[dict[str, Any]]:
        params = {"name": app, "snapshot": name, "orchestrator": self._name}
        return self._context.client.stream("apps.snapshot", params)

    def reset(self, app: str, to: str) -> Iterator[dict[str, Any]]:
        return self._context.client.stream("apps.reset", {"name": app, "to": to, "orchestrator": self._name})
