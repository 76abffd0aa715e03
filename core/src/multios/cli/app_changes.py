"""``app up|down|create|scale|start|stop|restart|pull|build``: what changes an app."""

from __future__ import annotations

import os
import sys

from multios.app_labels import waves
from multios.cli import app_project
from multios.cli.app_orchestrators import in_client, orchestrator
from multios.errors import InvalidInput, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multios.cli.app_drivers import InClient
    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.compose.project import Project

_SIGNS = {"create": "+", "recreate": "~", "start": ">", "restart": ">", "remove": "-", "keep": " "}
_DONE = {
    "create": "created", "recreate": "recreated", "start": "started", "restart": "restarted",
    "remove": "removed", "keep": "unchanged",
}  # fmt: skip


def up(values: Values, context: Context) -> int:
    """Make what the files describe, and unless detached show what it says until the user has enough."""
    project = app_project.read(values, values["services"])
    options = _options(values)
    if values["dry_run"]:
        return _show_plan(orchestrator(values, context).plan(project.document, options))
    elsewhere = in_client(values)
    if elsewhere is None:
        _make_directories(project)
        get_images(values, context, project, values["services"])
    else:
        _push_images(values, context, project, elsewhere)
    bring_up(values, context, project, options)
    if values["detach"] or values["no_start"] or values["wait"]:
        return 0
    if elsewhere is None:
        return _attached(values, context, project)
    return _watched(values, project, elsewhere)


def create(values: Values, context: Context) -> int:
    """As :func:`up`, but nothing is started."""
    return up({**values, "no_start": True, "detach": True, "wait": False, "no_deps": False}, context)


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
    name = app_project.name(values)
    options = {"volumes": values["volumes"], "timeout": values["timeout"]}
    for item in orchestrator(values, context).destroy(name, options):
        _tell(item)
    return 0


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
    return _each_wave(values, context, "containers.start", ("created", "exited"), first_dependents=False)


def stop(values: Values, context: Context) -> int:
    """Stop containers, dependents first."""
    params = {"timeout": values["timeout"]}
    return _each_wave(values, context, "containers.stop", ("running", "paused"), True, params)


def restart(values: Values, context: Context) -> int:
    """Stop containers and start them again."""
    params = {"timeout": values["timeout"]}
    return _each_wave(
        values, context, "containers.restart", ("created", "exited", "running", "paused"), False, params
    )


def _each_wave(
    values: Values,
    context: Context,
    method: str,
    statuses: Sequence[str],
    first_dependents: bool,
    params: dict[str, Any] | None = None,
) -> int:
    app = app_project.name(values)
    ordered = waves(app_project.rows(context, app, values["services"]))
    failed: list[MultiosError] = []
    for wave in ordered if first_dependents else reversed(ordered):
        chosen = [row for row in wave if row["status"] in statuses]
        side_by_side(
            context,
            chosen,
            lambda client, row: client.call(method, {"ref": row["id"], **(params or {})}),
            failed,
        )
    return failed[0].exit_status if failed else 0


