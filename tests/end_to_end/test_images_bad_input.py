"""Archives of images that lie, climb, loop, burst or break off: one clear error each, and nothing left of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from private_engine import IMAGE, PrivateEngine

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
NAMED = {"org.opencontainers.image.ref.name": "bad:1"}
BOMB = 2 << 30
Files = dict[str, "bytes | tuple[bytes, str]"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """One of this module's own: what is stored is counted."""
    engine = PrivateEngine(tmp_path_factory.mktemp("images"))
    engine.start()
    engine.import_small_image()
    yield engine
    engine.end()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below /tmp, which may be small; its path is short."""
    with tempfile.TemporaryDirectory(prefix="mi", dir="/var/tmp") as name:
        yield Path(name)


def stored(engine: PrivateEngine) -> tuple[set[str], str, set[str]]:
    """Blobs, images and snapshots."""
    content = engine.data_root / "content"
    blobs = {str(path.relative_to(content)) for path in content.rglob("*") if path.is_file()}
    snapshots = engine.data_root / "snapshots/overlay"
    return blobs, engine.out("images", "--quiet"), set(os.listdir(snapshots)) if snapshots.exists() else set()


def tar_of(files: Files) -> bytes:
    """A tar; a pair is a type and where it leads."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


class Layout:
    """An OCI layout of one image, right until a test makes it wrong."""

    def __init__(self, layer: bytes | None = None) -> None:
        self.files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.layer = tar_of({"file": b"content"}) if layer is None else layer
        self.index([{**self.manifest(), "annotations": NAMED}])

    @property
    def layer_name(self) -> str:
        return f"blobs/sha256/{hashlib.sha256(self.layer).hexdigest()}"

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, value: Any, media_type: str) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type)

    def config(self, diff_id: str, architecture: str = "amd64") -> dict[str, Any]:
        rootfs = {"type": "layers", "diff_ids": [diff_id]}
        return self.document({"architecture": architecture, "os": "linux", "rootfs": rootfs}, CONFIG)

    def manifest(self, architecture: str = "amd64", **changes: Any) -> dict[str, Any]:
        layer = self.blob(self.layer, LAYER)
        parts = {"config": self.config(layer["digest"], architecture), "layers": [layer]}
        return self.document({"schemaVersion": 2, "mediaType": MANIFEST, **parts, **changes}, MANIFEST)

    def index(self, entries: list[dict[str, Any]]) -> None:
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()

    def named(self, item: dict[str, Any]) -> None:
        self.index([{**item, "annotations": NAMED}])


def spoiled(act: Callable[[Layout], None], layer: bytes | None = None) -> Callable[[], bytes]:
    """An archive that is right but for what ``act`` does to it."""

    def make() -> bytes:
        layout = Layout(layer)
        act(layout)
        return tar_of(layout.files)

    return make


def with_layer(layer: Files) -> Callable[[], bytes]:
    return spoiled(lambda it: None, tar_of(layer))


def with_file(name: str, content: bytes | tuple[bytes, str]) -> Callable[[], bytes]:
    return spoiled(lambda it: it.files.update({name: content}))


def deep_index(layout: Layout) -> None:
    item = layout.manifest()
    for _ in range(6):
        item = layout.document({"schemaVersion": 2, "manifests": [item]}, INDEX)
    layout.named(item)


def looping_index(layout: Layout) -> None:
    """No index can have its own digest in it, so one names what is not it as itself."""
    item = layout.document({"schemaVersion": 2, "manifests": []}, INDEX)
    body = json.dumps({"schemaVersion": 2, "manifests": [item]}).encode()
    layout.files[f"blobs/sha256/{item['digest'][7:]}"] = body
    layout.named({**item, "size": len(body)})


def wrong_diff_id(layout: Layout) -> None:
    layout.named(layout.manifest(config=layout.config("sha256:" + "0" * 64)))


def bomb(layout: Layout) -> None:
    """A layer of 2 GiB of zeros in some 70 KB of zstd."""
    header = tarfile.TarInfo("zeros")
    header.size = BOMB
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(header.tobuf(tarfile.GNU_FORMAT))]
    parts += [compressor.compress(bytes(1 << 24)) for _ in range(BOMB >> 24)]
    layer = layout.blob(b"".join([*parts, compressor.flush()]), LAYER + "+zstd")
    layout.named(layout.manifest(config=layout.config("sha256:" + "1" * 64), layers=[layer]))


