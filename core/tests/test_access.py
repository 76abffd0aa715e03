"""The matrix user × action × whose: every method of the API has a line, and does what its line says."""

from __future__ import annotations

import pwd
from typing import Any

import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.api import access
from multios.api.access import METHODS, Reach
from multios.api.methods import table
from multios.engine import containers
from multios.engine.caller import Caller
from multios.errors import MultiosError, NotFound, Refused

PARAMETERS: dict[str, dict[str, Any]] = {
    "containers.copy_in": {"path": "/x"},
    "containers.copy_out": {"path": "/x"},
    "containers.exec": {"command": ["true"], "detach": True},
    "containers.forward": {"ports": [{"container": 80}]},
    "containers.rename": {"name": "other"},
    "containers.restart": {"timeout": 0},
    "containers.stop": {"timeout": 0},
    "containers.update": {"resources": {"pids_limit": 5}},
    "containers.withdraw": {"ports": [{"container": 80}]},
    "networks.connect": {"ref": "hers", "network": "hers"},
    "networks.disconnect": {"ref": "hers", "network": "hers"},
}
OWN = sorted(name for name, line in METHODS.items() if line.reach is Reach.OWN)


def of_reach(reach: Reach) -> list[str]:
    return sorted(name for name, line in METHODS.items() if line.reach is reach)


@pytest.fixture
def hers(box: Box) -> Box:
    """Alice has a running container, a network and a volume, all called ``hers``."""
    box.call("networks.create", ALICE, name="hers")
    box.call("volumes.create", ALICE, name="hers")
    box.started(ALICE, name="hers", volumes=[{"volume": "hers", "container": "/v"}])
    return box


def outcome(box: Box, method: str, caller: Caller) -> str:
    """What calling a method on what is called ``hers`` comes to: ``done`` or an error's cause."""
    params = {"ref": "hers", "name": "hers", **PARAMETERS.get(method, {})}
    try:
        box.call(method, caller, **params)
    except MultiosError as error:
        return error.cause
    return "done"


def test_every_method_has_a_line_and_every_line_a_method(box: Box) -> None:
    assert set(table(box.engine)) == set(METHODS)


def test_what_is_anothers_does_not_exist(hers: Box) -> None:
    before = hers.holdings()
    for method in OWN:
        assert outcome(hers, method, BOB).startswith("no such "), method
        assert hers.holdings() == before


@pytest.mark.parametrize("method", OWN)
def test_its_owner_and_administrators_find_it(
    hers: Box, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "KILL_SECONDS", 0.1)  # this driver never ends by itself
    if method in ("containers.wait", "containers.attach"):
        pytest.skip("this driver never ends by itself, and is waited for")
    is_last = method.endswith(("rename", "remove", "delete"))
    assert not outcome(hers, method, ROOT if is_last else ALICE).startswith("no such ")
    if not is_last:
        assert not outcome(hers, method, ROOT).startswith("no such ")


def test_an_id_or_a_part_of_it_helps_no_stranger(hers: Box) -> None:
    container = next(item for item in hers.registry.all() if item.name == "hers")
    for method in OWN:
        if not method.startswith("containers."):
            continue
        for ref in (container.id, container.id[:12], container.id[:1]):
            params, nobodys = PARAMETERS.get(method, {}), "g" * len(ref)
            with pytest.raises(NotFound) as refused:
                hers.call(method, BOB, **{**params, "ref": ref})
            with pytest.raises(NotFound) as of_nobody:
                hers.call(method, BOB, **{**params, "ref": nobodys})
            assert refused.value.cause.replace(repr(ref), "") == of_nobody.value.cause.replace(
                repr(nobodys), ""
            )
            assert refused.value.remedy == of_nobody.value.remedy


def test_what_is_for_administrators_is_refused_to_users(hers: Box) -> None:
    for method in of_reach(Reach.ADMINISTRATOR):
        params = {"ref": "hers", "name": "hers"}
        with pytest.raises(Refused):
            hers.call(method, ALICE, **params)


def test_lists_leave_out_what_is_anothers(hers: Box) -> None:
    hers.call("system.events", BOB)
    assert not any("hers" in str(event) for event in hers.items)
    hers.call("containers.stats", BOB)
    assert hers.items == [[]]
    for method in ("containers.list", "networks.list", "volumes.list", "quotas.list"):
        assert "hers" not in str(hers.call(method, BOB, all=method == "containers.list"))
        assert "hers" in str(hers.call(method, ALICE)) or method == "quotas.list"
    for method in ("containers.prune", "networks.prune", "volumes.prune"):
        assert hers.call(method, BOB) == {"removed": []}
    assert hers.call("system.info", BOB)["containers"]["running"] == 0


def test_what_is_made_is_the_callers(box: Box) -> None:
    for method, params in (
        ("containers.create", {"config": {"name": "new", "image": "fake:1"}}),
        ("networks.create", {"name": "new"}),
        ("volumes.create", {"name": "new"}),
    ):
        box.call(method, BOB, **params)
        kind = method.partition(".")[0]
        with pytest.raises(NotFound):
            box.call(f"{kind}.inspect", ALICE, ref="new", name="new")
        assert box.call(f"{kind}.inspect", BOB, ref="new", name="new")


def test_an_administrator_makes_a_container_for_a_user_with_that_users_rights(box: Box) -> None:
    account = pwd.getpwnam("games")
    games = Caller(account.pw_uid, account.pw_gid)
    box.call("containers.create", ROOT, config={"name": "his", "image": "fake:1"}, owner="games")
    assert box.call("containers.inspect", games, ref="his")
    for other in (ALICE, BOB):
        with pytest.raises(NotFound):
            box.call("containers.inspect", other, ref="his")
    box.call("networks.create", ROOT, name="roots")
    for config in (
        {"security": {"privileged": True}},
        {"security": {"capabilities": ["NET_ADMIN"]}},
        {"networking": {"network": "roots"}},
        {"volumes": [{"host": "/root", "container": "/r"}]},
    ):
        with pytest.raises((Refused, NotFound)):
            box.call(
                "containers.create", ROOT, config={"name": "x", "image": "fake:1", **config}, owner="games"
            )
    assert [item.name for item in box.registry.all() if item.owner == games.uid] == ["his"]


def test_nobody_else_makes_things_for_another_user_not_even_for_himself_by_name(box: Box) -> None:
    for owner in ("games", "root", "no-such-user"):
        with pytest.raises(Refused):
            box.call("containers.create", ALICE, config={"name": "x", "image": "fake:1"}, owner=owner)
    with pytest.raises(NotFound, match="no-such-user"):
        box.call("containers.create", ROOT, config={"name": "x", "image": "fake:1"}, owner="no-such-user")
    assert not box.registry.all()


def test_a_method_without_a_line_is_audited_and_nobodys() -> None:
    assert access.of("plugins.conjure") == access.Access(Reach.ADMINISTRATOR, True)
