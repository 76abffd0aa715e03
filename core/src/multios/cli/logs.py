"""``logs``: the daemon hands over the open files; reading, choosing and following are done here."""

from __future__ import annotations

import select
import time

from multios.cli.grammar import FLAG, INTEGER, TEXT, Argument, Command, Option
from multios.cli.log_lines import Log, Wanted, last_lines, open_log
from multios.cli.moments import nanoseconds, stamp
from multios.cli.streams import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from multios.api.client import Answers
    from multios.cli.context import Context
    from multios.cli.grammar import Values

POLL_SECONDS = 0.05


def _logs(values: Values, context: Context) -> int:
    start, end = (
        nanoseconds(values[name], f"--{name}") if values[name] else 0 for name in ("since", "until")
    )
    wanted = Wanted(stamp(start) if start else "", stamp(end) if end else "", values["timestamps"])
    log = Log(context, values["ref"], open_log(context, values["ref"]))
    _write(last_lines(log.lines(), wanted, values["tail"]), wanted)
    if values["follow"]:
        _follow(context, values["ref"], log, wanted, end)
    return 0


def _follow(context: Context, ref: str, log: Log, wanted: Wanted, end: int) -> None:
    with context.another_client() as waiting:
        exited = waiting.request("containers.wait", {"ref": ref, "condition": "exited"})
        over = False
        while not over:  # asked before reading: what was written until then is read
            over = _wait(exited) or bool(end and time.time_ns() > end)
            _write((line for line in log.lines() if wanted.has(line)), wanted)


def _wait(exited: Answers) -> bool:
    """Whether the container has exited (or the daemon is gone), after at most one polling interval."""
    poll = select.poll()
    poll.register(exited.fileno(), select.POLLIN)
    return bool(poll.poll(int(POLL_SECONDS * 1000)))


def _write(lines: Iterable[bytes], wanted: Wanted) -> None:
    pieces: list[bytes] = []
    size, target = 0, 1
    for line in lines:
        fd, data = wanted.show(line)
        if pieces and (fd != target or size > 65536):
            write_all(target, b"".join(pieces))
            pieces, size = [], 0
        target = fd
        pieces.append(data)
        size += len(data)
    if pieces:
        write_all(target, b"".join(pieces))


COMMANDS = {
    "logs": Command(
        _logs,
        (
            Option("--follow -f", "follow", FLAG, "Go on until the container exits"),
            Option("--tail -n", "tail", INTEGER, "Only the last N lines", "N"),
            Option("--since", "since", TEXT, "Only what came after a time or a duration ago", "TIME"),
            Option("--until", "until", TEXT, "Only what came before a time or a duration ago", "TIME"),
            Option("--timestamps -t", "timestamps", FLAG, "Show when each line was written"),
        ),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "A time is a duration before now (10m), a Unix time, or as 2026-01-31T12:00:00.",
        ("logs my-python", "logs --follow --tail 20 my-python", "logs --since 10m my-python"),
    ),
}
