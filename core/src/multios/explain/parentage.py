"""The process itself: its number on either side, its parent the supervisor, and where what it writes goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multios.explain.live import LiveProcess
from multios.explain.part import part

_MOST_WORDS = 64


def process(live: LiveProcess | None, spec: Mapping[str, Any], log: Path) -> dict[str, Any]:
    """Its numbers, its parent, its log; of one that does not run, what the spec says of it."""
    status = live.status() if live else {}
    numbers = status.get("NSpid", "").split()
    command = live.text("cmdline").split("\0")[:-1] if live else list(spec["process"]["args"])
    parent = int(status.get("PPid", "0"))
    pid = str(live.pid) if live else "PID"
    return part(
        "process",
        "Process, parent and log",
        (
            "A container is an ordinary process of the host: it stands in the host's process list, under a number "
            "that it does not know itself.",
            "Its parent is the supervisor, which holds the other ends of its output, writes them to the log and "
            "learns how it ended.",
        ),
        (
            f"cat /proc/{pid}/status   (NSpid: its numbers, the host's first)",
            f"ps -o pid,ppid,args --pid {parent or 'PPID'},{pid}",
            f"ls -l /proc/{pid}/fd",
            f"tail {log}",
        ),
        {
            "command": command[:_MOST_WORDS],
            "pid": live.pid if live else None,
            "pid_inside": int(numbers[-1]) if numbers else None,
            "parent": {"pid": parent, "command": _command_of(parent)} if live else None,
            "hostname": spec.get("hostname", ""),
            "environment": list(spec["process"].get("env") or ()),
            "working_directory": spec["process"].get("cwd", "/"),
            "asked": _asked(spec),
            "log": str(log),
            "limits": list(spec["process"].get("rlimits") or ()),
            "kernel_parameters": dict(spec["linux"].get("sysctl") or {}),
        },
    )


def _asked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the spec starts, and as whom."""
    user = spec["process"]["user"]
    return {
        "command": list(spec["process"]["args"]),
        "uid": user["uid"],
        "gid": user["gid"],
        "groups": list(user.get("additionalGids") or ()),
    }


def _command_of(pid: int) -> str:
    """The words of the supervisor that say what it is; its paths are left out."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    named = [word for word in words if word.startswith("multios.")]
    return f"{Path(words[0]).name} -m {named[0]}" if named else " ".join(words[:4]).strip()
