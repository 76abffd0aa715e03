"""What a driver remembers on disk: blobs of pulls that were cut off, and where blobs came from.

Losing it costs a download or an upload, nothing else; so it is read with indulgence and never flushed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path

KEPT_SECONDS = 24 * 3600.0
"""How long the blobs of a pull that was cut off wait for the next one."""
_MOST_ORIGINS = 4096
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Journal:
    """Kept in files below ``directory``. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._pulls = directory / "pulls"
        self._origins = directory / "origins"
        self._lock = threading.Lock()

    # --- pulls under way --------------------------------------------------------------------------

    def note(self, reference: str, digest: str) -> None:
        """A pull of ``reference`` has stored a blob."""
        with self._lock, contextlib.suppress(OSError):
            self._pulls.mkdir(parents=True, exist_ok=True)
            with self._file_of(reference).open("a") as file:
                file.write(f"{digest}\n")

    def finished(self, reference: str) -> None:
        """A pull is whole: what it stored is the image's now."""
        with self._lock:
            self._file_of(reference).unlink(missing_ok=True)

    def kept_digests(self) -> list[str]:
        """The blobs of pulls that are under way or were cut off not long ago."""
        kept: list[str] = []
        with self._lock:
            for file in list(self._pulls.glob("*")):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                        file.unlink()
                    else:
                        kept += filter(_DIGEST.fullmatch, file.read_text().split())
        return kept

    def _file_of(self, reference: str) -> Path:
        return self._pulls / hashlib.sha256(reference.encode()).hexdigest()

    # --- origins ----------------------------------------------------------------------------------

    def came_from(self, registry: str, repository: str, digests: Iterable[str]) -> None:
        """The registry has these blobs in this repository."""
        with self._lock, contextlib.suppress(OSError):
            lines = self._lines()
            known = set(lines)
            added = [line for digest in digests if (line := f"{digest} {registry} {repository}") not in known]
            temporary = self._origins.with_suffix(".new")
            temporary.write_text("".join(f"{line}\n" for line in [*lines, *added][-_MOST_ORIGINS:]))
            os.rename(temporary, self._origins)

    def repositories(self, registry: str, digest: str) -> list[str]:
        """The repositories of a registry that have had the blob, newest first."""
        with self._lock:
            words = [line.split() for line in reversed(self._lines())]
        return [item[2] for item in words if len(item) == 3 and item[:2] == [digest, registry]]

    def _lines(self) -> list[str]:
        try:
            return self._origins.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return []
