"""What is taken over from a hostile archive: nothing that leads out, nothing through a link, nothing with rights."""

from __future__ import annotations

import io
import posixpath
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_labs.work import GRADED, MOST_ENTRIES, Work, write

ROOTS = ("/root/work",)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def taken(*entries: tarfile.TarInfo) -> tuple[dict[str, tarfile.TarInfo], Work]:
    layer, target = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for one in entries:
            archive.addfile(one)
    layer.seek(0)
    work = write(layer, target, ROOTS)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        return {member.name: member for member in archive}, work


def test_files_are_the_graded_users_and_have_no_rights() -> None:
    found, work = taken(
        entry("root/work/a", mode=0o6777),
        entry("./root/work/d", tarfile.DIRTYPE),
        entry("root", tarfile.DIRTYPE),
    )
    assert found["root/work/a"].mode == 0o755 and found["root/work/a"].uid == GRADED
    assert found["root"].uid == 0 and found["root"].mode == 0o711
    assert "root/work/d" in found and not work.left_out


@pytest.mark.parametrize(
    "one",
    [
        entry("../etc/passwd"),
        entry("root/work/../../etc/passwd"),
        entry("etc/passwd"),
        entry("/root/working/a"),
        entry("root/work/.wh.a"),
        entry("root/work/device", tarfile.CHRTYPE),
        entry("root/work/fifo", tarfile.FIFOTYPE),
        entry("root/work/hard", tarfile.LNKTYPE, "etc/shadow"),
        entry("root/work/link", tarfile.SYMTYPE, "/etc/shadow"),
        entry("root/work/link", tarfile.SYMTYPE, "../../etc/shadow"),
        entry("root/work/link", tarfile.SYMTYPE, "/proc/self/cwd/expected"),
        entry("root/work/link", tarfile.SYMTYPE, "a/../../.."),
        entry("root/work/link", tarfile.SYMTYPE, "../work/../x"),
    ],
)  # fmt: skip
def test_what_leads_out_is_left_out(one: tarfile.TarInfo) -> None:
    found, work = taken(entry("root/work/good"), one)
    assert set(found) == {"root", "root/work", "root/work/good"}
    assert len(work.left_out) == 1


def test_nothing_is_written_through_a_link() -> None:
    found, work = taken(
        entry("root/work/d", tarfile.DIRTYPE),
        entry("root/work/l", tarfile.SYMTYPE, "d"),
        entry("root/work/l/x"),
        entry("root/work/l/up", tarfile.SYMTYPE, "../.."),
    )
    assert set(found) == {"root", "root/work", "root/work/d", "root/work/l"}
    assert len(work.left_out) == 2


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(InvalidInput, match="entries"):
        taken(*(entry(f"root/work/{number}") for number in range(MOST_ENTRIES + 1)))


NAMES = st.lists(st.sampled_from(["root", "work", "..", ".", "", "a", "b", "etc"]), max_size=6).map("/".join)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]), NAMES),
        max_size=8,
    )
)  # fmt: skip
def test_whatever_the_archive_says_all_stays_below_the_roots(entries: list[tuple[str, bytes, str]]) -> None:
    found, _ = taken(entry("root"), *(entry(name or "x", kind, link) for name, kind, link in entries))
    links = {name: one.linkname for name, one in found.items() if one.issym()}
    for name, one in found.items():
        assert name in ("root", "root/work") or name.startswith("root/work/")
        assert ".." not in name.split("/") and not one.islnk()
        assert not any(name.startswith(f"{link}/") for link in links)
    for name, goal in links.items():
        assert followed(name, goal, links) is None or followed(name, goal, links).startswith("/root/work")  # type: ignore[union-attr]


def followed(name: str, goal: str, links: dict[str, str]) -> str | None:
    """Where a link really leads, by walking it as the kernel does; ``None`` for a loop."""
    place, rest = posixpath.dirname("/" + name), goal.split("/")
    for _ in range(200):
        if not rest:
            return place
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            place = posixpath.dirname(place)
            continue
        following = posixpath.join(place, part)
        if following.strip("/") in links:
            rest = [*links[following.strip("/")].split("/"), *rest]
        else:
            place = following
    return None
