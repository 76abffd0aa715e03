"""``app ps|logs|exec|cp|collect|port-forward|events`` of an app that an orchestrator in the client runs, such as one on a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from threading import Thread
from typing import TYPE_CHECKING

from multios.cli import app_forwarding, app_project
from multios.cli.app_inside import place_for
from multios.cli.app_logs import prefix
from multios.cli.files import BOTH_SIDES, copy_in, copy_out, split
from multios.cli.output import print_rows
from multios.cli.streams import STDIN, STDOUT, write_all
from multios.drivers.orchestrator import Place
from multios.errors import InvalidInput, Unsupported
from multios.model.app import App

if TYPE_CHECKING:
    from multios.cli.app_drivers import InClient
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("SERVICE", "Service", lambda row: row["service"]),
    ("INDEX", "Index", lambda row: str(row["number"])),
    ("STATUS", "Status", lambda row: row["status"]),
    ("IMAGE", "Image", lambda row: row["image_id"]),
)
_INSTEAD = {
    "start": ("start services", "bring them up: app up -d, or app scale SERVICE=N"),
    "stop": ("stop services", "have none of it: app scale SERVICE=0"),
    "restart": ("restart services", "replace its containers: app up -d --force-recreate SERVICE"),
    "remove": ("remove stopped containers", "have none of it: app scale SERVICE=0, or app down"),
    "images": ("list images", "see the column IMAGE of: app ps"),
    "kill": ("send signals to services", "replace its containers: app up -d --force-recreate SERVICE"),
    "pause": ("freeze services", "have none of it: app scale SERVICE=0"),
    "resume": ("freeze services", "bring them up: app up -d"),
    "top": ("list processes", "run it inside, where the image has one: app exec SERVICE ps"),
    "run": ("run a container once", "run the command in one that is there: app exec SERVICE COMMAND"),
    "port": ("say which port of this host leads to a service", "lead one there: app port-forward SERVICE PORT"),
}  # fmt: skip


def run(command: str, values: Values, orchestrator: InClient) -> int:
    """Do it there, or say what to do instead."""
    if command in _INSTEAD:
        what, remedy = _INSTEAD[command]
        raise Unsupported(f"the orchestrator {orchestrator.driver.name!r} cannot {what}", remedy)
    return _COMMANDS[command](values, orchestrator)


def _ps(values: Values, orchestrator: InClient) -> int:
    """List the app's containers."""
    rows = [
        {
            "id": item.id, "name": item.name, "service": item.service, "number": item.number,
            "status": item.status, "image_id": item.image_id,
        }
        for item in orchestrator.driver.existing(App(app_project.name(values))).instances
        if (not values["services"] or item.service in values["services"])
        and (values["all"] or item.status == "running")
    ]  # fmt: skip
    rows.sort(key=lambda row: (row["service"], row["number"]))
    if values["names"]:
        sys.stdout.write("".join(f"{name}\n" for name in dict.fromkeys(row["service"] for row in rows)))
        return 0
    print_rows(rows, _COLUMNS, values["format"], "id" if values["quiet"] else "")
    return 0


def _logs(values: Values, orchestrator: InClient) -> int:
    """Show what the services have written, and with ``follow`` write."""
    _refuse(orchestrator, values, {"since": "--since", "until": "--until", "timestamps": "--timestamps"})
    app = app_project.name(values)
    show(orchestrator, app, values["services"], values["follow"], values["tail"], values["no_log_prefix"])
    return 0


def show(
    orchestrator: InClient, app: str, services: list[str], follow: bool, tail: int | None, plain: bool = False
) -> None:
    """Write lines with whose they are."""
    known: dict[Place, bytes] = {}
    for place, line in orchestrator.driver.logs(app, services, follow, tail):
        if place not in known:
            known[place] = b"" if plain else prefix(f"{place.service}-{place.number}", len(known))
        write_all(STDOUT, known[place] + line)


