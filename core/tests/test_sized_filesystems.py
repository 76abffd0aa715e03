"""Filesystems of a limited size in files, and the loop devices below them."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_descriptors
import pytest

from multios.errors import Conflict, StepFailed, Unsupported
from multios.filesystems import loop_devices, sized
from multios.model.mount import Backing, Mount
from multios.supervisor import mounts
from multios.supervisor.syscalls import kernel

LIMIT = 8 << 20
pytestmark = pytest.mark.needs_root


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """A file with a filesystem that holds ``fs`` and ``work``."""
    reason = sized.why_none()
    if reason:
        pytest.skip(f"this host cannot have sized filesystems: {reason}")
    path = str(tmp_path / "files.ext4")
    sized.make(path, LIMIT)
    with sized.mounted(path, LIMIT) as root:
        os.mkdir("fs", dir_fd=root)
        os.mkdir("work", dir_fd=root)
        sized.make_spare(root)
    wait_until_free(path)
    yield path
    wait_until_free(path)


def wait_until_free(path: str) -> None:
    deadline = time.monotonic() + 10
    while loop_devices.is_attached(path):
        assert time.monotonic() < deadline, f"{path} stays attached"
        time.sleep(0.01)


def available(root: int) -> int:
    status = os.fstatvfs(root)
    return status.f_bavail * status.f_frsize


# --- loop devices ---


def test_a_file_is_behind_one_device_however_often_it_is_attached(file: str) -> None:
    with loop_devices.attached(file) as (_, first), loop_devices.attached(file) as (_, second):
        assert first == second
        assert loop_devices.is_attached(file)


def test_another_process_finds_the_device_that_has_the_file(file: str) -> None:
    code = f"""
import sys; sys.path[:] = {sys.path!r}
from multios.filesystems import loop_devices
with loop_devices.attached({file!r}) as (_, name):
    print(name)
"""
    with loop_devices.attached(file) as (_, name):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == name
    wait_until_free(file)


def test_a_killed_process_leaves_no_device(file: str) -> None:
    code = f"""
import sys, time; sys.path[:] = {sys.path!r}
from multios.filesystems import sized
root = sized.mount({file!r}, {LIMIT})
print("mounted", flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"mounted\n"
    assert loop_devices.is_attached(file)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    wait_until_free(file)


def test_a_mount_keeps_the_device_and_its_end_lets_go(file: str) -> None:
    root = sized.mount(file, LIMIT)
    assert loop_devices.is_attached(file)
    os.close(root)
    wait_until_free(file)


def test_without_a_node_in_dev_one_is_made_for_the_moment(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, before = os.open, set(os.listdir("/dev"))

    def no_node(path: Any, *words: Any, **named: Any) -> int:
        if isinstance(path, str) and path.startswith("/dev/loop") and path != "/dev/loop-control":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return real(path, *words, **named)

    monkeypatch.setattr(loop_devices.os, "open", no_node)
    with sized.mounted(file, LIMIT) as root:
        assert "fs" in os.listdir(f"/proc/self/fd/{root}")
    monkeypatch.undo()
    assert {name for name in set(os.listdir("/dev")) - before if ".multios" in name} == set()


def test_without_loop_control_it_says_what_to_do(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_devices, "_CONTROL", "/dev/no-such-control")
    assert "no-such-control" in loop_devices.why_none()
    with pytest.raises(Unsupported) as caught:
        sized.mount(file, LIMIT)
    assert "modprobe" in caught.value.remedy


def test_a_symbolic_link_is_no_file_to_attach(file: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError, match="symbolic"):
        sized.mount(str(tmp_path / "link"), LIMIT)


# --- sizes ---


@pytest.mark.parametrize("limit", [1 << 20, 50 << 20, 3 << 30, 100 << 30])
def test_the_limit_is_what_can_be_used_and_nothing_is_taken_before(tmp_path: Path, limit: int) -> None:
    path = str(tmp_path / "made")
    sized.make(path, limit)
    assert os.stat(path).st_blocks * 512 < 10 << 20
    with sized.mounted(path, limit) as root:
        assert 0.95 * limit <= available(root) <= limit
        assert sized.inodes(root) >= 8000


def test_a_failed_make_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sized, "_path", lambda: str(tmp_path))
    with pytest.raises(Unsupported, match=r"mkfs\.ext4"):
        sized.make(str(tmp_path / "made"), LIMIT)
    (tmp_path / "mkfs.ext4").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (tmp_path / "mkfs.ext4").chmod(0o755)
    with pytest.raises(StepFailed, match="broken"):
        sized.make(str(tmp_path / "made"), LIMIT)
    assert not (tmp_path / "made").exists()


def test_the_hosts_root_is_bound_too(file: str) -> None:
    with sized.mounted(file, LIMIT) as root:
        descriptor = os.open("big", os.O_WRONLY | os.O_CREAT, dir_fd=root)
        written = 0
        with pytest.raises(OSError, match="No space"):
            while written < 4 * LIMIT:
                written += os.write(descriptor, bytes(1 << 16))
        os.close(descriptor)
    assert written <= LIMIT


def test_the_limit_changes_while_mounted(file: str) -> None:
    with sized.mounted(file, LIMIT) as root:
        sized.resize(file, LIMIT, 2 * LIMIT)
        assert LIMIT < available(root) <= 2 * LIMIT
        sized.resize(file, 2 * LIMIT, 2 << 20)
        assert available(root) <= 2 << 20


def test_a_limit_below_the_use_is_refused(file: str) -> None:
    with sized.mounted(file, LIMIT) as root:
        os.close(os.open("big", os.O_WRONLY | os.O_CREAT, dir_fd=root))
        Path(f"/proc/self/fd/{root}/big").write_bytes(bytes(4 << 20))
        os.sync()
        with pytest.raises(Conflict, match="in use"):
            sized.resize(file, LIMIT, 2 << 20)
        assert available(root) > 2 << 20


def test_far_beyond_its_first_size_a_filesystem_grows_when_nobody_uses_it(file: str) -> None:
    with sized.mounted(file, LIMIT) as root:
        Path(f"/proc/self/fd/{root}/fs/kept").write_text("kept")
    wait_until_free(file)
    sized.resize(file, LIMIT, 1 << 30)
    with sized.mounted(file, 1 << 30) as root:
        assert 0.95 * (1 << 30) < available(root) <= 1 << 30
        assert Path(f"/proc/self/fd/{root}/fs/kept").read_text() == "kept"


def test_far_beyond_its_first_size_one_in_use_grows_where_the_kernel_lets_us(file: str) -> None:
    with sized.mounted(file, LIMIT) as root:
        if sized.may_enlarge():
            sized.resize(file, LIMIT, 1 << 30)
            assert 0.95 * (1 << 30) < available(root) <= 1 << 30
        else:
            with pytest.raises(Conflict, match="CAP_SYS_RESOURCE"):
                sized.resize(file, LIMIT, 1 << 30)
            assert available(root) <= LIMIT


def test_a_refused_enlargement_leaves_the_file_as_it_was(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sized, "may_enlarge", lambda: True)
    monkeypatch.setattr(sized, "_RESIZE_FS", 0)  # no such ioctl: refused on every host
    before = os.stat(file).st_size
    with sized.mounted(file, LIMIT), pytest.raises(StepFailed) as caught:
        sized.resize(file, LIMIT, 1 << 30)
    assert "stop" in caught.value.remedy
    assert os.stat(file).st_size == before


# --- mounts of it ---


def roots(file: str, tmp_path: Path) -> list[Mount]:
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "below").write_text("below")
    words = (f"lowerdir={lower}", "upperdir=fs", "workdir=work", "index=off")
    backing = Backing(file, LIMIT)
    return [Mount("overlay", "overlay", words, backing), Mount("bind", "fs", ("rw",), backing)]


