"""``--disk-limit``: what a container writes past it fails inside and harms nobody, on any host."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from multios.errors import Unsupported
from multios.filesystems import bounds
from private_engine import IMAGE, PrivateEngine, eventually

MIB = 1 << 20
FULL = ("No space left on device", "Disk quota exceeded")


@pytest.fixture(autouse=True)
def _can_limit(engine: PrivateEngine) -> None:
    try:
        bounds.found(str(engine.data_root))
    except Unsupported as error:
        pytest.skip(f"this host cannot keep disk limits: {error.cause}")


@pytest.fixture
def limited(engine: PrivateEngine, name: str) -> str:
    """A running container with 16 MiB."""
    engine.run("run", "-d", "--name", name, "--disk-limit", "16M", IMAGE, "sleep", "1000")
    return name


def loops_of(engine: PrivateEngine) -> list[str]:
    """The loop devices that have files of this engine."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if file.read_text().startswith(str(engine.data_root)):
                found.append(file.parent.parent.name)
        except OSError:
            continue
    return found


def write(engine: PrivateEngine, name: str, path: str, mebibytes: int) -> subprocess.CompletedProcess[str]:
    return engine.run(
        "exec", name, "dd", "if=/dev/zero", f"of={path}", "bs=64k", f"count={mebibytes * 16}", status=None
    )


def size_of(engine: PrivateEngine, name: str, path: str) -> int:
    return int(engine.out("exec", name, "stat", "-c", "%s", path))


def disk(engine: PrivateEngine, name: str) -> Any:
    return engine.inspect(name)["HostConfig"]["DiskLimit"]


# --- the limit ---


def test_writing_past_the_limit_fails_inside_and_others_still_write(
    engine: PrivateEngine, limited: str
) -> None:
    done = write(engine, limited, "/big", 64)
    assert done.returncode == 1
    assert any(text in done.stderr for text in FULL)
    assert 14 * MIB < size_of(engine, limited, "/big") <= 16 * MIB
    assert (
        engine.out("run", "--rm", "--disk-limit", "16M", IMAGE, "sh", "-c", "echo fine > /x; cat /x")
        == "fine"
    )
    assert engine.out("run", "--rm", IMAGE, "sh", "-c", "echo fine > /x; cat /x") == "fine"


def test_what_a_full_container_takes_on_the_host_is_bounded(engine: PrivateEngine, limited: str) -> None:
    write(engine, limited, "/big", 64)
    engine.run("exec", limited, "sync")
    files = list(engine.data_root.glob("snapshots/overlay/data/*/files.ext4"))
    assert sum(file.stat().st_blocks * 512 for file in files) < 24 * MIB * max(1, len(files))


def test_deleting_gives_the_space_back_inside_and_on_the_host(engine: PrivateEngine, limited: str) -> None:
    write(engine, limited, "/big", 12)
    engine.run("exec", limited, "sync")
    image = _file_of(engine, limited)
    assert image is None or image.stat().st_blocks * 512 > 12 * MIB
    engine.run("exec", limited, "sh", "-c", "rm /big; sync")
    assert write(engine, limited, "/again", 12).returncode == 0
    engine.run("exec", limited, "sh", "-c", "rm /again; sync")
    if image is not None:
        eventually(
            lambda: engine.run("exec", limited, "sync") and image.stat().st_blocks * 512 < 8 * MIB,
            "freed blocks leave the file",
        )


def test_an_inode_bomb_is_held(engine: PrivateEngine, limited: str) -> None:
    loop = "i=0; while : > /bomb-$i; do i=$((i+1)); [ $i -lt 20000 ] || exit 9; done"
    done = engine.run("exec", limited, "sh", "-c", loop, status=None)
    assert done.returncode not in (0, 9)
    assert any(text in done.stderr for text in FULL)
    assert engine.out("run", "--rm", IMAGE, "sh", "-c", "echo fine > /x; cat /x") == "fine"
    assert disk(engine, limited)["UsedInodes"] <= disk(engine, limited)["Inodes"]


