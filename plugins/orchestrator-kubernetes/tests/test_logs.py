"""What pods write: all of it once, whatever breaks, by one stream a pod."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubernetes_server import Server
from multios.drivers.orchestrator import ApplyOptions, Place, PlanOptions
from multios.errors import NotFound, Refused
from multios.model import app_document
from multios_orchestrator_kubernetes import KubernetesOrchestrator, logs

Driver = Callable[..., KubernetesOrchestrator]
FIRST, SECOND = Place("web", 1), Place("web", 2)


def scale(driver: KubernetesOrchestrator, replicas: int) -> None:
    services = {
        "web": {"container": {"image": "web:1"}, "replicas": replicas},
        "db": {"container": {"image": "db:1"}},
    }
    app = app_document.parse({"name": "shop", "services": services})
    driver.apply(app, driver.plan(app, driver.existing(app), PlanOptions()), lambda *_: None, ApplyOptions())


@pytest.fixture
def shop(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> KubernetesOrchestrator:
    """A driver, and the app ``shop`` with two pods of ``web`` and one of ``db``."""
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.1)
    made = driver()
    scale(made, 2)
    return made


def pods_of(server: Server, service: str = "web") -> list[str]:
    return sorted(name for name in server.store.named("Pod") if name.startswith(service))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


class Reader:
    """Collects lines in the background; ``None`` is their end."""

    def __init__(self, lines: Iterator[tuple[Place, bytes]]) -> None:
        self._lines: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._run, args=(lines,), daemon=True).start()

    def _run(self, lines: Iterator[tuple[Place, bytes]]) -> None:
        try:
            for line in lines:
                self._lines.put(line)
            self._lines.put(None)
        except Exception as error:
            self._lines.put(error)

    def next(self) -> Any:
        """The next, within half a minute."""
        return self._lines.get(timeout=30)


def test_every_line_says_whose_it_is(shop: KubernetesOrchestrator, server: Server) -> None:
    one, two = pods_of(server)
    server.pods.say(one, "first")
    server.pods.say(two, "second")
    server.pods.say(*pods_of(server, "db"), "stored")
    found = list(shop.logs("shop", (), False, None))
    assert sorted(found, key=str) == [
        (Place("db", 1), b"stored\n"), (FIRST, b"first\n"), (SECOND, b"second\n")
    ]  # fmt: skip
    assert list(shop.logs("shop", ("db",), False, None)) == [(Place("db", 1), b"stored\n")]


def test_a_tail_is_the_last_lines_of_each_pod(shop: KubernetesOrchestrator, server: Server) -> None:
    for name in pods_of(server):
        for number in range(5):
            server.pods.say(name, f"line {number}")
    found = list(shop.logs("shop", ("web",), False, 2))
    assert found == [(place, f"line {n}\n".encode()) for place in (FIRST, SECOND) for n in (3, 4)]


def test_a_service_without_pods_is_named(shop: KubernetesOrchestrator) -> None:
    with pytest.raises(NotFound, match="'wbe'"):
        list(shop.logs("shop", ("wbe",), False, None))


def test_following_is_one_stream_a_pod_and_ends_with_the_last_of_them(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    one, two = pods_of(server)
    server.pods.say(one, "before")
    reader = Reader(shop.logs("shop", ("web",), True, None))
    assert reader.next() == (FIRST, b"before\n")
    wait_until(lambda: server.pods.logs == 2)
    server.pods.say(two, "now")
    assert reader.next() == (SECOND, b"now\n")
    time.sleep(0.5)
    assert sum(request.path.endswith("/log") for request in server.requests) == 2
    for name in (one, two):
        server.store.edit("Pod", "shop", name, {"status": {"phase": "Succeeded"}})
    assert reader.next() is None


def test_a_stream_that_broke_off_goes_on_after_its_last_line(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    name, _ = pods_of(server)
    moments = [f"2026-01-01T00:00:00.{fraction}Z" for fraction in ("1", "25", "250000001")]
    server.pods.say(name, "one", moments[0])
    server.pods.say(name, "two", moments[1])
    reader = Reader(shop.logs("shop", ("web",), True, None))
    assert [reader.next()[1] for _ in range(2)] == [b"one\n", b"two\n"]
    wait_until(lambda: server.pods.logs == 2)
    server.end_watches()
    wait_until(lambda: sum(request.path.endswith("/log") for request in server.requests) >= 4)
    server.pods.say(name, "three", moments[2])
    assert reader.next() == (FIRST, b"three\n")


def test_a_pod_that_comes_is_followed_from_its_beginning(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    reader = Reader(shop.logs("shop", ("web",), True, 0))
    wait_until(lambda: server.pods.logs == 2)
    scale(shop, 3)
    new = pods_of(server)
    assert len(new) == 3
    for name in new:
        server.pods.say(name, "hello")
    assert sorted(reader.next()[0].number for _ in range(3)) == [1, 2, 3]


def test_pods_that_are_about_to_come_are_waited_for(server: Server, shop: KubernetesOrchestrator) -> None:
    scale(shop, 0)
    reader = Reader(shop.logs("shop", ("web",), True, None))
    time.sleep(0.3)
    scale(shop, 1)
    server.pods.say(*pods_of(server), "hello")
    assert reader.next() == (FIRST, b"hello\n")


def test_a_service_that_gets_no_pods_is_named_when_it_is_followed(
    shop: KubernetesOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PATIENCE", 0.3)
    assert isinstance(Reader(shop.logs("shop", ("wbe",), True, None)).next(), NotFound)


def test_a_line_without_end_is_cut(shop: KubernetesOrchestrator, server: Server) -> None:
    name, _ = pods_of(server)
    server.pods.say(name, "x" * (3 << 20))
    server.pods.say(name, "short")
    long, short = (line for _, line in shop.logs("shop", ("web",), False, None))
    assert 1 << 19 < len(long) <= (1 << 20) + (1 << 17)
    assert short == b"short\n"


def test_who_may_not_read_logs_is_told_so(shop: KubernetesOrchestrator, server: Server) -> None:
    server.forbidden = {("GET", "pods/log")}
    with pytest.raises(Refused, match="pods/log is forbidden"):
        list(shop.logs("shop", ("web",), False, None))
    assert isinstance(Reader(shop.logs("shop", ("web",), True, None)).next(), Refused)
