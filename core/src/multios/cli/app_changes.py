"""``app up|down|create|scale|snapshot|reset|start|stop|rm|restart``: what changes an app."""

from __future__ import annotations

import contextlib
import os
import sys
import time

from multios.app_hooks import after_start, before_stop
from multios.app_labels import waves
from multios.cli import app_project
from multios.cli.app_images import chosen_services, get_images, images_of, push_images
from multios.cli.app_orchestrators import in_client, orchestrator
from multios.errors import InvalidInput, MultiosError, NotFound, Unsupported, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multios.api.client import Client
    from multios.cli.app_drivers import InClient
    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.compose.project import Project

_AT_ONCE = 16
"""Containers that are started or stopped side by side."""
_LONGEST_WAIT = 86_400
_SIGNS = {"create": "+", "recreate": "~", "start": ">", "restart": ">", "remove": "-", "keep": " "}
_DONE = {
    "create": "created", "recreate": "recreated", "start": "started", "restart": "restarted",
    "remove": "removed", "keep": "unchanged",
}  # fmt: skip


def up(values: Values, context: Context) -> int:
    """Make what the files describe, and unless detached show what it says until the user has enough."""
    _check_attached(values)
    project = app_project.read(values, values["services"])
    options = _options(values)
    if values["exit_code_from"]:
        _check_service(project, values["services"], values["exit_code_from"])
    if values["dry_run"]:
        return _show_plan(orchestrator(values, context).plan(project.document, options))
    elsewhere = in_client(values)
    if elsewhere is None:
        _make_directories(project)
        get_images(values, context, project, values["services"])
    else:
        push_images(values, context, project, elsewhere)
    begun = time.time()
    bring_up(values, context, project, options)
    if values["detach"] or values["no_start"] or values["wait"]:
        return 0
    if elsewhere is None:
        return _attached(values, context, project, begun)
    return _watched(values, project, elsewhere)


def _check_attached(values: Values) -> None:
    """What asks for the end of a container needs an ``up`` that stays until then, here."""
    option = "--abort-on-container-exit" if values["abort"] else "--exit-code-from"
    if not (values["abort"] or values["exit_code_from"]):
        return
    for key, other in (("detach", "--detach"), ("wait", "--wait"), ("no_start", "--no-start")):
        if values[key]:
            raise InvalidInput(
                f"{option} needs an `up` that waits, and {other} does not", "leave one of them out"
            )
    if (elsewhere := in_client(values)) is not None:
        raise Unsupported(
            f"the orchestrator {elsewhere.driver.name!r} cannot stop services when a container ends",
            f"leave out {option}",
        )


def _check_service(project: Project, services: Sequence[str], name: str) -> None:
    there = chosen_services(project, services)
    if name not in there:
        raise unknown("service", name, there, f"--exit-code-from takes one of: {', '.join(there)}")


def create(values: Values, context: Context) -> int:
    """As :func:`up`, but nothing is started."""
    unasked = dict.fromkeys(("wait", "no_deps", "abort", "exit_code_from"))
    return up({**values, **unasked, "no_start": True, "detach": True}, context)


def scale(values: Values, context: Context) -> int:
    """Other numbers of containers for some services, which alone are touched."""
    wanted = {}
    for text in values["words"]:
        service, _, count = text.partition("=")
        wanted[service] = count
    values = {**values, "scale": wanted}
    project = app_project.read(values, list(wanted))
    options = {"services": list(wanted), "scale": app_project.scale(values), "no_recreate": True}
    bring_up(values, context, project, {**options, "no_dependencies": values["no_deps"]})
    return 0


def down(values: Values, context: Context) -> int:
    """Remove everything of the app."""
    images = images_of(app_project.read(values, quiet=True), values["rmi"]) if values["rmi"] else []
    name = app_project.name(values)
    options = {"volumes": values["volumes"], "timeout": values["timeout"]}
    for item in orchestrator(values, context).destroy(name, options):
        _tell(item)
    return context.each(images, lambda image: _remove_image(context, image))


def _remove_image(context: Context, image: str) -> None:
    """One that is not there is no error."""
    with contextlib.suppress(NotFound):
        context.call("images.remove", {"ref": image})
        sys.stderr.write(f"image {image}: removed\n")


def snapshot(values: Values, context: Context) -> int:
    """Keep the state of the app's files."""
    name = app_project.name(values)
    for _ in orchestrator(values, context).snapshot(name, values["snapshot"]):
        pass
    sys.stdout.write(f"{values['snapshot']}\n")
    return 0


