"""``app pull|build``, and the images that ``up`` needs to be there."""

from __future__ import annotations

import os
import sys

from multios.cli import app_project
from multios.errors import InvalidInput, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from multios.cli.app_drivers import InClient
    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.compose.project import Project


def pull(values: Values, context: Context) -> int:
    """Fetch the images of services that are not built."""
    project = app_project.read(values, values["services"])
    wanted = {
        _image(project, name): name
        for name in chosen_services(project, values["services"])
        if name not in project.builds and _image(project, name)
    }

    def one(image: str) -> None:
        _pull(context, project, wanted[image])
        sys.stdout.write(f"{image}\n")

    return context.each(list(wanted), one)


def build(values: Values, context: Context) -> int:
    """Build the images of services that say how."""
    project = app_project.read(values, values["services"])
    for name in chosen_services(project, values["services"]):
        if name in project.builds:
            _build(values, context, project, name)
    return 0


def get_images(values: Values, context: Context, project: Project, services: Sequence[str]) -> None:
    """Build and pull as the files and options say, before anything is made."""
    chosen = chosen_services(project, services)
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


def push_images(values: Values, context: Context, project: Project, elsewhere: InClient) -> None:
    """What is built has to be in a registry for an orchestrator elsewhere: by ``--build`` it is made here and pushed."""
    for name in chosen_services(project, values["services"]):
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


def chosen_services(project: Project, services: Sequence[str]) -> list[str]:
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


def images_of(project: Project, which: str) -> list[str]:
    """The app's images: ``all``, or the ``local`` ones, which were built under a name that the app gave."""
    services = project.config.get("services", {})
    names = [name for name in services if which == "all" or _is_local(project, name)]
    return list(dict.fromkeys(image for name in names if (image := _image(project, name))))


def _is_local(project: Project, service: str) -> bool:
    return service in project.builds and not project.config["services"][service].get("image")


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
