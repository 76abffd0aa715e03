"""Which ARG and ENV hold where (Dockerfile reference, "ARG": scope, predefined and global arguments)."""

from __future__ import annotations

from collections.abc import Mapping

from multios.dockerfile.expansion import AnyInstruction, expand
from multios.dockerfile.syntax import Arg, Dockerfile, Env, From, Instruction, Stage
from multios.errors import nearest

PROXIES = tuple(
    name
    for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (base, base.lower())
)
"""Arguments that every stage has undeclared. They are for RUN alone: neither history nor cache may hold them."""


def platform_arguments(target: str, build: str, stage: str = "") -> dict[str, str]:
    """The automatic platform arguments; platforms are ``os/architecture[/variant]``."""
    arguments = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        system, _, rest = platform.partition("/")
        architecture, _, variant = rest.partition("/")
        parts = {"PLATFORM": platform, "OS": system, "ARCH": architecture, "VARIANT": variant}
        arguments.update({prefix + name: value for name, value in parts.items()})
    return arguments


class FileScope:
    """What holds before the first FROM, and what the stages' own scopes begin with."""

    def __init__(
        self, dockerfile: Dockerfile, given: Mapping[str, str], automatic: Mapping[str, str]
    ) -> None:
        """``given`` are the ``--build-arg``; ``automatic`` are :func:`platform_arguments`.

        Raises ``DockerfileError`` for a default that cannot be expanded.
        """
        self._dockerfile = dockerfile
        self._given = dict(given)
        self._automatic = {**automatic, **{name: given[name] for name in automatic if name in given}}
        self._globals = dict(self._automatic)
        self._declared: set[str] = set(self._automatic)
        for instruction in dockerfile.global_arguments:
            for pair in instruction.pairs:
                # One after another: a default may use the argument before it on the same line.
                one = Arg((pair,), line=instruction.line, original=instruction.original)
                ((name, default),) = self._expand(one, self._globals).pairs
                value = self.declare(name, default)
                if value is not None:
                    self._globals[name] = value

    def base(self, stage: Stage) -> From:
        """The stage's FROM with the global arguments in it replaced."""
        return self._expand(stage.base, self._globals)

    def stage(self, environment: Mapping[str, str], parent: StageScope | None = None) -> StageScope:
        """A new stage's scope: its base's ENV, and the arguments of the stage it is built on, if it is on one."""
        return StageScope(self, environment, parent.arguments if parent else {})

    def declare(self, name: str, default: str | None, in_stage: bool = False) -> str | None:
        """The value of a declared argument: given, else its default, else in a stage the global one of its name."""
        self._declared.add(name)
        if name in self._given:
            return self._given[name]
        if default is None and in_stage:
            return self._globals.get(name)
        return default

    @property
    def proxies(self) -> dict[str, str]:
        """The proxy arguments that are given."""
        return {name: self._given[name] for name in PROXIES if name in self._given}

    def unused(self) -> list[str]:
        """Notes on arguments that were given and that nothing declares; ask when every stage has been walked."""
        known = sorted(self._declared)
        notes = []
        for name in sorted(self._given.keys() - self._declared - set(PROXIES) - {"SOURCE_DATE_EPOCH"}):
            if name.startswith("BUILDKIT_"):
                continue
            guess = nearest(name, known)
            hint = f"; did you mean {guess}?" if guess else ""
            notes.append(f"--build-arg {name}: no ARG {name} in {self._dockerfile.file_name}{hint}")
        return notes

    def _expand(self, instruction: AnyInstruction, variables: Mapping[str, str]) -> AnyInstruction:
        return expand(instruction, variables, self._dockerfile.escape, self._dockerfile.file_name)

    def expand(self, instruction: Instruction, variables: Mapping[str, str]) -> Instruction:
        """An instruction of this file with ``variables`` replaced."""
        return self._expand(instruction, variables)


class StageScope:
    """The variables of one stage, as they are at the instruction where its walk has come to."""

    def __init__(self, file: FileScope, environment: Mapping[str, str], arguments: Mapping[str, str]) -> None:
        self._file = file
        self.environment = dict(environment)
        """ENV: what the image will have."""
        self.arguments = dict(arguments)
        """ARG declared so far that have a value."""

    @property
    def variables(self) -> dict[str, str]:
        """What expansion sees: ENV hides an ARG of the same name."""
        return {**self.arguments, **self.environment}

    @property
    def run_environment(self) -> dict[str, str]:
        """The environment of a RUN: proxies, arguments and ENV, the later hiding the earlier."""
        return {**self._file.proxies, **self.variables}

    def apply(self, instruction: Instruction) -> Instruction:
        """The instruction with the variables that hold before it; an ENV or ARG then takes effect."""
        expanded = self._file.expand(instruction, self.variables)
        if isinstance(expanded, Env):
            self.environment.update(expanded.pairs)
        elif isinstance(expanded, Arg):
            for name, default in expanded.pairs:
                value = self._file.declare(name, default, in_stage=True)
                if value is not None:
                    self.arguments[name] = value
        return expanded