@pytest.mark.parametrize("number", [0, 1], ids=["overlay", "bind"])
@pytest.mark.parametrize("detached", [True, False], ids=["since 6.15", "before"])
def test_a_root_stands_in_the_filesystem(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, detached: bool
) -> None:
    if not detached:
        monkeypatch.setattr(mounts._Roads, "detached_layers", False)
        _refuse_detached_copies(monkeypatch)
    mount = roots(file, tmp_path)[number]
    with mounts.mounted((mount,)) as root:
        Path(f"/proc/self/fd/{root}/new").write_text("new")
    with sized.mounted(file, LIMIT) as root:
        assert Path(f"/proc/self/fd/{root}/fs/new").read_text() == "new"


def test_a_read_only_root_in_the_filesystem_cannot_be_written(file: str, tmp_path: Path) -> None:
    bind = Mount("bind", "fs", ("ro",), Backing(file, LIMIT))
    with mounts.mounted((bind,)) as root, pytest.raises(OSError, match="Read-only"):
        Path(f"/proc/self/fd/{root}/new").write_text("new")


@pytest.mark.parametrize("step", ["fsconfig", "fsmount", "move_mount"])
def test_a_mount_that_fails_keeps_no_device_and_no_descriptor(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*words: Any, **named: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mounts._Roads, "detached_layers", False)
    before = open_descriptors.number()
    monkeypatch.setattr(kernel, step, broken)
    with pytest.raises(StepFailed):
        mounts.make_rootfs(roots(file, tmp_path)[:1])
    monkeypatch.undo()
    open_descriptors.assert_no_more_than(before)
    wait_until_free(file)


def _refuse_detached_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a kernel before 6.15: open_tree(2) copies no mount that is attached nowhere."""
    real, tried = kernel.open_tree, []

    def open_tree(directory: int, path: str, options: int) -> int:
        if directory >= 0 and not tried:
            with contextlib.suppress(OSError):
                tried.append(os.readlink(f"/proc/self/fd/{directory}"))
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(directory, path, options)

    monkeypatch.setattr(kernel, "open_tree", open_tree)
