"""The files of a log that is rotated by renaming, opened for whoever reads them while that goes on."""

from __future__ import annotations

import os
from pathlib import Path


def open_log(path: Path, max_files: int) -> list[int]:
    """Descriptors of ``path`` and of the rotated ``path.1`` … before it: oldest first, each file once.

    A rotation only gives files higher numbers, so whoever goes up the numbers passes by none. One that moves
    along is met again, and stands where it was met last; one that was removed meanwhile is left out. Nothing
    was written yet: there is none.
    """
    met: dict[tuple[int, int], int] = {}
    for number in range(max_files):
        try:
            descriptor = os.open(f"{path}.{number}" if number else path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # not that many yet, or just between two renames
            continue
        status = os.fstat(descriptor)
        before = met.pop(identity := (status.st_dev, status.st_ino), None)
        if before is not None:
            os.close(before)
        met[identity] = descriptor
    kept = []
    for descriptor in reversed(met.values()):
        if os.fstat(descriptor).st_nlink:
            kept.append(descriptor)
        else:
            os.close(descriptor)
    return kept
