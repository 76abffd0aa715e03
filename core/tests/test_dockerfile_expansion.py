"""Variables in a Dockerfile: modifiers, quotes, and which hold where."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from multios.dockerfile import syntax
from multios.dockerfile.expansion import expand
from multios.dockerfile.parser import parse
from multios.dockerfile.patterns import Pattern
from multios.dockerfile.ports import expand_ports
from multios.dockerfile.scope import FileScope, StageScope, platform_arguments
from multios.dockerfile.substitution import substitute, substitute_document, substitute_words
from multios.dockerfile.syntax import DockerfileError, Instruction
from multios.errors import InvalidInput

VARIABLES = {
    "a": "one",
    "empty": "",
    "path": "/usr/local/bin",
    "file": "foo.tar.gz",
    "two": "x y",
    "star": "a*b",
    "word": "foo",
}

WORDS = [
    ("$a", "one"),
    ("${a}", "one"),
    ("$a_", ""),
    ("${a}_", "one_"),
    ("$unset", ""),
    ("$", "$"),
    ("$ a", "$ a"),
    ("a$", "a$"),
    ("$$a", "a"),
    ("$1a", "a"),
    ("\\$a", "$a"),
    ("\\\\$a", "\\one"),
    ("'$a'", "$a"),
    ('"$a"', "one"),
    ('"\\$a \\" \\\\ \\x"', '$a " \\ \\x'),
    ('"it\'s"', "it's"),
    ("a\\ b", "a b"),
    ("a\\", "a"),
    ("${unset:-w}", "w"),
    ("${unset-w}", "w"),
    ("${empty:-w}", "w"),
    ("${empty-w}", ""),
    ("${a:-w}", "one"),
    ("${a:+w}", "w"),
    ("${empty:+w}", ""),
    ("${empty+w}", "w"),
    ("${unset+w}", ""),
    ("${a:?w}", "one"),
    ("${empty?w}", ""),
    ("${unset:-${a}s}", "ones"),
    ("${unset:-${unset:-${a}}}", "one"),
    ("${unset:-'a}b'}", "a}b"),
    ('${unset:-"$a b"}', "one b"),
    ("${unset:-\\}}", "}"),
    ("${file%.*}", "foo.tar"),
    ("${file%%.*}", "foo"),
    ("${path#*/}", "usr/local/bin"),
    ("${path##*/}", "bin"),
    ("${file#nothing}", "foo.tar.gz"),
    ("${star#a\\*}", "b"),
    ("${star%?b}", "a"),
    ("${word/o/0}", "f0o"),
    ("${word//o/0}", "f00"),
    ("${word//o/}", "f"),
    ("${word/f*/x}", "x"),
    ("${word/?o/x}", "xo"),
    ("${path//\\//-}", "-usr-local-bin"),
    ("${word//x/y}", "foo"),
    ("${unset//x/y}", ""),
    ("${word//$word/$a}", "one"),
]


@pytest.mark.parametrize(("text", "expected"), WORDS, ids=[text for text, _ in WORDS])
def test_a_word_is_substituted(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("${a", "missing '}'|unknown modifier"),
        ("${", "bad substitution"),
        ("${}", "bad substitution"),
        ("${:a}", "bad substitution"),
        ("${{a}}", "bad substitution"),
        ("${a:=b}", "unknown modifier '='"),
        ("${a!b}", "unknown modifier '!'"),
        ("${a:#b}", "unknown modifier '#'"),
        ("${a:-b", "missing '}'"),
        ("${a/b}", "missing '/'"),
        ("${a/b/c", "missing '}'"),
        ("${unset:?}", "unset: is not set"),
        ("${empty:?}", "empty: is empty"),
        ("${unset?say $a}", "unset: say one"),
        ("'a", "single quote"),
        ('"a', "double quote"),
        ("${a#\\x}", r"\\x is no escape"),
        ("${a#" + "x" * 1001 + "}", "1001 characters"),
        ("${u:-" * 60 + "}" * 60, "too deep"),
    ],
)
def test_a_word_that_cannot_be_substituted_says_why(text: str, cause: str) -> None:
    with pytest.raises(InvalidInput, match=cause) as caught:
        substitute(text, VARIABLES)
    assert caught.value.remedy


def test_the_escape_is_the_files_own() -> None:
    assert substitute("`$a \\$a", VARIABLES, "`") == "$a \\one"


def test_words_are_split_after_their_variables_but_not_in_quotes() -> None:
    assert substitute_words("$two 'c d' e\\ f\"$two\"$unset '' ", VARIABLES) == [
        "x",
        "y",
        "c d",
        "e fx y",
    ]


def test_a_document_keeps_its_quotes() -> None:
    assert substitute_document("\"$a\" '$a' \\$a ${word//o/0}\n", VARIABLES) == "\"one\" 'one' $a f00\n"


def test_variables_that_grow_without_end_are_stopped() -> None:
    variables = {"a": "x" * 60_000}
    started = time.thread_time()
    with pytest.raises(InvalidInput, match="longer than"):
        substitute("$a" * 1000, variables)
    with pytest.raises(InvalidInput, match="too long"):
        substitute("${a//x/" + "y" * 60_000 + "}", variables)
    assert time.thread_time() - started < 2


SHELL_TEXT = st.text("ab.*/", max_size=12)


def _bash(script: str, *arguments: str) -> str:
    return subprocess.run(
        ["/bin/bash", "-c", script, "bash", *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_patterns_match_as_the_shells_do() -> None:
    """One shell for all the cases that bash and BuildKit both have."""
    values = ["", "a", "ab", "abab", "aabb", "a.b.a", "b/a/b/a", "aaaa", "*a*"]
    patterns = ["", "a", "*", "?", "a*", "*a", "a*b", "*b*", "??", "a?*", "*.*", "\\*a", "ab", "*a*b"]
    script = "while [ $# -gt 0 ]; do v=$1 p=$2; shift 2; " + "".join(
        f"printf '%s\\n' \"${{v{operator}$p}}\"; " for operator in ("#", "##", "%", "%%")
    )
    script += "printf '%s\\n' \"${v/$p/X}\"; printf '%s\\n' \"${v//$p/X}\"; done"
    cases = [(value, pattern) for value in values for pattern in patterns]
    expected = _bash(script, *[text for case in cases for text in case]).split("\n")
    for number, (value, text) in enumerate(cases):
        pattern = Pattern(text)
        found = [
            pattern.without_prefix(value, False),
            pattern.without_prefix(value, True),
            pattern.without_suffix(value, False),
            pattern.without_suffix(value, True),
            pattern.replace(value, "X", False),
            pattern.replace(value, "X", True),
        ]
        wanted = expected[number * 6 : number * 6 + 6]
        if not value and text == "*":
            wanted[4:] = ["", ""]  # an empty match replaces nothing; shells differ in this
        assert found == wanted, (value, text)


@given(st.text("ab.", max_size=10), st.text("ab.*?", max_size=6))
def test_patterns_agree_with_regular_expressions(value: str, text: str) -> None:
    pattern = Pattern(text)
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in text)
    ends = [end for end in range(len(value) + 1) if re.fullmatch(expression, value[:end])]
    assert pattern.without_prefix(value, False) == (value[ends[0] :] if ends else value)
    assert pattern.without_prefix(value, True) == (value[ends[-1] :] if ends else value)
    starts = [start for start in range(len(value) + 1) if re.fullmatch(expression, value[start:])]
    assert pattern.without_suffix(value, False) == (value[: starts[-1]] if starts else value)
    assert pattern.without_suffix(value, True) == (value[: starts[0]] if starts else value)
    if text:
        spans = [
            (start, end)
            for start in range(len(value))
            for end in range(len(value), start, -1)
            if re.fullmatch(expression, value[start:end])
        ]
        start, end = spans[0] if spans else (0, 0)
        replaced = value[:start] + "X" + value[end:] if spans else value
        assume(not (set(text) == {"*"} and not value))
        assert pattern.replace(value, "X", False) == replaced


@pytest.mark.parametrize("pattern", ["*a" * 400 + "b", "a*" * 400 + "b", "?" * 900 + "b", "*" * 900 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.thread_time()
    for operator in ("#", "##", "%", "%%", "/", "//"):
        tail = "/x}" if operator.startswith("/") else "}"
        substitute("${v" + operator + pattern + tail, {"v": "a" * 100_000})
    assert time.thread_time() - started < 2


@given(st.text("$a{}:-+?#%/\\\"' \n\ud800é", max_size=30))
@settings(max_examples=300)
def test_any_word_gives_a_value_or_the_error_for_it(text: str) -> None:
    for function in (substitute, substitute_words):
        try:
            function(text, {"a": "v"})
        except InvalidInput as error:
            assert error.remedy
    try:
        substitute_document(text, {"a": "v"})
    except InvalidInput as error:
        assert error.remedy


@given(st.text(st.characters(exclude_characters="$\\\"'", exclude_categories=["Cs"])))
def test_a_word_without_anything_special_stays_as_it_is(text: str) -> None:
    assert substitute(text, VARIABLES) == text


# --- instructions -------------------------------------------------------------------------------------


def _expanded(text: str, **variables: str) -> Instruction:
    (stage,) = parse(f"FROM scratch\n{text}\n").stages
    return expand(stage.instructions[0], variables)


def test_each_part_that_is_documented_is_expanded() -> None:
    values = {"v": "x", "n": "5"}
    copy = _expanded("COPY --chown=$v --chmod=$n --exclude=*.$v a$v b$v/", **values)
    assert copy == syntax.Copy(
        ("ax",),
        "bx/",
        chown="x",
        chmod="5",
        exclude=("*.x",),
        line=2,
        original="COPY --chown=$v --chmod=$n --exclude=*.$v a$v b$v/",
    )
    add = _expanded("ADD --checksum=sha256:$v $v /", **values)
    assert isinstance(add, syntax.Add) and (add.checksum, add.sources) == ("sha256:x", ("x",))
    expose = _expanded("EXPOSE ${n}0 8$n/udp", **values)
    assert isinstance(expose, syntax.Expose) and expose.ports == ("50/tcp", "85/udp")
    user = _expanded('USER "$v:$n"', **values)
    assert isinstance(user, syntax.User) and user.user == "x:5"
    workdir = _expanded("WORKDIR '/a b'/$v", **values)
    assert isinstance(workdir, syntax.Workdir) and workdir.path == "/a b/x"
    volume = _expanded("VOLUME /$v /b", **values)
    assert isinstance(volume, syntax.Volume) and volume.paths == ("/x", "/b")
    stop = _expanded("STOPSIGNAL $n", **values)
    assert isinstance(stop, syntax.StopSignal) and stop.signal == "5"
    label = _expanded("LABEL a.$v=\"$v '$n'\"", **values)
    assert isinstance(label, syntax.Label) and label.pairs == (("a.x", "x '5'"),)
    run = _expanded("RUN --mount=type=cache,target=/$v,uid=$n,id=${v}y $v", **values)
    assert isinstance(run, syntax.Run) and run.command.text == "$v"
    assert (run.mounts[0].target, run.mounts[0].uid, run.mounts[0].id) == ("/x", 5, "xy")


def test_documents_of_copy_are_expanded_unless_their_name_is_quoted() -> None:
    copy = _expanded("COPY <<A <<'B' /\n\"$v\"\nA\n$v\nB", v="x")
    assert isinstance(copy, syntax.Copy)
    assert [document.text for document in copy.heredocs] == ['"x"\n', "$v\n"]


@pytest.mark.parametrize(
    "text", ["RUN $v", "CMD $v", "ENTRYPOINT $v", "HEALTHCHECK CMD $v", 'SHELL ["$v"]', "ONBUILD USER $v"]
)
def test_what_a_shell_will_expand_is_left_to_it(text: str) -> None:
    assert "$v" in repr(_expanded(text, v="x"))
    assert "'x'" not in repr(_expanded(text, v="x"))


@pytest.mark.parametrize(
    "text",
    [
        "USER $no",
        "WORKDIR $no",
        "VOLUME $no",
        "COPY $no /",
        "COPY a $no",
        "ENV $no=1",
        "STOPSIGNAL SIGNOTHING",
        "STOPSIGNAL 0",
        "STOPSIGNAL 99",
        "EXPOSE 70000",
        "EXPOSE 1-",
        "EXPOSE 9-8",
        "EXPOSE 80/icmp",
        "EXPOSE x",
        "RUN --mount=type=$no,target=/a x",
        "RUN --mount=target=$no x",
        "WORKDIR ${a:-",
    ],
)
def test_an_expansion_that_gives_nothing_usable_names_the_line(text: str) -> None:
    with pytest.raises(DockerfileError, match="^Dockerfile:2: ") as caught:
        _expanded(text)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1", "sigkill"])
def test_signals_by_name_and_number(name: str) -> None:
    stop = _expanded(f"STOPSIGNAL {name}")
    assert isinstance(stop, syntax.StopSignal) and stop.signal == name


def test_ports_and_ranges() -> None:
    assert expand_ports("127.0.0.1:8080:80/TCP") == ["80/tcp"]
    assert expand_ports("1-3/sctp") == ["1/sctp", "2/sctp", "3/sctp"]
    assert len(expand_ports("0-65535")) == 65536


# --- scopes -------------------------------------------------------------------------------------------


def _walk(text: str, given: dict[str, str] | None = None) -> tuple[FileScope, list[StageScope]]:
    """Every stage's scope at its end."""
    dockerfile = parse(text)
    scope = FileScope(dockerfile, given or {}, platform_arguments("linux/arm/v7", "linux/amd64", "end"))
    stages: dict[str, StageScope] = {}
    for stage in dockerfile.stages:
        base = scope.base(stage)
        parent = stages.get(base.image)
        found = scope.stage(parent.environment if parent else {"PATH": "/bin"}, parent)
        for instruction in stage.instructions:
            found.apply(instruction)
        stages[stage.name or str(len(stages))] = found
    return scope, list(stages.values())


