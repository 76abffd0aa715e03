"""Bundles of confinement: read from settings, joined with a request, and what an ordinary user may not loosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.engine import security_profiles
from multios.engine.caller import Caller
from multios.errors import InvalidInput, NotFound, Refused
from multios.model.container import ContainerConfig, Resources
from multios.model.container_document import CAPABILITIES, parse
from multios.settings import SecuritySettings, Settings, load

ROOT, ALICE = Caller(0, 0), Caller(4101, 4101)
OWN = """
[security_profiles.quiz]
summary = "with one place to ask"
network = "allow-list"
egress_allow = ["192.0.2.0/24"]
pids_limit = 8
[security_profiles.tools]
capabilities = ["net_admin"]
administrators_only = true
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "conf").write_text(OWN)
    return load(tmp_path / "conf", {})


def joined(settings: Settings, profile: str, caller: Caller = ROOT, **document: Any) -> ContainerConfig:
    security = {**({"profile": profile} if profile else {}), **document.pop("security", {})}
    config = parse({"image": "i", "security": security, **document})
    return security_profiles.joined(config, caller, settings)


def test_without_a_bundle_the_request_stays_as_it_is(settings: Settings) -> None:
    config = parse({"image": "i", "name": "n"})
    assert security_profiles.joined(config, ALICE, settings) is config


def test_strict_comes_to_what_its_record_says(settings: Settings) -> None:
    config = joined(settings, "strict", ALICE)
    assert config.security.read_only is True and config.resources.pids_limit == 256
    assert "ALL" in config.security.drop_capabilities and len(config.security.capabilities) == 6
    assert config.security.seccomp_profile == "strict" and config.security.profile == "strict"


def test_what_the_request_says_goes_before_the_bundle(settings: Settings) -> None:
    security = {"read_only": False, "capabilities": ["NET_RAW"], "drop_capabilities": ["KILL"]}
    config = joined(settings, "strict", security=security, resources={"pids_limit": 1000})
    assert config.security.read_only is False and config.resources.pids_limit == 1000
    assert "NET_RAW" in config.security.capabilities and "KILL" not in config.security.capabilities


def test_a_request_that_drops_all_gets_none_of_the_bundles(settings: Settings) -> None:
    config = joined(settings, "lab", security={"drop_capabilities": ["ALL"], "capabilities": ["CHOWN"]})
    assert config.security.capabilities == ("CHOWN",)


@pytest.mark.parametrize(
    "document",
    [
        {"security": {"read_only": False}},
        {"resources": {"pids_limit": 257}},
        {"resources": {"pids_limit": -1}},
        {"resources": {"pids_limit": 0}},
        {"networking": {"egress_allow": ["0.0.0.0/0"]}},
    ],
    ids=str,
)
def test_an_ordinary_user_may_not_loosen_a_bundle(settings: Settings, document: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="'exam' does not allow"):
        joined(settings, "exam", ALICE, **document)
    joined(settings, "exam", ROOT, **document)


def test_an_ordinary_user_may_be_stricter_than_a_bundle(settings: Settings) -> None:
    config = joined(
        settings, "strict", ALICE, security={"drop_capabilities": ["ALL"]}, resources={"pids_limit": 10}
    )
    assert config.security.capabilities == () and config.resources.pids_limit == 10


def test_an_allow_list_without_an_entry_is_no_network(settings: Settings) -> None:
    assert joined(settings, "exam", ALICE).networking.networks == ("none",)
    assert joined(settings, "quiz", ALICE).networking.egress_allow == ("192.0.2.0/24",)
    own = {"networking": {"egress_allow": ["192.0.2.0/24"]}}
    assert joined(settings, "quiz", ALICE, **own).networking.networks == ("default",)


