"""A whole engine over ``fake`` drivers and a supervisor that is only a record: no kernel, no process."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from multios.api.methods import table
from multios.api.server import Call
from multios.engine import engine as engine_module
from multios.engine.caller import Caller
from multios.engine.engine import Engine
from multios.errors import Conflict, NotFound
from multios.model.container import Container, Status
from multios.model.container_document import parse
from multios.model.image import Descriptor, Image, ImageConfig
from multios.settings import Settings, load
from multios.store.manifest import Layer
from multios.testing.fakes import FakeIsolation, FakeNetwork, FakeStorage

ROOT = Caller(0, 0)
ALICE = Caller(4101, 4101)
BOB = Caller(4102, 4102)
SETTINGS = """
[daemon]
data_root = "{0}/data"
exec_root = "{0}/run"
[defaults]
isolation = "fake"
storage = "fake"
network = "fake"
security = "fake"
image_source = "fake"
[networking]
bridge = "mos-fake0"
subnet = "10.199.0.0/24"
"""


class FakeSupervisor:
    """Knows what tests tell it: rows of processes, and exits."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.forgotten: list[str] = []
        self.signals: list[tuple[str, int]] = []
        self.callbacks: list[Callable[..., None]] = []

    def on_exit(self, callback: Callable[..., None]) -> None:
        self.callbacks.append(callback)

    def processes(self) -> list[dict[str, Any]]:
        return list(self.rows.values())

    def forget(self, process_id: str) -> None:
        if self.rows.get(process_id, {}).get("status") == "running":
            raise Conflict(f"{process_id} runs")
        self.rows.pop(process_id, None)
        self.forgotten.append(process_id)

    def signal(self, process_id: str, number: int) -> None:
        self.signals.append((process_id, number))

    def attach(self, container_id: str, stdin: bool) -> tuple[bool, tuple[int, int, int]]:
        raise NotFound("nothing is attached to a fake")

    def close(self) -> None:
        """Nothing is held."""

    shutdown = close


