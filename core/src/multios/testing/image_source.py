"""The conformance suite of image sources.

A source's tests subclass :class:`ImageSourceDriverSuite`, name the driver class and an image that it has::

    class TestBootstrap(ImageSourceDriverSuite):
        driver_type = BootstrapSource
        reference = "debian:12"

Without ``reference`` only what needs no image is tested. With ``offline = True`` fetching is tested without the
marker ``needs_network``. A source that takes images says in ``push_reference`` under which name one may be pushed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from typing import Any, BinaryIO, ClassVar

import pytest

from multios.drivers.base import Capability
from multios.drivers.image_source import Credentials, ImageSourceDriver
from multios.errors import Unsupported
from multios.model.image import Descriptor
from multios.testing.base import DriverSuite

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class MemoryContent:
    """A content store in memory, to write and to read; the ``failing``-th blob raises ``OSError``, counted from 1."""

    def __init__(self, failing: int = 0) -> None:
        self.blobs: dict[str, bytes] = {}
        self._failing = failing
        self._count = 0

    def put(self, media_type: str, stream: BinaryIO, expected_digest: str = "") -> Descriptor:
        """Store a stream; a wrong digest is refused."""
        self._count += 1
        if self._count == self._failing:
            raise OSError(28, "No space left on device")
        data = stream.read()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if expected_digest and digest != expected_digest:
            raise ValueError(f"got {digest}, expected {expected_digest}")
        self.blobs[digest] = data
        return Descriptor(media_type, digest, len(data))

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Store bytes."""
        return self.put(media_type, io.BytesIO(data))

    def has(self, digest: str) -> bool:
        """Whether the blob is stored."""
        return digest in self.blobs

    def open(self, digest: str) -> BinaryIO:
        """The blob, to read."""
        return io.BytesIO(self.blobs[digest])

    def read_json(self, digest: str) -> dict[str, Any]:
        """A stored JSON object."""
        document: dict[str, Any] = json.loads(self.blobs[digest])
        return document


class ImageSourceDriverSuite(DriverSuite):
    """What every image source must do."""

    reference: ClassVar[str] = ""
    offline: ClassVar[bool] = False
    push_reference: ClassVar[str] = ""

    @pytest.fixture(scope="class")
    @classmethod
    def fetched(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        """The image fetched once for all tests of the class: ``content``, ``manifest``, ``progress``."""
        from multios.drivers.base import DriverContext

        if not cls.reference:
            pytest.skip("this driver has nothing to fetch: its suite names no reference")
        directory = tmp_path_factory.mktemp("source")
        driver: Any = cls.driver_type(
            cls.driver_type.Settings(**cls.driver_settings), DriverContext(directory, directory)
        )
        content, progress = MemoryContent(), []
        image = driver.resolve(cls.reference)
        assert image is not None
        manifest = driver.fetch(image, content, lambda *step: progress.append(step))
        return {"content": content, "manifest": manifest, "progress": progress}

    @pytest.fixture(autouse=True)
    def _only_with_the_network(self, request: pytest.FixtureRequest) -> None:
        if "fetched" in request.fixturenames and not self.offline:
            request.applymarker(pytest.mark.needs_network)

    def test_an_unknown_image_resolves_to_nothing_unless_every_name_is_taken(
        self, driver: ImageSourceDriver
    ) -> None:
        image = driver.resolve("multios.invalid/no-such-image:0")
        assert (image is not None) == driver.catch_all

    def test_resolving_is_pure(self, driver: ImageSourceDriver) -> None:
        if not self.reference:
            pytest.skip("this driver has nothing to fetch: its suite names no reference")
        image = driver.resolve(self.reference)
        assert image is not None
        assert image == driver.resolve(self.reference)
        assert image.source == driver.name
        assert image.description

    @pytest.mark.parametrize("reference", ["", " ", "../../etc/passwd", "a b", "\0", "x" * 5000, ":12"])
    def test_a_hostile_reference_resolves_to_nothing(self, driver: ImageSourceDriver, reference: str) -> None:
        assert driver.resolve(reference) is None

    def test_the_manifest_describes_blobs_that_are_there(self, fetched: dict[str, Any]) -> None:
        content, descriptor = fetched["content"], fetched["manifest"]
        assert descriptor.media_type in MANIFESTS
        manifest = json.loads(content.blobs[descriptor.digest])
        assert manifest["schemaVersion"] == 2
        for part in (manifest["config"], *manifest["layers"]):
            assert len(content.blobs[part["digest"]]) == part["size"]

    def test_the_config_lists_the_layers_diff_ids_lowest_first(self, fetched: dict[str, Any]) -> None:
        content = fetched["content"]
        manifest = json.loads(content.blobs[fetched["manifest"].digest])
        config = json.loads(content.blobs[manifest["config"]["digest"]])
        assert config["os"] == "linux"
        diff_ids = config["rootfs"]["diff_ids"]
        assert len(diff_ids) == len(manifest["layers"])
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
            data = content.blobs[layer["digest"]]
            if layer["mediaType"].endswith("gzip"):
                data = gzip.decompress(data)
            if not layer["mediaType"].endswith("zstd"):
                assert "sha256:" + hashlib.sha256(data).hexdigest() == diff_id

    def test_progress_is_told_and_stays_within_its_total(self, fetched: dict[str, Any]) -> None:
        assert fetched["progress"]
        for what, done, total in fetched["progress"]:
            assert what
            assert done >= 0
            assert total == 0 or done <= total

    def test_only_a_source_that_declares_it_takes_images(
        self, driver: ImageSourceDriver, fetched: dict[str, Any]
    ) -> None:
        if Capability.PUSH not in driver.capabilities:
            with pytest.raises(Unsupported):
                driver.push("a/b:1", fetched["manifest"], fetched["content"], lambda *_: None)
            with pytest.raises(Unsupported):
                driver.login("multios.invalid", Credentials("nobody", "nothing"))
            return
        if not self.push_reference:
            pytest.skip("its suite names no push_reference")
        content = MemoryContent()
        digest = driver.push(self.push_reference, fetched["manifest"], fetched["content"], lambda *_: None)
        assert digest == fetched["manifest"].digest
        image = driver.resolve(self.push_reference)
        assert image is not None
        assert driver.fetch(image, content, lambda *_: None).digest == digest

    def test_a_failing_store_fails_the_fetch(
        self, driver: ImageSourceDriver, fetched: dict[str, Any]
    ) -> None:
        if not self.offline:
            pytest.skip("would fetch again")
        image = driver.resolve(self.reference)
        assert image is not None
        for number in range(1, len(fetched["content"].blobs) + 1):
            with pytest.raises(Exception, match="No space left"):
                driver.fetch(image, MemoryContent(failing=number), lambda *_: None)
