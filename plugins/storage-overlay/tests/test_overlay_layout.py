"""What is the overlay driver's own: its mounts, its marks, its health."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext, NoSettings
from multios.layers.unpack import unpack
from multios.model.health import Health
from multios.supervisor.mounts import mounted
from multios_storage_overlay import OverlayStorage, switches
from multios_storage_overlay.health import checks


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[OverlayStorage]:
    made = OverlayStorage(NoSettings(), DriverContext(tmp_path, tmp_path))
    yield made
    made.close()


def layered(driver: OverlayStorage, count: int) -> str:
    parent = ""
    for number in range(count):
        driver.prepare("active", parent)
        driver.commit(f"layer-{number}", "active")
        parent = f"layer-{number}"
    return parent


def test_one_layer_is_a_bind_mount_and_several_an_overlay(driver: OverlayStorage) -> None:
    (first,) = driver.prepare("first")
    assert (first.type, first.options) == ("bind", ("rw",))
    driver.remove("first")
    layered(driver, 2)
    (one,) = driver.view("one", "layer-0")
    (two,) = driver.view("two", "layer-1")
    assert (one.type, one.options) == ("bind", ("ro",))
    assert two.type == "overlay" and two.option("upperdir") is None
    (top,) = driver.prepare("top", "layer-1")
    lower = (top.option("lowerdir") or "").split(":")
    assert len(lower) == 2 and all(os.path.isabs(path) for path in lower)
    upper, work = top.option("upperdir") or "", top.option("workdir") or ""
    assert os.path.dirname(upper) == os.path.dirname(work)


def test_an_idmapped_range_makes_no_difference_on_disk(driver: OverlayStorage, tmp_path: Path) -> None:
    (mount,) = driver.prepare("one")
    assert os.stat(mount.source).st_uid == 0


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("4.9.0", ()),
        ("4.14.0-9-amd64", ("index=off",)),
        ("4.15", ("index=off", "redirect_dir=nofollow")),
        ("6.18.44-fc", ("index=off", "redirect_dir=nofollow", "metacopy=off")),
    ],
)
def test_switches_are_those_that_the_kernel_knows(release: str, words: tuple[str, ...]) -> None:
    assert switches(release) == words


@pytest.mark.needs_root
def test_paths_with_colons_and_blanks_work(tmp_path: Path) -> None:
    state = tmp_path / "odd: path,with\\all"
    state.mkdir()
    driver = OverlayStorage(NoSettings(), DriverContext(state, state))
    top = layered(driver, 2)
    with mounted(driver.prepare("one", top)) as descriptor:
        Path(f"/proc/self/fd/{descriptor}/file").touch()
    driver.close()


@pytest.mark.needs_root
def test_a_directory_made_anew_is_opaque_in_the_diff(driver: OverlayStorage) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name in ("a", "a/b"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = b"5", 0o755
            archive.addfile(info)
    layer.seek(0)
    unpack(layer, driver.prepare("active"))
    driver.commit("base", "active")
    with mounted(driver.prepare("one", "base")) as descriptor:
        root = f"/proc/self/fd/{descriptor}"
        os.rmdir(f"{root}/a/b")
        os.rmdir(f"{root}/a")
        os.mkdir(f"{root}/a")
    target = io.BytesIO()
    driver.diff("one", target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        assert archive.getnames() == ["a", "a/.wh..wh..opq"]


@pytest.mark.needs_root
def test_renaming_a_directory_of_a_layer_leaves_no_redirect(driver: OverlayStorage) -> None:
    with mounted(driver.prepare("active")) as descriptor:
        os.mkdir(f"/proc/self/fd/{descriptor}/a")
    driver.commit("base", "active")
    with mounted(driver.prepare("one", "base")) as descriptor:
        root = f"/proc/self/fd/{descriptor}"
        with pytest.raises(OSError, match="cross-device"):
            os.rename(f"{root}/a", f"{root}/b")


def test_preparing_does_not_grow_with_the_image(driver: OverlayStorage) -> None:
    """No timed bound, only that nothing of the layers is walked: 3 directories and a record."""
    top = layered(driver, 30)
    seconds = []
    for number in range(20):
        begun = time.perf_counter()
        driver.prepare(f"one-{number}", top)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.1


def test_health_names_what_is_wrong_with_the_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIOS_DATA_ROOT", "/proc/absent")
    assert [check.health for check in checks()][-1] in (Health.OK, Health.SKIP)
    monkeypatch.setenv("MULTIOS_DATA_ROOT", "/tmp/absent/below")
    assert "/tmp" in [check.detail for check in checks()][-1]
