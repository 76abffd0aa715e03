"""Requests that the daemon makes for a caller while it answers one of his: same handlers, same checks, same audit log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, NoReturn

from multios.api.protocol import PeerGone, close_all
from multios.api.server import Call, WithDescriptors
from multios.errors import Conflict, MultiosError, Unsupported

REST_SECONDS = 0.1
"""Between two looks whether anybody still wants the answers."""


class OwnCalls:
    """The engine's API with the rights of who made ``outer``; ``alive`` says whether anybody still wants the answers."""

    def __init__(self, outer: Call, alive: Callable[[], bool]) -> None:
        self._outer, self._alive = outer, alive
        self.uid = outer.caller.uid

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of ``method``. Raises ``MultiosError``."""
        return self._answer(method, params, lambda item: None)

    def stream(self, method: str, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """The items of ``method`` as they come, until it ends or nobody reads on."""
        items: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        closed = threading.Event()

        def give(item: Any) -> None:
            if closed.is_set():
                raise PeerGone()
            items.put(("item", item))

        def run() -> None:
            try:
                self._answer(method, params, give, lambda: not closed.is_set())
                items.put(("end", None))
            except MultiosError as error:
                items.put(("error", error))

        threading.Thread(target=run, name="own-stream", daemon=True).start()
        try:
            while True:
                kind, value = items.get()
                if kind == "error":
                    raise value
                if kind == "end":
                    return
                yield value
        finally:
            closed.set()

    def rest(self, seconds: float) -> None:
        """Sleep; raises ``Conflict`` as soon as nobody wants the answers any more."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._alive():
                raise Conflict("nobody waits for this any more", "ask for it once more")
            time.sleep(min(left, REST_SECONDS))

    def _answer(
        self,
        method: str,
        params: dict[str, Any] | None,
        item: Callable[[Any], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        answer = self._outer.answered(
            _OwnCall(self._outer, method, params or {}, item, lambda: wanted() and self._alive())
        )
        if isinstance(answer, WithDescriptors):
            _refuse_descriptors(answer.descriptors, f"{method} answers with descriptors")
        return answer


class _OwnCall(Call):
    """A request without a connection: nobody is told of progress."""

    def __init__(
        self,
        outer: Call,
        method: str,
        params: dict[str, Any],
        item: Callable[[Any], None],
        alive: Callable[[], bool],
    ) -> None:
        super().__init__(outer._connection, outer.caller, method, params, [])
        self._item, self._wanted = item, alive

    def progress(self, what: str, done: int, total: int) -> None:
        """Nobody is told."""

    def item(self, value: Any, descriptors: list[int] | None = None) -> None:
        if descriptors:
            _refuse_descriptors(descriptors, f"{self.method} answers with descriptors")
        self._item(value)

    def alive(self) -> bool:
        return self._wanted()

    def attached(self, facts: dict[str, Any], descriptors: list[int]) -> None:
        _refuse_descriptors(descriptors, f"{self.method} hands over streams")


def _refuse_descriptors(descriptors: list[int], cause: str) -> NoReturn:
    """There is nobody here to take them: they are closed, and ``Unsupported`` is raised."""
    close_all(descriptors)
    raise Unsupported(cause, "call it through the socket")
