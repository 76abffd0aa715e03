"""Named volumes: whose they are, and what a removal or a crash leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import open_descriptors
import pytest
from engine_box import ALICE, BOB, ROOT, Box

from multios.engine.host_paths import open_source
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused
from multios.model.container import Volume


def test_a_new_volume_never_has_what_a_removal_cut_short_has_left(box: Box) -> None:
    left = box.settings.data_root / "volumes" / f"{BOB.uid}@data" / "_data"
    left.mkdir(parents=True)
    (left / "secret").write_text("of somebody else")
    assert list(box.engine.volumes.ensure("data", BOB).iterdir()) == []
    assert left.parent.stat().st_mode & 0o777 == 0o700


def test_a_volume_that_cannot_be_recorded_leaves_no_directory(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(row: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(box.engine.database, "save", failing)
        with pytest.raises(MultiosError, match="No space left"):
            box.engine.volumes.create("data", ROOT, {})
    assert not (box.settings.data_root / "volumes" / "data").exists()
    box.engine.volumes.create("data", ROOT, {})


def test_a_volume_in_use_stays_and_goes_with_its_last_container(box: Box) -> None:
    container = box.create(volumes=[{"volume": "data", "container": "/data"}])
    path = Path(box.engine.volumes.ensure("data", ROOT))
    with pytest.raises(Conflict, match=container.name):
        box.engine.volumes.remove("data", ROOT)
    assert box.engine.volumes.prune(ROOT) == []
    box.containers.delete(container, force=False, volumes=True)
    assert not path.exists()


def test_of_many_removals_at_once_one_succeeds(box: Box) -> None:
    box.engine.volumes.create("data", ALICE, {})
    results: list[type] = []

    def remove() -> None:
        try:
            box.engine.volumes.remove("data", ALICE)
            results.append(int)
        except MultiosError as error:
            results.append(type(error))

    threads = [threading.Thread(target=remove) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == sorted([int, *[NotFound] * 5], key=str)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200])
def test_a_name_that_is_a_path_is_refused(box: Box, name: str) -> None:
    with pytest.raises(InvalidInput, match="volume name"):
        box.engine.volumes.create(name, ROOT, {})


def test_a_users_host_path_needs_an_account_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no account"):
        open_source(Volume("bind", "/etc", "/mnt"), ALICE)
    with pytest.raises(InvalidInput, match="absent"):
        open_source(Volume("bind", str(tmp_path / "absent"), "/mnt"), ROOT)


def test_users_have_volume_names_of_their_own(box: Box) -> None:
    for caller in (ROOT, ALICE, BOB):
        box.engine.volumes.create("data", caller, {})
    paths = {caller.uid: box.engine.volumes.inspect("data", caller)["path"] for caller in (ROOT, ALICE, BOB)}
    assert len(set(paths.values())) == 3
    box.engine.volumes.remove("data", ROOT)
    with pytest.raises(Conflict, match="2 users"):
        box.engine.volumes.remove("data", ROOT)
    box.engine.volumes.remove("data", ALICE)
    assert Path(paths[BOB.uid]).is_dir()
    with pytest.raises(NotFound):
        box.engine.volumes.inspect("data", ALICE)


def test_a_volume_over_one_of_the_engines_files_leaves_no_descriptor_open(box: Box) -> None:
    container = box.create(volumes=[{"volume": "data", "container": "/etc/hosts"}])
    box.exits(box.started())
    before = open_descriptors.number()
    box.containers.start(container)
    open_descriptors.assert_no_more_than(before)
