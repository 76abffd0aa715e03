"""The JSON document that describes an app, checked field by field at the door.

It comes from a Compose file by way of :mod:`multios.compose`, or from a program. Every refusal names the field by its path
(``services.web.replicas``)::

    name
    services {NAME: {container {as in multios.model.container_document, without name}, replicas, container_name,
              depends_on {SERVICE: {condition "started|healthy|completed", restart, required}},
              update {parallelism, delay, order "stop-first|start-first", monitor, failure_action "pause|continue|rollback"},
              files [{source, target, mode, uid, gid}],
              post_start, pre_stop [{command, user, working_directory, environment {}}]}}
    networks {KEY: {name, external, request {as networks.create, without name}}}
    volumes  {KEY: {name, external, labels {}}}
    files    {KEY: {content (base64), secret}}

A service's container names networks and volumes as the engine knows them, and ``files`` are what Compose calls configs and
secrets. Durations are seconds.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multios.errors import InvalidInput, nearest
from multios.model import container_document, container_names
from multios.model.app import (
    COMPLETED,
    HEALTHY,
    STARTED,
    App,
    AppFile,
    AppNetwork,
    AppVolume,
    Dependency,
    FileUse,
    LifecycleHook,
    Service,
    UpdatePolicy,
)
from multios.model.fields import (
    Reader,
    read_absolute,
    read_boolean,
    read_fields,
    read_integer,
    read_list,
    read_mapping,
    read_option_text,
    read_text,
    wrong,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SERVICE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")
MOST_REPLICAS = 1000
MOST_SERVICES = 1000
MOST_CONTAINERS = 5000
"""Of an app: a plan has an action for each."""
LARGEST_FILE = 1 << 20
"""Bytes of a config or secret, as Kubernetes has it."""


def parse(document: Any) -> App:
    """The checked app; ``InvalidInput`` names the field that is wrong."""
    if not isinstance(document, Mapping):
        raise wrong("app", document, "an object")
    fields = read_fields("", document, _APP)
    if "name" not in fields:
        raise InvalidInput("name is missing", "give the app a name")
    app = App(
        name=check_name(fields["name"]),
        services=tuple(fields.get("services", {}).values()),
        networks=tuple(fields.get("networks", {}).values()),
        volumes=tuple(fields.get("volumes", {}).values()),
        files=tuple(fields.get("files", {}).values()),
    )
    if len(app.services) > MOST_SERVICES:
        raise InvalidInput(f"services: {len(app.services)} are more than {MOST_SERVICES}", "split the app")
    check_count(sum(service.replicas for service in app.services), "services")
    _check_container_names(app)
    _check_dependencies(app)
    _check_files(app)
    return app


def check_name(name: Any) -> str:
    """``name`` if an app may be called so; else ``InvalidInput``."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            f"name: {name!r} is no name of an app", "use 1 to 63 of a-z 0-9 _ -, a letter or digit first"
        )
    return name


def check_count(containers: int, where: str) -> None:
    """``InvalidInput`` for more containers than an app may have."""
    if containers > MOST_CONTAINERS:
        raise InvalidInput(
            f"{where}: {containers} containers are more than {MOST_CONTAINERS}", "ask for fewer"
        )


def _check_container_names(app: App) -> None:
    owners: dict[str, str] = {}
    for service in app.services:
        if not service.container_name:
            continue
        if owner := owners.get(service.container_name):
            raise InvalidInput(
                f"services.{service.name}.container_name: {owner!r} has the name {service.container_name!r} too",
                "give it another one",
            )
        owners[service.container_name] = service.name


def _check_dependencies(app: App) -> None:
    names = [service.name for service in app.services]
    for service in app.services:
        for dependency in service.depends_on:
            if dependency.service not in names and dependency.required:
                where = f"services.{service.name}.depends_on"
                guess = nearest(dependency.service, names)
                raise InvalidInput(
                    f"{where}: there is no service {dependency.service!r}",
                    f"did you mean {guess!r}?" if guess else f"there are: {', '.join(names)}",
                )
    if circle := cycle(app.services):
        raise InvalidInput(
            f"services depend on each other in a circle: {' -> '.join(circle)}", "leave one of them out"
        )


def cycle(services: Sequence[Service]) -> tuple[str, ...]:
    """Names of services that depend on each other in a circle, the first again at its end; empty for none."""
    edges = {service.name: [item.service for item in service.depends_on] for service in services}
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack = [(start, iter(edges[start]))] if start not in done else []
        path += [start] if stack else []
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                path.pop()
                done.add(name)
            elif following in path:
                return (*path[path.index(following) :], following)
            elif following in edges and following not in done:
                stack.append((following, iter(edges[following])))
                path.append(following)
    return ()


def _check_files(app: App) -> None:
    keys = [file.key for file in app.files]
    for service in app.services:
        for use in service.files:
            if use.source not in keys:
                raise InvalidInput(
                    f"services.{service.name}.files: there is no file {use.source!r}",
                    f"there are: {', '.join(keys) or 'none'}",
                )


# --- readers: (path, value) to a checked value ------------------------------------------------------


