"""Quotas: which one counts, and how they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from engine_box import ALICE, BOB, ROOT, Box
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput, Refused
from multios.model.resources_section import parse_resources
from multios.quota_settings import Quota, QuotaSettings, read
from multios.settings import load


def limited(box: Box, **quotas: Quota) -> None:
    """Give every user the quota ``default``, or a user one of his own: ``u4101``."""
    object.__setattr__(
        box.engine.settings,
        "quotas",
        QuotaSettings(quotas.get("default", Quota()), {name[1:]: quota for name, quota in quotas.items() if name != "default"}),
    )  # fmt: skip


def test_a_users_own_goes_before_his_groups_and_these_before_the_default() -> None:
    settings = QuotaSettings(
        Quota(containers=1, running=1, pids=1),
        {"ada": Quota(containers=5)},
        {"a": Quota(running=2, containers=9), "b": Quota(running=3)},
    )
    assert settings.of(("ada", "4101"), ["a", "b", "c"]) == Quota(containers=5, running=3, pids=1)
    assert settings.of(("bob",), []) == settings.default


def test_the_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "containers.conf"
    file.write_text('[quotas.default]\nmemory = "1GB"\ncpus = "150%"\n[quotas.course.py-101]\ndisk = 5\n')
    quotas = load(file, {}).quotas
    assert (quotas.default.memory, quotas.default.cpus) == (1 << 30, 1.5)
    assert quotas.courses["py-101"].disk == 5


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"users": {}}, "did you mean|valid"), ({"default": 5}, "not a table"), ({"user": {"a/b": {}}}, "no user's table"),
        ({"user": {"ada": 5}}, "no user's table"), ({"default": {"containers": -1}}, "number of things"),
        ({"default": {"containers": True}}, "number of things"), ({"default": {"memry": 1}}, "memory"),
    ],
)  # fmt: skip
def test_what_is_no_quota_is_named(table: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        read(table, "quotas.")
    assert re.search(match, f"{wrong.value.cause} {wrong.value.remedy}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["default", "user", "memory", "cpus", "a"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["default", "user", "group", "course", "x"]), json_values, max_size=3))
def test_any_table_is_read_or_refused(table: dict[str, object]) -> None:
    try:
        assert isinstance(read(table, "quotas."), QuotaSettings)
    except InvalidInput:
        pass


def test_containers_are_counted_for_their_owner_only_and_root_has_no_quota(box: Box) -> None:
    limited(box, default=Quota(containers=2))
    for caller in (ALICE, ALICE, BOB, ROOT, ROOT, ROOT):
        box.create(caller)
    with pytest.raises(Refused, match="may have 2 containers and has 2"):
        box.create(ALICE)
    box.check_agreement()
    box.containers.delete(next(item for item in box.registry.all() if item.owner == ALICE.uid), force=False)
    box.create(ALICE)


def test_what_there_is_already_goes_on_when_a_quota_is_lowered(box: Box) -> None:
    container = box.started(ALICE)
    limited(box, default=Quota(containers=0, running=1, pids=100))
    box.containers.update(container, parse_resources({"pids_limit": 90}), None)
    with pytest.raises(Refused, match="processes"):
        box.containers.update(container, parse_resources({"pids_limit": 101}), None)
    assert box.now(container).config.resources.pids_limit == 90
    box.exits(container)
    box.containers.start(container)


def test_a_start_that_is_refused_leaves_nothing_and_a_failed_one_gives_its_claim_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(box, default=Quota(running=1))
    first, second = box.create(ALICE), box.create(ALICE)

    def failing(*words: object, **more: object) -> None:
        raise OSError(5, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(box.isolation, "create", failing)
        with pytest.raises(Exception, match="broken"):
            box.containers.start(first)
    box.containers.start(second)
    with pytest.raises(Refused, match="1 running containers and has 1"):
        box.containers.start(first)
    box.check_agreement()


def test_rows_show_use_and_limits(box: Box) -> None:
    limited(box, u4101=Quota(containers=3))
    box.started(ALICE, resources={"memory_limit": "8MB"})
    box.call("volumes.create", ALICE, name="v")
    (row,) = box.call("quotas.list", ALICE)
    shown = {item["quota"]: (item["used"], item["limit"]) for item in row["quotas"]}
    assert row["for"] == "user 4101"
    assert (
        shown["containers"] == (1, 3) and shown["memory"] == (8 << 20, None) and shown["volumes"] == (1, None)
    )
    assert [item["for"] for item in box.call("quotas.list", ROOT, all=True)] == ["user 4101"]