def side_by_side(
    context: Context,
    rows: Sequence[dict[str, Any]],
    act: Callable[[Any, dict[str, Any]], object],
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


_AT_ONCE = 16


# --- images --------------------------------------------------------------------------------------------------


def pull(values: Values, context: Context) -> int:
    """Fetch the images of services that are not built."""
    project = app_project.read(values, values["services"])
    wanted = {
        _image(project, name): name
        for name in _chosen(project, values["services"])
        if name not in project.builds and _image(project, name)
    }

    def one(image: str) -> None:
        _pull(context, project, wanted[image])
        sys.stdout.write(f"{image}\n")

    return context.each(list(wanted), one)


def build(values: Values, context: Context) -> int:
    """Build the images of services that say how."""
    project = app_project.read(values, values["services"])
    for name in _chosen(project, values["services"]):
        if name in project.builds:
            _build(values, context, project, name)
    return 0


def get_images(values: Values, context: Context, project: Project, services: Sequence[str]) -> None:
    """Build and pull as the files and options say, before anything is made."""
    chosen = _chosen(project, services)
    for name in chosen:
        container = project.document["services"][name]["container"]
        if "template" in container:
            options = container.get("template_options", {})
            context.call("templates.build", {"name": container["template"], "options": options})
    images = {name: _image(project, name) for name in chosen if _image(project, name)}
    there = set(context.call("images.find", {"references": sorted(set(images.values()))}) if images else ())
    pulled: set[str] = set()
    for name, image in images.items():
        policy = values["pull"] or project.pull_policies.get(name, "missing")
        builds = name in project.builds and not values["no_build"]
        if builds and (values["build"] or policy == "build" or image not in there):
            _build(values, context, project, name)
        elif image in pulled:
            continue
        elif policy == "always" and name not in project.builds:
            _pull(context, project, name)
            pulled.add(image)
        elif image not in there and policy == "never":
            raise InvalidInput(
                f"service {name!r}: image {image!r} is not here, and is not to be pulled",
                f"pull it: multios-container image pull {image}",
            )
        elif image not in there:
            _pull(context, project, name)
            pulled.add(image)


def _push_images(values: Values, context: Context, project: Project, elsewhere: InClient) -> None:
    """What is built has to be in a registry for an orchestrator elsewhere: by ``--build`` it is made here and pushed."""
    for name in _chosen(project, values["services"]):
        if name not in project.builds or values["no_build"]:
            continue
        if "image" not in project.config["services"][name]:
            raise InvalidInput(
                f"service {name!r} is built on this host, whose images the orchestrator {elsewhere.driver.name!r} does not see",
                "give it `image:` of a registry that is reached from there, and use --build, which pushes it",
            )
        if values["build"] or project.pull_policies.get(name) == "build":
            from multios.cli.registry import transfer  # deferred: few commands do

            _build(values, context, project, name)
            image = _image(project, name)
            transfer(context, "images.push", {"ref": image}, image, quiet=False)


def _chosen(project: Project, services: Sequence[str]) -> list[str]:
    """The services asked for and what they depend on; all if none is."""
    documents = project.document.get("services", {})
    if not services:
        return list(documents)
    wanted, rest = [], list(services)
    while rest:
        name = rest.pop(0)
        if name in documents and name not in wanted:
            wanted.append(name)
            rest += list(documents[name].get("depends_on", {}))
    return wanted


def _image(project: Project, service: str) -> str:
    return str(project.document["services"][service]["container"].get("image", ""))


def _pull(context: Context, project: Project, service: str) -> None:
    from multios.cli.registry import transfer  # deferred: few commands do

    image, params = _image(project, service), {}
    if service in project.platforms:
        params["platform"] = project.platforms[service]
    try:
        transfer(context, "images.pull", {"ref": image, **params}, image, quiet=False)
    except MultiosError as error:
        error.cause = f"service {service!r}: {error.cause}"
        raise


def _build(values: Values, context: Context, project: Project, service: str) -> None:
    from multios.cli.build import built  # deferred: few commands do

    wanted = project.builds[service]
    inline, name = wanted.get("dockerfile_inline"), wanted.get("dockerfile")
    file = _in_memory(inline) if inline is not None else -1
    # Below the context, whatever the current directory has of that name.
    named = os.path.join(wanted["context"], name) if name else None
    try:
        built(
            {
                "context": wanted["context"],
                "file": f"/proc/self/fd/{file}" if file >= 0 else named,
                "tags": [wanted["image"], *wanted.get("tags", [])],
                "target": wanted.get("target"),
                "build_args": [f"{key}={value}" for key, value in wanted.get("args", {}).items()],
                "labels": [f"{key}={value}" for key, value in wanted.get("labels", {}).items()],
                "no_cache": values.get("no_cache") or wanted.get("no_cache", False),
                "pull": values.get("pull") is True or wanted.get("pull", False),
                "platform": next(iter(wanted.get("platforms", [])), project.platforms.get(service)),
                "network": wanted.get("network"),
                "secrets": [_secret(secret) for secret in wanted.get("secrets", [])],
                "ssh": wanted.get("ssh", []),
                "quiet": False,
            },
            context,
        )
    except MultiosError as error:
        error.cause = f"service {service!r}: {error.cause}"
        raise
    finally:
        if file >= 0:
            os.close(file)


def _in_memory(text: str) -> int:
    descriptor = os.memfd_create("dockerfile", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _secret(secret: dict[str, str]) -> str:
    where = f"src={secret['file']}" if "file" in secret else f"env={secret['environment']}"
    return f"id={secret['id']},{where}"


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


_LONGEST_WAIT = 86_400


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


def _attached(values: Values, context: Context, project: Project) -> int:
    """Show what the services write until all have ended, or the user has enough: then they are stopped."""
    from multios.cli.app_logs import follow  # deferred: most are detached

    services = [name for name in _chosen(project, values["services"]) if name not in project.unattached]
    rows = app_project.rows(context, project.name, services)
    try:
        follow(context, rows, ends_with_all=True)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopping\n")
        context.client.close()  # an answer may have been read in part
        stop({**values, "project_name": project.name}, context)
    return 0


def _watched(values: Values, project: Project, elsewhere: InClient) -> int:
    """Show what the services write until all have ended, or the user has enough: what runs elsewhere goes on."""
    from multios.cli.app_elsewhere import show  # deferred: most are detached

    documents, scale = project.document.get("services", {}), app_project.scale(values)
    services = [
        name
        for name in _chosen(project, values["services"])
        if name not in project.unattached and scale.get(name, documents[name].get("replicas", 1))
    ]
    if not services:
        return 0
    try:
        show(elsewhere, project.name, services, follow=True, tail=None)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nit goes on; remove it: multios-container app -p {project.name} down\n")
    return 0
