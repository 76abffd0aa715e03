"""A kernel that only writes down what it was asked: for unit tests of code that makes system calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multios.supervisor.syscalls import Syscalls


class RecordingSyscalls(Syscalls):
    """Every call is appended to ``calls`` as ``(name, positional and keyword arguments)`` and answered.

    ``answers`` maps a call's name to its result, or to an exception to raise; the default is 0
    (``(1000, 3)`` for clone3). Descriptors in answers are plain numbers that are not open.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.answers: dict[str, Any] = {
            "clone3": (1000, 3),
            "pidfd_exit_status": None,
        } | dict(answers or {})
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or not callable(getattr(Syscalls, name, None)):
            return super().__getattribute__(name)

        def record(*positional: Any, **keywords: Any) -> Any:
            self.calls.append((name, positional, keywords))
            answer = self.answers.get(name, 0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return record

    @property
    def names(self) -> list[str]:
        """The names of the calls so far, in order."""
        return [name for name, _, _ in self.calls]
