"""Every method of the API: what hostile parameters and ordinary users get."""

from __future__ import annotations

import os
import random
import tempfile
from typing import Any

import engine_box
import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.api.methods import table
from multios.engine import containers, exits, registry
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, Unsupported
from multios.model.container import Status

PARAMETERS = [
    "ref",
    "refs",
    "config",
    "attach",
    "stdin",
    "timeout",
    "signal",
    "force",
    "volumes",
    "command",
    "terminal",
    "environment",
    "user",
    "working_directory",
    "privileged",
    "detach",
    "condition",
    "filters",
    "limit",
    "all",
    "since",
    "follow",
    "resources",
    "restart_policy",
    "name",
    "kind",
    "path",
    "driver",
    "subnet",
    "gateway",
    "internal",
    "options",
    "labels",
    "reference",
    "changes",
    "registry",
    "destination",
    "platform",
]
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x" * 5000, "a\0b", "\ud800", "../../x", "999",
    [], [1], [[]], ["\0"], {}, {"a": 1}, {"": None}, {"a": {"b": []}}, {"id": 3}, {"status": [None]},
)  # fmt: skip


def test_hostile_parameters_are_never_a_fault_of_the_engine(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "KILL_SECONDS", 0.0)
    monkeypatch.setattr(registry, "ALIVE_CHECK_SECONDS", 0.001)
    monkeypatch.setattr(exits, "ALIVE_CHECK_SECONDS", 0.001)
    monkeypatch.setattr(engine_box.Recorded, "alive", lambda call: False)
    methods = table(box.engine)
    dice = random.Random(7)
    for method in sorted(set(methods) - {"system.doctor", "system.features", "plugins.list", "plugins.show"}):
        for _ in range(40):
            if not any(item.name == "web" and item.status == Status.RUNNING for item in box.registry.all()):
                for left in box.registry.all():
                    box.containers.delete(left, force=True)
                box.started(name="web")
            params = {name: dice.choice(HOSTILE) for name in dice.sample(PARAMETERS, 8)}
            params["follow"] = params["stream"] = False
            if dice.random() < 0.6:
                params["ref"] = "web"
            params["timeout"] = params.get("timeout") or 0  # a fake does not end by itself
            try:
                box.call(method, dice.choice((ROOT, ALICE)), **params)
            except MultiosError as error:
                assert error.code != "error", (method, params)
            except Exception as error:
                raise AssertionError(f"{method}({params}): {type(error).__name__}: {error}") from error
    box.settle()


@pytest.mark.parametrize("value", [v for v in HOSTILE if v is not None], ids=lambda value: repr(value)[:20])
def test_a_hostile_configuration_is_refused_by_field(value: Any) -> None:
    from multios.model import container_document, networking_section, resources_section

    base = {"image": "fake:1"}
    for field in container_document._TOP:
        try:
            container_document.parse({**base, field: value})
        except InvalidInput:
            pass
    for section, readers in (
        ("resources", resources_section._RESOURCES),
        ("networking", networking_section._NETWORKING),
        ("security", container_document._SECURITY),
    ):
        for field in readers:
            try:
                container_document.parse({**base, section: {field: value}})
            except InvalidInput:
                pass


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"networking": {"network": "none", "ports": [80]}}, "networking.ports"),
        ({"networking": {"network": "host", "address": "10.0.0.2"}}, "networking.address"),
        ({"networking": {"network": "container:a", "ports": [80]}}, "networking.ports"),
        ({"networking": {"network": "container:a", "dns": ["192.0.2.1"]}}, "networking.dns"),
        ({"networking": {"networks": ["container:a", "default"]}}, "'container:NAME' stand alone"),
        ({"networking": {"network": "container:"}}, "container"),
        ({"networking": {"network": "container:../a"}}, "container"),
        ({"networking": {"network": "none", "extra_hosts": {"a": "host-gateway"}}}, "networking.extra_hosts"),
        ({"auto_remove": True, "restart_policy": "always"}, "auto_remove"),
        ({"networking": {"extra_hosts": {"a\nb": "10.0.0.2"}}}, "extra_hosts"),
        ({"networking": {"dns": ["fe80::1%a\nb"]}}, "dns"),
        ({"restart_policy": "on-failure:" + "9" * 5000}, "restart_policy"),
        ({"resources": {"memory_limit": float("inf")}}, "memory_limit"),
        ({"environment": {"A": "\ud800"}}, "environment.A"),
    ],
)
def test_what_cannot_be_kept_is_refused(document: dict[str, Any], field: str) -> None:
    from multios.model.container_document import parse

    with pytest.raises(InvalidInput, match=field):
        parse({"image": "fake:1", **document})


