"""Templates built into images: steps run as root in a root filesystem made of this host's own shell."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from multios.build.sandbox import Command, Hear
from multios.drivers.base import DriverContext
from multios.drivers.template import TemplateDriver
from multios.engine import template_builds
from multios.engine.build import Builds
from multios.engine.images import Images
from multios.engine.imported_templates import ImportedTemplates
from multios.engine.templates import TEMPLATE_LABEL, Templates, image_name
from multios.engine.unpacking import snapshot_key
from multios.errors import InvalidInput, NotFound, StepFailed
from multios.layers.pack import LayerWriter, walk
from multios.model.image import Image
from multios.model.template import Check, Parameter, TemplatePlan
from multios.plugins.catalog import Catalog
from multios.settings import BuildSettings
from multios.store.content import ContentStore
from multios.template_format.document import read
from multios.template_format.overlay import Overlay
from multios.template_format.rendering import render
from multios.testing.fakes import FakeSettings, FakeStorage

pytestmark = pytest.mark.needs_root

TEXT = """
schema = 1
license = "MIT"
name = "lab"
version = "1.2"
description = "A lab"
base = "tiny"
steps = [{steps}]
command = ["/bin/sh"]
[environment]
COURSE = "unix"
[files]
"/etc/course/name" = "unix {{{{level}}}}"
"/bin/hello" = '''#!/bin/sh
echo hello
'''
[resources]
memory_limit = "64M"
[[ports]]
container = 8888
[[parameters]]
name = "level"
description = "How hard it is"
default = "1"
choices = ["1", "2"]
[[checks]]
name = "the lesson is there"
command = ["/bin/cat", "/lesson"]
expect = "{expect}"
hint = "write it again"
[[checks]]
name = "nobody looks for this where nothing runs"
command = ["/bin/false"]
running = true
"""


class Lab(TemplateDriver):
    """A template whose text the test sets."""

    name = "lab"
    text = ""
    folder = Path("/nonexistent")

    def parameters(self) -> tuple[Parameter, ...]:
        return read(self.text, "lab").parameters

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        return render(read(self.text, "lab"), values, self.rootfs().fingerprint)

    def rootfs(self) -> Overlay:
        return Overlay(self.folder, "lab/rootfs")

    def checks(self) -> tuple[Check, ...]:
        return read(self.text, "lab").checks

    def lesson(self) -> str:
        return "# Lab\n"


class OneTemplate(Catalog):
    """A catalog with the template ``lab`` in it."""

    def __init__(self) -> None:
        super().__init__(scan=lambda: ())

    def names(self, kind: str) -> list[str]:
        return ["lab"] if kind == "template" else []

    def load(self, kind: str, name: str, recorded: Any = None) -> Any:
        return type("Loaded", (), {"driver": Lab, "distribution": "multios-template-lab", "version": "1.2"})


class NewFiles(FakeStorage):
    """The fake with a ``diff`` of the files that the parent does not have."""

    def diff(self, key: str, target: BinaryIO) -> None:
        above, below = (os.fsencode(self._path(name)) for name in (key, self.stat(key).parent))
        writer = LayerWriter(target)
        for path, name, status in walk(above):
            if not os.path.lexists(below + b"/" + name):
                writer.add(path, name, status)
        writer.close()


class ChrootBox:
    """Runs a command with chroot(8); good enough for steps that the test itself wrote."""

    def __init__(self, root: Path, command: Command, snapshot: str) -> None:
        self._root, self._command, self.snapshot = root, command, snapshot

    def run(self, hear: Hear, cancelled: Callable[[], bool]) -> int:
        mounts = [(Path(mount.source), self._root / mount.target[1:]) for mount in self._command.mounts]
        for source, target in mounts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        words = {"PATH": "/bin", **self._command.environment}
        done = subprocess.run(
            ["/usr/sbin/chroot", str(self._root), *self._command.argv],
            env=words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        for _, target in mounts:
            target.write_bytes(b"")  # an empty place, as a mount leaves it
        for line in done.stdout.splitlines():
            hear(line)
        return done.returncode


class World:
    """Images with ``tiny:latest``, a storage driver, templates whose steps run by chroot."""

    def __init__(self, directory: Path, settings: BuildSettings | None = None) -> None:
        context = DriverContext(directory, directory)
        self.storage = NewFiles(FakeSettings(), context)
        content = ContentStore(directory / "content")
        self.images = Images(content, [self.storage], [])
        self.images.import_tar("tiny", tiny_rootfs(), (), self.storage, lambda *_: None)
        self.before = self.snapshots()
        self.told: list[tuple[str, int, int]] = []
        self.ran: list[tuple[str, ...]] = []
        self.builds = Builds(
            directory / "build",
            directory / "run",
            self.images,
            self,
            settings or BuildSettings(),
            has=content.has,
            may_be_newer=lambda reference: False,
        )
        imported = ImportedTemplates(directory / "templates")
        self.templates = Templates(OneTemplate(), self.images, self.builds, imported)

    def settle(self) -> None:
        pass

    @contextmanager
    def open(self, command: Command, parent: str) -> Iterator[ChrootBox]:
        self.ran.append(command.argv)
        key = f"step-{len(self.ran)}"
        root = Path(self.storage.prepare(key, parent)[0].source)
        try:
            yield ChrootBox(root, command, key)
        finally:
            self.storage.remove(key)

    def build(self, options: Mapping[str, str] | None = None) -> Image:
        return self.templates.image_for("lab", options or {}, lambda *step: self.told.append(step))

    def kept(self) -> set[str]:
        """What the build cache keeps: the steps that did not fail."""
        return {snapshot_key(chain) for chain in self.builds.cache.kept_chains()}

    def snapshots(self) -> set[str]:
        return {snapshot.key for snapshot in self.storage.walk()}

    def root(self, image: Image) -> Path:
        return self.storage._path(self.images.unpack(image, self.storage, lambda *_: None))


def tiny_rootfs() -> BinaryIO:
    """A shell, cat and rm of this host, with their libraries."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        libraries = set()
        for name in ("sh", "cat", "rm"):
            program = os.path.realpath(shutil.which(name) or "")
            archive.add(program, f"bin/{name}")
            said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
            libraries |= set(re.findall(r"(/\S+)", said))
        for library in sorted(libraries):
            archive.add(os.path.realpath(library), library.lstrip("/"))
    target.seek(0)
    return target


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def write(*steps: str, expect: str = "") -> None:
        monkeypatch.setattr(
            Lab, "text", TEXT.format(steps=", ".join(f"'''{step}'''" for step in steps), expect=expect)
        )

    return write


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_template_is_built_from_its_files_and_steps(world: World, template: Callable[..., None]) -> None:
    template(
        'cat /etc/course/name > /lesson; echo " $COURSE $DEBIAN_FRONTEND" >> /lesson', "hello >> /lesson"
    )
    image = world.build()
    assert (world.root(image) / "lesson").read_text() == "unix 1 unix noninteractive\nhello\n"
    assert image.config.command == ("/bin/sh",)
    assert "COURSE=unix" in image.config.environment
    assert not any("DEBIAN_FRONTEND" in item for item in image.config.environment)
    assert image.config.exposed_ports == ("8888/tcp",)
    assert image.config.working_directory == "/root"
    assert image.config.labels[TEMPLATE_LABEL] == "lab"
    assert "multios/template-lab:latest" in image.references
    assert any("step 2 of 2" in what for what, _, _ in world.told)
    assert all(done <= total or not total for _, done, total in world.told)