def test_global_arguments_are_for_from_and_for_stages_that_ask() -> None:
    text = "ARG v=1\nARG w=$v-x u=${w}y\nFROM a:$w\nARG w\nENV got=$v/$w/$u\n"
    scope, (stage,) = _walk(text)
    assert scope.base(parse(text).stages[0]).image == "a:1-x"
    assert stage.environment["got"] == "/1-x/"
    _, (stage,) = _walk(text, {"v": "2"})
    assert stage.arguments["w"] == "2-x"


def test_what_is_given_wins_over_defaults_and_a_stages_default_over_the_global_one() -> None:
    text = "ARG v=1\nFROM a\nARG v=2 w=3\nENV got=$v$w\n"
    assert _walk(text)[1][0].environment["got"] == "23"
    assert _walk(text, {"v": "8", "w": "9"})[1][0].environment["got"] == "89"


def test_an_argument_holds_from_its_line_on() -> None:
    _, (stage,) = _walk("FROM a\nENV before=${v:-unset}\nARG v=1\nENV after=$v\nARG v=2\nENV last=$v\n")
    assert [stage.environment[name] for name in ("before", "after", "last")] == ["unset", "1", "2"]


def test_env_hides_an_argument_of_its_name_wherever_it_stands() -> None:
    _, (stage,) = _walk("FROM a\nENV v=env\nARG v=arg\nENV got=$v\n", {"v": "given"})
    assert stage.environment["got"] == "env"
    assert stage.run_environment["v"] == "env"


