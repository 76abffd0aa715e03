"""Each instruction: a statement in, its record out."""

from __future__ import annotations

import re
from collections.abc import Callable

from multios.dockerfile import syntax
from multios.dockerfile.flags import TEXT, TEXTS, TRUTH, Flags
from multios.dockerfile.mounts import parse_mount
from multios.dockerfile.statements import Statement, read_heredoc, split_statement
from multios.dockerfile.syntax import Command, Heredoc, Instruction
from multios.dockerfile.words import NotStrings, read_json, split_blanks, split_words
from multios.errors import InvalidInput, nearest
from multios.model import image
from multios.model.quantities import seconds_of

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_NO_TRIGGERS = ("ONBUILD", "FROM", "MAINTAINER")
_NETWORKS = ("default", "none", "host")


def parse_instruction(statement: Statement) -> Instruction:
    """The record of a statement. Raises ``DockerfileError``."""
    build = _BUILDERS.get(statement.word)
    if build is None:
        guess = nearest(statement.word, list(_BUILDERS))
        raise statement.error(
            f"unknown instruction {statement.word[:40]!r}",
            f"did you mean {guess}?" if guess else f"expected one of {', '.join(_BUILDERS)}",
        )
    if not statement.rest:
        raise statement.error(f"{statement.word} has no argument", "expected at least one")
    try:
        return build(statement)
    except syntax.DockerfileError:
        raise
    except InvalidInput as error:
        raise statement.error(error.cause, error.remedy) from None


def _strings(statement: Statement, text: str) -> tuple[str, ...] | None:
    try:
        return read_json(text)
    except NotStrings:
        raise statement.error(
            f"{statement.word}: a JSON array with something else than strings", 'expected ["WORD", "WORD"]'
        ) from None


def _command(statement: Statement, text: str = "") -> Command:
    text = text or statement.rest
    argv = _strings(statement, text)
    if argv is not None:
        return Command(argv=argv)
    alone = len(statement.heredocs) == 1 and read_heredoc(text) is not None
    return Command(text, heredocs=statement.heredocs, document_only=alone)


def _from(statement: Statement) -> Instruction:
    flags = Flags(statement, {"platform": TEXT})
    words = split_blanks(statement.rest)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise statement.error(f"FROM {statement.rest[:80]}", "expected FROM IMAGE, or FROM IMAGE AS NAME")
    stage = words[2].lower() if len(words) == 3 else ""
    if stage and not _STAGE_NAME.fullmatch(stage):
        raise statement.error(
            f"FROM: {words[2][:80]!r} cannot name a stage",
            "expected a letter, then letters, digits, '-', '_' and '.'",
        )
    return syntax.From(words[0], stage, flags.text("platform"), line=statement.line, original=statement.text)


def _run(statement: Statement) -> Instruction:
    flags = Flags(statement, {"mount": TEXTS, "network": TEXT, "security": TEXT, "device": TEXTS})
    if flags.text("security") not in ("", "sandbox"):
        raise statement.error(
            f"RUN: --security={flags.text('security')[:40]}: a build step is as confined as any container",
            "leave the flag out, or write --security=sandbox",
        )
    if flags.has("device"):
        raise statement.error("RUN: --device: a build step gets no device", "leave the flag out")
    network = flags.text("network") if flags.has("network") else "default"
    if network not in _NETWORKS:
        raise statement.error(f"RUN: --network={network[:40]}", f"expected {', '.join(_NETWORKS)}")
    command = _command(statement)
    if command.argv == ():
        raise statement.error("RUN: an empty exec form", 'expected ["PROGRAM", "ARGUMENT"]')
    mounts = tuple(parse_mount(text) for text in flags.texts("mount"))
    return syntax.Run(command, mounts, network, line=statement.line, original=statement.text)


