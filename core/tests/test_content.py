"""The content store: an OCI image layout that survives anything."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from multios.errors import InvalidInput, NotFound
from multios.model.image import Descriptor, ImageConfig
from multios.store.content import ContentStore
from multios.store.layer_stream import GZIP_LAYER_TYPE, CompressedLayer
from multios.store.manifest import Layer, write_image


def small_image(content: ContentStore, text: str = "hello") -> Descriptor:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("greeting")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    layer = CompressedLayer([tar.getvalue()])
    blob = content.put(GZIP_LAYER_TYPE, layer)  # type: ignore[arg-type]
    return write_image(content, ImageConfig(command=("/bin/sh",)), [Layer(blob, layer.diff_id)], "a test")


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def test_a_blob_is_found_by_its_digest(content: ContentStore) -> None:
    stored = content.put_bytes("text/plain", b"some bytes")
    assert stored == Descriptor("text/plain", "sha256:" + hashlib.sha256(b"some bytes").hexdigest(), 10)
    assert content.has(stored.digest)
    with content.open(stored.digest) as file:
        assert file.read() == b"some bytes"


def test_content_that_is_not_what_was_expected_is_refused_and_leaves_nothing(content: ContentStore) -> None:
    with pytest.raises(InvalidInput, match="instead of sha256:0000"):
        content.put("text/plain", io.BytesIO(b"changed"), expected_digest="sha256:" + "00" * 32)
    assert not list(content.directory.glob("ingest/*"))
    assert not list(content.directory.glob("blobs/sha256/*"))


def test_a_stream_that_fails_leaves_nothing(content: ContentStore) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises(Exception, match="gone"):
        content.put("text/plain", Broken())  # type: ignore[arg-type]
    assert not list(content.directory.glob("ingest/*"))


def test_what_a_killed_process_was_writing_is_removed_at_start(content: ContentStore) -> None:
    (content.directory / "ingest" / "half").write_bytes(b"half a bl")
    ContentStore(content.directory)
    assert not list(content.directory.glob("ingest/*"))


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "md5:00", "sha256:" + "AB" * 32, "sha256:12", ""]
)
def test_what_is_no_digest_never_becomes_a_path(content: ContentStore, digest: str) -> None:
    with pytest.raises(InvalidInput):
        content.open(digest)


def test_absent_content_is_said_to_be_absent(content: ContentStore) -> None:
    with pytest.raises(NotFound, match="no content with digest"):
        content.open("sha256:" + "00" * 32)


def test_only_json_objects_of_bounded_size_are_read_as_such(content: ContentStore) -> None:
    for data in (b"[1]", b"{", b"\xff", b" " * (8 << 20) + b"{}"):
        with pytest.raises(InvalidInput, match="not a JSON object"):
            content.read_json(content.put_bytes("application/json", data).digest)


def test_references_survive_a_restart(content: ContentStore) -> None:
    image = small_image(content)
    content.tag("lab:1", image)
    content.tag("lab:latest", image)
    assert content.untag("lab:1")
    assert not content.untag("lab:1")
    again = ContentStore(content.directory)
    assert set(again.references()) == {"lab:latest"}
    assert again.references()["lab:latest"].digest == image.digest


def test_a_manifest_that_loses_its_last_name_to_another_stays_without_one(content: ContentStore) -> None:
    first, second = small_image(content, "first"), small_image(content, "second")
    content.tag("lab:1", first)
    content.tag("lab:1", second)
    assert content.references()["lab:1"].digest == second.digest
    assert {item.digest for item in content.manifests()} == {first.digest, second.digest}
    assert not content.collect_garbage()
    content.drop(first.digest)
    assert first.digest in content.collect_garbage()


def test_garbage_is_what_no_reference_leads_to(content: ContentStore) -> None:
    kept, lost = small_image(content, "kept"), small_image(content, "lost")
    content.tag("kept:1", kept)
    stray = content.put_bytes("text/plain", b"stray")
    removed = content.collect_garbage()
    assert {lost.digest, stray.digest} <= set(removed)
    assert len(removed) == 4
    assert content.has(content.read_json(kept.digest)["layers"][0]["digest"])


def test_what_is_being_fetched_is_no_garbage(content: ContentStore) -> None:
    old = content.put_bytes("text/plain", b"an old layer that is there already")
    with content.holding():
        new = content.put_bytes("text/plain", b"a new layer")
        assert content.has(old.digest)
        assert content.collect_garbage() == []
    assert set(content.collect_garbage()) == {old.digest, new.digest}


def test_threads_that_tag_at_once_lose_no_reference(content: ContentStore) -> None:
    image = small_image(content)
    threads = [threading.Thread(target=content.tag, args=(f"lab:{number}", image)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ContentStore(content.directory).references()) == 20


def test_a_damaged_index_is_said_to_be_damaged(content: ContentStore) -> None:
    (content.directory / "index.json").write_text('{"manifests": [{"digest": "../../x"}]}')
    with pytest.raises(InvalidInput):
        ContentStore(content.directory)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_and_copies_the_store(content: ContentStore, tmp_path: Path) -> None:
    content.tag("course/lab:1.0", small_image(content))
    content.tag("plain:latest", small_image(content, "other"))
    source = f"oci:{content.directory}:course/lab:1.0"
    answer = subprocess.run(["skopeo", "inspect", "--config", source], check=True, capture_output=True)
    assert json.loads(answer.stdout)["config"] == {
        "Cmd": ["/bin/sh"],
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
    }
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", source, f"oci:{tmp_path}/copy:x"]
    subprocess.run(copy, check=True, capture_output=True)
