"""The real thing: Debian from its mirror, unpacked.

The bootstrapped image is kept below ``MULTIOS_TEST_CACHE`` (``/var/cache/multios-tests``) for the next run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.engine.images import Images
from multios.model.image import Image
from multios.store.content import ContentStore
from multios.testing.fakes import FakeSettings, FakeStorage
from multios_image_bootstrap import BootstrapSource, Settings

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_network,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    cache = Path(os.environ.get("MULTIOS_TEST_CACHE", "/var/cache/multios-tests")) / "bootstrap"
    state = tmp_path_factory.mktemp("state")
    cache.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, int, int]] = []
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a content store has one process at a time, pytest may have several
        made = Images(ContentStore(cache), [], [BootstrapSource(Settings(), DriverContext(state, state))])
        made.ensure("debian:bookworm", lambda *step: steps.append(step))
    assert all(done <= total or not total for _, done, total in steps)
    return made


@pytest.fixture(scope="module")
def debian(images: Images) -> Image:
    return images.get("debian:12")


@pytest.fixture(scope="module")
def root(images: Images, debian: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("snapshots")
    storage = FakeStorage(FakeSettings(), DriverContext(directory, directory))
    key = images.unpack(debian, storage, lambda *_: None)
    return Path(storage.view("look", key)[0].source)


def test_it_is_known_by_both_names_and_runs_a_shell(debian: Image) -> None:
    assert {"debian:12", "debian:bookworm"} <= set(debian.references)
    assert debian.config.command == ("/bin/bash",)
    assert debian.source == "bootstrap"


def test_it_is_the_release_that_was_asked_for(root: Path) -> None:
    told = subprocess.run(
        ["/usr/sbin/chroot", root, "/bin/bash", "-c", ". /etc/os-release; echo $VERSION_CODENAME"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "bookworm\n"
    assert (root / "usr/bin/apt-get").exists()


def test_nothing_of_this_host_or_of_apts_caches_is_in_it(root: Path) -> None:
    for name in ("etc/resolv.conf", "etc/hostname", "etc/hosts"):
        assert (root / name).read_bytes() == b""
    for place in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        assert not [path for path in (root / place).rglob("*") if path.is_file() and path.stat().st_size]
    assert not (root / "etc/apt/apt.conf.d/99mmdebstrap").exists()
    assert list((root / "dev").iterdir()) == []
    sources = (root / "etc/apt/sources.list").read_text()
    assert "bookworm-security" in sources and "bookworm-updates" in sources


def test_skopeo_reads_it_from_the_store(images: Images, debian: Image) -> None:
    assert images.inspect("debian:12")["Os"] == "linux"
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    source = f"oci:{images._content.directory}:debian:12"
    subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True)
