"""What is to be done so that there is what shall be. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multios.drivers.orchestrator import Action, PlanOptions
from multios.errors import Conflict, NotFound, unknown
from multios.model.app import App, AppState, Instance, LifecycleHook, Service, changed_fields, fingerprint
from multios.model.container import OF_CONTAINER

MOST_NAMED = 3
"""Changed fields that a reason names."""


def plan(app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
    """Networks and volumes first, then containers in the order of what depends on what, then what nobody wants any more."""
    chosen = _chosen(app, options)
    containers: list[Action] = []
    replaced: set[str] = set()
    fresh: set[str] = set()
    """Names of containers that are made by this plan."""
    for service in (service for service in app.in_order() if service in chosen):
        actions = list(_service(app, service, existing, options))
        if any(item.service in replaced and item.restart for item in service.depends_on):
            actions = [_restarted(action) for action in actions]
        if shared_container(service) in fresh:
            actions = [_recreated(action) for action in actions]
        fresh |= {action.subject for action in actions if action.verb in ("create", "recreate")}
        if any(action.verb == "recreate" for action in actions):
            replaced.add(service.name)
        containers += actions
    return (
        *_networks(app, chosen, existing),
        *_volumes(app, chosen, existing),
        *containers,
        *_orphans(app, existing, options),
    )


def container_name(app: App, service: Service, number: int) -> str:
    """What the engine knows a container by."""
    return service.container_name or f"{app.name}-{service.name}-{number}"


def of_service(app: App, service: Service) -> dict[str, str]:
    """The fingerprint of a service: its container, the files it has inside, and its hooks."""
    contents = {file.key: hashlib.sha256(file.content).hexdigest() for file in app.files}
    files = {
        use.target: [use.source, contents[use.source], use.mode, use.uid, use.gid] for use in service.files
    }
    beside = {"files": files, "post_start": hooks(service.post_start), "pre_stop": hooks(service.pre_stop)}
    asked = {name: value for name, value in beside.items() if value}
    return {**fingerprint(service.container), **fingerprint(asked)}


def hooks(asked: Sequence[LifecycleHook]) -> list[dict[str, Any]]:
    """Hooks as plain data."""
    return [dataclasses.asdict(hook) for hook in asked]


def _chosen(app: App, options: PlanOptions) -> list[Service]:
    names = [service.name for service in app.services]
    for name in (*options.services, *options.scale):
        if name not in names:
            raise unknown("service", name, names, f"there are: {', '.join(names)}")
    if not options.services:
        return list(app.services)
    wanted, rest = set(), list(options.services)
    while rest:
        name = rest.pop()
        service = app.service(name)
        if service is not None and name not in wanted:
            wanted.add(name)
            rest += [] if options.no_dependencies else [item.service for item in service.depends_on]
    return [service for service in app.services if service.name in wanted]


# --- containers ---------------------------------------------------------------------------------------


def _service(app: App, service: Service, existing: AppState, options: PlanOptions) -> Iterator[Action]:
    wanted = options.scale.get(service.name, service.replicas)
    if service.container_name and wanted > 1:
        raise Conflict(
            f"service {service.name!r}: {wanted} containers cannot have the one name {service.container_name!r}",
            "take container_name out of the file",
        )
    there, surplus = _sorted_out(app, service, existing, wanted)
    for instance, reason in surplus:
        yield Action("remove", "container", instance.name, reason, service.name, instance.number)
    free = (number for number in range(1, wanted + len(there) + 2) if number not in there)
    numbers = sorted([*there, *(next(free) for _ in range(wanted - len(there)))])
    for number in numbers:
        name = container_name(app, service, number)
        if number not in there:
            yield Action("create", "container", name, "it is not there", service.name, number)
        else:
            yield _existing(app, service, there[number], name, existing, options)


def _sorted_out(
    app: App, service: Service, existing: AppState, wanted: int
) -> tuple[dict[int, Instance], list[tuple[Instance, str]]]:
    """The instances to go on with, by number, and those that are too many, each with why.

    Two of a number are what an ended replacement has left: the one with the right name counts.
    """
    there: dict[int, Instance] = {}
    surplus = []
    for instance in existing.instances:
        if instance.service != service.name:
            continue
        other = there.get(instance.number)
        if other is None:
            there[instance.number] = instance
            continue
        right = container_name(app, service, instance.number)
        kept, left = (instance, other) if instance.name == right else (other, instance)
        there[instance.number] = kept
        surplus.append((left, "it was being replaced"))
    for number in sorted(there)[wanted:]:
        surplus.append((there.pop(number), f"{wanted} are wanted"))
    return there, surplus


def _existing(
    app: App, service: Service, instance: Instance, name: str, existing: AppState, options: PlanOptions
) -> Action:
    changed = changed_fields(instance.fingerprint, of_service(app, service))
    image = existing.images.get(str(service.container.get("image", "")), instance.image_id)
    verb, reason = "keep", "unchanged"
    if instance.name != name:
        verb, reason = "recreate", f"it is called {instance.name}"
    elif changed:
        verb, reason = "recreate", f"{_listed(changed)} changed"
    elif image != instance.image_id:
        verb, reason = "recreate", "its image is another one now"
    elif options.force_recreate:
        verb, reason = "recreate", "asked for"
    if verb == "recreate" and options.no_recreate:
        verb, reason, changed = "keep", f"{reason}; not to be recreated", ()
    if verb == "keep" and options.start and instance.status in ("created", "exited"):
        verb, reason = "start", f"it is {instance.status}"
    return Action(verb, "container", name, reason, service.name, instance.number, changed)


def _listed(changed: Sequence[str]) -> str:
    more = len(changed) - MOST_NAMED
    return ", ".join(changed[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _restarted(action: Action) -> Action:
    if action.verb != "keep":
        return action
    return Action(
        "restart",
        action.kind,
        action.subject,
        "what it depends on is replaced",
        action.service,
        action.number,
    )


def _recreated(action: Action) -> Action:
    """One that uses a network which goes: the container of that name will be another one."""
    if action.verb not in ("keep", "start", "restart"):
        return action
    return Action(
        "recreate",
        action.kind,
        action.subject,
        "the container whose network it uses is made anew",
        action.service,
        action.number,
    )


def _orphans(app: App, existing: AppState, options: PlanOptions) -> Iterator[Action]:
    for instance in existing.instances:
        if app.service(instance.service) is None:
            verb = "remove" if options.remove_orphans else "keep"
            reason = f"there is no service {instance.service!r} in the file"
            yield Action(verb, "container", instance.name, reason, instance.service, instance.number)


# --- networks and volumes -----------------------------------------------------------------------------


def _networks(app: App, chosen: Sequence[Service], existing: AppState) -> Iterator[Action]:
    used = {name for service in chosen for name in networks_of(service)}
    for network in app.networks:
        if network.name not in used:
            continue
        there = existing.networks.get(network.name)
        if network.external:
            if there is None and ("network", network.name) not in existing.elsewhere:
                raise NotFound(
                    f"network {network.key!r} is external, and there is no {network.name!r}",
                    f"make it: multios-container network create {network.name}",
                )
        elif there is None:
            _check_not_elsewhere("network", network.key, network.name, existing)
            yield Action("create", "network", network.name, "it is not there")
        elif changed := changed_fields(there, fingerprint(network.request)):
            raise Conflict(
                f"network {network.key!r}: {_listed(changed)} changed, and containers are on it",
                f"take the app down first: multios-container app --project-name {app.name} down",
            )
        else:
            yield Action("keep", "network", network.name, "unchanged")


def _volumes(app: App, chosen: Sequence[Service], existing: AppState) -> Iterator[Action]:
    used = {
        item["volume"]
        for service in chosen
        for item in service.container.get("volumes", ())
        if isinstance(item, Mapping) and "volume" in item
    }
    for volume in app.volumes:
        if volume.name not in used:
            continue
        if volume.external:
            if volume.name not in existing.volumes and ("volume", volume.name) not in existing.elsewhere:
                raise NotFound(
                    f"volume {volume.key!r} is external, and there is no {volume.name!r}",
                    f"make it: multios-container volume create {volume.name}",
                )
        elif volume.name in existing.volumes:  # with other labels too: nobody's data is thrown away for them
            yield Action("keep", "volume", volume.name, "unchanged")
        else:
            _check_not_elsewhere("volume", volume.key, volume.name, existing)
            yield Action("create", "volume", volume.name, "it is not there")


def networks_of(service: Service) -> tuple[str, ...]:
    """The names of the networks that a service's containers are on."""
    networking = service.container.get("networking", {})
    single = networking.get("network")
    return tuple(networking.get("networks") or ((single,) if single else ()))


def shared_container(service: Service) -> str:
    """The name of the container whose network a service's containers use; empty for none."""
    named = networks_of(service)
    return named[0].removeprefix(OF_CONTAINER) if named and named[0].startswith(OF_CONTAINER) else ""


def _check_not_elsewhere(kind: str, key: str, name: str, existing: AppState) -> None:
    if (kind, name) in existing.elsewhere:
        raise Conflict(
            f"{kind} {key!r}: there is a {kind} {name!r} that is not this app's",
            "write `external: true` to use it, or give this one another `name`",
        )
