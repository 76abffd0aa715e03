"""``exec``, ``shell`` and ``attach``."""

from __future__ import annotations

import os
import sys

from multios.cli.container_options import PROCESS
from multios.cli.grammar import FLAG, Argument, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_ONE = Argument("ref", "CONTAINER", completes="running")
_SHELL = (
    "uid=$(id -u 2>/dev/null || echo 0); shell=; "
    "[ -r /etc/passwd ] && while IFS=: read -r _ _ user _ _ _ entry; do "
    '[ "$user" = "$uid" ] && { shell=$entry; break; }; done </etc/passwd; '
    'case "$shell" in */nologin|*/false) shell=;; esac; '
    '[ -x "$shell" ] || shell=$(command -v bash || command -v sh); exec "$shell"'
)
"""The user's own shell, else bash, else sh, found inside the container."""


def _exec(values: Values, context: Context) -> int:
    terminal, interactive = values["tty"], values["interactive"]
    if not (terminal or interactive or values["detach"]):
        terminal = interactive = os.isatty(0) and os.isatty(1)
    return _execute(values, context, values["command"], terminal, interactive)


def _shell(values: Values, context: Context) -> int:
    return _execute({**values, "detach": False}, context, ["/bin/sh", "-c", _SHELL], os.isatty(0), True)


def _execute(values: Values, context: Context, command: list[str], terminal: bool, interactive: bool) -> int:
    from multios.cli.container_config import environment_of

    params: dict[str, Any] = {
        "ref": values["ref"],
        "command": command,
        "terminal": terminal,
        "stdin": interactive,
        "environment": environment_of(values),
        "user": values["user"] or "",
        "working_directory": values["working_directory"] or "",
        "privileged": values["privileged"],
        "detach": values["detach"],
    }
    if values["detach"]:
        sys.stdout.write(f"{context.call('containers.exec', params)['exec_id']}\n")
        return 0
    if terminal:
        from multios.cli.attachment import exec_in_terminal

        return exec_in_terminal(context, params, interactive)
    stdin = 0 if interactive else os.open(os.devnull, os.O_RDONLY)
    if any(os.isatty(descriptor) for descriptor in (stdin, 1, 2)):
        from multios.cli.attachment import exec_beside_terminal

        return exec_beside_terminal(context, params, interactive)
    result = context.call("containers.exec", params, [stdin, 1, 2])
    return _code(result["exit_code"])


def _code(code: int | None) -> int:
    if code is None:
        from multios.errors import MultiosError

        raise MultiosError("how the command exited is not known", "run it again")
    return code


def _attach(values: Values, context: Context) -> int:
    from multios.cli.attachment import attach

    return attach(context, values["ref"], not values["no_stdin"])


_PRIVILEGED = Option("--privileged", "privileged", FLAG, "Run it with all capabilities (administrators only)")

COMMANDS = {
    "exec": Command(
        _exec,
        (
            Option("--interactive -i", "interactive", FLAG, "Give it stdin"),
            Option("--tty -t", "tty", FLAG, "Give it a terminal"),
            Option("--detach -d", "detach", FLAG, "Run it in the background"),
            *PROCESS,
            _PRIVILEGED,
        ),
        (_ONE, Argument("command", "COMMAND", 1, 0)),
        "Without -i, -t and -d, and with stdin and stdout on a terminal, it is run as with -it. "
        "The exit code is the command's; 126 is a command that cannot run, 127 one that is not there.",
        (
            "exec my-python python3 --version",
            "exec -it my-python bash",
            "exec -e DEBUG=1 -w /work my-python make",
        ),
        interspersed=False,
    ),
    "shell": Command(
        _shell,
        (*PROCESS, _PRIVILEGED),
        (_ONE,),
        "The shell is the user's own; without one bash, without that sh.",
        ("shell my-python", "shell -u nobody my-python"),
    ),
    "attach": Command(
        _attach,
        (Option("--no-stdin", "no_stdin", FLAG, "Show its output only"),),
        (_ONE,),
        "The keys ctrl-p ctrl-q leave it running and return (with a terminal).",
        ("attach my-python",),
    ),
}
