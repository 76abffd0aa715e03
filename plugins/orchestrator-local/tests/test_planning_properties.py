"""What holds for every app in every state: done once, nothing is left to do, and nothing comes before what it needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from multios.drivers.orchestrator import Action, PlanOptions
from multios.model.app import App, AppNetwork, AppState, AppVolume, Dependency, Instance, Service, fingerprint
from multios_orchestrator_local.planning import container_name, networks_of, of_service, plan

NAMES = ("web", "api", "db", "cache", "old")
NETWORKS = tuple(AppNetwork(key, f"shop_{key}") for key in ("front", "back"))
VOLUMES = (AppVolume("data", "shop_data"),)


@st.composite
def services(draw: st.DrawFn) -> tuple[Service, ...]:
    """Some that depend on each other without a circle, in any order of the file."""
    names = draw(st.lists(st.sampled_from(NAMES[:4]), unique=True))
    made = []
    for position, name in enumerate(names):
        needed = draw(st.lists(st.sampled_from(names[:position]), unique=True)) if position else []
        container = {
            "image": draw(st.sampled_from(["small:1", "small:2"])),
            "environment": draw(st.dictionaries(st.sampled_from("AB"), st.sampled_from("12"))),
            "networking": {
                "networks": draw(st.lists(st.sampled_from([n.name for n in NETWORKS]), unique=True))
            },
            "volumes": draw(st.sampled_from([[], [{"volume": "shop_data", "container": "/data"}]])),
        }
        dependencies = tuple(Dependency(other, restart=draw(st.booleans())) for other in needed)
        made.append(Service(name, container, draw(st.integers(0, 3)), dependencies))
    return tuple(draw(st.permutations(made)))


apps = st.builds(lambda made: App("shop", made, NETWORKS, VOLUMES), services())


@st.composite
def states(draw: st.DrawFn) -> AppState:
    """What an earlier app, an ended replacement and somebody's hands may have left."""
    before = draw(apps)
    instances: dict[str, Instance] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=6)):
        service = before.service(name) or Service(name, {"image": "small:1"})
        number = draw(st.integers(0, 4))
        aside = draw(st.sampled_from(["", "-old-1", "-old-2"]))
        called = f"{container_name(before, service, number)}{aside}"
        status = draw(st.sampled_from(["created", "running", "paused", "exited"]))
        image = draw(st.sampled_from(["image-1", "image-2"]))
        instances[called] = Instance(called, called, name, number, status, image, of_service(before, service))
    networks = draw(st.lists(st.sampled_from([network.name for network in NETWORKS]), unique=True))
    return AppState(
        tuple(sorted(instances.values(), key=lambda item: (item.service, item.number, item.name))),
        dict.fromkeys(networks, fingerprint({})),
        draw(st.sampled_from([{}, {"shop_data": {}}])),
        images={"small:1": "image-1", "small:2": "image-2"},
    )


options = st.builds(
    PlanOptions,
    scale=st.just({}),
    remove_orphans=st.booleans(),
    no_recreate=st.booleans(),
    force_recreate=st.booleans(),
)


def done(app: App, state: AppState, actions: tuple[Action, ...]) -> AppState:
    """The state when all of a plan is done."""
    instances = {item.name: item for item in state.instances}
    networks, volumes = dict(state.networks), dict(state.volumes)
    for action in actions:
        service = app.service(action.service)
        if action.verb == "remove":
            del instances[action.subject]
        elif action.kind == "network":
            networks[action.subject] = fingerprint({})
        elif action.kind == "volume":
            volumes[action.subject] = {}
        elif action.verb in ("create", "recreate"):
            assert service is not None
            former = [
                n
                for n, item in instances.items()
                if (item.service, item.number) == (service.name, action.number)
            ]
            assert len(former) == (action.verb == "recreate")
            for name in former:
                del instances[name]
            assert action.subject not in instances
            instances[action.subject] = Instance(
                action.subject, action.subject, service.name, action.number, "running",
                state.images[service.container["image"]], of_service(app, service),
            )  # fmt: skip
        elif action.verb in ("start", "restart"):
            (name,) = [
                n
                for n, item in instances.items()
                if (item.service, item.number) == (action.service, action.number)
            ]
            instances[name] = replace(instances[name], status="running")
    ordered = sorted(instances.values(), key=lambda item: (item.service, item.number, item.name))
    return replace(state, instances=tuple(ordered), networks=networks, volumes=volumes)


@given(apps, states(), options)
def test_a_plan_that_was_done_leaves_nothing_to_do(app: App, state: AppState, chosen: PlanOptions) -> None:
    after = done(app, state, plan(app, state, chosen))
    again = plan(app, after, replace(chosen, force_recreate=False))
    assert {action.verb for action in again} <= {"keep"}


@given(apps, states(), options)
def test_every_service_has_as_many_containers_as_it_shall(
    app: App, state: AppState, chosen: PlanOptions
) -> None:
    after = done(app, state, plan(app, state, chosen))
    counts = Counter(item.service for item in after.instances)
    assert all(counts[service.name] == service.replicas for service in app.services)
    orphans = [item for item in after.instances if app.service(item.service) is None]
    assert not (chosen.remove_orphans and orphans)


@given(apps, states(), options)
def test_nothing_comes_before_what_it_needs(app: App, state: AppState, chosen: PlanOptions) -> None:
    actions = plan(app, state, chosen)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, action in enumerate(actions):
        first.setdefault(action.service, position)
        last[action.service] = position
    for service in app.services:
        for dependency in service.depends_on:
            if service.name in first and dependency.service in last:
                assert last[dependency.service] < first[service.name]
        if service.name in first:
            made = {action.subject for action in actions[: first[service.name]] if action.kind == "network"}
            assert made >= set(networks_of(service))


@given(apps, states(), options)
def test_planning_is_pure(app: App, state: AppState, chosen: PlanOptions) -> None:
    assert plan(app, state, chosen) == plan(app, state, chosen)


@given(apps, states(), st.data())
def test_only_what_was_asked_for_and_what_it_needs_is_touched(
    app: App, state: AppState, data: st.DataObject
) -> None:
    if not app.services:
        return
    name = data.draw(st.sampled_from([service.name for service in app.services]))
    touched = {
        action.service for action in plan(app, state, PlanOptions(services=(name,))) if action.verb != "keep"
    }
    needed, rest = set(), [name]
    while rest:
        needed.add(current := rest.pop())
        service = app.service(current)
        rest += [item.service for item in service.depends_on] if service else []
    assert touched <= needed | {""}
