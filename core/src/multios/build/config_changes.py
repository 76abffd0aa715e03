"""Instructions that change only what an image says of its containers."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from multios.dockerfile import syntax
from multios.model.image import Healthcheck, ImageConfig

DEFAULT_SHELL = ("/bin/sh", "-c")


def environment_of(config: ImageConfig) -> dict[str, str]:
    """The variables of an image, by name."""
    return dict(item.partition("=")[::2] for item in config.environment)


def with_environment(config: ImageConfig, pairs: Sequence[tuple[str, str]]) -> ImageConfig:
    """The config with these variables set."""
    merged = environment_of(config) | dict(pairs)
    return replace(config, environment=tuple(f"{name}={value}" for name, value in merged.items()))


def with_labels(config: ImageConfig, labels: Mapping[str, str]) -> ImageConfig:
    """The config with these labels set."""
    return replace(config, labels={**config.labels, **labels})


def words_of(command: syntax.Command, config: ImageConfig) -> tuple[str, ...]:
    """A command's words; a shell form is given to the image's shell."""
    if command.argv is not None:
        return command.argv
    return (*(config.shell or DEFAULT_SHELL), command.script)


def working_directory_of(instruction: syntax.Workdir, config: ImageConfig) -> str:
    """Where WORKDIR leads; a relative one continues the one before."""
    return posixpath.normpath(posixpath.join("/", config.working_directory, instruction.path))


def changed(config: ImageConfig, instruction: syntax.Instruction) -> ImageConfig:
    """The config after an instruction of this kind; ``KeyError`` for one that does more than that."""
    return _CHANGES[type(instruction)](config, instruction)


def _health(config: ImageConfig, check: Healthcheck) -> ImageConfig:
    return replace(config, healthcheck=check)


def _appended(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*old, *new]))


_CHANGES: dict[type[syntax.Instruction], Callable[[ImageConfig, Any], ImageConfig]] = {
    syntax.Env: lambda config, item: with_environment(config, item.pairs),
    syntax.Label: lambda config, item: with_labels(config, dict(item.pairs)),
    syntax.Expose: lambda config, item: replace(
        config, exposed_ports=_appended(config.exposed_ports, item.ports)
    ),
    syntax.User: lambda config, item: replace(config, user=item.user),
    syntax.Volume: lambda config, item: replace(config, volumes=_appended(config.volumes, item.paths)),
    syntax.StopSignal: lambda config, item: replace(config, stop_signal=item.signal),
    syntax.Shell: lambda config, item: replace(config, shell=item.argv),
    syntax.Healthcheck: lambda config, item: _health(config, item.check),
    syntax.Cmd: lambda config, item: replace(config, command=words_of(item.command, config)),
    syntax.Entrypoint: lambda config, item: replace(config, entrypoint=words_of(item.command, config)),
    syntax.Onbuild: lambda config, item: replace(config, on_build=(*config.on_build, item.trigger)),
    syntax.Maintainer: lambda config, item: config,
}
