"""The build context: what is chosen, what is left out, and that nothing outside is read."""

from __future__ import annotations

import fnmatch
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import open_descriptors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.build.context import MOST_LINKS, Context
from multios.build.ignore import Patterns
from multios.build.stat_cache import StatCache, identity
from multios.build.wildcards import name_matcher
from multios.errors import Conflict, InvalidInput, MultiosError


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A context's directory, with something beside it that is nobody's business."""
    (tmp_path / "secret.txt").write_text("secret")
    directory = tmp_path / "context"
    directory.mkdir()
    return directory


@pytest.fixture
def opened(top: Path) -> Iterator[int]:
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def _fill(top: Path, *paths: str) -> None:
    """Files that hold their own path; directories end with a slash, links are ``path -> target``."""
    for path in paths:
        name, arrow, target = path.partition(" -> ")
        place = top / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            place.symlink_to(target)
        elif path.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_text(name)


def _walk(context: Context, path: str = "") -> list[str]:
    return [entry.path for entry in context.walk(path)]


# --- patterns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a", ["a"], ["b", "aa", ""]),
        ("*", ["", "a", ".a", "a\nb"], []),
        ("a*", ["a", "ab"], ["ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("ab*bc", ["abbc", "abxbc"], ["abc"]),
        ("*a*a", ["aa", "aba"], ["a", "aab"]),
        ("?", ["a", "é"], ["", "ab"]),
        ("*.?", ["x.y", ".y"], ["x.yz"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx"], ["ax"]),
        ("[[]", ["["], ["[]"]),
        ("[\\]]", ["]"], ["\\"]),
        ("[a\\-z]", ["-", "z"], ["b"]),
        ("[c-a]", [], ["a", "b", "c"]),
        ("[^c-a]", ["b"], [""]),
        ("\\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("**", ["", "ab"], []),
        ("*[ab]", ["xa", "b"], ["ac"]),
    ],
)
def test_a_name_matches_a_pattern_as_go_says(pattern: str, matching: list[str], other: list[str]) -> None:
    matches = name_matcher(pattern)
    assert all(matches(name) for name in matching)
    assert not any(matches(name) for name in other)


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[^", "[a-", "[-a]", "[a-]", "a\\", "x" * 5000])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        name_matcher(pattern)
    assert caught.value.remedy


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_names_match_as_by_fnmatch(pattern: str, name: str) -> None:
    assert name_matcher(pattern)(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("ab*?[]^-\\", max_size=12), st.text("ab*?[]^-\\", max_size=5))
def test_any_pattern_matches_or_is_refused(pattern: str, name: str) -> None:
    try:
        name_matcher(pattern)(name)
    except InvalidInput:
        pass


def test_no_name_takes_long_to_match() -> None:
    started = time.thread_time()
    for pattern in ("*a" * 100 + "b", "*?" * 100 + "b", "a*" * 100 + "b"):
        assert not name_matcher(pattern)("a" * 255)
    assert time.thread_time() - started < 1


# --- .dockerignore ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "left_out", "kept"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["b", "b/a", "aa"]),
        ("/a/", ["a", "a/b"], ["b/a"]),
        ("./a/../b", ["b"], ["a"]),
        ("*.md", ["x.md"], ["d/x.md"]),
        ("*/*.md", ["d/x.md"], ["x.md", "d/e/x.md"]),
        ("**/*.md", ["x.md", "d/x.md", "d/e/x.md"], ["x"]),
        ("**.md", ["x.md", "d/x.md"], ["x"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b", "a/b/c"], ["a/x", "b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("**", ["a", "a/b"], []),
        ("**/", ["a", "a/b"], []),
        ("**/**/x", ["x", "a/x"], ["a"]),
        ("*\n!a", ["b"], ["a", "a/b"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("a\n!a/b\na/b/c", ["a/b/c"], ["a/b", "a/b/d"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["x.md", "README-secret.md"], ["README.md", "README-a.md"]),
        ("!a\na", ["a"], []),
        ("# a\n\n  a  \n\r\nb\r", ["a", "b"], ["# a"]),
        ("\ufeffa", ["a"], []),
        ("..", [], ["a"]),
        (".", [], ["a"]),
        ("! a", [], ["a"]),
        ("a\\*b", ["a*b"], ["axb"]),
    ],
)
def test_the_last_pattern_that_matches_decides(lines: str, left_out: list[str], kept: list[str]) -> None:
    patterns = Patterns.of_file(lines)
    assert [path for path in left_out if not patterns.matches(path)] == []
    assert [path for path in kept if patterns.matches(path)] == []


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^x.dockerignore:3: pattern '\[a'") as caught:
        Patterns.of_file("a\n# [\n[a\n", "x.dockerignore")
    assert caught.value.remedy
    with pytest.raises(InvalidInput, match="a ! with no pattern"):
        Patterns.of_file("!")
    with pytest.raises(InvalidInput, match="more than 10000 lines"):
        Patterns.of_file("a\n" * 10_001)


def _oracle(lines: list[str], path: str) -> bool:
    """The documented rule, told in the slowest way: every pattern against the path and each directory above it."""

    def fits(elements: list[str], names: list[str]) -> bool:
        if not elements:
            return not names
        if elements[0] == "**":
            if len(elements) == 1:
                return bool(names)
            return any(fits(elements[1:], names[start:]) for start in range(len(names) + 1))
        return bool(names) and fnmatch.fnmatchcase(names[0], elements[0]) and fits(elements[1:], names[1:])

    names = path.split("/")
    ignored = False
    for line in lines:
        elements = line.removeprefix("!").split("/")
        if any(fits(elements, names[:length]) for length in range(1, len(names) + 1)):
            ignored = not line.startswith("!")
    return ignored


_ELEMENT = st.sampled_from(["a", "b", "*", "a*", "?", "**"])
_LINE = st.builds(
    lambda negated, elements: negated + "/".join(elements),
    st.sampled_from(["", "!"]),
    st.lists(_ELEMENT, min_size=1, max_size=4),
)
_PATH = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=5).map("/".join)


@given(st.lists(_LINE, max_size=5), _PATH)
@settings(max_examples=400)
def test_ignoring_agrees_with_the_rule(lines: list[str], path: str) -> None:
    assert Patterns(lines).matches(path) == _oracle(lines, path)


@given(lines=st.lists(_LINE, max_size=4), paths=st.sets(_PATH, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_walk_tells_what_is_kept_and_the_directories_above_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], paths: set[str]
) -> None:
    files = {path + "/file" for path in paths}
    top = tmp_path_factory.mktemp("context")
    _fill(top, *files)
    names = {str(place.relative_to(top)) for place in top.rglob("*")}
    kept = {name for name in names if not _oracle(lines, name)}
    above = {"/".join(name.split("/")[:length]) for name in kept for length in range(1, name.count("/") + 1)}
    descriptor = os.open(top, os.O_RDONLY)
    try:
        told = _walk(Context(descriptor, Patterns(lines)))
    finally:
        os.close(descriptor)
    assert told[0] == ""
    assert set(told[1:]) == kept | above
    assert len(told) == len(set(told))
    for place, name in enumerate(told):
        assert os.path.dirname(name) in told[:place] or not name  # parents first


# --- choosing -----------------------------------------------------------------------------------------


def test_sources_are_found_in_a_stable_order(top: Path, opened: int) -> None:
    _fill(top, "b", "a/x.txt", "a/y.txt", "c/x.txt", ".hidden", "d[1]")
    context = Context(opened)
    assert context.select("b") == context.select("/b") == context.select("./b") == ["b"]
    assert context.select("*") == [".hidden", "a", "b", "c", "d[1]"]
    assert context.select("*/x.txt") == ["a/x.txt", "c/x.txt"]
    assert context.select("a/*.txt") == ["a/x.txt", "a/y.txt"]
    assert context.select("d[[]1]") == ["d[1]"]
    assert context.select("../../b") == ["b"]
    assert context.select(".") == context.select("/") == [""]
    assert context.select("nothing") == context.select("no*") == context.select("b/x") == []


def test_a_walk_is_sorted_with_parents_first_and_tells_kinds(top: Path, opened: int) -> None:
    _fill(top, "b/z", "b/a/x", "a", "link -> b", "empty/")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "socket"))
        entries = list(Context(opened).walk(""))
    assert [entry.path for entry in entries] == ["", "a", "b", "b/a", "b/a/x", "b/z", "empty", "link", "pipe"]
    assert entries[-2].link == "b"
    assert [entry.path for entry in entries if entry.is_directory] == ["", "b", "b/a", "empty"]


def test_what_is_left_out_cannot_be_chosen(top: Path, opened: int) -> None:
    _fill(top, "a/x", "a/keep", "b/x", "c/x", "c/y", "to-b -> b", "to-x -> b/x")
    context = Context(opened, Patterns(["a", "!a/keep", "b", "c/x"]))
    assert context.select("a") == ["a"] and _walk(context, "a") == ["a", "a/keep"]
    assert context.select("b") == context.select("b/x") == context.select("to-b") == []
    assert context.select("to-x") == context.select("c/x") == context.select("a/x") == []
    assert context.select("*") == ["a", "c"]
    assert _walk(context) == ["", "a", "a/keep", "c", "c/y", "to-b", "to-x"]


def test_a_link_that_is_named_is_followed_and_one_that_is_found_is_not(top: Path, opened: int) -> None:
    _fill(top, "a/b/x", "link -> a", "a/up -> ../a/b", "absolute -> /a/b/x", "a/in -> /link/b")
    context = Context(opened)
    assert _walk(context, "link") == ["link", "link/b", "link/b/x", "link/in", "link/up"]
    assert context.select("link/up/*") == ["link/up/x"]
    assert [entry.link for entry in context.walk("a") if entry.path == "a/up"] == ["../a/b"]
    with os.fdopen(context.open("absolute")) as file:
        assert file.read() == "a/b/x"
    with os.fdopen(context.open("a/in/x")) as file:
        assert file.read() == "a/b/x"


# --- staying inside -----------------------------------------------------------------------------------


def test_no_link_leads_out(top: Path, opened: int) -> None:
    outside = top.parent
    _fill(top, "up -> ..", f"absolute -> {outside}", "file -> ../secret.txt", "d/deep -> ../../../secret.txt")
    _fill(top, "proc -> /proc/self/root", "loop -> loop")
    context = Context(opened)
    for path in ("file", "d/deep", "absolute", "absolute/secret.txt", "proc"):
        assert context.select(path) == []
        with pytest.raises(Conflict):
            context.open(path)
    assert context.select("up") == ["up"]  # the top's own top is the top
    assert context.select("up/secret.txt") == []
    assert context.select("loop") == []


def test_a_chain_of_links_has_an_end(top: Path, opened: int) -> None:
    _fill(top, "x", *(f"l{number} -> l{number - 1}" for number in range(1, MOST_LINKS + 2)), "l0 -> x")
    context = Context(opened)
    assert context.select(f"l{MOST_LINKS - 1}") == [f"l{MOST_LINKS - 1}"]
    assert context.select(f"l{MOST_LINKS + 1}") == []


def test_links_that_multiply_are_bounded(top: Path, opened: int) -> None:
    """Each link's text names the one before many times over."""
    (top / "d").mkdir()
    _fill(top, "l0 -> d", *(f"l{number} -> " + f"l{number - 1}/../" * 100 for number in range(1, 20)))
    started = time.thread_time()
    Context(opened).select("l19")
    assert time.thread_time() - started < 2


