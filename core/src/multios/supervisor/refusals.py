"""What a container was refused: kept by call, program and errno, each with a count, and written to a file.

Bounded in memory: the least recent of more than :data:`MOST` goes. A file of a former run, or of a supervisor that
died, is read again.
"""

from __future__ import annotations

import json
import os

from multios.supervisor.complaint import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Key = tuple[int, int, int, str, str]

MOST = 200
MOST_TEXT = 160
_MOST_BYTES = 1 << 20
_PAGE = 4096


class Refusals:
    """Of one container; ``path`` is the file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.changed = False
        self._rows: dict[Key, dict[str, Any]] = {}
        self._complained = False
        for row in _read(path):
            key = (int(row["architecture"]), int(row["call"]), int(row["errno"]), str(row["program"]))
            self._rows[*key, str(row["by"])] = row

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: Key) -> dict[str, Any] | None:
        """The row of (architecture, call, errno, program, by); ``by`` is empty for the filter."""
        return self._rows.get(key)

    def count(self, key: Key, now: float, sample: dict[str, Any] | None) -> None:
        """One more; ``sample`` (``pid``, ``arguments``, ``texts``) replaces the former one if there is one."""
        row = self._rows.pop(key, None)
        if row is None:
            architecture, call, errno, program, by = key
            row = {"architecture": architecture, "call": call, "errno": errno, "program": program, "by": by}
            row |= {"count": 0, "first": now, "pid": 0, "arguments": [], "texts": {}}
            while len(self._rows) >= MOST:
                del self._rows[next(iter(self._rows))]
        row["count"] += 1
        row["last"] = now
        row.update(sample or {})
        self._rows[key] = row  # behind all others: the order is that of the last time
        self.changed = True

    def write(self) -> None:
        """Whole or not at all; a full disk is complained about once."""
        if not self.changed:
            return
        self.changed = False
        temporary = f"{self.path}.new"
        mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with open(os.open(temporary, mode, 0o600), "w", encoding="utf-8") as file:
                json.dump(list(self._rows.values()), file)
            os.replace(temporary, self.path)
        except FileNotFoundError:
            return  # the container has been removed
        except OSError as error:
            if not self._complained:
                complain(f"refusals {self.path}", error)
            self._complained = True


def _read(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            rows: list[dict[str, Any]] = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        complain(f"refusals {path}", error)
        return []
    return rows[-MOST:]


def identify(thread: int) -> tuple[str, int]:
    """A thread's program name, and its process's id as its innermost namespace has it; proc_pid_status(5)."""
    name, inside = "?", 0
    with open(f"/proc/{thread}/status", encoding="utf-8", errors="backslashreplace") as file:
        for line in file:
            if line.startswith("Name:"):
                name = line[5:].strip()
            elif line.startswith("NStgid:"):
                inside = int(line.split()[-1])
                break
    return name[:64], inside


def text_at(memory: int, address: int) -> str:
    """The text that an argument points to, cut short; empty where it points to nothing. proc_pid_mem(5)."""
    length = min(MOST_TEXT, _PAGE - address % _PAGE)  # a second page may not be there
    try:
        data = os.pread(memory, length, address)
        if b"\0" not in data and length < MOST_TEXT:
            data += os.pread(memory, MOST_TEXT - length, address + length)
    except (OSError, OverflowError, ValueError):
        return ""
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def holds_still(thread: int, addresses: list[int]) -> bool:
    """Whether all addresses lie in memory that needs no stranger to be read: anonymous, or the root's own files.

    A file system that a container serves itself could keep whoever reads a page of its files waiting for ever.
    """
    device = os.stat(f"/proc/{thread}/root").st_dev
    own = f"{os.major(device):02x}:{os.minor(device):02x}"
    found = 0
    with open(f"/proc/{thread}/maps", "rb") as file:
        for line in file:
            words = line.split(None, 5)
            start, _, end = words[0].partition(b"-")
            low, high = int(start, 16), int(end, 16)
            if any(low <= address < high for address in addresses):
                if words[4] != b"0" and words[3].decode() != own:
                    return False
                found += sum(low <= address < high for address in addresses)
    return found == len(addresses)
