"""Volumes, copies and archives."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from private_engine import IMAGE, PrivateEngine


def test_a_bind_mount_is_writable_or_not_as_asked(engine: PrivateEngine, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from outside\n")
    tmp_path.chmod(0o755)
    out = engine.out(
        "run",
        "--rm",
        "-v",
        f"{tmp_path}:/data",
        IMAGE,
        "sh",
        "-c",
        "cat /data/given; echo inside > /data/made; id -u",
    )
    assert out == "from outside\n0"
    assert (tmp_path / "made").read_text() == "inside\n"
    assert (tmp_path / "made").stat().st_uid == 0
    done = engine.run("run", "--rm", "-v", f"{tmp_path}:/data:ro", IMAGE, "touch", "/data/x", status=1)
    assert "Read-only" in done.stderr


def test_a_host_path_that_is_not_there_is_refused(engine: PrivateEngine) -> None:
    done = engine.run("run", "--rm", "-v", "/no/such/place:/data", IMAGE, "true", status=125)
    assert "/no/such/place" in done.stderr
    assert not Path("/no/such").exists()


def test_a_volume_outlives_its_containers_and_is_removed_when_unused(
    engine: PrivateEngine, name: str
) -> None:
    volume = f"{name}-volume"[-60:].lstrip("-")
    engine.run("run", "--rm", "-v", f"{volume}:/data", IMAGE, "sh", "-c", "echo kept > /data/file")
    assert engine.out("run", "--rm", "-v", f"{volume}:/data", IMAGE, "cat", "/data/file") == "kept"
    engine.run("create", "--name", name, "-v", f"{volume}:/data", IMAGE)
    assert name in engine.run("volume", "rm", volume, status=125).stderr
    engine.run("delete", name)
    engine.run("volume", "rm", volume)
    assert volume not in engine.out("volume", "list")


def test_a_tmpfs_is_in_memory_and_bounded(engine: PrivateEngine) -> None:
    done = engine.run(
        "run", "--rm", "--tmpfs", "/scratch:size=1M", IMAGE, "dd", "if=/dev/zero", "of=/scratch/x", "bs=1M", "count=3",
        status=1,
    )  # fmt: skip
    assert "No space" in done.stderr


def test_read_only_makes_the_root_file_system_so(engine: PrivateEngine) -> None:
    done = engine.run("run", "--rm", "--read-only", IMAGE, "touch", "/x", status=1)
    assert "Read-only" in done.stderr


def test_cp_goes_both_ways_for_files_and_directories(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    engine.run("create", "--name", name, IMAGE, "cat", "/root/there/a")
    source = tmp_path / "there"
    source.mkdir()
    (source / "a").write_text("A\n")
    engine.run("cp", str(source), f"{name}:/root/")
    assert engine.run("start", "--attach", name).stdout == "A\n"
    engine.run("cp", f"{name}:/etc/greeting", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "hello\n"


def test_cp_from_a_running_container_sees_what_it_wrote(
    engine: PrivateEngine, running: str, tmp_path: Path
) -> None:
    engine.run("exec", running, "sh", "-c", "echo fresh > /root/file")
    engine.run("cp", f"{running}:/root/file", str(tmp_path))
    assert (tmp_path / "file").read_text() == "fresh\n"


def test_cp_through_a_link_inside_does_not_leave_the_container(
    engine: PrivateEngine, running: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's\n")
    engine.run("exec", running, "ln", "-s", str(tmp_path), "/root/way-out")
    done = engine.run("cp", f"{running}:/root/way-out/secret", str(tmp_path / "stolen"), status=None)
    assert done.returncode != 0
    assert not (tmp_path / "stolen").exists()
    (tmp_path / "new").write_text("new\n")
    engine.run("cp", str(tmp_path / "new"), f"{running}:/root/way-out/secret", status=None)
    assert secret.read_text() == "the host's\n"


def test_an_exported_file_system_is_an_image_again(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    engine.run(
        "run", "--name", name, IMAGE, "sh", "-c", "echo changed > /etc/greeting; chown student /etc/greeting"
    )
    archive = tmp_path / "container-fs.tar"
    with archive.open("wb") as file:
        done = subprocess.run(
            engine.command("export", name), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE,
            env=engine.environment, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with tarfile.open(archive) as content:
        greeting = next(entry for entry in content if entry.name.lstrip("./") == "etc/greeting")
        assert greeting.uid == 1000
    engine.run("image", "import", str(archive), "exported:1")
    assert engine.out("run", "--rm", "exported:1", "cat", "/etc/greeting") == "changed"
    engine.run("image", "rm", "exported:1")


def test_an_archive_that_climbs_out_writes_nothing_outside(engine: PrivateEngine, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    mark = engine.data_root / "escaped"
    with tarfile.open(archive, "w") as content:
        for entry_name in (f"../../../../../../../..{mark}", str(mark)):
            entry = tarfile.TarInfo(entry_name)
            entry.size = 4
            content.addfile(entry, io.BytesIO(b"evil"))
    engine.run("image", "import", str(archive), "evil:1", status=None)
    engine.run("run", "--rm", "evil:1", "true", status=None)
    assert not mark.exists()
    engine.run("image", "rm", "--force", "evil:1", status=None)


def test_an_image_in_use_is_kept(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    (tmp_path / "used").write_text("an image of its own, which no other test names")
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add(tmp_path / "used", "used")
    engine.run("image", "import", str(tmp_path / "root.tar"), "in-use:1")
    engine.run("create", "--name", name, "in-use:1")
    assert f"used by container {name}" in engine.run("image", "rm", "in-use:1", status=125).stderr
    assert "in-use" in engine.out("images")
    engine.run("delete", name)
    engine.run("image", "rm", "in-use:1")


def test_a_running_container_is_exported_without_what_is_mounted_in_it(
    engine: PrivateEngine, running: str, tmp_path: Path
) -> None:
    engine.run(
        "exec", running, "sh", "-c", "mkdir -p /deep/er; echo new > /deep/er/file; echo x > /dev/shm/memory"
    )
    engine.run("export", running, "-o", str(tmp_path / "all.tar"))
    with tarfile.open(tmp_path / "all.tar") as archive:
        names = archive.getnames()
    assert {"deep/er/file", "proc", "dev", "bin/busybox"} <= set(names)
    assert not any(name.startswith(("proc/", "dev/", "sys/")) for name in names)