class FakeImages:
    """One image, ``fake:1``, and its committed snapshot ``chain``."""

    def __init__(self, *parts: Any) -> None:
        config = ImageConfig(command=("true",))
        self.image = Image("1" * 64, ("fake:1",), Descriptor("m", "sha256:1", 1), config, (), 0.0, 1)
        self.absent = False
        self._unpacking = threading.Lock()

    def find(self, reference: str) -> Image | None:
        return self.image if not self.absent and reference in ("fake:1", self.image.id) else None

    def get(self, reference: str) -> Image:
        image = self.find(reference)
        if image is None:
            raise NotFound(f"no such image: {reference!r}")
        return image

    def ensure(self, reference: str, progress: Any, host_paths: bool = False, request: Any = None) -> Image:
        return self.get(reference)

    def keep(self, keeper: Any) -> None:
        """Nothing is ever collected."""

    def collect_garbage(self) -> None:
        """Nothing is ever collected."""

    def unpack(self, image: Image, storage: Any, progress: Any) -> str:
        with self._unpacking:
            if "chain" not in {snapshot.key for snapshot in storage.walk()}:
                storage.prepare("unpacking")
                storage.commit("chain", "unpacking")
        return "chain"

    def list(self) -> list[Image]:
        return [self.image]

    def inspect(self, reference: str) -> dict[str, Any]:
        return {"Id": self.get(reference).id}

    def remove(self, reference: str, force: bool, used: Any) -> list[str]:
        return [self.get(reference).id]

    def import_tar(self, reference: str, *rest: Any) -> Image:
        return self.image

    def tag(self, reference: str, name: str) -> Image:
        return self.get(reference)

    def history(self, reference: str) -> tuple[dict[str, Any], ...]:
        self.get(reference)
        return ()

    def prune(self, everything: bool, filters: Any, used: Any) -> tuple[tuple[str, ...], int]:
        return (), 0

    def holding(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    restoring = holding

    def layers_of(self, image: Image) -> tuple[Layer, ...]:
        return ()

    history_of = layers_of

    def store_layer_of(
        self, snapshot: str, storage: Any, latest: float | None, unwanted: Any = None
    ) -> Layer:
        return Layer(Descriptor("m", "sha256:2", 1), "sha256:3")

    def write(self, *parts: Any) -> Image:
        return self.image


class Box:
    """An engine, its fakes, and short words for tests."""

    def __init__(self, directory: Path) -> None:
        file = directory / "multios.toml"
        file.write_text(SETTINGS.format(directory))
        self.settings: Settings = load(file, {})
        self._numbers = itertools.count()
        self.engine = self._made()

    def _made(self) -> Engine:
        engine = Engine(self.settings)
        engine.begin()
        return engine

    def restart_daemon(self, rows: list[dict[str, Any]] | None = None, flush: bool = False) -> None:
        """Another daemon on the same roots: drivers keep what the kernel would; ``rows`` is what runs.

        ``flush``: somebody has removed what the network driver had made.
        """
        former, kept = self.engine, dict(self.engine.drivers._made)
        self.close()
        engine = Engine(self.settings)
        engine.drivers._made.update(kept)
        engine.drivers.storages.extend(former.drivers.storages)
        if flush:
            network = cast(FakeNetwork, engine.drivers.network("fake"))
            network.endpoints.clear()
            network.published = set()
        cast(FakeSupervisor, engine.supervisor).rows = {row["id"]: row for row in rows or []}
        self.engine = engine
        engine.begin()

    def close(self) -> None:
        self.engine.close()

    @property
    def containers(self) -> Any:
        return self.engine.containers

    @property
    def registry(self) -> Any:
        return self.engine.registry

    @property
    def isolation(self) -> FakeIsolation:
        return cast(FakeIsolation, self.engine.drivers._driver("isolation", "fake", {}))

    @property
    def storage(self) -> FakeStorage:
        return cast(FakeStorage, self.engine.drivers._driver("storage", "fake", {}))

    @property
    def network(self) -> FakeNetwork:
        return cast(FakeNetwork, self.engine.drivers.network("fake"))

    @property
    def supervisor(self) -> FakeSupervisor:
        return cast(FakeSupervisor, self.engine.supervisor)

    def create(self, caller: Caller = ROOT, **document: Any) -> Container:
        document = {"name": f"c{next(self._numbers)}", "image": "fake:1", **document}
        return self.engine.containers.create(parse(document), caller, lambda *told: None)

    def started(self, caller: Caller = ROOT, **document: Any) -> Container:
        container = self.create(caller, **document)
        self.containers.start(container)
        return self.now(container)

    def now(self, container: Container) -> Container:
        found = self.registry.get(container.id)
        assert found is not None
        return cast(Container, found)

    def exits(self, container: Container, code: int | None = 0, wait: bool = True) -> None:
        """Its process ends, and the supervisor tells."""
        from multios.drivers.isolation import ProcessState

        finished = time.time()
        if container.id in self.isolation._states:
            self.isolation._states[container.id] = ProcessState("stopped", 0, code, finished)
        self.tell(container.id, code, finished)
        if wait:
            self.settle()

    def tell(self, process_id: str, code: int | None, finished: float | None = None) -> None:
        for callback in self.supervisor.callbacks:
            callback(process_id, code, 0, time.time() if finished is None else finished)

    def settle(self) -> None:
        """Wait until the workers have done what they were given."""
        workers = self.engine.exits._workers
        all_free = threading.Barrier(workers._max_workers)
        for done in [workers.submit(all_free.wait, 30) for _ in range(workers._max_workers)]:
            done.result()

    def eventually(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.005)

    def holdings(self) -> dict[str, Any]:
        """All that containers hold, wherever it is recorded."""
        engine = self.engine
        return {
            "rows": sorted(item.id for item in engine.database.all(Container)),
            "records": sorted(item.id for item in engine.registry.all(removing=True)),
            "id ranges": sorted(engine.database.id_range_holders()),
            "endpoint rows": sorted(item.id for item in engine.database.endpoints()),
            "endpoints": sorted(key for items in self.network.endpoints.values() for key in items),
            "addresses": sorted(
                address for used in engine.networks.endpoints.used.values() for address in used
            ),
            "published": sorted(map(str, self.network.published)),
            "chosen ports": dict(engine.containers.attachments.host_ports.chosen),
            "directories": sorted(path.name for path in (self.settings.data_root / "containers").iterdir()),
            "snapshots": sorted(item.key for item in self.storage.walk() if item.key != "chain"),
            "made": sorted(self.isolation._states),
        }

    def check_agreement(self) -> None:
        """Records, rows and every fake tell the same story."""
        held, records = self.holdings(), self.registry.all(removing=True)
        ids = sorted(item.id for item in records)
        for what in ("rows", "records", "id ranges", "directories", "snapshots"):
            assert held[what] == ids, what
        running = sorted(item.id for item in records if item.status in (Status.RUNNING, Status.PAUSED))
        assert held["made"] == running
        for item in records:
            if item.id in running:
                assert self.isolation.state(item.id).status == str(item.status)
        rows = self.engine.database.endpoints()
        assert sorted(row.container_id for row in rows) == running
        assert held["endpoints"] == held["endpoint rows"]
        assert held["addresses"] == sorted(row.address.partition("/")[0] for row in rows)
        assert len(held["published"]) == sum(len(item.ports) for item in records)
        assert held["chosen ports"] == {}
        assert sorted(self.engine.database.all(Container), key=lambda item: item.id) == sorted(
            (replace(item) for item in records), key=lambda item: item.id
        )

    def call(self, method: str, caller: Caller = ROOT, fds: list[int] | None = None, **params: Any) -> Any:
        """A method as the door would call it; ``items`` of streams are kept in ``self.items``."""
        call = Recorded(caller, method, params, fds or [])
        self.items, self.attachments = call.items, call.attachments
        self.item_descriptors = call.item_descriptors
        return table(self.engine)[method](call)


class Recorded(Call):
    """A call without a connection: what would be sent is kept."""

    def __init__(self, caller: Caller, method: str, params: dict[str, Any], fds: list[int]) -> None:
        super().__init__(cast(Any, None), caller, method, params, fds)
        self.items: list[Any] = []
        self.item_descriptors: list[int] = []
        self.attachments: list[dict[str, Any]] = []

    def item(self, value: Any, descriptors: list[int] | None = None) -> None:
        self.items.append(value)
        self.item_descriptors += descriptors or []

    def progress(self, what: str, done: int, total: int) -> None:
        """Nobody looks."""

    def attached(self, facts: dict[str, Any], descriptors: list[int]) -> None:
        self.attachments.append(facts)

    def alive(self) -> bool:
        return True


def make(directory: Path, patch: pytest.MonkeyPatch) -> Box:
    """A box below ``directory``."""
    patch.setattr(engine_module, "Supervisor", FakeSupervisor)
    patch.setattr(engine_module, "Images", FakeImages)
    return Box(directory)
