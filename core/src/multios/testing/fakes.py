"""``fake`` drivers: every verb of every contract, kept in memory, without a kernel.

Each notes its calls in ``calls`` and fails where ``[KIND.fake] fail = ["verb"]`` says so: for tests of whoever
calls drivers.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from multios.drivers.base import Capability, Driver, DriverContext
from multios.drivers.image_source import ANYHOW, ContentSink, FetchRequest, ImageSourceDriver, Progress
from multios.drivers.isolation import Bundle, IsolationDriver, Launched, ProcessState, Stdio
from multios.drivers.network import NetworkDriver
from multios.drivers.orchestrator import (
    Action,
    ApplyOptions,
    DestroyOptions,
    OrchestratorDriver,
    PlanOptions,
    Told,
)
from multios.drivers.security import SecurityDriver
from multios.drivers.storage import Snapshot, StorageDriver, Usage
from multios.drivers.template import TemplateDriver
from multios.drivers.template_converter import Conversion, LeftOut, TemplateConverterDriver
from multios.errors import Conflict, InvalidInput, NotFound, StepFailed, Unsupported, unknown
from multios.model.app import App, AppState, Instance, changed_fields, fingerprint
from multios.model.container import Counters, ProcessSpec, Resources, Stats
from multios.model.image import Descriptor, ResolvedImage
from multios.model.mount import Mount
from multios.model.network import Endpoint, Network, PortMapping
from multios.model.template import Check, Parameter, TemplatePlan

KEY_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:._-")


@dataclass(frozen=True, slots=True)
class FakeSettings:
    """``fail`` names the verbs that raise ``StepFailed``."""

    fail: tuple[str, ...] = ()


class _Noting(Driver):
    """Notes calls, and fails as configured."""

    Settings = FakeSettings

    def __init__(self, settings: FakeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.calls: list[tuple[str, str]] = []
        self._lock = threading.RLock()

    def _note(self, verb: str, subject: str = "") -> None:
        self.calls.append((verb, subject))
        if verb in self.settings.fail:
            raise StepFailed(verb, "the fake driver was told to fail")


class FakeIsolation(_Noting, IsolationDriver):
    """Containers that are only records."""

    name = "fake"
    summary = "for tests: containers that are only records"
    capabilities = frozenset({Capability.PAUSE, Capability.UPDATE, Capability.STATS, Capability.EXEC})

    def __init__(self, settings: FakeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._states: dict[str, ProcessState] = {}
        self._limits: dict[str, Resources] = {}
        self.counted: dict[str, Counters] = {}
        """What :meth:`counters` answers; tests fill it."""

    def create(self, bundle: Bundle) -> Launched:
        self._note("create", bundle.container_id)
        with self._lock:
            if bundle.container_id in self._states:
                raise Conflict(f"container {bundle.container_id} exists")
            self._states[bundle.container_id] = ProcessState("created")
            self._limits[bundle.container_id] = bundle.resources
        return Launched(pid=0)

    def start(self, container_id: str) -> None:
        self._note("start", container_id)
        self._move(container_id, "running", ("created",))

    def kill(self, container_id: str, signal: int, everything: bool = False) -> None:
        self._note("kill", container_id)
        if self.state(container_id).status != "stopped":
            self._states[container_id] = ProcessState("stopped", exit_code=128 + signal)

    def delete(self, container_id: str) -> None:
        self._note("delete", container_id)
        self._states.pop(container_id, None)
        self._limits.pop(container_id, None)

    def state(self, container_id: str) -> ProcessState:
        if container_id not in self._states:
            raise unknown("container", container_id, list(self._states))
        return self._states[container_id]

    def exec(self, container_id: str, exec_id: str, process: ProcessSpec, stdio: Stdio) -> Launched:
        self._note("exec", container_id)
        self._move(container_id, "running", ("running",))
        return Launched(pid=0)

    def pause(self, container_id: str) -> None:
        self._note("pause", container_id)
        self._move(container_id, "paused", ("running", "paused"))

    def resume(self, container_id: str) -> None:
        self._note("resume", container_id)
        self._move(container_id, "running", ("running", "paused"))

    def update(self, container_id: str, resources: Resources) -> None:
        self._note("update", container_id)
        self.state(container_id)
        given = {name: getattr(resources, name) for name in Resources.__slots__}
        changed = {name: value for name, value in given.items() if value is not None}
        self._limits[container_id] = replace(self._limits[container_id], **changed)

    def stats(self, container_id: str) -> Stats:
        self._note("stats", container_id)
        self.state(container_id)
        limits = self._limits[container_id]
        return Stats(memory_limit=limits.memory_limit, pids_limit=limits.pids_limit, pids=0)

    def counters(self, container_id: str) -> Counters:
        self.state(container_id)
        return self.counted.get(container_id, Counters())

    def processes(self, container_id: str) -> tuple[int, ...]:
        self.state(container_id)
        return ()

    def _move(self, container_id: str, status: str, allowed: tuple[str, ...]) -> None:
        state = self.state(container_id)
        if state.status not in allowed:
            raise Conflict(f"container {container_id} is {state.status}")
        self._states[container_id] = replace(state, status=status)


class FakeStorage(_Noting, StorageDriver):
    """Snapshots as plain directories, a full copy each; forgotten when the driver is."""

    name = "fake"
    summary = "for tests: snapshots as plain copies"

    def __init__(self, settings: FakeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._snapshots: dict[str, Snapshot] = {}

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        self._note("prepare", key)
        return self._make(Snapshot(key, parent, "active"))

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        self._note("view", key)
        return self._make(Snapshot(key, parent, "view"))

    def mounts(self, key: str) -> tuple[Mount, ...]:
        snapshot = self.stat(key)
        if snapshot.kind == "committed":
            raise Conflict(f"snapshot {key} is committed", "make a view of it")
        return (Mount("bind", str(self._path(key)), ("ro",) if snapshot.kind == "view" else ()),)

    def commit(self, name: str, key: str) -> None:
        self._note("commit", key)
        with self._lock:
            snapshot = self.stat(key)
            self._free(name)
            if snapshot.kind != "active":
                raise Conflict(f"snapshot {key} is {snapshot.kind}")
            self._path(key).rename(self._path(name))
            self._snapshots[name] = Snapshot(name, snapshot.parent, "committed")
            del self._snapshots[key]

    def remove(self, key: str) -> None:
        self._note("remove", key)
        with self._lock:
            _checked(key)
            if any(item.parent == key for item in self._snapshots.values()):
                raise Conflict(f"snapshot {key} is a parent")
            if self._snapshots.pop(key, None):
                shutil.rmtree(self._path(key))

    def stat(self, key: str) -> Snapshot:
        if _checked(key) not in self._snapshots:
            raise unknown("snapshot", key, list(self._snapshots))
        return self._snapshots[key]

    def walk(self) -> Iterator[Snapshot]:
        return iter(list(self._snapshots.values()))

    def usage(self, key: str) -> Usage:
        self.stat(key)
        found = [path.lstat() for path in self._path(key).rglob("*")]
        return Usage(sum(item.st_size for item in found), len(found))

    def diff(self, key: str, target: BinaryIO, latest: float | None = None) -> None:
        raise Unsupported("the fake storage driver makes no layers", "use storage driver overlay or vfs")

    def _make(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        with self._lock:
            self._free(snapshot.key)
            if snapshot.parent and self.stat(snapshot.parent).kind != "committed":
                raise Conflict(f"snapshot {snapshot.parent} is not committed")
            path = self._path(snapshot.key)
            if snapshot.parent:
                shutil.copytree(self._path(snapshot.parent), path, symlinks=True)
            else:
                path.mkdir()
            self._snapshots[snapshot.key] = snapshot
            return self.mounts(snapshot.key)

    def _free(self, key: str) -> None:
        if _checked(key) in self._snapshots:
            raise Conflict(f"snapshot {key} exists")

    def _path(self, key: str) -> Path:
        return self.context.state / f"snapshot-{key}"


def _checked(key: str) -> str:
    if not 0 < len(key) <= 128 or not KEY_CHARACTERS.issuperset(key):
        raise InvalidInput(f"{key[:40]!r} is no snapshot key")
    return key


class FakeNetwork(_Noting, NetworkDriver):
    """Networks and endpoints that are only records."""

    name = "fake"
    summary = "for tests: networks that are only records"
    capabilities = frozenset({Capability.PUBLISH})

    def __init__(self, settings: FakeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.endpoints: dict[str, dict[str, Endpoint]] = {}
        self.published: set[tuple[str, PortMapping]] = set()

    def create_network(self, network: Network) -> None:
        self._note("create_network", network.id)
        self.endpoints.setdefault(network.id, {})

    def delete_network(self, network: Network) -> None:
        self._note("delete_network", network.id)
        self.endpoints.pop(network.id, None)

    def add(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        self._note("add", endpoint.id)
        if network.id not in self.endpoints:
            raise StepFailed("add", f"network {network.name} was not created")
        self.endpoints[network.id][endpoint.id] = endpoint

    def delete(self, network: Network, endpoint: Endpoint) -> None:
        self._note("delete", endpoint.id)
        self.endpoints.get(network.id, {}).pop(endpoint.id, None)
        self.published = {item for item in self.published if item[0] != endpoint.id}

    def check(self, network: Network, endpoint: Endpoint, netns: int) -> None:
        self._note("check", endpoint.id)
        if self.endpoints.get(network.id, {}).get(endpoint.id) != endpoint:
            raise StepFailed("check", f"endpoint {endpoint.id} is not on {network.name}")

    def publish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        self._note("publish", endpoint.id)
        self.published |= {(endpoint.id, port) for port in ports}

    def unpublish(self, network: Network, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> None:
        self._note("unpublish", endpoint.id)
        self.published -= {(endpoint.id, port) for port in ports}


class FakeSecurity(_Noting, SecurityDriver):
    """Writes the profile's name into the spec's annotations; knows ``default``, ``unconfined`` and JSON objects."""

    name = "fake"
    summary = "for tests: notes the profile in the spec"

    def apply(self, spec: dict[str, Any], profile: str) -> dict[str, Any]:
        self._note("apply", profile)
        if profile not in ("default", "unconfined") and not _is_object(profile):
            raise unknown("security profile", profile, ["default", "unconfined"])
        annotations = {**spec.get("annotations", {}), "multios.fake.profile": profile}
        return {**spec, "annotations": annotations}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


class FakeTemplate(_Noting, TemplateDriver):
    """A template with one option."""

    name = "fake"
    summary = "for tests: a template that writes a greeting"

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("greeting", "What the container says", "hello", ("hello", "goodbye")),)

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        self._note("render")
        chosen = {"greeting": "hello", **values}
        for name, value in chosen.items():
            if name != "greeting":
                raise InvalidInput(f"{name}: no such option", "did you mean 'greeting'?")
            if value not in ("hello", "goodbye"):
                raise InvalidInput(f"{name}: {value!r} is not valid", "one of hello, goodbye")
        files = {"/etc/greeting": chosen["greeting"] + "\n"}
        return TemplatePlan(self.name, "0.1.0", self.summary, base="fake:1", files=files)

    def checks(self) -> tuple[Check, ...]:
        return (Check("greets", ("cat", "/etc/greeting")),)

    def lesson(self) -> str:
        return "# Fake\n\nRead `/etc/greeting`.\n"


class FakeTemplateConverter(_Noting, TemplateConverterDriver):
    """Makes the bare base of a file ``fake.template``, and leaves out what is in it."""

    name = "fake"
    summary = "for tests: a template of the bare base"

    def find(self, source: Path) -> Path | None:
        file = source / "fake.template" if source.is_dir() else source
        return file if file.name == "fake.template" and file.is_file() else None

    def convert(self, file: Path, target: Path) -> Conversion:
        self._note("convert", file.name)
        folder = target / "faked"
        folder.mkdir()
        (folder / "template.toml").write_text(
            'schema = 1\nname = "faked"\nversion = "1.0"\ndescription = "The bare base"\nlicense = "MIT"\nbase = "fake:1"\n'
            '[[checks]]\nname = "runs"\ncommand = ["true"]\n'
        )
        (folder / "lesson.md").write_text("# Faked\n")
        return Conversion((folder,), (LeftOut(file.name, 1, "content", "it is not looked at"),))


class FakeImageSource(_Noting, ImageSourceDriver):
    """Has one image, ``fake:1``, of one layer with one file."""

    name = "fake"
    summary = "for tests: one image of one file"

    def resolve(self, reference: str) -> ResolvedImage | None:
        return ResolvedImage(reference, self.name, "one file") if reference == "fake:1" else None

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        self._note("fetch", image.reference)
        if self.resolve(image.reference) is None:
            raise NotFound(f"no such image: {image.reference!r}", "the fake source has fake:1")
        layer = _layer()
        progress("layer", 0, len(layer))
        stored = content.put("application/vnd.oci.image.layer.v1.tar", io.BytesIO(layer))
        diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        described = content.put_bytes(
            "application/vnd.oci.image.config.v1+json", json.dumps({**config, "config": {}}).encode()
        )
        progress("layer", len(layer), len(layer))
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": _json(described),
            "layers": [_json(stored)],
        }
        return content.put_bytes(kind, json.dumps(manifest).encode())


def _layer() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo("fake")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"fake\n"))
    return target.getvalue()


def _json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


class FakeOrchestrator(_Noting, OrchestratorDriver):
    """Apps that are only records: of each service, what it was made of."""

    name = "fake"
    summary = "for tests: apps that are only records"

    def __init__(self, settings: FakeSettings, context: DriverContext) -> None:
        super().__init__(settings, context)
        self.apps: dict[str, dict[str, dict[str, str]]] = {}

    def existing(self, app: App) -> AppState:
        noted = self.apps.get(app.name, {})
        return AppState(
            tuple(Instance(name, name, name, 1, "running", "", made_of) for name, made_of in noted.items())
        )

    def plan(self, app: App, existing: AppState, options: PlanOptions) -> tuple[Action, ...]:
        there = {instance.service: instance.fingerprint for instance in existing.instances}
        actions = []
        for service in app.in_order():
            if options.services and service.name not in options.services:
                continue
            changed = changed_fields(there.get(service.name, {}), fingerprint(service.container))
            verb = "create" if service.name not in there else "recreate" if changed else "keep"
            actions.append(self._action(verb, service.name, changed))
        unknown_services = [name for name in options.services if app.service(name) is None]
        if unknown_services:
            raise unknown("service", unknown_services[0], [service.name for service in app.services])
        gone = [name for name in there if app.service(name) is None and options.remove_orphans]
        return (*actions, *(self._action("remove", name) for name in gone))

    @staticmethod
    def _action(verb: str, service: str, changed: tuple[str, ...] = ()) -> Action:
        return Action(verb, "container", service, f"{verb}, as it is planned", service, 1, changed)

    def apply(self, app: App, plan: Sequence[Action], told: Told, options: ApplyOptions) -> None:
        self._note("apply", app.name)
        noted = self.apps.setdefault(app.name, {})
        for action in plan:
            told(action, "begun")
            service = app.service(action.service)
            if service is None:
                noted.pop(action.service, None)
            else:
                noted[action.service] = fingerprint(service.container)
            told(action, "done")

    def watch(self, app: str) -> Iterator[Mapping[str, Any]]:
        self._note("watch", app)
        return iter(
            [{"type": "container", "action": "start", "name": name} for name in self.apps.get(app, {})]
        )

    def destroy(self, app: str, told: Told, options: DestroyOptions) -> None:
        self._note("destroy", app)
        for name in self.apps.pop(app, {}):
            told(self._action("remove", name), "done")
