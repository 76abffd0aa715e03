"""A daemon of the tests' own, with its own roots, cgroups, bridge and addresses, driven by the real programs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import busybox_rootfs

SCRIPTS = Path(sysconfig.get_path("scripts"))
CLIENT = SCRIPTS / "multios-container"
DAEMON = SCRIPTS / "multios-containerd"
IMAGE = "small:1"
PATIENCE = 30.0


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until ``condition`` gives something true and return that; fail the test with ``what`` otherwise."""
    deadline = time.monotonic() + patience
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(0.02)


def _claim_number() -> tuple[int, int]:
    """A number that no other engine on this machine has, and the descriptor that holds it."""
    for number in range(1, 100):
        descriptor = os.open(f"/run/lock/multios-test-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, descriptor
        except BlockingIOError:
            os.close(descriptor)
    raise RuntimeError("99 private engines run on this machine already")


class PrivateEngine:
    """Its number keeps it apart from the engines of other workers, test runs and benchmarks."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        containers: int = 32,
        hidden_calls: Sequence[str] = (),
    ) -> None:
        """``containers`` is how many it can have at a time: each takes 65536 host ids.

        ``hidden_calls`` are system calls that its daemon's kernel shall not have: see ``older_kernel``.
        """
        self._hidden_calls = ",".join(hidden_calls)
        number, self._claim = _claim_number()
        self.directory = directory
        self.data_root = directory / "data"
        # A Unix socket's path is short (unix(7): 108 bytes), pytest's directories are not.
        self.exec_root = Path(tempfile.mkdtemp(prefix="multios-test-", dir="/run"))
        self.bridge = f"mtest{number}"
        if Path(f"/sys/class/net/{self.bridge}").exists():
            # The number is ours alone: a session that was killed left it.
            subprocess.run(["ip", "link", "delete", self.bridge], check=False)
        for table in self.tables():
            subprocess.run(["nft", "delete", "table", *table], check=False)
        self.subnet = f"10.211.{number}.0/24"
        self.gateway = f"10.211.{number}.1"
        self.cgroup_parent = f"multios-test-{number}-{os.getpid()}"
        self.config = directory / "containers.conf"
        self.log = directory / "daemon.log"
        directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._settings(number, containers))
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("MULTIOS_", "PYTHON"))
        }
        self.environment |= {
            "MULTIOS_CONFIG": str(self.config),
            "MULTIOS_EXEC_ROOT": str(self.exec_root),
            "NO_COLOR": "1",
            **(environment or {}),
        }

    def _settings(self, number: int, containers: int) -> str:
        return "\n".join(
            [
                "[daemon]",
                f'data_root = "{self.data_root}"',
                f'exec_root = "{self.exec_root}"',
                f'cgroup_parent = "{self.cgroup_parent}"',
                "[logging]",
                f'file = "{self.log}"',
                "[networking]",
                f'bridge = "{self.bridge}"',
                f'subnet = "{self.subnet}"',
                "[id_ranges]",
                f"start = {0x7000_0000 + number * 0x20_0000}",
                f"count = {containers * 0x1_0000}",
                "",
            ]
        )

    # --- the programs --------------------------------------------------------------------------

    def command(self, *words: str) -> list[str]:
        """A command line of the client."""
        return [str(CLIENT), *words]

    def run(
        self, *words: str, status: int | None = 0, input: str | bytes | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the client to its end. It must exit with ``status`` (``None``: any); stdin is empty unless given."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            self.command(*words),
            input=data or b"",
            capture_output=True,
            env=self.environment,
            timeout=timeout,
        )
        finished = subprocess.CompletedProcess(
            words, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if status is not None and finished.returncode != status:
            raise AssertionError(
                f"multios-container {' '.join(words)}: exit {finished.returncode}, expected {status}\n"
                f"stdout: {finished.stdout}\nstderr: {finished.stderr}"
            )
        return finished

    def out(self, *words: str, **options: Any) -> str:
        """What the client printed, stripped."""
        return self.run(*words, **options).stdout.strip()

    def json(self, *words: str) -> Any:
        """What the client printed, as JSON."""
        return json.loads(self.run(*words, "--format", "json").stdout)

    def inspect(self, name: str) -> dict[str, Any]:
        """The record of a container."""
        record: dict[str, Any] = json.loads(self.out("inspect", name))[0]
        return record

    def status_of(self, name: str) -> str:
        """A container's state."""
        return self.out("inspect", "--format", "{{.State.Status}}", name)

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """The client in the background; its stdin is empty unless given."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*words), env=self.environment, **options)

    def daemon(self, *words: str, status: int = 0) -> str:
        """Run ``multios-containerd`` and return what it printed."""
        command = [str(DAEMON), "--config", str(self.config), *words]
        if self._hidden_calls:
            older = str(Path(__file__).with_name("older_kernel.py"))
            command = [sys.executable, older, self._hidden_calls, *command]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self.environment, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, f"multios-containerd {words}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def tables(self) -> list[tuple[str, str]]:
        """The nftables tables, family and name, that know its bridge, and those that are called alike."""
        listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
        tables = [(line.split()[1], line.split()[2]) for line in listed.splitlines()]
        alike = {
            name
            for family, name in tables
            if name.startswith("multios-") and f'"{self.bridge}"' in _table_text(family, name)
        }
        return [(family, name) for family, name in tables if name in alike]

    # --- its processes -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon and wait until it serves."""
        self.daemon("--daemon")

    def import_small_image(self) -> None:
        """Make the image ``small:1``."""
        archive = busybox_rootfs.write(self.directory / "small.tar")
        with archive.open("rb") as file:
            done = subprocess.run(
                self.command("image", "import", "-", IMAGE),
                stdin=file, capture_output=True, text=True, env=self.environment,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @property
    def daemon_pid(self) -> int:
        """The daemon's process id."""
        file = self.exec_root / "daemon.pid"

        def written() -> str:
            try:
                return file.read_text().strip()
            except FileNotFoundError:
                return ""

        return int(eventually(written, "a daemon runs"))

    def processes(self) -> dict[int, str]:
        """The daemon's and the supervisor's processes: id to command line."""
        mark = f"MULTIOS_EXEC_ROOT={self.exec_root}\0".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes() + b"\0":
                        found[int(entry.name)] = (
                            (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                        )
                except OSError:
                    continue
        return found

    @property
    def supervisor_pid(self) -> int:
        """The supervisor's process id: of all its processes, the one whose parent is none of them."""

        def roots() -> list[int]:
            mine = [pid for pid, line in self.processes().items() if "multios.supervisor" in line]
            found = [pid for pid in mine if _parent(pid) not in mine]
            return found if len(found) == 1 else []  # one that is just being born or dying has another parent

        return int(eventually(roots, "there is one supervisor")[0])

    def end(self) -> None:
        """Delete every container, end the processes, remove every trace."""
        names = self.out("ps", "--all", "--quiet").split()
        if names:
            self.run("delete", "--force", *names, status=None)
        for network in self.run("network", "ls", "--quiet", status=None).stdout.split():
            self.run("network", "rm", network, status=None)
        subprocess.run(
            [str(DAEMON), "--config", str(self.config), "stop"],
            env=self.environment, capture_output=True, timeout=60,
        )  # fmt: skip
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        eventually(lambda: not self.processes(), "the engine's processes ended")
        eventually(self._cgroups_removed, "its cgroups are removed")
        self._remove_traces()
        os.close(self._claim)

    def _cgroups_removed(self) -> bool:
        """Kill what a failed test left in them, and remove them as soon as they are empty."""
        for group in sorted(self.cgroups(), key=lambda path: -len(path.parts)):
            try:
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                group.rmdir()
            except OSError:
                continue
        return not self.cgroups()

    def _remove_traces(self) -> None:
        if Path(f"/sys/class/net/{self.bridge}").exists():
            subprocess.run(["ip", "link", "delete", self.bridge], check=False)
        subprocess.run(
            ["rm", "-rf", "--one-file-system", str(self.exec_root), str(self.data_root)], check=False
        )

    def cgroups(self) -> list[Path]:
        """Every cgroup of its own, in all hierarchies."""
        found: list[Path] = []
        top = Path("/sys/fs/cgroup")
        for parent in [top / self.cgroup_parent, *top.glob(f"*/{self.cgroup_parent}")]:
            if parent.is_dir():
                # os.walk bears that groups vanish meanwhile, rglob does not.
                found += [Path(directory) for directory, _, _ in os.walk(parent)]
        return found


def _table_text(family: str, name: str) -> str:
    return subprocess.run(["nft", "list", "table", family, name], capture_output=True, text=True).stdout


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