def test_a_full_container_can_be_started_copied_from_and_emptied(
    engine: PrivateEngine, limited: str, tmp_path: Path
) -> None:
    for _ in range(3):
        write(engine, limited, "/big", 64)
        engine.run("exec", limited, "sh", "-c", "i=0; while : > /bomb-$i; do i=$((i+1)); done", status=None)
        engine.run("stop", "-t", "0", limited)
        engine.run("cp", f"{limited}:/etc/passwd", str(tmp_path / "passwd"))
        engine.run("start", limited)
    engine.run("exec", limited, "sh", "-c", "rm /big; for f in /bomb-*; do rm $f; done")
    assert write(engine, limited, "/fine", 8).returncode == 0


def test_several_names_of_one_user_and_root_inside_are_all_bounded(
    engine: PrivateEngine, limited: str
) -> None:
    engine.run("exec", limited, "mkdir", "-m", "777", "/free")
    for user in ("0", "1000"):
        done = engine.run(
            "exec", "--user", user, limited, "dd", "if=/dev/zero", f"of=/free/{user}", "bs=64k", "count=1000",
            status=None,
        )  # fmt: skip
        assert any(text in done.stderr for text in FULL)


def test_with_vfs_the_image_counts_too(engine: PrivateEngine, name: str) -> None:
    done = engine.run("create", "--name", name, "--storage", "vfs", "--disk-limit", "1M", IMAGE, status=125)
    assert "1M" in done.stderr and "larger disk limit" in done.stderr
    assert name not in engine.out("ps", "-a")
    engine.run("run", "-d", "--name", name, "--storage", "vfs", "--disk-limit", "16M", IMAGE, "sleep", "1000")
    assert any(text in write(engine, name, "/big", 64).stderr for text in FULL)


# --- update and inspect ---


def test_inspect_tells_the_limit_its_use_and_what_keeps_it(engine: PrivateEngine, limited: str) -> None:
    write(engine, limited, "/big", 4)
    engine.run("exec", limited, "sync")
    shown = disk(engine, limited)
    assert shown["Bytes"] == 16 * MIB
    assert 4 * MIB <= shown["UsedBytes"] < 6 * MIB
    assert shown["EnforcedBy"] in (bounds.PROJECT_QUOTA, bounds.SIZED_FILESYSTEM)
    assert 0 < shown["UsedInodes"] < shown["Inodes"]


def test_a_container_without_a_limit_shows_none(engine: PrivateEngine, running: str) -> None:
    assert disk(engine, running) is None


def test_update_raises_and_lowers_the_limit_of_a_running_container(
    engine: PrivateEngine, limited: str
) -> None:
    write(engine, limited, "/one", 64)
    engine.run("update", limited, "--disk-limit", "32M")
    write(engine, limited, "/two", 64)
    assert size_of(engine, limited, "/one") + size_of(engine, limited, "/two") > 29 * MIB
    engine.run("exec", limited, "sh", "-c", "rm /one /two; sync")
    engine.run("update", limited, "--disk-limit", "8M")
    write(engine, limited, "/three", 64)
    assert 6 * MIB < size_of(engine, limited, "/three") <= 8 * MIB
    assert disk(engine, limited)["Bytes"] == 8 * MIB


def test_a_limit_below_what_is_used_is_refused_and_changes_nothing(
    engine: PrivateEngine, limited: str
) -> None:
    write(engine, limited, "/big", 12)
    done = engine.run("update", limited, "--disk-limit", "8M", "--pids-limit", "77", status=125)
    assert re.search(r"1[23].*M are in use, more than the new limit of 8M", done.stderr)
    record = engine.inspect(limited)["HostConfig"]
    assert record["DiskLimit"]["Bytes"] == record["Resources"]["disk_limit"] == 16 * MIB
    assert record["Resources"]["pids_limit"] != 77


