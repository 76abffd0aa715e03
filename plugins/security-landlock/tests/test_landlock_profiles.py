"""The language of Landlock profiles, and what the driver writes into the spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.drivers.base import DriverContext
from multios.errors import InvalidInput, MultiosError, NotFound, Unsupported
from multios.supervisor.syscalls import kernel
from multios.testing.security import SecurityDriverSuite, make_spec
from multios_security_landlock import ANNOTATION, LandlockSecurity, rules

NEWEST = kernel.landlock_version() >= 6


class TestLandlock(SecurityDriverSuite):
    driver_type = LandlockSecurity
    profiles = (
        "default",
        "unconfined",
        "read=/usr write=/tmp",
        "bind=8080 connect=443,80",
        "scope=abstract,signal",
    )


@pytest.fixture
def driver(tmp_path: Path) -> LandlockSecurity:
    return LandlockSecurity(LandlockSecurity.Settings(), DriverContext(tmp_path, tmp_path))


def written(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(rules.read(text).annotation)
    return found


def test_files_that_no_word_names_are_out_of_reach_but_for_what_every_program_needs() -> None:
    paths = dict(map(tuple, written("read=/usr")["paths"]))  # type: ignore[call-overload]
    assert set(paths) == {"/usr", "/dev", "/proc", "/sys"}
    assert paths["/usr"] == 0b1101


def test_a_path_that_is_read_and_written_has_both_rights() -> None:
    paths = dict(map(tuple, written("read=/a write=/a/")["paths"]))  # type: ignore[call-overload]
    assert paths["/a"] == (1 << 15) - 1


def test_none_is_no_port() -> None:
    assert written("bind=none") == {"net": 1, "ports": []}
    assert written("connect=443 bind=443") == {"net": 3, "ports": [[443, 3]]}


@pytest.mark.parametrize(("text", "needed"), [("read=/", 3), ("connect=1", 4), ("read=/ scope=signal", 6)])
def test_the_least_kernel_is_that_of_the_newest_word(text: str, needed: int) -> None:
    assert rules.read(text).needs == needed


@pytest.mark.parametrize(
    "text", ["read=usr", "write=/a/../b", "bind=0", "connect=65536", "bind=http", "scope=all"]
)
def test_a_value_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        rules.read(text)


def test_a_misspelled_word_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        rules.read("raed=/usr")
    assert "read=" in caught.value.remedy


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        json.loads(rules.read(text).annotation)
    except MultiosError as error:
        assert error.cause and error.remedy


def test_an_older_kernel_refuses_what_it_cannot_enforce(
    driver: LandlockSecurity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(kernel), "landlock_version", lambda self: 2)
    with pytest.raises(Unsupported) as caught:
        driver.check("read=/usr")
    assert "ABI 3" in caught.value.cause
    assert driver.unenforced()
    assert ANNOTATION not in driver.apply(make_spec(), "default")["annotations"]


@pytest.mark.skipif(not NEWEST, reason="this kernel lacks Landlock ABI 6")
def test_by_default_only_a_container_on_the_hosts_network_is_confined(driver: LandlockSecurity) -> None:
    on_the_hosts = make_spec()
    on_its_own = make_spec()
    on_its_own["linux"]["namespaces"].append({"type": "network"})
    assert json.loads(driver.apply(on_the_hosts, "default")["annotations"][ANNOTATION]) == {"scope": 1}
    assert ANNOTATION not in driver.apply(on_its_own, "default")["annotations"]
