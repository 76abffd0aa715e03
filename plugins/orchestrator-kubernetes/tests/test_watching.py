"""One stream for all pods, that goes on after it ended and after its version was forgotten."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from kubernetes_server import Server
from multios.drivers.orchestrator import ApplyOptions, PlanOptions
from multios.errors import Refused
from multios.model import app_document
from multios_orchestrator_kubernetes import KubernetesOrchestrator, watch

Driver = Callable[..., KubernetesOrchestrator]


def app_of(replicas: int) -> Any:
    services = {"web": {"container": {"image": "web:1"}, "replicas": replicas}}
    return app_document.parse({"name": "shop", "services": services})


def scale(driver: KubernetesOrchestrator, replicas: int) -> None:
    app = app_of(replicas)
    driver.apply(app, driver.plan(app, driver.existing(app), PlanOptions()), lambda *_: None, ApplyOptions())


class Watcher:
    """Collects what a driver's watch tells."""

    def __init__(self, events: Iterator[Mapping[str, Any]]) -> None:
        self._events: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._run, args=(events,), daemon=True).start()

    def _run(self, events: Iterator[Mapping[str, Any]]) -> None:
        try:
            for event in events:
                self._events.put(event)
        except Exception as error:
            self._events.put(error)

    def next(self) -> Any:
        """The next event, within half a minute."""
        return self._events.get(timeout=30)

    def take(self, count: int) -> list[tuple[str, str]]:
        """The next events as action and service."""
        events = [self.next() for _ in range(count)]
        return [(event["action"], event["attributes"]["org.multios.app.service"]) for event in events]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing more was told."""
        return self._events.empty()


@pytest.fixture
def watcher(driver: Driver, server: Server, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    scale(driver(), 1)
    watching = Watcher(driver().watch("shop"))
    wait_until(lambda: server.watches == 1)
    return watching


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def pods_of(server: Server) -> list[str]:
    return sorted(server.store.named("Pod"))


def test_the_events_of_many_pods_come_by_one_stream(driver: Driver, server: Server, watcher: Watcher) -> None:
    scale(driver(), 30)
    events = watcher.take(1 + 30 * 3)
    assert events[0] == ("delete", "web")
    assert sorted(events[1:]) == [("create", "web")] * 30 + [("ready", "web")] * 30 + [("start", "web")] * 30
    assert server.watches == 1


def test_an_event_says_what_happened_to_what(server: Server, watcher: Watcher) -> None:
    (name,) = pods_of(server)
    server.store.edit("Pod", "shop", name, {"status": {"phase": "Failed", "conditions": []}})
    event = watcher.next()
    assert (event["type"], event["action"], event["name"]) == ("container", "exit", name)
    assert event["attributes"]["namespace"] == "shop"


def test_a_stream_that_ended_goes_on_where_bookmarks_were(server: Server, watcher: Watcher) -> None:
    lists = sum("/pods" in request.path and not request.is_watch for request in server.requests)
    for _ in range(5):
        server.store.add(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": "default"}}
        )
    wait_until(lambda: server.bookmarked > 105)
    server.end_watches()
    wait_until(lambda: sum(request.is_watch for request in server.requests) >= 2)
    (name,) = pods_of(server)
    server.store.edit("Pod", "shop", name, {"status": {"phase": "Failed", "conditions": []}})
    assert [watcher.next()["action"] for _ in range(2)] == ["exit", "unready"]
    assert lists == sum("/pods" in request.path and not request.is_watch for request in server.requests)
    assert (
        int([request for request in server.requests if request.is_watch][-1].query["resourceVersion"]) > 105
    )


@pytest.mark.parametrize("in_stream", [False, True])
def test_what_happened_while_the_version_was_forgotten_is_told_once(
    server: Server, watcher: Watcher, in_stream: bool
) -> None:
    server.expires_in_stream = in_stream
    (name,) = pods_of(server)
    gone = [True]

    def fault(request: Any) -> Any:
        return (503, "ServiceUnavailable", "later", "") if request.is_watch and gone else None

    server.fault = fault
    server.end_watches()
    wait_until(lambda: server.watches == 0)
    server.store.edit("Pod", "shop", name, {"status": {"phase": "Failed", "conditions": []}})
    server.forget()
    server.store.add(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": "default"}}
    )
    gone.clear()
    assert [watcher.next()["action"] for _ in range(2)] == ["exit", "unready"]
    wait_until(lambda: server.watches == 1)
    assert watcher.is_quiet


def test_a_watch_that_is_refused_ends_with_the_reason(server: Server, watcher: Watcher) -> None:
    server.forbidden = {("GET", "pods")}
    server.end_watches()
    assert isinstance(watcher.next(), Refused)
