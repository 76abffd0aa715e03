"""What every part of the document has: a title, two sentences, and where to see it oneself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def part(
    name: str, title: str, about: tuple[str, str], see: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """One part. ``about`` are two sentences for somebody who has never seen it; ``see`` are files and commands."""
    return {"part": name, "title": title, "about": list(about), "see": list(see), **facts}
