"""What is set in control groups of either version, read from a tree that looks as the kernel's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from multios.explain import control_groups
from multios.explain.live import LiveProcess
from multios.explain.script_outside import limits
from multios.model.container import Resources

ALLOWED = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
)


class Process:
    """One that is in the groups that ``lines`` name."""

    pid = 4711

    def __init__(self, lines: str) -> None:
        self._lines = lines

    def text(self, name: str) -> str:
        return self._lines if name == "cgroup" else ""


def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str, mounted: str) -> dict[str, Any]:
    table = tmp_path / "mountinfo"
    table.write_text(mounted)
    monkeypatch.setattr(control_groups, "_MOUNTS", table)
    return control_groups.cgroups(cast(LiveProcess, Process(lines)), Resources(), ALLOWED)


def make(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True)
    for name, text in {"cgroup__procs": "", **files}.items():
        (directory / name.replace("__", ".")).write_text(text + "\n")
    return directory


def test_version_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    top = tmp_path / "top"
    group = make(
        top / "multios/one", memory__max="67108864", memory__high="max", cpu__max="50000 100000", cpu__weight="100",
        pids__max="77", io__max="254:0 rbps=max wbps=max riops=10 wiops=10", memory__swap__max="0",
        hugetlb__2MB__max="2097152", cpuset__cpus="",
    )  # fmt: skip
    mounted = f"30 25 0:26 / {top} rw - cgroup2 cgroup2 rw,nsdelegate\n"
    part = read(monkeypatch, tmp_path, "0::/multios/one\n", mounted)
    assert part["mode"] == "v2"
    assert {row["what"]: row["value"] for row in part["limits"]} == {
        "memory": "64 MiB",
        "swap": "0 B",
        "processor time": "0.5 of a processor (50000 of every 100000 µs)",
        "processes and threads": "77",
        "reads and writes, by device": "254:0 rbps=max wbps=max riops=10 wiops=10",
        "huge pages of 2MB": "2 MiB",
        "devices that may be used": "c 1:3 rwm",
    }
    assert part["limits"][0]["file"] == f"{group}/memory.max"
    lines = "\n".join(limits({"cgroups": part}))
    assert f"group={top}/by-hand-$$" in lines
    assert (
        'echo 67108864 > "$group/memory.max"' in lines and "echo '50000 100000' > \"$group/cpu.max\"" in lines
    )
    assert "BPF" in lines


def test_version_1_mounted_below_another_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container: what is mounted is not the hierarchy's top, and one hierarchy has two controllers."""
    top = tmp_path / "cpu,cpuacct"
    make(
        top / "multios/one", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000", cpu__shares="512",
        cpuacct__usage="7",
    )  # fmt: skip
    mounted = f"30 25 0:26 /docker/x {top} rw - cgroup cgroup rw,cpu,cpuacct\n"
    part = read(monkeypatch, tmp_path, "3:cpu,cpuacct:/docker/x/multios/one\n", mounted)
    assert part["mode"] == "v1"
    assert [(row["what"], row["value"]) for row in part["limits"]] == [
        ("weight against others, where 1024 is usual", "512")
    ]


def test_one_who_is_in_no_group_of_its_own_has_no_limits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    top = make(tmp_path / "top", memory__max="1000000")
    mounted = f"30 25 0:26 / {top} rw - cgroup2 cgroup2 rw\n"
    part = read(monkeypatch, tmp_path, "0::/\n", mounted)
    assert [row for row in part["limits"] if row["raw"]] == []
