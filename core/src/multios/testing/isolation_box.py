"""Containers for tests of isolation drivers: a root file system, a spec, a supervisor, and one container in a box.

:class:`IsolationFixtures` is what :class:`multios.testing.isolation.IsolationDriverSuite` stands on; a driver's own
tests may stand on it too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios.cgroups import Cgroups
from multios.drivers.base import Capability, DriverContext
from multios.drivers.isolation import Bundle, IsolationDriver, Launched, Stdio
from multios.model.container import ProcessSpec, Resources
from multios.model.mount import IdMap, Mount
from multios.supervisor.client import Supervisor

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID", "CAP_KILL")
NAMESPACES = (
    "pid",
    "network",
    "mount",
    "ipc",
    "uts",
    "cgroup",
    *(("time",) if os.path.exists("/proc/self/ns/time") else ()),
)
_APPLETS = "sh cat chmod echo env hostname id kill ln ls mkdir mknod mount pwd readlink sleep stat sync touch true tty"
_SYSTEM_MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "mode=755", "size=64k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "nodev", "mode=1777"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
)


def make_layer(directory: Path) -> Path:
    """A root file system of a static busybox; skips the test where the host has none."""
    busybox = shutil.which("busybox")
    if busybox is None or b"/ld-linux" in Path(busybox).read_bytes():
        pytest.skip("needs a static busybox (Debian: busybox-static)")
    for name in ("bin", "dev", "etc", "proc", "sys", "root", "tmp"):
        (directory / name).mkdir(parents=True)
    shutil.copy(busybox, directory / "bin/busybox")
    for name in _APPLETS.split():
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "bin/data").write_text("no program\n")
    (directory / "etc/greeting").write_text("hello\n")
    return directory


def make_spec(*command: str, user_namespace: bool = True) -> dict[str, Any]:
    """A small, confined OCI runtime spec for tests to change."""
    names = (*NAMESPACES, "user") if user_namespace else NAMESPACES
    return {
        "ociVersion": "1.2.0",
        "hostname": "conformance",
        "root": {"path": "rootfs", "readonly": False},
        "process": {
            "terminal": False,
            "args": list(command),
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {key: list(CAPABILITIES) for key in ("bounding", "permitted", "effective")},
            "noNewPrivileges": True,
            "rlimits": [],
        },
        "mounts": [dict(mount) for mount in _SYSTEM_MOUNTS],
        "annotations": {},
        "linux": {
            "namespaces": [{"type": name} for name in names],
            "maskedPaths": ["/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys"],
            "resources": {},
        },
    }


@dataclass
class Result:
    """How a container ended, and what it wrote."""

    exit_code: int | None
    output: str

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.output.splitlines()


@dataclass
class Box:
    """One container of a test: change ``spec`` and the rest before :meth:`create`."""

    driver: IsolationDriver
    rootfs: tuple[Mount, ...]
    upper: Path
    """The directory on disk that holds what the container changed."""
    spec: dict[str, Any]
    id_map: IdMap | None
    id: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")
    volumes: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    resources: Resources = Resources()
    launched: Launched | None = None
    _output: Any = field(default_factory=tempfile.TemporaryFile)

    @property
    def process(self) -> dict[str, Any]:
        """The spec's ``process``."""
        section: dict[str, Any] = self.spec["process"]
        return section

    def bind(self, source: Path, target: str, *options: str) -> None:
        """Add a bind mount."""
        entry = {"destination": target, "type": "bind", "source": str(source), "options": ["bind", *options]}
        self.spec["mounts"].append(entry)
        self.volumes[target] = os.open(source, os.O_PATH | os.O_CLOEXEC)

    def join_network(self, other: Box) -> None:
        """Be made in the network namespace of ``other``, which is there, and in its user namespace if it has one."""
        assert other.launched is not None
        for entry in self.spec["linux"]["namespaces"]:
            if entry["type"] in ("network", "user"):
                entry["path"] = f"/proc/{other.launched.pid}/ns/{entry['type'].removesuffix('work')}"
                self.joined[entry["type"]] = os.open(entry["path"], os.O_RDONLY | os.O_CLOEXEC)
        self.id_map = other.id_map

    def create(self, stdio: Stdio | None = None) -> Launched:
        """As the contract's verb."""
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            streams = stdio or Stdio(descriptors=(null, self._output.fileno(), self._output.fileno()))
            bundle = Bundle(
                self.id,
                self.spec,
                self.rootfs,
                streams,
                self.id_map,
                self.resources,
                dict(self.volumes),
                joined=dict(self.joined),
            )
            self.launched = self.driver.create(bundle)
        finally:
            os.close(null)
        if self.launched.netns >= 0:
            os.close(self.launched.netns)
        return self.launched

    def start(self) -> None:
        """As the contract's verb."""
        self.driver.start(self.id)

    def run(self) -> Result:
        """Create, start, wait."""
        self.create()
        self.start()
        return self.wait()

    def shell(self, script: str) -> Result:
        """Run a shell script as the command."""
        self.process["args"] = ["sh", "-c", script]
        return self.run()

    def wait(self) -> Result:
        """Until the first process has ended."""
        eventually(lambda: self.driver.state(self.id).status == "stopped", "the container ends")
        return Result(self.driver.state(self.id).exit_code, self.output)

    @property
    def output(self) -> str:
        """What it has written so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def exec(self, supervisor: Supervisor, *command: str, **process: Any) -> Result:
        """Run a command in the running container, and wait for it."""
        exec_id = f"exec-{uuid.uuid4().hex[:12]}"
        section = {**self.process, "args": list(command), **process}
        with tempfile.TemporaryFile() as output, open(os.devnull, "rb") as null:
            stdio = Stdio(descriptors=(null.fileno(), output.fileno(), output.fileno()))
            self.driver.exec(self.id, exec_id, ProcessSpec(section), stdio)
            eventually(lambda: supervisor.exit_of(exec_id) is not None, "the exec'ed process ends")
            output.seek(0)
            text = output.read().decode()
        ended = supervisor.exit_of(exec_id)
        assert ended is not None
        supervisor.forget(exec_id)
        return Result(ended["exit_code"], text)


class Died(BaseException):
    """The daemon was killed: what it does after that is not done."""


class DyingDaemon(Supervisor):
    """The supervisor's client in a daemon that is killed before it sends ``verb``.

    The files that the driver has in ``runtime`` at that moment are linked to ``kept``.
    """

    def __init__(self, supervisor: Supervisor, verb: str, runtime: Path, kept: Path) -> None:
        self._supervisor, self._verb, self._runtime, self._kept = supervisor, verb, runtime, kept

    def __getattribute__(self, name: str) -> Any:
        """The real client's methods, which do nothing once the daemon is dead."""
        if name.startswith("_"):
            return super().__getattribute__(name)

        def call(*arguments: Any, **options: Any) -> Any:
            if name == self._verb and not self._kept.exists():
                shutil.copytree(self._runtime, self._kept, copy_function=os.link)
            if self._kept.exists():
                raise Died
            return getattr(self._supervisor, name)(*arguments, **options)

        return call


