"""``cp`` and ``export``: tar streams, and archives from a container that mean harm."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from multios.errors import InvalidInput, MultiosError, NotFound

Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sending(data: bytes) -> Any:
    def answer(request: Any) -> dict[str, str]:
        with os.fdopen(os.dup(request.fds[0]), "wb") as stream:
            try:
                stream.write(data)
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return {"id": "0123"}

    return answer


class Receiver:
    """A container with some directories; remembers what was unpacked where."""

    def __init__(self, *directories: str) -> None:
        self.directories = directories
        self.received: list[tuple[str, dict[str, bytes]]] = []
        self.owners: set[tuple[int, str]] = set()

    def __call__(self, request: Any) -> dict[str, str]:
        path = request.params["path"]
        if (path.rstrip("/") or "/") not in self.directories:
            raise InvalidInput(f"{path!r} in container 'c' is no directory", "name a directory")
        found: dict[str, bytes] = {}
        with (
            os.fdopen(os.dup(request.fds[0]), "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                found[info.name] = content.read() if content else b""
                self.owners.add((info.uid, info.uname))
            while stream.read(65536):
                pass
        self.received.append((path, found))
        return {"id": "0123"}


def test_export_writes_to_stdout_or_a_file(daemon: Any, cli: Any, tmp_path: Path) -> None:
    daemon.answers["containers.export"] = sending(b"the archive")
    assert cli("export", "c").stdout == "the archive"
    assert cli("export", "-o", "fs.tar", "c").returncode == 0
    assert (tmp_path / "fs.tar").read_bytes() == b"the archive"
    assert daemon.asked == [("containers.export", {"ref": "c"})] * 2


def test_a_failed_export_leaves_no_file(daemon: Any, cli: Any, tmp_path: Path) -> None:
    def fail(request: Any) -> Any:
        raise NotFound("no such container: 'c'")

    daemon.answers["containers.export"] = fail
    assert cli("export", "-o", "fs.tar", "c").returncode == 125
    assert not (tmp_path / "fs.tar").exists()


@pytest.mark.parametrize(
    ("target", "expected"), [("c:/work/", ("/work/", "main.py")), ("c:/work", ("/work", "main.py")), ("c:/work/other.py", ("/work", "other.py"))]
)  # fmt: skip
def test_a_file_goes_into_a_directory_or_under_a_new_name(
    target: str, expected: tuple[str, str], daemon: Any, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_bytes(b"print()" * 100_000)
    receiver = daemon.answers["containers.copy_in"] = Receiver("/", "/work")
    done = cli("cp", "main.py", target)
    assert (done.returncode, done.stderr) == (0, "")
    directory, name = expected
    assert receiver.received == [(directory, {name: b"print()" * 100_000})]
    assert receiver.owners == {(0, "")}


def test_a_tree_and_its_contents_are_copied_in(daemon: Any, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"A")
    receiver = daemon.answers["containers.copy_in"] = Receiver("/", "/work")
    for source in ("tree", "tree/", "tree/."):
        assert cli("cp", source, "c:/work").returncode == 0
    (_, whole), (_, slash), (_, contents) = receiver.received
    assert whole == slash == {"tree": b"", "tree/a": b"A"}
    assert {os.path.normpath(name) for name in contents} == {".", "a"}


def test_a_missing_target_directory_and_a_missing_source_are_told(
    daemon: Any, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "a").touch()
    daemon.answers["containers.copy_in"] = Receiver("/")
    done = cli("cp", "a", "c:/no/where/")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        125,
        "Error: '/no/where/' in container 'c' is no directory",
    )
    assert "no such file" in cli("cp", "b", "c:/").stderr


def test_streams_are_passed_through(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.copy_out"] = sending(b"tar")
    assert cli("cp", "c:/etc", "-").stdout == "tar"
    receiver = daemon.answers["containers.copy_in"] = Receiver("/work")
    assert cli("cp", "-", "c:/work", input=archive(member("x", b"X")).decode("latin-1")).returncode == 0
    assert receiver.received == [("/work", {"x": b"X"})]


TREE = archive(
    member("tree", type=tarfile.DIRTYPE, mode=0o755),
    member("tree/a", b"A" * 100_000, mode=0o640, mtime=1000),
    member("tree/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    member("tree/hard", type=tarfile.LNKTYPE, linkname="tree/a"),
)


@pytest.mark.parametrize(
    ("words", "root"),
    [
        ("c:/tree .", "tree"),
        ("c:/tree new", "new"),
        ("c:/tree there", "there/tree"),
        ("c:/tree/. there", "there"),
    ],
)
def test_a_tree_is_copied_out(words: str, root: str, daemon: Any, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    daemon.answers["containers.copy_out"] = sending(TREE)
    done = cli("cp", *words.split())
    assert (done.returncode, done.stderr) == (0, "")
    top = tmp_path / root
    assert (top / "a").read_bytes() == b"A" * 100_000
    assert ((top / "a").stat().st_mode & 0o7777, (top / "a").stat().st_mtime) == (0o640, 1000)
    assert os.readlink(top / "link") == "/etc/passwd"
    assert (top / "hard").stat().st_ino == (top / "a").stat().st_ino


def test_a_file_is_copied_out_over_an_old_one(daemon: Any, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "result").write_text("old")
    daemon.answers["containers.copy_out"] = sending(archive(member("answer.csv", b"42", mode=0o4755)))
    assert cli("cp", "c:/answer.csv", "result").returncode == 0
    assert (tmp_path / "result").read_text() == "42"
    assert (tmp_path / "result").stat().st_mode & 0o7777 == 0o755
    assert "no such directory" in cli("cp", "c:/answer.csv", "nowhere/").stderr


SLIPS: list[Members] = [
    [member("../outside", b"x")],
    [member("tree/../../outside", b"x")],
    [member("/outside", b"x")],
    [member("tree/link", type=tarfile.SYMTYPE, linkname="/OUT"), member("tree/link/outside", b"x")],
    [member("tree", type=tarfile.SYMTYPE, linkname="/OUT"), member("tree/outside", b"x")],
    [member("tree", type=tarfile.SYMTYPE, linkname="/OUT"), member("tree", type=tarfile.DIRTYPE), member("tree/outside", b"x")],
    [member("tree/hard", type=tarfile.LNKTYPE, linkname="../../secret")],
    [member("tree/link", type=tarfile.SYMTYPE, linkname="/OUT"), member("tree/hard", type=tarfile.LNKTYPE, linkname="tree/link/secret")],
    [member("tree/device", type=tarfile.BLKTYPE, devmajor=7)],
    [member("tree/fifo", type=tarfile.FIFOTYPE)],
]  # fmt: skip


@pytest.mark.parametrize("members", SLIPS)
def test_an_archive_that_leads_outside_is_refused(members: Members, tmp_path: Path) -> None:
    from multios.cli.archive import unpack

    out, target = tmp_path / "out", tmp_path / "deep" / "target"
    out.mkdir()
    target.mkdir(parents=True)
    (out / "secret").write_text("secret")
    for info, _ in members:
        info.linkname = info.linkname.replace("/OUT", str(out))
    with pytest.raises(MultiosError):
        unpack(io.BytesIO(archive(*members)), str(target))
    assert sorted(path.name for path in out.iterdir()) == ["secret"]
    assert not list(tmp_path.glob("outside")) and not list(target.parent.glob("outside"))
    assert os.stat(out / "secret").st_nlink == 1


def test_what_is_no_archive_is_told_and_the_daemons_own_error_comes_first(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.copy_out"] = sending(b"x" * 200_000)
    done = cli("cp", "c:/tree", ".")
    assert (done.returncode, "no archive" in done.stderr) == (125, True)

    def fail(request: Any) -> Any:
        raise NotFound("'/tree' is not in container 'c'", "look with `exec c ls`")

    daemon.answers["containers.copy_out"] = fail
    assert cli("cp", "c:/tree", ".").stderr.startswith("Error: '/tree' is not in container 'c'")
