"""Untrusted layers into directories: nothing escapes, whiteouts mean what the specification says, errors are one line."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import random
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError, StepFailed
from multios.layers.apply import Applier
from multios.layers.archive import Source
from multios.layers.unpack import Bounds, unpack
from multios.model.mount import Mount
from multios.supervisor.mounts import mounted

pytestmark = pytest.mark.needs_root


def tar(*entries: tuple[str, str] | tuple[str, str, Any], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of ``(type, name, content or link or device)``; types as in find(1): f d l h c p."""
    types = {"f": b"0", "h": b"1", "l": b"2", "c": b"3", "b": b"4", "d": b"5", "p": b"6"}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for kind, name, *more in entries:
            info = tarfile.TarInfo(name)
            info.type = types[kind]
            info.mode = 0o755 if kind == "d" else 0o644
            data = b""
            if kind == "f":
                data = (more[0] if more else "").encode()
                info.size = len(data)
            elif kind in "lh":
                info.linkname = more[0]
            elif kind in "cb":
                info.devmajor, info.devminor = more[0]
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


# --- streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_compressions_are_told_apart_and_both_digests_are_known(pack: Any, target: Path) -> None:
    data = tar(("d", "etc"), ("f", "etc/hosts", "x" * 5000))
    blob = pack(data)
    result = unpack(io.BytesIO(blob), target)
    assert result.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.blob == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert (result.size, result.entries) == (len(data), 2)
    assert (target / "etc/hosts").read_text() == "x" * 5000


def test_streams_of_several_gzip_members_are_one(target: Path) -> None:
    data = tar(("f", "file", "x" * 5000))
    unpack(io.BytesIO(gzip.compress(data[:1000]) + gzip.compress(data[1000:])), target)
    assert (target / "file").read_text() == "x" * 5000


def test_files_pipes_and_objects_are_read_alike(target: Path, tmp_path: Path) -> None:
    data = gzip.compress(tar(("f", "file", "x" * 100_000)))
    (tmp_path / "layer").write_bytes(b"skipped" + data)
    seen: list[int] = []
    with open(tmp_path / "layer", "rb") as file:
        file.read(7)
        unpack(file, target, progress=seen.append)
    assert seen[-1] == len(data) + 7
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb") as sink:
        sink.write(data)
        sink.close()
        unpack(source, target)
    with open(tmp_path / "layer", "rb", buffering=0) as raw:
        raw.seek(7)
        unpack(raw, target)


