"""Trees copied by descriptor: merged, replaced, and never out of the root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.build import stubs
from multios.build.modes import parse_mode
from multios.build.placing import chosen, destination_of, place
from multios.build.trees import RootTree, TreeWriter, content_digest, opened_directory
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound

pytestmark = pytest.mark.needs_root


class Trees:
    """A source and a target directory, open."""

    def __init__(self, directory: Path, source: int, target: int) -> None:
        self.outside = directory
        self.source, self.target = directory / "source", directory / "target"
        self.tree, self.root = RootTree(source), target

    def copy(self, *patterns: str, to: str = "/", **words: object) -> None:
        paths = chosen(self.tree, patterns)
        destination, into = destination_of(to, "/", len(paths))
        with TreeWriter(self.root, **words) as writer:  # type: ignore[arg-type]
            writer.make_directories(destination if into else os.path.dirname(destination))
            writer.write(
                self.tree,
                place(self.tree, paths, destination, into or writer.is_directory(destination)),
                lambda: False,
            )

    def digest(self, pattern: str = "/", owners: bool = True) -> str:
        placed = place(self.tree, chosen(self.tree, [pattern]), "", True)
        return content_digest(self.tree, placed, owners)


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    with opened_directory(tmp_path / "source") as source, opened_directory(tmp_path / "target") as target:
        yield Trees(tmp_path, source, target)


def test_everything_of_a_tree_arrives_as_it_was(trees: Trees) -> None:
    (trees.source / "d/e").mkdir(parents=True)
    file = trees.source / "d/file"
    file.write_bytes(b"x" * 3_000_000)
    os.chown(file, 5, 6)
    file.chmod(0o4751)
    os.setxattr(file, "user.note", b"kept")
    os.link(file, trees.source / "d/twin")
    (trees.source / "d/link").symlink_to("/nowhere")
    os.mkfifo(trees.source / "d/fifo")
    os.mknod(trees.source / "d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.utime(file, ns=(10**18, 10**18))
    os.utime(trees.source / "d", ns=(2 * 10**18, 2 * 10**18))
    trees.copy("d", to="/copy/")
    copy = trees.target / "copy"
    status = (copy / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (5, 6, 0o4751)
    assert status.st_mtime_ns == 10**18 and copy.stat().st_mtime_ns == 2 * 10**18
    assert os.getxattr(copy / "file", "user.note") == b"kept"
    assert (copy / "twin").stat().st_ino == status.st_ino
    assert os.readlink(copy / "link") == "/nowhere"
    assert stat.S_ISFIFO((copy / "fifo").stat().st_mode)
    assert (copy / "null").stat().st_rdev == os.makedev(1, 3)
    assert (copy / "file").read_bytes() == file.read_bytes()


def test_owner_and_mode_are_what_was_asked_for(trees: Trees) -> None:
    (trees.source / "d").mkdir()
    (trees.source / "d/file").write_text("x")
    trees.copy("d", to="/new/d/", owner=(7, 8), mode=parse_mode("u=rwX,go="))
    for path, mode in (("new/d", 0o700), ("new/d/file", 0o600)):
        status = (trees.target / path).stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, mode)


def test_directories_are_merged_and_files_replaced_not_written_through(trees: Trees) -> None:
    (trees.source / "d").mkdir()
    (trees.source / "d/file").write_text("new")
    (trees.target / "d").mkdir()
    (trees.target / "d/other").write_text("stays")
    (trees.outside / "victim").write_text("untouched")
    (trees.target / "d/file").symlink_to(trees.outside / "victim")
    trees.copy("/", to="/")
    assert (trees.target / "d/file").read_text() == "new"
    assert not (trees.target / "d/file").is_symlink()
    assert (trees.target / "d/other").read_text() == "stays"
    assert (trees.outside / "victim").read_text() == "untouched"


def test_links_in_the_destination_stay_within_the_root(trees: Trees) -> None:
    (trees.source / "file").write_text("x")
    up = "../../../../../../.."
    (trees.target / "relative").symlink_to(f"{up}{trees.outside}")
    (trees.target / "absolute").symlink_to(trees.outside)
    for name in ("relative", "absolute"):
        with pytest.raises(MultiosError):
            trees.copy("file", to=f"/{name}/made/file")
        with pytest.raises(MultiosError):
            trees.copy("file", to=f"/{name}/")
    assert sorted(os.listdir(trees.outside)) == ["source", "target"]
    (trees.target / "real").mkdir()
    (trees.target / "alias").symlink_to("/real")
    trees.copy("file", to="/alias/below/")
    assert (trees.target / "real/below/file").read_text() == "x"


def test_links_in_the_source_stay_within_its_root(trees: Trees) -> None:
    (trees.outside / "secret").write_text("secret")
    (trees.source / "leak").symlink_to(f"../../../../../../../..{trees.outside}/secret")
    (trees.source / "leaks").symlink_to("../..")
    with pytest.raises(NotFound):
        trees.copy("leak", to="/got")
    with pytest.raises(NotFound):
        trees.copy("leaks/secret", to="/got")
    with pytest.raises(NotFound):
        trees.copy("../secret", to="/got")
    assert not os.listdir(trees.target)


def test_a_file_that_changes_while_it_is_copied_is_an_error(trees: Trees) -> None:
    class Growing(RootTree):
        def open(self, path: str) -> int:
            descriptor = super().open(path)
            with (trees.source / path).open("a") as file:
                file.write("more")
            return descriptor

    (trees.source / "file").write_text("first")
    placed = place(trees.tree, chosen(trees.tree, ["file"]), "", True)
    with opened_directory(trees.source) as source, TreeWriter(trees.root) as writer:
        with pytest.raises(Conflict, match="has changed"):
            writer.write(Growing(source), placed, lambda: False)


def test_a_link_to_what_was_replaced_since_is_a_copy(trees: Trees) -> None:
    for name in ("a", "b"):
        (trees.source / name).mkdir()
    (trees.source / "a/x").write_text("linked")
    (trees.source / "b/x").write_text("other")
    os.link(trees.source / "a/x", trees.source / "b/y")
    os.link(trees.source / "a/x", trees.source / "b/z")
    trees.copy("a", "b", to="/d/")
    assert [(trees.target / "d" / name).read_text() for name in "xyz"] == ["other", "linked", "linked"]
    assert os.path.samefile(trees.target / "d/y", trees.target / "d/z")


def test_a_file_never_takes_a_directorys_place_nor_the_reverse(trees: Trees) -> None:
    (trees.source / "a").write_text("x")
    (trees.source / "b/a").mkdir(parents=True)
    (trees.target / "a").write_text("old")
    with pytest.raises(InvalidInput, match="cannot take its place"):
        trees.copy("b", to="/")
    (trees.target / "x/y").mkdir(parents=True)
    (trees.source / "c").mkdir()
    (trees.source / "c/y").write_text("x")
    with pytest.raises(InvalidInput, match="no file can take its place"):
        trees.copy("c", to="/x")


def test_a_digest_tells_contents_names_modes_and_owners_but_no_times(trees: Trees) -> None:
    file = trees.source / "file"
    file.write_text("one")
    first = trees.digest()
    os.utime(file, (1, 1))
    assert trees.digest() == first
    file.write_text("two")
    second = trees.digest()
    file.chmod(0o700)
    third = trees.digest()
    os.chown(file, 3, 3)
    assert len({first, second, third, trees.digest()}) == 4
    assert trees.digest(owners=False) == trees.digest(owners=False)
    file.rename(trees.source / "other")
    assert trees.digest() not in {first, second, third}


def test_a_destination_is_relative_to_the_working_directory() -> None:
    assert destination_of("x", "/w", 1) == ("w/x", False)
    assert destination_of("x/", "/w", 2) == ("w/x", True)
    assert destination_of("../../..", "/w", 1) == ("", True)
    assert destination_of(".", "/w", 3) == ("w", True)
    with pytest.raises(InvalidInput, match="must be a directory"):
        destination_of("x", "/w", 2)


def test_mount_points_that_were_not_there_go_again_unless_something_is_in_them(trees: Trees) -> None:
    (trees.target / "etc").mkdir()
    places = stubs.absent(trees.root, ["/made/deep/here", "/etc/there"])
    assert "/etc" not in places and "/made/deep/here" in places
    for path in ("dev", "made/deep/here", "proc"):
        (trees.target / path).mkdir(parents=True)
    (trees.target / "etc/hosts").touch()
    (trees.target / "etc/there").write_text("written")
    (trees.target / "proc/kept").touch()
    stubs.remove(trees.root, places)
    found = sorted(str(path.relative_to(trees.target)) for path in trees.target.rglob("*"))
    assert found == ["etc", "etc/there", "proc", "proc/kept"]
