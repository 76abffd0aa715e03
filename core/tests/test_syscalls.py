from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from multios.supervisor import flags
from multios.supervisor.syscalls import kernel
from multios.testing.recording import RecordingSyscalls

NEW = ["user", "mount", "pid", "network", "ipc", "uts"]


def in_child(namespaces: list[str], work: Callable[[], bool | None]) -> int:
    """Run ``work`` in a child in new namespaces; its exit code, 0 when it returned something true."""
    pid, pidfd = kernel.clone3(namespaces)
    if pid == 0:
        status = 1
        try:
            status = 0 if work() in (True, None) else 2
        finally:
            os._exit(status)
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    assert result is not None
    return result.si_status


@pytest.mark.needs_root
def test_clone3_makes_all_namespaces_at_once() -> None:
    waiting, go = os.pipe()
    pid, pidfd = kernel.clone3(NEW)
    if pid == 0:
        os.read(waiting, 1)
        os._exit(0 if os.getpid() == 1 else 1)
    try:
        for name in NEW:
            entry = flags.PROC_NAMES.get(name, name)
            assert os.readlink(f"/proc/{pid}/ns/{entry}") != os.readlink(f"/proc/self/ns/{entry}"), name
    finally:
        os.write(go, b"x")
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
    assert result is not None
    assert result.si_status == 0


@pytest.mark.needs_root
def test_names_and_loopback_belong_to_the_childs_own_namespaces() -> None:
    def work() -> bool:
        kernel.sethostname("inside")
        kernel.setdomainname("example")
        kernel.interface_up("lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"x", ("127.0.0.1", 9))
        return os.uname().nodename == "inside"

    assert in_child(["network", "uts"], work) == 0
    assert os.uname().nodename != "inside"


@pytest.mark.needs_root
def test_new_mount_calls_make_a_detached_filesystem(tmp_path: Path) -> None:
    def work() -> bool:
        kernel.mount("", "/", "", flags.MS_REC | flags.MS_PRIVATE)
        context = kernel.fsopen("tmpfs")
        kernel.fsconfig(context, flags.FSCONFIG_SET_STRING, "size", "1m")
        kernel.fsconfig(context, flags.FSCONFIG_CMD_CREATE)
        mount = kernel.fsmount(context)
        kernel.mount_setattr(mount, "", flags.AT_EMPTY_PATH, flags.MOUNT_ATTR_RDONLY)
        kernel.move_mount(mount, "", flags.AT_FDCWD, str(tmp_path), flags.MOVE_MOUNT_F_EMPTY_PATH)
        copy = kernel.open_tree(flags.AT_FDCWD, str(tmp_path), flags.OPEN_TREE_CLONE)
        os.close(copy)
        try:
            (tmp_path / "file").touch()
        except OSError:
            kernel.umount2(str(tmp_path), flags.MNT_DETACH)
            return True
        return False

    assert in_child(["mount"], work) == 0


@pytest.mark.needs_root
def test_privileges_can_be_dropped() -> None:
    def work() -> bool:
        kernel.setgroups([5])
        kernel.prctl(flags.PR_SET_NO_NEW_PRIVS, 1)
        effective, permitted, _ = kernel.capget()
        kernel.capset(effective & 1, permitted & 1, 0)
        return kernel.capget() == (1, 1, 0) and os.getgroups() == [5]

    assert in_child([], work) == 0


@pytest.mark.needs_root
def test_a_seccomp_filter_given_as_bytes_is_obeyed() -> None:
    allow = (6).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little")  # return ALLOW
    kill = (6).to_bytes(2, "little") + bytes(2) + (0x80000000).to_bytes(4, "little")

    def work(program: bytes) -> None:
        kernel.prctl(flags.PR_SET_NO_NEW_PRIVS, 1)
        kernel.seccomp_filter(program)

    assert in_child([], lambda: work(allow)) == 0
    assert in_child([], lambda: work(kill)) == 31  # SIGSYS


def test_an_error_names_the_call_and_its_argument() -> None:
    with pytest.raises(FileNotFoundError, match="umount2: .*/no/such/place") as caught:
        kernel.umount2("/no/such/place")
    assert caught.value.filename == "/no/such/place"


def test_a_filesystems_own_message_is_in_the_error() -> None:
    try:
        context = kernel.fsopen("tmpfs")
    except PermissionError:
        pytest.skip("needs root")
    with pytest.raises(OSError, match="sizes"):
        kernel.fsconfig(context, flags.FSCONFIG_SET_STRING, "sizes", "1")
    os.close(context)


def test_a_reaped_childs_status_is_known_to_any_holder_of_its_pidfd() -> None:
    pid, pidfd = kernel.clone3()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    try:
        assert kernel.pidfd_exit_status(pidfd) == 7 << 8
    except OSError:
        pytest.skip("needs Linux 6.15")
    finally:
        os.close(pidfd)


def test_limits_are_read_and_written() -> None:
    soft, hard = kernel.prlimit(0, 7)
    assert kernel.prlimit(0, 7, (soft, hard)) == (soft, hard)


def test_the_recording_double_writes_calls_down_and_answers() -> None:
    double = RecordingSyscalls({"fsopen": 5, "mount": OSError(1, "no")})
    assert double.fsopen("tmpfs") == 5
    assert double.clone3(["pid"]) == (1000, 3)
    with pytest.raises(OSError, match="no"):
        double.mount("a", "b", options=1)
    assert double.names == ["fsopen", "clone3", "mount"]
    assert double.calls[2] == ("mount", ("a", "b"), {"options": 1})


def test_a_path_is_looked_up_within_its_root_though_others_rename(tmp_path: Path) -> None:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/up").symlink_to("../../../../a/file")
    (tmp_path / "root/a/file").write_text("inside")
    ended = threading.Event()

    def rename() -> None:
        while not ended.is_set():
            (tmp_path / "root/a").rename(tmp_path / "root/c")
            (tmp_path / "root/c").rename(tmp_path / "root/a")
            time.sleep(0)

    root = os.open(tmp_path / "root", os.O_PATH)
    other = threading.Thread(target=rename)
    options = flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_MAGICLINKS
    os.close(kernel.openat2(root, "a/b/up", os.O_RDONLY, options))
    other.start()
    try:
        for _ in range(300):
            with contextlib.suppress(FileNotFoundError):  # renamed at this moment
                os.close(kernel.openat2(root, "a/b/up", os.O_RDONLY, options))
    finally:
        ended.set()
        other.join()
        os.close(root)
    with pytest.raises(OSError, match="openat2"):
        kernel.openat2(-1, "x", os.O_RDONLY, flags.RESOLVE_BENEATH)
