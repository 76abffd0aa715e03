"""``--filter KEY=VALUE`` as the daemon takes it."""

from __future__ import annotations

from multios.cli.grammar import LIST, Option
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILTER = Option(
    "--filter -f",
    "filter",
    LIST,
    "Only those that pass; several values of a key are alternatives",
    "KEY=VALUE",
)


def filters(texts: list[str]) -> dict[str, Any]:
    """A value a key, or a list where a key came more than once."""
    result: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise InvalidInput(f"--filter: {text!r} is not KEY=VALUE", "write it as --filter status=running")
        before = result.get(key)
        if before is None:
            result[key] = value
        else:
            result[key] = [*before, value] if isinstance(before, list) else [before, value]
    return result
