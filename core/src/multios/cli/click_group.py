"""The same commands for click: help, errors with the nearest valid name, and plugins' own commands.

Imported only when the fast parser has not accepted the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from multios.cli.commands import ALIASES, COMMANDS, GROUPS, load
from multios.cli.context import PROGRAM, Context
from multios.cli.grammar import FLAG, LIST, PAIRS, Argument, Command, Option, absent, convert
from multios.errors import InvalidInput, nearest

COMMANDS_GROUP = "multios.command.v1"
USAGE = 125
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:  # generic only for the type checker before click 8.3
    _Type = click.ParamType


def run(words: list[str], context: Context) -> int:
    """Let click read ``words``; the exit status. Help goes to stdout, a wrong line to stderr with status 125."""
    try:
        result = root().main(words, prog_name=PROGRAM, standalone_mode=False, obj=context)
    except click.exceptions.Abort:
        return 130
    except click.UsageError as error:
        context.report(_explained(error))
        return USAGE
    except click.ClickException as error:
        context.report(InvalidInput(error.format_message()))
        return USAGE
    return result if isinstance(result, int) else 0


def root() -> click.Group:
    """The whole program as a click group."""
    return _Root(
        "",
        name=PROGRAM,
        help="Containers for teaching: safe, quick, and explained.",
        epilog="Help on a command: multios-container COMMAND --help",
        context_settings=_HELP,
        params=[
            click.Option(["--socket", "--host", "-H"], metavar="PATH", help="Where the daemon listens."),
            click.Option(["--debug"], is_flag=True, help="Show where an unexpected error comes from."),
            click.Option(["-v", "--version"], is_flag=True, help="Show the version and exit."),
        ],
        callback=_globals,
        invoke_without_command=True,
    )


@click.pass_context
def _globals(current: click.Context, socket: str | None, debug: bool, version: bool) -> None:
    context: Context = current.obj
    context.debug = context.debug or debug
    if socket:
        context.socket = socket.removeprefix("unix://")
    if version:
        from multios import __version__

        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        current.exit(0)
    if current.invoked_subcommand is None:
        sys.stdout.write(current.get_help() + "\n")


@click.pass_context
def _show_help(current: click.Context) -> None:
    if current.invoked_subcommand is None:
        sys.stdout.write(current.get_help() + "\n")


class _Group(click.Group):
    """``prefix`` is empty for the program itself, else the group's name and a blank."""

    def __init__(self, prefix: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name.removeprefix(self._prefix) for name in COMMANDS if self._is_mine(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self._prefix + cmd_name
        name = ALIASES.get(name, name)
        return command_of(name) if name in COMMANDS and self._is_mine(name) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise _Unknown(f"no such command: {self._prefix + args[0]!r}", self._known(ctx), args[0], ctx)
        return args[0], command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the static table: no command is imported."""
        rows = [
            (name.removeprefix(self._prefix), COMMANDS[name][1]) for name in COMMANDS if self._is_mine(name)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))

    def _known(self, ctx: click.Context) -> list[str]:
        aliases = [name for name in ALIASES if self._is_mine(name)]
        return [*self.list_commands(ctx), *(name.removeprefix(self._prefix) for name in aliases)]

    def _is_mine(self, name: str) -> bool:
        return name.startswith(self._prefix) and " " not in name[len(self._prefix) :]


class _Root(_Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *GROUPS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in GROUPS:
            return _Group(
                f"{cmd_name} ",
                name=cmd_name,
                help=GROUPS[cmd_name] + ".",
                context_settings=_HELP,
                callback=_show_help,
                invoke_without_command=True,
            )
        return super().get_command(ctx, cmd_name) or _plugin_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        with formatter.section("Groups of commands"):
            formatter.write_dl(sorted(GROUPS.items()))
        entries = _plugin_entries()
        if entries:
            with formatter.section("From plugins"):
                rows = {entry.name: f"by {entry.dist.name}" if entry.dist else "" for entry in entries}
                formatter.write_dl(sorted(rows.items()))

    def _known(self, ctx: click.Context) -> list[str]:
        return [*super()._known(ctx), *GROUPS, *(entry.name for entry in _plugin_entries())]


def _plugin_entries() -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group=COMMANDS_GROUP))


def _plugin_command(name: str) -> click.Command | None:
    """A command that a plugin adds: a click command or group behind an entry point."""
    for entry in _plugin_entries():
        if entry.name != name:
            continue
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        remedy = f"repair or remove it: pip uninstall {distribution}"
        try:
            loaded = entry.load()
        except Exception as error:
            raise click.ClickException(
                f"the command {name!r} of {distribution} is broken: {error}; {remedy}"
            ) from None
        if not isinstance(loaded, click.Command):
            raise click.ClickException(
                f"the command {name!r} of {distribution} is no click command; {remedy}"
            )
        return loaded
    return None


class _Option(click.Option):
    """An option of the tables."""

    def __init__(self, option: Option, **settings: Any) -> None:
        super().__init__([*option.names, _destination(option.key)], **settings)
        self.declared = option


class _Converted(_Type):
    """What :func:`multios.cli.grammar.convert` makes of a word."""

    def __init__(self, option: Option) -> None:
        self.name = option.metavar or "text"
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return convert(self._option, value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


def command_of(name: str) -> click.Command:
    """The click command of a built-in one."""
    command = load(name)
    used = [word for option in command.options for word in option.names]
    return click.Command(
        name.split()[-1],
        params=[*map(_option, command.options), *map(_argument, command.arguments)],
        callback=_callback(command),
        help="\n\n".join(part for part in (COMMANDS[name][1] + ".", command.details) if part),
        epilog="\b\nExamples:\n" + "\n".join(f"  {PROGRAM} {example}" for example in command.examples),
        context_settings={
            **_HELP,
            "help_option_names": [name for name in ("-h", "--help") if name not in used],
            "allow_interspersed_args": command.interspersed,
        },
    )


def _option(option: Option) -> click.Parameter:
    if option.kind == FLAG:
        return _Option(option, is_flag=True, help=option.help + ".")
    return _Option(
        option,
        type=_Converted(option),
        multiple=option.kind in (LIST, PAIRS),
        metavar=option.metavar,
        help=option.help + ".",
    )


def _argument(argument: Argument) -> click.Parameter:
    many = argument.most != 1
    metavar = argument.metavar + ("..." if many else "")
    return click.Argument(
        [_destination(argument.key)],
        nargs=-1 if many else 1,
        required=argument.least > 0,
        metavar=metavar,
        type=str,
    )


def _destination(key: str) -> str:
    return key.replace(".", "__")


def values_of(command: Command, parsed: dict[str, Any]) -> dict[str, Any]:
    """What click parsed, in the form that :func:`multios.cli.grammar.parse` gives."""
    values: dict[str, Any] = {}
    for option in command.options:
        value = parsed[_destination(option.key)]
        if option.kind == LIST:
            value = list(value)
        elif option.kind == PAIRS:
            value = dict(value)
        values[option.key] = absent(option) if value is None else value
    for argument in command.arguments:
        word = parsed[_destination(argument.key)]
        values[argument.key] = list(word) if argument.most != 1 else word
    return values


def _callback(command: Command) -> Callable[..., int]:
    @click.pass_context
    def invoke(current: click.Context, /, **parsed: Any) -> int:
        return command.run(values_of(command, parsed), current.obj) or 0

    return invoke


class _Unknown(click.UsageError):
    """An unknown command; ``known`` are the ones there are."""

    def __init__(self, message: str, known: list[str], word: str, ctx: click.Context) -> None:
        super().__init__(message, ctx)
        self.known, self.word = known, word


def _explained(error: click.UsageError) -> InvalidInput:
    """A usage error as one line of cause, with the nearest valid name, and one of what to do."""
    path = error.ctx.command_path if error.ctx else PROGRAM
    see = f"see {path} --help"
    guess = ""
    cause = error.format_message().rstrip(".")
    if isinstance(error, _Unknown):
        guess = nearest(error.word, error.known)
    elif isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [
            name
            for param in error.ctx.command.params
            for name in param.opts
            if isinstance(param, click.Option)
        ]
        guess = nearest(error.option_name, [*known, "--help"])
        cause = f"no such option: {error.option_name}"
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        cause = f"missing {(error.param.metavar or error.param.name or '').removesuffix('...')}"
    elif isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        cause = f"{error.param.opts[0]}: {error.message}"
    hint = f"did you mean {guess!r}? " if guess else ""
    return InvalidInput(cause[:1].lower() + cause[1:], hint + see)
