"""``--step``: shows each step of a create or start; on a terminal the next one waits for Enter."""

from __future__ import annotations

import os
import sys
import textwrap

from multios.api.protocol import close_all
from multios.cli.tables import harmless
from multios.errors import MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context

_WIDTH = 100


def walk(context: Context, method: str, params: dict[str, Any]) -> Any:
    """The result of ``method``, step by step; ``None`` when the user gave up, and then nothing of it is left."""
    theirs, ours = os.pipe()
    try:
        try:
            answers = context.client.request(method, {**params, "step": True}, [theirs])
        finally:
            os.close(theirs)
        try:
            for kind, value, received in answers:
                close_all(received)
                if kind == "item":
                    _show(value)
                    _go_on(ours, bool(value["waits"]))
            return answers.result
        except KeyboardInterrupt:
            os.close(ours)
            ours = -1
            return _given_up(answers)
    finally:
        if ours >= 0:
            os.close(ours)


def _show(step: dict[str, Any]) -> None:
    sys.stdout.write(f"\nStep {step['number']}: {harmless(step['step'])}\n")
    lines = textwrap.wrap(harmless(step["did"]), _WIDTH - 2)
    lines += [f"  {harmless(line)}" for line in step["see"]]
    sys.stdout.write("".join(f"  {line}\n" for line in lines))
    sys.stdout.flush()


def _go_on(ours: int, waits: bool) -> None:
    """Let the daemon go on, on a terminal when the user has pressed Enter; the end of input is giving up."""
    if not waits:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        sys.stdout.write("  [Enter goes on, Ctrl-C gives up] ")
        sys.stdout.flush()
        if not sys.stdin.readline():
            raise KeyboardInterrupt
    try:
        os.write(ours, b"\n")
    except BrokenPipeError:
        pass  # the daemon has failed, and says why


def _given_up(answers: Any) -> None:
    """Wait until the daemon has undone it all."""
    try:
        for _, _, received in answers:
            close_all(received)
    except MultiosError as error:
        sys.stderr.write(f"\n{error.cause}\n")