def test_one_env_sees_the_values_before_its_line() -> None:
    _, (stage,) = _walk("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n")
    assert (stage.environment["def"], stage.environment["ghi"]) == ("hello", "bye")


def test_a_stage_inherits_arguments_from_its_base_stage_and_from_no_other() -> None:
    _, stages = _walk("FROM a AS one\nARG v=1\nFROM one AS two\nENV got=$v\nFROM a\nENV got=$v\n")
    assert [stage.environment.get("got") for stage in stages] == [None, "1", ""]


def test_platform_arguments_are_there_for_from_and_when_declared() -> None:
    text = "FROM --platform=$BUILDPLATFORM a\nENV early=$TARGETARCH\nARG TARGETARCH TARGETVARIANT TARGETSTAGE\nENV late=$TARGETARCH$TARGETVARIANT$TARGETSTAGE\n"
    scope, (stage,) = _walk(text)
    assert scope.base(parse(text).stages[0]).platform == "linux/amd64"
    assert (stage.environment["early"], stage.environment["late"]) == ("", "armv7end")


def test_proxies_are_for_run_without_being_declared() -> None:
    scope, (stage,) = _walk("FROM a\nENV got=$HTTP_PROXY\n", {"HTTP_PROXY": "p", "no_proxy": "q"})
    assert stage.environment["got"] == ""
    assert stage.run_environment == {"PATH": "/bin", "got": "", "HTTP_PROXY": "p", "no_proxy": "q"}
    assert scope.unused() == []


def test_what_is_given_and_not_declared_is_told_with_the_nearest_name() -> None:
    scope, _ = _walk("FROM a\nARG version\n", {"verson": "1", "SOURCE_DATE_EPOCH": "0"})
    (note,) = scope.unused()
    assert "verson" in note and "did you mean version?" in note


def test_an_empty_base_names_its_line() -> None:
    with pytest.raises(DockerfileError, match="^Dockerfile:2: FROM: the image's name is empty"):
        _walk("ARG v\nFROM $v\n")