def docker(**changes: Any) -> Callable[[], bytes]:
    """A docker archive with parts of it changed (``__`` is a dot); ``None`` leaves a file out."""

    def make() -> bytes:
        layer = tar_of({"file": b"x"})
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest]}}
        item = {"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["layer.tar"]}
        files: dict[str, Any] = {"manifest.json": json.dumps([item]).encode()}
        files |= {"c.json": json.dumps(config).encode(), "layer.tar": layer}
        files |= {name.replace("__", "."): value for name, value in changes.items()}
        return tar_of({name: value for name, value in files.items() if value is not None})

    return make


def before_1_10() -> bytes:
    return tar_of({"a" * 64 + "/VERSION": b"1.0", "a" * 64 + "/layer.tar": b"", "repositories": b"{}"})


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "a blob that is not its digest": (
        spoiled(lambda it: it.files.update({it.layer_name: it.layer[:-1] + b"x"})), "sha256:",
    ),
    "a blob that is missing": (spoiled(lambda it: it.files.pop(it.layer_name) and None), "lacks the blob"),
    "a size that is not so": (spoiled(lambda it: it.named({**it.manifest(), "size": 3})), "instead of 3"),
    "a media type that lies": (spoiled(lambda it: it.named(it.manifest(mediaType=INDEX))), "listed as"),
    "indexes in indexes": (spoiled(deep_index), "deep"),
    "an index of itself": (spoiled(looping_index), "sha256:"),
    "a diff id that is not so": (spoiled(wrong_diff_id), "not what its image says"),
    "an index that is a list": (with_file("index.json", b"[]"), "no index of images"),
    "an index that is no JSON": (with_file("index.json", b"{"), "no JSON"),
    "an index nested without end": (with_file("index.json", b"[" * 99_999), "no JSON"),
    "an index of 9 MiB": (with_file("index.json", b" " * (9 << 20)), "it can have"),
    "no image": (spoiled(lambda it: it.index([])), "no image in it"),
    "a member that climbs": (with_file("../out", b"x"), "leads out"),
    "an absolute member": (with_file("/etc/out", b"x"), "leads out"),
    "a link that climbs": (with_file("blobs/sha256/x", (tarfile.SYMTYPE, "../../../etc/shadow")), "leads out"),
    "a hard link that climbs": (with_file("blobs/sha256/x", (tarfile.LNKTYPE, "/etc/shadow")), "leads out"),
    "a device": (with_file("dev", (tarfile.CHRTYPE, "")), "special file"),
    "cut short": (lambda: with_file("blobs/x", bytes(9000))()[:9000], "cut short"),
    "docker's, without a layer": (docker(layer__tar=None), "has no 'layer.tar'"),
    "docker's, with another layer": (docker(layer__tar=tar_of({"other": b"y"})), "instead of"),
    "docker's, with a loop of links": (docker(layer__tar=(tarfile.SYMTYPE, "layer.tar")), "has no 'layer.tar'"),
    "docker's, without a config": (docker(c__json=None), "has no 'c.json'"),
    "docker's, with a list as config": (docker(c__json=b"[]"), "JSON|wrong"),
    "docker's, with numbers as manifest": (docker(manifest__json=b"[1]"), "wrong"),
    "docker's, before 1.10": (before_1_10, "before 1.10"),
    "a layer that climbs": (with_layer({"../../out": b"x"}), "leads out"),
    "a layer with a whiteout of ..": (with_layer({".wh...": b""}), "whiteout of no file"),
    "a layer with an overlay's whiteout": (with_layer({"x": (tarfile.CHRTYPE, "")}), "0:0"),
    "a layer through a link": (
        with_layer({"l": (tarfile.SYMTYPE, "/etc"), "l/../../out": b"x"}), "leads out",
    ),
    "a layer that is no tar": (spoiled(lambda it: None, b"this is no tar at all" * 99), "no tar|checksum"),
    "a bomb": (spoiled(bomb), "largest_ratio"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_archive_is_one_error_and_leaves_nothing(
    kind: str, engine: PrivateEngine, directory: Path
) -> None:
    make, said = BAD[kind]
    file = directory / "bad.tar"
    file.write_bytes(make())
    before = stored(engine)
    done = engine.run("load", "--quiet", "--input", str(file), status=125)
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("Error: ") and len(lines) <= 2, done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert stored(engine) == before


@pytest.mark.parametrize("data", [b"", b"no archive" * 500, gzip.compress(b"none" * 500), os.urandom(70_000)])
def test_garbage_is_refused_by_load_and_by_import(data: bytes, engine: PrivateEngine) -> None:
    before = stored(engine)
    engine.run("load", input=data, status=125)
    engine.run("image", "import", "garbage:1", input=data, status=125)
    assert stored(engine) == before


def test_of_several_platforms_the_one_asked_for_is_taken(engine: PrivateEngine, directory: Path) -> None:
    layout = Layout()
    machines = {name: layout.manifest(name) for name in ("amd64", "arm64")}
    entries = [{**item, "platform": {"os": "linux", "architecture": name}} for name, item in machines.items()]
    layout.named(layout.document({"schemaVersion": 2, "manifests": entries}, INDEX))
    file = directory / "many.tar"
    file.write_bytes(tar_of(layout.files))
    for name in ("amd64", "arm64"):
        engine.run("load", "--quiet", "--platform", f"linux/{name}", "-i", str(file))
        assert json.loads(engine.out("image", "inspect", "bad:1"))[0]["Architecture"] == name
    refused = engine.run("load", "--platform", "linux/s390x", "-i", str(file), status=None)
    assert refused.returncode and "it has: linux/amd64, linux/arm64" in refused.stderr
    assert len(engine.json("images", "--filter", "dangling=true")) == 1  # the name has moved
    engine.run("image", "rm", "bad:1")
    engine.run("image", "prune")


def large(directory: Path) -> Path:
    """A docker archive with a layer of 60 MB that does not compress."""
    layer = tar_of({"large": os.urandom(60 << 20)})
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    item = {"Config": "c.json", "RepoTags": ["large:1"], "Layers": ["layer.tar"]}
    parts: Files = {"manifest.json": json.dumps([item]).encode(), "c.json": json.dumps(config).encode()}
    file = directory / "large.tar"
    file.write_bytes(tar_of({**parts, "layer.tar": layer}))
    return file


def test_a_daemon_that_is_killed_again_and_again_in_a_load_leaves_nothing_half(directory: Path) -> None:
    engine = PrivateEngine(directory / "engine")
    try:
        engine.start()
        file = large(directory)
        for size, wait in ((1 << 20, 0.0), (20 << 20, 0.02), (60 << 20, 0.0), (60 << 20, 0.1)):
            reader, writer = os.pipe()
            loading = engine.popen(
                "load", "--quiet", stdin=reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            os.close(reader)
            with os.fdopen(writer, "wb", buffering=0) as sink:
                sink.write(file.read_bytes()[:size])
                time.sleep(wait)
                os.kill(engine.daemon_pid, signal.SIGKILL)
            assert loading.wait(60) != 0
            assert engine.json("images") == []
            content = engine.data_root / "content"
            assert not any((content / "ingest").iterdir())
            assert not any((content / "blobs/sha256").iterdir())
        engine.run("load", "--quiet", "-i", str(file))
        assert engine.json("images")[0]["references"] == ["large:1"]
    finally:
        engine.end()


def test_a_full_disk_in_a_load_is_one_error_and_leaves_nothing(directory: Path) -> None:
    disk = directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(disk)], check=True)
    try:
        engine = PrivateEngine(disk)
        try:
            engine.start()
            done = engine.run("load", "--quiet", "-i", str(large(directory)), status=None)
            assert done.returncode and "No space left on device" in done.stderr, done.stderr
            assert engine.json("images") == []
            assert not any((engine.data_root / "content/blobs/sha256").iterdir())
            engine.import_small_image()
            assert engine.out("run", "--rm", IMAGE, "echo", "works") == "works"
        finally:
            engine.end()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
