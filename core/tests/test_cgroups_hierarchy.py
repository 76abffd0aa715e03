"""Groups on the real host, and the layout's logic on made-up trees."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.cgroups.hierarchy import Hierarchy


@pytest.fixture
def host() -> Iterator[Hierarchy]:
    hierarchy = Hierarchy.find(f"multios-test-{uuid.uuid4().hex[:8]}")
    yield hierarchy
    for name in hierarchy.names():
        hierarchy.kill(name)
        hierarchy.remove(name)
    hierarchy.dissolve()
    assert not any(os.path.isdir(f"{base}/{hierarchy.parent}") for base in hierarchy.v1.values())


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.needs_root
def test_a_joined_process_is_listed_and_killed(host: Hierarchy, sleeper: subprocess.Popen[bytes]) -> None:
    host.create("one")
    host.join("one", sleeper.pid)
    assert host.processes("one") == [sleeper.pid]
    groups = Path(f"/proc/{sleeper.pid}/cgroup").read_text()
    assert groups.count(f"/{host.parent}/one") == len(host.paths("one"))
    host.kill("one")
    assert sleeper.wait(30) == -9
    host.remove("one")
    assert not host.exists("one")


@pytest.mark.needs_root
def test_removal_is_idempotent_and_takes_nested_groups_along(host: Hierarchy) -> None:
    host.create("one")
    for path in host.paths("one"):
        os.makedirs(path + "/inner/most")
    host.remove("one")
    host.remove("one")
    assert host.names() == []


@pytest.mark.needs_root
def test_a_group_that_exists_is_refused_and_stays(host: Hierarchy) -> None:
    host.create("one")
    with pytest.raises(FileExistsError):
        host.create("one")
    assert all(os.path.isdir(path) for path in host.paths("one"))


@pytest.mark.needs_root
def test_a_failed_create_leaves_no_part(host: Hierarchy) -> None:
    host.create("other")
    os.mkdir(host.paths("one")[-1])
    with pytest.raises(FileExistsError):
        host.create("one")
    assert [os.path.isdir(path) for path in host.paths("one")[:-1]] == [False] * (len(host.paths("one")) - 1)


@pytest.mark.needs_root
def test_containers_may_walk_to_their_groups_whatever_the_makers_umask(host: Hierarchy) -> None:
    before = os.umask(0o077)
    try:
        host.create("one")
    finally:
        os.umask(before)
    for path in host.paths("one"):
        assert os.stat(path).st_mode & 0o777 == 0o755
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o755


@pytest.mark.needs_root
def test_processes_of_nested_groups_are_killed_without_cgroup_kill(host: Hierarchy) -> None:
    if "freezer" not in host.v1:
        pytest.skip("this host has no v1 freezer")
    only_v1 = Hierarchy({"freezer": host.v1["freezer"]}, "", host.parent)
    only_v1.create("old")
    os.mkdir(only_v1.path("freezer", "old") + "/inner")
    process = subprocess.Popen(["sleep", "60"])
    Path(only_v1.path("freezer", "old") + "/inner/cgroup.procs").write_text(str(process.pid))
    only_v1.kill("old")
    assert process.wait(30) == -9
    only_v1.remove("old")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "-x", "cgroup.procs", "a\n", "x" * 129, "é"])
def test_names_that_are_no_single_component_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        Hierarchy({}, "").paths(name)


@pytest.mark.parametrize("parent", ["..", "a/../b", "/", ".x"])
def test_parents_that_lead_out_are_refused(parent: str) -> None:
    with pytest.raises(ValueError):
        Hierarchy({}, "", parent)


def test_the_module_imports_nothing_heavy() -> None:
    code = "import sys; before=set(sys.modules); import multios.cgroups.hierarchy; print(*(set(sys.modules)-before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"dataclasses", "pathlib", "typing", "re", "multios.errors", "json"} & set(out.split())


def make_host(root: Path, mounts: list[tuple[str, str, str, str]], own: str) -> Path:
    """A made-up host: (mount point, mount root, filesystem, super options)."""
    (root / "proc/self").mkdir(parents=True)
    lines = []
    for number, (point, mount_root, kind, options) in enumerate(mounts):
        (root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
        escaped = point.replace(" ", "\\040")
        lines.append(
            f"{30 + number} 20 0:{number} {mount_root} {escaped} rw shared:1 - {kind} {kind} {options}"
        )
    (root / "proc/self/mountinfo").write_text(
        "\n".join(["22 27 0:21 / /proc rw - proc proc rw", *lines]) + "\n"
    )
    (root / "proc/self/cgroup").write_text(own)
    return root


def make_group(path: Path, controllers: str) -> None:
    """The control files that a v2 group shows."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.controllers").write_text(controllers)
    (path / "cgroup.subtree_control").write_text("")
    (path / "cgroup.procs").write_text("")


