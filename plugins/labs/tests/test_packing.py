"""Work that was copied becomes a submission which says so, whatever the tar has in it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_labs import packing, submission, work
from multios_labs.records import Lab

LAB = Lab(
    "first", "1.0", "A lab", Path("/nowhere"), "sha256:0", image="small:1", submit=("/root/work", "/srv/more")
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def tree(file: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for one in entries:
            archive.addfile(one, io.BytesIO(bytes(one.size)))
    return file


def packed(target: Path, **trees: Path) -> submission.Submission:
    paths = {"work": "/root/work", "more": "/srv/more"}
    packing.write(LAB, "ada", "intro-ada", {paths[name]: file for name, file in trees.items()}, target)
    return submission.read(target)


def names(found: submission.Submission) -> dict[str, tarfile.TarInfo]:
    with submission.layer_of(found) as layer, tarfile.open(fileobj=layer) as archive:
        return {member.name: member for member in archive}


def test_each_tree_lies_where_the_lab_has_it(tmp_path: Path) -> None:
    one = tree(
        tmp_path / "1", entry("./work", tarfile.DIRTYPE), entry("./work/a"), entry("./work/d/b", mode=0o755)
    )
    two = tree(tmp_path / "2", entry("more/c"))
    found = packed(tmp_path / "out", work=one, more=two)
    assert {"root/work/a", "root/work/d/b", "srv/more/c"} < names(found).keys()
    assert found.student == "ada" and found.is_copied and found.manifest["container"] == "intro-ada"
    assert found.manifest["left_out"] == []


def test_the_parts_belong_together_and_nobody_attests_them(tmp_path: Path) -> None:
    class Engine:
        """Another host's, which has attested nothing."""

        def call(self, method: str, params: dict[str, str]) -> dict[str, object]:
            assert method == "attestations.verify" and params["signature"] == "None"
            return {"valid": False, "key": "a-key"}

    found = packed(tmp_path / "out", work=tree(tmp_path / "1", entry("work/a")))
    verdict = submission.verify(Engine(), found)  # type: ignore[arg-type]
    assert (verdict.problems, verdict.engine, verdict.signed) == ((), False, "no: copied by the teacher")
    assert not verdict.valid
    described = submission.describe(found, verdict)
    assert {"signed     no: copied by the teacher", "machine    intro-ada"} < set(described)
    changed = json.loads(found.manifest_text) | {"student": "ben"}
    altered = submission.Submission(
        found.file, changed, found.statement, submission.as_json(changed), found.statement_text, found.signatures
    )  # fmt: skip
    problems = submission.verify(Engine(), altered).problems  # type: ignore[arg-type]
    assert "the machine is another student's" in problems and "the submitter's signature is wrong" in problems


@pytest.mark.parametrize(
    "one",
    [
        entry("work/../../etc/passwd"),
        entry("../work/a"),
        entry("work", tarfile.SYMTYPE, "/etc"),
        entry("work/link", tarfile.SYMTYPE, "../../etc/shadow"),
        entry("work/link", tarfile.SYMTYPE, "/etc/shadow"),
        entry("work/link", tarfile.LNKTYPE, "work/../../etc/shadow"),
        entry("work/null", tarfile.CHRTYPE),
        entry("work/fifo", tarfile.FIFOTYPE),
        entry(f"work/{'n' * 5000}"),
        entry("work/link", tarfile.SYMTYPE, "a/" * 5000),
    ],
)
def test_what_leads_out_or_is_no_file_is_left_out_and_named(tmp_path: Path, one: tarfile.TarInfo) -> None:
    found = packed(tmp_path / "out", work=tree(tmp_path / "1", entry("work/kept"), one))
    assert set(names(found)) == {"root", "root/work", "root/work/kept"}
    assert len(found.manifest["left_out"]) == 1


def test_rights_and_owners_are_not_taken_over(tmp_path: Path) -> None:
    found = packed(tmp_path / "out", work=tree(tmp_path / "1", entry("work/a", mode=0o6777)))
    taken = names(found)["root/work/a"]
    assert (taken.mode, taken.uid) == (0o755, work.GRADED)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"x" * 5000])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1").write_bytes(content)
    with pytest.raises(InvalidInput):
        packed(tmp_path / "out", work=tmp_path / "1")
    assert not (tmp_path / "out").exists()


def test_a_tar_that_was_cut_is_refused(tmp_path: Path) -> None:
    big = entry("work/a")
    big.size = 100_000
    file = tree(tmp_path / "1", big)
    file.write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(InvalidInput, match="cut short"):
        packed(tmp_path / "out", work=file)


def test_the_bounds_are_of_all_trees_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MOST_ENTRIES", 3)
    one = tree(tmp_path / "1", entry("work/a"), entry("work/b"))
    two = tree(tmp_path / "2", entry("more/a"), entry("more/b"))
    assert packed(tmp_path / "out", work=one).student == "ada"
    with pytest.raises(InvalidInput, match="more than 3 entries"):
        packed(tmp_path / "both", work=one, more=two)


def test_a_path_that_the_lab_does_not_take_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not take '/etc' in"):
        packing.write(LAB, "ada", "m", {"/etc": tree(tmp_path / "1", entry("etc/a"))}, tmp_path / "out")


_PART = st.sampled_from(["work", "..", ".", "", "a", "b", "/", "etc"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(_PART, max_size=5), st.sampled_from("0125"), st.lists(_PART, max_size=4)),
        max_size=8,
    )
)
def test_nothing_is_ever_outside(made: list[tuple[list[str], str, list[str]]]) -> None:
    source, target = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        for parts, kind, goal in made:
            archive.addfile(entry("/".join(parts), kind.encode(), "/".join(goal)))
    source.seek(0)
    work.merge({"/root/work": source}, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        for member in archive:
            assert member.name == "root" or member.name == "root/work" or member.name.startswith("root/work/")
            assert ".." not in member.name.split("/") and (
                member.isfile() or member.isdir() or member.issym()
            )
