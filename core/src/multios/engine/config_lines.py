"""What an image says of its containers, changed by lines of a Dockerfile: ``--change`` of import and commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from multios.build.config_changes import changed, working_directory_of
from multios.dockerfile import syntax
from multios.dockerfile.parser import parse
from multios.errors import InvalidInput
from multios.model.image import ImageConfig

_ASSIGNED = re.compile(r"([A-Za-z]+)=(.*)", re.DOTALL)
_REMEDY = "write it as --change 'CMD [\"/bin/sh\"]', or with ENV, LABEL, USER, WORKDIR, EXPOSE …"


def with_changes(config: ImageConfig, lines: Sequence[str]) -> ImageConfig:
    """The config after these instructions, each a line; ``CMD=/bin/sh`` is ``CMD /bin/sh``, as podman takes it.

    Raises ``InvalidInput`` for what is no such instruction.
    """
    for line in lines:
        if match := _ASSIGNED.fullmatch(line):
            line = f"{match[1]} {match[2]}"
        instructions = parse(f"FROM scratch\n{line}\n", "--change").stages[0].instructions
        if len(instructions) != 1:
            raise InvalidInput(f"--change: {line[:80]!r} is not one instruction", _REMEDY)
        config = _changed(config, instructions[0], line)
    return config


def _changed(config: ImageConfig, instruction: syntax.Instruction, line: str) -> ImageConfig:
    if isinstance(instruction, syntax.Workdir):
        return replace(config, working_directory=working_directory_of(instruction, config))
    try:
        return changed(config, instruction)
    except KeyError:
        raise InvalidInput(f"--change: {line[:80]!r} changes more than the configuration", _REMEDY) from None