def test_v2_enables_controllers_from_the_top_to_our_parent(tmp_path: Path) -> None:
    make_host(tmp_path, [("/sys/fs/cgroup", "/", "cgroup2", "rw")], "0::/init.scope\n")
    top = tmp_path / "sys/fs/cgroup"
    make_group(top, "cpuset cpu io memory pids hugetlb")
    make_group(top / "multios", "cpuset cpu io memory pids")
    hierarchy = Hierarchy.find("multios", str(tmp_path))
    assert hierarchy.mode == "v2"
    assert hierarchy.controllers == {"cpuset", "cpu", "io", "memory", "pids"}
    for group in (top, top / "multios"):
        assert (group / "cgroup.subtree_control").read_text().startswith("+")
    assert hierarchy.path("memory", "x") == hierarchy.path("unified", "x") == f"{top}/multios/x"
    assert hierarchy.path("freezer", "x") == ""


def test_v2_uses_only_what_was_delegated(tmp_path: Path) -> None:
    make_host(tmp_path, [("/sys/fs/cgroup", "/", "cgroup2", "rw")], "0::/\n")
    top = tmp_path / "sys/fs/cgroup"
    make_group(top, "memory pids")
    make_group(top / "multios", "memory pids")
    hierarchy = Hierarchy.find("multios", str(tmp_path))
    assert hierarchy.controllers == {"memory", "pids"}
    assert hierarchy.path("cpu", "x") == ""


def test_v2_gives_a_descriptor_to_clone_into_and_v1_does_not(tmp_path: Path) -> None:
    make_host(tmp_path / "two", [("/sys/fs/cgroup", "/", "cgroup2", "rw")], "0::/\n")
    make_group(tmp_path / "two/sys/fs/cgroup", "pids")
    make_group(tmp_path / "two/sys/fs/cgroup/multios", "pids")
    hierarchy = Hierarchy.find("multios", str(tmp_path / "two"))
    hierarchy.create("x")
    descriptor = hierarchy.into("x")
    assert descriptor is not None
    assert os.path.samestat(os.fstat(descriptor), os.stat(hierarchy.path("unified", "x")))
    os.close(descriptor)
    assert Hierarchy({"pids": "/nowhere"}, "").into("x") is None


def test_co_mounted_controllers_share_one_directory(tmp_path: Path) -> None:
    mounts = [
        ("/sys/fs/cgroup/cpu,cpuacct", "/", "cgroup", "rw,cpu,cpuacct"),
        ("/sys/fs/cgroup/pids", "/", "cgroup", "rw,pids"),
        ("/sys/fs/cgroup/systemd", "/", "cgroup", "rw,xattr,name=systemd"),
    ]
    make_host(tmp_path, mounts, "3:cpu,cpuacct:/\n2:pids:/\n1:name=systemd:/\n")
    hierarchy = Hierarchy.find("multios", str(tmp_path))
    assert hierarchy.mode == "v1"
    hierarchy.create("x")
    assert hierarchy.path("cpu", "x") == hierarchy.path("cpuacct", "x")
    assert len(hierarchy.paths("x")) == 2
    hierarchy.remove("x")
    assert hierarchy.names() == []


def test_systemd_own_hierarchy_is_joined_where_systemd_runs(tmp_path: Path) -> None:
    mounts = [("/sys/fs/cgroup/systemd", "/", "cgroup", "rw,xattr,name=systemd")]
    make_host(tmp_path, mounts, "1:name=systemd:/system.slice/x.service\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert Hierarchy.find("multios", str(tmp_path)).paths("x") == [
        f"{tmp_path}/sys/fs/cgroup/systemd/multios/x"
    ]


def test_mount_points_with_blanks_are_read(tmp_path: Path) -> None:
    make_host(tmp_path, [("/odd place", "/", "cgroup", "rw,pids")], "1:pids:/\n")
    assert Hierarchy.find("multios", str(tmp_path)).v1 == {"pids": f"{tmp_path}/odd place"}


def test_a_host_without_cgroups_has_no_controllers(tmp_path: Path) -> None:
    make_host(tmp_path, [], "")
    hierarchy = Hierarchy.find("multios", str(tmp_path))
    assert hierarchy.mode == "none"
    hierarchy.create("x")
    assert hierarchy.processes("x") == []
    hierarchy.remove("x")


def test_a_v1_cpuset_gets_its_parents_processors(tmp_path: Path) -> None:
    make_host(tmp_path, [("/cg/cpuset", "/", "cgroup", "rw,cpuset")], "1:cpuset:/\n")
    base = tmp_path / "cg/cpuset"
    for path, cpus in ((base, "0-3"), (base / "multios", "")):
        path.mkdir(exist_ok=True)
        (path / "cpuset.cpus").write_text(cpus)
        (path / "cpuset.mems").write_text("0" if cpus else "")
        (path / "cgroup.clone_children").write_text("0")
    hierarchy = Hierarchy.find("multios", str(tmp_path))
    with pytest.raises(FileNotFoundError):  # a plain directory grows no control files
        hierarchy.create("x")
    assert (base / "multios/cpuset.cpus").read_text() == "0-3"
    assert (base / "multios/cgroup.clone_children").read_text() == "1"
    assert not (base / "multios/x").exists()
