"""Attacks by links, names and special files: on ``cp``, ``export``, volumes, the engine's files, users, layers.

The docstrings are rows of docs/explanation/attacks.md: the attack, ``CVE:`` where it has a number, ``Stopped by:``.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacker import entry, import_image, mounts_of_host, resident, symlink
from private_engine import IMAGE, PrivateEngine

SECRET = "the host's secret\n"


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file of the host's in a directory of its own; it must be as it was afterwards, and nothing beside it."""
    directory = tmp_path / "host"
    directory.mkdir()
    file = directory / "secret"
    file.write_text(SECRET)
    yield file
    assert file.read_text() == SECRET
    assert os.listdir(directory) == ["secret"]


def flipping(path: str, target: str) -> list[str]:
    """A command that changes ``path`` between a directory and a link to ``target``, as fast as it can."""
    loop = (
        f"mkdir -p {path}.d; echo mine >{path}.d/secret; ln -sfn {target} {path}.l; "
        f"while :; do mv -T {path}.d {path}; mv -T {path} {path}.d; mv -T {path}.l {path}; mv -T {path} {path}.l; done"
    )
    return ["sh", "-c", loop]


def evil_name_service(engine: PrivateEngine) -> str:
    """An image whose name service is a FIFO: whoever opens it to load code from it, waits for ever."""
    places = (
        "lib",
        "lib64",
        "usr/lib",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
    )
    traps = [entry(f"{place}/libnss_evil.so.2", tarfile.FIFOTYPE) for place in places]
    return import_image(engine, "evilnss:1", traps, {"etc/nsswitch.conf": b"passwd: evil\ngroup: evil\n"})


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_cp_and_export_load_nothing_of_the_images(
    engine: PrivateEngine, name: str, tmp_path: Path, state: str
) -> None:
    """A library in the image that ``cp`` and ``export`` would load to look up names, as the host's root.

    CVE: CVE-2019-14271
    Stopped by: their process looks up no names, and imports nothing once it is inside
    """
    image = evil_name_service(engine)
    engine.run("create", "--name", name, image, "sleep", "100")
    if state == "running":
        engine.run("start", name)
    engine.run("export", "-o", str(tmp_path / "all.tar"), name, timeout=30)
    engine.run("cp", f"{name}:/etc/greeting", str(tmp_path / "greeting"), timeout=30)
    engine.run("cp", str(tmp_path / "greeting"), f"{name}:/root/", timeout=30)
    assert (tmp_path / "greeting").read_text() == "hello\n"


def test_cp_out_of_a_path_that_changes_meanwhile_reads_nothing_of_the_host(
    engine: PrivateEngine, name: str, secret: Path, tmp_path: Path
) -> None:
    """A directory that becomes a link to the host's while ``cp`` and ``export`` read it.

    CVE: CVE-2018-15664
    Stopped by: the process that reads has the container's root as its own before it looks at a path
    """
    engine.run("run", "-d", "--name", name, IMAGE, *flipping("/root/x", str(secret.parent)))
    for number in range(15):
        engine.run("cp", f"{name}:/root/x/secret", str(tmp_path / f"file{number}"), status=None)
        engine.run("cp", f"{name}:/root/x", str(tmp_path / f"tree{number}"), status=None)
    engine.run("export", "-o", str(tmp_path / "all.tar"), name, status=None)
    taken = [
        path for path in tmp_path.rglob("*") if path.is_file() and path != secret and not path.is_symlink()
    ]
    assert taken, "nothing was copied at all"
    assert not any(SECRET.encode() in path.read_bytes() for path in taken)


def test_cp_into_a_path_that_changes_meanwhile_writes_nothing_to_the_host(
    engine: PrivateEngine, name: str, secret: Path, tmp_path: Path
) -> None:
    """A directory that becomes a link to the host's while ``cp`` writes to it.

    CVE: CVE-2018-15664
    Stopped by: the process that writes has the container's root as its own before it looks at a path
    """
    engine.run("run", "-d", "--name", name, IMAGE, *flipping("/root/x", str(secret.parent)))
    given = tmp_path / "given"
    given.mkdir()
    (given / "secret").write_text("overwritten\n")
    (given / "new").write_text("new\n")
    for _ in range(15):
        engine.run("cp", str(given / "secret"), f"{name}:/root/x/", status=None)
        engine.run("cp", f"{given}/.", f"{name}:/root/x", status=None)


