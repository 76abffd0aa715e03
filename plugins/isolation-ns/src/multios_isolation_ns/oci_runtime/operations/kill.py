"""``kill ID [SIGNAL]``: signal the first process, or with ``--all`` every one (runtime.md, Kill)."""

from __future__ import annotations

import os
import signal

from multios.errors import InvalidInput, nearest
from multios_isolation_ns.oci_runtime import life
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = {"--all": "flag", "-a": "--all"}


def run(request: Request) -> int:
    """SIGTERM unless another is named."""
    request.at_most(2)
    kept = request.shared["store"]
    number = signal_number(request.words[1] if len(request.words) > 1 else "TERM")
    if request.own.get("--all"):
        record = kept.read(request.container_id)
        group = ControlGroup.at(record["cgroup"])
        if number == life.SIGKILL:
            group.kill(group.name)
            return 0
        for pid in group.processes(group.name):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return 0
    record = life.require(kept, request.container_id, "created", "running", "paused")
    life.signal_first(record, number)
    return 0


def signal_number(text: str) -> int:
    """``9``, ``KILL`` or ``SIGKILL``; ``RTMIN+1`` too (signal(7))."""
    if text.isdecimal():
        number = int(text)
        if number in signal.valid_signals():
            return number
        raise InvalidInput(f"unknown signal {text!r}")
    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    names = [one.name.removeprefix("SIG") for one in signal.Signals]
    if name not in names or (plus and not offset.isdecimal()):
        guess = nearest(name, names)
        raise InvalidInput(f"unknown signal {text!r}", f"did you mean {guess}?" if guess else "")
    number = int(signal.Signals[f"SIG{name}"]) + int(offset or 0)
    if number not in signal.valid_signals():
        raise InvalidInput(f"unknown signal {text!r}")
    return number
