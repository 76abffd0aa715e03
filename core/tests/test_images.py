"""Images: found, fetched once, unpacked once, imported, committed, removed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.image_source import ANYHOW, ContentSink, FetchRequest, Progress
from multios.engine.images import Images
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, Refused, StepFailed, Unsupported
from multios.layers.pack import LayerWriter, walk
from multios.model.image import Descriptor, ImageConfig, ResolvedImage
from multios.store import manifest
from multios.store.content import ContentStore
from multios.testing.fakes import FakeImageSource, FakeSettings, FakeStorage

unpacks = pytest.mark.needs_root


class DiffingStorage(FakeStorage):
    """The fake with a real ``diff``: files that the parent does not have, whiteouts for those that are gone."""

    def diff(self, key: str, target: BinaryIO) -> None:
        above, below = (os.fsencode(self._path(name)) for name in (key, self.stat(key).parent))
        writer = LayerWriter(target)
        for path, name, status in walk(above):
            if not os.path.lexists(below + b"/" + name):
                writer.add(path, name, status)
        for _, name, _ in walk(below):
            if not os.path.lexists(above + b"/" + name):
                writer.whiteout(name)
        writer.close()


class SlowSource(FakeImageSource):
    """``slow:1``, also known as ``slow:one``, and a file of the host."""

    name = "slow"

    def offers(self) -> tuple[str, ...]:
        return ("slow:1", "slow:2")

    def resolve(self, reference: str) -> ResolvedImage | None:
        if reference.startswith("rootfs:"):
            return ResolvedImage("rootfs/file:1", self.name, "a file", {"host_path": "/etc/shadow"})
        return ResolvedImage("slow:1", self.name, "slow") if reference in ("slow:1", "slow:one") else None

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        time.sleep(0.2)
        self.calls.append(("slowly", image.reference))
        return FakeImageSource(self.settings, self.context).fetch(
            ResolvedImage("fake:1", "fake", ""), content, progress
        )


class World:
    """A content store, a storage driver, two sources and the images made of them."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        (directory / "state").mkdir(exist_ok=True)
        context = DriverContext(directory / "state", directory / "state")
        self.content = ContentStore(directory / "content")
        self.storage = DiffingStorage(FakeSettings(), context)
        self.fake = FakeImageSource(FakeSettings(**settings), context)
        self.slow = SlowSource(FakeSettings(), context)
        self.told: list[tuple[str, int, int]] = []
        self.images = self.restarted()

    def restarted(self) -> Images:
        return Images(self.content, [self.storage], [self.fake, self.slow])

    def progress(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))

    def ensure(self, reference: str) -> Any:
        return self.images.ensure(reference, self.progress)

    def snapshots(self) -> set[str]:
        return {snapshot.key for snapshot in self.storage.walk()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rootfs(files: dict[str, str], mode: str = "w") -> io.BytesIO:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    target.seek(0)
    return target


def blobs(world: World) -> int:
    return len(list(world.content.directory.glob("blobs/sha256/*")))


# --- finding and fetching -------------------------------------------------------------------------


def test_an_image_is_found_by_name_id_prefix_and_digest(world: World) -> None:
    image = world.ensure("fake:1")
    assert world.images.find("fake:1") == image
    assert world.images.find(image.id) == image
    assert world.images.find("sha256:" + image.id) == image
    assert world.images.find(image.id[:6]) == image
    assert world.images.find(f"fake@{image.manifest.digest}") == image
    assert image.source == "fake"
    assert world.images.find("fake") is None  # that is fake:latest
    assert world.images.find("../../x") is None


def test_an_image_that_is_stored_is_not_fetched_again(world: World) -> None:
    first = world.ensure("fake:1")
    assert world.ensure("fake:1") == first
    assert world.restarted().ensure("fake:1", world.progress) == first
    assert [verb for verb, _ in world.fake.calls] == ["fetch"]


def test_threads_that_ask_for_one_image_fetch_it_once(world: World) -> None:
    found: list[Any] = []
    names = ["slow:1", "slow:one"] * 4
    threads = [threading.Thread(target=lambda name=name: found.append(world.ensure(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image.id for image in found}) == 1
    assert len(world.slow.calls) == 1
    assert set(world.images.get("slow:1").references) == {"slow:1", "slow:one"}


def test_an_unknown_image_is_answered_with_the_nearest_that_a_source_offers(world: World) -> None:
    with pytest.raises(NotFound, match="no such image: 'slwo:1'") as caught:
        world.ensure("slwo:1")
    assert "did you mean 'slow:1'?" in caught.value.remedy
    assert "slow:2" in caught.value.remedy


def test_an_image_that_a_source_cannot_make_here_is_asked_for_at_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(reference: str) -> ResolvedImage:
        return ResolvedImage("fake:1", "slow", "the same")

    def fetch(*arguments: Any) -> Descriptor:
        raise Unsupported("no tool", "install it")

    monkeypatch.setattr(world.slow, "resolve", resolve)
    monkeypatch.setattr(world.slow, "fetch", fetch)
    images = Images(world.content, [world.storage], [world.slow, world.fake])
    assert images.ensure("fake:1", world.progress).references == ("fake:1",)
    images.remove("fake:1")
    alone = Images(world.content, [world.storage], [world.slow])
    with pytest.raises(Unsupported, match="no tool"):
        alone.ensure("fake:1", world.progress)


def test_what_cannot_be_a_name_is_refused_with_its_wrong_part(world: World) -> None:
    with pytest.raises(InvalidInput, match=r"'\.\.' is not a part"):
        world.ensure("../../x")
    with pytest.raises(InvalidInput, match="capital letters"):
        world.images.get("Fake:1")


def test_a_file_of_the_host_is_an_image_only_for_who_may_name_one(world: World) -> None:
    with pytest.raises(Refused, match="only an administrator"):
        world.ensure("rootfs:/etc/shadow")
    assert world.images.ensure("rootfs:/x", world.progress, host_paths=True).references == ("rootfs/file:1",)


def test_a_failed_fetch_leaves_no_name_and_no_blob(tmp_path: Path) -> None:
    world = World(tmp_path, fail=("fetch",))
    with pytest.raises(StepFailed):
        world.ensure("fake:1")
    assert world.images.list() == ()
    assert blobs(world) == 0


def test_a_source_that_raises_anything_is_a_failed_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Descriptor:
        world.content.put_bytes("text/plain", b"half of it")
        raise KeyError("layers")

    monkeypatch.setattr(world.fake, "fetch", broken)
    with pytest.raises(StepFailed, match="fetch fake:1: fake: 'layers'"):
        world.ensure("fake:1")
    assert blobs(world) == 0


@pytest.mark.parametrize(
    "document",
    [b"{}", b'{"config": 1, "layers": 2}', b'{"config": {"digest": "sha256:../../x"}, "layers": []}', b"[]"],
)
def test_a_manifest_that_is_none_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, document: bytes
) -> None:
    def wrong(image: ResolvedImage, content: ContentSink, progress: Progress) -> Descriptor:
        return content.put_bytes(manifest.MANIFEST_TYPE, document)

    monkeypatch.setattr(world.fake, "fetch", wrong)
    with pytest.raises(MultiosError):
        world.ensure("fake:1")
    assert world.images.list() == ()


def test_a_damaged_image_does_not_hide_the_others(world: World) -> None:
    image = world.ensure("fake:1")
    stray = world.content.put_bytes(manifest.MANIFEST_TYPE, b"{}")
    world.content.tag("broken:1", stray)
    assert world.restarted().list() == (image,)


# --- unpacking ------------------------------------------------------------------------------------


@unpacks
def test_a_layer_is_unpacked_once_under_its_chain_id(world: World) -> None:
    image = world.ensure("fake:1")
    keys: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: keys.append(world.images.unpack(image, world.storage, world.progress))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) == world.snapshots() == {image.chain_id.replace(":", "-")}
    assert [verb for verb, _ in world.storage.calls].count("prepare") == 1
    assert world.storage.stat(keys[0]).kind == "committed"
    assert any("layer 1 of 1" in what for what, _, _ in world.told)


@unpacks
def test_a_layer_that_is_not_what_its_image_says_leaves_no_snapshot(world: World) -> None:
    blob = world.content.put("application/vnd.oci.image.layer.v1.tar", rootfs({"a": "b"}))
    wrong = manifest.Layer(blob, "sha256:" + "00" * 32)
    world.content.tag("wrong:1", manifest.write_image(world.content, ImageConfig(), [wrong], "test"))
    images = world.restarted()
    with pytest.raises(InvalidInput, match="is not what its image says"):
        images.unpack(images.get("wrong:1"), world.storage, world.progress)
    assert not world.snapshots()


@unpacks
def test_what_a_killed_process_left_half_is_cleared_and_made_again(world: World) -> None:
    image = world.ensure("fake:1")
    world.storage.prepare("unpack-0123")
    world.storage.prepare("x")
    world.storage.commit("sha256-" + "11" * 32, "x")  # of an image that was never named
    world.storage.prepare("container-1")
    key = world.restarted().unpack(image, world.storage, world.progress)
    assert world.snapshots() == {key, "container-1"}


# --- importing ------------------------------------------------------------------------------------


@unpacks
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_root_filesystem_becomes_an_image_whatever_its_compression(world: World, mode: str) -> None:
    changes = ['CMD ["/bin/true"]', "ENV A=1", "LABEL k=v", "WORKDIR /w"]
    stream = rootfs({"etc/issue": "lab"}, mode)
    image = world.images.import_tar("lab", stream, changes, world.storage, world.progress)
    assert image.references == ("lab:latest",)
    assert image.config.command == ("/bin/true",)
    assert image.config.environment == (manifest.DEFAULT_PATH, "A=1")
    assert image.config.labels == {"k": "v"}
    key = world.images.unpack(image, world.storage, world.progress)
    assert (world.storage._path(key) / "etc/issue").read_text() == "lab"


@unpacks
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is no tar" * 100,
        gzip.compress(b"nor is this" * 100),
        gzip.compress(rootfs({"a": "b" * 9000}).getvalue())[:60],
        rootfs({"a": "b" * 9000}).getvalue()[:3000],
        b"\xfd7zXZ\x00broken",
    ],
    ids=["empty", "text", "gzip of text", "cut gzip", "cut tar", "broken xz"],
)
def test_what_is_no_archive_is_no_image_and_leaves_nothing(world: World, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        world.images.import_tar("lab", io.BytesIO(data), (), world.storage, world.progress)
    assert world.images.list() == ()
    assert blobs(world) == 0
    assert not world.snapshots()


@unpacks
def test_an_archive_that_leads_out_of_the_image_is_refused(world: World) -> None:
    stream = rootfs({"../../outside": "x"})
    with pytest.raises(InvalidInput):
        world.images.import_tar("lab", stream, (), world.storage, world.progress)
    assert not world.snapshots()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("CDM x", "CDM"),
        ("RUN true", "changes more than the configuration"),
        ("CMD a\nCMD b", "is not one instruction"),
        ("ENV =x", "ENV"),
        ("FROM other", "is not one instruction|more than"),
    ],
)
def test_a_wrong_change_is_named(world: World, change: str, cause: str) -> None:
    with pytest.raises(InvalidInput, match=cause):
        world.images.import_tar("lab", rootfs({"a": "b"}), [change], world.storage, world.progress)