# --- ordinary users --------------------------------------------------------------------------------------

REFUSED: tuple[dict[str, Any], ...] = (
    {"security": {"privileged": True}},
    {"security": {"capabilities": ["SYS_ADMIN"]}},
    {"security": {"no_new_privileges": False}},
    {"security": {"seccomp_profile": "unconfined"}},
    {"security": {"apparmor_profile": "unconfined"}},
    {"security": {"user_namespace": "host"}},
    {"security": {"user_namespace": "map=0:3000000:5000"}},
    {"security": {"profiles": {"landlock": "read=/"}}},
    {"security": {"profiles": {"capabilities": "unconfined"}}},
    {"networking": {"network": "host"}},
    {"networking": {"ports": [{"container": 80, "host": 80}]}},
    {"volumes": [{"host": "/etc", "container": "/mnt"}]},
    {"devices": [{"host": "/dev/null"}]},
    {"drivers": {"security": "noop"}},
    {"drivers": {"isolation": "noop"}},
    {"driver_options": {"storage": {"fail": "x"}}},
)


@pytest.mark.parametrize("document", REFUSED, ids=str)
def test_an_ordinary_user_cannot_ask_for_the_hosts_rights(box: Box, document: dict[str, Any]) -> None:
    for method in ("containers.create", "containers.run", "containers.validate"):
        with pytest.raises(Refused):
            box.call(method, ALICE, config={"image": "fake:1", **document})
    assert box.registry.all(removing=True) == []


def test_anothers_container_does_not_exist(box: Box) -> None:
    box.started(ALICE, name="hers")
    kind = "containers."
    for method in sorted(name for name in table(box.engine) if name.startswith(kind)):
        if method in (kind + name for name in ("create", "run", "list", "prune", "validate", "stats")):
            continue
        words = {"ref": "hers", "name": "mine", "command": ["true"], "path": "/"}
        with pytest.raises(NotFound, match="no such container"):
            box.call(method, BOB, **words)
    with pytest.raises(NotFound):
        box.call("containers.stats", BOB, refs=["hers"])
    assert box.call("containers.list", BOB, all=True) == []
    assert box.call("containers.prune", BOB) == {"removed": []}
    box.call("containers.stats", BOB)
    assert box.items == [[]]


def test_how_anothers_removed_container_ended_is_not_told(box: Box) -> None:
    container = box.started(ALICE, auto_remove=True)
    box.exits(container, 3)
    with pytest.raises(NotFound):
        box.call("containers.wait", BOB, ref=container.id)
    assert box.call("containers.wait", ALICE, ref=container.id)["exit_code"] == 3


def test_users_hear_of_their_own_containers_even_after_their_end(box: Box) -> None:
    container = box.started(ALICE, auto_remove=True)
    box.exits(container)
    box.call("system.events", ALICE)
    assert [event["action"] for event in box.items] == ["create", "start", "die", "delete"]
    box.call("system.events", BOB)
    assert box.items == []


def test_images_are_the_administrators_to_change(box: Box) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(Refused):
            box.call("images.import", ALICE, [file.fileno()], reference="debian:12")
    with pytest.raises(Refused):
        box.call("images.remove", ALICE, ref="fake:1")


def test_networks_of_others_do_not_exist_and_the_default_one_tells_only_of_ones_own(box: Box) -> None:
    box.call("networks.create", ALICE, name="hers", subnet="10.198.0.0/24")
    box.started(ALICE)
    with pytest.raises(NotFound):
        box.call("networks.inspect", BOB, name="hers")
    with pytest.raises(NotFound):
        box.call("networks.remove", BOB, name="hers")
    with pytest.raises(Refused):
        box.call("networks.remove", ALICE, name="default")
    with pytest.raises(NotFound):
        box.create(BOB, networking={"network": "hers"})
    assert box.call("networks.inspect", BOB, name="default")["endpoints"] == []
    assert box.call("networks.inspect", ALICE, name="default")["containers"] == 1
    assert [item["name"] for item in box.call("networks.list", BOB)] == ["default"]


def test_volumes_of_others_do_not_exist(box: Box) -> None:
    box.call("volumes.create", ALICE, name="hers")
    for method in ("volumes.inspect", "volumes.remove"):
        with pytest.raises(NotFound):
            box.call(method, BOB, name="hers")
    assert box.call("volumes.list", BOB) == []
    assert box.call("volumes.prune", BOB) == {"removed": []}
    box.containers.start(box.create(BOB, volumes=[{"volume": "hers", "container": "/data"}]))
    assert [item["owner"] for item in box.call("volumes.list", BOB)] == [BOB.uid]
    assert box.call("volumes.inspect", ALICE, name="hers")["containers"] == []
    box.check_agreement()


