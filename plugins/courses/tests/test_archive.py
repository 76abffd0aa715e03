"""Bundles as files: read back as written, and never more believed than the manifest says."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_courses import archive
from multios_courses.archive import MANIFEST, Bundle, check_name, write

LONG = "course/" + "d" * 90 + "/" + "f" * 99


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {
        "course/course.toml": b"schema = 1\n",
        "wheels/a.whl": b"x" * 1000,
        "course/run": b"",
        LONG: b"deep",
    }
    found = {}
    for number, (name, data) in enumerate(contents.items()):
        path = tmp_path / str(number)
        path.write_bytes(data)
        path.chmod(0o755 if name == "course/run" else 0o600)
        found[name] = path
    return found


@pytest.fixture
def whole(files: dict[str, Path], tmp_path: Path) -> bytes:
    write(tmp_path / "b", {"schema": 1}, files)
    return (tmp_path / "b").read_bytes()


def opened(data: bytes) -> Bundle:
    path = Path(os.environ["PYTEST_BUNDLE"])
    path.write_bytes(data)
    return Bundle(path.open("rb"), "b")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_BUNDLE", str(tmp_path / "opened"))


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidInput) as refused:
        opened(data)
    assert "nothing was installed" in refused.value.cause or "no bundle" in refused.value.cause
    return refused.value.cause


def test_what_was_written_is_read_back(whole: bytes, files: dict[str, Path], tmp_path: Path) -> None:
    bundle = opened(whole)
    assert set(bundle.members) == set(files) and bundle.manifest["schema"] == 1
    for number, (name, path) in enumerate(files.items()):
        target = tmp_path / "out" / str(number)
        bundle.extract(bundle.members[name], target)
        assert target.read_bytes() == path.read_bytes()
        assert bool(target.stat().st_mode & 0o100) == (name == "course/run")


def test_any_tar_reads_it(whole: bytes, files: dict[str, Path]) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as read:
        assert {member.name for member in read} == {MANIFEST, *files}


def test_the_same_files_give_the_same_bytes(files: dict[str, Path], whole: bytes, tmp_path: Path) -> None:
    for path in files.values():
        os.utime(path, (5, 5))
    digest = write(tmp_path / "again", {"schema": 1}, dict(reversed(files.items())))
    assert (tmp_path / "again").read_bytes() == whole and opened(whole).digest == digest


def test_a_bundle_that_was_cut_anywhere_is_refused(whole: bytes) -> None:
    for length in (0, 100, 511, 512, 700, len(whole) // 2, len(whole) - 1024, len(whole) - 1):
        assert refusal(whole[:length])
    assert "wheels/a.whl: the file ends inside it: it was cut" in refusal(
        whole[: whole.index(b"x" * 1000) + 500]
    )


def test_a_changed_byte_is_found_and_the_file_named(whole: bytes) -> None:
    position = whole.index(b"x" * 1000) + 7
    changed = whole[:position] + b"y" + whole[position + 1 :]
    assert "wheels/a.whl: its digest is not the manifest's" in refusal(changed)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_flipped_bit_is_refused_or_makes_it_another_bundle(whole: bytes, data: st.DataObject) -> None:
    """But for the padding behind a file, which nobody reads: another digest, which ``install --sha256`` refuses."""
    position = data.draw(st.integers(0, len(whole) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = bytearray(whole)
    changed[position] ^= bit
    before = opened(whole)
    try:
        after = opened(bytes(changed))
    except InvalidInput:
        return
    if after.digest == before.digest:
        assert (after.manifest, after.members) == (before.manifest, before.members)


@settings(max_examples=200)
@given(st.binary(max_size=3000))
@example(b"\0" * 1024)
def test_no_bytes_are_answered_with_anything_but_a_refusal(data: bytes) -> None:
    assert refusal(data)


def _header(name: str, size: int, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A header as the writer makes it, but for a name or a type that it would not write; its checksum is right."""
    made = bytearray(archive._header("x", size, False))
    made[:100] = name.encode().ljust(100, b"\0")
    made[156:157], made[157:257] = kind, link.ljust(100, b"\0")
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def _tar(*members: tuple[str, bytes], kind: bytes = b"0", manifest: bytes | None = None) -> bytes:
    """A bundle whose manifest tells the truth about these members, unless it is given."""
    if manifest is None:
        listed = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "executable": False}
            for name, data in members
        }
        manifest = json.dumps({"files": listed}).encode()
    parts = [_header(MANIFEST, len(manifest)), _padded(manifest)]
    for name, data in members:
        parts += [_header(name, len(data), kind, b"/etc/passwd" if kind != b"0" else b""), _padded(data)]
    return b"".join(parts) + bytes(1024)


def test_the_hostile_bundles_of_these_tests_are_good_ones_but_for_what_they_test() -> None:
    assert list(opened(_tar(("course/a", b"a"), ("course/b", b""))).members) == ["course/a", "course/b"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/cron.d/x", "/etc/cron.d/x", "course/../../x", "course/./x", "course//x", "course/x/", "..", ".", "",
        "course/x\n", "course/\x1b[2J", "a\\b", "/".join(["d"] * 40),
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    assert f"after {MANIFEST}: a header is not valid" in refusal(_tar((name, b"evil")))


@pytest.mark.parametrize("kind", [b"\0", *(b"%d" % number for number in range(1, 8)), b"S", b"x", b"g", b"L"])
def test_what_is_no_plain_file_is_refused(kind: bytes) -> None:
    assert f"after {MANIFEST}: a header is not valid" in refusal(_tar(("course/x", b""), kind=kind))


def test_a_size_beyond_the_end_is_refused_before_anything_is_read() -> None:
    huge = _tar().removesuffix(bytes(1024)) + _header("course/x", 8**11 - 1)
    assert "course/x: the file ends inside it" in refusal(huge)


def test_a_file_twice_unnamed_or_missing_is_refused() -> None:
    assert "course/a: it is there twice" in refusal(_tar(("course/a", b"a"), ("course/a", b"a")))
    assert "course/b: the manifest does not name it" in refusal(
        _tar(("course/b", b"b"), manifest=b'{"files": {}}')
    )
    listed = _tar(("course/a", b"a"))
    assert "course/a: it is missing" in refusal(listed[: listed.index(_header("course/a", 1))] + bytes(1024))
    assert "does not end as a bundle does" in refusal(listed + b"more")


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"[]", b"{}", b'{"files": []}', b'{"files": {"a": 1}}', b'{"files": {"a": {"sha256": "x"}}}', b"[" * 100_000,
        b'{"files": {"a": {"sha256": "' + b"0" * 64 + b'", "size": -1.5, "executable": false}}}',
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_refused(manifest: bytes) -> None:
    cause = refusal(_tar(manifest=manifest))
    assert "manifest" in cause and "header" not in cause


@given(st.text(max_size=50))
def test_a_name_that_is_taken_leads_nowhere(name: str) -> None:
    try:
        check_name(name)
    except ValueError:
        return
    resolved = os.path.normpath(os.path.join("/inside", name))
    assert resolved.startswith("/inside/") and resolved != "/inside"


def test_names_that_do_not_fit_are_refused_when_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    for name in ("a" * 101, "ü", "../x", "a\nb"):
        with pytest.raises(InvalidInput, match="does not fit"):
            write(tmp_path / "b", {}, {name: tmp_path / "f"})
    assert not (tmp_path / "b").exists() and not list(tmp_path.glob(".b*"))


def test_a_file_that_is_no_bundle_is_called_so() -> None:
    assert "this is no bundle of a course" in refusal(b"root:x:0:0:root:/root:/bin/bash\n" * 40)