# --- committing -----------------------------------------------------------------------------------


def committed(world: World, consume: bool) -> Any:
    base = world.ensure("fake:1")
    key = world.images.unpack(base, world.storage, world.progress)
    world.storage.prepare("work", key)
    (world.storage._path("work") / "added").write_text("new")
    (world.storage._path("work") / "fake").unlink()
    config = ImageConfig(command=("/bin/x",))
    images = world.images
    with images.holding():
        layers = [*images.layers_of(base), images.store_layer_of("work", world.storage, None)]
        if consume:
            images.adopt(layers, world.storage, "work")
        history = [*images.history_of(base), manifest.history_entry(0, "a test")]
        return images.write(config, layers, history, ["mine:1", "mine"], "build", 0)


@unpacks
@pytest.mark.parametrize("consume", [True, False])
def test_a_commit_is_the_base_and_one_more_layer(world: World, consume: bool) -> None:
    image = committed(world, consume)
    assert set(image.references) == {"mine:1", "mine:latest"}
    assert image.layers[:-1] == world.images.get("fake:1").layers
    assert image.config.command == ("/bin/x",)
    assert world.images.inspect("mine")["History"][-1]["created_by"] == "a test"
    assert ("work" in world.snapshots()) is not consume
    world.told.clear()
    root = world.storage._path(world.images.unpack(image, world.storage, world.progress))
    assert bool(world.told) is not consume  # a consumed snapshot needs no unpacking
    assert sorted(path.name for path in root.iterdir()) == ["added"]


