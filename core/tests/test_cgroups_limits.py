"""Limits, device rules, usage and freezing, on the real host; v2's files on made-up groups."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.cgroups import Cgroups, devices, disk_limits, limits, usage
from multios.cgroups.hierarchy import Hierarchy, read
from multios.errors import InvalidInput, MultiosError, NotFound, Unsupported
from multios.model.container import Counters, Resources

MIB = 1 << 20


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    cgroups = Cgroups(str(tmp_path), f"multios-test-{uuid.uuid4().hex[:8]}")
    cgroups.create("one")
    yield cgroups
    for name in cgroups.names():
        cgroups.kill(name)
        cgroups.remove(name)
    cgroups.hierarchy.dissolve()


def value(cgroups: Cgroups, controller: str, file: str) -> str:
    return read(f"{cgroups.hierarchy.path(controller, 'one')}/{file}").strip()


def run_inside(cgroups: Cgroups, code: str) -> subprocess.CompletedProcess[str]:
    enter = "".join(
        f"open({path + '/cgroup.procs'!r},'w').write('0')\n" for path in cgroups.hierarchy.paths("one")
    )
    return subprocess.run(
        [sys.executable, "-S", "-c", enter + code], capture_output=True, text=True, timeout=120
    )


def needs_v1(cgroups: Cgroups, *controllers: str) -> None:
    if missing := set(controllers) - set(cgroups.hierarchy.v1):
        pytest.skip(f"this host has no cgroup v1 controllers {missing}")


@pytest.mark.needs_root
def test_limits_reach_the_kernel(cgroups: Cgroups) -> None:
    needs_v1(cgroups, "cpu", "memory", "pids", "cpuset")
    cgroups.limit("one", Resources(1.5, 512, "0", 64 * MIB, 96 * MIB, 20))
    assert value(cgroups, "cpu", "cpu.cfs_quota_us") == "150000"
    assert value(cgroups, "cpu", "cpu.shares") == "512"
    assert value(cgroups, "cpuset", "cpuset.cpus") == "0"
    assert value(cgroups, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert value(cgroups, "pids", "pids.max") == "20"
    if os.path.exists(cgroups.hierarchy.path("memory", "one") + "/memory.memsw.limit_in_bytes"):
        assert value(cgroups, "memory", "memory.memsw.limit_in_bytes") == str(96 * MIB)


@pytest.mark.needs_root
def test_memory_and_swap_move_up_and_down_together(cgroups: Cgroups) -> None:
    needs_v1(cgroups, "memory")
    for limit in (64, 256, 32, 512):
        cgroups.limit("one", Resources(memory_limit=limit * MIB))
        assert value(cgroups, "memory", "memory.limit_in_bytes") == str(limit * MIB)
        assert value(cgroups, "memory", "memory.memsw.limit_in_bytes") == str(2 * limit * MIB)
    cgroups.limit("one", Resources(memory_swap=-1))
    cgroups.limit("one", Resources(memory_limit=64 * MIB))
    assert int(value(cgroups, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60
    cgroups.limit("one", Resources(memory_limit=64 * MIB, memory_swap=80 * MIB))
    cgroups.limit("one", Resources(memory_limit=72 * MIB))
    assert value(cgroups, "memory", "memory.memsw.limit_in_bytes") == str(80 * MIB)
    with pytest.raises(InvalidInput, match="memory_swap"):
        cgroups.limit("one", Resources(memory_limit=100 * MIB))
    with pytest.raises(InvalidInput, match="memory_swap"):
        cgroups.limit("one", Resources(memory_limit=100 * MIB, memory_swap=10 * MIB))


@pytest.mark.needs_root
def test_fields_that_are_none_stay(cgroups: Cgroups) -> None:
    needs_v1(cgroups, "pids", "cpu")
    cgroups.limit("one", Resources(pids_limit=7))
    cgroups.limit("one", Resources(cpu_limit=1))
    assert value(cgroups, "pids", "pids.max") == "7"
    cgroups.limit("one", Resources(pids_limit=-1))
    assert value(cgroups, "pids", "pids.max") == "max"


@pytest.mark.needs_root
def test_io_is_limited_on_the_disk_of_the_data_root(cgroups: Cgroups) -> None:
    needs_v1(cgroups, "blkio")
    try:
        device = limits.block_device(cgroups.data_root)
    except Unsupported:
        pytest.skip("this host has its temporary directory on no disk")
    cgroups.limit("one", Resources(io_limit=100))
    assert value(cgroups, "blkio", "blkio.throttle.read_iops_device") == f"{device} 100"
    assert value(cgroups, "blkio", "blkio.throttle.write_iops_device") == f"{device} 100"


def test_io_without_a_disk_is_refused() -> None:
    with pytest.raises(Unsupported, match="io_limit"):
        limits.block_device("/proc")


@pytest.mark.needs_root
def test_processors_that_do_not_exist_are_refused(cgroups: Cgroups) -> None:
    needs_v1(cgroups, "cpuset")
    with pytest.raises(InvalidInput, match="cpuset"):
        cgroups.limit("one", Resources(cpuset="4000"))


@pytest.mark.needs_root
def test_limits_of_an_absent_group_are_not_found(cgroups: Cgroups) -> None:
    with pytest.raises(NotFound):
        cgroups.limit("other", Resources(pids_limit=1))


@pytest.mark.parametrize(
    ("resources", "controller"),
    [
        (Resources(cpu_limit=1), "cpu"),
        (Resources(cpu_shares=10), "cpu"),
        (Resources(cpuset="0"), "cpuset"),
        (Resources(memory_limit=MIB), "memory"),
        (Resources(memory_swap=MIB), "memory"),
        (Resources(pids_limit=3), "pids"),
        (Resources(io_limit=3), "io"),
    ],
)
def test_a_limit_without_its_controller_is_refused_by_name(resources: Resources, controller: str) -> None:
    with pytest.raises(Unsupported, match=f"'{controller}'") as caught:
        limits.apply(Hierarchy({}, ""), "x", resources, "/")
    assert any(field in caught.value.cause for field in resources.__dataclass_fields__)


@pytest.mark.needs_root
def test_more_memory_than_allowed_is_an_oom_kill(cgroups: Cgroups) -> None:
    cgroups.limit("one", Resources(memory_limit=32 * MIB, memory_swap=32 * MIB))
    assert not (cgroups.counters("one").oom_kills or 0)
    assert run_inside(cgroups, "x=bytearray(200<<20)").returncode == -9
    assert cgroups.counters("one").oom_kills or 0


@pytest.mark.needs_root
def test_one_reading_counts_what_ran(cgroups: Cgroups) -> None:
    cgroups.limit("one", Resources(memory_limit=64 * MIB, pids_limit=9))
    assert run_inside(cgroups, "sum(range(300000))").returncode == 0
    stats = cgroups.stats("one")
    assert (stats.cpu_nanoseconds or 0) > 1_000_000
    assert stats.memory_limit == 64 * MIB
    assert (stats.pids, stats.pids_limit) == (0, 9)
    assert stats.memory_bytes is not None and stats.read_bytes is not None


@pytest.mark.needs_root
def test_a_reading_without_limits_has_none(cgroups: Cgroups) -> None:
    stats = cgroups.stats("one")
    assert stats.memory_limit is None and stats.pids_limit is None


RULES = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"},
]
TRIES = """
import os
def attempt(path, mode):
    try: os.close(os.open(path, mode)); return "y"
    except PermissionError: return "n"
