"""The image source: what it knows, what it says when a tool, a key or a mirror is missing; root filesystem files."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from multios.drivers.base import DriverContext
from multios.errors import InvalidInput, NotFound, StepFailed, Unsupported
from multios.model.image import Descriptor
from multios.store.content import ContentStore
from multios.testing.image_source import ImageSourceDriverSuite, MemoryContent
from multios_image_bootstrap import BootstrapSource, Settings, bootstrap, releases
from multios_image_bootstrap.messages import Meter, cause, unreachable
from multios_image_bootstrap.process import followed


def write_rootfs(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("etc/issue")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"lab\n"))


class TestBootstrapSource(ImageSourceDriverSuite):
    driver_type = BootstrapSource
    offline = True

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _rootfs(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("rootfs") / "rootfs.tar.gz"
        write_rootfs(path)
        cls.reference = f"rootfs:{path}"


@pytest.fixture
def source(tmp_path: Path) -> BootstrapSource:
    return BootstrapSource(Settings(), DriverContext(tmp_path, tmp_path))


def fetch(source: BootstrapSource, reference: str) -> Descriptor:
    image = source.resolve(reference)
    assert image is not None
    return source.fetch(image, MemoryContent(), lambda *_: None)


# --- what it knows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "canonical"),
    [
        ("debian:12", "debian:12"),
        ("debian:bookworm", "debian:12"),
        ("debian", "debian:13"),
        ("debian:latest", "debian:13"),
        ("ubuntu:20.04", "ubuntu:20.04"),
        ("ubuntu:noble", "ubuntu:24.04"),
    ],
)
def test_a_release_is_known_by_version_and_code_name(
    source: BootstrapSource, reference: str, canonical: str
) -> None:
    image = source.resolve(reference)
    assert image is not None
    assert image.reference == canonical


@pytest.mark.parametrize(
    "reference", ["debian:9", "debian:12-slim", "fedora:40", "ubuntu:", "debian:12:1", "Debian:12"]
)
def test_what_it_does_not_know_is_not_its_image(source: BootstrapSource, reference: str) -> None:
    assert source.resolve(reference) is None


def test_everything_it_offers_it_resolves(source: BootstrapSource) -> None:
    for reference in source.offers():
        image = source.resolve(reference)
        assert image is not None
        assert image.reference == reference


@pytest.mark.parametrize(
    "settings",
    [
        {"debian_mirror": "deb.debian.org"},
        {"debian_mirror": "http://x y"},
        {"ubuntu_mirror": "http://x\ndeb http://evil"},
        {"ubuntu_keyring": "keys.gpg"},
        {"debian_mirror": "--setup-hook=id"},
    ],
)
def test_a_setting_that_would_become_another_word_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)


# --- what is missing ------------------------------------------------------------------------------


def test_without_a_tool_it_says_what_to_install(
    source: BootstrapSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unsupported, match="neither mmdebstrap nor debootstrap") as caught:
        fetch(source, "debian:12")
    assert caught.value.remedy == "apt-get install mmdebstrap"


def test_without_ubuntus_key_it_says_where_to_get_it(tmp_path: Path) -> None:
    source = BootstrapSource(Settings(ubuntu_keyring="/nonexistent/k.gpg"), DriverContext(tmp_path, tmp_path))
    with pytest.raises(Unsupported, match="Ubuntu 22.04 .jammy. cannot be verified: /nonexistent/k.gpg"):
        fetch(source, "ubuntu:22.04")


@pytest.mark.needs_root
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_mirror_that_does_not_answer_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(
        debian_mirror="http://127.0.0.1:1/debian", debian_security_mirror="http://127.0.0.1:1/security"
    )
    source = BootstrapSource(settings, DriverContext(tmp_path, tmp_path))
    with pytest.raises(StepFailed, match="http://127.0.0.1:1/debian cannot be reached") as caught:
        fetch(source, "debian:12")
    assert "\n" not in caught.value.cause
    assert "debian_mirror" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_was_making_is_swept(tmp_path: Path) -> None:
    (tmp_path / "work-abc" / "root").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    bootstrap.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_commands_have_every_source_and_key_as_one_word() -> None:
    for release in releases.ALL:
        where = bootstrap.origin(release, Settings())
        command = bootstrap.mmdebstrap_command(release, where)
        assert command[-len(where.sources) :] == list(where.sources)
        assert f"--keyring={where.keyring}" in command
        assert all(where.mirror in source for source in where.sources[:1])
        old = bootstrap.debootstrap_command(release, where, Path("/t"))
        assert old[-3:] == [release.codename, "/t", where.mirror]


# --- subprocesses ---------------------------------------------------------------------------------


def gone(pid: int) -> bool:
    """Whether a process has ended, soon; whoever inherited it need not have reaped it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_tool_that_is_left_is_ended_with_its_children() -> None:
    pids: list[int] = []
    command = ["sh", "-c", "sleep 1000 & echo $! >&2; echo $$ >&2; wait"]
    with (
        pytest.raises(RuntimeError, match="the disk is full"),
        followed(command, os.environ, lambda line: pids.append(int(line))),
    ):
        while len(pids) < 2:
            time.sleep(0.01)
        raise RuntimeError("the disk is full")
    assert all(gone(pid) for pid in pids)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_tool_does_not_outlive_the_thread_that_waits_for_it() -> None:
    pids: list[int] = []

    def abandon() -> None:
        context = followed(
            ["sh", "-c", "echo $$ >&2; exec sleep 1000"], os.environ, lambda line: pids.append(int(line))
        )
        context.__enter__()
        kept.append(context)
        while not pids:
            time.sleep(0.01)

    kept: list[object] = []
    thread = threading.Thread(target=abandon)
    thread.start()
    thread.join()
    assert gone(pids[0])