def test_a_much_larger_limit_is_given_while_running_or_after_a_stop(
    engine: PrivateEngine, limited: str
) -> None:
    engine.run("exec", limited, "sh", "-c", "echo kept > /kept")
    if engine.run("update", limited, "--disk-limit", "512M", status=None).returncode:
        engine.run("stop", "-t", "0", limited)
        engine.run("update", limited, "--disk-limit", "512M")
        engine.run("start", limited)
    assert write(engine, limited, "/big", 200).returncode == 0
    assert engine.out("exec", limited, "cat", "/kept") == "kept"
    assert disk(engine, limited)["Bytes"] == 512 * MIB


def test_a_limit_is_not_added_later(engine: PrivateEngine, running: str) -> None:
    done = engine.run("update", running, "--disk-limit", "16M", status=125)
    assert "without a disk limit" in done.stderr and "commit" in done.stderr


@pytest.mark.parametrize("text", ["1", "0", "-1", "lots", "1023K", "9E"])
def test_a_limit_that_is_none_is_refused(engine: PrivateEngine, text: str) -> None:
    assert "disk" in engine.run("create", f"--disk-limit={text}", IMAGE, status=125).stderr


# --- files of a limited container ---


@pytest.mark.parametrize("stopped", [False, True])
def test_diff_commit_export_and_cp_see_its_files(
    engine: PrivateEngine, limited: str, tmp_path: Path, stopped: bool
) -> None:
    engine.run("exec", limited, "sh", "-c", "echo new > /new; rm /etc/group; echo more >> /etc/passwd")
    if stopped:
        engine.run("stop", "-t", "0", limited)
    changes = engine.out("diff", limited).splitlines()
    assert {"A /new", "D /etc/group", "C /etc/passwd"} <= set(changes)
    engine.run("cp", f"{limited}:/new", str(tmp_path / "new"))
    assert (tmp_path / "new").read_text() == "new\n"
    (tmp_path / "given").write_text("given\n")
    engine.run("cp", str(tmp_path / "given"), f"{limited}:/given")
    engine.run("export", limited, "-o", str(tmp_path / "all.tar"))
    with tarfile.open(tmp_path / "all.tar") as archive:
        names = set(archive.getnames())
    assert {"new", "given", "etc/passwd", "bin/busybox"} <= names
    assert "etc/group" not in names and not any("spare" in name or "work" in name for name in names)
    image = f"limited-{stopped}:1".lower()
    engine.run("commit", limited, image)
    assert engine.out("run", "--rm", image, "cat", "/new", "/given") == "new\ngiven"


def test_a_restart_keeps_files_and_limit(engine: PrivateEngine, limited: str) -> None:
    engine.run("exec", limited, "sh", "-c", "echo kept > /kept")
    for _ in range(3):
        engine.run("restart", "-t", "0", limited)
    assert engine.out("exec", limited, "cat", "/kept") == "kept"
    assert any(text in write(engine, limited, "/big", 64).stderr for text in FULL)


def test_all_files_of_its_root_are_on_one_filesystem(engine: PrivateEngine, limited: str) -> None:
    devices = engine.out(
        "exec", limited, "sh", "-c", "echo x > /new; stat -c %d / /new /etc/passwd /bin/busybox"
    )
    assert len(set(devices.split())) == 1


# --- the host ---


def test_a_stopped_or_deleted_container_keeps_no_loop_device_and_no_mount(
    engine: PrivateEngine, name: str
) -> None:
    before = set(loops_of(engine))
    engine.run("run", "-d", "--name", name, "--disk-limit", "16M", IMAGE, "sleep", "1000")
    own = set(loops_of(engine)) - before
    assert str(engine.data_root) not in Path("/proc/self/mountinfo").read_text()
    engine.run("stop", "-t", "0", name)
    eventually(lambda: not own & set(loops_of(engine)), "the stopped container keeps no loop device")
    engine.run("start", name)
    engine.run("delete", "--force", name)
    eventually(lambda: set(loops_of(engine)) <= before, "the deleted container keeps no loop device")