def test_a_volume_below_a_path_that_changes_meanwhile_is_mounted_inside(
    engine: PrivateEngine, name: str, secret: Path
) -> None:
    """Two containers share a volume; one makes a link of the place where the other's next volume is mounted.

    CVE: CVE-2021-30465
    Stopped by: the container's root is entered before anything is mounted in it
    """
    before = mounts_of_host()
    shared, inner = f"{name[:20]}-shared", f"{name[:20]}-inner"
    engine.run(
        "run",
        "-d",
        "--name",
        name,
        "-v",
        f"{shared}:/v",
        IMAGE,
        *flipping("/v/x", f"/../../..{secret.parent}"),
    )
    look = "cat /v/x/y/secret /v/x/secret 2>/dev/null; grep -c /v/x /proc/self/mountinfo"
    mount = ["-v", f"{shared}:/v", "-v", f"{inner}:/v/x/y"]
    for _ in range(10):
        done = engine.run("run", "--rm", *mount, IMAGE, "sh", "-c", look, status=None)
        assert SECRET not in done.stdout
    mine = [place for place in mounts_of_host() if place not in before and str(secret.parent) in place]
    assert not mine
    engine.run("delete", "--force", name)
    engine.run("volume", "rm", shared, inner)


@pytest.mark.parametrize("kind", ["link", "link to a FIFO", "FIFO", "device"])
def test_the_engines_files_are_not_written_through_what_an_image_has_there(
    engine: PrivateEngine, secret: Path, kind: str
) -> None:
    """An image whose ``/etc/hosts``, ``hostname`` and ``resolv.conf`` are links to the host's files, FIFOs, devices.

    Stopped by: nothing in an image is opened; the engine's own files are mounted over it, inside its root
    """
    names = ("etc/hosts", "etc/hostname", "etc/resolv.conf")
    made = {
        "link": lambda name: symlink(name, f"{secret}{len(name)}"),
        "link to a FIFO": lambda name: symlink(name, f"/fifo{len(name)}"),
        "FIFO": lambda name: entry(name, tarfile.FIFOTYPE),
        "device": lambda name: entry(name, tarfile.CHRTYPE, device=(1, 8)),
    }[kind]
    pipes = [entry(f"fifo{len(name)}", tarfile.FIFOTYPE) for name in names]
    image = import_image(engine, "etc:1", [*pipes, *map(made, names)])
    done = engine.run("run", "--rm", image, "timeout", "5", "cat", "/etc/hosts", timeout=30)
    assert "localhost" in done.stdout and SECRET not in done.stdout


