"""Sources of bind mounts: whose rights open them, and which ids they show."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import open_descriptors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.engine import host_paths
from multios.engine.caller import Caller
from multios.engine.host_paths import Account, as_user, id_mappings, open_source
from multios.errors import InvalidInput, Refused, Unavailable
from multios.model.container import Volume
from multios.model.mount import IdMap
from multios.supervisor.syscalls import kernel

pytestmark = pytest.mark.needs_root
ADA = Account(4101, 4101, (4101, 5000), "ada")
As = Callable[[Account], None]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> As:
    """Say what the host's database knows."""

    def become(known: Account) -> None:
        monkeypatch.setattr(host_paths, "account_of", lambda uid: known)

    become(ADA)
    return become


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that everybody may pass through."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711)
    return tmp_path


def opened(path: Path, mode: str = "ro") -> None:
    os.close(open_source(Volume("bind", str(path), "/w", mode), Caller(ADA.uid, ADA.gid)))


def test_who_leaves_a_group_loses_its_directories(account: As, place: Path) -> None:
    shared = place / "course"
    shared.mkdir()
    os.chown(shared, 0, 5000)
    shared.chmod(0o750)
    opened(shared)
    account(Account(4101, 4101, (4101,), "ada"))
    with pytest.raises(Refused, match="you may not read"):
        opened(shared)


def test_a_mount_that_may_be_written_needs_a_source_that_may(account: As, place: Path) -> None:
    (place / "file").write_text("")
    opened(place / "file")
    with pytest.raises(Refused, match="write to"):
        opened(place / "file", "rw")


def test_the_daemons_own_descriptors_cannot_be_named(account: As, place: Path) -> None:
    (place / "secret").write_text("secret")
    with (place / "secret").open() as file:
        for name in (
            f"/proc/self/fd/{file.fileno()}",
            f"/proc/{os.getpid()}/fd/{file.fileno()}",
            "/proc/self/root",
        ):
            with pytest.raises((InvalidInput, Refused)):
                opened(Path(name))


def test_the_calling_thread_keeps_its_rights_and_the_users_has_none(account: As) -> None:
    def rights() -> tuple[int, int, list[int], int]:
        return os.geteuid(), os.getegid(), os.getgroups(), kernel.capget()[0]

    before = rights()
    assert as_user(ADA, rights) == (ADA.uid, ADA.gid, list(ADA.groups), 0)
    assert rights() == before


def test_a_refused_path_leaves_no_descriptor_open(account: As, place: Path) -> None:
    (place / "secret").write_text("")
    (place / "secret").chmod(0o600)
    before = open_descriptors.number()
    for _ in range(5):
        with pytest.raises(Refused):
            opened(place / "secret")
    open_descriptors.assert_no_more_than(before)


def test_a_path_that_hangs_is_given_up_and_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_paths, "PATIENCE", 0.01)
    hang = threading.Event()
    for _ in range(16):
        with pytest.raises(Unavailable, match="does not answer"):
            as_user(ADA, hang.wait)
    with pytest.raises(Unavailable, match="16 paths of user ada"):
        as_user(ADA, lambda: None)
    hang.set()


@given(
    st.integers(1, 2**31), st.integers(0, 65535), st.integers(0, 65535),
    st.lists(st.integers(0, 2**31), max_size=400, unique=True),
)  # fmt: skip
def test_no_id_inside_stands_for_two_on_disk_and_none_but_the_users_own_is_shown(
    uid: int, user: int, group: int, groups: list[int]
) -> None:
    gid = groups[0] if groups else 7
    inside = IdMap(1 << 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_paths, "account_of", lambda asked: Account(asked, gid, tuple(groups), "x"))
        users, of_groups = id_mappings(Caller(uid, gid), inside, user, group)
    assert [(line["containerID"], line["hostID"]) for line in users] == [(uid, inside.start + user)]
    assert (of_groups[0]["containerID"], of_groups[0]["hostID"]) == (gid, inside.start + group)
    places = [line["hostID"] for line in of_groups]
    assert len(set(places)) == len(places) <= 340
    assert all(inside.start <= number < inside.start + inside.size for number in places)
    assert {line["containerID"] for line in of_groups} <= {gid, *groups}
    assert not any(line["containerID"] == 0 for line in of_groups[1:])
