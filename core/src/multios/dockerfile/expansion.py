"""An instruction with its variables replaced: in those of its parts where the reference says so, and no others.

What runs in a shell (``RUN``, ``CMD``, ``ENTRYPOINT``, ``HEALTHCHECK``) is the shell's to expand.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from multios.dockerfile.mounts import parse_mount
from multios.dockerfile.ports import expand_ports
from multios.dockerfile.substitution import substitute, substitute_document, substitute_words
from multios.dockerfile.syntax import (
    Add,
    Arg,
    Copy,
    DockerfileError,
    Env,
    Expose,
    From,
    Heredoc,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from multios.errors import InvalidInput

AnyInstruction = TypeVar("AnyInstruction", bound=Instruction)
_REAL_TIME = re.compile(r"(?:SIG)?RTM(?:IN\+|AX-)([0-9]{1,2})")


def expand(
    instruction: AnyInstruction,
    variables: Mapping[str, str],
    escape: str = "\\",
    file_name: str = "Dockerfile",
) -> AnyInstruction:
    """The same instruction with ``variables`` replaced. Raises ``DockerfileError`` at the instruction's line."""
    try:
        return _expand(instruction, variables, escape)
    except InvalidInput as error:
        raise DockerfileError(file_name, instruction.line, error.cause, error.remedy) from None


def _expand(instruction: AnyInstruction, variables: Mapping[str, str], escape: str) -> AnyInstruction:
    def word(text: str) -> str:
        return substitute(text, variables, escape)

    changed: Instruction = instruction
    match instruction:
        case From():
            changed = replace(instruction, image=word(instruction.image), platform=word(instruction.platform))
            _required(changed.image, "FROM: the image's name is empty", "give the ARG in it a value")
        case Env() | Label():
            pairs = tuple((word(name), word(value)) for name, value in instruction.pairs)
            for name, _ in pairs:
                _required(name, f"{instruction.name}: a name is empty", "expected NAME=VALUE")
            changed = replace(instruction, pairs=pairs)
        case Arg():
            changed = replace(
                instruction,
                pairs=tuple((word(name), value and word(value)) for name, value in instruction.pairs),
            )
        case Run():
            mounts = tuple(parse_mount(mount.text, word) for mount in instruction.mounts)
            changed = replace(instruction, mounts=mounts)
        case Copy() | Add():
            changed = _expand_copy(instruction, word, variables)
        case Expose():
            words = [one for text in instruction.ports for one in substitute_words(text, variables, escape)]
            ports = dict.fromkeys(port for one in words for port in expand_ports(one))
            changed = replace(instruction, ports=tuple(ports))
        case User():
            changed = replace(instruction, user=word(instruction.user))
            _required(changed.user, "USER: the name is empty", "expected USER NAME[:GROUP]")
        case Workdir():
            changed = replace(instruction, path=word(instruction.path))
            _required(changed.path, "WORKDIR: the path is empty", "expected WORKDIR /PATH")
        case Volume():
            changed = replace(instruction, paths=tuple(word(path) for path in instruction.paths))
            for path in changed.paths:
                _required(path, "VOLUME: a path is empty", "expected VOLUME /PATH")
        case StopSignal():
            changed = replace(instruction, signal=_signal(word(instruction.signal)))
    return changed  # type: ignore[return-value]  # replace keeps the class


def _expand_copy(
    instruction: Copy | Add, word: Callable[[str], str], variables: Mapping[str, str]
) -> Instruction:
    sources = tuple(word(source) for source in instruction.sources)
    destination = word(instruction.destination)
    for path in (*sources, destination):
        _required(path, f"{instruction.name}: a path is empty", "give the variables in it values")
    changed = replace(
        instruction,
        sources=sources,
        destination=destination,
        heredocs=tuple(_expand_document(document, variables) for document in instruction.heredocs),
        chown=word(instruction.chown),
        chmod=word(instruction.chmod),
        exclude=tuple(word(pattern) for pattern in instruction.exclude),
    )
    return replace(changed, checksum=word(changed.checksum)) if isinstance(changed, Add) else changed


def _expand_document(document: Heredoc, variables: Mapping[str, str]) -> Heredoc:
    if not document.expand:
        return document
    return replace(document, text=substitute_document(document.text, variables))


def _required(value: str, cause: str, remedy: str) -> None:
    if not value:
        raise InvalidInput(cause, remedy)


def _signal(name: str) -> str:
    """A signal as it is written, once it is known to be one (signal(7))."""
    number = name.isascii() and name.isdecimal() and len(name) < 4 and 1 <= int(name) <= signal.SIGRTMAX
    capitals = name.upper()
    known = "SIG" + capitals.removeprefix("SIG") in signal.Signals.__members__
    real_time = _REAL_TIME.fullmatch(capitals)
    if not number and not known and not (real_time and int(real_time[1]) <= 30):
        raise InvalidInput(
            f"STOPSIGNAL: {name[:40]!r} is no signal", "expected a name or number of signal(7)"
        )
    return name
