"""``app up`` without ``--detach``: what the services write, until all have ended or the user has enough of them."""

from __future__ import annotations

import contextlib
import sys
from threading import Thread

from multios.cli import app_project
from multios.cli.app_changes import stop_rows
from multios.cli.app_logs import Following
from multios.errors import MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from multios.cli.context import Context


def show(
    context: Context,
    app: str,
    services: Sequence[str],
    silent: Sequence[str],
    since: float,
    timeout: int | None,
) -> int:
    """Show what ``services``, but the ``silent`` ones, write from ``since`` on, until they have ended.

    Ctrl-C stops them, and once more kills them.
    """
    rows = [row for row in app_project.rows(context, app) if app_project.service_of(row) in services]
    following = Following(context, [row for row in rows if app_project.service_of(row) not in silent], since)
    try:
        following.until_all_ended()
        return 0
    except KeyboardInterrupt:
        context.client.close()  # an answer may have been read in part; below too
    sys.stderr.write("\nstopping; once more ctrl-c kills\n")
    failed: list[MultiosError] = []
    stopping = Thread(target=stop_rows, args=(context, rows, timeout, failed), daemon=True)
    stopping.start()
    try:
        following.until(lambda: not stopping.is_alive())
    except KeyboardInterrupt:
        context.client.close()
        _kill(context, rows)
        following.until(lambda: not stopping.is_alive())
    return failed[0].exit_status if failed else 0


def _kill(context: Context, rows: Sequence[dict[str, Any]]) -> None:
    """End at once what is being stopped; who stops it hears of that."""
    with context.another_client() as client:
        for row in rows:
            with contextlib.suppress(MultiosError):  # it has ended, or is gone
                client.call("containers.stop", {"ref": row["id"], "timeout": 0})
