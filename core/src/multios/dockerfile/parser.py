"""A Dockerfile's text as records: the one way in."""

from __future__ import annotations

from multios.dockerfile.instructions import parse_instruction
from multios.dockerfile.statements import Reader
from multios.dockerfile.syntax import Arg, Dockerfile, DockerfileError, From, Instruction, Maintainer, Stage

MOST_STAGES = 1000


def parse(text: str | bytes, file_name: str = "Dockerfile") -> Dockerfile:
    """The whole file; ``file_name`` is for errors. Raises ``DockerfileError`` and nothing else."""
    reader = Reader(_decode(text, file_name), file_name)
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    notes = list(reader.directives.notes)
    for statement in reader.statements():
        instruction = parse_instruction(statement)
        if isinstance(instruction, From):
            if len(stages) == MOST_STAGES:
                raise statement.error(f"more than {MOST_STAGES} stages", "split the file")
            if instruction.stage and any(base.stage == instruction.stage for base, _ in stages):
                raise statement.error(f"a second stage named {instruction.stage!r}", "give it another name")
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            raise statement.error(f"{statement.word} before any FROM", "expected FROM, or ARG before it")
        if isinstance(instruction, Maintainer):
            notes.append(f"line {statement.line}: MAINTAINER is old: LABEL org.opencontainers.image.authors")
    if not stages:
        raise DockerfileError(file_name, 1, "no FROM in the file", "expected at least FROM IMAGE")
    return Dockerfile(
        file_name,
        tuple(Stage(base.stage, base, tuple(instructions)) for base, instructions in stages),
        tuple(arguments),
        reader.directives.escape,
        tuple(notes),
    )


def parse_trigger(text: str, image: str = "ONBUILD") -> Instruction:
    """What a base image's ``ONBUILD`` trigger says; ``image`` stands for the file name in errors."""
    statements = list(Reader(text, image).statements())
    if len(statements) != 1 or statements[0].word in ("FROM", "ONBUILD", "MAINTAINER"):
        raise DockerfileError(image, 1, f"trigger {text[:80]!r} is not one instruction", "rebuild that image")
    return parse_instruction(statements[0])


def _decode(text: str | bytes, file_name: str) -> str:
    try:
        if isinstance(text, bytes):
            return text.decode()
        text.encode()  # half a surrogate pair, which JSON lets through, is no text either
        return text
    except UnicodeEncodeError as error:
        before = error.object[: error.start].count("\n")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
    raise DockerfileError(file_name, before + 1, "not UTF-8", "save the file as UTF-8")
