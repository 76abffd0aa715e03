"""``app up`` without ``--detach``: what the services write, until all have ended or the user has enough of them."""

from __future__ import annotations

import contextlib
import sys
from threading import Thread

from multios.cli import app_project
from multios.cli.app_changes import stop_rows
from multios.cli.app_logs import Following, at_times, is_running
from multios.errors import MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from multios.cli.context import Context

UNKNOWN_STATUS = 125
"""Of ``up`` where the engine has not seen how the container ended."""


class Ending:
    """``--abort-on-container-exit``: the first container that ends stops all, and gives its status, or ``status_of``'s does.

    ``tasks`` are services that others wait for until they have completed; they may end with 0.
    """

    def __init__(self, status_of: str, tasks: Collection[str]) -> None:
        self._status_of, self._tasks = status_of, tasks

    def first(self, context: Context, ids: Collection[str]) -> dict[str, Any] | None:
        """The container of these that ended first and was not to; ``None`` while there is none."""
        ended = [
            row
            for row in _ended(context, ids)
            if app_project.service_of(row) not in self._tasks or row["exit_code"]
        ]
        return min(ended, key=_finished, default=None)

    def status(self, context: Context, ids: Collection[str], first: dict[str, Any] | None) -> int:
        """The exit status of ``up`` when all are stopped."""
        if self._status_of:
            ended = [row for row in _ended(context, ids) if app_project.service_of(row) == self._status_of]
            first = min(ended, key=_finished, default=None)
        if first is None:
            return 0
        return UNKNOWN_STATUS if first["exit_code"] is None else int(first["exit_code"])


def _ended(context: Context, ids: Collection[str]) -> list[dict[str, Any]]:
    rows = context.call("containers.list", {"all": True, "filters": {"id": list(ids)}}) if ids else []
    return [row for row in rows if row["status"] == "exited"]


def _finished(row: dict[str, Any]) -> float:
    return float(row["finished"])


def show(
    context: Context,
    app: str,
    services: Sequence[str],
    silent: Sequence[str],
    since: float,
    timeout: int | None,
    ending: Ending | None = None,
) -> int:
    """Show what ``services``, but the ``silent`` ones, write from ``since`` on, until they have ended as ``ending`` says.

    Ctrl-C stops them, and once more kills them.
    """
    rows = [row for row in app_project.rows(context, app) if app_project.service_of(row) in services]
    ids = {row["id"] for row in rows}
    following = Following(context, [row for row in rows if app_project.service_of(row) not in silent], since)
    first: dict[str, Any] | None = None
    failed: list[MultiosError] = []
    told = ""
    try:
        if ending is None:
            following.until_all_ended()
            return 0
        first = _first_ended(context, following, ids, ending)
    except KeyboardInterrupt:
        context.client.close()  # an answer may have been read in part; below too
        told = "\nstopping; once more ctrl-c kills\n"
    _stop(context, rows, timeout, following, told, failed)
    if failed:
        return failed[0].exit_status
    return ending.status(context, ids, first) if ending else 0


def _first_ended(
    context: Context, following: Following, ids: Collection[str], ending: Ending
) -> dict[str, Any] | None:
    """Show what is written until a container has ended that was not to, which is told; ``None`` if all ended well."""
    first: dict[str, Any] | None = None

    def over() -> bool:
        nonlocal first
        first = ending.first(context, ids)
        return first is not None or not is_running(context, ids)

    following.until(at_times(over))
    if first is not None:
        sys.stderr.write(f"{first['name']} has ended; stopping the others\n")
    return first


def _stop(
    context: Context,
    rows: Sequence[dict[str, Any]],
    timeout: int | None,
    following: Following,
    told: str,
    failed: list[MultiosError],
) -> None:
    """Stop these and show their last words; ctrl-c kills them, from when ``told`` is."""
    stopping = Thread(target=stop_rows, args=(context, rows, timeout, failed), daemon=True)
    try:
        stopping.start()
        sys.stderr.write(told)
        following.until(lambda: not stopping.is_alive())
    except KeyboardInterrupt:
        context.client.close()
        _kill(context, rows)
        following.until(lambda: not stopping.is_alive())


def _kill(context: Context, rows: Sequence[dict[str, Any]]) -> None:
    """End at once what is being stopped; who stops it hears of that."""
    with context.another_client() as client:
        for row in rows:
            with contextlib.suppress(MultiosError):  # it has ended, or is gone
                client.call("containers.stop", {"ref": row["id"], "timeout": 0})
