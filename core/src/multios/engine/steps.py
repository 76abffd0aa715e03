"""Steps with inverses: what a failed create or start runs backwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

from multios.errors import MultiosError, StepFailed

Result = TypeVar("Result")
Watcher = Callable[[str, object], None]
"""Is told of each step that was done, by name and result. What it raises undoes them all."""
log = logging.getLogger(__name__)
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """While the block runs, ``watcher`` is told of the steps that the calling thread does in a ``shown`` :class:`Steps`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Steps:
    """A context in which steps are done; when it is left by an exception, their inverses run in reverse order.

    An inverse that fails is logged and the others still run. An exception of a step that is no
    :class:`MultiosError` leaves as :class:`StepFailed`, which names the step. Those that are ``shown`` may be watched,
    and the watcher may take its time: no lock but the container's own may be held around them.
    """

    def __init__(self, shown: bool = False) -> None:
        self._watcher = _watcher.get() if shown else None
        self._inverses: list[tuple[str, Callable[[], object]]] = []

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.undo()

    def do(
        self, name: str, action: Callable[[], Result], inverse: Callable[[], object] | None = None
    ) -> Result:
        """Do a step and remember its inverse, which must bear that the step was done only in part."""
        if inverse is not None:
            self._inverses.append((name, inverse))
        try:
            result = action()
        except MultiosError:
            raise
        except Exception as error:
            log.exception("step %r failed", name)
            raise StepFailed(
                name, str(error) or type(error).__name__, "the daemon's log has the details"
            ) from error
        if self._watcher is not None:
            self._watcher(name, result)
        return result

    def later(self, name: str, inverse: Callable[[], object]) -> None:
        """Remember the inverse of a step that is done already."""
        self._inverses.append((name, inverse))

    def undo(self) -> None:
        """Run the inverses of what was done, last first."""
        while self._inverses:
            name, inverse = self._inverses.pop()
            try:
                inverse()
            except Exception:
                log.exception("undoing step %r failed", name)
