"""Where measurements run: as root, in a network namespace of their own, on file systems that nothing was on before."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_INSIDE = "BENCHMARK_INSIDE"
"""Set where the network namespace is entered."""


def enter() -> None:
    """Run this program again in a network namespace: bridges and packet filter rules of all engines go with it."""
    if os.geteuid() != 0:
        raise SystemExit("benchmarks need root: try sudo")
    if _INSIDE not in os.environ:
        script = Path(__file__).resolve().parent.parent / "scripts/install-system-packages"
        subprocess.run([script, "test"], check=True)
        words = ["unshare", "--net", "--mount", sys.executable, *sys.orig_argv[1:]]
        os.execvpe(words[0], words, {**os.environ, _INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def private_directory(path: Path) -> Iterator[None]:
    """An empty file system at ``path`` that nobody else sees: what is written there does not stay on the machine."""
    absent = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--no-mtab", "--lazy", str(path)], check=True)
        with contextlib.suppress(OSError):  # somebody else has put something there meanwhile
            for each in absent:
                each.rmdir()


@contextlib.contextmanager
def passing_cgroup(name: str) -> Iterator[None]:
    """Remove the cgroup ``name`` at the end, in every hierarchy that did not have it before."""
    before = _groups(name)
    try:
        yield
    finally:
        for group in _groups(name) - before:
            with contextlib.suppress(OSError):  # somebody else's container is in it
                for directory, _, _ in os.walk(group, topdown=False):
                    os.rmdir(directory)


def _groups(name: str) -> set[Path]:
    top = Path("/sys/fs/cgroup")
    # On a hybrid host some hierarchies are links to others.
    found = (place.resolve() for place in (top / name, *top.glob(f"*/{name}")))
    return {place for place in found if place.is_dir()}


@contextlib.contextmanager
def fresh_disk(directory: Path, gigabytes: int = 6) -> Iterator[Path]:
    """A new ext4 file system: creating files where thousands were just deleted is many times slower."""
    image, place = directory / "disk", directory / "mnt"
    place.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(gigabytes << 30)
    lazy_is_not = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-E", lazy_is_not, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        os.sync()
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        image.unlink()
