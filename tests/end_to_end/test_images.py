"""Images to and from archives, with skopeo, umoci and podman as readers and writers; lists, names, history, prune."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine, eventually


def tool(*words: str | Path) -> str:
    """What another tool prints; it must succeed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def record(engine: PrivateEngine, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(engine.out("image", "inspect", name))[0]
    return found


@pytest.fixture
def copy(engine: PrivateEngine, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for an image that is this test's own."""
    text = "".join(letter for letter in request.node.name.lower() if letter.isalnum())[-40:] + ":1"
    yield text
    engine.run("image", "rm", "--force", text, status=None)


def variant(engine: PrivateEngine, name: str) -> str:
    """An image of its own with this name; its id."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("./etc/name")
        entry.size = len(name)
        archive.addfile(entry, io.BytesIO(name.encode()))
    return engine.out("image", "import", "-", name, input=data.getvalue())


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
def test_what_is_saved_is_loaded_as_the_same_image(
    engine: PrivateEngine, tmp_path: Path, copy: str, form: str
) -> None:
    image_id = variant(engine, copy)
    before = record(engine, copy)
    engine.run("save", "--format", form, "-o", str(tmp_path / "saved"), copy)
    engine.run("image", "rm", copy)
    assert engine.out("load", "-i", str(tmp_path / "saved")) == f"Loaded image: {copy}"
    after = record(engine, copy)
    assert after["Id"] == image_id
    if form != "docker-archive":
        assert after["Digest"] == before["Digest"]


def test_an_export_is_read_by_import_through_pipes_and_compressed(engine: PrivateEngine, copy: str) -> None:
    image_id = variant(engine, copy)
    command = " ".join(engine.command())
    script = f"{command} image export {copy} | gzip | {command} image import - other-{copy}"
    done = subprocess.run(
        ["sh", "-c", script], env=engine.environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == image_id, done.stderr
    assert set(record(engine, image_id)["RepoTags"]) == {copy, f"other-{copy}"}  # type: ignore[call-overload]
    engine.run("image", "rm", f"other-{copy}")


def test_several_images_share_one_archive(engine: PrivateEngine, tmp_path: Path, copy: str) -> None:
    variant(engine, copy)
    archive = tmp_path / "both.tar"
    engine.run("save", "-o", str(archive), copy, IMAGE)
    engine.run("image", "rm", copy)
    assert engine.out("load", "-i", str(archive)).splitlines() == [
        f"Loaded image: {copy}",
        f"Loaded image: {IMAGE}",
    ]
    assert "2 images" in engine.run("image", "import", str(archive), "one:1", status=125).stderr


def test_skopeo_reads_the_store_itself(engine: PrivateEngine, tmp_path: Path) -> None:
    where = f"oci:{engine.data_root / 'content'}:{IMAGE}"
    assert json.loads(tool("skopeo", "inspect", where))["Digest"] == record(engine, IMAGE)["Digest"]
    tool("skopeo", "copy", where, f"oci:{tmp_path / 'copied'}:1")


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_skopeo_reads_what_is_saved_and_what_it_writes_is_loaded(
    engine: PrivateEngine, tmp_path: Path, copy: str, form: str
) -> None:
    image_id = variant(engine, copy)
    saved, copied = tmp_path / "saved.tar", tmp_path / "copied.tar"
    engine.run("save", "--format", form, "-o", str(saved), copy)
    tool("skopeo", "copy", f"{form}:{saved}", f"{form}:{copied}:{copy}")
    engine.run("image", "rm", copy)
    assert engine.out("image", "import", str(copied)) == image_id
    loaded = record(engine, image_id)["RepoTags"]
    assert [str(name).removeprefix("docker.io/library/") for name in loaded] == [copy]  # type: ignore[attr-defined]
    engine.run("image", "rm", image_id)


def test_docker_reads_an_export_too(engine: PrivateEngine, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        subprocess.run(
            engine.command("image", "export", IMAGE), stdout=file, env=engine.environment, check=True
        )
    found = json.loads(tool("skopeo", "inspect", "--config", f"docker-archive:{archive}"))
    assert found["rootfs"]["diff_ids"] == record(engine, IMAGE)["RootFS"]["Layers"]  # type: ignore[index]


def test_skopeo_directories_are_imported(engine: PrivateEngine, tmp_path: Path, copy: str) -> None:
    variant(engine, copy)
    tool("skopeo", "copy", f"oci:{engine.data_root / 'content'}:{copy}", f"dir:{tmp_path / 'dir'}")
    digest = record(engine, copy)["Digest"]
    engine.run("image", "rm", copy)
    engine.run("image", "import", str(tmp_path / "dir"), copy)
    assert record(engine, copy)["Digest"] == digest


def test_umoci_unpacks_an_exported_directory(engine: PrivateEngine, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    engine.run("image", "export", "--format", "oci-dir", "-o", str(layout), IMAGE)
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "one"  # umoci takes no colon
    (layout / "index.json").write_text(json.dumps(index))
    tool("umoci", "unpack", "--image", f"{layout}:one", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/etc/greeting").read_text() == "hello\n"


def test_podman_loads_what_is_saved_and_what_it_saves_is_loaded(
    engine: PrivateEngine, tmp_path: Path, copy: str
) -> None:
    image_id = variant(engine, copy)
    with tempfile.TemporaryDirectory(dir="/run") as run:  # podman takes at most 50 characters
        roots = ["--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
        for form in ("docker-archive", "oci-archive"):
            archive = tmp_path / f"{form}.tar"
            engine.run("save", "--format", form, "-o", str(archive), copy)
            tool("podman", *roots, "load", "-i", archive)
            tool("podman", *roots, "save", "--format", form, "-o", tmp_path / f"back-{form}.tar", image_id)
            assert engine.out("image", "import", str(tmp_path / f"back-{form}.tar"), copy) == image_id


def test_an_archive_does_not_go_to_a_terminal_and_a_failed_one_leaves_no_file(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    assert "no such image" in engine.run("save", "-o", str(tmp_path / "x"), "absent:1", status=125).stderr
    assert not (tmp_path / "x").exists()
    engine.run("save", "--format", "oci-dir", "-o", str(tmp_path / "d"), "absent:1", status=125)
    assert not (tmp_path / "d").exists()


def test_a_full_disk_is_said_in_one_line(engine: PrivateEngine) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            engine.command("save", IMAGE), stdout=full, stderr=subprocess.PIPE, env=engine.environment
        )
    assert done.returncode == 125
    assert b"No space left" in done.stderr


def test_images_are_filtered_sorted_and_shown_in_full(engine: PrivateEngine, copy: str) -> None:
    image_id = variant(engine, copy)
    assert engine.out("images", "--quiet", "--no-trunc", copy) == image_id
    assert engine.out("images", "-q", "--filter", f"reference={copy.partition(':')[0]}") == image_id[:12]
    assert image_id[:12] not in engine.out("images", "-q", "--filter", "dangling=true").split()
    assert image_id[:12] in engine.out("images", "-q", "--filter", f"since={IMAGE}").split()
    assert image_id[:12] not in engine.out("images", "-q", "--filter", f"before={IMAGE}").split()
    assert str(record(engine, copy)["Digest"]) in engine.out("images", "--digests", "--sort", "size")
    assert "dangling" in engine.run("images", "--filter", "danglin=1", status=125).stderr


def test_an_image_gets_names_and_tells_its_history(engine: PrivateEngine, copy: str) -> None:
    image_id = variant(engine, copy)
    engine.run("tag", copy, f"a-{copy}", f"b-{copy}")
    assert len(record(engine, copy)["RepoTags"]) == 3  # type: ignore[arg-type]
    engine.run("rmi", f"a-{copy}", f"b-{copy}")
    assert (
        engine.out("history", "--format", "{{.ID}} {{.CreatedBy}}", copy) == f"{image_id[:12]} import {copy}"
    )


def test_prune_removes_only_what_is_unused(engine: PrivateEngine, copy: str, name: str) -> None:
    first = variant(engine, copy)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("other"))
    second = engine.out("image", "import", "-", copy, input=data.getvalue())
    assert first[:12] in engine.out("images", "-q", "--filter", "dangling=true")
    pruned = engine.out("image", "prune")
    assert f"sha256:{first}" in pruned and "Freed" in pruned
    assert second[:12] in engine.out("images", "-q")
    engine.run("create", "--name", name, copy, "/x")
    assert second not in engine.out("image", "prune", "--all", "--filter", "label=no-image-has-this")
    engine.run("delete", name)


def test_a_configuration_is_changed_by_lines_of_a_dockerfile(
    engine: PrivateEngine, tmp_path: Path, copy: str
) -> None:
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    changes = ['CMD ["/bin/a", "b"]', "ENV A=b C=d", "WORKDIR=/work", "LABEL one=two", "USER student"]
    words = [word for line in changes for word in ("--change", line)]
    engine.run("image", "import", *words, str(tmp_path / "root.tar"), copy)
    config = record(engine, copy)["Config"]
    assert isinstance(config, dict)
    assert config["Cmd"] == ["/bin/a", "b"]
    assert config["WorkingDir"] == "/work" and config["User"] == "student"
    assert {"A=b", "C=d"} < set(config["Env"]) and config["Labels"] == {"one": "two"}
    wrong = engine.run("image", "import", "-c", "RUN true", str(tmp_path / "root.tar"), copy, status=125)
    assert "configuration" in wrong.stderr


def test_two_loads_at_once_and_a_removal_meanwhile_leave_a_whole_image_or_none(
    engine: PrivateEngine, tmp_path: Path, copy: str
) -> None:
    variant(engine, copy)
    archive = str(tmp_path / "image.tar")
    engine.run("save", "-o", archive, copy)
    loads = [engine.popen("load", "-i", archive, stdout=subprocess.DEVNULL) for _ in range(4)]
    engine.run("image", "rm", "--force", copy, status=None)
    assert [load.wait(60) for load in loads] == [0] * 4
    engine.run("load", "-i", archive)
    assert record(engine, copy)["Size"]


def test_a_daemon_killed_in_the_middle_of_a_load_leaves_nothing(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    engine = make_engine(image=False)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    load = engine.popen("load", "-i", str(pipe), stderr=subprocess.DEVNULL)
    with pipe.open("wb") as writing:
        entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
        entry.size = 1 << 20
        writing.write(entry.tobuf() + bytes(1 << 18))
        writing.flush()
        ingest = engine.data_root / "content/ingest"
        eventually(lambda: any(ingest.iterdir()), "the load has begun")
        os.kill(engine.daemon_pid, 9)
        assert load.wait(30)
    engine.start()
    assert not any(ingest.iterdir())
    assert engine.out("images", "-q") == ""
    assert not any((engine.data_root / "content/blobs/sha256").iterdir())


def test_a_commit_holds_all_that_the_container_changed(
    engine: PrivateEngine, tmp_path: Path, copy: str, name: str
) -> None:
    script = (
        "mkdir /new; echo text > /new/file; ln /new/file /new/link; ln -s file /new/soft; chown 1000:50 /new/file;"
        "chmod 4750 /new/file; mkfifo /new/fifo; truncate -s 8M /new/sparse; rm /etc/greeting;"
        "rm -r /home/student; mkdir /home/student; echo x > /home/student/only"
    )
    engine.run("run", "--name", name, "--volume", "/var/tmp:/volume", IMAGE, "sh", "-ec", script)
    assert "D /etc/greeting" in engine.out("diff", name).splitlines()
    assert "A /new/file" in engine.out("diff", name).splitlines()
    assert not {"A /etc/hosts", "A /volume"} & set(engine.out("diff", name).splitlines())  # only mounted on
    words = ["--message", "a message", "--author", "somebody", "--change", "CMD cat /new/file"]
    image_id = engine.out("commit", *words, name, copy)
    assert record(engine, copy)["Id"] == image_id
    assert "a message" in engine.out("history", copy)
    assert "A /new/file" in engine.out("image", "diff", copy).splitlines()
    engine.run("delete", name)
    assert engine.out("run", "--rm", copy) == "text"
    layout = tmp_path / "layout"
    engine.run("image", "export", "--format", "oci-dir", "-o", str(layout), copy)
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "one"  # umoci takes no colon
    (layout / "index.json").write_text(json.dumps(index))
    tool("umoci", "unpack", "--image", f"{layout}:one", tmp_path / "bundle")
    root = tmp_path / "bundle/rootfs"
    status = (root / "new/file").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_nlink) == (1000, 50, 0o4750, 2)
    assert (root / "new/link").stat().st_ino == status.st_ino
    assert os.readlink(root / "new/soft") == "file"
    assert (root / "new/fifo").is_fifo()
    assert (root / "new/sparse").stat().st_size == 8 << 20
    assert not any((root / path).exists() for path in ("etc/greeting", "etc/hosts", "volume"))
    assert [path.name for path in (root / "home/student").iterdir()] == ["only"]


def test_a_running_container_is_committed_and_goes_on(engine: PrivateEngine, running: str, copy: str) -> None:
    engine.run("exec", running, "touch", "/made")
    engine.run("commit", "--pause", running, copy)
    assert engine.status_of(running) == "running"
    assert engine.out("run", "--rm", copy, "ls", "/made") == "/made"