def test_twelve_limited_containers_run_at_once(engine: PrivateEngine) -> None:
    names = [f"twelve-{number}" for number in range(12)]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(
                pool.map(
                    lambda name: engine.run(
                        "run", "-d", "--name", name, "--disk-limit", "8M", IMAGE, "sleep", "1000"
                    ),
                    names,
                )
            )
        for name in names:
            assert any(text in write(engine, name, "/big", 16).stderr for text in FULL)
            assert size_of(engine, name, "/big") <= 8 * MIB
    finally:
        engine.run("delete", "--force", *names, status=None)
    eventually(lambda: not loops_of(engine), "no loop device is left")


def test_a_killed_daemon_leaves_the_container_limited_and_the_host_clean(
    make_engine: Callable[..., PrivateEngine],
) -> None:
    engine = make_engine()
    engine.run("run", "-d", "--name", "one", "--disk-limit", "16M", IMAGE, "sleep", "1000")
    os.kill(engine.daemon_pid, signal.SIGKILL)
    engine.run("ps")
    assert any(text in write(engine, "one", "/big", 64).stderr for text in FULL)
    engine.run("exec", "one", "rm", "/big")
    engine.run("update", "one", "--disk-limit", "32M")
    write(engine, "one", "/big", 64)
    assert 29 * MIB < size_of(engine, "one", "/big") <= 32 * MIB
    engine.run("delete", "--force", "one")
    eventually(lambda: not loops_of(engine), "no loop device is left")
    eventually(
        lambda: not list(engine.data_root.glob("snapshots/overlay/*/*/files.ext4")), "no filesystem is left"
    )


def test_a_default_limit_holds_for_every_container_and_for_builds(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    engine = make_engine()
    engine.config.write_text(engine.config.read_text() + '[default_resources]\ndisk_limit = "8M"\n')
    engine.daemon("stop")
    engine.start()
    engine.run("run", "-d", "--name", "one", IMAGE, "sleep", "1000")
    assert any(text in write(engine, "one", "/big", 64).stderr for text in FULL)
    assert disk(engine, "one")["Bytes"] == 8 * MIB
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo built > /built && rm /etc/group\nRUN cat /built\n"
    )
    engine.run("build", "-t", "built:1", str(tmp_path))
    assert (
        engine.out("run", "--rm", "built:1", "sh", "-c", "cat /built; ls /etc/group 2>&1 | wc -l")
        == "built\n1"
    )
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN dd if=/dev/zero of=/big bs=1M count=50\n")
    assert any(
        text in (done := engine.run("build", str(tmp_path), status=None)).stdout + done.stderr
        for text in FULL
    )


def test_a_host_that_cannot_keep_a_limit_refuses_it(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import multios.filesystems.loop_devices as devices\n"
        "devices.why_none = lambda: '/dev/loop-control: No such device'\n"
    )
    engine = make_engine({"PYTHONPATH": str(site)})
    for words in (
        ("create", "--disk-limit", "16M", IMAGE),
        ("run", "--rm", "--disk-limit", "16M", IMAGE, "true"),
    ):
        done = engine.run(*words, status=125)
        assert "no disk limit can be kept here" in done.stderr and "loop-control" in done.stderr
    assert engine.out("ps", "-aq") == ""
    assert engine.out("run", "--rm", IMAGE, "echo", "fine") == "fine"


