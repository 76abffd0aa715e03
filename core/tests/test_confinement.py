"""The chain of security drivers over fakes: who is asked, with which profile, and what is refused at the door."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from engine_box import ROOT, Box
from hypothesis import given
from hypothesis import strategies as st

from multios.engine import confinement
from multios.engine.id_ranges import IdRanges
from multios.errors import Conflict, InvalidInput, NotFound
from multios.model import id_mapping, security_chain
from multios.model.container import DriverIdentity, Security
from multios.model.container_document import parse
from multios.model.mount import IdMap
from multios.settings import DriverDefaults, Settings


def created(box: Box, **document: Any) -> Any:
    answer = box.call("containers.create", ROOT, config={"image": "fake:1", **document})
    return box.registry.current(answer["id"])


def test_every_driver_of_the_chain_is_recorded_in_order(box: Box) -> None:
    container = created(box, drivers={"security": "noop,fake"})
    keys = [key for key in container.drivers if key.startswith("security")]
    assert keys == ["security.noop", "security.fake"]
    names = [driver.name for driver in box.engine.drivers.securities(container)]
    assert names == ["noop", "fake"]


def test_none_is_an_empty_chain(box: Box) -> None:
    container = created(box, drivers={"security": "none"})
    assert box.engine.drivers.securities(container) == []


def test_a_container_of_before_there_were_chains_keeps_its_driver_and_its_capabilities(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = created(box)
    asked: list[str] = []
    noop = box.engine.drivers.security_named("noop", parse({"image": "fake:1"}))
    monkeypatch.setattr(box.engine.drivers, "security_named", lambda name, config: asked.append(name) or noop)
    old = {key: value for key, value in container.drivers.items() if not key.startswith("security")}
    old["security"] = DriverIdentity("security", "fake", "multios-core", "0.1.0")
    container = replace(container, drivers=old)
    assert [driver.name for driver in box.engine.drivers.securities(container)] == ["noop", "fake"]
    assert asked == ["capabilities"]


def test_a_driver_gets_the_profile_of_its_own_name_and_default_where_there_is_none(box: Box) -> None:
    fake = box.engine.drivers.security_named("fake", parse({"image": "fake:1"}))
    for profiles, expected in (({}, "default"), ({"fake": '{"a": 1}'}, '{"a": 1}')):
        container = created(box, security={"profiles": profiles})
        box.call("containers.start", ROOT, ref=container.id)
        assert fake.calls[-1] == ("apply", expected)  # type: ignore[attr-defined]


def test_a_profile_for_a_driver_outside_of_the_chain_is_refused(box: Box) -> None:
    with pytest.raises(InvalidInput, match="not in the container's chain"):
        created(box, security={"profiles": {"noop": "x"}})
    with pytest.raises(NotFound, match="absent"):
        created(box, security={"profiles": {"absent": "x"}})
    created(box, security={"profiles": {"noop": "unconfined"}})


def test_capabilities_cannot_be_added_without_their_driver_but_may_be_dropped(box: Box) -> None:
    with pytest.raises(InvalidInput, match="'capabilities'"):
        created(box, security={"capabilities": ["KILL"]})
    with pytest.raises(InvalidInput, match="'capabilities'"):
        created(box, security={"privileged": True})
    created(box, security={"drop_capabilities": ["KILL"]})


def test_the_built_in_chain_is_what_is_installed_of_it(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = box.engine.drivers
    drivers.reload(replace(box.settings.defaults, security=""))
    monkeypatch.setattr(box.engine.catalog, "names", lambda kind: ["landlock", "other", "seccomp"])
    assert drivers.security_chain({}) == ("seccomp", "landlock")
    assert not drivers.chain_is_chosen({}) and drivers.chain_is_chosen({"security": "fake"})


def test_the_words_for_capabilities_come_from_the_request() -> None:
    security = Security(capabilities=("NET_RAW",), drop_capabilities=("ALL",))
    assert confinement.asked(security) == {"capabilities": "add=NET_RAW drop=ALL"}
    assert confinement.asked(Security(seccomp_profile="default", apparmor_profile="default")) == {}


@pytest.mark.parametrize(
    "security",
    [
        {"profiles": {"seccomp": "strict"}, "seccomp_profile": "default"},
        {"profiles": {"capabilities": "none"}, "capabilities": ["KILL"]},
        {"profiles": {"a,b": "x"}},
        {"profiles": {"none": "x"}},
    ],
    ids=str,
)
def test_profiles_that_contradict_another_field_are_refused(security: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="security.profiles"):
        parse({"image": "i", "security": security})


def test_profiles_of_seccomp_and_apparmor_are_the_older_fields() -> None:
    profiles = {"seccomp": "strict", "apparmor": "course", "other": "x"}
    security = parse({"image": "i", "security": {"profiles": profiles}}).security
    assert (security.seccomp_profile, security.apparmor_profile) == ("strict", "course")
    assert security.profiles == {"other": "x"}


@given(st.text(max_size=40))
def test_a_chain_is_read_or_refused_and_reads_back(text: str) -> None:
    try:
        names = security_chain.parse(text, "here")
    except InvalidInput as error:
        assert error.cause.startswith("here") and error.remedy
    else:
        assert security_chain.parse(security_chain.write(names), "here") == names
        assert len(set(names)) == len(names)


def test_a_default_chain_stands_for_all_its_drivers() -> None:
    assert Settings().default_drivers("security") == security_chain.BUILT_IN
    chosen = Settings(defaults=DriverDefaults(security="seccomp,landlock"))
    assert chosen.default_drivers("security") == ("seccomp", "landlock")
    assert Settings().default_drivers("storage") == ("overlay",)


@given(st.one_of(st.text(max_size=30), st.from_regex(r"map=\d{1,10}:\d{1,10}:\d{1,10}", fullmatch=True)))
def test_a_user_namespace_is_read_or_refused_and_never_the_hosts_root(text: str) -> None:
    try:
        read = id_mapping.parse(text)
    except InvalidInput as error:
        assert error.cause and error.remedy
    else:
        if read.id_map is not None:
            assert read.id_map.start > 0 and read.id_map.start + read.id_map.size <= 2**32 - 1


def test_ids_by_name_never_overlap_the_engines_own_or_anothers(box: Box) -> None:
    ranges = IdRanges(box.engine.database, 1 << 20, 2)
    with pytest.raises(Conflict, match="engine's own"):
        ranges.claim("a", IdMap((1 << 20) + 65536, 5000), ())
    with pytest.raises(Conflict, match="'web'"):
        ranges.claim("a", IdMap(3000, 5000), [("web", IdMap(7999, 10))])
    ranges.claim("a", IdMap(3000, 5000), ())
    with pytest.raises(Conflict):  # not on record yet: two creates at once
        ranges.claim("b", IdMap(7999, 5000), ())
    ranges.free("a")
    ranges.claim("b", IdMap(7999, 5000), ())