@pytest.mark.parametrize(
    "networking", [{"network": "host"}, {"ports": [80]}, {"address": "10.0.0.2"}], ids=str
)
def test_a_network_that_a_bundle_does_not_give_cannot_be_asked_for(
    settings: Settings, networking: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        joined(settings, "exam", ROOT, networking=networking)


def test_an_ordinary_user_cannot_connect_a_container_of_an_exam_later(settings: Settings) -> None:
    config = joined(settings, "exam", ALICE)
    with pytest.raises(Refused):
        security_profiles.refuse_network(config, ALICE, settings)
    security_profiles.refuse_network(config, ROOT, settings)
    security_profiles.refuse_network(joined(settings, "lab", ALICE), ALICE, settings)


def test_an_ordinary_user_cannot_raise_a_bundles_limit_later(settings: Settings) -> None:
    security = joined(settings, "strict", ALICE).security
    with pytest.raises(Refused, match="256"):
        security_profiles.refuse_more_processes(security, Resources(pids_limit=1000), ALICE, settings)
    security_profiles.refuse_more_processes(security, Resources(pids_limit=100), ALICE, settings)
    security_profiles.refuse_more_processes(security, Resources(pids_limit=1000), ROOT, settings)


def test_where_the_administrator_sets_a_bundle_nobody_else_chooses_another(settings: Settings) -> None:
    policy = replace(settings, security=SecuritySettings(profile="strict"))
    assert joined(policy, "", ALICE).security.profile == "strict"
    assert joined(policy, "strict", ALICE).security.profile == "strict"
    with pytest.raises(Refused, match="'strict'"):
        joined(policy, "lab", ALICE)
    assert joined(policy, "lab", ROOT).security.profile == "lab"
    assert joined(policy, "", ROOT, security={"privileged": True}).security.profile == ""


def test_a_bundle_may_be_for_administrators_only(settings: Settings) -> None:
    with pytest.raises(Refused, match="administrators"):
        joined(settings, "tools", ALICE)
    assert joined(settings, "tools", ROOT).security.capabilities == ("NET_ADMIN",)


def test_privileged_and_a_bundle_exclude_each_other(settings: Settings) -> None:
    with pytest.raises(InvalidInput):
        joined(settings, "lab", security={"privileged": True})


def test_an_unknown_bundle_is_answered_with_the_nearest(settings: Settings) -> None:
    with pytest.raises(NotFound) as caught:
        joined(settings, "quizz")
    assert "'quiz'" in caught.value.remedy


def test_a_templates_capabilities_yield_to_a_bundle_that_takes_all(settings: Settings) -> None:
    strict, lab = joined(settings, "strict").security, joined(settings, "lab").security
    assert security_profiles.template_capabilities(strict, ("NET_ADMIN",)) == ()
    assert security_profiles.template_capabilities(lab, ("NET_ADMIN",)) == ("NET_ADMIN",)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[security_profiles]\nx = 1", "security_profiles.x"),
        ("[security_profiles.X]", "security_profiles.X"),
        ("[security_profiles.x]\npids = 1", "x.pids"),
        ('[security_profiles.x]\ncapabilities = ["NOPE"]', "x.capabilities"),
        ('[security_profiles.x]\nnetwork = "some"', "x.network"),
        ('[security_profiles.x]\negress_allow = ["not an address!"]', "x.egress_allow"),
        ("[security_profiles.x]\npids_limit = 0", "pids_limit"),
        ("[security_profiles.x]\nprofiles = { seccomp = 1 }", "x.profiles"),
    ],
)
def test_a_bundle_that_is_wrong_is_refused_by_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    (tmp_path / "conf").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path / "conf", {})
    assert field in caught.value.cause and "conf" in caught.value.cause


NAMES = st.lists(st.sampled_from(CAPABILITIES), max_size=5)


@given(NAMES, st.sampled_from(["lab", "strict", "exam"]))
def test_what_a_request_drops_no_bundle_gives_back(dropped: list[str], profile: str) -> None:
    config = joined(Settings(), profile, ALICE, security={"drop_capabilities": dropped})
    assert not set(config.security.capabilities) & set(dropped)
    assert set(dropped) <= set(config.security.drop_capabilities)
