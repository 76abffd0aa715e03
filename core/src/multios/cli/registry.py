"""``image pull``."""

from __future__ import annotations

import sys

from multios.cli.grammar import Argument, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Values


def _pull(values: Values, context: Context) -> int:
    def pull(ref: str) -> None:
        sys.stdout.write(f"{context.call('images.pull', {'ref': ref})['id']}\n")

    return context.each(values["refs"], pull)


COMMANDS = {
    "image pull": Command(
        _pull, (), (Argument("refs", "IMAGE", 1, 0, completes="images"),), "", ("image pull ubuntu:20.04",)
    ),
}