print(attempt("/dev/null", os.O_RDWR), attempt("/dev/zero", os.O_RDONLY), attempt("/dev/zero", os.O_RDWR),
      attempt("/dev/full", os.O_RDONLY))
"""


@pytest.mark.needs_root
def test_device_rules_allow_just_what_they_say(cgroups: Cgroups) -> None:
    cgroups.allow_devices("one", RULES)
    assert run_inside(cgroups, TRIES).stdout.split() == ["y", "y", "n", "n"]


@pytest.mark.needs_root
def test_device_rules_as_a_program_say_the_same(cgroups: Cgroups) -> None:
    if not cgroups.hierarchy.unified:
        pytest.skip("this host mounts no cgroup2")
    only_v2 = Hierarchy({}, cgroups.hierarchy.unified, cgroups.hierarchy.parent)
    devices.apply(only_v2, "one", RULES)
    assert run_inside(cgroups, TRIES).stdout.split() == ["y", "y", "n", "n"]


@pytest.mark.parametrize("rule", [{"type": "x"}, {"access": "z"}, {"major": "1"}, {"major": -3}])
def test_wrong_device_rules_are_named(rule: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="device rule"):
        devices.apply(Hierarchy({}, ""), "x", [rule])


@pytest.mark.needs_root
def test_frozen_processes_stand_still_until_thawed(cgroups: Cgroups) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        cgroups.hierarchy.join("one", process.pid)
        cgroups.freeze("one")
        assert cgroups.frozen("one")
        cgroups.thaw("one")
        assert not cgroups.frozen("one")
        cgroups.freeze("one")
        cgroups.kill("one")
        assert process.wait(30) == -9
    finally:
        process.kill()
        process.wait()


def test_freezing_an_absent_group_is_not_found() -> None:
    with pytest.raises(NotFound):
        Cgroups("/", "multios-test-absent").freeze("one")


@given(st.integers(2, 262144), st.integers(2, 262144))
def test_weights_are_in_bounds_and_keep_the_order_of_shares(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= limits.weight_of(low) <= limits.weight_of(high) <= 10000


def test_the_normal_share_is_the_normal_weight() -> None:
    assert [limits.weight_of(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]


V2_FILES = {
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.current": "0",
    "memory.stat": "file 0\n",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "cpuset.cpus": "",
    "pids.max": "max",
    "io.max": "",
    "cgroup.freeze": "0",
    "cgroup.events": "populated 0\nfrozen 0\n",
}


@pytest.fixture
def second(tmp_path: Path) -> Hierarchy:
    """A made-up v2 group ``multios/one``."""
    group = tmp_path / "multios/one"
    group.mkdir(parents=True)
    for path in (tmp_path, tmp_path / "multios"):
        (path / "cgroup.controllers").write_text("cpuset cpu io memory pids")
        (path / "cgroup.subtree_control").write_text("cpuset cpu io memory pids")
    for name, text in V2_FILES.items():
        (group / name).write_text(text)
    (tmp_path / "multios/cpuset.cpus.effective").write_text("0-7\n")
    return Hierarchy({}, str(tmp_path), "multios")


def test_v2_limits_use_v2_words(second: Hierarchy, tmp_path: Path) -> None:
    limits.apply(second, "one", Resources(0.5, 1024, "0-1", 64 * MIB, 96 * MIB, 20), "/")
    group = tmp_path / "multios/one"
    found = {name: (group / name).read_text() for name in V2_FILES}
    assert found["cpu.max"] == "50000 100000"
    assert found["cpu.weight"] == "100"
    assert found["cpuset.cpus"] == "0-1"
    assert found["memory.max"] == str(64 * MIB)
    assert found["memory.swap.max"] == str(32 * MIB)
    assert found["pids.max"] == "20"


def test_v2_swap_follows_memory_unless_it_was_asked_for(second: Hierarchy, tmp_path: Path) -> None:
    group = tmp_path / "multios/one"
    for limit in (64, 128):
        limits.apply(second, "one", Resources(memory_limit=limit * MIB), "/")
        assert (group / "memory.swap.max").read_text() == str(limit * MIB)
    limits.apply(second, "one", Resources(memory_swap=-1), "/")
    limits.apply(second, "one", Resources(memory_limit=64 * MIB), "/")
    assert (group / "memory.swap.max").read_text() == "max"


def test_v2_memory_below_use_is_refused_instead_of_killing(second: Hierarchy, tmp_path: Path) -> None:
    (tmp_path / "multios/one/memory.current").write_text(str(100 * MIB))
    with pytest.raises(MultiosError, match="memory_limit"):
        limits.apply(second, "one", Resources(memory_limit=64 * MIB), "/")


def test_v2_without_swap_accounting_refuses_only_what_was_asked(second: Hierarchy, tmp_path: Path) -> None:
    (tmp_path / "multios/one/memory.swap.max").unlink()
    limits.apply(second, "one", Resources(memory_limit=64 * MIB), "/")
    with pytest.raises(Unsupported, match="memory_swap"):
        limits.apply(second, "one", Resources(memory_swap=64 * MIB), "/")


# --- huge pages, disks, taking away, putting back: on made-up trees of both versions ---


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    """A made-up v1 group ``multios/one``, all controllers in one directory."""
    group = tmp_path / "multios/one"
    group.mkdir(parents=True)
    (tmp_path / "multios/cpuset.cpus").write_text("0-7")
    for name, text in V1_FILES.items():
        (group / name).write_text(text)
    monkeypatch.setattr(disk_limits, "block_device", lambda *places: "8:0")
    controllers = ("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb")
    return Hierarchy(dict.fromkeys(controllers, str(tmp_path)), "", "multios")


UNLIMITED = str((1 << 63) - 4096)
V1_FILES = {
    "memory.limit_in_bytes": UNLIMITED,
    "memory.memsw.limit_in_bytes": UNLIMITED,
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": "100000",
    "cpu.shares": "1024",
    "cpuset.cpus": "0-7",
    "pids.max": "max",
    "hugetlb.2MB.limit_in_bytes": UNLIMITED,
    "hugetlb.2MB.rsvd.limit_in_bytes": UNLIMITED,
    **{f"blkio.throttle.{way}_{kind}_device": "" for way in ("read", "write") for kind in ("iops", "bps")},
}
ALL = Resources(0.5, 512, "0-1", 64 * MIB, 96 * MIB, 20, None, 100, 5 * MIB, {"2MB": 8 * MIB})
NONE = Resources(-1, -1, "", -1, -1, -1, None, -1, -1, {"2MB": -1})


def files_of(hierarchy: Hierarchy, tmp_path: Path) -> dict[str, str]:
    return {file.name: file.read_text().strip() for file in sorted((tmp_path / "multios/one").iterdir())}


def test_v1_limits_use_v1_words(first: Hierarchy, tmp_path: Path) -> None:
    limits.apply(first, "one", ALL, "/")
    found = files_of(first, tmp_path)
    assert found["hugetlb.2MB.limit_in_bytes"] == found["hugetlb.2MB.rsvd.limit_in_bytes"] == str(8 * MIB)
    assert found["blkio.throttle.write_bps_device"] == f"8:0 {5 * MIB}"
    assert found["blkio.throttle.read_iops_device"] == "8:0 100"
    assert found["memory.memsw.limit_in_bytes"] == str(96 * MIB)


def test_v1_limits_are_taken_away_in_v1_words(first: Hierarchy, tmp_path: Path) -> None:
    limits.apply(first, "one", ALL, "/")
    limits.apply(first, "one", NONE, "/")
    assert files_of(first, tmp_path) == {
        "memory.limit_in_bytes": "-1",
        "memory.memsw.limit_in_bytes": "-1",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.shares": "1024",
        "cpuset.cpus": "0-7",
        "pids.max": "max",
        "hugetlb.2MB.limit_in_bytes": "-1",
        "hugetlb.2MB.rsvd.limit_in_bytes": "-1",
        **{f"blkio.throttle.{way}_{kind}_device": "8:0 0" for way in ("read", "write") for kind in ("iops", "bps")},
    }  # fmt: skip


@pytest.fixture
def second_with_all(second: Hierarchy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    for path in (tmp_path, tmp_path / "multios"):
        for name in ("cgroup.controllers", "cgroup.subtree_control"):
            (path / name).write_text("cpuset cpu io memory pids hugetlb")
    for name in ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"):
        (tmp_path / "multios/one" / name).write_text("max")
    monkeypatch.setattr(disk_limits, "block_device", lambda *places: "8:0")
    return second


def test_v2_huge_pages_and_disks_use_v2_words(second_with_all: Hierarchy, tmp_path: Path) -> None:
    limits.apply(second_with_all, "one", Resources(io_limit=100, hugepages={"2MB": 8 * MIB}), "/")
    found = files_of(second_with_all, tmp_path)
    assert found["hugetlb.2MB.max"] == found["hugetlb.2MB.rsvd.max"] == str(8 * MIB)
    assert found["io.max"] == "8:0 riops=100 wiops=100"
    limits.apply(second_with_all, "one", Resources(io_bytes_limit=5 * MIB), "/")
    assert files_of(second_with_all, tmp_path)["io.max"] == f"8:0 rbps={5 * MIB} wbps={5 * MIB}"


def test_v2_limits_are_taken_away_in_v2_words(second_with_all: Hierarchy, tmp_path: Path) -> None:
    limits.apply(second_with_all, "one", ALL, "/")
    limits.apply(second_with_all, "one", NONE, "/")
    found = files_of(second_with_all, tmp_path)
    assert found["io.max"] == "8:0 rbps=max wbps=max"
    assert found["cpu.max"] == "max 100000" and found["cpu.weight"] == "100"
    assert {found[name] for name in found if name.endswith(".max") and name[:2] not in ("io", "cp")} == {
        "max"
    }
    assert found["cpuset.cpus"] == "0-7"


@pytest.mark.parametrize("version", ["first", "second_with_all"])
def test_limits_set_before_the_one_that_fails_are_put_back(
    version: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    hierarchy = request.getfixturevalue(version)
    limits.apply(hierarchy, "one", ALL, "/")
    if version == "second_with_all":
        lines = f"8:0 rbps={5 * MIB} wbps={5 * MIB} riops=100 wiops=100"  # the kernel answers with all four
        (tmp_path / "multios/one/io.max").write_text(lines)
    before = files_of(hierarchy, tmp_path)
    change = Resources(1, 99, "3", 80 * MIB, 99 * MIB, 7, None, 9, MIB, {"2MB": 4 * MIB, "4MB": 4 * MIB})
    with pytest.raises(Unsupported, match="4MB") as caught:
        limits.apply(hierarchy, "one", change, "/")
    assert "2MB" in (caught.value.remedy or "")
    assert files_of(hierarchy, tmp_path) == before


def test_what_nobody_limits_can_be_taken_away_without_its_controller() -> None:
    limits.apply(Hierarchy({}, ""), "x", NONE, "/")


@pytest.mark.parametrize(
    ("resources", "controller"),
    [(Resources(io_bytes_limit=MIB), "io"), (Resources(hugepages={"2MB": MIB}), "hugetlb")],
)
def test_bytes_and_huge_pages_without_their_controller_are_refused(
    resources: Resources, controller: str
) -> None:
    with pytest.raises(Unsupported, match=f"'{controller}'"):
        limits.apply(Hierarchy({}, ""), "x", resources, "/")


@pytest.mark.parametrize("version", ["first", "second_with_all"])
def test_swap_is_not_limited_where_memory_is_not(version: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(InvalidInput, match="memory_limit is not"):
        limits.apply(request.getfixturevalue(version), "one", Resources(memory_swap=64 * MIB), "/")


def test_v1_counters_are_read(first: Hierarchy, tmp_path: Path) -> None:
    group = tmp_path / "multios/one"
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (group / "memory.failcnt").write_text("17\n")
    (group / "cpu.stat").write_text("nr_periods 9\nnr_throttled 4\nthrottled_time 5000\n")
    (group / "pids.events").write_text("max 2\n")
    assert usage.counters(first, "one") == Counters(None, 3, 17, 4, 5000, 2)


def test_v2_counters_are_read(second_with_all: Hierarchy, tmp_path: Path) -> None:
    group = tmp_path / "multios/one"
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 17\noom 3\noom_kill 3\n")
    (group / "cpu.stat").write_text("usage_usec 7\nnr_periods 9\nnr_throttled 4\nthrottled_usec 5\n")
    (group / "pids.events").write_text("max 2\n")
    assert usage.counters(second_with_all, "one") == Counters(7000, 3, 17, 4, 5000, 2)


def test_counters_of_an_absent_group_are_unknown(first: Hierarchy) -> None:
    assert usage.counters(first, "other") == Counters()


@pytest.mark.needs_root
def test_the_kernel_counts_throttling_and_refused_processes(cgroups: Cgroups) -> None:
    if not {"cpu", "pids"} <= cgroups.controllers:
        pytest.skip("this host gives no cgroup controllers cpu and pids")
    cgroups.limit("one", Resources(cpu_limit=0.02, pids_limit=3))
    forks = (  # each lives as long as the first, however long that takes to fork with so little of a processor
        "import os\nreading, writing = os.pipe()\nfor _ in range(5):\n try:\n"
        "  if not os.fork(): os.close(writing); os.read(reading, 1); os._exit(0)\n"
        " except BlockingIOError: pass\n"
    )
    # Of processor time: on a busy machine half a second may give no more of it than the limit.
    spin = "import time\nwhile time.process_time() < 0.05: pass\n"
    assert run_inside(cgroups, spin).returncode == 0
    forked = run_inside(cgroups, forks)
    assert forked.returncode == 0, forked.stderr
    counted = cgroups.counters("one")
    assert (counted.throttled_periods or 0) >= 2 and (counted.throttled_nanoseconds or 0) > 100_000_000
    assert (counted.pids_refused or 0) >= 3
