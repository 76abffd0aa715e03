"""The program ``multios-container``: global options, the fast way to a command, and what the user sees of errors."""

from __future__ import annotations

import errno
import os
import sys

from multios.cli.commands import in_order, load, resolve
from multios.cli.context import Context
from multios.cli.grammar import parse
from multios.errors import MultiosError

INTERRUPTED = 130
BROKEN_PIPE = 141
UNEXPECTED = 125


def main() -> int:
    """``multios-container``; the exit status."""
    return _leave(_run(sys.argv[1:]))


def template_main() -> int:
    """``multios-container-template``: the same as ``multios-container template``."""
    own: list[str] = []
    rest = sys.argv[1:]
    while rest and rest[0][:1] == "-" and rest[0] not in ("-h", "--help"):
        count = 2 if rest[0] in ("--socket", "--host", "-H") else 1
        own, rest = own + rest[:count], rest[count:]
    return _leave(_run([*own, "template", *rest]))


def _leave(status: int) -> int:
    """Exit at once, which spares 1 to 2 ms of tearing the interpreter down; what plugins did here may need that, though."""
    if "click" in sys.modules or "multios.plugins.in_client" in sys.modules:
        return status
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _run(words: list[str]) -> int:
    _open_closed_streams()
    context = Context(debug=bool(os.environ.get("MULTIOS_DEBUG")))
    try:
        status = _dispatch(words, context)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _leave_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except MultiosError as error:
        context.report(error)
        return error.exit_status
    except Exception as error:
        if context.debug:
            raise
        context.report(_unexpected(error))
        return UNEXPECTED


def _dispatch(words: list[str], context: Context) -> int:
    rest = _global_options(words, context)
    if rest is not None:
        if rest[:1] == ["__complete"]:
            from multios.cli.completion import complete

            return complete(rest[1:], context)
        found = resolve(rest)
        if found is not None:
            name, arguments = found
            command = load(name)
            values = parse(command, arguments)
            if values is not None:
                return command.run(values, context) or 0
        words = [*words[: len(words) - len(rest)], *in_order(rest)]
    from multios.cli.click_group import run  # help, errors and plugins' commands

    return run(words, context)


def _global_options(words: list[str], context: Context) -> list[str] | None:
    """Read what stands before the command; the words after it, or ``None`` for click to say what is wrong."""
    position = 0
    while position < len(words) and words[position][:1] == "-":
        word, separator, value = words[position].partition("=")
        position += 1
        if word == "--debug" and not separator:
            context.debug = True
        elif word in ("--socket", "--host") or (word == "-H" and not separator):
            if not separator:
                if position >= len(words):
                    return None
                value = words[position]
                position += 1
            context.socket = value.removeprefix("unix://")
        elif word in ("-v", "--version") and not separator and position == len(words):
            return ["version", "--client"]
        else:
            return None
    return words[position:]


_REMEDIES = {
    errno.EACCES: "name what you may read and write",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a directory",
    errno.ENOSPC: "make room on that disk",
}
"""By the error of a system call that nothing else has explained."""


def _unexpected(error: Exception) -> MultiosError:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "check the path" if where else "")
        return MultiosError(f"{where}{error.strerror}", remedy)
    return MultiosError(
        f"unexpected {type(error).__name__}: {error}",
        "run again with --debug before the command to see where",
    )


def _open_closed_streams() -> None:
    """A standard stream that was closed leads nowhere: else what is opened next would have its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _leave_stdout() -> None:
    """Whoever read us is gone: what is still buffered goes nowhere, quietly."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
