"""The processes of a container as they see each other: ``top``. Numbers and names are those inside."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multios.drivers.isolation import IsolationDriver
from multios.engine.users import FILE_LIMIT
from multios.errors import InvalidInput, nearest
from multios.model.container import Container
from multios.supervisor import flags
from multios.supervisor.syscalls import Syscalls

DEFAULT = ("user", "pid", "ppid", "pcpu", "etime", "time", "args")
_TICKS = os.sysconf("SC_CLK_TCK")
_BENEATH = flags.RESOLVE_BENEATH | flags.RESOLVE_NO_MAGICLINKS | flags.RESOLVE_NO_SYMLINKS


@dataclass(frozen=True, slots=True)
class _Process:
    """What /proc/PID tells (proc_pid_stat(5), proc_pid_status(5)); ``pids`` are its numbers, the host's first."""

    pids: tuple[int, ...]
    parent: int
    uid: int
    state: str
    elapsed: float
    cpu: float
    name: str
    command: str


def top(isolation: IsolationDriver, container: Container, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """Titles and rows of every process; ``wanted`` are ps(1)'s words, ``InvalidInput`` names one that is not known."""
    words = [word.lower() for word in wanted] or list(DEFAULT)
    for word in words:
        if word not in _COLUMNS:
            guess = nearest(word, list(_COLUMNS))
            raise InvalidInput(
                f"top knows no column {word!r}",
                f"did you mean {guess!r}?" if guess else f"columns: {', '.join(_COLUMNS)}",
            )
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    found = [one for pid in isolation.processes(container.id) if (one := _read(pid, uptime))]
    view = _View(container, found)
    rows = sorted(found, key=lambda one: view.number(one.pids[0]))
    return {
        "titles": [_COLUMNS[word][0] for word in words],
        "processes": [[_COLUMNS[word][1](one, view) for word in words] for one in rows],
    }


class _View:
    """From the host's numbers to the container's."""

    def __init__(self, container: Container, processes: Sequence[_Process]) -> None:
        self._map = container.id_map
        first = next((one for one in processes if one.pids[0] == container.pid), None)
        # The first process has number 1 in the innermost PID namespace that all of the container's share.
        level = len(first.pids) - 1 if first else -1
        self._numbers = {one.pids[0]: one.pids[level if level < len(one.pids) else -1] for one in processes}
        self._names = _user_names(container.pid)

    def number(self, pid: int) -> int:
        """The number inside; 0 for a process that is not inside."""
        return self._numbers.get(pid, 0)

    def user(self, uid: int) -> str:
        """The name inside, else the number; ``nobody`` of the host's outside the container's range is shown as -1."""
        if self._map is not None:
            uid = uid - self._map.start if 0 <= uid - self._map.start < self._map.size else -1
        return self._names.get(uid, "root" if uid == 0 else str(uid))


def _user_names(pid: int) -> dict[int, str]:
    """The accounts of the container's passwd(5); no link in it leads anywhere, and what is no plain file is not read."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = Syscalls().openat2(root, "etc/passwd", how, _BENEATH)
    except OSError:
        return {}
    finally:
        os.close(root)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return {}
        lines = file.read(FILE_LIMIT).decode("utf-8", "replace").splitlines()
    rows = [line.split(":") for line in reversed(lines)]  # of two names for an id the first counts
    return {int(row[2]): _printable(row[0]) for row in rows if len(row) >= 7 and row[2].isdecimal()}


def _read(pid: int, uptime: float) -> _Process | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return None  # it has ended meanwhile
    facts = dict(row.split(":", 1) for row in status.splitlines() if ":" in row)
    name = line[line.index("(") + 1 : line.rindex(")")]
    words = line[line.rindex(")") + 2 :].split()
    return _Process(
        pids=tuple(int(word) for word in facts.get("NSpid", str(pid)).split()),
        parent=int(words[1]),
        uid=int(facts["Uid"].split()[1]),
        state=words[0],
        elapsed=max(0.0, uptime - int(words[19]) / _TICKS),
        cpu=(int(words[11]) + int(words[12])) / _TICKS,
        name=_printable(name),
        command=_printable(command.strip()) or f"[{_printable(name)}]",
    )


def _printable(text: str) -> str:
    """Without what could steer the terminal that it is shown on."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


_COLUMNS: dict[str, tuple[str, Callable[[_Process, _View], str]]] = {
    "user": ("USER", lambda one, view: view.user(one.uid)),
    "pid": ("PID", lambda one, view: str(view.number(one.pids[0]))),
    "ppid": ("PPID", lambda one, view: str(view.number(one.parent))),
    "pcpu": ("%CPU", lambda one, view: f"{100 * one.cpu / max(one.elapsed, 0.01):.1f}"),
    "etime": ("ELAPSED", lambda one, view: _clock(one.elapsed)),
    "time": ("TIME", lambda one, view: _clock(one.cpu)),
    "stat": ("STAT", lambda one, view: one.state),
    "comm": ("COMMAND", lambda one, view: one.name),
    "args": ("COMMAND", lambda one, view: one.command),
    "hpid": ("HPID", lambda one, view: str(one.pids[0])),
}
