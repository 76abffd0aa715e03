"""Copies of root filesystems."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from multios.layers.copying import copy_tree
from multios.testing import storage_trees as trees


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return f"{tmp_path}/one", f"{tmp_path}/two"


@pytest.mark.needs_root
def test_everything_is_kept(pair: tuple[str, str]) -> None:
    trees.populate(pair[0])
    copy_tree(os.fsencode(pair[0]), os.fsencode(pair[1]))
    assert trees.read(pair[1]) == trees.read(pair[0])


def test_holes_stay_holes(pair: tuple[str, str]) -> None:
    with open(f"{pair[0]}/sparse", "wb") as file:
        file.seek(64 << 20)
        file.write(b"middle")
        file.truncate(128 << 20)
    copy_tree(os.fsencode(pair[0]), os.fsencode(pair[1]))
    status = os.stat(f"{pair[1]}/sparse")
    assert status.st_size == 128 << 20
    assert status.st_blocks * 512 < 1 << 20


def test_without_copy_file_range_the_content_is_the_same(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*arguments: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("multios.layers.copying.os.copy_file_range", absent)
    data = os.urandom(3 << 20)
    Path(pair[0], "file").write_bytes(data)
    copy_tree(os.fsencode(pair[0]), os.fsencode(pair[1]))
    assert Path(pair[1], "file").read_bytes() == data


def test_a_copy_shares_nothing_that_is_written(pair: tuple[str, str]) -> None:
    Path(pair[0], "file").write_text("old")
    copy_tree(os.fsencode(pair[0]), os.fsencode(pair[1]))
    Path(pair[1], "file").write_text("new")
    assert Path(pair[0], "file").read_text() == "old"


def test_sockets_and_fifos_are_kept(pair: tuple[str, str]) -> None:
    os.mkfifo(f"{pair[0]}/fifo")
    os.mknod(f"{pair[0]}/socket", stat.S_IFSOCK | 0o600)
    copy_tree(os.fsencode(pair[0]), os.fsencode(pair[1]))
    assert stat.S_ISFIFO(os.stat(f"{pair[1]}/fifo").st_mode)
    assert stat.S_ISSOCK(os.stat(f"{pair[1]}/socket").st_mode)