def test_a_writer_that_swaps_directories_for_links_gets_nothing_outside_read(top: Path, opened: int) -> None:
    _fill(top, "d/secret.txt", "other/")
    (top / "link").symlink_to("..")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            os.rename(top / "d", top / "kept")
            os.rename(top / "link", top / "d")
            os.rename(top / "d", top / "link")
            os.rename(top / "kept", top / "d")

    thread = threading.Thread(target=swap)
    thread.start()
    context = Context(opened)
    read = []
    until = time.monotonic() + 0.7
    try:
        while time.monotonic() < until or (not read and time.monotonic() < until + 60):
            try:
                for entry in context.walk("d"):
                    if entry.path == "d/secret.txt":
                        with os.fdopen(context.open(entry.path)) as file:
                            read.append(file.read())
            except Conflict:
                pass
    finally:
        ended.set()
        thread.join()
    assert set(read) == {"d/secret.txt"}


def test_a_fifo_holds_nobody_up(top: Path, opened: int) -> None:
    os.mkfifo(top / "pipe")
    os.close(Context(opened).open("pipe"))


def test_a_tree_that_is_too_deep_is_refused(top: Path, opened: int) -> None:
    directory = os.open(top, os.O_RDONLY)
    for _ in range(402):
        os.mkdir("d", dir_fd=directory)
        inner = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)
    before = open_descriptors.number()
    with pytest.raises(InvalidInput, match="nested too deep"):
        _walk(Context(opened))
    open_descriptors.assert_no_more_than(before)


