"""The overlay driver on filesystems that are mounted with project quotas, against the suite that third parties use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.errors import StepFailed
from multios.filesystems import bounds, project_quota
from multios.supervisor.syscalls import kernel
from multios.testing.storage import StorageDriverSuite
from multios_storage_overlay import OverlayStorage

MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}


@pytest.fixture(scope="module", params=MAKE)
def quotas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mounted filesystem of 512 MiB with project quotas."""
    make = MAKE[request.param]
    program = shutil.which(make[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"this host has no {make[0]}")
    place = tmp_path_factory.mktemp("quotas")
    file, root = place / "disk", place / "root"
    root.mkdir()
    with file.open("wb") as disk:
        disk.truncate(512 << 20)
    subprocess.run([program, *make[1:], str(file)], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop,prjquota", str(file), str(root)], capture_output=True, text=True
    )
    reason = project_quota.why_none(str(root)) if not done.returncode else done.stderr
    if reason and not done.returncode:
        kernel.umount2(str(root), 0)
    if reason:
        pytest.skip(f"this kernel lacks project quotas on {request.param}: {reason.splitlines()[0]}")
    yield root
    kernel.umount2(str(root), 2)  # lazily: a failed test may hold it


@pytest.mark.needs_root
class TestOverlayOnProjectQuotas(StorageDriverSuite):
    driver_type = OverlayStorage

    @pytest.fixture
    def context(self, quotas: Path, tmp_path: Path) -> Iterator[DriverContext]:
        """As the suite's, but on the filesystem with quotas, which has no room for what all tests leave."""
        top = quotas / tmp_path.name
        for name in ("state", "runtime"):
            (top / name).mkdir(parents=True, exist_ok=True)
        yield DriverContext(state=top / "state", runtime=top / "runtime")
        shutil.rmtree(top)

    def test_the_quota_is_what_keeps_the_limit(self, driver: OverlayStorage, limited: str) -> None:
        assert driver.limit_means() == bounds.PROJECT_QUOTA
        assert driver.mounts(limited)[0].backing is None
        record = driver.store.get(limited)
        assert project_quota.project_of(driver.store.directory(record)) == record.project > 0
        assert project_quota.project_of(driver.files(record)) == record.project

    def test_every_limited_snapshot_has_a_project_of_its_own(
        self, driver: OverlayStorage, base: str, limited: str
    ) -> None:
        for number in range(4):
            driver.prepare_limited(f"more-{number}", base, 8 << 20)
        projects = [record.project for record in driver.store.records() if record.limit]
        assert len(set(projects)) == 5

    def test_a_removed_snapshot_limits_nothing_any_more(self, driver: OverlayStorage, limited: str) -> None:
        project = driver.store.get(limited).project
        driver.remove(limited)
        assert project_quota.read(driver.store.state, project).limit == 0

    def test_a_failed_prepare_leaves_no_limit(
        self, driver: OverlayStorage, base: str, limited: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(directory: str, project: int) -> None:
            raise StepFailed("assign project", "Input/output error")

        monkeypatch.setattr(project_quota, "assign", broken)
        with pytest.raises(StepFailed):
            driver.prepare_limited("one", base, 8 << 20)
        following = driver.store.get(limited).project + 1
        assert project_quota.read(driver.store.state, following) == project_quota.Count(0, 0, 0, 0)