def test_a_template_is_built_once_for_each_plan(world: World, template: Callable[..., None]) -> None:
    template("cat /etc/course/name > /lesson")
    found: list[Image] = []
    threads = [threading.Thread(target=lambda: found.append(world.build())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image.id for image in found}) == 1
    assert len(world.ran) == 2  # the step and the check
    other = world.build({"level": "2"})
    assert (world.root(other) / "lesson").read_text() == "unix 2"
    assert len(world.ran) == 4
    assert world.build().id == found[0].id


def test_a_step_that_fails_is_named_with_its_last_words_and_leaves_nothing(
    world: World, template: Callable[..., None]
) -> None:
    template("true", "\n  echo one; echo E: no such package; echo two\n  exit 100\n")
    with pytest.raises(StepFailed) as caught:
        world.build()
    assert (
        "build template lab: step 2 of 2: 'echo one; echo E: no such package; echo two'" in caught.value.cause
    )
    assert "status 100: E: no such package" in caught.value.cause
    assert world.images.find("multios/template-lab") is None
    assert world.snapshots() == world.before | world.kept()


def test_a_check_that_does_not_hold_fails_the_build(world: World, template: Callable[..., None]) -> None:
    template("echo physics > /lesson", expect="chemistry")
    with pytest.raises(
        StepFailed, match="check 'the lesson is there': 'chemistry' is not in its output: physics"
    ) as caught:
        world.build()
    assert caught.value.remedy == "write it again"
    assert world.snapshots() == world.before | world.kept()


def test_a_step_that_fails_half_way_is_dropped_and_the_next_try_goes_on_from_the_cache(
    world: World, template: Callable[..., None]
) -> None:
    template("echo one > /one", "echo half > /half; echo the disk is full; exit 3", "echo three > /three")
    with pytest.raises(StepFailed, match="step 2 of 3: .* ended with status 3: the disk is full"):
        world.build()
    assert world.snapshots() == world.before | world.kept()
    world.ran.clear()
    template("echo one > /one", "echo whole > /whole", "cat /one /whole > /lesson")
    root = world.root(world.build())
    assert [words[-1] for words in world.ran] == [
        "echo whole > /whole", "cat /one /whole > /lesson", "/lesson"
    ]  # fmt: skip
    assert (root / "lesson").read_text() == "one\nwhole\n"
    assert not (root / "half").exists()