def test_an_error_of_the_stream_is_the_callers(target: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises((ConnectionResetError, MultiosError)):
        unpack(Broken(), target)  # type: ignore[arg-type]


GOOD = tar(("d", "etc"), ("f", "etc/hosts", "x" * 5000), ("l", "link", "etc"))
CORRUPT = {
    "empty": b"",
    "no tar": b"this is no tar" * 100,
    "short": GOOD[:700],
    "cut in a file": GOOD[:3000],
    "a flipped bit": GOOD[:100] + b"\xff" + GOOD[101:],
    "gzip cut short": gzip.compress(GOOD)[:-30],
    "gzip corrupt": gzip.compress(GOOD)[:40] + bytes(30) + gzip.compress(GOOD)[70:],
    "xz cut short": lzma.compress(GOOD)[:-30],
    "zstd cut short": zstandard.compress(GOOD)[:-30],
    "zstd corrupt": zstandard.compress(GOOD)[:9] + b"\xff" * 9 + zstandard.compress(GOOD)[18:],
    "zstd with rubbish after it": zstandard.compress(GOOD) + b"rubbish" * 9,
    "gzip with rubbish after it": gzip.compress(GOOD) + b"rubbish" * 9,
    "gzip with a wrong checksum": gzip.compress(GOOD)[:-8] + b"nope" + gzip.compress(GOOD)[-4:],
    "gzip of nothing": gzip.compress(b""),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_corrupt_layers_are_one_line(kind: str, target: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        unpack(io.BytesIO(CORRUPT[kind]), target)
    assert "\n" not in caught.value.cause


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_any_damage_is_survived_or_named(seed: int) -> None:
    generator = random.Random(seed)
    data = bytearray(GOOD)
    for _ in range(generator.randint(1, 8)):
        data[generator.randrange(2000)] = generator.randrange(256)
    # The checksum is made right again, so that the damage gets past it.
    header = bytes(data[:148]) + b" " * 8 + bytes(data[156:512])
    data[148:156] = b"%06o\0 " % sum(header)
    with tempfile.TemporaryDirectory() as root, contextlib.suppress(InvalidInput, StepFailed):
        Applier(100, root=os.fsencode(root)).apply(Source([bytes(data)], 1 << 20))


def test_a_target_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="absent"):
        unpack(io.BytesIO(GOOD), tmp_path / "absent")


def test_more_entries_than_allowed_are_refused(target: Path) -> None:
    with pytest.raises(InvalidInput, match="3 entries"):
        unpack(io.BytesIO(tar(*[("f", f"{n}") for n in range(4)])), target, bounds=Bounds(entries=3))


def test_a_compressed_bomb_ends_at_its_bound(target: Path) -> None:
    bomb = gzip.compress(tar(("f", "zeros", "\0" * (8 << 20))))
    with pytest.raises(InvalidInput, match="larger than"):
        unpack(io.BytesIO(bomb), target, bounds=Bounds(size=1 << 20))


def test_extended_headers_do_not_fill_the_memory(target: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", 1 << 32
    with pytest.raises(InvalidInput, match="extended header"):
        unpack(io.BytesIO(header.tobuf(tarfile.USTAR_FORMAT) if header.size < 8**11 else b""), target)


def test_the_host_running_full_is_no_fault_of_the_layer(target: Path) -> None:
    with mounted((Mount("tmpfs", "tmpfs", ("size=64k",)),)) as small:
        with pytest.raises(StepFailed, match="[Ss]pace"):
            unpack(io.BytesIO(tar(("f", "big", "x" * (1 << 20)))), small)


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_formats_of_tar_are_read(format: int, target: Path) -> None:
    long = "/".join(["d" * 60] * 3)
    unpack(io.BytesIO(tar(("f", long, "x"), ("l", "link", "t" * 90), format=format)), target)
    assert (target / long).read_text() == "x"
    assert os.readlink(target / "link") == "t" * 90


def test_long_names_and_links_of_gnu_are_read(target: Path) -> None:
    name = "n" * 200
    unpack(io.BytesIO(tar(("f", name, "x"), ("l", "link", "t" * 300), format=tarfile.GNU_FORMAT)), target)
    assert (target / name).read_text() == "x"
    assert os.readlink(target / "link") == "t" * 300


def test_owners_modes_times_attributes_and_links_are_set(target: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folder = tarfile.TarInfo("d")
        folder.type, folder.mode, folder.mtime = b"5", 0o1770, 1000
        archive.addfile(folder)
        info = tarfile.TarInfo("d/f")
        info.mode, info.uid, info.gid = 0o6711, 3_000_000, 7
        info.pax_headers = {"mtime": "12345.678901234", "SCHILY.xattr.user.x": "y"}
        archive.addfile(info)
        link = tarfile.TarInfo("d/g")
        link.type, link.linkname = b"1", "d/f"
        archive.addfile(link)
    unpack(io.BytesIO(buffer.getvalue()), target)
    status = os.stat(target / "d/f")
    assert stat.S_IMODE(status.st_mode) == 0o6711
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (3_000_000, 7, 12_345_678_901_234)
    assert os.getxattr(target / "d/f", "user.x") == b"y"
    assert os.path.samefile(target / "d/f", target / "d/g")
    folder_status = os.stat(target / "d")
    assert (stat.S_IMODE(folder_status.st_mode), folder_status.st_mtime) == (0o1770, 1000)


def test_sparse_entries_are_refused_by_name(target: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type = b"S"
    with pytest.raises(InvalidInput, match="sparse"):
        unpack(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT)), target)


def test_directories_that_the_layer_does_not_name_are_plain(target: Path) -> None:
    unpack(io.BytesIO(tar(("f", "a/b/c", "x"))), target)
    assert stat.S_IMODE(os.stat(target / "a").st_mode) == 0o755


# --- hostile layers ----------------------------------------------------------------------------

ESCAPES: dict[str, list[Any]] = {
    "parent": [("f", "../escaped", "x")],
    "absolute": [("f", "/../escaped", "x")],
    "inside": [("d", "a"), ("f", "a/../../escaped", "x")],
    "link up": [("l", "a", ".."), ("f", "a/escaped", "x")],
    "link to the root": [("l", "a", "/"), ("f", "a/escaped", "x")],
    "link far up": [("l", "a", "../" * 40), ("f", "a/escaped", "x")],
    "chain": [("l", "a", ".."), ("l", "b", "a/.."), ("f", "b/escaped", "x")],
    "hard link out": [("h", "a", "../victim")],
    "hard link over a link": [("l", "a", ".."), ("h", "b", "a/victim")],
    "through an old link": [("f", "old/escaped", "x")],
    "whiteout above": [("f", "../.wh.victim")],
    "whiteout over a link": [("l", "a", ".."), ("f", "a/.wh.victim")],
    "opaque over a link": [("l", "a", ".."), ("f", "a/.wh..wh..opq")],
    "whiteout of the parent": [("d", "a"), ("f", "a/.wh...")],
    "whiteout of itself": [("d", "a"), ("f", "a/.wh..")],
    "written over a link": [("l", "a", "../victim"), ("f", "a", "overwritten")],
    "directory over a link": [("l", "a", ".."), ("d", "a"), ("f", "a/x", "x")],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_hostile_names_never_escape(name: str, tmp_path: Path, target: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    os.symlink(tmp_path, target / "old")
    with contextlib.suppress(InvalidInput):
        unpack(io.BytesIO(tar(*ESCAPES[name])), target)
    assert names(tmp_path) - {f"target/{item}" for item in names(target)} == {"target", "victim"}
    assert (tmp_path / "victim").read_text() == "untouched"
    assert os.stat(tmp_path / "victim").st_nlink == 1


PIECES = st.sampled_from(["..", ".", "", "a", "b", ".wh.a", ".wh..", ".wh..wh..opq", "victim"])
HOSTILE_NAMES = st.lists(PIECES, min_size=1, max_size=4).map("/".join)
HOSTILE = st.one_of(
    st.tuples(st.sampled_from("fd"), HOSTILE_NAMES),
    st.tuples(st.sampled_from("lh"), HOSTILE_NAMES, HOSTILE_NAMES.map(lambda name: name or "x")),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(HOSTILE, max_size=6))
def test_no_mixture_of_names_and_links_escapes(entries: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        outer = Path(directory)
        (outer / "target").mkdir()
        (outer / "victim").write_text("untouched")
        with contextlib.suppress(InvalidInput, StepFailed):
            unpack(io.BytesIO(tar(*entries)), outer / "target")
        assert sorted(os.listdir(outer)) == ["target", "victim"]
        assert (outer / "victim").read_text() == "untouched"
        assert os.stat(outer / "victim").st_nlink == 1


@pytest.mark.parametrize(
    "entry",
    [
        ("f", "x" * 300),
        ("f", "/".join(["x" * 200] * 25)),
        ("h", "a", "missing"),
        ("c", "dev", (0, 0)),
        ("f", "."),
    ],
)
def test_what_cannot_be_is_refused(entry: Any, target: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        unpack(io.BytesIO(tar(entry)), target)
    assert len(caught.value.cause) < 250


def test_overlay_marks_in_a_layer_are_dropped(target: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("d")
        info.type, info.mode = b"5", 0o755
        info.pax_headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.x": "1"}
        archive.addfile(info)
    unpack(io.BytesIO(buffer.getvalue()), target)
    assert os.listxattr(target / "d") == ["trusted.x"]


# --- replacing and whiteouts --------------------------------------------------------------------


def test_entries_replace_what_is_there(target: Path) -> None:
    (target / "dir/sub").mkdir(parents=True)
    (target / "dir/kept").touch()
    (target / "file").write_text("old")
    os.symlink("dir", target / "link")
    layer = tar(("d", "dir"), ("f", "dir/sub", "now a file"), ("d", "file"), ("d", "link"), ("f", "link/x"))
    unpack(io.BytesIO(layer), target)
    assert (target / "dir/sub").read_text() == "now a file"
    assert (target / "dir/kept").exists() and (target / "file").is_dir()
    assert not (target / "link").is_symlink() and not (target / "dir/x").exists()


def test_a_file_that_comes_twice_is_the_last(target: Path) -> None:
    unpack(io.BytesIO(tar(("f", "a", "1"), ("h", "b", "a"), ("h", "b", "a"), ("f", "a", "2"))), target)
    assert ((target / "a").read_text(), (target / "b").read_text()) == ("2", "1")


Tree = dict[str, Any]
LETTERS = st.sampled_from("abc")
CONTENT = st.sampled_from(["1", "2", ""])


def trees_of(depth: int) -> st.SearchStrategy[Tree]:
    below = CONTENT if depth == 0 else st.one_of(CONTENT, trees_of(depth - 1))
    return st.dictionaries(LETTERS, below, max_size=3)


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tree, set[str], set[str]]:
    """What a layer brings, its whiteouts and its opaque directories."""
    brings = draw(trees_of(2))
    folders = ["", *folders_of(brings)]
    whiteouts = draw(st.sets(st.tuples(st.sampled_from(folders), LETTERS), max_size=3))
    opaque = draw(st.sets(st.sampled_from(folders), max_size=2))
    return brings, {f"{folder}{name}" for folder, name in whiteouts}, opaque


def folders_of(tree: Tree, prefix: str = "") -> Iterator[str]:
    for name, below in tree.items():
        if isinstance(below, dict):
            yield f"{prefix}{name}/"
            yield from folders_of(below, f"{prefix}{name}/")


def model(lower: Tree, brings: Tree, whiteouts: set[str], opaque: set[str], prefix: str = "") -> Tree:
    """The specification in a few lines: hide, then lay over."""
    hidden = prefix in opaque
    result: Tree = {
        name: below for name, below in lower.items() if not hidden and f"{prefix}{name}" not in whiteouts
    }
    for name, below in brings.items():
        if isinstance(below, dict):
            old = result.get(name)
            result[name] = model(
                old if isinstance(old, dict) else {}, below, whiteouts, opaque, f"{prefix}{name}/"
            )
        else:
            result[name] = below
    return result


def entries_of(brings: Tree, whiteouts: set[str], opaque: set[str], prefix: str = "") -> Iterator[Any]:
    """A directory before its content; its whiteouts stand last, to be hardest."""
    for name, below in brings.items():
        if isinstance(below, dict):
            yield ("d", f"{prefix}{name}")
            yield from entries_of(below, whiteouts, opaque, f"{prefix}{name}/")
        else:
            yield ("f", f"{prefix}{name}", below)
    for path in sorted(whiteouts):
        if path.rpartition("/")[0] == prefix.rstrip("/"):
            yield ("f", f"{prefix}.wh.{path.rpartition('/')[2]}")
    if prefix in opaque:
        yield ("f", f"{prefix}.wh..wh..opq")


def make(tree: Tree, root: str) -> None:
    for name, below in tree.items():
        if isinstance(below, dict):
            os.mkdir(f"{root}/{name}")
            make(below, f"{root}/{name}")
        else:
            Path(f"{root}/{name}").write_text(below)


def read_tree(root: str) -> Tree:
    result: Tree = {}
    for entry in os.scandir(root):
        result[entry.name] = read_tree(entry.path) if entry.is_dir() else Path(entry.path).read_text()
    return result


@settings(max_examples=150, deadline=None)
@given(trees_of(2), layers(), st.randoms(use_true_random=False), st.booleans())
def test_whiteouts_mean_what_the_model_says(
    lower: Tree, layer: tuple[Tree, set[str], set[str]], generator: random.Random, first: bool
) -> None:
    entries = list(entries_of(*layer))
    if first:  # whiteouts before what the layer brings, where the parents are there already
        marks = [entry for entry in entries if "/" not in entry[1] and entry[1].startswith(".wh.")]
        generator.shuffle(marks)
        entries = marks + [entry for entry in entries if entry not in marks]
    with tempfile.TemporaryDirectory() as root:
        make(lower, root)
        Applier(1000, root=os.fsencode(root)).apply(Source([tar(*entries)], 1 << 30))
        assert read_tree(root) == model(lower, *layer)


@settings(max_examples=40, deadline=None)
@given(trees_of(2), layers())
def test_whiteouts_on_a_mounted_overlay_mean_the_same(
    lower: Tree, layer: tuple[Tree, set[str], set[str]]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{root}/{name}")
        make(lower, f"{root}/lower")
        options = (f"lowerdir={root}/lower", f"upperdir={root}/upper", f"workdir={root}/work")
        with mounted((Mount("overlay", "overlay", options),)) as descriptor:
            place = f"/proc/self/fd/{descriptor}"
            data = tar(*entries_of(*layer))
            Applier(1000, root=os.fsencode(place)).apply(Source([data], 1 << 30))
            assert read_tree(place) == model(lower, *layer)