def test_a_walk_that_is_given_up_leaves_no_descriptor(top: Path, opened: int) -> None:
    _fill(top, "a/b/c/d")
    before = open_descriptors.number()
    walk = Context(opened).walk("")
    for _ in range(4):
        next(walk)
    assert open_descriptors.number() > before
    del walk
    open_descriptors.assert_no_more_than(before)


def test_names_that_are_no_text_come_through(top: Path, opened: int) -> None:
    os.close(os.open(os.fsencode(top) + b"/\xff\n", os.O_CREAT | os.O_WRONLY))
    context = Context(opened)
    (path,) = context.select("*")
    assert os.fsencode(path) == b"\xff\n"
    assert context.digest(list(context.walk(path))[0])


# --- contents -----------------------------------------------------------------------------------------


def _age(top: Path) -> None:
    """Wait until what is there counts as settled; its change time cannot be set."""
    time.sleep(0.12)


def test_an_unchanged_file_is_not_read_again(top: Path, opened: int, tmp_path: Path) -> None:
    _fill(top, "a")
    _age(top)
    cache = StatCache()
    (entry,) = Context(opened, cache=cache).walk("a")
    digest = Context(opened, cache=cache).digest(entry)
    assert len(digest) == 64 and cache.get(entry.status) == digest
    cache.save(tmp_path / "cache")
    again = StatCache()
    again.load(tmp_path / "cache")
    again.put(entry.status, "f" * 64)  # what nobody could have read
    assert Context(opened, cache=again).digest(entry) == "f" * 64


