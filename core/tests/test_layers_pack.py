"""Layer tars out of directories: read by the standard library, and back by our own unpacker."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.errors import StepFailed
from multios.layers.apply import Applier
from multios.layers.archive import Source
from multios.layers.pack import LayerWriter, pack_directory, walk
from multios.layers.trees import remove_tree, usage
from multios.testing import storage_trees as trees


def packed(directory: str | Path) -> bytes:
    target = io.BytesIO()
    pack_directory(directory, target)
    return target.getvalue()


def apply(data: bytes, root: str | Path) -> None:
    """Without chroot: only for layers that the test has made itself."""
    Applier(1000, root=os.fsencode(root)).apply(Source([data], 1 << 30))


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


@pytest.mark.needs_root
def test_all_kinds_of_files_come_back(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    trees.populate(str(tmp_path / "one"))
    apply(packed(tmp_path / "one"), tmp_path / "two")
    assert trees.read(str(tmp_path / "two")) == trees.read(str(tmp_path / "one"))


@pytest.mark.needs_root
def test_the_standard_library_reads_what_is_written(tmp_path: Path) -> None:
    trees.populate(str(tmp_path))
    found = members(packed(tmp_path))
    assert found["null"].ischr() and (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert found["etc/passwd-link"].islnk() and found["etc/passwd-link"].linkname == "etc/passwd"
    assert found["usr/bin/sudo"].mode == 0o4750 and found["usr/bin/sudo"].gid == 42
    assert "SCHILY.xattr.security.capability" in found["usr/bin/ping"].pax_headers
    assert f"{'long-' * 30}/{'name-' * 40}" in found
    assert found["var/full"].uid == 100_000


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 400),
    owner=st.sampled_from([0, 8**7 - 1, 8**7, 2**32 - 2]),
    mtime=st.integers(-(2**33), 2**34),
    nanoseconds=st.integers(0, 10**9 - 1),
)
def test_names_owners_and_times_of_any_size_survive(
    length: int, owner: int, mtime: int, nanoseconds: int
) -> None:
    name = "/".join(["x" * 50] * 8)[:length].rstrip("/")
    times = (0, 0, 0)
    # os.stat_result's hidden fields: three float times, three in nanoseconds.
    status = os.stat_result(
        (stat.S_IFDIR | 0o755, 0, 0, 1, owner, owner, 0, *times, *times, 0, mtime * 10**9 + nanoseconds, 0)
    )
    target = io.BytesIO()
    writer = LayerWriter(target)
    writer.add(b"/proc", name.encode(), status)
    writer.close()
    (found,) = members(target.getvalue()).values()
    assert (found.name, found.uid) == (name, owner)
    assert abs(found.mtime - (mtime + nanoseconds / 10**9)) < 1e-5


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c/z", "c/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for _, name, _ in walk(os.fsencode(tmp_path))] == [b"a", b"b", b"c", b"c/y", b"c/z"]
    assert packed(tmp_path) == packed(tmp_path)


def test_what_a_layer_cannot_say_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".wh.secret").touch()
    (tmp_path / "plain").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert sorted(members(packed(tmp_path))) == [".", "plain"]


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 100)
    status = os.lstat(path)
    path.write_text("x")
    with pytest.raises(StepFailed, match="shorter"):
        LayerWriter(io.BytesIO()).add(os.fsencode(path), b"log", status)


def test_a_file_that_grows_meanwhile_keeps_the_size_it_was_announced_with(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x")
    status = os.lstat(path)
    path.write_text("x" * 5000)
    target = io.BytesIO()
    writer = LayerWriter(target)
    writer.add(os.fsencode(path), b"log", status)
    writer.close()
    assert members(target.getvalue())["log"].size == 1


NAMES = st.sampled_from([b"a", b"b", b"\xff", b"x" * 120, "ü".encode(), b"new\nline", b" "])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
FILES = st.dictionaries(PATHS, st.tuples(st.sampled_from("fdlp"), st.binary(max_size=600)), max_size=8)


def build(root: bytes, files: dict[bytes, tuple[str, bytes]]) -> None:
    for path, (kind, data) in files.items():
        place = root + b"/" + path
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if kind == "d":
                os.mkdir(place)
            elif kind == "l":
                os.symlink(data.replace(b"\0", b"0") or b"x", place)
            elif kind == "p":
                os.mkfifo(place)
            else:
                with open(place, "xb") as file:
                    file.write(data)
        except OSError:  # a file where a directory would be needed
            continue


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES)
def test_any_tree_comes_back(files: dict[bytes, tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        build(os.fsencode(one), files)
        apply(packed(one), two)
        assert trees.read(two) == trees.read(one)


def deep(root: Path, levels: int) -> Path:
    """A directory of ``levels`` levels, deeper than a path may be long."""
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deeper-and-deeper", dir_fd=descriptor)
        inner = os.open("deeper-and-deeper", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    return root


def test_trees_deeper_than_paths_are_removed(tmp_path: Path) -> None:
    root = deep(tmp_path / "deep", 1500)
    remove_tree(os.fsencode(root))
    assert not root.exists()
    remove_tree(os.fsencode(root))


def test_removal_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "tree/sub").mkdir(parents=True)
    for place in ("tree/link", "tree/sub/link"):
        os.symlink(tmp_path / "outside", tmp_path / place)
    remove_tree(os.fsencode(tmp_path / "tree"))
    assert (tmp_path / "outside/file").exists()


def test_usage_counts_a_file_of_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 8192)
    before = usage(os.fsencode(tmp_path))
    os.link(tmp_path / "one", tmp_path / "two")
    assert usage(os.fsencode(tmp_path)) == before
    assert before[0] >= 8192 and before[1] == 2


def chunks(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 511, 512, 513, 100_000])
def test_the_archive_may_arrive_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one/file").write_bytes(os.urandom(3000))
    data = packed(tmp_path / "one")
    source = Source(chunks(data, size), 1 << 30)
    Applier(10, root=os.fsencode(tmp_path / "two")).apply(source)
    source.drain()
    assert source.size == len(data)
    assert trees.read(str(tmp_path / "two")) == trees.read(str(tmp_path / "one"))
