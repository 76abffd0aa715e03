"""This process's open descriptors, counted: their numbers are taken again by others."""

from __future__ import annotations

import os

from multios.testing.isolation_box import eventually


def number() -> int:
    """How many are open."""
    return len(os.listdir("/proc/self/fd"))


def assert_no_more_than(before: int) -> None:
    """Fewer may be: garbage of earlier tests may be collected meanwhile. What leaks stays above for ever.

    Another thread may close its own only after it has answered.
    """
    eventually(lambda: number() <= before, f"no more than {before} descriptors are open")
