"""The walk that stands in for openat2(2) gives what the kernel gives, whatever the tree."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.supervisor import flags
from multios.supervisor.rooted_paths import open_rooted
from multios.supervisor.syscalls import kernel

NAMES = st.sampled_from(["a", "b", "c", "..", ".", ""])
PATHS = st.builds(
    lambda start, names: start + "/".join(names), st.sampled_from(["", "/"]), st.lists(NAMES, max_size=6)
)
ENTRIES = st.lists(st.tuples(PATHS, st.sampled_from(["directory", "file", "link"]), PATHS), max_size=8)
WAYS = st.sampled_from(
    [
        flags.RESOLVE_IN_ROOT,
        flags.RESOLVE_BENEATH,
        flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_SYMLINKS,
        flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS,
    ]
)
OPTIONS = st.sampled_from(
    [
        os.O_PATH,
        os.O_PATH | os.O_NOFOLLOW,
        os.O_RDONLY,
        os.O_RDONLY | os.O_DIRECTORY,
        os.O_PATH | os.O_DIRECTORY,
    ]
)


def make(top: Path, entries: list[tuple[str, str, str]]) -> None:
    """A tree of what can be made of ``entries``, all below ``top``."""
    for path, kind, text in entries:
        names = [name for name in path.split("/") if name not in ("", ".", "..")]
        place = top.joinpath(*names)
        try:
            if not place.parent.resolve().is_relative_to(top.resolve()):
                continue
            if kind == "directory":
                place.mkdir(parents=True)
            elif kind == "file":
                place.touch()
            elif text:
                place.symlink_to(text)
        except (OSError, RuntimeError):
            continue


def told(action: object, *arguments: object) -> object:
    """What an opening came to: the file's identity, or the error."""
    try:
        descriptor = action(*arguments)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    status = os.fstat(descriptor)
    os.close(descriptor)
    return status.st_dev, status.st_ino


@given(entries=ENTRIES, path=PATHS, way=WAYS, options=OPTIONS)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_answers_as_the_kernel_does(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[str, str, str]],
    path: str,
    way: int,
    options: int,
) -> None:
    if not kernel.has("openat2"):
        pytest.skip("this kernel lacks openat2 to compare with")
    top = tmp_path_factory.mktemp("tree", numbered=True)
    make(top, entries)
    root = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        wanted = told(kernel.openat2, root, path, options, way)
        assert told(open_rooted, root, path, options, way) == wanted
    finally:
        os.close(root)


def test_a_file_is_created_where_a_link_in_the_root_leads(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to("/etc/made")
    root = os.open(tmp_path, os.O_PATH)
    try:
        os.close(open_rooted(root, "link", os.O_WRONLY | os.O_CREAT, flags.RESOLVE_IN_ROOT, 0o600))
    finally:
        os.close(root)
    assert (tmp_path / "etc/made").exists()
    assert not Path("/etc/made").exists()


def test_a_directory_moved_out_while_the_walk_goes_on_leads_nowhere_else(tmp_path: Path) -> None:
    """CVE-2015-2925's kind: what is renamed out of the root must not give ``..`` a way to the host."""
    inside, outside = tmp_path / "root", tmp_path / "outside"
    (inside / "a/b").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "secret").touch()
    root = os.open(inside, os.O_PATH)
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            os.rename(inside / "a/b", outside / "b")
            os.rename(outside / "b", inside / "a/b")

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(2000):
            assert (
                told(open_rooted, root, "a/b/../../../secret", os.O_PATH, flags.RESOLVE_IN_ROOT) == "ENOENT"
            )
    finally:
        stop.set()
        mover.join()
        os.close(root)