def test_the_folder_of_files_is_copied_between_packages_and_steps(
    world: World, template: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rootfs"
    (folder / "bin").mkdir(parents=True)
    (folder / "srv/empty").mkdir(parents=True)
    (folder / "bin/greet").write_text("#!/bin/sh\necho good day\n")
    (folder / "bin/greet").chmod(0o744)
    (folder / "srv/data [1]").write_bytes(b"\0\1")
    (folder / "srv/data [1]").chmod(0o600)
    (folder / "srv/link").symlink_to("data [1]")
    os.chown(folder / "srv/data [1]", 1000, 1000)
    monkeypatch.setattr(Lab, "folder", folder)
    template("/bin/greet > /lesson")
    image = world.build()
    root = world.root(image)
    assert (root / "lesson").read_text() == "good day\n"
    looks = {name: (root / name).lstat() for name in ("bin/greet", "srv/data [1]", "srv/empty", "bin")}
    assert {name: oct(status.st_mode & 0o7777) for name, status in looks.items()} == {
        "bin/greet": "0o755", "srv/data [1]": "0o644", "srv/empty": "0o755", "bin": "0o755"
    }  # fmt: skip
    assert all((status.st_uid, status.st_gid) == (0, 0) for status in looks.values())
    assert (root / "srv/link").readlink() == Path("data [1]")
    (folder / "srv/data [1]").write_bytes(b"other")
    assert world.build().id != image.id


def test_a_build_sees_the_hosts_settings_and_the_image_keeps_none(
    tmp_path: Path, template: Callable[..., None]
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", BuildSettings({"http_proxy": "http://proxy:3128"}, bundle))
    template('cat "$SSL_CERT_FILE" > /lesson; echo "$http_proxy" >> /lesson')
    image = world.build()
    root = world.root(image)
    assert (root / "lesson").read_text() == "-----BEGIN CERTIFICATE-----\nhttp://proxy:3128\n"
    assert not list(root.glob("etc/*.pem"))
    assert not any("proxy" in item or "SSL" in item for item in image.config.environment)


def test_an_unknown_template_or_option_is_answered_with_the_nearest(
    world: World, template: Callable[..., None]
) -> None:
    template("true")
    with pytest.raises(NotFound, match="no such template: 'leb'") as caught:
        world.templates.plan("leb", {})
    assert "did you mean 'lab'?" in caught.value.remedy
    assert not {"fake", "noop"} & set(caught.value.remedy.replace(",", "").split())
    with pytest.raises(NotFound, match=r"'\./lab' is no template's name") as caught:
        world.templates.plan("./lab", {})
    assert caught.value.remedy == "a folder is imported first: template import ./lab"
    with pytest.raises(InvalidInput, match="has no option 'levle'"):
        world.templates.image_for("lab", {"levle": "1"}, lambda *_: None)


def test_a_base_that_no_source_has_fails_before_anything_is_built(
    world: World, template: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    template("true")
    monkeypatch.setattr(Lab, "text", Lab.text.replace('base = "tiny"', 'base = "huge"'))
    with pytest.raises(NotFound, match="no such image: 'huge'"):
        world.build()
    assert not world.ran


def test_templates_are_listed_and_explained(world: World, template: Callable[..., None]) -> None:
    template("echo > /lesson")
    row = world.templates.list()[0]
    assert (row["name"], row["version"], row["summary"], row["built"]) == ("lab", "1.2", "A lab", False)
    assert row["distribution"] == "multios-template-lab"
    assert row["resources"]["memory_limit"] == 64 << 20
    assert world.templates.show("lab") == "# Lab\n"
    world.build()
    details = world.templates.inspect("lab", {})
    assert details["built"]
    assert details["image"] == image_name(world.templates.plan("lab", {}))
    assert details["checks"][0]["name"] == "the lesson is there"
    assert details["parameters"][0]["name"] == "level"
    assert world.templates.list()[0]["built"]


def test_a_broken_template_does_not_hide_the_others(world: World, template: Callable[..., None]) -> None:
    template("true")
    Lab.text = "name = "
    assert world.templates.list() == []


def test_a_step_is_named_once_however_much_it_prints(
    world: World, template: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_builds, "_PROGRESS_INTERVAL", 0.0)
    template("echo one; echo two; echo three; echo x > /lesson")
    world.build()
    told = [what for what, _, _ in world.told]
    assert "Building lab: step 1 of 1: three" in told and told.count("Building lab: step 1 of 1") == 1
