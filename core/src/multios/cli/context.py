"""What every command gets: the connection, the streams and what the user asked for before the command."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multios.api.client import Client

PROGRAM = "multios-container"


class Context:
    """``socket`` is where the daemon listens (``None``: the default); ``debug`` lets tracebacks through."""

    def __init__(self, socket: str | None = None, debug: bool = False) -> None:
        self.socket = socket
        self.debug = debug
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The daemon's client, connected at the first request."""
        if self._client is None:
            self._client = self.another_client()
        return self._client

    def another_client(self, start: bool = True) -> Client:
        """A connection of its own, for a request beside one that is under way."""
        from multios.api.client import Client

        return Client(self.socket, start)

    def call(self, method: str, params: dict[str, Any] | None = None, fds: Sequence[int] = ()) -> Any:
        """The result of ``method``, with its progress shown."""
        progress: list[Any] = []

        def show(report: dict[str, Any]) -> None:
            from multios.cli.progress import Progress  # deferred: most commands report none

            if not progress:
                progress.append(Progress(sys.stderr))
            progress[0].show(report)

        try:
            return self.client.call(method, params, fds, show)
        finally:
            for shown in progress:
                shown.end()

    def each(self, names: Sequence[str], act: Callable[[str], object]) -> int:
        """Do ``act`` for every name, saying what fails; the exit status is the first failure's."""
        from multios.errors import MultiosError, Unavailable

        status = 0
        for name in names:
            try:
                act(name)
            except Unavailable:
                raise
            except MultiosError as error:
                self.report(error)
                status = status or error.exit_status
        return status

    def report(self, error: Exception) -> None:
        """One line of cause and one of what to do, on stderr."""
        cause, remedy = getattr(error, "cause", str(error)), getattr(error, "remedy", "")
        sys.stdout.flush()
        red, plain = ("\x1b[31m", "\x1b[0m") if colour(sys.stderr) else ("", "")
        sys.stderr.write(f"{red}Error:{plain} {_one_line(cause)}\n")
        if remedy:
            sys.stderr.write(f"{_one_line(remedy)}\n")


def colour(stream: Any) -> bool:
    """Whether to colour what is written to ``stream`` (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and bool(stream.isatty())


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
