"""What a profile's words come to, as sets of capabilities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError
from multios.model.container_document import CAPABILITIES
from multios.testing.security import SecurityDriverSuite
from multios_security_capabilities import CapabilitiesSecurity
from multios_security_capabilities.profile import DEFAULT, read

NAMES = st.lists(st.sampled_from([*CAPABILITIES, "ALL"]), max_size=6)


class TestCapabilities(SecurityDriverSuite):
    driver_type = CapabilitiesSecurity
    profiles = ("default", "none", "unconfined", "drop=ALL add=CHOWN,NET_RAW", "add=cap_net_raw")


def test_the_default_is_eleven_and_none_of_them_is_the_hosts() -> None:
    held = read("default").held
    assert len(held) == 11
    assert not {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD"} & set(held)


def test_root_holds_all_and_keeps_nothing_over_a_change_of_user() -> None:
    sets = read("default").sets(0)
    assert (
        sets["bounding"] == sets["permitted"] == sets["effective"] == [f"CAP_{one}" for one in read("").held]
    )
    assert sets["inheritable"] == sets["ambient"] == []


def test_another_user_holds_only_what_was_added_by_name() -> None:
    sets = read("add=NET_RAW").sets(1000)
    assert sets["permitted"] == sets["effective"] == sets["inheritable"] == sets["ambient"] == ["CAP_NET_RAW"]
    assert "CAP_CHOWN" in sets["bounding"]


def test_all_is_taken_before_any_is_added() -> None:
    assert read("add=CHOWN drop=ALL").held == ("CHOWN",)
    assert read("add=ALL drop=CHOWN").held == tuple(one for one in CAPABILITIES if one != "CHOWN")
    assert read("drop=ALL").held == ()


def test_a_misspelled_capability_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        read("add=NET_RWA")
    assert "NET_RWA" in caught.value.cause and "NET_RAW" in caught.value.remedy


@given(NAMES, NAMES)
def test_what_is_dropped_is_never_held_and_what_is_added_is(added: list[str], dropped: list[str]) -> None:
    words = " ".join(
        f"{verb}={','.join(names)}" for verb, names in (("add", added), ("drop", dropped)) if names
    )
    held = set(read(words).held)
    assert not held & (set(dropped) - {"ALL"})
    assert set(added) - {"ALL"} - set(dropped) <= held
    assert held <= set(DEFAULT) | set(added) | (set(CAPABILITIES) if "ALL" in added else set())


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        read(text)
    except MultiosError as error:
        assert error.cause and error.remedy