def _execute(values: Values, orchestrator: InClient) -> int:
    """Run a command in a container of a service."""
    options = {
        "detach": "--detach", "privileged": "--privileged", "environment": "--env", "env_file": "--env-file",
        "user": "--user", "working_directory": "--workdir",
    }  # fmt: skip
    _refuse(orchestrator, values, options)
    terminal, interactive = values["tty"], values["interactive"]
    if values["no_tty"]:
        terminal, interactive = False, True
    elif not (terminal or interactive):
        terminal = interactive = os.isatty(STDIN) and os.isatty(STDOUT)
    app, place, command = app_project.name(values), _place(values), values["command"]
    stdin = STDIN if interactive else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    if not terminal:
        return orchestrator.driver.execute(app, place, command, (stdin, 1, 2))
    from multios.cli.terminal import RawTerminal  # deferred: few commands have one

    with RawTerminal(STDOUT, raw=interactive):
        return orchestrator.driver.execute(app, place, command, (stdin, 1, 2), terminal=True)


def _port_forward(values: Values, orchestrator: InClient) -> int:
    """Lead a port of this host to a service until the user has enough."""
    host, port = app_forwarding.mapping(values["port"])
    app = app_project.name(values)
    with orchestrator.driver.forward(app, _place(values), port, host) as made:
        app_forwarding.until_interrupted(values["service"], made, port)
    return 0


def _events(values: Values, orchestrator: InClient) -> int:
    """Watch what happens to the app's containers."""
    from multios.cli.events import writer

    _refuse(orchestrator, values, {"since": "--since", "until": "--until", "no_follow": "--no-follow"})
    as_text = writer("json" if values["json"] else values["format"])
    for event in orchestrator.driver.watch(app_project.name(values)):
        sys.stdout.write(as_text(dict(event)) + "\n")
        sys.stdout.flush()
    return 0


def _place(values: Values) -> Place:
    return Place(values["service"], values["index"] or 0)


def _refuse(orchestrator: InClient, values: Values, options: Mapping[str, str]) -> None:
    for key, option in options.items():
        if values[key]:
            raise Unsupported(
                f"{option}: the orchestrator {orchestrator.driver.name!r} cannot", "leave it out"
            )


# --- copies --------------------------------------------------------------------------------------------------


def _copy(values: Values, orchestrator: InClient) -> int:
    """Copy files between a service's container and this host."""
    app, driver = app_project.name(values), orchestrator.driver
    source, target = split(values["source"]), split(values["target"])
    place = Place((source or target or ("", ""))[0], values["index"] or 0)
    if source is not None and target is None:
        copy_out(
            source[1],
            values["target"],
            _beside(lambda archive, path: driver.copy_out(app, place, path, archive)),
        )
    elif target is not None and source is None:
        copy_in(
            values["source"],
            target[1],
            _beside(lambda archive, path: driver.copy_in(app, place, path, archive)),
        )
    else:
        raise InvalidInput("cp is between one container and this host", BOTH_SIDES)
    return 0


def _collect(values: Values, orchestrator: InClient) -> int:
    """Copy a path of every container into a directory, each below the container's name."""
    app, driver = app_project.name(values), orchestrator.driver
    for item in driver.existing(App(app)).instances:
        if values["services"] and item.service not in values["services"]:
            continue
        place = Place(item.service, item.number)
        start = _beside(lambda archive, path, place=place: driver.copy_out(app, place, path, archive))  # type: ignore[misc]
        copy_out(values["path"], place_for(values["to"] or ".", item.name), start)
        sys.stdout.write(f"{item.name}\n")
    return 0


def _beside(act: Callable[[int, str], None]) -> Callable[[int, str], Callable[[], None]]:
    """``act`` in a thread of its own, with a descriptor of its own, which is closed at the end."""

    def start(descriptor: int, path: str) -> Callable[[], None]:
        own, failed = os.dup(descriptor), list[BaseException]()

        def work() -> None:
            try:
                act(own, path)
            except BaseException as error:
                failed.append(error)
            finally:
                os.close(own)

        thread = Thread(target=work, daemon=True)
        thread.start()

        def finish() -> None:
            thread.join()
            if failed:
                raise failed[0]

        return finish

    return start


_COMMANDS = {
    "ps": _ps,
    "logs": _logs,
    "execute": _execute,
    "copy": _copy,
    "collect": _collect,
    "port_forward": _port_forward,
    "events": _events,
}
