"""The part of the storage suite that is about snapshots that change places (capability EXCHANGE)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios.drivers.base import Capability, DriverContext
from multios.drivers.storage import StorageDriver
from multios.errors import Conflict, MultiosError, NotFound, Unsupported
from multios.supervisor.mounts import mounted
from multios.testing import storage_trees as trees

LIMIT = 16 << 20


class StorageExchangeTests:
    """What a driver with the capability must do, and what the others refuse."""

    driver_type: ClassVar[type[StorageDriver]]

    @pytest.fixture
    def exchanging(self, driver: StorageDriver) -> StorageDriver:
        """The driver, where it declares the capability."""
        if Capability.EXCHANGE not in self.driver_type.capabilities:
            pytest.skip(f"this driver does not declare {Capability.EXCHANGE}")
        return driver

    def again(self, context: DriverContext) -> StorageDriver:
        """Another driver on the same state."""
        raise NotImplementedError

    @staticmethod
    def _write(driver: StorageDriver, key: str, **files: str) -> None:
        with mounted(driver.mounts(key)) as root:
            for name, text in files.items():
                trees.write(f"/proc/self/fd/{root}/{name}", text)

    @staticmethod
    def _tree(driver: StorageDriver, key: str) -> dict[bytes, tuple[Any, ...]]:
        with mounted(driver.mounts(key)) as root:
            return trees.read(f"/proc/self/fd/{root}")

    def test_a_driver_without_the_capability_refuses(self, driver: StorageDriver, base: str) -> None:
        if Capability.EXCHANGE in self.driver_type.capabilities:
            pytest.skip(f"this driver declares {Capability.EXCHANGE}")
        driver.prepare("one", base)
        driver.prepare("two", base)
        with pytest.raises(Unsupported):
            driver.exchange("one", "two")
        with pytest.raises(Unsupported):
            driver.duplicate("three", "one")

    def test_exchanged_snapshots_have_each_others_content_for_good(
        self, exchanging: StorageDriver, base: str, context: DriverContext
    ) -> None:
        driver = exchanging
        for key in ("one", "two"):
            driver.prepare(key, base)
            self._write(driver, key, own=key)
        driver.exchange("one", "two")
        for _ in range(2):
            for key, own in (("one", "two"), ("two", "one")):
                with mounted(driver.mounts(key)) as root:
                    assert Path(f"/proc/self/fd/{root}/own").read_text() == own
            driver.close() if hasattr(driver, "close") else None
            driver = self.again(context)
        driver.remove("two")
        driver = self.again(context)
        assert b"own" in self._tree(driver, "one")
        with pytest.raises(NotFound):
            driver.stat("two")

    def test_only_active_ones_of_one_parent_are_exchanged(self, exchanging: StorageDriver, base: str) -> None:
        exchanging.prepare("one", base)
        exchanging.prepare("alone")
        for other, wrong in (("alone", Conflict), (base, Conflict), ("nothing", NotFound)):
            with pytest.raises(wrong):
                exchanging.exchange("one", other)

    @pytest.mark.parametrize("change", trees.CHANGES)
    def test_a_duplicate_has_the_changes_and_its_own_future(
        self, exchanging: StorageDriver, base: str, change: str
    ) -> None:
        exchanging.prepare("one", base)
        with mounted(exchanging.mounts("one")) as root:
            trees.CHANGES[change](f"/proc/self/fd/{root}")
        changed = self._tree(exchanging, "one")
        exchanging.duplicate("two", "one")
        assert self._tree(exchanging, "two") == changed
        self._write(exchanging, "one", later="x")
        assert self._tree(exchanging, "two") == changed

    def test_a_duplicate_of_some_directories_is_the_parent_elsewhere(
        self, exchanging: StorageDriver, base: str
    ) -> None:
        exchanging.prepare("one", base)
        with mounted(exchanging.mounts("one")) as root:
            place = f"/proc/self/fd/{root}"
            os.mkdir(f"{place}/home")
            trees.write(f"{place}/home/mine", "kept")
            os.symlink("/etc", f"{place}/root")
            trees.write(f"{place}/etc/hosts", "changed")
        exchanging.duplicate("two", "one", ("home", "root", "nothing"))
        expected, found = self._tree(exchanging, base), self._tree(exchanging, "two")
        assert found.pop(b"home/mine") and found.pop(b"home")
        assert found.keys() == expected.keys()
        assert found[b"etc/hosts"] == expected[b"etc/hosts"]

    def test_a_duplicate_has_the_limit_of_its_source(self, exchanging: StorageDriver, base: str) -> None:
        try:
            exchanging.prepare_limited("one", base, LIMIT)
        except MultiosError as error:
            pytest.skip(f"this host keeps no disk limit: {error.cause}")
        self._write(exchanging, "one", mine="x")
        exchanging.duplicate("two", "one")
        assert b"mine" in self._tree(exchanging, "two")
        exchanging.exchange("one", "two")
        for key in ("one", "two"):
            limit = exchanging.limit_of(key)
            assert limit is not None and limit.size == LIMIT

    def test_an_exchange_takes_no_longer_for_more_files(self, exchanging: StorageDriver, base: str) -> None:
        def fastest() -> float:
            seconds = []
            for _ in range(10):
                start = time.monotonic()
                exchanging.exchange("one", "two")
                seconds.append(time.monotonic() - start)
            return min(seconds)

        for key in ("one", "two"):
            exchanging.prepare(key, base)
        without = fastest()
        with mounted(exchanging.mounts("one")) as root:
            for number in range(2000):
                trees.write(f"/proc/self/fd/{root}/file-{number}", "x")
        assert fastest() < 0.02 + 2 * without
