"""``create``, ``run`` and ``validate``."""

from __future__ import annotations

import sys

from multios.cli.container_config import document, read_json
from multios.cli.container_options import CONTAINER, DETACH
from multios.cli.grammar import FLAG, TEXT, Argument, Command, Option
from multios.cli.output import FORMAT
from multios.errors import InvalidInput, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_GIVEN_UP = 130
_STEP = Option("--step", "step", FLAG, "Stop after each step and say what it did")
_FORMS = (
    "With --template, --image or --config the first word is the container's name; without, it is the image or "
    "template that the container is made from. What follows is the command to run inside instead of the usual one."
)


def _with_login(act: Callable[[], Any], config: dict[str, Any], context: Context) -> Any:
    """Do ``act``; where a registry refuses the image to the daemon, pull it with the caller's login and do it again."""
    try:
        return act()
    except Refused as error:
        image = config.get("image")
        if not image or not error.cause.startswith("pull "):
            raise
        from multios.cli.registry import pull_with_login  # deferred: few images need it

        if not pull_with_login(image, context):
            raise
    return act()


def _create(values: Values, context: Context) -> int:
    config = document(values)
    if values["step"]:
        from multios.cli.stepping import walk  # deferred: few ask for it

        created = _with_login(lambda: walk(context, "containers.create", {"config": config}), config, context)
        if created is None:
            return _GIVEN_UP
    else:
        created = _with_login(lambda: context.call("containers.create", {"config": config}), config, context)
    for warning in created.get("warnings", ()):
        sys.stderr.write(f"Warning: {warning}\n")
    sys.stdout.write(f"{created['id']}\n")
    return 0


def _run(values: Values, context: Context) -> int:
    return run(document(values), values["detach"], context)


def run(config: dict[str, Any], detach: bool, context: Context) -> int:
    """Make and start the container of a document; attached the exit status is its own, detached its id is printed."""
    if detach:
        params = {"config": config, "attach": False}
        started = _with_login(lambda: context.call("containers.run", params), config, context)
        sys.stdout.write(f"{started['id']}\n")
        return 0
    from multios.cli.attachment import run_attached

    status: int = _with_login(lambda: run_attached(context, config), config, context)
    return status


def _validate(values: Values, context: Context) -> int:
    if (values["file"] is None) == (values["isolation"] is None):
        raise InvalidInput(
            "validate checks one thing: a FILE, or an isolation driver", "give FILE or --isolation NAME"
        )
    if values["isolation"] is not None:
        from multios.cli.selfproof import show  # deferred: it makes a container

        return show(context, values["isolation"], values["format"])
    answer = context.call("containers.validate", {"config": read_json(values["file"])})
    for warning in answer.get("warnings", ()):
        sys.stderr.write(f"Warning: {warning}\n")
    sys.stdout.write(f"{values['file']}: valid\n")
    return 0


_WORDS = Argument("words", "[NAME | IMAGE | TEMPLATE] [COMMAND]", 0, 0, completes="sources")

COMMANDS = {
    "create": Command(
        _create,
        (_STEP, *CONTAINER),
        (_WORDS,),
        _FORMS,
        (
            "create --template python-learning my-python",
            "create --name my-app --cpu-limit 2 --memory-limit 1G python-learning",
            "create --image debian:12 my-debian sleep 1000",
            "create --config my-app.json",
            "create --step --name lab small:1 sleep 1000",
        ),
        interspersed=False,
    ),
    "run": Command(
        _run,
        (DETACH, *CONTAINER),
        (_WORDS,),
        _FORMS,
        (
            "run --rm -it debian:12 bash",
            "run -d --name web -p 8080:80 web-learning",
            "run --rm -v ./work:/work -w /work python-learning python3 main.py",
        ),
        interspersed=False,
    ),
    "validate": Command(
        _validate,
        (
            Option(
                "--isolation",
                "isolation",
                TEXT,
                "Try from inside a container of this driver (default: the default one) what it must not be able to do",
                "NAME",
            ),
            FORMAT,
        ),
        (Argument("file", "FILE", 0, completes="files"),),
        "FILE may be - for stdin; nothing is created for it. With --isolation a container is made, asked and removed; the "
        "exit status is 1 if the kernel allowed what it should refuse.",
        ("validate my-app.json", "validate --isolation default", "validate --isolation ns --format json"),
    ),
}
