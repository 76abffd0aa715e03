"""Reading a submission believes nothing: whatever the bytes are, it is a submission or is refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput, NotFound
from multios_labs.submission import LAYER, MANIFEST, SIGNATURES, STATEMENT, read

NAMES = (MANIFEST, STATEMENT, SIGNATURES, LAYER)


def whole(contents: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


GOOD = whole({MANIFEST: b'{"student": "ada"}', STATEMENT: b"{}", SIGNATURES: b"{}", LAYER: bytes(1024)})


def test_four_plain_parts_are_read(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(GOOD)
    assert read(file).student == "ada"


@pytest.mark.parametrize(
    "contents",
    [
        dict.fromkeys(NAMES[:3], b"{}"),
        dict.fromkeys([*NAMES, "more"], b"{}"),
        {**dict.fromkeys(NAMES, b"{}"), MANIFEST: b"[]"},
        {**dict.fromkeys(NAMES, b"{}"), MANIFEST: b"[" * 100_000},
        {**dict.fromkeys(NAMES[1:], b"{}"), "x" * 150: b"{}"},
        dict.fromkeys(["../a", "/etc/passwd", "b", "c"], b"{}"),
    ],
)
def test_other_parts_are_refused(tmp_path: Path, contents: dict[str, bytes]) -> None:
    file = tmp_path / "one"
    file.write_bytes(whole(contents))
    with pytest.raises(InvalidInput, match="no whole submission"):
        read(file)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(InvalidInput):
            read(tmp_path / name)
    with pytest.raises(NotFound):
        read(tmp_path / "nothing")


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=16), st.integers(0, len(GOOD)))
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, junk: bytes, length: int
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "one"
    file.write_bytes((GOOD[:position] + junk + GOOD[position + len(junk) :])[:length])
    try:
        read(file)
    except InvalidInput as error:
        assert str(file) in error.cause
