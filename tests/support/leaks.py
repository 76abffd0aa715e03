"""What an engine holds of the host: taken before and after, it must be the same."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

from private_engine import PrivateEngine

TABLES = ("container", "endpoint", "id_range", "volume")


def holdings(engine: PrivateEngine) -> dict[str, Any]:
    """Everything an engine could leak, by kind; names that are chance are counted, not compared."""
    return {
        "mounts": sorted(_mounts(engine)),
        "rows": _rows(engine.data_root / "state.db"),
        "container directories": _names(engine.data_root / "containers"),
        "snapshots": _count_snapshots(engine.data_root / "snapshots"),
        "exit records": _names(engine.exec_root / "exits"),
        "links on the bridge": len(_names(Path(f"/sys/class/net/{engine.bridge}/brif"))),
        "cgroups": _cgroups(engine),
        "descriptors of the daemon": _kernel_objects(engine.daemon_pid),
        "descriptors of the supervisor": _kernel_objects(engine.supervisor_pid),
        "children of the supervisor": _children(engine.supervisor_pid),
    }


def settled(engine: PrivateEngine, patience: float = 15.0) -> dict[str, Any]:
    """The holdings once they stand still: children kept ready are being replaced for a moment after a start.

    On a busy host that moment is longer, as is the look: they stand still for a multiple of what it takes.
    """
    begun = time.monotonic()
    before = holdings(engine)
    pause = max(0.15, 5 * (time.monotonic() - begun))
    while time.monotonic() < begun + patience:
        time.sleep(pause)
        after = holdings(engine)
        if after == before:
            break
        before = after
    return before


def assert_nothing_leaked(engine: PrivateEngine, before: dict[str, Any], patience: float = 30.0) -> None:
    """Compare with ``before``; what is cleaned up after the answer has ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        after = holdings(engine)
        if after == before or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    differences = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert not differences, f"leaked (before, after): {differences}"


def _mounts(engine: PrivateEngine) -> list[str]:
    places = (str(engine.data_root), str(engine.exec_root))
    targets = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [target for target in targets if target.startswith(places)]


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def _count_snapshots(directory: Path) -> dict[str, int]:
    """Directory entries two levels down: how many per driver and kind of thing."""
    return {
        f"{path.parent.name}/{path.name}": len(_names(path))
        for path in sorted(directory.glob("*/*"))
        if path.is_dir()
    }


def _rows(database: Path) -> dict[str, int]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    finally:
        connection.close()


def _cgroups(engine: PrivateEngine) -> dict[str, int]:
    """Groups a hierarchy. Children that wait ahead have one each, under changing names."""
    top = Path("/sys/fs/cgroup")
    return dict(Counter(path.relative_to(top).parts[0] for path in engine.cgroups()))


def _kernel_objects(pid: int) -> dict[str, int]:
    """Open descriptors by what they are: namespaces, pidfds, detached mounts and sockets leak this way."""
    kinds: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        kind = target.split(":")[0] if ":" in target else target
        if kind != "socket":  # connections of clients come and go
            kinds[kind] += 1
    return dict(kinds)


def _children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
