"""A user's own engine: whose daemon is meant, where its files are, which ids he has, how maps are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios import settings
from multios.errors import Refused
from multios.rootless import delegation, roots
from multios.rootless.subordinate_ids import Range, map_words, parse
from multios.supervisor import id_map

UID = 4711


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The process passes for an ordinary user; the environment of one."""
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    return {"HOME": str(tmp_path)}


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A runtime directory that is the user's."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o700)
    os.chown(path, UID, UID)
    return path


# --- places ------------------------------------------------------------------------------------------


@pytest.mark.needs_root
def test_a_private_runtime_directory_is_used_and_any_other_is_not(runtime: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    assert roots.exec_root(UID, environ) == f"{runtime}/multios/containers"
    assert roots.exec_root(UID + 1, environ) == f"/tmp/multios-{UID + 1}", "it is another's"
    runtime.chmod(0o750)
    assert roots.exec_root(UID, environ) == f"/tmp/multios-{UID}", "others may enter it"
    assert roots.exec_root(UID, {"XDG_RUNTIME_DIR": "relative"}) == f"/tmp/multios-{UID}"


@pytest.mark.needs_root
def test_a_link_in_place_of_the_directory_is_refused(runtime: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(runtime)
    roots.check_private(str(runtime), UID)
    with pytest.raises(Refused, match="only you"):
        roots.check_private(str(link), UID)


def test_data_settings_and_log_stand_where_xdg_says(tmp_path: Path) -> None:
    places = roots.Places(UID, {"HOME": "/home/ada"})
    assert places.data_root == "/home/ada/.local/share/multios/containers"
    assert places.config_file == "/home/ada/.config/multios/containers.conf"
    assert places.log_file == "/home/ada/.local/state/multios/containers.log"
    assert roots.Places(UID, {"HOME": "/", "XDG_DATA_HOME": "/data"}).data_root == "/data/multios/containers"


@pytest.mark.needs_root
def test_the_systems_daemon_is_meant_where_it_may_be_used(
    as_user: dict[str, str], runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    monkeypatch.setattr(roots, "SYSTEM_EXEC_ROOT", str(system))
    monkeypatch.setattr(roots, "_is_member", lambda: False)
    environ = {**as_user, "XDG_RUNTIME_DIR": str(runtime)}
    own = f"{runtime}/multios/containers"
    assert roots.choose_exec_root(environ) == own, "there is no system daemon"
    monkeypatch.setattr(roots, "_is_member", lambda: True)
    assert roots.choose_exec_root(environ) == str(system), "a member waits for the system's"
    system.mkdir()
    (system / "api.sock").touch()
    assert roots.choose_exec_root(environ) == str(system)
    assert roots.choose_exec_root({**environ, "MULTIOS_ROOTLESS": "1"}) == own
    assert roots.choose_exec_root({**environ, "MULTIOS_ROOTLESS": "0"}) == str(system)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert roots.choose_exec_root(environ) == own, "he may not use it"


def test_settings_of_a_user_are_his_own_and_the_file_goes_before(
    as_user: dict[str, str], tmp_path: Path
) -> None:
    os.environ.setdefault("HOME", str(tmp_path))
    loaded = settings.load(None, as_user)
    assert loaded.defaults.network == "pasta" and loaded.defaults.storage == "overlay"
    assert not str(loaded.data_root).startswith("/var/lib")
    file = tmp_path / "own.conf"
    file.write_text('[daemon]\ndata_root = "/elsewhere"\n[defaults]\nnetwork = "noop"\n')
    loaded = settings.load(file, as_user)
    assert (str(loaded.data_root), loaded.defaults.network) == ("/elsewhere", "noop")
    assert str(loaded.exec_root).endswith(("/multios/containers", f"multios-{UID}"))


# --- ids ---------------------------------------------------------------------------------------------


def test_ranges_of_a_user_by_name_and_by_number() -> None:
    text = "ada:100000:65536\n4711:300000:10\nbob:200000:65536\nada:bad:1\nada:5\nada:0:4\n\n"
    assert parse(text, frozenset({"ada", "4711"})) == (Range(100000, 65536), Range(300000, 10))


@given(st.text(max_size=400))
def test_no_text_of_a_file_makes_a_range_that_is_not_sound(text: str) -> None:
    for found in parse(text, frozenset({"ada", ""})):
        assert found.start > 0 and found.count > 0 and found.start + found.count <= 2**32 - 1


def test_the_user_is_root_inside_and_his_ranges_follow() -> None:
    words = map_words(UID, (Range(100000, 10), Range(200000, 5)))
    assert words == ["0", "4711", "1", "1", "100000", "10", "11", "200000", "5"]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6),
    st.integers(0, 40),
    st.integers(1, 200),
)
def test_a_childs_map_has_every_id_of_ours_once_and_no_line_spans_two_of_our_own(
    counts: list[int], start: int, size: int
) -> None:
    own, inside = [], 0
    for number, count in enumerate(counts):
        own.append((inside, 1000 * (number + 1), count))
        inside += count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_map, "extents", lambda name="uid_map": own)
        lines = [
            [int(word) for word in line.split()] for line in id_map.lines("uid_map", start, size).splitlines()
        ]
        assert id_map.size() == inside
    mapped = [outer + step - start for inner, outer, count in lines for step in range(count)]
    assert mapped == list(range(min(size, max(0, inside - start))))
    assert all(outer - inner == start for inner, outer, _ in lines)
    for _, outer, count in lines:
        assert any(first <= outer and outer + count <= first + length for first, _, length in own)


def test_of_the_initial_namespace_one_line_is_written() -> None:
    if not id_map.is_initial():
        pytest.skip("this host has us in a user namespace")
    assert id_map.lines("uid_map", 500_000, 65536) == "0 500000 65536\n"


# --- delegation --------------------------------------------------------------------------------------


def test_without_a_user_manager_the_daemon_is_started_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert delegation.delegated(["python", "-m", "x"]) == ["python", "-m", "x"]


def test_a_user_manager_gives_a_delegated_scope(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unified = tmp_path / "cgroup.controllers"
    unified.touch()
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/private").touch()
    monkeypatch.setattr(delegation, "_UNIFIED", str(unified))
    monkeypatch.setattr(delegation, "_RUNNERS", ("/bin/sh",))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    words = delegation.delegated(["python", "-m", "x"])
    assert words[:3] == ["/bin/sh", "--user", "--scope"] and words[-3:] == ["python", "-m", "x"]
    assert "--property=Delegate=yes" in words
