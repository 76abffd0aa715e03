"""Orchestrators that work in the client: one for a cluster, with the user's own credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import Any

from multios.api.app_options import apply_options, destroy_options, plan_options
from multios.drivers.orchestrator import Action, OrchestratorDriver, Told
from multios.errors import MultiosError
from multios.model import app_document
from multios.model.json import to_json
from multios.plugins import in_client


def here(name: str, options: Mapping[str, str]) -> InClient | None:
    """The orchestrator ``name``, unless it is one that works in the daemon. Raises what the catalog says of one that is not there."""
    driver = in_client.orchestrator(name, options)
    return InClient(driver) if driver else None


class InClient:
    """See :class:`multios.cli.app_orchestrators.Orchestrator`. ``driver`` does what goes into containers."""

    def __init__(self, driver: OrchestratorDriver) -> None:
        self.driver = driver

    def plan(self, document: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """The actions."""
        app = app_document.parse(document)
        return [
            to_json(item) for item in self.driver.plan(app, self.driver.existing(app), plan_options(options))
        ]

    def apply(self, document: dict[str, Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is done, as it is."""
        app = app_document.parse(document)
        plan = self.driver.plan(app, self.driver.existing(app), plan_options(options))
        return _items(lambda told: self.driver.apply(app, plan, told, apply_options(options)))

    def destroy(self, app: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is removed, as it is."""
        return _items(lambda told: self.driver.destroy(app, told, destroy_options(options)))

    def snapshot(self, app: str, name: str) -> Iterator[dict[str, Any]]:
        """What is kept, as it is."""
        return _items(lambda told: self.driver.snapshot(app, name, told))

    def reset(self, app: str, to: str) -> Iterator[dict[str, Any]]:
        """What is put back, as it is."""
        return _items(lambda told: self.driver.reset(app, to, told))


def _items(run: Callable[[Told], object]) -> Iterator[dict[str, Any]]:
    """What ``run`` tells, while it runs in a thread of its own; what it raises is raised at the end."""
    told: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    failed: list[BaseException] = []

    def tell(action: Action, what: str) -> None:
        told.put({**to_json(action), "phase": what})

    def work() -> None:
        try:
            run(tell)
        except MultiosError as error:
            failed.append(error)
        finally:
            told.put(None)

    thread = Thread(target=work, daemon=True)
    thread.start()
    while (item := told.get()) is not None:
        yield item
    thread.join()
    if failed:
        raise failed[0]