def reset(values: Values, context: Context) -> int:
    """Put every container of the app back."""
    name = app_project.name(values)
    for item in orchestrator(values, context).reset(name, values["to"] or ""):
        sys.stderr.write(f"{item['kind']} {item['subject']}: {item['reason']}\n")
    return 0


# --- what is there starts and stops --------------------------------------------------------------------------


def start(values: Values, context: Context) -> int:
    """Start containers, those first that others depend on."""

    def act(client: Client, row: dict[str, Any]) -> None:
        client.call("containers.start", {"ref": row["id"]})
        after_start(client.call, row["id"], row["labels"])

    return _each_wave(values, context, act, ("created", "exited"))


def stop(values: Values, context: Context) -> int:
    """Stop containers, dependents first."""
    failed: list[MultiosError] = []
    rows = app_project.rows(context, app_project.name(values), values["services"], all=False)
    stop_rows(context, rows, values["timeout"], failed)
    return failed[0].exit_status if failed else 0


def stop_rows(
    context: Context, rows: Sequence[dict[str, Any]], timeout: int | None, failed: list[MultiosError]
) -> None:
    """Stop these, dependents first; failures are told and kept."""
    for wave in waves(rows):
        side_by_side(
            context,
            wave,
            lambda client, row: _stop(client, row, timeout),
            failed,
        )


def remove(values: Values, context: Context) -> int:
    """Remove containers that do not run; with ``--stop`` all."""
    rows = app_project.rows(context, app_project.name(values), values["services"])
    failed: list[MultiosError] = []
    if values["stop"]:
        running = [row for row in rows if row["status"] in ("running", "paused")]
        stop_rows(context, running, values["timeout"], failed)
    else:
        rows = [row for row in rows if row["status"] not in ("running", "paused")]
    if failed:
        return failed[0].exit_status
    params = {"volumes": values["volumes"]}
    side_by_side(
        context,
        rows,
        lambda client, row: client.call("containers.delete", {"ref": row["id"], **params}),
        failed,
    )
    return failed[0].exit_status if failed else 0


def _stop(client: Client, row: dict[str, Any], timeout: int | None) -> None:
    """Stop one, whatever comes of its ``pre_stop``, whose failure is raised then."""
    error = before_stop(client.call, row["id"], row["labels"]) if row["status"] == "running" else None
    client.call("containers.stop", {"ref": row["id"], "timeout": timeout})
    if error is not None:
        raise error


def restart(values: Values, context: Context) -> int:
    """Stop containers and start them again."""

    def act(client: Client, row: dict[str, Any]) -> None:
        error = before_stop(client.call, row["id"], row["labels"]) if row["status"] == "running" else None
        client.call("containers.restart", {"ref": row["id"], "timeout": values["timeout"]})
        after_start(client.call, row["id"], row["labels"])
        if error is not None:
            raise error

    return _each_wave(values, context, act, ("created", "exited", "running", "paused"))


def kill(values: Values, context: Context) -> int:
    """Send a signal to the first process of each container."""
    signal = (values["signal"] or "KILL").upper().removeprefix("SIG")
    return _each_wave(
        values,
        context,
        lambda client, row: client.call("containers.kill", {"ref": row["id"], "signal": signal}),
        ("running", "paused"),
    )


def pause(values: Values, context: Context) -> int:
    """Freeze containers."""
    return _each_wave(
        values, context, lambda client, row: client.call("containers.pause", {"ref": row["id"]}), ("running",)
    )


def resume(values: Values, context: Context) -> int:
    """Let frozen containers go on."""
    return _each_wave(
        values, context, lambda client, row: client.call("containers.resume", {"ref": row["id"]}), ("paused",)
    )


def _each_wave(
    values: Values,
    context: Context,
    act: Callable[[Client, dict[str, Any]], object],
    statuses: Sequence[str],
) -> int:
    """Those first that others depend on."""
    app = app_project.name(values)
    ordered = waves(app_project.rows(context, app, values["services"]))
    failed: list[MultiosError] = []
    for wave in reversed(ordered):
        chosen = [row for row in wave if row["status"] in statuses]
        side_by_side(context, chosen, act, failed)
    return failed[0].exit_status if failed else 0


