"""Errors that a user can act on: one line of cause, one of what to do.

Every error that crosses a process boundary is a :class:`MultiosError`. Its wire form is a plain
mapping, so that the thin client can print it without importing anything else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a command line 5 ms
if TYPE_CHECKING:
    from typing import Any


class MultiosError(Exception):
    """Something was refused or failed, said in the user's words.

    ``cause`` is one line that says what is wrong; ``remedy`` is one line that says what to do, or
    empty when there is nothing to do. ``exit_status`` is what the CLI exits with.
    """

    code = "error"
    exit_status = 125

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def to_wire(self) -> dict[str, Any]:
        """The JSON form: ``code``, ``cause``, ``remedy`` and ``exit_status``."""
        return {
            "code": self.code,
            "cause": self.cause,
            "remedy": self.remedy,
            "exit_status": self.exit_status,
        }


class InvalidInput(MultiosError):
    """What the user typed cannot be right; the cause names the field."""

    code = "invalid"


class NotFound(MultiosError):
    """A container, image, template, driver or other named thing does not exist."""

    code = "not_found"


class Conflict(MultiosError):
    """The request is fine but clashes with what exists: a name in use, a wrong state."""

    code = "conflict"


class Unsupported(MultiosError):
    """This host or this driver cannot do what was asked."""

    code = "unsupported"


class Refused(MultiosError):
    """Policy says no: the caller may not do this."""

    code = "refused"


class PluginError(MultiosError):
    """A selected plugin is missing, broken or incompatible; the cause names its distribution."""

    code = "plugin"


class Unavailable(MultiosError):
    """The daemon or the supervisor does not answer."""

    code = "unavailable"


class StepFailed(MultiosError):
    """A step of the pipeline failed; what had been done before it is undone."""

    code = "step_failed"

    def __init__(self, step: str, cause: str, remedy: str = "") -> None:
        super().__init__(f"{step}: {cause}", remedy)
        self.step = step


class CommandNotExecutable(MultiosError):
    """The container's command exists but cannot be run (exit status 126, as docker)."""

    code = "not_executable"
    exit_status = 126


class CommandNotFound(MultiosError):
    """The container's command does not exist in its root filesystem (exit status 127)."""

    code = "command_not_found"
    exit_status = 127


def from_wire(data: dict[str, Any]) -> MultiosError:
    """The error that :meth:`MultiosError.to_wire` described; an unknown code gives the base class."""
    for kind in MultiosError.__subclasses__():
        if kind.code == data.get("code"):
            error = kind.__new__(kind)
            break
    else:
        error = MultiosError.__new__(MultiosError)
    MultiosError.__init__(error, str(data.get("cause", "unknown error")), str(data.get("remedy", "")))
    error.exit_status = int(data.get("exit_status", 125))
    return error


def nearest(name: str, choices: list[str]) -> str:
    """The choice that ``name`` was probably meant to be, or an empty string."""
    import difflib  # deferred: only an error needs it

    found = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return found[0] if found else ""


def unknown(kind: str, name: str, choices: list[str], remedy: str = "") -> NotFound:
    """A :class:`NotFound` whose remedy offers the nearest valid name, else ``remedy``."""
    guess = nearest(name, choices)
    hint = f"did you mean {guess!r}?" if guess else ""
    return NotFound(f"no such {kind}: {name!r}", " ".join(part for part in (hint, remedy) if part))
