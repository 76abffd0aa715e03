"""What pull asks anew and for whom, what may be pushed where, and what a name that nobody knows is answered."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from multios.api.registry_methods import read_credentials
from multios.drivers.base import Capability, DriverContext
from multios.drivers.image_source import (
    ANYHOW,
    ContentReader,
    ContentSink,
    Credentials,
    FetchRequest,
    Progress,
)
from multios.engine.images import Images
from multios.engine.registries import Registries
from multios.errors import InvalidInput, NotFound, Refused, Unsupported
from multios.model.image import Descriptor, ResolvedImage
from multios.store.content import ContentStore
from multios.testing.fakes import FakeImageSource, FakeSettings, FakeStorage

pytestmark = pytest.mark.needs_root


def quiet(*_: Any) -> None:
    pass


class Anywhere(FakeImageSource):
    """Takes every name, has those that begin with ``lab/``, and is pushed to."""

    name = "anywhere"
    catch_all = True
    capabilities = frozenset({Capability.PUSH})

    def __init__(self, directory: Path) -> None:
        super().__init__(FakeSettings(), DriverContext(directory, directory))
        self.requests: list[FetchRequest] = []

    def resolve(self, reference: str) -> ResolvedImage | None:
        return ResolvedImage(reference, self.name, "anything")

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        self.requests.append(request)
        if not image.reference.startswith("lab/"):
            raise NotFound(f"pull {image.reference}: no such image", "check its name")
        return FakeImageSource(self.settings, self.context).fetch(
            ResolvedImage("fake:1", "fake", ""), content, progress
        )

    def push(
        self,
        reference: str,
        manifest: Descriptor,
        content: ContentReader,
        progress: Progress,
        request: FetchRequest = ANYHOW,
    ) -> str:
        self.calls.append(("push", reference))
        return manifest.digest

    def login(self, registry: str, credentials: Credentials) -> None:
        self.calls.append(("login", registry))


class World:
    """Images of two sources: one that makes its own, and one that takes any name."""

    def __init__(self, directory: Path) -> None:
        self.content = ContentStore(directory / "content")
        self.storage = FakeStorage(FakeSettings(), DriverContext(directory, directory))
        self.own = FakeImageSource(FakeSettings(), DriverContext(directory, directory))
        self.anywhere = Anywhere(directory)
        self.sources = [self.own, self.anywhere]
        self.images = Images(self.content, [self.storage], self.sources)
        self.registries = Registries(self.images, self.content, self.sources, lambda: self.storage)

    def pull(self, reference: str, request: FetchRequest = ANYHOW, administrator: bool = False) -> str:
        return self.registries.pull(reference, request, quiet, administrator).manifest.digest


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_pull_asks_a_registry_anew_and_unpacks(world: World) -> None:
    world.pull("lab/a:1")
    world.pull("lab/a:1")
    assert [request.refresh for request in world.anywhere.requests] == [True, True]
    assert [item.kind for item in world.storage.walk()] == ["committed"]


def test_what_is_made_here_is_not_made_again(world: World) -> None:
    world.pull("fake:1")
    world.pull("fake:1")
    assert world.own.calls == [("fetch", "fake:1")]
    assert world.anywhere.requests == []


def test_only_an_administrator_pulls_over_an_image_that_was_made_here(world: World) -> None:
    world.pull("fake:1")
    world.images.tag("fake:1", "lab/built:1")
    world.pull("lab/built:1")
    assert world.anywhere.requests == []
    world.pull("lab/built:1", administrator=True)
    assert len(world.anywhere.requests) == 1


def test_only_an_administrator_pulls_for_another_machine(world: World) -> None:
    foreign = FetchRequest(platform="linux/s390x")
    with pytest.raises(Refused, match="for administrators"):
        world.pull("lab/a:1", foreign)
    world.pull("lab/a:1", foreign, administrator=True)
    assert world.anywhere.requests[-1].platform == "linux/s390x"


def test_a_name_that_a_registry_does_not_have_is_answered_with_the_nearest(world: World) -> None:
    world.pull("fake:1")
    with pytest.raises(NotFound) as caught:
        world.images.ensure("faek:1", quiet)
    assert caught.value.remedy == "did you mean 'fake:1'? check its name"


def test_an_image_is_pushed_under_its_name_or_another(world: World) -> None:
    digest = world.pull("lab/a:1")
    assert world.registries.push("lab/a:1", "", ANYHOW, quiet) == digest
    assert world.registries.push("lab/a:1", "host:5000/b", ANYHOW, quiet) == digest
    assert world.anywhere.calls == [("push", "lab/a:1"), ("push", "host:5000/b:latest")]


def test_what_is_no_name_is_not_pushed_to(world: World) -> None:
    digest = world.pull("lab/a:1")
    image_id = world.images.get("lab/a:1").id
    with pytest.raises(InvalidInput, match="no name to push to"):
        world.registries.push(image_id, "", ANYHOW, quiet)
    with pytest.raises(InvalidInput, match="no name to push to"):
        world.registries.push("lab/a:1", f"lab/b@{digest}", ANYHOW, quiet)
    with pytest.raises(NotFound):
        world.registries.push("lab/none:1", "", ANYHOW, quiet)


@pytest.mark.parametrize("registry", ["host", "https://host.example", "host.example/path", "a b", ""])
def test_a_login_needs_a_registrys_host(world: World, registry: str) -> None:
    with pytest.raises(InvalidInput):
        world.registries.login(registry, Credentials())
    world.registries.login("host.example:5000", Credentials())
    assert world.anywhere.calls == [("login", "host.example:5000")]


def test_without_a_source_that_takes_images_the_error_says_what_to_install(world: World) -> None:
    world.sources.remove(world.anywhere)
    world.pull("fake:1")
    with pytest.raises(Unsupported) as caught:
        world.registries.push("fake:1", "host.example/a:1", ANYHOW, quiet)
    assert "multios-image-registry" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"lab": 3}',
        '{"lab": {"username": 3}}',
        '{"lab": {"password": "\\ud800"}}',
        "{" * 9999,
    ],
)
def test_credentials_that_cannot_be_read_are_refused_and_not_shown(text: str) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        with pytest.raises(InvalidInput) as caught:
            read_credentials(file.fileno())
    assert caught.value.cause == "the credentials cannot be read"
    assert caught.value.__cause__ is None


def test_a_pipe_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(InvalidInput):
            read_credentials(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_credentials_show_no_secrets() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b'{"lab": {"username": "alice", "password": "hidden", "identity_token": "secret"}}')
        file.flush()
        found = read_credentials(file.fileno())
    assert found["lab"] == Credentials("alice", "hidden", "secret")
    assert "hidden" not in repr(found) and "secret" not in repr(found)