def freed(lock: IO[str]) -> bool:
    """Whether the last process that held the lock is gone within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


FETCHER = """
import os, sys
from multios_image_bootstrap.process import CONFINED, followed
script = "mount -t tmpfs none $1/root; exec 9>$1/lock; flock 9; echo ready; sleep 1000 & setsid sleep 1000 & wait"
with followed([*CONFINED, "sh", "-c", script, "tool", sys.argv[1]], os.environ, print) as tool:
    print(tool.output.readline().decode(), flush=True)
    tool.finish()
"""


@pytest.mark.needs_root
def test_killed_in_the_middle_it_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    command = [sys.executable, "-c", FETCHER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as fetcher:
        assert fetcher.stdout is not None
        assert fetcher.stdout.readline() == b"ready\n"
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
        with (tmp_path / "lock").open() as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fetcher.kill()
            assert freed(lock)
    shutil.rmtree(tmp_path / "root")


def test_a_tools_output_and_messages_are_told_apart() -> None:
    said: list[str] = []
    with followed(["sh", "-c", "echo data; echo word >&2; exit 3"], os.environ, said.append) as tool:
        assert tool.output.read() == b"data\n"
        assert tool.finish() == 3
    assert said == ["word"]


# --- messages -------------------------------------------------------------------------------------


def test_messages_become_steps_with_counts() -> None:
    steps: list[tuple[str, int, int]] = []
    meter = Meter("Debian", lambda *step: steps.append(step))
    for line in [
        "I: running apt-get update...",
        "I: downloading packages with apt...",
        "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
        "Get:1 http://deb.debian.org/debian bookworm/main amd64 gcc-12-base amd64 12.2.0 [37.6 kB]",
        "I: installing essential packages...",
        "Unpacking libc6:amd64 (2.36-9) ...",
        "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.",
        "Setting up libc6:amd64 (2.36-9) ...",
        "I: creating tarball...",
    ]:
        meter.line(line)
    assert steps == [
        ("Debian: Reading package lists", 0, 0),
        ("Debian: Downloading packages", 0, 0),
        ("Debian: Downloading packages", 1, 2),
        ("Debian: Installing packages", 0, 4),
        ("Debian: Installing packages", 1, 4),
        ("Debian: Installing packages", 2, 6),
        ("Debian: Packing the root filesystem", 0, 0),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "Err:1 http://x bookworm InRelease\n  Could not resolve 'a.example.org'",
            "Could not resolve 'a.example.org'",
        ),
        (
            "W: Failed to fetch http://x  Temporary failure resolving 'x.org'",
            "Temporary failure resolving 'x.org'",
        ),
        (
            "  Could not connect to 127.0.0.1:1 (127.0.0.1). - connect (111: Connection refused)",
            "Could not connect to",
        ),
        ("E: Couldn't download http://x/Release!", "Couldn't download http://x/Release"),
    ],
)
def test_a_mirror_out_of_reach_is_recognised(line: str, reason: str) -> None:
    assert unreachable(line.splitlines()).startswith(reason)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("W: GPG error: http://x: NO_PUBKEY 871920D1991BC93C", "not signed by a key"),
        (
            "E: The repository 'http://x suite Release' does not have a Release file.",
            "does not have this release",
        ),
        ("tar: write error: No space left on device", "the disk is full"),
        ("E: something else", "something else"),
    ],
)
def test_another_cause_is_said_in_words(line: str, words: str) -> None:
    assert unreachable([line]) == ""
    assert words in cause(["I: before", line])


# --- root filesystem files ------------------------------------------------------------------------


def test_a_changed_file_is_another_image(source: BootstrapSource, tmp_path: Path) -> None:
    path = tmp_path / "My Lab.tar"
    write_rootfs(path)
    first = source.resolve(f"rootfs:{path}")
    path.write_bytes(path.read_bytes() + b"\0")
    second = source.resolve(f"rootfs:{path}")
    assert first is not None and second is not None
    assert first.reference.startswith("rootfs/my-lab-tar:")
    assert first.reference != second.reference
    assert first.data == {"host_path": str(path)}


def test_resolving_does_not_say_whether_a_file_exists(source: BootstrapSource) -> None:
    for path in ("/etc/hostname", "/no/such/file"):
        image = source.resolve(f"rootfs:{path}")
        assert image is not None and image.data == {"host_path": path}


def test_a_relative_path_is_refused(source: BootstrapSource) -> None:
    with pytest.raises(InvalidInput, match="not absolute"):
        source.resolve("rootfs:../../x.tar")


def test_a_file_that_is_no_root_filesystem_is_refused_by_name(
    source: BootstrapSource, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("no tar at all" * 100)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(5000))[:2000])
    (tmp_path / "empty").write_bytes(b"")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    for name in ("fifo", "text", "cut.gz", "empty", "."):
        with pytest.raises(InvalidInput):
            fetch(source, f"rootfs:{tmp_path}/{name}")
    with pytest.raises(NotFound, match="no such file"):
        fetch(source, f"rootfs:{tmp_path}/absent")


def test_a_file_becomes_an_image_that_the_store_can_read(source: BootstrapSource, tmp_path: Path) -> None:
    from multios.store.manifest import read_image

    write_rootfs(tmp_path / "r.tar.gz")
    content = ContentStore(tmp_path / "content")
    resolved = source.resolve(f"rootfs:{tmp_path}/r.tar.gz")
    assert resolved is not None
    image = read_image(content, source.fetch(resolved, content, lambda *_: None))
    assert image.config.command == ("/bin/sh",)
    assert len(image.layers) == 1