def _named(read: Callable[[str, str, Any], Any]) -> Reader:
    """An object whose keys are names; ``read`` gets the path, the name and what stands under it."""

    def readers(path: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise wrong(path, value, "an object")
        result = {}
        for key, item in value.items():
            if not isinstance(key, str) or not SERVICE.fullmatch(key):
                raise wrong(path, key, "names of letters, digits, '_', '.' and '-'")
            result[key] = read(f"{path}.{key}", key, {} if item is None else item)
        return result

    return readers


def _seconds(path: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400:
        raise wrong(path, value, "seconds from 0 to 86400")
    return float(value)


def _one_of(*choices: str) -> Reader:
    def read(path: str, value: Any) -> str:
        if value not in choices:
            raise wrong(path, value, f"one of {', '.join(choices)}")
        return str(value)

    return read


def _object(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(path, value, "an object")
    return value


def _container(path: str, value: Any) -> Mapping[str, Any]:
    document = dict(_object(path, value))
    if "name" in document:
        raise InvalidInput(f"{path}.name: a service's containers are named for it", "use container_name")
    try:
        container_document.parse({**document, "name": "checked"})
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.cause}", error.remedy) from error
    return document


def _dependency(path: str, name: str, value: Any) -> Dependency:
    return Dependency(name, **read_fields(path, value, _DEPENDENCY))


def _file_use(path: str, value: Any) -> FileUse:
    fields = read_fields(path, value, _FILE_USE)
    if not fields.keys() >= {"source", "target"}:
        raise InvalidInput(
            f"{path}: 'source' or 'target' is missing", "name the file, and where it is inside"
        )
    return FileUse(**fields)


def _hook(path: str, value: Any) -> LifecycleHook:
    fields = read_fields(path, value, _HOOK)
    if not fields.get("command"):
        raise InvalidInput(f"{path}.command is missing", "say what to run")
    return LifecycleHook(**fields)


def _target(path: str, value: Any) -> str:
    text = read_text(path, value)
    if not text.startswith("/") or {"", ".", ".."} & set(text[1:].split("/")):
        raise wrong(path, value, "an absolute path without '..'")
    return text


def _service(path: str, name: str, value: Any) -> Service:
    fields = read_fields(path, value, _SERVICE)
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say what its containers are made of")
    fields["depends_on"] = tuple(fields.get("depends_on", {}).values())
    if fields.get("container_name") and fields.get("replicas", 1) > 1:
        raise InvalidInput(
            f"{path}.container_name: {fields['replicas']} containers cannot have one name",
            "leave container_name out",
        )
    return Service(name, **fields)


def _network(path: str, name: str, value: Any) -> AppNetwork:
    return AppNetwork(name, **{"name": name, **read_fields(path, value, _NETWORK)})


def _volume(path: str, name: str, value: Any) -> AppVolume:
    return AppVolume(name, **{"name": name, **read_fields(path, value, _VOLUME)})


def _file(path: str, name: str, value: Any) -> AppFile:
    return AppFile(name, **read_fields(path, value, _FILE))


def _content(path: str, value: Any) -> bytes:
    try:
        content = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):  # it is not shown, because it may be a secret
        raise InvalidInput(f"{path}: not base64 text", f"correct the field {path!r}") from None
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"{path}: it has more than {LARGEST_FILE} bytes", "use a volume")
    return content


_DEPENDENCY: dict[str, Reader] = {
    "condition": _one_of(STARTED, HEALTHY, COMPLETED),
    "restart": read_boolean,
    "required": read_boolean,
}
_UPDATE: dict[str, Reader] = {
    "parallelism": read_integer(0, MOST_REPLICAS),
    "delay": _seconds,
    "order": _one_of("stop-first", "start-first"),
    "monitor": _seconds,
    "failure_action": _one_of("pause", "continue", "rollback"),
}
_FILE_USE: dict[str, Reader] = {
    "source": read_text,
    "target": _target,
    "mode": read_integer(0, 0o777),
    "uid": read_integer(0, 2**31),
    "gid": read_integer(0, 2**31),
}
_HOOK: dict[str, Reader] = {
    "command": read_list(read_text),
    "user": read_text,
    "working_directory": read_absolute,
    "environment": read_mapping(read_option_text),
}
_SERVICE: dict[str, Reader] = {
    "container": _container,
    "replicas": read_integer(0, MOST_REPLICAS),
    "container_name": lambda path, value: container_names.check_name("container", read_text(path, value)),
    "depends_on": _named(_dependency),
    "update": lambda path, value: UpdatePolicy(**read_fields(path, value, _UPDATE)),
    "files": read_list(_file_use),
    "post_start": read_list(_hook),
    "pre_stop": read_list(_hook),
}
_NETWORK: dict[str, Reader] = {
    "name": lambda path, value: container_names.check_name("network", read_text(path, value)),
    "external": read_boolean,
    "request": _object,
}
_VOLUME: dict[str, Reader] = {
    "name": lambda path, value: container_names.check_name("volume", read_text(path, value)),
    "external": read_boolean,
    "labels": read_mapping(read_text),
}
_FILE: dict[str, Reader] = {"content": _content, "secret": read_boolean}
_APP: dict[str, Reader] = {
    "name": read_text,
    "services": _named(_service),
    "networks": _named(_network),
    "volumes": _named(_volume),
    "files": _named(_file),
}