def _paths(statement: Statement) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Sources, documents among them, and the destination of COPY and ADD."""
    listed = _strings(statement, statement.rest)
    words = list(listed) if listed is not None else split_blanks(statement.rest)
    if len(words) < 2:
        raise statement.error(
            f"{statement.word} needs a source and a destination",
            f"expected {statement.word} SOURCE… DESTINATION",
        )
    *sources, destination = words
    if listed is not None:
        return tuple(sources), (), destination
    if read_heredoc(destination):
        raise statement.error(
            f"{statement.word}: the document {destination[:80]} cannot be the destination",
            f"expected {statement.word} <<NAME DESTINATION",
        )
    return tuple(word for word in sources if not read_heredoc(word)), statement.heredocs, destination


def _copy(statement: Statement) -> Instruction:
    flags = Flags(
        statement,
        {
            "from": TEXT,
            "chown": TEXT,
            "chmod": TEXT,
            "link": TRUTH,
            "parents": TRUTH,
            "exclude": TEXTS,
        },
    )
    if "$" in flags.text("from"):
        raise statement.error(
            f"COPY: --from={flags.text('from')[:80]} holds a variable",
            "name a stage with FROM … AS and copy from that",
        )
    sources, heredocs, destination = _paths(statement)
    if heredocs and flags.text("from"):
        raise statement.error("COPY: a document cannot come from another stage", "leave --from out")
    return syntax.Copy(
        sources,
        destination,
        heredocs,
        origin=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link"),
        parents=flags.truth("parents"),
        exclude=flags.texts("exclude"),
        line=statement.line,
        original=statement.text,
    )


def _add(statement: Statement) -> Instruction:
    flags = Flags(
        statement,
        {
            "chown": TEXT,
            "chmod": TEXT,
            "link": TRUTH,
            "exclude": TEXTS,
            "checksum": TEXT,
            "keep-git-dir": TRUTH,
            "unpack": TRUTH,
        },
    )
    sources, heredocs, destination = _paths(statement)
    if flags.text("checksum") and len(sources) != 1:
        raise statement.error("ADD: --checksum is for exactly one source", "add the others by themselves")
    return syntax.Add(
        sources,
        destination,
        heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link"),
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_directory=flags.truth("keep-git-dir"),
        unpack=flags.truth("unpack") if flags.has("unpack") else None,
        line=statement.line,
        original=statement.text,
    )


def _pairs(statement: Statement) -> tuple[tuple[str, str], ...]:
    """``NAME=VALUE …``, or the old ``NAME VALUE`` whose value is the rest of the line."""
    Flags(statement, {})
    words = split_words(statement.rest, statement.escape)
    if "=" not in words[0]:
        parts = split_blanks(statement.rest, 1)
        if len(parts) < 2:
            raise statement.error(
                f"{statement.word} {statement.rest[:80]} has no value",
                f"expected {statement.word} NAME=VALUE",
            )
        return ((parts[0], parts[1]),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise statement.error(
                f"{statement.word}: {word[:80]!r} is not a name and a value",
                "expected NAME=VALUE; a value with blanks is quoted",
            )
        pairs.append((name, value))
    return tuple(pairs)


def _env(statement: Statement) -> Instruction:
    return syntax.Env(_pairs(statement), line=statement.line, original=statement.text)


def _label(statement: Statement) -> Instruction:
    return syntax.Label(_pairs(statement), line=statement.line, original=statement.text)


def _arg(statement: Statement) -> Instruction:
    Flags(statement, {})
    pairs: list[tuple[str, str | None]] = []
    for word in split_words(statement.rest, statement.escape):
        name, equals, value = word.partition("=")
        if not name:
            raise statement.error(f"ARG: {word[:80]!r} has no name", "expected NAME or NAME=DEFAULT")
        pairs.append((name, value if equals else None))
    return syntax.Arg(tuple(pairs), line=statement.line, original=statement.text)


def _cmd(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.Cmd(_command(statement), line=statement.line, original=statement.text)


def _entrypoint(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.Entrypoint(_command(statement), line=statement.line, original=statement.text)


def _expose(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.Expose(tuple(split_blanks(statement.rest)), line=statement.line, original=statement.text)


def _user(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.User(statement.rest, line=statement.line, original=statement.text)


def _workdir(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.Workdir(statement.rest, line=statement.line, original=statement.text)


def _stop_signal(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.StopSignal(statement.rest, line=statement.line, original=statement.text)


def _maintainer(statement: Statement) -> Instruction:
    Flags(statement, {})
    return syntax.Maintainer(statement.rest, line=statement.line, original=statement.text)


def _volume(statement: Statement) -> Instruction:
    Flags(statement, {})
    listed = _strings(statement, statement.rest)
    paths = listed if listed is not None else tuple(split_blanks(statement.rest))
    if not paths or not all(path.strip() for path in paths):
        raise statement.error("VOLUME: an empty path", 'expected VOLUME /PATH or VOLUME ["/PATH"]')
    return syntax.Volume(paths, line=statement.line, original=statement.text)


def _shell(statement: Statement) -> Instruction:
    Flags(statement, {})
    argv = _strings(statement, statement.rest)
    if not argv:
        raise statement.error(f"SHELL {statement.rest[:80]}", 'expected SHELL ["PROGRAM", "ARGUMENT"]')
    return syntax.Shell(argv, line=statement.line, original=statement.text)


def _healthcheck(statement: Statement) -> Instruction:
    flags = Flags(
        statement,
        {
            "interval": TEXT,
            "timeout": TEXT,
            "start-period": TEXT,
            "start-interval": TEXT,
            "retries": TEXT,
        },
    )
    kind, *rest = split_blanks(statement.rest, 1)
    kind = kind.upper()
    if kind == "NONE" and not rest and not statement.flags:
        check = image.Healthcheck(("NONE",))
        return syntax.Healthcheck(check, line=statement.line, original=statement.text)
    if kind != "CMD" or not rest:
        raise statement.error(
            f"HEALTHCHECK {statement.rest[:80]}",
            "expected HEALTHCHECK [FLAGS] CMD COMMAND, or HEALTHCHECK NONE",
        )
    argv = _strings(statement, rest[0])
    if argv == ():
        raise statement.error("HEALTHCHECK CMD: an empty exec form", 'expected ["PROGRAM", "ARGUMENT"]')
    retries = flags.text("retries") or "0"
    if len(retries) > 9 or retries.strip("0123456789"):
        raise statement.error(f"HEALTHCHECK: --retries={retries[:40]}", "expected a number")
    check = image.Healthcheck(
        ("CMD-SHELL", rest[0]) if argv is None else ("CMD", *argv),
        interval=_duration(statement, flags, "interval"),
        timeout=_duration(statement, flags, "timeout"),
        start_period=_duration(statement, flags, "start-period"),
        start_interval=_duration(statement, flags, "start-interval"),
        retries=int(retries),
    )
    return syntax.Healthcheck(check, line=statement.line, original=statement.text)


def _duration(statement: Statement, flags: Flags, name: str) -> float:
    """Seconds of a duration as Go writes it: ``1m30s``, ``500ms``; 0 when the flag is not given."""
    text = flags.text(name)
    seconds = 0.0 if text == "0" or not flags.has(name) else seconds_of(text)
    if seconds is None or 0 < seconds < 0.001 or seconds > 2**63 / 1e9:
        raise statement.error(
            f"HEALTHCHECK: --{name}={text[:40]}", "expected a duration of at least 1ms: 30s, 1m30s, 500ms"
        )
    return seconds


def _onbuild(statement: Statement) -> Instruction:
    Flags(statement, {})
    inner = split_statement(statement.rest, statement.file_name, statement.line, statement.escape)
    if inner.word in _NO_TRIGGERS:
        raise statement.error(f"ONBUILD {inner.word} is not allowed", "expected another instruction")
    inner = Statement(
        inner.file_name,
        inner.line,
        inner.text,
        inner.word,
        inner.flags,
        inner.rest,
        inner.escape,
        statement.heredocs,
    )
    documents = "".join(f"\n{document.text}{document.name}" for document in statement.heredocs)
    return syntax.Onbuild(
        statement.rest + documents,
        parse_instruction(inner),
        line=statement.line,
        original=statement.text,
    )


_BUILDERS: dict[str, Callable[[Statement], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