def side_by_side(
    context: Context,
    rows: Sequence[dict[str, Any]],
    act: Callable[[Client, dict[str, Any]], object],
    failed: list[MultiosError],
) -> None:
    """Do ``act`` with a connection of its own for each row; names are printed as they are done, failures told and kept."""
    from threading import Thread  # deferred: other commands do one thing after another

    def run(row: dict[str, Any]) -> None:
        try:
            with context.another_client() as client:
                act(client, row)
            sys.stdout.write(f"{row['name']}\n")
        except MultiosError as error:
            failed.append(error)
            context.report(error)

    for position in range(0, len(rows), _AT_ONCE):
        threads = [Thread(target=run, args=(row,)) for row in rows[position : position + _AT_ONCE]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


# --- apply ---------------------------------------------------------------------------------------------------


def _options(values: Values) -> dict[str, Any]:
    return {
        "services": values["services"],
        "scale": app_project.scale(values),
        "force_recreate": values["force_recreate"],
        "no_recreate": values["no_recreate"],
        "no_dependencies": values["no_deps"],
        "remove_orphans": values["remove_orphans"],
        "no_start": values["no_start"],
    }


def bring_up(values: Values, context: Context, project: Project, options: dict[str, Any]) -> None:
    """Apply the app, and tell what is done."""
    how: dict[str, Any] = {name: values[name] for name in ("timeout", "rate") if values.get(name) is not None}
    if values.get("wait"):
        how["wait"] = values["wait_timeout"] or _LONGEST_WAIT
    for item in orchestrator(values, context).apply(project.document, {**options, **how}):
        _tell(item)


def make_networks(values: Values, context: Context, project: Project, service: str) -> None:
    """Make what a service's containers need to be there; those that there are stay as they are."""
    rows = app_project.rows(context, project.name)
    there = {app_project.number_of(row) for row in rows if app_project.service_of(row) == service} - {0}
    options = {"services": [service], "scale": {service: len(there)}}
    bring_up(
        values, context, project,
        {**options, "no_recreate": True, "no_start": True, "no_dependencies": True},
    )  # fmt: skip


def _make_directories(project: Project) -> None:
    """What bind mounts of the short form name is made where it is absent, as Compose does; with the user's own rights."""
    for path in project.directories:
        os.makedirs(path, exist_ok=True)


def _tell(item: dict[str, Any]) -> None:
    """One line a thing that was done or failed; what is unchanged is not news."""
    phase = item["phase"]
    if phase == "begun" or (phase == "done" and item["verb"] == "keep"):
        return
    what = _DONE[item["verb"]] if phase == "done" else phase
    sys.stderr.write(f"{item['kind']} {item['subject']}: {what}\n")
    sys.stderr.flush()


def _show_plan(actions: Sequence[dict[str, Any]]) -> int:
    """A line an action, as a diff; the exit status is 0."""
    for action in actions:
        sys.stdout.write(
            f"{_SIGNS[action['verb']]} {action['kind']} {action['subject']}  ({action['reason']})\n"
        )
        for path in action["changed"]:
            sys.stdout.write(f"    ~ {path}\n")
    return 0


def _attached(values: Values, context: Context, project: Project, begun: float) -> int:
    """Show what the services write until all have ended, or the user has enough: then they are stopped."""
    from multios.cli.app_attached import Ending, show  # deferred: most are detached

    services = chosen_services(project, values["services"])
    ending = None
    if values["abort"] or values["exit_code_from"]:
        ending = Ending(values["exit_code_from"] or "", _tasks(project))
    return show(context, project.name, services, project.unattached, begun, values["timeout"], ending)


def _tasks(project: Project) -> set[str]:
    """The services that others wait for until they have completed."""
    return {
        name
        for service in project.document.get("services", {}).values()
        for name, dependency in service.get("depends_on", {}).items()
        if dependency["condition"] == "completed"
    }


def _watched(values: Values, project: Project, elsewhere: InClient) -> int:
    """Show what the services write until all have ended, or the user has enough: what runs elsewhere goes on."""
    from multios.cli.app_elsewhere import show  # deferred: most are detached

    documents, scale = project.document.get("services", {}), app_project.scale(values)
    services = [
        name
        for name in chosen_services(project, values["services"])
        if name not in project.unattached and scale.get(name, documents[name].get("replicas", 1))
    ]
    if not services:
        return 0
    try:
        show(elsewhere, project.name, services, follow=True, tail=None)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nit goes on; remove it: multios-container app -p {project.name} down\n")
    return 0
