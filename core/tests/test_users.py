"""Users are those of the image, read through its layers without leaving them."""

from __future__ import annotations

from pathlib import Path

import pytest

from multios.engine.users import Account, resolve
from multios.errors import InvalidInput, NotFound
from multios.model.mount import Mount

PASSWD = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada:/home/ada:/bin/sh\n"
GROUP = "root:x:0:\nada:x:1000:\nlab:x:2000:ada,bob\naudio:x:29:\n"


@pytest.fixture
def rootfs(tmp_path: Path) -> tuple[Mount, ...]:
    for name in ("lower", "upper"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "lower/etc/passwd").write_text(PASSWD)
    (tmp_path / "lower/etc/group").write_text(GROUP)
    options = (f"lowerdir={tmp_path}/lower", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work")
    return (Mount("overlay", "overlay", options),)


def test_root_needs_no_files() -> None:
    assert resolve("", ()) == Account(0, 0, (), "/root")


def test_a_name_brings_its_groups_and_home(rootfs: tuple[Mount, ...]) -> None:
    assert resolve("ada", rootfs) == Account(1000, 1000, (2000,), "/home/ada")


def test_a_number_that_is_nobody_is_allowed(rootfs: tuple[Mount, ...]) -> None:
    assert resolve("4242:29", rootfs) == Account(4242, 29, (), "/")


def test_a_group_by_name_and_extra_groups(rootfs: tuple[Mount, ...]) -> None:
    assert resolve("ada:audio", rootfs, ["lab"]) == Account(1000, 29, (2000,), "/home/ada")


@pytest.mark.parametrize("user", ["nobody-here", "ada:nobodies"])
def test_unknown_names_are_named(user: str, rootfs: tuple[Mount, ...]) -> None:
    with pytest.raises(NotFound, match="nobod"):
        resolve(user, rootfs)


def test_ids_past_the_containers_range_are_refused(rootfs: tuple[Mount, ...]) -> None:
    with pytest.raises(InvalidInput):
        resolve("70000", rootfs)


def test_the_upper_layer_hides_the_lower(rootfs: tuple[Mount, ...], tmp_path: Path) -> None:
    (tmp_path / "upper/etc/passwd").write_text("eve:x:5:5::/:/bin/sh\n")
    with pytest.raises(NotFound):
        resolve("ada", rootfs)


def test_a_link_to_the_hosts_files_is_not_followed(rootfs: tuple[Mount, ...], tmp_path: Path) -> None:
    (tmp_path / "upper/etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(NotFound):
        resolve("daemon", rootfs)
