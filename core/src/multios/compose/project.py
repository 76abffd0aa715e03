"""Compose files to an app document: :func:`read`.

What the engine cannot do is an error where containers would behave otherwise than the file says, and a warning where it costs
convenience only; :mod:`multios.compose.keys` has every key.
"""

from __future__ import annotations

import os

from multios.compose.field import Field
from multios.compose.files import Files
from multios.compose.loading import Loader
from multios.compose.mounts import Volumes
from multios.compose.networks import Networks
from multios.compose.report import Report
from multios.compose.services import Service, Shared
from multios.compose.sources import Request, Sources
from multios.compose.tree import Table, plain
from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Project", "Request", "read"]

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALLOWED = _FIRST | {"-", "_"}
_LONGEST_NAME = 63
ALL_PROFILES = "*"


class Project:
    """What Compose files come to.

    ``document`` is for :func:`multios.model.app_document.parse`. ``builds``, ``pull_policies`` and ``platforms`` are by service,
    for those that have such: a build is what :func:`multios.compose.builds.build` says. ``disabled`` maps services whose
    profiles are not enabled to these. ``unattached`` are services whose log is not followed. ``directories`` of the host are to
    be made before containers are. ``config`` is the merged model of the enabled services as plain data, ``places`` where each
    service is defined, ``files`` the Compose files that were read.
    """

    def __init__(self, name: str, directory: str, report: Report) -> None:
        self.name, self.directory, self.warnings = name, directory, report.warnings
        self.document: dict[str, Any] = {"name": name}
        self.builds: dict[str, dict[str, Any]] = {}
        self.pull_policies: dict[str, str] = {}
        self.platforms: dict[str, str] = {}
        self.disabled: dict[str, list[str]] = {}
        self.unattached: list[str] = []
        self.directories: list[str] = []
        self.config: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.files: list[str] = []


def read(request: Request) -> Project:
    """The app that the files describe. Raises ``InvalidInput`` or ``NotFound``, with file, line and key where there are such."""
    sources, report = Sources(request), Report()
    loader = Loader(sources, report)
    name = _name(request, sources, loader)
    variables = {**sources.variables, "COMPOSE_PROJECT_NAME": name}
    tree = loader.load(variables)
    project = Project(name, sources.directory, report)
    project.files = loader.read
    top = Field(tree, "", (loader.read[0], 1), report).table("compose")
    services = _services(top)
    for section in ("networks", "volumes", "configs", "secrets"):
        for field in top[section].named().values() if section in top else []:
            field.check_keys(section)
    enabled = _enabled(services, request, variables, project)
    project.config = _config(tree, name, enabled)
    _translate(project, top, enabled, variables)
    return project


# --- the name ---------------------------------------------------------------------------------------------


def _name(request: Request, sources: Sources, loader: Loader) -> str:
    name = request.project_name or sources.variables.get("COMPOSE_PROJECT_NAME", "")
    if name:
        return _checked(name, "project name")
    name, place = loader.name(sources.variables)
    if name:
        return _checked(name, f"{place[0]}:{place[1]}: name")
    base = os.path.basename(sources.directory).lower()
    name = "".join(letter for letter in base if letter in _ALLOWED).lstrip("-_")[:_LONGEST_NAME]
    if not name:
        raise InvalidInput(
            f"no name can be made from the directory {sources.directory}", "give one: --project-name NAME"
        )
    return name


def _checked(name: str, where: str) -> str:
    if len(name) > _LONGEST_NAME or name[0] not in _FIRST or not _ALLOWED.issuperset(name):
        raise InvalidInput(
            f"{where}: {name[:80]!r} is no name of an app",
            f"use 1 to {_LONGEST_NAME} of a-z 0-9 _ -, a letter or digit first",
        )
    return name


# --- services and profiles ----------------------------------------------------------------------------------


def _services(top: dict[str, Field]) -> dict[str, Field]:
    services = top["services"].named() if "services" in top else {}
    for field in services.values():
        if not isinstance(field.value, Table):
            raise field.expected("a mapping")
    return services


def _enabled(
    services: dict[str, Field], request: Request, variables: dict[str, str], project: Project
) -> dict[str, Field]:
    """The services that the profiles enable, and those that are named on the command line with their profiles."""
    profiles = {name: _profiles(field) for name, field in services.items()}
    active = set(request.profiles) or {
        part for part in variables.get("COMPOSE_PROFILES", "").split(",") if part
    }
    for target in request.targets:
        if target not in services:
            guess = nearest(target, list(services))
            raise InvalidInput(
                f"there is no service {target!r}",
                f"did you mean {guess!r}?" if guess else f"there are: {', '.join(services)[:200] or 'none'}",
            )
        active |= set(profiles[target])
    enabled = {}
    for name, field in services.items():
        if not profiles[name] or active & {*profiles[name], ALL_PROFILES}:
            enabled[name] = field
        else:
            field.check_keys("service")
            project.disabled[name] = profiles[name]
    return enabled


def _profiles(field: Field) -> list[str]:
    profiles = field.entries().get("profiles")
    return [item.text() for item in profiles.items()] if profiles else []


def _config(tree: Table, name: str, enabled: dict[str, Field]) -> dict[str, Any]:
    config = {"name": name, **plain(tree.without("name", "version", "services"))}
    config["services"] = {key: plain(field.value) for key, field in enabled.items()}
    return config


# --- the document ---------------------------------------------------------------------------------------------


def _check_container_names(services: dict[str, Service]) -> None:
    """Two containers cannot have one name."""
    owners: dict[str, str] = {}
    for name, service in services.items():
        if named := service.container_name():
            text, field = named
            if text in owners:
                raise field.error(
                    f"service {owners[text]!r} has the name {text!r} too", "give it another one"
                )
            owners[text] = name


def _translate(
    project: Project, top: dict[str, Field], enabled: dict[str, Field], variables: dict[str, str]
) -> None:
    shared = Shared(
        project.name,
        Networks(top.get("networks"), project.name),
        Volumes(top.get("volumes"), project.name),
        Files(top.get("configs"), top.get("secrets"), variables),
        variables,
    )
    services = {name: Service(name, field, shared) for name, field in enabled.items()}
    _check_container_names(services)
    documents = {name: service.document(services, project.disabled) for name, service in services.items()}
    for name, service in services.items():
        for found, value in (
            (project.builds, service.build()),
            (project.pull_policies, service.pull_policy()),
            (project.platforms, service.platform()),
        ):
            if value:
                found[name] = value  # type: ignore[assignment]
        project.places[name] = service.line
        if not service.is_attached():
            project.unattached.append(name)
        project.directories += [
            path for path in service.mounts.directories if path not in project.directories
        ]
    parts = {
        "services": documents,
        "networks": shared.networks.document(),
        "volumes": shared.volumes.document(),
        "files": shared.files.document(),
    }
    project.document |= {key: part for key, part in parts.items() if part}
