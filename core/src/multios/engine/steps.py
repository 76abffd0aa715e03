"""Steps with inverses: what a failed create or start runs backwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from multios.errors import MultiosError, StepFailed

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Steps:
    """A context in which steps are done; when it is left by an exception, their inverses run in reverse order.

    An inverse that fails is logged and the others still run. An exception of a step that is no
    :class:`MultiosError` leaves as :class:`StepFailed`, which names the step.
    """

    def __init__(self) -> None:
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
            return action()
        except MultiosError:
            raise
        except Exception as error:
            log.exception("step %r failed", name)
            raise StepFailed(
                name, str(error) or type(error).__name__, "the daemon's log has the details"
            ) from error

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