PASSWD = {
    "link to the host's": symlink("etc/passwd", "/etc/passwd"),
    "link out": symlink("etc/passwd", "../../../../../../../../etc/passwd"),
    "link to itself": symlink("etc/passwd", "passwd"),
    "FIFO": entry("etc/passwd", tarfile.FIFOTYPE),
    "endless device": entry("etc/passwd", tarfile.CHRTYPE, device=(1, 5)),
    "directory": entry("etc/passwd", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("kind", PASSWD)
def test_a_passwd_that_is_no_file_names_nobody(engine: PrivateEngine, kind: str) -> None:
    """An image whose ``/etc/passwd`` is a link to the host's, a FIFO, an endless device, a loop.

    Stopped by: read layer by layer, no link followed, regular files only, at most 1 MiB
    """
    image = import_image(engine, "passwd:1", [PASSWD[kind]])
    done = engine.run("run", "--rm", "-u", "daemon", image, "id", status=125, timeout=30)
    assert "no such user" in done.stderr
    assert engine.out("run", "--rm", "-u", "1234", image, "grep", "^Uid", "/proc/self/status")[-4:] == "1234"


def test_a_passwd_without_end_costs_the_daemon_nothing(engine: PrivateEngine, running: str) -> None:
    """A ``/etc/passwd`` of a terabyte, or with ids of thousands of digits.

    Stopped by: at most 1 MiB is read; numbers have a bound
    """
    before = resident(engine.daemon_pid)
    engine.run("exec", running, "truncate", "-s", "1024G", "/etc/passwd")
    engine.run("exec", "-u", "nobody-there", running, "id", status=125, timeout=30)
    assert resident(engine.daemon_pid) - before < 20_000_000
    engine.run("exec", running, "sh", "-c", f"echo long:x:{'9' * 5000}:0::/:/bin/sh >/etc/passwd")
    done = engine.run("exec", "-u", "long", running, "id", status=125)
    assert "out of range" in done.stderr and len(done.stderr) < 300


@pytest.mark.parametrize("ending", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_line_cannot_be_hidden_in_a_field_of_passwd(
    engine: PrivateEngine, running: str, ending: str
) -> None:
    """A comment in ``/etc/passwd`` with what some readers take for the end of a line, and a root account behind it.

    Stopped by: lines end at line feeds only
    """
    line = f"student:x:1000:1000:me{ending}evil:x:0:0::/:/bin/sh\n"
    engine.run("exec", "-i", running, "sh", "-c", "cat >/etc/passwd", input=line)
    engine.run("exec", "-u", "evil", running, "id", status=125)


@pytest.mark.parametrize(
    "options",
    [(), ("--cap-add", "ALL"), ("--userns", "host")],
    ids=["default", "all capabilities", "host's ids"],
)
def test_a_disk_of_the_host_that_a_layer_brings_opens_nothing(
    engine: PrivateEngine, options: tuple[str, ...]
) -> None:
    """An image with a block device node of the host's disk, and one of its memory, for everyone to read.

    Stopped by: the root file system is mounted nodev, and the device cgroup allows none of them
    """
    disk = next(line.split() for line in Path("/proc/partitions").read_text().splitlines()[2:])
    nodes = [
        entry("disk", tarfile.BLKTYPE, mode=0o666, device=(int(disk[0]), int(disk[1]))),
        entry("memory", tarfile.CHRTYPE, mode=0o666, device=(1, 1)),
    ]
    image = import_image(engine, "disk:1", nodes)
    for node in ("/disk", "/memory"):
        done = engine.run("run", "--rm", *options, image, "dd", f"if={node}", "bs=1", "count=1", status=1)
        assert "Permission denied" in done.stderr or "not permitted" in done.stderr


def test_no_user_of_the_host_reaches_a_set_user_id_program_that_root_inside_made(
    engine: PrivateEngine, running: str, name: str
) -> None:
    """Make a set-user-id root program in the container's root or a volume, and run it as a user of the host.

    Stopped by: on the host the files lie below directories that only root can enter
    """
    volume = f"{name[:30]}-suid"
    plant = "cp /bin/busybox /d/suid; chmod 4755 /d/suid"
    engine.run("run", "--rm", "-v", f"{volume}:/d", IMAGE, "sh", "-c", plant)
    engine.run("exec", running, "sh", "-c", f"mkdir /d; {plant}")
    found = [path for path in engine.data_root.rglob("suid") if path.is_file()]
    assert len(found) >= 2
    engine.directory.chmod(0o755)
    for path in found:
        assert path.stat().st_mode & 0o4000
        closed = [
            parent
            for parent in path.parents
            if engine.data_root in parent.parents and not parent.stat().st_mode & 0o005
        ]
        assert closed, path
        with pytest.raises(PermissionError):
            subprocess.run([path, "true"], user=65534, group=65534, extra_groups=[], check=False)
    engine.run("volume", "rm", volume)


def test_a_set_user_id_program_in_a_volume_gives_nothing(engine: PrivateEngine, name: str) -> None:
    """A set-user-id root program in the image, or in a volume, run by an ordinary user inside.

    Stopped by: no_new_privs; volumes are mounted nosuid
    """
    volume = f"{name[:30]}-nosuid"
    plant = "cp /bin/busybox /d/id; chmod 4755 /d/id; cp /bin/busybox /bin/suid; chmod 4755 /bin/suid"
    engine.run("run", "-d", "--name", name, "-v", f"{volume}:/d", IMAGE, "sh", "-c", f"{plant}; sleep 100")
    engine.run("exec", name, "sh", "-c", "until [ -u /bin/suid ]; do sleep 0.1; done")
    assert engine.out("exec", "-u", "student", name, "/d/id", "-u") == "1000"
    assert engine.out("exec", "-u", "student", name, "sh", "-c", "exec -a id /bin/suid -u", status=None) in (
        "1000",
        "",
    )
    engine.run("delete", "--force", name)
    engine.run("volume", "rm", volume)


def test_a_tree_deeper_than_a_path_can_be_long_harms_neither_cp_nor_export_nor_diff(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    """Directories in directories, deeper than the longest path, with names of 255 bytes.

    Stopped by: each ends with an error or does its work; none takes the daemon along, and the container can be deleted
    """
    deep = "n=$(head -c 250 /dev/zero | tr '\\0' d); i=0; while [ $i -lt 60 ]; do mkdir $n; cd $n; i=$((i+1)); done; sleep 100"
    engine.run("run", "-d", "--name", name, "-w", "/root", IMAGE, "sh", "-c", deep)
    time.sleep(1)
    pid = engine.daemon_pid
    for words in (
        ["export", "-o", str(tmp_path / "x.tar"), name],
        ["cp", f"{name}:/root", str(tmp_path / "o")],
        ["diff", name],
    ):
        done = engine.run(*words, status=None, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 125), done
    engine.run("delete", "--force", name)
    assert engine.daemon_pid == pid
    subprocess.run(["rm", "-rf", str(tmp_path / "o")], check=True)
