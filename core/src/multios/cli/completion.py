"""Completion for bash, zsh and fish: small scripts that ask ``multios-container __complete``."""

from __future__ import annotations

import sys

from multios.cli.commands import ALIASES, GROUPS, load, resolve
from multios.cli.commands import COMMANDS as TABLE
from multios.cli.grammar import FLAG, Argument, Command, Option
from multios.errors import MultiosError, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

GLOBAL_OPTIONS = ("--debug", "--help", "--host", "--socket", "--version")
_FILES = "\x00files"
"""Stands for: the shell's own completion of files."""

_BASH = """\
_multios_container() {
    local IFS=$'\\n' answer
    answer=$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ $answer == :files ]]; then
        COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
        compopt -o filenames 2>/dev/null
    else
        COMPREPLY=($(compgen -W "$answer" -- "${COMP_WORDS[COMP_CWORD]}"))
    fi
}
complete -F _multios_container multios-container
"""

_ZSH = """\
#compdef multios-container
_multios_container() {
    local -a answer
    answer=("${(@f)$(multios-container __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $answer[1] == :files ]]; then
        _files
    else
        compadd -- $answer
    fi
}
if [[ $funcstack[1] == _multios_container ]]; then _multios_container "$@"; else compdef _multios_container multios-container; fi
"""

_FISH = """\
function __multios_container
    set -l words (commandline -opc) (commandline -ct)
    set -l answer (multios-container __complete $words[2..-1] 2>/dev/null)
    if test "$answer" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $answer
    end
end
complete -c multios-container -f -a '(__multios_container)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_LISTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "containers": ("containers.list", {"all": True, "filters": {}}, "name"),
    "running": ("containers.list", {"all": False, "filters": {}}, "name"),
    "networks": ("networks.list", {}, "name"),
    "templates": ("templates.list", {}, "name"),
    "volumes": ("volumes.list", {}, "name"),
    "plugins": ("plugins.list", {}, "name"),
    "images": ("images.list", {}, "references"),
}


def _completion(values: Values, _context: Context) -> int:
    if values["shell"] not in SCRIPTS:
        raise unknown("shell", values["shell"], list(SCRIPTS), f"there are {', '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[values["shell"]])
    return 0


def complete(words: list[str], context: Context) -> int:
    """Print what the last of ``words`` may become, one a line; ``:files`` leaves it to the shell."""
    *before, last = words or [""]
    before = _after_globals(before, context)
    candidates = _candidates(before, last, context)
    if candidates == [_FILES]:
        sys.stdout.write(":files\n")
    else:
        sys.stdout.write("".join(f"{word}\n" for word in sorted(candidates) if word.startswith(last)))
    return 0


def _after_globals(words: list[str], context: Context) -> list[str]:
    while words and words[0][:1] == "-":
        if words[0] in ("--socket", "--host", "-H") and len(words) > 1:
            context.socket, words = words[1].removeprefix("unix://"), words[1:]
        words = words[1:]
    return words


def _candidates(before: list[str], last: str, context: Context) -> list[str]:
    found = resolve(before)
    if found is None:
        if not before:
            single = [name for name in [*TABLE, *ALIASES] if " " not in name]
            return list(GLOBAL_OPTIONS) if last[:1] == "-" else [*single, *GROUPS]
        if before[0] in GROUPS and len(before) == 1:
            return [name.split()[1] for name in [*TABLE, *ALIASES] if name.startswith(before[0] + " ")]
        return []
    name, words = found
    return _in_command(load(name), words, last, context)


def _in_command(command: Command, words: list[str], last: str, context: Context) -> list[str]:
    names = {name: option for option in command.options for name in option.names}
    count, position = 0, 0
    while position < len(words):
        word = words[position]
        option = names.get(word)
        if word[:1] == "-" and (command.interspersed or not count):
            if option is not None and option.kind != FLAG:
                if position + 1 == len(words):
                    return _of_option(option, context)
                position += 1
        else:
            count += 1
        position += 1
    if last[:1] == "-" and (command.interspersed or not count):
        return [*(name for name in names if name[:2] == "--"), "--help"]
    if not command.arguments:
        return []
    many = command.arguments[-1].most != 1
    if count >= len(command.arguments) and not many:
        return []
    argument = command.arguments[min(count, len(command.arguments) - 1)]
    if argument.completes == "sources" and count:
        return []
    return _live(argument.completes, last, context)


def _of_option(option: Option, context: Context) -> list[str]:
    return list(option.choices) or _live(option.completes, "", context)


def _live(what: str, last: str, context: Context) -> list[str]:
    """Names from the daemon, if one runs; completion never starts it and never complains."""
    if what in SCRIPTS or what == "shells":
        return list(SCRIPTS)
    if what == "files":
        return [_FILES]
    if what == "sources":
        return _live("images", last, context) + _live("templates", last, context)
    if what == "paths":
        return (
            [_FILES]
            if "/" in last or last[:1] == "."
            else [f"{name}:" for name in _live("containers", "", context)]
        )
    if what not in _LISTINGS:
        return []
    method, params, field = _LISTINGS[what]
    try:
        with context.another_client(start=False) as client:
            rows = client.call(method, params)
    except (MultiosError, OSError):
        return []
    values = [row[field] for row in rows]
    return [name for value in values for name in (value if isinstance(value, list) else [value])]


COMMANDS = {
    "completion": Command(
        _completion,
        (),
        (Argument("shell", "SHELL", completes="shells"),),
        "For bash: source <(multios-container completion bash)",
        ("completion bash > /etc/bash_completion.d/multios-container",),
    ),
}