def test_a_privileged_exec_is_refused_not_weakened(box: Box) -> None:
    box.started(ALICE, name="hers")
    with pytest.raises(Refused):
        box.call("containers.exec", ALICE, ref="hers", command=["true"], privileged=True, detach=True)


# --- answers ---------------------------------------------------------------------------------------------


def test_run_with_auto_remove_leaves_nothing_when_its_start_fails(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = box.holdings()

    def failing(container_id: str) -> None:
        raise Conflict("it does not start")

    monkeypatch.setattr(box.isolation, "start", failing)
    with pytest.raises(Conflict, match="does not start"):
        box.call("containers.run", config={"image": "fake:1", "name": "once", "auto_remove": True})
    assert box.holdings() == before


def test_stats_leave_out_a_container_that_ends_meanwhile(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started()

    def stats(container_id: str) -> Any:
        box.isolation.kill(container_id, 9)
        raise NotFound("no such cgroup")

    monkeypatch.setattr(box.isolation, "stats", stats)
    box.call("containers.stats", refs=[container.id])
    assert box.items == [[]]


def test_top_of_a_driver_that_cannot_is_unsupported(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.started(name="web")
    assert box.call("containers.top", ref="web")["processes"] == []
    monkeypatch.setattr(type(box.isolation), "capabilities", frozenset())
    with pytest.raises(Unsupported):
        box.call("containers.top", ref="web")


def test_logs_come_oldest_first_and_strange_files_are_left_alone(box: Box) -> None:
    container = box.create()
    directory = box.containers.directory(container)
    for name in ("log", "log.1", "log.2", "log.1.gz", "log.x"):
        (directory / name).write_text(name)
    answer = box.call("containers.logs", ref=container.name)
    try:
        assert [os.read(item, 10).decode() for item in answer.descriptors] == ["log.2", "log.1", "log"]
    finally:
        for item in answer.descriptors:
            os.close(item)


def test_a_log_of_more_files_than_one_frame_takes_is_handed_over_whole(box: Box) -> None:
    container = box.create(log={"max_files": 100})
    directory = box.containers.directory(container)
    names = ["log", *(f"log.{number}" for number in range(1, 40))]
    for name in names:
        (directory / name).write_text(name)
    answer = box.call("containers.logs", ref=container.name)
    handed_over = [*box.item_descriptors, *answer.descriptors]
    try:
        assert [os.read(item, 10).decode() for item in handed_over] == names[::-1]
        assert (box.items, answer.value["files"]) == ([{"files": 16}, {"files": 16}], 40)
    finally:
        for item in handed_over:
            os.close(item)


def test_prune_removes_what_does_not_run_but_no_build(box: Box) -> None:
    box.started(), box.create(labels={"org.multios.build": "x"})
    ended = box.create()
    assert box.call("containers.prune") == {"removed": [ended.id]}
    assert len(box.registry.all()) == 2


def test_list_shows_what_runs_unless_asked_for_more(box: Box) -> None:
    running, created = box.started(), box.create()
    assert [item["id"] for item in box.call("containers.list")] == [running.id]
    assert [item["id"] for item in box.call("containers.list", all=True)] == [created.id, running.id]
    assert [item["id"] for item in box.call("containers.list", limit=1)] == [created.id]
    shown = box.call("containers.list", filters={"status": ["created"]})
    assert [item["id"] for item in shown] == [created.id]
    with pytest.raises(InvalidInput, match="statsu"):
        box.call("containers.list", filters={"statsu": "x"})


def test_inspect_tells_the_whole_record_while_it_runs_and_after(box: Box) -> None:
    container = box.started(volumes=[{"volume": "data", "container": "/data"}], tmpfs=[{"container": "/t"}])
    shown = box.call("containers.inspect", ref=container.id[:12])
    assert shown["State"]["Running"] and shown["NetworkSettings"]["Networks"]["default"]["IPAddress"]
    assert [item["Type"] for item in shown["Mounts"]] == ["volume", "tmpfs"]
    assert shown["Mounts"][0]["Source"].endswith("/data/_data")
    box.exits(container, 2)
    shown = box.call("containers.inspect", ref=container.name)
    assert (shown["State"]["Status"], shown["State"]["ExitCode"]) == (Status.EXITED, 2)
