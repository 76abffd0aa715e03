"""The Dockerfile language as text: statements, documents, flags and every instruction's forms."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multios.dockerfile import syntax
from multios.dockerfile.parser import parse, parse_trigger
from multios.dockerfile.syntax import Command, DockerfileError, Heredoc, Instruction, Mount
from multios.model.image import Healthcheck


def _one(text: str, escape: str = "\\") -> Instruction:
    """The instruction after FROM."""
    directive = f"# escape={escape}\n" if escape != "\\" else ""
    (stage,) = parse(f"{directive}FROM scratch\n{text}\n").stages
    (instruction,) = stage.instructions
    return instruction


def _fields(instruction: Instruction) -> dict[str, object]:
    """What differs from an instruction that says nothing."""
    names = [name for kind in type(instruction).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(instruction, name) for name in names if name not in ("line", "original")}


FORMS = [
    ("RUN a b", syntax.Run(Command("a b"))),
    ("run  a  b ", syntax.Run(Command("a  b"))),
    ('RUN ["a", "b c"]', syntax.Run(Command(argv=("a", "b c")))),
    ("RUN [\"a\", 'b']", syntax.Run(Command("[\"a\", 'b']"))),
    ('RUN ["a",]', syntax.Run(Command('["a",]'))),
    ("RUN --network=none a", syntax.Run(Command("a"), network="none")),
    ("RUN --network=host a", syntax.Run(Command("a"), network="host")),
    ("RUN --network=default a", syntax.Run(Command("a"))),
    ("RUN --security=sandbox a", syntax.Run(Command("a"))),
    ("RUN a --network=none", syntax.Run(Command("a --network=none"))),
    ("RUN -- --a", syntax.Run(Command("--a"))),
    ("COPY a b", syntax.Copy(("a",), "b")),
    ("COPY a b c/", syntax.Copy(("a", "b"), "c/")),
    ('COPY ["a b", "c d/"]', syntax.Copy(("a b",), "c d/")),
    ("COPY --from=x a b", syntax.Copy(("a",), "b", origin="x")),
    ("COPY --chown=1:2 --chmod=755 a b", syntax.Copy(("a",), "b", chown="1:2", chmod="755")),
    ("COPY --chmod=u=rwX,go=rX a b", syntax.Copy(("a",), "b", chmod="u=rwX,go=rX")),
    ("COPY --link a b", syntax.Copy(("a",), "b", link=True)),
    ("COPY --link=false a b", syntax.Copy(("a",), "b")),
    ("COPY --parents a/./b c", syntax.Copy(("a/./b",), "c", parents=True)),
    ("COPY --exclude=*.a --exclude=b a b", syntax.Copy(("a",), "b", exclude=("*.a", "b"))),
    ('COPY --chown="a b" a b', syntax.Copy(("a",), "b", chown="a b")),
    ("ADD a b", syntax.Add(("a",), "b")),
    ("ADD https://x/y.tar /", syntax.Add(("https://x/y.tar",), "/")),
    ("ADD --checksum=sha256:00 u b", syntax.Add(("u",), "b", checksum="sha256:00")),
    ("ADD --keep-git-dir=true u b", syntax.Add(("u",), "b", keep_git_directory=True)),
    ("ADD --unpack=false a b", syntax.Add(("a",), "b", unpack=False)),
    ("ADD --unpack a b", syntax.Add(("a",), "b", unpack=True)),
    (
        "ADD --chown=a --chmod=1 --link --exclude=x a b",
        syntax.Add(("a",), "b", chown="a", chmod="1", link=True, exclude=("x",)),
    ),
    ("ENV a=b", syntax.Env((("a", "b"),))),
    ("ENV a=b c=", syntax.Env((("a", "b"), ("c", "")))),
    ('ENV a="b c" d=e\\ f', syntax.Env((("a", '"b c"'), ("d", "e\\ f")))),
    ("ENV a b c=d", syntax.Env((("a", "b c=d"),))),
    ("ENV a   b", syntax.Env((("a", "b"),))),
    ("ARG a", syntax.Arg((("a", None),))),
    ("ARG a=", syntax.Arg((("a", ""),))),
    ("ARG a=1 b c='d e'", syntax.Arg((("a", "1"), ("b", None), ("c", "'d e'")))),
    ('LABEL a=b "c d"="e"', syntax.Label((("a", "b"), ('"c d"', '"e"')))),
    ("LABEL a b", syntax.Label((("a", "b"),))),
    ("CMD a b", syntax.Cmd(Command("a b"))),
    ('CMD ["a"]', syntax.Cmd(Command(argv=("a",)))),
    ("CMD []", syntax.Cmd(Command(argv=()))),
    ("ENTRYPOINT a", syntax.Entrypoint(Command("a"))),
    ("ENTRYPOINT []", syntax.Entrypoint(Command(argv=()))),
    ("EXPOSE 80 8000-8002/udp", syntax.Expose(("80", "8000-8002/udp"))),
    ("USER a:b", syntax.User("a:b")),
    ("WORKDIR /a b", syntax.Workdir("/a b")),
    ("VOLUME /a /b", syntax.Volume(("/a", "/b"))),
    ('VOLUME ["/a b"]', syntax.Volume(("/a b",))),
    ("STOPSIGNAL SIGUSR1", syntax.StopSignal("SIGUSR1")),
    ('SHELL ["/bin/bash", "-c"]', syntax.Shell(("/bin/bash", "-c"))),
    ("HEALTHCHECK NONE", syntax.Healthcheck(Healthcheck(("NONE",)))),
    ("HEALTHCHECK CMD a b", syntax.Healthcheck(Healthcheck(("CMD-SHELL", "a b")))),
    ('HEALTHCHECK CMD ["a", "b"]', syntax.Healthcheck(Healthcheck(("CMD", "a", "b")))),
    (
        "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2h --start-interval=1.5s --retries=3 cmd a",
        syntax.Healthcheck(Healthcheck(("CMD-SHELL", "a"), 90.0, 0.5, 7200.0, 1.5, 3)),
    ),
    ("MAINTAINER Ann <a@b>", syntax.Maintainer("Ann <a@b>")),
]


@pytest.mark.parametrize(("text", "expected"), FORMS, ids=[text for text, _ in FORMS])
def test_every_instruction_in_every_form(text: str, expected: Instruction) -> None:
    found = _one(text)
    assert type(found) is type(expected)
    assert _fields(found) == _fields(expected)
    assert found.line == 2


MOUNTS = [
    ("target=/a", Mount("", target="/a")),
    ("target=.", Mount("", target=".")),
    ("type=bind,dst=/a,src=b,from=c,rw", Mount("", target="/a", source="b", origin="c", read_only=False)),
    ("type=bind,destination=/a,readwrite=false", Mount("", target="/a")),
    ("type=cache,target=/a", Mount("", "cache", target="/a", id="/a", read_only=False)),
    (
        "type=cache,id=x,target=/a,sharing=locked,mode=0700,uid=1,gid=2,from=b,source=/c,ro",
        Mount(
            "",
            "cache",
            target="/a",
            source="/c",
            origin="b",
            id="x",
            sharing="locked",
            mode=0o700,
            uid=1,
            gid=2,
        ),
    ),
    ("type=tmpfs,target=/a,size=1m", Mount("", "tmpfs", target="/a", read_only=False, size=2**20)),
    ("type=secret,id=a", Mount("", "secret", target="/run/secrets/a", id="a")),
    ("type=secret,target=/x/y", Mount("", "secret", target="/x/y", id="y")),
    ("type=secret,id=a,env=TOKEN", Mount("", "secret", id="a", environment="TOKEN")),
    (
        "type=secret,source=a,required,mode=0444",
        Mount("", "secret", target="/run/secrets/a", id="a", required=True, mode=0o444),
    ),
    ("type=ssh", Mount("", "ssh", id="default")),
    ("type=ssh,id=x,target=/s,required=true", Mount("", "ssh", target="/s", id="x", required=True)),
]


@pytest.mark.parametrize(("text", "expected"), MOUNTS, ids=[text for text, _ in MOUNTS])
def test_every_option_of_a_mount(text: str, expected: Mount) -> None:
    run = _one(f"RUN --mount={text} x")
    assert isinstance(run, syntax.Run)
    (mount,) = run.mounts
    assert mount.text == text
    for name in Mount.__slots__:
        if name != "text":
            assert getattr(mount, name) == getattr(expected, name), name


def test_a_mount_with_a_variable_waits_for_it_but_tells_its_origin() -> None:
    run = _one("RUN --mount=from=stage,target=$HOME/x --mount=type=cache,target=/y x")
    assert isinstance(run, syntax.Run)
    assert [mount.origin for mount in run.mounts] == ["stage", ""]
    assert [mount.target for mount in run.mounts] == ["", "/y"]


ERRORS = [
    ("RUM a", "unknown instruction 'RUM'", "did you mean RUN?"),
    ("RUN", "no argument", ""),
    ("RUN --mont=type=cache x", "unknown flag --mont", "did you mean --mount?"),
    ("RUN --network=bridge x", "--network=bridge", "default, none, host"),
    ("RUN --network x", "no value", ""),
    ("RUN --security=insecure x", "--security=insecure", "leave the flag out"),
    ("RUN --device=x y", "--device", ""),
    ("RUN []", "empty exec form", ""),
    ('RUN ["a", 1]', "something else than strings", ""),
    ("RUN --mount=type=cash,target=/a x", "unknown type 'cash'", "did you mean 'cache'?"),
    ("RUN --mount=type=cache x", "no target", "target=/PATH"),
    ("RUN --mount=type=cache,target=/ x", "no target", ""),
    ("RUN --mount=type=bind,target=/a,sharing=shared x", "no option 'sharing'", ""),
    ("RUN --mount=type=cache,target=/a,shring=shared x", "no option 'shring'", "did you mean 'sharing'?"),
    ("RUN --mount=type=cache,target=/a,sharing=all x", "sharing='all'", ""),
    ("RUN --mount=type=cache,target=/a,mode=9 x", "octal", ""),
    ("RUN --mount=type=cache,target=/a,uid=-1 x", "not a number", ""),
    ("RUN --mount=type=tmpfs,target=/a,size=big x", "not a size", ""),
    ("RUN --mount=type=secret x", "no id", ""),
    ("RUN --mount=type=secret,id=a,source=b x", "both id and source", ""),
    ("RUN --mount=type=ssh,required=maybe x", "no truth value", ""),
    ("RUN --mount=from=$x,target=/a x", "holds a variable", "FROM"),
    ("RUN --mount=target x", "no value", ""),
    ("COPY a", "needs a source and a destination", ""),
    ("COPY --from=$x a b", "holds a variable", "FROM"),
    ("COPY --link=maybe a b", "no truth value", ""),
    ("COPY --chown=a --chown=b a b", "given twice", ""),
    ("COPY --checksum=x a b", "unknown flag --checksum", ""),
    ("COPY a <<E\nx\nE", "cannot be the destination", ""),
    ("ADD --checksum=x a b c/", "exactly one source", ""),
    ("ADD --from=x a b", "unknown flag --from", ""),
    ("ENV a", "no value", "ENV NAME=VALUE"),
    ("ENV a=b c", "'c' is not a name and a value", ""),
    ("ENV =b", "not a name", ""),
    ("ARG =b", "no name", ""),
    ("LABEL a=b c", "'c' is not a name and a value", ""),
    ("ENV --x=y a=b", "unknown flag --x", "ENV has no flags"),
    ("VOLUME []", "empty path", ""),
    ("SHELL /bin/sh", "SHELL /bin/sh", "expected SHELL"),
    ("SHELL []", "SHELL []", ""),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE x", "expected"),
    ("HEALTHCHECK CMD", "HEALTHCHECK CMD", "expected"),
    ("HEALTHCHECK TRY x", "HEALTHCHECK TRY x", "expected"),
    ("HEALTHCHECK --interval=5 CMD x", "--interval=5", "30s"),
    ("HEALTHCHECK --interval=1us CMD x", "--interval=1us", ""),
    ("HEALTHCHECK --retries=-1 CMD x", "--retries=-1", ""),
    ("HEALTHCHECK --interval= CMD x", "--interval=", ""),
    ("ONBUILD FROM x", "ONBUILD FROM", ""),
    ("ONBUILD ONBUILD RUN x", "ONBUILD ONBUILD", ""),
    ("ONBUILD MAINTAINER x", "ONBUILD MAINTAINER", ""),
    ("ONBUILD RUM x", "unknown instruction 'RUM'", ""),
    ("FROM a b", "FROM a b", "FROM IMAGE AS NAME"),
    ("FROM a AS 1b", "'1b' cannot name a stage", ""),
    ("FROM a as b c", "FROM a as b c", ""),
    ("RUN <<E\nx", "the document <<E has no end", "nothing but E"),
]


@pytest.mark.parametrize(("text", "cause", "remedy"), ERRORS, ids=[text for text, _, _ in ERRORS])
def test_an_error_names_file_line_what_was_found_and_what_was_expected(
    text: str, cause: str, remedy: str
) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM scratch\n\n{text}\n", "My.Dockerfile")
    assert caught.value.cause.startswith("My.Dockerfile:3: ")
    assert cause in caught.value.cause
    assert caught.value.remedy and remedy in caught.value.remedy
    assert "\n" not in caught.value.cause + caught.value.remedy


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no FROM"),
        ("# nothing\n", "no FROM"),
        ("RUN x\n", "RUN before any FROM"),
        ("FROM a AS b\nFROM c AS B\n", "a second stage named 'b'"),
        ("# escape=x\nFROM a\n", "escape='x'"),
        ("# escape=`\n# escape=`\nFROM a\n", "a second directive 'escape'"),
        ("# syntax=example.org/other\nFROM a\n", "external frontends are not run"),
        ("# syntax=docker/dockerfile-evil:1\nFROM a\n", "external frontends are not run"),
        ("FROM a\0\n", "NUL"),
        ("FROM a\nRUN " + "x" * 70_000, "at most 65536"),
        ("#\n" * 2_000_000, "longer than"),
        ("FROM a\n" * 1001, "more than 1000 stages"),
        ("FROM a\n" + "ARG a\n" * 10_000, "more than 10000 instructions"),
        ("FROM a\nRUN cat " + " ".join(f"<<A{n}" for n in range(101)), "more than 100 documents"),
    ],
)
def test_a_file_that_cannot_be_one(text: str, cause: str) -> None:
    with pytest.raises(DockerfileError, match=r"^Dockerfile:\d+: ") as caught:
        parse(text)
    assert cause in caught.value.cause


def test_bytes_that_are_no_text_name_their_line() -> None:
    with pytest.raises(DockerfileError, match="^Dockerfile:2: not UTF-8"):
        parse(b"FROM a\nRUN \xff\n")
    with pytest.raises(DockerfileError, match="^Dockerfile:2: not UTF-8"):
        parse("FROM a\nRUN \ud800\n")


# --- lines -------------------------------------------------------------------------------------------


def test_lines_are_joined_and_comments_and_empty_lines_between_them_skipped() -> None:
    run = _one("RUN a \\\n  # comment\n\n   b \\ \t\n\t# another \\\n  c\\\n d")
    assert isinstance(run, syntax.Run)
    assert run.command.text == "a    b   c d"


def test_a_doubled_escape_ends_a_line() -> None:
    first, second = parse("FROM a\nRUN x\\\\\nRUN y").stages[0].instructions
    assert isinstance(first, syntax.Run) and first.command.text == "x\\\\"
    assert second.line == 3


def test_another_escape_leaves_the_backslash_alone() -> None:
    run = _one("RUN dir c:\\`\n more", "`")
    assert isinstance(run, syntax.Run)
    assert run.command.text == "dir c:\\ more"


def test_a_line_that_goes_on_at_the_end_of_the_file_ends_there() -> None:
    run = _one("RUN a \\")
    assert isinstance(run, syntax.Run) and run.command.text == "a"


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    found = parse(b"\xef\xbb\xbf# escape=`\r\nFROM a\r\nRUN x `\r\n  y\r\nRUN <<E\r\nz\r\nE\r\n")
    one, two = found.stages[0].instructions
    assert found.escape == "`"
    assert isinstance(one, syntax.Run) and one.command.text == "x   y"
    assert isinstance(two, syntax.Run) and two.command.heredocs == (Heredoc("E", "z\r\n"),)


def test_directives_end_with_the_first_line_that_is_none() -> None:
    found = parse("# syntax=docker/dockerfile:1.7-labs\n# check=skip=all\n# about=this\n# escape=`\nFROM a\n")
    assert found.escape == "\\"
    assert [note.split(": ")[0] for note in found.notes] == ["line 1", "line 2"]


@pytest.mark.parametrize(
    "value", ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.4@sha256:00"]
)
def test_the_usual_syntax_directive_is_accepted_with_a_note(value: str) -> None:
    (note,) = parse(f"#syntax = {value}\nFROM a\n").notes
    assert "is ignored" in note


# --- documents ---------------------------------------------------------------------------------------


def test_a_document_alone_is_the_script() -> None:
    run = _one("RUN <<EOF\necho 1\n\necho \\\n2\n# 3\nEOF")
    assert isinstance(run, syntax.Run)
    assert run.command.script == "echo 1\n\necho \\\n2\n# 3\n"
    assert run.command.program is None


def test_a_document_with_an_interpreter_is_a_program() -> None:
    run = _one("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF")
    assert isinstance(run, syntax.Run)
    assert run.command.program == run.command.heredocs[0]


def test_several_documents_stand_where_the_shell_expects_them() -> None:
    run = _one("RUN cat <<A <<-'B' >/x && \\\n  true\na\nA\n\tb\n\tB")
    assert isinstance(run, syntax.Run)
    assert run.command.heredocs == (Heredoc("A", "a\n"), Heredoc("B", "b\n", expand=False))
    assert run.command.script == "cat <<A <<-'B' >/x &&   true\na\nA\nb\nB"


def test_documents_of_copy_are_sources_beside_paths() -> None:
    copy = _one('COPY a <<x 3<<"y" b/\n1\nx\n2\ny')
    assert isinstance(copy, syntax.Copy)
    assert (copy.sources, copy.destination) == (("a",), "b/")
    assert copy.heredocs == (Heredoc("x", "1\n"), Heredoc("y", "2\n", expand=False, descriptor=3))


def test_an_add_document_keeps_what_looks_like_instructions() -> None:
    add = _one("ADD <<E /x\nFROM b\n# c\nE")
    assert isinstance(add, syntax.Add)
    assert add.heredocs[0].text == "FROM b\n# c\n"


@pytest.mark.parametrize("text", ["RUN cat <<<x", "RUN echo $((1 << 2))", 'RUN ["a", "<<E"]', "CMD <<E"])
def test_what_only_looks_like_a_document_is_none(text: str) -> None:
    assert not getattr(_one(text), "command").heredocs  # noqa: B009  # any of several classes


def test_a_trigger_keeps_its_documents_and_is_read_again() -> None:
    onbuild = _one("ONBUILD COPY --chmod=1 <<E /x\n$a\nE")
    assert isinstance(onbuild, syntax.Onbuild)
    assert onbuild.trigger == "COPY --chmod=1 <<E /x\n$a\nE"
    assert _fields(parse_trigger(onbuild.trigger, "base")) == _fields(onbuild.instruction)


@pytest.mark.parametrize("text", ["", "RUN a\nRUN b", "FROM a", "ONBUILD RUN a", "RUM a", "RUN <<E"])
def test_a_trigger_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError, match="^base:1: "):
        parse_trigger(text, "base")


def test_stages_are_told_apart() -> None:
    found = parse("ARG v=1\nARG w\nFROM --platform=$BUILDPLATFORM a:$v AS Build\nRUN x\nfrom b\nCMD y\n")
    assert [argument.pairs for argument in found.global_arguments] == [(("v", "1"),), (("w", None),)]
    assert [stage.name for stage in found.stages] == ["build", ""]
    assert found.stages[0].base == syntax.From(
        "a:$v",
        "build",
        "$BUILDPLATFORM",
        line=3,
        original="FROM --platform=$BUILDPLATFORM a:$v AS Build",
    )


# --- anything ----------------------------------------------------------------------------------------

WORDS = [
    *["FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "ONBUILD", "HEALTHCHECK"],
    *["EXPOSE", "VOLUME", "SHELL", "CMD", "# escape=`\n", "\\\n", "`\n", "\n", " ", "\t", "a", "=", "$", "{"],
    *[
        "<<E",
        "<<-E",
        '<<"',
        "E\n",
        '["',
        '"',
        "'",
        ",",
        "]",
        "--mount=",
        "--from=",
        "type=secret",
        "\\",
        "\r",
    ],
    *["AS", "CMD", "NONE", "--interval=", "1s", "\ufeff", "\0", "é", "\ud800", "[[[", "\u2028", "1e999"],
]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map("".join) | st.text(max_size=60))
@example("FROM a\nRUN " + "[" * 30_000)
@example('FROM a\nRUN ["\\ud800"]')
@example("FROM a\nCMD [" + "9" * 5000 + "]")
@example("FROM a\nHEALTHCHECK --interval=" + "9" * 60_000 + "h CMD x")
def test_the_parser_raises_its_own_error_and_no_other(text: str) -> None:
    for whole in (text, "FROM a\n" + text):
        try:
            found = parse(whole)
        except DockerfileError as error:
            json.dumps(error.to_wire())
        else:
            assert found.stages


@pytest.mark.parametrize(
    "piece",
    [
        "RUN a \\\n" * 20_000,
        "# x\n" * 100_000,
        "RUN x\\\n" + "\n" * 500_000 + "\n",
        "ENV " + "a=\\\n" * 40_000,
        ("RUN <<E " + "'" * 30_000 + "\n") * 20,
        "RUN cat <<E\n" + "<<E\n" * 100_000 + "E\n",
        "LABEL " + 'a="b" ' * 10_000,
        "RUN " + '["' * 20_000,
        "COPY " + "--exclude=a " * 5_000 + "a b",
        "RUN " + "<" * 60_000,
        "RUN " + "\\" * 60_000,
        "EXPOSE " + "1-2 " * 15_000,
    ],
)
def test_the_time_taken_grows_with_the_text_and_no_faster(piece: str) -> None:
    started = time.thread_time()
    try:
        parse("FROM a\n" + piece)
    except DockerfileError:
        pass
    assert time.thread_time() - started < 2
