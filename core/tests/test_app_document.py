"""The app document at the door: refused by the path of what is wrong, and never by a crash."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.api.app_options import plan_options
from multios.errors import InvalidInput
from multios.model.app import App, Dependency, FileUse, LifecycleHook, Service, UpdatePolicy
from multios.model.app_document import LARGEST_FILE, cycle, parse

IMAGE = {"image": "small:1"}


def with_service(**fields: Any) -> dict[str, Any]:
    return {"name": "shop", "services": {"web": {"container": IMAGE, **fields}}}


def test_a_whole_document_is_read() -> None:
    app = parse(
        {
            "name": "shop",
            "services": {
                "web": {
                    "container": IMAGE,
                    "replicas": 2,
                    "depends_on": {"db": {"condition": "healthy", "restart": True}},
                    "update": {"parallelism": 1, "order": "start-first", "failure_action": "rollback"},
                    "files": [{"source": "motd", "target": "/etc/motd", "mode": 0o440}],
                    "pre_stop": [{"command": ["bye"], "user": "ada", "working_directory": "/srv"}],
                },
                "db": {"container": IMAGE},
            },
            "networks": {"default": {"name": "shop_default"}, "front": {"external": True}},
            "volumes": {"data": {"name": "shop_data", "labels": {"a": "b"}}},
            "files": {"motd": {"content": base64.b64encode(b"hello").decode(), "secret": True}},
        }
    )
    web = app.service("web")
    assert web is not None and web.depends_on == (Dependency("db", "healthy", True),)
    assert web.update == UpdatePolicy(order="start-first", failure_action="rollback")
    assert web.pre_stop == (LifecycleHook(("bye",), "ada", "/srv"),) and web.post_start == ()
    assert web.files == (FileUse("motd", "/etc/motd", 0o440),)
    assert [(network.name, network.external) for network in app.networks] == [
        ("shop_default", False),
        ("front", True),
    ]
    assert app.files[0].content == b"hello" and app.volumes[0].labels == {"a": "b"}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (None, "app"),
        ([], "app"),
        ({}, "name is missing"),
        ({"name": "Shop"}, "name"),
        (
            {"name": "shop", "services": {name: {"container": IMAGE, "container_name": "one"} for name in "ab"}},
            "services.b.container_name",
        ),
        ({"name": "-shop"}, "name"),
        ({"name": "s" * 64}, "name"),
        ({"name": "shop", "service": {}}, "'service'"),
        ({"name": "shop", "services": []}, "services"),
        ({"name": "shop", "services": {"../x": {}}}, "services"),
        ({"name": "shop", "services": {"web": {}}}, "services.web.container is missing"),
        (with_service(replica=2), "'services.web.replica'"),
        (with_service(replicas=-1), "services.web.replicas"),
        (with_service(replicas=1001), "services.web.replicas"),
        (with_service(replicas=True), "services.web.replicas"),
        (with_service(replicas=2, container_name="one"), "services.web.container_name"),
        (with_service(container_name="a/b"), "a/b"),
        (with_service(container={**IMAGE, "name": "x"}), "services.web.container.name"),
        (with_service(container={**IMAGE, "imgae": "x"}), "services.web.container: unknown field 'imgae'"),
        (with_service(depends_on={"db": {}}), "services.web.depends_on"),
        (with_service(depends_on={"web": {}}), "web -> web"),
        (with_service(depends_on={"db": {"condition": "ready"}}), "services.web.depends_on.db.condition"),
        (with_service(update={"parallelism": 1001}), "services.web.update.parallelism"),
        (with_service(update={"order": "both"}), "services.web.update.order"),
        (with_service(update={"delay": 86401}), "services.web.update.delay"),
        (with_service(update={"monitor": float("nan")}), "services.web.update.monitor"),
        (with_service(files=[{"source": "x"}]), "services.web.files[0]"),
        (with_service(files=[{"source": "x", "target": "/x"}]), "services.web.files"),
        (with_service(files=[{"source": "x", "target": "x"}]), "services.web.files[0].target"),
        (with_service(files=[{"source": "x", "target": "/a/../x"}]), "services.web.files[0].target"),
        (with_service(files=[{"source": "x", "target": "/x", "mode": 0o4755}]), "services.web.files[0].mode"),
        ({"name": "shop", "networks": {"a": {"name": "a b"}}}, "a b"),
        ({"name": "shop", "networks": {"a": {"external": "yes"}}}, "networks.a.external"),
        ({"name": "shop", "volumes": {"a": {"labels": {"x": 1}}}}, "volumes.a.labels.x"),
        ({"name": "shop", "files": {"a": {"content": "!"}}}, "files.a.content"),
        (
            {"name": "shop", "files": {"a": {"content": base64.b64encode(b"x" * (LARGEST_FILE + 1)).decode()}}},
            "files.a.content",
        ),
        ({"name": "shop", "services": {f"s{n}": {"container": IMAGE} for n in range(1001)}}, "1000"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(document: Any, names: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(document)
    assert names in refused.value.cause and refused.value.remedy


def test_a_refusal_shows_no_secret() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse({"name": "shop", "files": {"key": {"content": "hunter2!", "secret": True}}})
    assert "hunter2" not in refused.value.cause + refused.value.remedy


def test_a_dependency_that_is_not_required_may_be_absent() -> None:
    app = parse(with_service(depends_on={"cache": {"required": False}}))
    assert app.in_order() == app.services


def test_a_circle_is_shown() -> None:
    services = {
        name: {"container": IMAGE, "depends_on": {other: {}}} for name, other in ("ab", "bc", "ca", "da")
    }
    with pytest.raises(InvalidInput, match="a -> b -> c -> a"):
        parse({"name": "shop", "services": services})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = [
    "name",
    "services",
    "networks",
    "volumes",
    "files",
    "container",
    "replicas",
    "container_name",
    "depends_on",
    "update",
    "condition",
    "required",
    "restart",
    "parallelism",
    "delay",
    "order",
    "monitor",
    "failure_action",
    "source",
    "target",
    "mode",
    "uid",
    "gid",
    "external",
    "request",
    "labels",
    "content",
    "secret",
    "web",
    "db",
]
nearly = st.recursive(
    st.sampled_from(["web", "db", "shop", "/x", "started", "", 0, 1, -1, True, None, 1e300, "\0", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
        | st.just(IMAGE)
    ),
    max_leaves=25,
)


@given(anything | nearly)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    try:
        assert isinstance(parse(document), App)
    except InvalidInput as refused:
        assert refused.remedy


@given(st.dictionaries(st.sampled_from(["web", "db"]), nearly), nearly)
def test_whatever_a_service_says_is_read_or_refused(services: Any, rest: Any) -> None:
    for name in services:
        if isinstance(services[name], dict):
            services[name] = {"container": IMAGE, **services[name]}
    try:
        parse({"name": "shop", "services": services, "files": rest})
    except InvalidInput as refused:
        assert refused.remedy


edges = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True))


def services_of(graph: dict[str, list[str]]) -> tuple[Service, ...]:
    return tuple(
        Service(name, IMAGE, depends_on=tuple(map(Dependency, others))) for name, others in graph.items()
    )


@given(edges)
def test_a_circle_is_found_exactly_where_no_order_is(graph: dict[str, list[str]]) -> None:
    services = services_of(graph)
    circle = cycle(services)
    if circle:
        assert circle[0] == circle[-1]
        assert all(after in graph[before] for before, after in zip(circle, circle[1:], strict=False))
    else:
        order = [service.name for service in App("shop", services).in_order()]
        assert sorted(order) == sorted(graph)
        for name, others in graph.items():
            assert all(order.index(other) < order.index(name) for other in others if other in graph)


def test_a_long_chain_is_no_matter() -> None:
    graph = {f"s{number}": [f"s{number + 1}"] for number in range(999)} | {"s999": []}
    services = services_of(graph)
    assert cycle(services) == ()
    assert App("shop", services).in_order()[0].name == "s999"


def test_an_app_has_so_many_containers_and_no_more() -> None:
    many = {f"s{number}": {"container": {"image": "i"}, "replicas": 1000} for number in range(6)}
    with pytest.raises(InvalidInput, match="6000 containers are more than 5000"):
        parse({"name": "a", "services": many})
    with pytest.raises(InvalidInput, match="scale: 6000 containers"):
        plan_options({"scale": dict.fromkeys(many, 1000)})