@unpacks
def test_a_commit_that_fails_leaves_no_image(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(key: str, target: BinaryIO) -> None:
        target.write(b"some of it")
        raise StepFailed("diff", "the disk is gone")

    monkeypatch.setattr(world.storage, "diff", broken)
    with pytest.raises(StepFailed, match="the disk is gone"):
        committed(world, consume=True)
    assert [image.references for image in world.images.list()] == [("fake:1",)]
    assert "work" in world.snapshots()


# --- removing -------------------------------------------------------------------------------------


@unpacks
def test_removing_an_image_removes_its_blobs_and_snapshots(world: World) -> None:
    image = world.ensure("fake:1")
    world.images.unpack(image, world.storage, world.progress)
    assert world.images.remove("fake:1") == ("fake:1", f"sha256:{image.id}")
    assert world.images.list() == ()
    assert blobs(world) == 0
    assert not world.snapshots()


def test_an_index_that_changes_while_it_is_read_is_read_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ensure("fake:1")
    read = world.content.manifests

    def read_then_dropped() -> tuple[Descriptor, ...]:
        listed = read()
        for item in listed:
            world.content.drop(item.digest)
        return listed

    monkeypatch.setattr(world.content, "manifests", read_then_dropped)
    for _ in range(2):
        world.images.tag("fake:1", "fake:2")


@unpacks
def test_layers_that_another_image_shares_stay(world: World) -> None:
    image = committed(world, consume=True)
    world.images.remove("fake:1")
    assert len(world.snapshots()) == 2
    assert world.images.unpack(image, world.storage, world.progress) in world.snapshots()
    world.images.remove(image.id, force=True)
    assert not world.snapshots()
    assert blobs(world) == 0


def test_one_of_several_names_is_only_a_name(world: World) -> None:
    world.ensure("fake:1")
    world.images.tag("fake:1", "other:2")
    assert world.images.remove("other:2") == ("other:2",)
    assert world.images.find("fake:1") is not None


def test_an_id_of_several_names_is_removed_only_by_force(world: World) -> None:
    image = world.ensure("fake:1")
    world.images.tag("fake:1", "other:2")
    with pytest.raises(Conflict, match="several names"):
        world.images.remove(image.id[:12])
    assert len(world.images.remove(image.id[:12], force=True)) == 3


@unpacks
def test_an_image_in_use_is_kept_and_by_force_only_loses_its_name(world: World) -> None:
    image = world.ensure("fake:1")
    key = world.images.unpack(image, world.storage, world.progress)
    world.storage.prepare("container-1", key)
    with pytest.raises(Conflict, match="used by container lab"):
        world.images.remove("fake:1", used_by=["lab"])
    assert world.images.remove("fake:1", force=True, used_by=["lab"]) == ("fake:1",)
    nameless = world.images.get(image.id)
    assert nameless.references == ()
    assert world.restarted().find(image.id) == nameless
    assert key in world.snapshots()
    world.storage.remove("container-1")
    world.images.remove(image.id)
    assert not world.snapshots()
    assert blobs(world) == 0


def test_removing_what_is_not_there_is_answered_with_the_nearest(world: World) -> None:
    world.ensure("fake:1")
    with pytest.raises(NotFound) as caught:
        world.images.remove("fkae:1")
    assert "'fake:1'" in caught.value.remedy
