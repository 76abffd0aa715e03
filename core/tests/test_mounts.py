"""Detached mounts, with real ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import open_descriptors
import pytest

from multios.errors import MultiosError, StepFailed, Unsupported
from multios.model.mount import Mount
from multios.supervisor import flags, mounts
from multios.supervisor.syscalls import kernel

pytestmark = pytest.mark.needs_root

START = 700_000


@pytest.fixture(scope="module")
def user_namespace() -> Iterator[int]:
    """A namespace whose root is START outside."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        kernel.unshare(flags.CLONE_NEWUSER)
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{name}").write_text(f"0 {START} 65536")
    space = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *go):
        os.close(descriptor)
    yield space
    os.close(space)


@pytest.fixture(params=["detached layers", "attached layers"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to make an overlay: of detached layers (since Linux 6.15), and of attached ones."""
    monkeypatch.setattr(mounts._Roads, "detached_layers", request.param == "detached layers")


@pytest.fixture
def overlay(tmp_path: Path) -> Mount:
    for name in ("low:er", "middle", "snapshot/fs", "snapshot/work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "low:er/bottom").write_text("bottom")
    (tmp_path / "low:er/both").write_text("lower")
    (tmp_path / "middle/both").write_text("middle")
    lower = f"{tmp_path}/middle:{tmp_path}/low\\:er"
    words = f"lowerdir={lower}", f"upperdir={tmp_path}/snapshot/fs", f"workdir={tmp_path}/snapshot/work"
    return Mount("overlay", "overlay", words)


def inside(root: int, action: Callable[[], object], identity: int = START) -> int:
    """The exit status of ``action`` in a child that has ``root`` as its root directory."""
    child = os.fork()
    if child == 0:
        try:
            os.fchdir(root)
            os.chroot(".")
            os.setgid(identity)
            os.setuid(identity)
            os._exit(0 if action() is None else 1)
        except OSError as error:
            os._exit(error.errno or 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read(root: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=root)
    with open(descriptor) as file:
        return file.read()


@pytest.mark.usefixtures("road")
def test_layers_are_stacked_in_order(overlay: Mount) -> None:
    with mounts.mounted([overlay]) as root:
        assert (read(root, "both"), read(root, "bottom")) == ("middle", "bottom")


@pytest.mark.usefixtures("road")
def test_files_of_a_mapped_root_are_roots_on_disk(
    overlay: Mount, tmp_path: Path, user_namespace: int
) -> None:
    with mounts.mounted([overlay], user_namespace) as root:
        assert os.stat("both", dir_fd=root).st_uid == START
        assert inside(root, lambda: Path("/new").write_text("x") and None) == 0
        assert inside(root, lambda: Path("/both").unlink()) == 0
    made = (tmp_path / "snapshot/fs/new").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)
    whiteout = (tmp_path / "snapshot/fs/both").stat()
    assert stat.S_ISCHR(whiteout.st_mode) and whiteout.st_rdev == 0


@pytest.mark.usefixtures("road")
def test_the_maker_keeps_its_own_identity(overlay: Mount, user_namespace: int) -> None:
    before = os.getresuid(), os.getresgid(), kernel.capget()
    with mounts.mounted([overlay], user_namespace):
        assert (os.getresuid(), os.getresgid(), kernel.capget()) == before


@pytest.mark.usefixtures("road")
def test_nothing_appears_in_the_hosts_mount_table(overlay: Mount, user_namespace: int) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with mounts.mounted([overlay], user_namespace):
        assert Path("/proc/self/mountinfo").read_text() == before
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.usefixtures("road")
def test_a_view_has_no_upper_directory_and_is_read_only(overlay: Mount, user_namespace: int) -> None:
    view = Mount("overlay", "overlay", (overlay.options[0],))
    with mounts.mounted([view], user_namespace) as root:
        assert read(root, "both") == "middle"
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=root)


@pytest.mark.usefixtures("road")
def test_many_layers(tmp_path: Path, user_namespace: int) -> None:
    for number in range(60):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / f"file{number}").touch()
    lower = ":".join(str(tmp_path / str(number)) for number in range(60))
    with mounts.mounted([Mount("overlay", "overlay", (f"lowerdir={lower}",))], user_namespace) as root:
        assert len(os.listdir(f"/proc/self/fd/{root}")) == 60


@pytest.mark.usefixtures("road")
def test_an_option_that_the_kernel_does_not_know_is_told(overlay: Mount) -> None:
    before = open_descriptors.number()
    with pytest.raises(StepFailed, match="mount overlay"):
        mounts.make_rootfs([Mount("overlay", "overlay", (*overlay.options, "nonsense=1"))])
    open_descriptors.assert_no_more_than(before)


def test_a_missing_layer_is_named(overlay: Mount, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="missing"):
        mounts.make_rootfs([Mount("overlay", "overlay", (f"lowerdir={tmp_path}/missing",))])


def test_a_bind_as_root(tmp_path: Path, user_namespace: int) -> None:
    (tmp_path / "file").touch()
    with mounts.mounted([Mount("bind", str(tmp_path), ("ro",))], user_namespace) as root:
        assert os.stat("file", dir_fd=root).st_uid == START
        with pytest.raises(OSError, match="Read-only"):
            os.unlink("file", dir_fd=root)
    assert (tmp_path / "file").exists()


def test_any_other_filesystem_as_root(user_namespace: int) -> None:
    with mounts.mounted([Mount("tmpfs", "tmpfs", ("size=64k", "nosuid"))], user_namespace) as root:
        assert inside(root, lambda: Path("/file").touch()) == 0
        assert os.fstatvfs(root).f_blocks * os.fstatvfs(root).f_bsize == 65536


def test_a_bind_of_a_file_with_attributes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    source = os.open(tmp_path / "file", os.O_PATH)
    bind = mounts.make_bind(source, flags.MOUNT_ATTR_RDONLY | flags.MOUNT_ATTR_NOSUID)
    shown = os.fstatvfs(bind).f_flag
    os.close(source)
    os.close(bind)
    assert shown & os.ST_RDONLY and shown & os.ST_NOSUID


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory whose mounts go to whoever has a copy of it, as under systemd all of the host's; mount_namespaces(7)."""
    place = tmp_path / "shared"
    (place / "below").mkdir(parents=True)
    kernel.mount(str(place), str(place), "", flags.MS_BIND)
    for kind in (flags.MS_PRIVATE, flags.MS_SHARED):  # with a peer group of its own
        kernel.mount("", str(place), "", kind)
    yield place
    kernel.umount2(str(place), flags.MNT_DETACH)


@pytest.mark.parametrize("attributes", [0, flags.MOUNT_ATTR_RDONLY])
@pytest.mark.parametrize("recursive", [False, True])
def test_what_is_mounted_below_a_bind_stays_there(
    shared: Path, tmp_path: Path, recursive: bool, attributes: int
) -> None:
    source = os.open(shared, os.O_PATH)
    bind = mounts.make_bind(source, attributes, recursive)
    os.close(source)
    copy = tmp_path / "copy"
    copy.mkdir()
    kernel.move_mount(bind, "", flags.AT_FDCWD, str(copy), flags.MOVE_MOUNT_F_EMPTY_PATH)
    try:
        kernel.mount("tmpfs", f"{copy}/below", "tmpfs")
        kernel.mount("tmpfs", f"{shared}/below", "tmpfs")
        (shared / "below/here").touch()
        assert not (copy / "below/here").exists()
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        assert sum(f" {tmp_path}/" in line for line in table) == 4
    finally:
        kernel.umount2(str(copy), flags.MNT_DETACH)
        os.close(bind)


def test_a_filesystem_that_cannot_be_mapped_is_unsupported_with_a_remedy(user_namespace: int) -> None:
    source = os.open("/proc", os.O_PATH)
    with pytest.raises(Unsupported) as caught:
        mounts.make_bind(source, user_namespace=user_namespace)
    os.close(source)
    assert "/proc" in caught.value.cause or "filesystem" in caught.value.cause
    assert caught.value.remedy


def test_several_mounts_are_refused(overlay: Mount) -> None:
    with pytest.raises(MultiosError, match="2 mounts"):
        mounts.make_rootfs([overlay, overlay])


def test_an_upper_directory_without_its_work_directory_is_refused(overlay: Mount) -> None:
    with pytest.raises(StepFailed, match="side by side"):
        mounts.make_rootfs([Mount("overlay", "overlay", overlay.options[:2])])