def stands_still(look: Callable[[], int]) -> bool:
    """Whether a number stays the same for a while in which something that goes on would change it many times."""
    before = look()
    time.sleep(0.3)
    return look() == before


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until ``holds()``; fail with ``what`` did not happen."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"did not happen within {PATIENCE:.0f} s: {what}")
        time.sleep(0.002)


def traces(cgroup_parent: str) -> tuple[str, list[str]]:
    """What a container leaves on a host: mounts and cgroups."""
    return Path("/proc/self/mountinfo").read_text(), Cgroups("/", cgroup_parent).names()


class IsolationFixtures:
    """Fixtures; override those that your driver needs otherwise."""

    driver_type: ClassVar[type[IsolationDriver]]
    launcher: ClassVar[str] = ""
    """Another launcher than the driver's own, and where it is found: for tests that inject faults."""
    import_paths: ClassVar[tuple[Path, ...]] = ()

    @pytest.fixture(scope="class")
    @classmethod
    def cgroup_parent(cls) -> Iterator[str]:
        """A cgroup parent of these tests' own."""
        name = f"multios-test-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        yield name
        Cgroups("/", name).hierarchy.dissolve()

    @pytest.fixture(scope="class")
    @classmethod
    def supervisor(cls, cgroup_parent: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
        """A supervisor that has loaded the driver's launcher."""
        directory = tmp_path_factory.mktemp("supervisor")
        (directory / "exits").mkdir()
        launcher = cls.launcher or cls.driver_type.launcher
        made = Supervisor(
            directory / "socket",
            directory / "exits",
            cgroup_parent,
            [launcher] if launcher else [],
            slots=0,
            import_paths=cls.import_paths,
        )
        yield made
        made.shutdown()

    @pytest.fixture(scope="class")
    @classmethod
    def layer(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The root file system's read-only layer."""
        return make_layer(tmp_path_factory.mktemp("layer"))

    @pytest.fixture
    def upper(self, tmp_path: Path) -> Path:
        """Where the container's changes land."""
        for name in ("snapshot/fs", "snapshot/work"):
            (tmp_path / name).mkdir(parents=True)
        return tmp_path / "snapshot/fs"

    @pytest.fixture
    def rootfs(self, layer: Path, upper: Path) -> tuple[Mount, ...]:
        """The container's root, as a storage driver would describe it."""
        work = upper.with_name("work")
        return (Mount("overlay", "overlay", (f"lowerdir={layer}", f"upperdir={upper}", f"workdir={work}")),)

    @pytest.fixture
    def driver(self, supervisor: Supervisor, tmp_path: Path) -> IsolationDriver:
        """The driver under test."""
        for name in ("state", "runtime"):
            (tmp_path / name).mkdir()
        context = DriverContext(tmp_path / "state", tmp_path / "runtime", supervisor)
        return self.driver_type(self.driver_type.Settings(), context)

    @pytest.fixture
    def make_box(
        self, driver: IsolationDriver, rootfs: tuple[Mount, ...], upper: Path, supervisor: Supervisor
    ) -> Iterator[Callable[..., Box]]:
        """Makes a container to be; removed after the test."""
        boxes: list[Box] = []

        def make(*command: str) -> Box:
            mapped = Capability.USER_NAMESPACE in driver.capabilities
            spec = make_spec(*(command or ("true",)), user_namespace=mapped)
            boxes.append(Box(driver, rootfs, upper, spec, IdMap(500_000) if mapped else None))
            return boxes[-1]

        yield make
        for box in boxes:
            driver.delete(box.id)
            supervisor.forget(box.id)
            box._output.close()
            for descriptor in (*box.volumes.values(), *box.joined.values()):
                os.close(descriptor)

    @pytest.fixture
    def box(self, make_box: Callable[..., Box]) -> Box:
        """One container to be."""
        return make_box()
