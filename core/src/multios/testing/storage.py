"""The conformance suite of storage drivers.

A driver's tests subclass :class:`StorageDriverSuite` and name the driver class::

    class TestOverlay(StorageDriverSuite):
        driver_type = OverlayStorage

Snapshots are really mounted, detached, so that nothing shows in the machine's mount table.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios import typed_table
from multios.drivers.base import DriverContext
from multios.drivers.storage import Snapshot, StorageDriver
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Unsupported
from multios.layers.unpack import unpack
from multios.supervisor.mounts import mounted
from multios.testing import storage_trees as trees
from multios.testing.base import DriverSuite
from multios.testing.storage_exchange import StorageExchangeTests
from multios.testing.storage_limits import SMALL, StorageLimitTests

DEEP = 120
"""Layers on top of each other that must work; images have at most 127."""
KILLS = 8


@contextlib.contextmanager
def inside(driver: StorageDriver, key: str) -> Iterator[str]:
    """The root of the mounted snapshot ``key``, as a path."""
    with mounted(driver.mounts(key)) as descriptor:
        yield f"/proc/self/fd/{descriptor}"


def content(driver: StorageDriver, key: str) -> dict[bytes, tuple[Any, ...]]:
    """All of snapshot ``key``, to compare."""
    with inside(driver, key) as root:
        return trees.read(root)


@pytest.mark.needs_root
class StorageDriverSuite(StorageLimitTests, StorageExchangeTests, DriverSuite):
    """What every storage driver must do."""

    driver_type: ClassVar[type[StorageDriver]]

    @pytest.fixture
    def base(self, driver: StorageDriver) -> str:
        """A committed snapshot with files of all kinds."""
        return self.committed(driver, "base")

    def committed(self, driver: StorageDriver, name: str, parent: str = "", file: str = "") -> str:
        """Commit a snapshot with one ``file``, or with all kinds of them."""
        driver.prepare(f"{name}.active", parent)
        with inside(driver, f"{name}.active") as root:
            trees.write(f"{root}/{file}", name) if file else trees.populate(root)
        driver.commit(name, f"{name}.active")
        return name

    def again(self, context: DriverContext) -> StorageDriver:
        """Another driver on the same state."""
        settings: Any = typed_table.read(self.driver_type.Settings, self.driver_settings, "driver_settings.")
        return self.driver_type(settings, context)

    # --- prepare, view, mounts ---

    def test_a_snapshot_on_nothing_is_an_empty_writable_root(self, driver: StorageDriver) -> None:
        assert driver.prepare("one") == driver.mounts("one")
        with inside(driver, "one") as root:
            assert os.listdir(root) == []
            status = os.stat(f"{root}/.")
            assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o755, 0, 0)
            trees.write(f"{root}/file", "x")

    def test_a_snapshot_shows_all_of_its_parent(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        assert content(driver, "one") == content(driver, base)

    def test_mounts_are_the_same_at_every_call(self, driver: StorageDriver, base: str) -> None:
        assert driver.prepare("one", base) == driver.mounts("one") == driver.mounts("one")
        assert driver.view("two", base) == driver.mounts("two")

    def test_changes_last_and_touch_neither_parent_nor_siblings(
        self, driver: StorageDriver, base: str
    ) -> None:
        before = content(driver, base)
        driver.prepare("one", base)
        driver.prepare("two", base)
        with inside(driver, "one") as root:
            trees.write(f"{root}/etc/hosts", "changed")
            os.unlink(f"{root}/null")
        assert content(driver, base) == content(driver, "two") == before
        with inside(driver, "one") as root:
            assert not os.path.lexists(f"{root}/null")
            assert Path(f"{root}/etc/hosts").read_text() == "changed"

    def test_a_view_shows_its_parent_and_cannot_be_written(self, driver: StorageDriver, base: str) -> None:
        self.committed(driver, "top", base, "new")
        for key, parent in (("of-one", base), ("of-two", "top")):
            driver.view(key, parent)
            assert content(driver, key) == content(driver, parent)
            with inside(driver, key) as root, pytest.raises(OSError, match="[Rr]ead-only"):
                trees.write(f"{root}/x", "x")

    def test_the_root_looks_like_the_parents(self, driver: StorageDriver) -> None:
        driver.prepare("one")
        with inside(driver, "one") as root:
            os.chmod(f"{root}/.", 0o1711)
            os.chown(f"{root}/.", 7, 8)
        driver.commit("base", "one")
        driver.prepare("two", "base")
        with inside(driver, "two") as root:
            status = os.stat(f"{root}/.")
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o1711, 7, 8)

    def test_many_layers_stand_on_each_other(self, driver: StorageDriver) -> None:
        parent = ""
        for number in range(DEEP):
            parent = self.committed(driver, f"layer-{number}", parent, f"file-{number}")
        driver.prepare("top", parent)
        driver.view("view", parent)
        for key in ("top", "view"):
            with inside(driver, key) as root:
                assert len(os.listdir(root)) == DEEP

    def test_upper_layers_win(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        with inside(driver, "one") as root:
            trees.CHANGES["a directory is made anew"](root)
        driver.commit("middle", "one")
        self.committed(driver, "top", "middle", "var/full/a")
        driver.prepare("two", "top")
        with inside(driver, "two") as root:
            assert sorted(os.listdir(f"{root}/var/full")) == ["a", "deep"]
            assert os.listdir(f"{root}/var/full/deep") == ["new"]

    # --- keys ---

    def test_a_taken_key_is_a_conflict(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        for key in ("one", base):
            with pytest.raises(Conflict):
                driver.prepare(key, base)
            with pytest.raises(Conflict):
                driver.view(key, base)
        with pytest.raises(Conflict):
            driver.commit(base, "one")
        assert driver.stat("one").kind == "active"

    @pytest.mark.parametrize("verb", ["mounts", "stat", "usage"])
    def test_a_missing_key_is_not_found(self, driver: StorageDriver, verb: str) -> None:
        with pytest.raises(NotFound, match="missing"):
            getattr(driver, verb)("missing")

    def test_a_missing_key_cannot_be_committed_compared_or_stood_on(self, driver: StorageDriver) -> None:
        for attempt in (
            lambda: driver.commit("name", "missing"),
            lambda: driver.diff("missing", io.BytesIO()),
            lambda: driver.prepare("one", "missing"),
            lambda: driver.view("one", "missing"),
        ):
            with pytest.raises(NotFound, match="missing"):
                attempt()
        assert list(driver.walk()) == []

    @pytest.mark.parametrize("key", ["", "a/b", "../x", "a b", "ä", "x" * 129, "a\n", "a\0"])
    def test_keys_of_other_characters_are_refused(self, driver: StorageDriver, key: str) -> None:
        with pytest.raises(InvalidInput):
            driver.prepare(key)

    @pytest.mark.parametrize("key", [".", "..", "...", "-", "sha256:0a", ".hidden", "x.json", "x" * 128])
    def test_keys_of_odd_shape_are_keys(
        self, driver: StorageDriver, context: DriverContext, key: str
    ) -> None:
        driver.prepare(key)
        assert driver.stat(key) == Snapshot(key, "", "active")
        if close := getattr(driver, "close", None):
            close()
        assert [found.key for found in self.again(context).walk()] == [key]

    def test_only_committed_snapshots_can_be_parents(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("active", base)
        driver.view("view", base)
        for parent in ("active", "view"):
            with pytest.raises(Conflict):
                driver.prepare("one", parent)
            with pytest.raises(Conflict):
                driver.view("one", parent)

    # --- commit, remove, walk ---

    def test_commit_turns_the_key_into_the_name(self, driver: StorageDriver) -> None:
        driver.prepare("one")
        with inside(driver, "one") as root:
            trees.write(f"{root}/file", "x")
        driver.commit("done", "one")
        with pytest.raises(NotFound):
            driver.stat("one")
        assert driver.stat("done") == Snapshot("done", "", "committed")

    def test_only_active_snapshots_are_committed(self, driver: StorageDriver, base: str) -> None:
        driver.view("view", base)
        for key in ("view", base):
            with pytest.raises(Conflict):
                driver.commit("name", key)

    def test_removing_is_final_and_twice_no_error(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        driver.remove("one")
        driver.remove("one")
        with pytest.raises(NotFound):
            driver.mounts("one")
        driver.prepare("one", base)
        assert content(driver, "one") == content(driver, base)

    @pytest.mark.parametrize("verb", ["prepare", "view"])
    def test_a_parent_stays_until_its_children_are_gone(
        self, driver: StorageDriver, base: str, verb: str
    ) -> None:
        getattr(driver, verb)("child", base)
        with pytest.raises(Conflict):
            driver.remove(base)
        driver.remove("child")
        driver.remove(base)
        assert list(driver.walk()) == []

    def test_walk_tells_all(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        driver.view("two", base)
        expected = {
            Snapshot(base, "", "committed"),
            Snapshot("one", base, "active"),
            Snapshot("two", base, "view"),
        }
        assert set(driver.walk()) == expected
        assert {driver.stat(item.key) for item in expected} == expected

    def test_usage_is_of_the_snapshot_itself(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        before = driver.usage("one")
        with inside(driver, "one") as root:
            trees.write(f"{root}/big", "x" * (1 << 20))
        after = driver.usage("one")
        assert 1 << 20 <= after.size - before.size < 2 << 20
        assert after.inodes == before.inodes + 1
        driver.view("two", base)
        assert driver.usage("two").size == 0

    def test_threads_may_prepare_and_remove_at_once(self, driver: StorageDriver, base: str) -> None:
        def churn(number: int) -> None:
            for turn in range(4):
                driver.prepare(f"{number}-{turn}", base)
                with inside(driver, f"{number}-{turn}") as root:
                    assert Path(f"{root}/same-time").exists()
                if turn % 2:
                    driver.remove(f"{number}-{turn}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, range(4)))
        assert len(list(driver.walk())) == 1 + 4 * 2

    def test_of_two_threads_with_one_key_one_wins(self, driver: StorageDriver, base: str) -> None:
        def attempt(number: int) -> bool:
            try:
                driver.prepare("same", base)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, range(8))) == 1

    # --- diff ---

    @pytest.mark.parametrize("change", trees.CHANGES)
    def test_the_diff_carries_every_change(self, driver: StorageDriver, base: str, change: str) -> None:
        driver.prepare("one", base)
        with inside(driver, "one") as root:
            trees.CHANGES[change](f"{root}/.")
        layer = io.BytesIO()
        driver.diff("one", layer)
        driver.prepare("two", base)
        layer.seek(0)
        unpack(layer, driver.mounts("two"))
        assert content(driver, "two") == content(driver, "one")

    def test_the_diff_of_a_first_snapshot_is_all_of_it(self, driver: StorageDriver, base: str) -> None:
        layer = io.BytesIO()
        driver.diff(base, layer)
        driver.prepare("two")
        layer.seek(0)
        unpack(layer, driver.mounts("two"))
        assert content(driver, "two") == content(driver, base)

    def test_the_diff_of_nothing_is_empty_and_a_tar(self, driver: StorageDriver, base: str) -> None:
        driver.prepare("one", base)
        driver.view("two", base)
        for key in ("one", "two"):
            layer = io.BytesIO()
            driver.diff(key, layer)
            layer.seek(0)
            with tarfile.open(fileobj=layer) as archive:
                assert archive.getnames() == []

    def test_no_time_in_the_diff_is_later_than_asked_for(self, driver: StorageDriver, base: str) -> None:
        layer = io.BytesIO()
        driver.diff(base, layer, 1_000_000_000.0)
        layer.seek(0)
        with tarfile.open(fileobj=layer) as archive:
            times = [entry.mtime for entry in archive]
        assert times and max(times) <= 1_000_000_000

    def test_the_diff_is_the_same_every_time(self, driver: StorageDriver, base: str) -> None:
        first, second = io.BytesIO(), io.BytesIO()
        driver.diff(base, first)
        driver.diff(base, second)
        assert first.getvalue() == second.getvalue()

    # --- death ---

    def test_another_driver_finds_everything_as_it_was(
        self, driver: StorageDriver, base: str, context: DriverContext
    ) -> None:
        driver.prepare("one", base)
        with inside(driver, "one") as root:
            trees.write(f"{root}/mine", "x")
        before = {item: driver.mounts(item.key) for item in driver.walk()}
        tree = content(driver, "one")
        if close := getattr(driver, "close", None):
            close()
        other = self.again(context)
        assert {item: other.mounts(item.key) for item in other.walk()} == before
        assert content(other, "one") == tree
        other.commit("done", "one")

    def test_killed_at_any_moment_every_key_is_whole_or_absent(self, context: DriverContext) -> None:
        """A child makes, commits and removes snapshots until it is killed; then all that exists must be whole."""
        generator = random.Random(1)
        for _ in range(KILLS):
            child = subprocess.Popen(
                [sys.executable, "-c", self._worker(context)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            try:
                assert child.stdout is not None and child.stderr is not None
                begun = child.stdout.readline()
                assert begun == b"ready\n", child.stderr.read().decode()
                time.sleep(generator.uniform(0, 0.12))
            finally:
                child.send_signal(signal.SIGKILL)
                child.communicate()
            self._check_all(context)

    def _worker(self, context: DriverContext) -> str:
        return "\n".join(
            [
                f"import sys; sys.path[:] = {sys.path!r}",
                "from pathlib import Path",
                "from multios import typed_table",
                "from multios.drivers.base import DriverContext",
                "from multios.testing.storage import work_until_killed",
                f"from {self.driver_type.__module__} import {self.driver_type.__qualname__} as Driver",
                f"settings = typed_table.read(Driver.Settings, {dict(self.driver_settings)!r}, '')",
                f"context = DriverContext(Path({str(context.state)!r}), Path({str(context.runtime)!r}))",
                "work_until_killed(Driver(settings, context))",
            ]
        )

    def _check_all(self, context: DriverContext) -> None:
        driver = self.again(context)
        for snapshot in driver.walk():
            with inside(driver, snapshot.key) as root:
                names = os.listdir(root)
            if snapshot.kind != "active" or snapshot.parent:
                assert len(names) >= WORK_FILES, f"{snapshot} is not whole"
            if snapshot.parent:
                assert driver.stat(snapshot.parent).kind == "committed"
            driver.diff(snapshot.key, io.BytesIO())
        for kinds in (("active", "view"), ("committed",)):
            for snapshot in [item for item in driver.walk() if item.kind in kinds]:
                driver.remove(snapshot.key)
        assert list(driver.walk()) == []
        if close := getattr(driver, "close", None):
            close()


WORK_FILES = 20


def work_until_killed(driver: StorageDriver) -> None:
    """What the killed child does; prints ``ready`` when the first snapshot is done."""
    number = 0
    while True:
        base, top = f"base-{number}", f"top-{number}"
        driver.prepare(f"{base}.active")
        with inside(driver, f"{base}.active") as root:
            for file in range(WORK_FILES):
                trees.write(f"{root}/{file}", "x")
        driver.commit(base, f"{base}.active")
        driver.prepare(top, base)
        driver.view(f"{top}.view", base)
        with contextlib.suppress(Unsupported):
            driver.prepare_limited(f"{top}.limited", base, SMALL)
        if number == 0:
            print("ready", flush=True)
        if number % 2:
            with contextlib.suppress(MultiosError):
                driver.remove(f"{top}.view")
                driver.remove(f"{top}.limited")
                driver.remove(top)
                driver.remove(base)
        number += 1
