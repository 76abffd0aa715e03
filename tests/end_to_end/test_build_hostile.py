"""Builds whose files, links and bases try to make more of an instruction than it says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kitchen import Kitchen
from private_engine import PrivateEngine


@pytest.fixture
def kitchen(engine: PrivateEngine, tmp_path: Path, request: pytest.FixtureRequest) -> Kitchen:
    made = Kitchen(engine, tmp_path, re.sub(r"\W+", "-", request.node.name)[-40:].strip("-_"))
    made.write({"file": request.node.name})
    return made


def test_a_wildcard_that_matches_nothing_is_no_error_beside_a_source_that_is_there(kitchen: Kitchen) -> None:
    """``COPY package.json package-lock.json* ./`` is how one copies a file that may be missing."""
    image = kitchen.build("FROM small:1\nCOPY file lock* /d/\n")
    assert kitchen.shell(image, "ls /d").split() == ["file"]


def test_wildcards_that_all_match_nothing_are_an_error(kitchen: Kitchen) -> None:
    assert "'lock*' is not there to copy" in kitchen.fails("FROM small:1\nCOPY lock* other* /d/\n")


def test_a_wildcard_before_the_pivot_of_parents_is_not_kept(kitchen: Kitchen) -> None:
    kitchen.write({"a/one/x": "1", "b/two/x": "2"})
    image = kitchen.build("FROM small:1\nCOPY --parents */./*/x /d/\n")
    assert kitchen.shell(image, "cat /d/one/x /d/two/x") == "12"


def test_what_an_exclusion_lets_in_again_has_its_directory(kitchen: Kitchen) -> None:
    kitchen.write({"d/e/keep": "k", "d/e/drop": "d", "d/f": "f"})
    image = kitchen.build("FROM small:1\nCOPY --exclude=e --exclude=!e/keep d /d\n")
    assert sorted(kitchen.shell(image, "cd /d && find . -type f").split()) == ["./e/keep", "./f"]


def test_a_loop_of_links_in_a_stage_is_one_clear_error(kitchen: Kitchen) -> None:
    text = "FROM small:1 AS one\nRUN ln -s loop /loop\nFROM small:1\nCOPY --from=one /loop/x /x\n"
    said = kitchen.fails(text)
    assert "Dockerfile:4" in said and "Traceback" not in said and "internal" not in said.lower()


def test_a_link_in_the_context_never_leads_to_the_hosts_files(kitchen: Kitchen) -> None:
    (kitchen.context / "out").symlink_to("/etc/passwd")
    (kitchen.context / "up").symlink_to("../" * 20 + "etc/passwd")
    for source in ("out", "up"):
        said = kitchen.fails(f"FROM small:1\nCOPY {source} /x\n")
        assert "Dockerfile:2" in said and "not there" in said


def test_a_link_in_an_image_never_leads_to_the_hosts_directories(kitchen: Kitchen, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = kitchen.build(
        f"FROM small:1\nRUN mkdir -p {outside} && ln -s {'../' * 12}{outside} /out\nCOPY file /out/\n"
        "ADD file /out/added\nCOPY <<E /out/document\nx\nE\nWORKDIR /out/new\n"
    )
    assert os.listdir(outside) == []
    assert kitchen.shell(image, f"ls {outside}").split() == ["added", "document", "file", "new"]


def test_hard_links_in_the_context_stay_true_when_a_later_source_replaces_one_of_them(
    kitchen: Kitchen,
) -> None:
    kitchen.write({"a/x": "linked", "b/x": "other"})
    os.link(kitchen.context / "a/x", kitchen.context / "b/y")
    image = kitchen.build("FROM small:1\nCOPY a b /d/\n")
    assert kitchen.shell(image, "cat /d/x /d/y") == "otherlinked"


def test_names_that_are_no_text_are_copied(kitchen: Kitchen) -> None:
    directory = os.fsencode(kitchen.context) + b"/d"
    os.mkdir(directory)
    for name in (b"\xff", b"a\nb", b"-rf"):
        os.close(os.open(directory + b"/" + name, os.O_CREAT | os.O_WRONLY))
    image = kitchen.build("FROM small:1\nCOPY d /d\n")
    assert kitchen.shell(image, "cd /d && for f in *; do printf x; done") == "xxx"


def test_a_fifo_in_the_context_holds_nobody_up(kitchen: Kitchen) -> None:
    (kitchen.context / "d").mkdir()
    os.mkfifo(kitchen.context / "d/pipe")
    image = kitchen.build("FROM small:1\nCOPY d /d\nADD d/pipe /added\n")
    assert kitchen.shell(image, "test -p /d/pipe && test -p /added && echo yes") == "yes"


@pytest.mark.parametrize(
    "text",
    [
        "COPY file /bin/sh/x",
        "COPY d /bin/sh",
        "COPY file d /x",
        "COPY --chown=nobody-here file /x",
        "COPY --chmod=99999 file /x",
        "COPY --from=9 file /x",
        "COPY --exclude=[ d /x",
        "COPY [file /x",
        "WORKDIR /bin/sh/x",
        "ADD --checksum=md5:0 https://localhost:1/x /x",
        "ADD https://localhost:1/x /x",
        "RUN --mount=type=bind,source=nothing,target=/x true",
        "RUN --mount=type=bind,from=nothing:0,target=/x true",
        "WORKDIR /\nRUN --mount=target=. true",
        "RUN --mount=type=secret,id=x,required true",
        "USER nobody-here\nRUN true",
        "STOPSIGNAL NOPE",
    ],
)
def test_what_cannot_be_done_is_one_line_that_names_the_place(kitchen: Kitchen, text: str) -> None:
    kitchen.write({"d/e": "x"})
    said = kitchen.fails(f"FROM small:1\n{text}\n")
    last = [line for line in said.splitlines() if "Dockerfile:" in line][-1]
    assert re.search(r"Dockerfile:[23]", last)
    assert "Traceback" not in said and "internal" not in said.lower()


def test_a_base_whose_triggers_are_nonsense_says_which(kitchen: Kitchen) -> None:
    kitchen.run(
        "FROM small:1\nONBUILD COPY file /triggered\nONBUILD RUN <<E\necho two > /two\nE\n", "-t", "trig:1"
    )
    image = kitchen.build("FROM trig:1\n")
    assert kitchen.shell(image, "cat /triggered /two").endswith("two")
    (kitchen.context / "file").unlink()
    said = kitchen.fails("FROM trig:1\n")
    assert "file" in said and "Traceback" not in said
    kitchen.engine.run("image", "rm", "trig:1", status=None)
