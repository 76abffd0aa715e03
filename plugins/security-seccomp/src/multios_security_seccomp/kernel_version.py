"""Kernel releases as numbers."""

from __future__ import annotations

import re


def at_least(release: str, minimum: str) -> bool:
    """Whether ``release`` (``6.1.0-18-amd64``) is ``minimum`` (``4.8``) or later."""
    return _numbers(release) >= _numbers(minimum)


def _numbers(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
