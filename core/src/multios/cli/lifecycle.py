"""Commands that change a container's state."""

from __future__ import annotations

import sys

from multios.cli.container_options import RESOURCES, RESTART
from multios.cli.grammar import FLAG, INTEGER, LIST, TEXT, Argument, Command, Option
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Handler, Values

_ONE = Argument("ref", "CONTAINER", completes="containers")
_SEVERAL = Argument("refs", "CONTAINER", 1, 0, completes="containers")
_TIMEOUT = Option("--time --timeout -t", "timeout", INTEGER, "Seconds to wait before it is killed", "SECONDS")
_ATTACH = Option("--attach -a", "attach", FLAG, "Show its output and take its exit code")
_INTERACTIVE = Option("--interactive -i", "stdin", FLAG, "Give it stdin too (with --attach)")
_STEP = Option("--step", "step", FLAG, "Stop after each step and say what it did")


def _act(method: str, context: Context, values: Values, **params: Any) -> int:
    def one(ref: str) -> None:
        context.call(method, {"ref": ref, **params})
        sys.stdout.write(f"{ref}\n")

    return context.each(values["refs"], one)


def _simple(method: str) -> Handler:
    return lambda values, context: _act(method, context, values)


def _with_timeout(method: str) -> Handler:
    def run(values: Values, context: Context) -> int:
        timeout = values["timeout"]
        return _act(method, context, values, **({} if timeout is None else {"timeout": timeout}))

    return run


def _start(values: Values, context: Context) -> int:
    if values["step"]:
        return _start_step_by_step(values, context)
    if not (values["attach"] or values["stdin"]):
        return _act("containers.start", context, values)
    if len(values["refs"]) > 1:
        raise InvalidInput("only one container can be attached to", "start the others without --attach")
    from multios.cli.attachment import start_attached

    return start_attached(context, values["refs"][0], bool(values["stdin"]))


def _start_step_by_step(values: Values, context: Context) -> int:
    from multios.cli.stepping import walk

    if len(values["refs"]) > 1 or values["attach"] or values["stdin"]:
        raise InvalidInput("--step is for one container, without --attach", "attach to it afterwards")
    if walk(context, "containers.start", {"ref": values["refs"][0]}) is None:
        return 130
    sys.stdout.write(f"{values['refs'][0]}\n")
    return 0


def _delete(values: Values, context: Context) -> int:
    return _act("containers.delete", context, values, force=values["force"], volumes=values["volumes"])


def _kill(values: Values, context: Context) -> int:
    return _act(
        "containers.kill", context, values, signal=(values["signal"] or "KILL").upper().removeprefix("SIG")
    )


def _wait(values: Values, context: Context) -> int:
    def one(ref: str) -> None:
        answer = context.call("containers.wait", {"ref": ref, "condition": values["conditions"] or "exited"})
        code = -1 if answer["status"] in ("running", "paused") else answer["exit_code"]
        sys.stdout.write(f"{'unknown' if code is None else code}\n")
        sys.stdout.flush()

    return context.each(values["refs"], one)


def _probe(values: Values, context: Context) -> int:
    result = context.call("containers.health", {"ref": values["ref"]})
    if result["exit_code"] == 0:
        return 0
    sys.stdout.write("unhealthy\n")
    return 1


def _update(values: Values, context: Context) -> int:
    resources = {
        key.removeprefix("resources."): value
        for key, value in values.items()
        if key.startswith("resources.") and value not in (None, {})
    }
    params: dict[str, Any] = {"ref": values["ref"], "resources": resources}
    if values["restart_policy"] is not None:
        params["restart_policy"] = values["restart_policy"]
    elif not resources:
        raise InvalidInput("nothing to update", "give a limit, such as --memory-limit 2G")
    context.call("containers.update", params)
    sys.stdout.write(f"{values['ref']}\n")
    return 0


def _rename(values: Values, context: Context) -> int:
    context.call("containers.rename", {"ref": values["ref"], "name": values["name"]})
    return 0


def _prune(values: Values, context: Context) -> int:
    for removed in context.call("containers.prune")["removed"]:
        sys.stdout.write(f"{removed}\n")
    return 0


COMMANDS = {
    "start": Command(
        _start,
        (_ATTACH, _INTERACTIVE, _STEP),
        (_SEVERAL,),
        "",
        ("start my-python", "start --attach my-python", "start --step my-python"),
    ),
    "stop": Command(
        _with_timeout("containers.stop"),
        (_TIMEOUT,),
        (_SEVERAL,),
        "It gets its stop signal (usually TERM), and KILL when the time is over.",
        ("stop my-python", "stop -t 2 web database"),
    ),
    "restart": Command(
        _with_timeout("containers.restart"), (_TIMEOUT,), (_SEVERAL,), "", ("restart my-python",)
    ),
    "pause": Command(_simple("containers.pause"), (), (_SEVERAL,), "", ("pause my-python",)),
    "resume": Command(_simple("containers.resume"), (), (_SEVERAL,), "", ("resume my-python",)),
    "delete": Command(
        _delete,
        (
            Option("--force -f", "force", FLAG, "Delete it even if it is running"),
            Option("--volumes -v", "volumes", FLAG, "Delete its unnamed volumes too"),
        ),
        (_SEVERAL,),
        "",
        ("delete my-python", "delete --force my-python"),
    ),
    "kill": Command(
        _kill,
        (Option("--signal -s", "signal", TEXT, "The signal (default KILL)", "SIGNAL"),),
        (_SEVERAL,),
        "",
        ("kill my-python", "kill -s HUP web"),
    ),
    "wait": Command(
        _wait,
        (
            Option(
                "--condition",
                "conditions",
                LIST,
                "exited (default), stopped, running, healthy or unhealthy; several are alternatives",
                "CONDITION",
                ("exited", "stopped", "running", "healthy", "unhealthy"),
            ),
        ),
        (_SEVERAL,),
        "Of one that has not exited, -1 is printed.",
        ("wait my-python", "wait --condition healthy web"),
    ),
    "healthcheck run": Command(
        _probe,
        (),
        (_ONE,),
        "The result counts as any other.",
        ("healthcheck run web",),
    ),
    "update": Command(
        _update,
        (*RESOURCES, RESTART),
        (_ONE,),
        "A running container's limits change at once.",
        ("update my-python --cpu-limit 4 --memory-limit 2G",),
    ),
    "rename": Command(_rename, (), (_ONE, Argument("name", "NAME")), "", ("rename my-python your-python",)),
    "prune": Command(
        _prune,
        (Option("--force -f", "force", FLAG, "Accepted for podman's sake; nothing is asked"),),
        (),
        "",
        ("prune",),
    ),
}