@pytest.mark.parametrize("step", ["mkfs.ext4", "attach", "mount", "keep", "record"])
def test_a_step_that_fails_leaves_nothing(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path, step: str
) -> None:
    places = {
        "mkfs.ext4": "sized, '_run'", "attach": "devices, '_attach'", "mount": "kernel, 'fsmount'",
        "keep": "sized, '_keep'", "record": "Store, '_write'",
    }  # fmt: skip
    site, order = tmp_path / "site", tmp_path / "order"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, multios.filesystems.sized as sized, multios.filesystems.loop_devices as devices\n"
        "from multios.supervisor.syscalls import kernel\n"
        "from multios.layers.snapshots import SnapshotStore as Store\n"
        f"holder, name = {places[step]}\n"
        "real = getattr(holder, name)\n"
        "def faulty(*words, **named):\n"
        f"    if os.path.exists({str(order)!r}):\n"
        "        raise OSError(5, 'Input/output error')\n"
        "    return real(*words, **named)\n"
        "setattr(holder, name, faulty)\n"
    )
    engine = make_engine({"PYTHONPATH": str(site)})
    engine.run("run", "--rm", "--disk-limit", "16M", IMAGE, "true")
    engine.run("create", "--name", "made", "--disk-limit", "16M", IMAGE)
    order.touch()
    engine.run("create", "--name", "one", "--disk-limit", "16M", IMAGE, status=125)
    if step in ("attach", "mount", "keep"):
        engine.run("start", "made", status=125)
        engine.run("update", "made", "--disk-limit", "32M", status=125)
        engine.run("cp", "made:/etc/passwd", "-", status=None)
    order.unlink()
    assert engine.out("ps", "-a", "--format", "{{.Names}}") == "made"
    eventually(lambda: not loops_of(engine), "no loop device is left")
    eventually(
        lambda: len(list(engine.data_root.glob("snapshots/overlay/*/*/files.ext4"))) == 1,
        "one filesystem is left",
    )
    engine.run("start", "made")
    assert disk(engine, "made")["Bytes"] == 16 * MIB


# --- other ways to the host's disk and memory ---


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"])
def test_the_engines_files_cannot_be_grown_by_a_limited_container(
    engine: PrivateEngine, limited: str, path: str
) -> None:
    done = engine.run("exec", limited, "sh", "-c", f"cat /dev/zero > {path}", status=None)
    assert done.returncode != 0 and "Read-only" in done.stderr


def test_dev_and_shared_memory_are_bounded(engine: PrivateEngine, limited: str) -> None:
    for place in ("/dev", "/dev/shm"):
        done = engine.run(
            "exec", limited, "dd", "if=/dev/zero", f"of={place}/big", "bs=1M", "count=100", status=None
        )
        assert "No space left" in done.stderr
        assert size_of(engine, limited, f"{place}/big") <= 64 * MIB
        engine.run("exec", limited, "rm", f"{place}/big")


@pytest.mark.parametrize("place", ["/dev/shm", "/scratch"])
def test_files_in_memory_count_to_the_memory_limit(engine: PrivateEngine, name: str, place: str) -> None:
    engine.run(
        "run", "-d", "--name", name, "--memory-limit", "32M", "--memory-swap", "32M", "--tmpfs", "/scratch", IMAGE,
        "sleep", "1000",
    )  # fmt: skip
    done = engine.run("exec", name, "dd", "if=/dev/zero", f"of={place}/big", "bs=1M", "count=60", status=None)
    assert done.returncode != 0
    assert engine.out("run", "--rm", IMAGE, "echo", "fine") == "fine"


def test_message_queues_are_bounded(engine: PrivateEngine, limited: str) -> None:
    loop = "i=0; while : > /dev/mqueue/q-$i; do i=$((i+1)); [ $i -lt 1000 ] || exit 9; done; echo $i"
    done = engine.run("exec", limited, "sh", "-c", loop, status=None)
    assert done.returncode != 9


def test_there_is_no_other_writable_place_on_the_hosts_disk(engine: PrivateEngine, limited: str) -> None:
    """Every mount inside but the root is in memory, read-only, or of the kernel."""
    of_the_kernel = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "tmpfs", "devtmpfs", "overlay"}
    for line in engine.out("exec", limited, "cat", "/proc/self/mounts").splitlines():
        _, target, kind, options = line.split()[:4]
        assert target == "/" or kind in of_the_kernel or "ro" in options.split(","), line
    assert json.loads(json.dumps(disk(engine, limited)))["Bytes"] == 16 * MIB


def _file_of(engine: PrivateEngine, name: str) -> Path | None:
    """The file that holds a limited container's filesystem, if it has one."""
    record = json.loads(
        (engine.data_root / f"snapshots/overlay/index/{engine.inspect(name)['Id']}.json").read_text()
    )
    return (
        None if record["project"] else engine.data_root / f"snapshots/overlay/data/{record['id']}/files.ext4"
    )
