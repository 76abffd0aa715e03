"""The part of the storage suite that is about disk limits (capability QUOTA)."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios.drivers.base import Capability, DriverContext
from multios.drivers.storage import StorageDriver
from multios.errors import Conflict, MultiosError, Unsupported
from multios.layers.unpack import unpack
from multios.supervisor.mounts import mounted
from multios.testing import storage_trees as trees

SMALL, LARGE = 8 << 20, 24 << 20
STUDENT = 1000
"""Who fills snapshots up: nobody with capabilities, as inside a container."""
_FILL = """
import os, sys
path, step, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
number = total = 0
try:
    if step:
        with open(path + "/big", "ab", buffering=0) as file:
            while total < most:
                total += file.write(bytes(step))
            os.fsync(file)
    else:
        while total < most:
            open(f"{path}/file-{total}", "x").close()
            total += 1
except OSError as error:
    number = error.errno
print(number, total)
"""
FULL = (errno.ENOSPC, errno.EDQUOT)


def fill(mounts: Any, step: int, most: int) -> tuple[int, int]:
    """Write ``most`` bytes by ``step`` (0: that many empty files) as an ordinary user; errno and what was written."""
    with mounted(mounts) as root:
        place = f"/proc/self/fd/{root}/filled"
        if not os.path.isdir(place):
            os.mkdir(place, 0o700)
            os.chown(place, STUDENT, STUDENT)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _FILL, f"/proc/self/fd/{directory}", str(step), str(most)],
                capture_output=True, text=True, user=STUDENT, group=STUDENT, extra_groups=[], check=True,
                pass_fds=[directory],
            )  # fmt: skip
        finally:
            os.close(directory)
    number, total = done.stdout.split()
    return int(number), int(total)


class StorageLimitTests:
    """Mixed into the suite of storage drivers."""

    driver_type: ClassVar[Any]

    @pytest.fixture
    def limited(self, driver: StorageDriver, base: str) -> str:
        """An active snapshot with a limit; skips where the driver or this host keeps none."""
        if Capability.QUOTA not in self.driver_type.capabilities:
            pytest.skip(f"this driver does not declare {Capability.QUOTA}")
        try:
            driver.limit_means()
        except Unsupported as error:
            pytest.skip(f"this host cannot: {error.cause}")
        mounts = driver.prepare_limited("limited", base, SMALL)
        assert mounts == driver.mounts("limited")
        return "limited"

    def test_without_the_capability_a_limit_is_refused(self, driver: StorageDriver) -> None:
        if Capability.QUOTA in self.driver_type.capabilities:
            pytest.skip(f"this driver declares {Capability.QUOTA}")
        for attempt in (driver.limit_means, lambda: driver.prepare_limited("one", "", SMALL)):
            with pytest.raises(Unsupported):
                attempt()
        driver.prepare("one")
        with pytest.raises(Unsupported):
            driver.limit("one", SMALL)
        assert driver.limit_of("one") is None

    def test_a_limited_snapshot_shows_all_of_its_parent_and_is_told(
        self, driver: StorageDriver, base: str, limited: str
    ) -> None:
        with mounted(driver.mounts(limited)) as root, mounted(driver.mounts(base)) as other:
            assert trees.read(f"/proc/self/fd/{root}") == trees.read(f"/proc/self/fd/{other}")
        limit = driver.limit_of(limited)
        assert limit is not None and limit.size == SMALL and limit.inodes > 100
        assert limit.means == driver.limit_means()
        assert driver.stat(limited).kind == "active"

    def test_writing_past_the_limit_fails_and_harms_nobody(
        self, driver: StorageDriver, base: str, limited: str
    ) -> None:
        driver.prepare_limited("other", base, SMALL)
        failed, written = fill(driver.mounts(limited), 64 << 10, 2 * SMALL)
        assert failed in FULL
        assert written <= SMALL
        assert fill(driver.mounts("other"), 64 << 10, 1 << 20) == (0, 1 << 20)

    def test_nearly_all_of_the_limit_can_be_used(self, driver: StorageDriver, limited: str) -> None:
        before = driver.usage(limited).size
        _, written = fill(driver.mounts(limited), 64 << 10, 2 * SMALL)
        assert written >= 0.85 * (SMALL - before)

    def test_the_number_of_files_is_bounded_too(self, driver: StorageDriver, limited: str) -> None:
        limit = driver.limit_of(limited)
        assert limit is not None
        failed, made = fill(driver.mounts(limited), 0, limit.inodes + 10)
        assert failed in FULL
        assert made <= limit.inodes
        driver.usage(limited)

    @pytest.mark.parametrize("step", [0, 1, 64 << 10])
    def test_a_full_snapshot_can_still_be_mounted_and_emptied(
        self, driver: StorageDriver, limited: str, step: int
    ) -> None:
        limit = driver.limit_of(limited)
        assert limit is not None
        for _ in range(3):
            assert fill(driver.mounts(limited), step or 64 << 10, 2 * SMALL)[0] in FULL
            fill(driver.mounts(limited), 0, limit.inodes)
        with mounted(driver.mounts(limited)) as root:
            shutil.rmtree(f"/proc/self/fd/{root}/filled")
        assert fill(driver.mounts(limited), 64 << 10, 4 << 20) == (0, 4 << 20)

    def test_a_limit_is_changed_while_the_snapshot_is_mounted(
        self, driver: StorageDriver, limited: str
    ) -> None:
        with mounted(driver.mounts(limited)):
            assert fill(driver.mounts(limited), 64 << 10, LARGE)[0] in FULL
            driver.limit(limited, LARGE)
            before = driver.usage(limited).size
            assert fill(driver.mounts(limited), 64 << 10, 8 << 20) == (0, 8 << 20)
            assert driver.usage(limited).size - before >= 8 << 20
            with pytest.raises(Conflict):
                driver.limit(limited, SMALL)
            limit = driver.limit_of(limited)
            assert limit is not None and limit.size == LARGE
            assert fill(driver.mounts(limited), 64 << 10, 1 << 20) == (0, 1 << 20)

    def test_a_limit_is_made_smaller_again(self, driver: StorageDriver, limited: str) -> None:
        driver.limit(limited, LARGE)
        driver.limit(limited, SMALL)
        failed, written = fill(driver.mounts(limited), 64 << 10, LARGE)
        assert failed in FULL
        assert written <= SMALL

    def test_a_snapshot_without_a_limit_gets_none_later(
        self, driver: StorageDriver, base: str, limited: str
    ) -> None:
        driver.prepare("free", base)
        assert driver.limit_of("free") is None
        with pytest.raises(Conflict):
            driver.limit("free", SMALL)

    def test_a_failed_limited_prepare_leaves_nothing(
        self, driver: StorageDriver, base: str, limited: str
    ) -> None:
        with pytest.raises(Conflict):
            driver.prepare_limited(limited, base, SMALL)
        with pytest.raises(MultiosError):
            driver.prepare_limited("orphan", "missing", SMALL)
        assert {item.key for item in driver.walk()} == {base, limited}

    @pytest.mark.parametrize("change", trees.CHANGES)
    def test_the_diff_of_a_limited_snapshot_carries_every_change(
        self, driver: StorageDriver, base: str, limited: str, change: str
    ) -> None:
        with mounted(driver.mounts(limited)) as root:
            trees.CHANGES[change](f"/proc/self/fd/{root}/.")
        layer = io.BytesIO()
        driver.diff(limited, layer)
        layer.seek(0)
        driver.prepare("two", base)
        unpack(layer, driver.mounts("two"))
        self._same(driver, "two", limited)

    def test_the_diff_of_an_untouched_limited_snapshot_is_empty(
        self, driver: StorageDriver, limited: str
    ) -> None:
        layer = io.BytesIO()
        driver.diff(limited, layer)
        layer.seek(0)
        with tarfile.open(fileobj=layer) as archive:
            assert archive.getnames() == []

    @pytest.mark.parametrize("change", trees.CHANGES)
    def test_a_committed_limited_snapshot_is_a_parent_like_any_other(
        self, driver: StorageDriver, base: str, limited: str, change: str
    ) -> None:
        with mounted(driver.mounts(limited)) as root:
            trees.CHANGES[change](f"/proc/self/fd/{root}/.")
            seen = trees.read(f"/proc/self/fd/{root}")
        driver.commit("done", limited)
        assert driver.limit_of("done") is None
        driver.prepare("free", "done")
        driver.prepare_limited("again", "done", SMALL)
        for key in ("free", "again"):
            with mounted(driver.mounts(key)) as root:
                assert trees.read(f"/proc/self/fd/{root}") == seen
        assert fill(driver.mounts("free"), 64 << 10, 2 * SMALL) == (0, 2 * SMALL)

    def test_another_driver_finds_the_limited_snapshot_and_its_limit(
        self, driver: StorageDriver, limited: str, context: DriverContext
    ) -> None:
        with mounted(driver.mounts(limited)) as root:
            trees.write(f"/proc/self/fd/{root}/mine", "x")
        before = driver.mounts(limited), driver.limit_of(limited)
        if close := getattr(driver, "close", None):
            close()
        other = self.again(context)  # type: ignore[attr-defined]
        assert (other.mounts(limited), other.limit_of(limited)) == before
        with mounted(other.mounts(limited)) as root:
            assert Path(f"/proc/self/fd/{root}/mine").read_text() == "x"
        assert fill(other.mounts(limited), 64 << 10, 2 * SMALL)[0] in FULL

    def test_a_first_snapshot_can_be_limited(self, driver: StorageDriver, limited: str) -> None:
        driver.prepare_limited("first", "", SMALL)
        assert fill(driver.mounts("first"), 64 << 10, 2 * SMALL)[0] in FULL

    def _same(self, driver: StorageDriver, one: str, other: str) -> None:
        with mounted(driver.mounts(one)) as first, mounted(driver.mounts(other)) as second:
            assert trees.read(f"/proc/self/fd/{first}") == trees.read(f"/proc/self/fd/{second}")
