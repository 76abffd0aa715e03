"""What an app's pods write, by one stream a pod."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue

from multios.drivers.orchestrator import Place
from multios.errors import MultiosError, NotFound, Unavailable
from multios_orchestrator_kubernetes import faults, places
from multios_orchestrator_kubernetes.cluster import Cluster, Failed

LOOK_SECONDS = 2.0
"""Between two looks for pods that came or ended."""
PATIENCE = 15.0
"""Seconds that the first pods have to come."""
_HELD = 1000
"""Lines that may wait for whoever reads."""
_NOT_YET = (400, 404)
"""Answers about a container that has not begun, and a pod that is gone."""

Line = tuple[Place, bytes]


def past(
    cluster: Cluster, namespace: str, app: str, services: Sequence[str], tail: int | None
) -> Iterator[Line]:
    """The lines that there are, pod after pod."""
    for place, pod in places.of_services(cluster, namespace, app, services):
        if places.phase(pod) != "Pending":
            stream = _Stream(cluster, namespace, place, str(pod["metadata"]["name"]), tail)
            yield from stream.lines(follow=False)


@dataclass
class _Stream:
    """One pod's log. ``last`` is the time of its last line, from which it goes on when it is opened again."""

    cluster: Cluster
    namespace: str
    place: Place
    pod: str
    tail: int | None
    last: str = ""
    is_last: bool = False
    """Whether the pod had ended before it was opened."""
    thread: threading.Thread | None = None

    def lines(self, follow: bool) -> Iterator[Line]:
        """The lines that were not given yet."""
        query = {"container": self.place.service, "timestamps": "true", "follow": str(follow).lower()}
        if self.last:
            query["sinceTime"] = self.last
        elif self.tail is not None:
            query["tailLines"] = str(self.tail)
        before = _moment(self.last)
        try:
            for line in self.cluster.lines(self.namespace, self.pod, query):
                stamp, _, text = line.partition(b" ")
                moment = stamp.decode("ascii", "replace")
                if _moment(moment) > before:
                    self.last = moment
                    yield self.place, text + b"\n"
        except Unavailable:
            if not follow:
                raise  # else it was silent for long, or broke off, and is opened again
        except Failed as failed:
            if failed.fault.status not in _NOT_YET:
                raise faults.error(failed.fault, f"log of {self.pod}", self.cluster.context) from failed


def _moment(stamp: str) -> str:
    """A time as it can be compared with others of its pod: without its zone, before which fractions differ in length."""
    return stamp.partition("Z")[0].partition("+")[0]


class Following:
    """All pods at once, those too that come, until none of the services' runs any more."""

    def __init__(
        self, cluster: Cluster, namespace: str, app: str, services: Sequence[str], tail: int | None
    ) -> None:
        self._cluster, self._namespace, self._app = cluster, namespace, app
        self._services, self._tail = services, tail
        self._queue: Queue[Line | MultiosError] = Queue(_HELD)
        self._streams: dict[str, _Stream] = {}
        self._is_over = threading.Event()

    def lines(self) -> Iterator[Line]:
        """As they come. Raises what one of the streams was refused with."""
        found = self._first()
        try:
            while True:
                self._open(found)
                self._tail = None  # of what comes, all is shown
                yield from self._until(time.monotonic() + LOOK_SECONDS)
                found = [
                    (place, pod)
                    for place, pod in places.of_services(self._cluster, self._namespace, self._app, ())
                    if not self._services or place.service in self._services
                ]
                may_write = any(places.phase(pod) not in ("Succeeded", "Failed") for _, pod in found)
                if not may_write and not self._open(found) and not self._is_streaming():
                    yield from self._until(0.0)
                    return
        finally:
            self._is_over.set()

    def _first(self) -> list[tuple[Place, places.Pod]]:
        """The pods at the beginning; those of an app that was just applied may be about to come."""
        end = time.monotonic() + PATIENCE
        while True:
            is_last = time.monotonic() >= end
            try:
                found = places.of_services(self._cluster, self._namespace, self._app, self._services)
                if found or is_last:
                    return found
            except NotFound:
                if is_last:
                    raise
            time.sleep(LOOK_SECONDS)

    def _open(self, found: Sequence[tuple[Place, places.Pod]]) -> bool:
        """Streams of the pods that have begun and have none; whether there were such."""
        opened = False
        for place, pod in found:
            phase, uid = places.phase(pod), str(pod["metadata"].get("uid", ""))
            name = str(pod["metadata"]["name"])
            stream = self._streams.setdefault(
                uid, _Stream(self._cluster, self._namespace, place, name, self._tail)
            )
            if phase == "Pending" or stream.is_last or (stream.thread and stream.thread.is_alive()):
                continue
            stream.is_last = phase in ("Succeeded", "Failed")
            stream.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
            stream.thread.start()
            opened = True
        return opened

    def _is_streaming(self) -> bool:
        return any(stream.thread and stream.thread.is_alive() for stream in self._streams.values())

    def _until(self, end: float) -> Iterator[Line]:
        """What comes until then, or all that is there."""
        while True:
            try:
                item = self._queue.get(timeout=max(end - time.monotonic(), 0.001))
            except Empty:
                return
            if isinstance(item, MultiosError):
                raise item
            yield item

    def _read(self, stream: _Stream) -> None:
        try:
            for line in stream.lines(follow=True):
                if not self._put(line):
                    return
        except MultiosError as error:
            self._put(error)

    def _put(self, item: Line | MultiosError) -> bool:
        while not self._is_over.is_set():
            try:
                self._queue.put(item, timeout=1.0)
                return True
            except Full:
                continue
        return False
