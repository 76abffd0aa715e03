"""New volumes get what the image has in their place: everything of it, once, and whole or not at all."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_box import ALICE, ROOT, Box

from multios.engine import volume_filling
from multios.errors import MultiosError
from multios.layers import copying, rooted_copy
from multios.model.container import Container
from multios.model.volume import NamedVolume
from multios.supervisor.syscalls import kernel

PLACE = "/var/lib/app"


def created(box: Box, **mount: Any) -> tuple[Container, Path]:
    """A container with the volume ``data`` at ``PLACE``, and the root filesystem that its image gives it."""
    container = box.create(volumes=[{"volume": "data", "container": PLACE, **mount}])
    return container, Path(box.storage.mounts(container.id)[0].source)


def with_files(box: Box, **mount: Any) -> tuple[Container, Path]:
    """The same; the image has a file and a directory there."""
    container, root = created(box, **mount)
    (root / PLACE[1:] / "sub").mkdir(parents=True)
    (root / PLACE[1:] / "sub/inner").write_text("inner")
    (root / PLACE[1:] / "file").write_text("of the image")
    return container, root


def data(box: Box, name: str = "data") -> Path:
    return Path(box.engine.volumes.inspect(name, ROOT)["path"])


def is_fresh(box: Box) -> bool:
    return next(volume.fresh for volume in box.engine.database.all(NamedVolume) if volume.name == "data")


def names(box: Box) -> list[str]:
    """What is in the volume; and nothing else lies beside."""
    beside = sorted(path.name for path in data(box).parent.iterdir())
    assert beside == ["_data"], beside
    return sorted(os.listdir(data(box)))


def test_everything_of_a_file_is_kept(box: Box) -> None:
    container, root = created(box)
    place = root / PLACE[1:]
    place.mkdir(parents=True)
    program = place / "program"
    program.write_text("#!")
    os.chown(program, 33, 44)
    program.chmod(0o4751)
    os.setxattr(program, "user.note", b"kept")
    os.utime(program, ns=(10**18, 10**18 + 1))
    os.link(program, place / "same")
    (place / "link").symlink_to("../../../../etc/shadow")
    os.lchown(place / "link", 33, 33)
    os.mkfifo(place / "fifo", 0o640)
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(place / "holes", "wb") as file:
        file.truncate(1 << 30)
    os.chown(place, 70, 71)
    place.chmod(0o1770)
    os.setxattr(place, "user.top", b"kept")
    os.utime(place, ns=(10**18, 10**18))
    box.containers.start(container)
    found = data(box)
    status = (found / "program").lstat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (33, 44, 0o4751)
    assert status.st_mtime_ns == 10**18 + 1
    assert os.getxattr(found / "program", "user.note") == b"kept"
    assert (found / "same").lstat().st_ino == status.st_ino
    assert os.readlink(found / "link") == "../../../../etc/shadow" and (found / "link").lstat().st_uid == 33
    assert stat.S_ISFIFO((found / "fifo").lstat().st_mode)
    assert (found / "null").lstat().st_rdev == os.makedev(1, 3)
    assert (found / "holes").stat().st_size == 1 << 30 and (found / "holes").stat().st_blocks < 100
    top = found.stat()
    assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode), top.st_mtime_ns) == (70, 71, 0o1770, 10**18)
    assert os.getxattr(found, "user.top") == b"kept"


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_a_volume_is_filled_at_the_first_start(box: Box, mode: str) -> None:
    container, root = with_files(box, mode=mode)
    box.containers.start(container)
    assert names(box) == ["file", "sub"]
    assert (data(box) / "sub/inner").read_text() == "inner"
    assert not is_fresh(box)


def test_it_is_filled_once_whatever_becomes_of_its_files(box: Box) -> None:
    container, root = with_files(box)
    box.containers.start(container)
    for path in (data(box) / "file", data(box) / "sub/inner"):
        path.unlink()
    (data(box) / "sub").rmdir()
    box.exits(box.now(container))
    box.containers.start(container)
    assert names(box) == []


def test_a_volume_with_anything_in_it_is_left_alone(box: Box) -> None:
    box.engine.volumes.create("data", ROOT, {})
    (data(box) / "mine").write_text("mine")
    os.chown(data(box), 5, 5)
    container, _ = with_files(box)
    box.containers.start(container)
    assert names(box) == ["mine"] and data(box).stat().st_uid == 5
    assert not is_fresh(box)


def test_a_volume_of_an_older_daemon_is_left_alone(box: Box) -> None:
    box.engine.volumes.create("data", ROOT, {})
    volume = next(iter(box.engine.database.all(NamedVolume)))
    box.engine.database.save(NamedVolume(volume.id, volume.name, volume.owner, volume.created))
    box.restart_daemon()
    container, _ = with_files(box)
    box.containers.start(container)
    assert names(box) == []


def test_nocopy_leaves_it_empty_for_who_comes_next(box: Box) -> None:
    first, _ = with_files(box, nocopy=True)
    box.containers.start(first)
    assert names(box) == [] and is_fresh(box)
    second, _ = with_files(box)
    box.containers.start(second)
    assert names(box) == ["file", "sub"]


def test_an_image_without_the_directory_leaves_it_for_who_comes_next(box: Box) -> None:
    first, root = created(box)
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/app").write_text("a file, and mounted over")
    box.containers.start(first)
    assert names(box) == []
    second, _ = with_files(box)
    box.containers.start(second)
    assert names(box) == ["file", "sub"]


def test_an_empty_directory_gives_its_owner_and_mode_and_no_process_is_started(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_filling, "copy_from_root", None)
    container, root = created(box)
    (root / PLACE[1:]).mkdir(parents=True)
    os.chown(root / PLACE[1:], 70, 71)
    (root / PLACE[1:]).chmod(0o3770)
    box.containers.start(container)
    top = data(box).stat()
    assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode)) == (70, 71, 0o3770)
    assert names(box) == [] and not is_fresh(box)


def test_links_of_the_path_stay_inside_the_image(box: Box, tmp_path: Path) -> None:
    (tmp_path / "outside/lib/app").mkdir(parents=True)
    (tmp_path / "outside/lib/app/secret").write_text("the host's")
    container, root = created(box)
    (root / "var").symlink_to(f"../../../../../../../..{tmp_path}/outside")
    box.containers.start(container)
    assert names(box) == []
    inside = root / str(tmp_path / "outside/lib/app").lstrip("/")
    inside.mkdir(parents=True)
    (inside / "own").write_text("the image's")
    box.exits(box.now(container))
    box.containers.start(container)
    assert names(box) == ["own"]


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """The child's own root is the image's: the link is followed there, and there is nothing of the host's."""
    root, target, outside = (tmp_path / name for name in ("root", "target", "outside"))
    for path in (root, target, outside):
        path.mkdir()
    (outside / "secret").write_text("the host's")
    (root / "place").symlink_to(outside)
    with opened(root) as source, opened(target) as sink, pytest.raises(MultiosError, match="No such file"):
        rooted_copy.copy_from_root(source, "/place", sink, lambda: None)
    assert os.listdir(target) == []


