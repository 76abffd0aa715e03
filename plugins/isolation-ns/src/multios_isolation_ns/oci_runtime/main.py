"""``multios-oci-runtime``: one operation on one container, then gone."""

from __future__ import annotations

import gc
import json
import os
import sys
import time

from multios.errors import InvalidInput, MultiosError, nearest
from multios_isolation_ns.oci_runtime import SPEC_VERSION, VERSION, command_line, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPERATIONS = (
    *("create", "start", "state", "kill", "delete", "run", "exec"),
    *("pause", "resume", "update", "list", "ps", "features"),
)
_USAGE = f"""usage: multios-oci-runtime [--root DIR] [--log FILE] [--log-format text|json] OPERATION [options] [ID]

operations: {", ".join(OPERATIONS)}
"""
_FAILED = 1
_EXEC_FAILED = 255


def main() -> None:
    """The console script. Nothing is collected and nothing torn down: the kernel does it, some 5 ms faster."""
    gc.disable()
    status = call(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # whoever read it has gone
        status = status or _FAILED
    os._exit(status)


def call(words: list[str]) -> int:
    """Run one command line; the exit status."""
    shared: dict[str, Any] = {}
    operation = ""
    try:
        shared, rest = command_line.parse(words, command_line.GLOBAL, 1)
        if shared.get("--version"):
            print(f"multios-oci-runtime version {VERSION}\nspec: {SPEC_VERSION}")
            return 0
        if shared.get("--help") or not rest:
            print(_USAGE, end="", file=sys.stdout if shared.get("--help") else sys.stderr)
            return 0 if shared.get("--help") else _FAILED
        operation = rest[0]
        return _operate(shared, operation, rest[1:])
    except MultiosError as error:
        _complain(shared, error.cause + (f" ({error.remedy})" if error.remedy else ""))
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        _complain(shared, f"{operation}: {about}{(error.strerror or str(error)).lower()}")
    return _EXEC_FAILED if operation == "exec" else _FAILED


def _operate(shared: dict[str, Any], operation: str, words: list[str]) -> int:
    if operation not in OPERATIONS:
        guess = nearest(operation, list(OPERATIONS))
        raise InvalidInput(
            f"unknown operation {operation!r}", f"did you mean {guess}?" if guess else "see --help"
        )
    # Deferred: each operation imports no more than it needs.
    module = __import__(f"multios_isolation_ns.oci_runtime.operations.{operation}", fromlist=["run"])
    request = command_line.Request(shared, operation)
    request.own, request.words = command_line.parse(
        words, module.OPTIONS, getattr(module, "STOPS_AT_WORD", None)
    )
    shared["store"] = store.Store(shared.get("--root") or store.default_root())
    # Whatever the caller left open is none of a container's business, but for what it says it is.
    kept = command_line.number(request, "--preserve-fds") + int(os.environ.get("LISTEN_FDS", "0") or 0)
    os.closerange(3 + kept, os.sysconf("SC_OPEN_MAX"))
    status: int = module.run(request)
    return status


def _complain(shared: dict[str, Any], text: str) -> None:
    """To standard error and to the log, where podman and containerd look for the last line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(text, file=sys.stderr)
    if not shared.get("--log"):
        return
    if shared.get("--log-format") == "json":
        line = json.dumps({"level": "error", "msg": text, "time": stamp})
    else:
        line = f"time={json.dumps(stamp)} level=error msg={json.dumps(text)}"
    try:
        with open(shared["--log"], "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        print(f"{shared['--log']}: {error.strerror}", file=sys.stderr)
