"""What files' contents are, remembered by what stat(2) says of them, so that an unchanged file is not read again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from pathlib import Path

MOST_FILES = 200_000
LARGEST_FILE = 64 * 1024 * 1024
_VERSION = 1
_SETTLED = 100_000_000  # ns: longer than the tick by which the kernel dates a change
_KEY = re.compile(r"[0-9a-f:]{9,100}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def identity(status: os.stat_result) -> str:
    """What changes when a file's content does: device, inode, size and both times."""
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(format(number & 0xFFFF_FFFF_FFFF_FFFF, "x") for number in numbers)


class StatCache:
    """Content digests by :func:`identity`; safe to use from several threads."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()
        self._changed = False

    def __len__(self) -> int:
        return len(self._digests)

    def get(self, status: os.stat_result) -> str:
        """The hex sha256 of the file's content, or an empty string."""
        return self._digests.get(identity(status), "")

    def put(self, status: os.stat_result, digest: str) -> None:
        """Remember a digest, but not of a file changed so lately that the next change might look the same."""
        latest = max(status.st_mtime_ns, status.st_ctime_ns)
        if time.time_ns() - latest < _SETTLED:
            return
        with self._lock:
            self._digests[identity(status)] = digest
            self._changed = True
            if len(self._digests) > MOST_FILES:
                del self._digests[next(iter(self._digests))]

    def load(self, path: Path) -> None:
        """What :meth:`save` wrote; a file that is missing, broken or of another version is as good as empty."""
        try:
            if path.stat().st_size > LARGEST_FILE:
                return
            document = json.loads(path.read_bytes())
            files = document["files"] if document["version"] == _VERSION else {}
            found = {
                key: digest
                for key, digest in files.items()
                if _KEY.fullmatch(key) and _DIGEST.fullmatch(digest)
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        with self._lock:
            self._digests = {**found, **self._digests}

    def save(self, path: Path) -> None:
        """Write it beside ``path`` and rename it there; nothing to do when nothing is new. Raises ``OSError``."""
        with self._lock:
            if not self._changed:
                return
            text = json.dumps({"version": _VERSION, "files": self._digests}, separators=(",", ":"))
            self._changed = False
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            unfinished.write_text(text)
            unfinished.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