@pytest.mark.parametrize("change", ["content", "same size", "replaced"])
def test_a_changed_file_is_read_again(top: Path, opened: int, change: str) -> None:
    _fill(top, "a")
    _age(top)
    cache = StatCache()
    (before,) = Context(opened, cache=cache).walk("a")
    first = Context(opened, cache=cache).digest(before)
    if change == "replaced":
        (top / "b").write_text("b")
        (top / "b").rename(top / "a")
    else:
        (top / "a").write_text("b" if change == "same size" else "more")
        os.utime(top / "a", ns=(before.status.st_atime_ns, before.status.st_mtime_ns))
    (after,) = Context(opened, cache=cache).walk("a")
    assert Context(opened, cache=cache).digest(after) != first


def test_a_file_changed_just_now_is_not_remembered(top: Path, opened: int) -> None:
    _fill(top, "a")
    cache = StatCache()
    context = Context(opened, cache=cache)
    (entry,) = context.walk("a")
    context.digest(entry)
    assert len(cache) == 0


def test_what_changes_after_it_was_listed_or_digested_is_noticed(top: Path, opened: int) -> None:
    _fill(top, "a", "b")
    context = Context(opened)
    (a,), (b,) = context.walk("a"), context.walk("b")
    (top / "a").write_text("other")
    with pytest.raises(Conflict, match="'a' in the build context has changed"):
        context.digest(a)
    context.digest(b)
    os.close(context.open("b"))
    (top / "b").write_text("other")
    with pytest.raises(Conflict, match="'b' in the build context has changed"):
        context.open("b")
    with pytest.raises(Conflict, match="cannot be read: No such file"):
        context.open("gone")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"version": 1}',
        '{"version": 2, "files": {"0:0:0:0:0": "' + "0" * 64 + '"}}',
        '{"version": 1, "files": []}',
        '{"version": 1, "files": {"x": "y", "0:0:0:0:0": 3}}',
        '{"version": 1, "files": {"../x": "' + "0" * 64 + '"}}',
    ],
)
def test_a_broken_cache_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").write_text(text)
    cache = StatCache()
    cache.load(tmp_path / "cache")
    cache.load(tmp_path / "nothing")
    assert len(cache) == 0


def test_the_identity_of_a_file_is_all_that_changes_with_it(top: Path) -> None:
    _fill(top, "a", "b")
    assert identity((top / "a").stat()) != identity((top / "b").stat())
    before = identity((top / "a").stat())
    _age(top)
    (top / "a").chmod(0o600)
    assert identity((top / "a").stat()) != before


def test_every_error_says_what_to_do(top: Path, opened: int) -> None:
    _fill(top, "a -> a")
    context = Context(opened)
    for call in (lambda: _walk(context, "a"), lambda: context.open("a"), lambda: _walk(context, "no")):
        with pytest.raises(MultiosError) as caught:
            call()
        assert caught.value.remedy and "\n" not in caught.value.cause
