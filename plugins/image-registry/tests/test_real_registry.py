"""Pull, push and login against Debian's docker-registry."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios.drivers.image_source import Credentials, FetchRequest
from multios.errors import MultiosError, NotFound, Refused, StepFailed, Unsupported
from multios.model.image import Descriptor
from multios.store.content import ContentStore
from multios.testing.image_source import ImageSourceDriverSuite, MemoryContent
from multios_image_registry import RegistrySource
from multios_image_registry import upload as uploading
from registry_box import SmallImage, digest_of, index_of, source
from registry_server import PASSWORD, PROGRAM, USER, Registry, TokenServer, registry

pytestmark = pytest.mark.skipif(not shutil.which(PROGRAM), reason="docker-registry is not installed")


def quiet(*_: Any) -> None:
    pass


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("plain")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("guarded"), password=True) as running:
        yield running


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("secure"), tls=True) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def push(
    driver: RegistrySource, reference: str, image: SmallImage, store: ContentStore, **request: Any
) -> str:
    return driver.push(reference, image.stored(store), store, quiet, FetchRequest(**request))


def pull(driver: RegistrySource, reference: str, content: Any, **request: Any) -> Descriptor:
    image = driver.resolve(reference)
    assert image is not None
    return driver.fetch(image, content, quiet, FetchRequest(**request))


class TestRegistrySource(ImageSourceDriverSuite):
    driver_type = RegistrySource
    driver_settings: ClassVar[dict[str, Any]] = {"insecure": ("127.0.0.0/8",)}
    offline = True

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _pushed(cls, plain: Registry, tmp_path_factory: pytest.TempPathFactory) -> None:
        directory = tmp_path_factory.mktemp("kit")
        cls.reference, cls.push_reference = f"{plain.host}/kit/image:1", f"{plain.host}/kit/other:2"
        push(source(directory), cls.reference, SmallImage(name="kit"), ContentStore(directory / "content"))


def test_what_was_pushed_is_pulled_with_the_same_digests(
    plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    driver, image, reference = source(tmp_path / "a"), SmallImage(3), f"{plain.host}/round/trip:1"
    digest = push(driver, reference, image, store)
    assert digest == digest_of(image.data)
    content = MemoryContent()
    assert pull(driver, reference, content).digest == digest
    assert set(content.blobs) == {*image.blobs, digest}
    # Once more, by the digest, and pushed to another place from what was pulled.
    again = ContentStore(tmp_path / "again")
    found = pull(driver, f"{plain.host}/round/trip@{digest}", again)
    assert found.digest == digest
    assert driver.push(f"{plain.host}/other/trip:2", found, again, quiet) == digest


def test_skopeo_reads_what_was_pushed(plain: Registry, tmp_path: Path, store: ContentStore) -> None:
    digest = push(source(tmp_path / "a"), f"{plain.host}/for/skopeo:1", SmallImage(), store)
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{plain.host}/for/skopeo:1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["Digest"] == digest
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{plain.host}/for/skopeo:1",
         f"oci:{tmp_path}/layout:1"],
        check=True,
    )  # fmt: skip


def test_an_image_in_dockers_format_keeps_its_digest(
    plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    push(source(tmp_path / "a"), f"{plain.host}/in/oci:1", SmallImage(), store)
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false",
         f"docker://{plain.host}/in/oci:1", f"docker://{plain.host}/in/docker:1"],
        check=True,
    )  # fmt: skip
    content = ContentStore(tmp_path / "other")
    found = pull(source(tmp_path / "b"), f"{plain.host}/in/docker:1", content)
    assert found.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert source(tmp_path / "b").push(f"{plain.host}/in/docker:2", found, content, quiet) == found.digest


@pytest.mark.parametrize("suffix", ["", "+zstd"])
def test_layers_are_kept_as_they_are(
    suffix: str, plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    # Nothing is unpacked here, so that any bytes may stand for zstd.
    image = SmallImage(kind=f"application/vnd.oci.image.layer.v1.tar{suffix}")
    digest = push(source(tmp_path / "a"), f"{plain.host}/kinds/of:layers{len(suffix)}", image, store)
    content = MemoryContent()
    assert (
        pull(source(tmp_path / "a"), f"{plain.host}/kinds/of:layers{len(suffix)}", content).digest == digest
    )
    assert content.blobs.keys() >= image.blobs.keys()


def test_what_the_registry_has_is_not_sent_again(
    plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    driver, image = source(tmp_path / "a"), SmallImage(name="twice")
    push(driver, f"{plain.host}/twice/pushed:1", image, store)
    before = plain.requests("PUT", "/twice/pushed/blobs/")
    push(driver, f"{plain.host}/twice/pushed:2", image, store)
    assert plain.requests("PUT", "/twice/pushed/blobs/") == before > 0


def test_a_blob_of_another_repository_is_mounted(
    plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    driver, image = source(tmp_path / "a"), SmallImage(name="mounted")
    push(driver, f"{plain.host}/mount/from:1", image, store)
    pull(source(tmp_path / "b"), f"{plain.host}/mount/from:1", MemoryContent())
    for user in ("a", "b"):  # who pushed it knows, and who pulled it
        push(source(tmp_path / user), f"{plain.host}/mount/to-{user}:1", image, store)
        assert plain.requests("PUT", f"/mount/to-{user}/blobs/") == 0
        assert plain.requests("POST", f"/mount/to-{user}/blobs/uploads/?mount") == 3


def test_a_large_layer_is_sent_in_parts(
    plain: Registry, tmp_path: Path, store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "CHUNK", 300_000)
    image = SmallImage(1, 1_000_000)
    digest = push(source(tmp_path / "a"), f"{plain.host}/large/layer:1", image, store)
    assert plain.requests("PATCH", "/large/layer/") == 3
    assert pull(source(tmp_path / "a"), f"{plain.host}/large/layer:1", MemoryContent()).digest == digest


def test_the_image_for_this_platform_is_taken_from_an_index(
    plain: Registry, tmp_path: Path, store: ContentStore
) -> None:
    driver = source(tmp_path / "a")
    images = {name: SmallImage(architecture=name) for name in ("amd64", "arm64")}
    for name, image in images.items():
        push(driver, f"{plain.host}/multi/arch:{name}", image, store)
    platforms = [(image, {"os": "linux", "architecture": name}) for name, image in images.items()]
    index = index_of(*platforms)
    put_manifest(plain, "multi/arch", "1", index, "application/vnd.oci.image.index.v1+json")
    arm = pull(driver, f"{plain.host}/multi/arch:1", MemoryContent(), platform="linux/arm64/v8")
    assert arm.digest == digest_of(images["arm64"].data)
    with pytest.raises(Unsupported, match="no image for linux/s390x") as caught:
        pull(driver, f"{plain.host}/multi/arch:1", MemoryContent(), platform="linux/s390x")
    assert caught.value.remedy == "there is: linux/amd64, linux/arm64"
    with pytest.raises(Unsupported, match="is for linux/arm64, not for linux/amd64"):
        pull(driver, f"{plain.host}/multi/arch:arm64", MemoryContent(), platform="linux/amd64")


def put_manifest(where: Registry, repository: str, tag: str, data: bytes, kind: str) -> None:
    import urllib.request

    request = urllib.request.Request(
        f"http://{where.host}/v2/{repository}/manifests/{tag}", data, {"Content-Type": kind}, method="PUT"
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def test_an_unknown_image_is_not_found(plain: Registry, tmp_path: Path) -> None:
    for reference in ("no/such:1", "kit/image:none"):
        with pytest.raises(NotFound, match="has no such image"):
            pull(source(tmp_path), f"{plain.host}/{reference}", MemoryContent())


def test_plain_http_is_not_spoken_without_being_allowed(plain: Registry, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="does not speak TLS") as caught:
        pull(source(tmp_path, insecure=()), f"{plain.host}/kit/image:1", MemoryContent())
    assert "insecure" in caught.value.remedy


# --- passwords and tokens ---------------------------------------------------------------------------


def test_a_guarded_registry_wants_a_login(guarded: Registry, tmp_path: Path, store: ContentStore) -> None:
    driver, reference = source(tmp_path / "a"), f"{guarded.host}/private/image:1"
    own = {guarded.host: Credentials(USER, PASSWORD)}
    digest = push(driver, reference, SmallImage(), store, credentials=own)
    assert pull(driver, reference, MemoryContent(), credentials=own).digest == digest
    with pytest.raises(Refused, match="without a login") as caught:
        pull(driver, reference, MemoryContent())
    assert f"multios-container login {guarded.host}" in caught.value.remedy
    with pytest.raises(Refused, match="to this user"):
        pull(driver, reference, MemoryContent(), credentials={guarded.host: Credentials(USER, "wrong")})
    with pytest.raises(Refused, match="without a login"):
        pull(
            driver, reference, MemoryContent(), credentials={"elsewhere.example": Credentials(USER, PASSWORD)}
        )


def test_a_login_is_tried(guarded: Registry, plain: Registry, tmp_path: Path) -> None:
    driver = source(tmp_path)
    driver.login(guarded.host, Credentials(USER, PASSWORD))
    with pytest.raises(Refused) as caught:
        driver.login(guarded.host, Credentials(USER, "wrong-word"))
    assert "wrong-word" not in str(caught.value.to_wire())


def test_tokens_are_fetched_for_what_is_done(tmp_path: Path, store: ContentStore) -> None:
    with (
        TokenServer(tmp_path / "tokens").serving() as tokens,
        registry(tmp_path / "registry", token_server=tokens) as running,
    ):
        driver, reference = source(tmp_path / "a"), f"{running.host}/by/token:1"
        own = {running.host: Credentials(USER, PASSWORD)}
        image = SmallImage(name="token")
        with pytest.raises(Refused):
            push(driver, reference, image, store)
        digest = push(driver, reference, image, store, credentials=own)
        assert pull(driver, reference, MemoryContent()).digest == digest
        assert set(tokens.scopes) == {"repository:by/token:pull", "repository:by/token:pull,push"}
        push(driver, f"{running.host}/by/mount:1", image, store, credentials=own)
        assert running.requests("PUT", "/by/mount/blobs/") == 0
        driver.login(running.host, Credentials(USER, PASSWORD))
        with pytest.raises(Refused):
            driver.login(running.host, Credentials(USER, "wrong"))


# --- TLS --------------------------------------------------------------------------------------------


def test_tls_is_trusted_by_a_named_authority_only(
    secure: Registry, tmp_path: Path, store: ContentStore
) -> None:
    reference = f"{secure.host}/over/tls:1"
    driver = source(tmp_path / "a", insecure=(), ca_bundle=secure.certificate)
    digest = push(driver, reference, SmallImage(), store)
    assert pull(driver, reference, MemoryContent()).digest == digest
    with pytest.raises(StepFailed, match="certificate is not trusted") as caught:
        pull(source(tmp_path / "b", insecure=()), reference, MemoryContent())
    assert "ca_bundle" in caught.value.remedy
    assert pull(source(tmp_path / "c"), reference, MemoryContent()).digest == digest  # allowed to be insecure


def test_a_certificate_bundle_that_is_none_is_said_to_be(secure: Registry, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nonsense")
    for name in ("ca", "missing"):
        with pytest.raises(MultiosError, match="cannot be used"):
            pull(
                source(tmp_path / "a", ca_bundle=tmp_path / name, insecure=()),
                f"{secure.host}/a/b:1",
                MemoryContent(),
            )


# --- mirrors ----------------------------------------------------------------------------------------


def test_a_mirror_is_asked_first_and_the_registry_if_it_fails(
    plain: Registry, guarded: Registry, tmp_path: Path, store: ContentStore
) -> None:
    push(source(tmp_path / "a"), f"{plain.host}/library/mirrored:1", SmallImage(name="mirror"), store)
    mirrors = {"docker.io": (f"http://{plain.host}",), "127.0.0.1:1": (f"http://{guarded.host}",)}
    driver = source(tmp_path / "b", mirrors=mirrors)
    assert pull(driver, "mirrored:1", MemoryContent()).digest == digest_of(SmallImage(name="mirror").data)
    # Its own credentials are for the registry, not for its mirror.
    with pytest.raises(StepFailed, match="127.0.0.1:1 cannot be reached"):
        pull(
            driver,
            "127.0.0.1:1/a/b:1",
            MemoryContent(),
            credentials={"127.0.0.1:1": Credentials(USER, PASSWORD)},
        )