def test_bind_mounts_and_tmpfs_are_never_filled(box: Box, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    mounts = [{"host": str(tmp_path / "host"), "container": PLACE}]
    container = box.create(volumes=mounts, tmpfs=[{"container": "/scratch"}])
    root = Path(box.storage.mounts(container.id)[0].source)
    (root / PLACE[1:] / "file").mkdir(parents=True)
    assert box.engine.volumes.fresh(container) == []
    box.containers.start(container)
    assert os.listdir(tmp_path / "host") == []


def test_a_path_of_the_host_has_no_nocopy(box: Box) -> None:
    with pytest.raises(MultiosError, match="nocopy"):
        box.create(volumes=[{"host": "/srv", "container": PLACE, "nocopy": True}])


def test_users_fill_their_own(box: Box) -> None:
    container = box.create(ALICE, volumes=[{"volume": "data", "container": PLACE}])
    root = Path(box.storage.mounts(container.id)[0].source)
    (root / PLACE[1:] / "sub").mkdir(parents=True)
    box.containers.start(container)
    assert os.listdir(box.engine.volumes.ensure("data", ALICE)) == ["sub"]
    assert list(box.engine.volumes.ensure("data", ROOT).iterdir()) == []


def test_a_start_with_a_volume_that_is_settled_looks_at_its_record_alone(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, _ = with_files(box)
    box.containers.start(container)
    box.exits(box.now(container))
    monkeypatch.setattr(volume_filling, "fill", None)
    monkeypatch.setattr("multios.engine.launching.mounted", None)
    box.containers.start(container)


def test_of_many_first_starts_one_fills(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[str] = []
    original = rooted_copy.copy_from_root

    def counted(root: int, path: str, target: int, check: Callable[[], None]) -> None:
        copies.append(path)
        time.sleep(0.2)
        original(root, path, target, check)

    monkeypatch.setattr(volume_filling, "copy_from_root", counted)
    containers = [with_files(box)[0] for _ in range(6)]
    seen: list[list[str]] = []

    def start(container: Container) -> None:
        box.containers.start(container)
        seen.append(names(box))

    threads = [threading.Thread(target=start, args=(container,)) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copies == [PLACE] and seen == [["file", "sub"]] * 6


def test_what_a_running_container_made_meanwhile_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rooted_copy.copy_from_root

    def slow(root: int, path: str, target: int, check: Callable[[], None]) -> None:
        original(root, path, target, check)
        (data(box) / "file").write_text("a container's")

    monkeypatch.setattr(volume_filling, "copy_from_root", slow)
    container, _ = with_files(box)
    box.containers.start(container)
    assert names(box) == ["file", "sub"] and (data(box) / "file").read_text() == "a container's"


def _full(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {
    "the side directory is made": (Path, "mkdir"),
    "files are copied": (volume_filling, "copy_from_root"),
    "the disk is synchronised": (kernel, "sync_filesystem"),
    "the copy is declared whole": (Path, "rename"),
    "the first entry is moved": (kernel, "rename_to_free"),
    "the volume gets its owner": (volume_filling, "copy_looks"),
}


@pytest.mark.parametrize("step", FAULTS)
@pytest.mark.parametrize("restarted", [False, True], ids=["again", "next daemon"])
def test_a_full_disk_fails_the_start_and_the_next_one_fills(
    box: Box, monkeypatch: pytest.MonkeyPatch, step: str, restarted: bool
) -> None:
    container, _ = with_files(box)
    box.engine.volumes.create("data", ROOT, {})
    before = box.holdings()
    with monkeypatch.context() as patch:
        where, name = FAULTS[step]
        patch.setattr(where, name, _full)
        with pytest.raises(MultiosError, match="No space left"):
            box.containers.start(container)
    assert box.holdings() == before and is_fresh(box)
    assert not (data(box).parent / "_filling").exists()
    if restarted:
        box.restart_daemon()
    box.containers.start(container)
    assert names(box) == ["file", "sub"] and not is_fresh(box)


def test_a_record_that_cannot_be_written_is_written_the_next_time(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, _ = with_files(box)
    box.engine.volumes.create("data", ROOT, {})
    with monkeypatch.context() as patch:
        patch.setattr(box.engine.volumes, "_settle", _full)
        with pytest.raises(MultiosError, match="No space left"):
            box.containers.start(container)
    box.containers.start(container)
    assert names(box) == ["file", "sub"] and not is_fresh(box)


def test_half_a_copy_is_thrown_away_by_the_next_daemon(box: Box) -> None:
    with_files(box)
    box.engine.volumes.create("data", ROOT, {})
    side = data(box).parent / "_filling"
    side.mkdir()
    (side / "half").write_text("hal")
    box.restart_daemon()
    assert names(box) == [] and is_fresh(box)


def test_a_whole_copy_is_moved_to_the_end_by_the_next_daemon(box: Box) -> None:
    box.engine.volumes.create("data", ROOT, {})
    whole = data(box).parent / "_filled"
    whole.mkdir(mode=0o750)
    os.chown(whole, 70, 71)
    (whole / "second").write_text("2")
    (data(box) / "first").write_text("moved before the crash")
    box.restart_daemon()
    assert names(box) == ["first", "second"] and not is_fresh(box)
    assert (data(box).stat().st_uid, stat.S_IMODE(data(box).stat().st_mode)) == (70, 0o750)


def test_what_is_left_beside_a_settled_volume_goes(box: Box) -> None:
    container, _ = with_files(box)
    box.containers.start(container)
    (data(box).parent / "_filled").mkdir()
    (data(box).parent / "_filled/late").touch()
    box.exits(box.now(container))
    box.restart_daemon()
    assert names(box) == ["file", "sub"]


def test_a_client_that_leaves_stops_the_copy(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container, root = with_files(box)
    box.engine.volumes.create("data", ROOT, {})
    # The child waits for ever: what was a file has become a pipe that nobody writes to, as `cp` could do it.
    slow = "import time; time.sleep(100)"
    monkeypatch.setattr(rooted_copy.sys, "executable", shell_of(root, slow))
    begun = time.monotonic()
    with pytest.raises(MultiosError, match="nobody waits"):
        box.containers.start(container, wanted=lambda: time.monotonic() - begun < 0.3)
    assert time.monotonic() - begun < 10
    assert names(box) == [] and is_fresh(box)
    monkeypatch.undo()
    box.containers.start(container)
    assert names(box) == ["file", "sub"]


def shell_of(directory: Path, program: str) -> str:
    """A program that does ``program`` whatever its arguments are."""
    import sys

    path = directory.parent / "slow-python"
    path.write_text(f"#!{sys.executable}\n{program}\n")
    path.chmod(0o755)
    return str(path)


def test_a_copy_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "copy").mkdir()
    for number in range(4):
        (tmp_path / f"many/{number}").touch()
    with pytest.raises(MultiosError, match="more than 3 files"):
        copying.copy_tree(os.fsencode(tmp_path / "many"), os.fsencode(tmp_path / "copy"), most=3)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    root, target = tmp_path / "root", tmp_path / "target"
    (root / "place").mkdir(parents=True)
    (root / "place/big").write_bytes(os.urandom(1 << 20))
    target.mkdir()
    kernel.mount("tmpfs", str(target), "tmpfs", 0, "size=64k")
    try:
        with opened(root) as source, opened(target) as sink, pytest.raises(MultiosError) as failed:
            rooted_copy.copy_from_root(source, "/place", sink, lambda: None)
    finally:
        kernel.umount2(str(target), 0)
    assert "No space left" in failed.value.cause


def test_sockets_and_names_of_any_bytes_are_copied(box: Box) -> None:
    container, root = created(box)
    place = root / PLACE[1:]
    place.mkdir(parents=True)
    (place / "deep").joinpath(*["d" * 100] * 20).mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(place) + b"/\xff\n")).touch()
    here = os.getcwd()
    os.chdir(place)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
    finally:
        os.chdir(here)
    box.containers.start(container)
    assert sorted(os.listdir(os.fsencode(data(box)))) == [b"deep", b"socket", b"\xff\n"]


class opened:  # noqa: N801  (a context)
    """A descriptor of a directory."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def test_a_daemon_begins_although_a_volume_cannot_be_filled_to_the_end(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.engine.volumes.create("data", ROOT, {})
    whole = data(box).parent / "_filled"
    whole.mkdir()
    (whole / "file").write_text("of the image")
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "rename_to_free", _full)
        box.restart_daemon()
    container, _ = with_files(box)
    box.containers.start(container)
    assert names(box) == ["file"] and not is_fresh(box)
