"""The engines beside which this one is measured, each with a data directory of its own. Missing ones give ``None``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

# Neither may raise limits on a host without CAP_SYS_RESOURCE (capabilities(7)), so both are told not to.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
IMAGE = "benchmark:1"


def environment() -> dict[str, str]:
    """The caller's environment with byte code written and without Python's own variables."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MULTIOS_"))}


def quietly(*command: str, check: bool = True) -> str:
    """What ``command`` printed."""
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-600:]}")
    return done.stdout.strip()


class Podman:
    """podman with runc: crun refuses hybrid cgroup hosts."""

    name = "podman"

    def __init__(self, program: str, directory: Path, rootfs: Path) -> None:
        root, run = directory / "podman", directory / "podman-run"
        self.base = [program, "--root", str(root), "--runroot", str(run), "--cgroup-manager", "cgroupfs"]
        if runc := shutil.which("runc"):
            self.base += ["--runtime", runc]
        quietly(*self.base, "import", str(rootfs), IMAGE)

    def version(self) -> str:
        return quietly(*self.base, "--version").split()[-1]

    def run_once(self) -> list[str]:
        return [*self.base, "run", "--rm", *LIMITS, IMAGE, "true"]

    def start(self, name: str) -> None:
        quietly(*self.base, "run", "-d", "--name", name, *LIMITS, IMAGE, "sleep", "10000")

    def exec_once(self, name: str) -> list[str]:
        return [*self.base, "exec", name, "true"]

    def end(self) -> None:
        quietly(*self.base, "rm", "--all", "--force", "--time", "0", check=False)


class Docker:
    """docker with a daemon started for the benchmark."""

    name = "docker"

    def __init__(self, program: str, directory: Path, rootfs: Path) -> None:
        self.directory = directory / "docker"
        self.directory.mkdir()
        socket = self.directory / "docker.sock"
        self.base = [program, "--host", f"unix://{socket}"]
        self.log = (self.directory / "log").open("w")
        daemon = shutil.which("dockerd")
        if daemon is None:
            raise RuntimeError("dockerd is not installed")
        self.daemon = subprocess.Popen(
            [
                daemon, "--host", f"unix://{socket}", "--data-root", str(self.directory / "data"),
                "--exec-root", str(self.directory / "exec"), "--pidfile", str(self.directory / "pid"),
                "--bip", "10.212.0.1/24", "--default-ulimit", "nofile=1024:1024",
            ],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment(),
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while subprocess.run([*self.base, "version"], env=environment(), capture_output=True).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError("dockerd did not start: " + (self.directory / "log").read_text()[-300:])
            time.sleep(0.2)
        quietly(*self.base, "import", str(rootfs), IMAGE)

    def version(self) -> str:
        return quietly(*self.base, "version", "--format", "{{.Server.Version}}")

    def run_once(self) -> list[str]:
        return [*self.base, "run", "--rm", *LIMITS, IMAGE, "true"]

    def start(self, name: str) -> None:
        quietly(*self.base, "run", "-d", "--name", name, *LIMITS, IMAGE, "sleep", "10000")

    def exec_once(self, name: str) -> list[str]:
        return [*self.base, "exec", name, "true"]

    def end(self) -> None:
        if self.daemon.poll() is None:
            names = quietly(*self.base, "ps", "--all", "--quiet", check=False).split()
            if names:
                quietly(*self.base, "rm", "--force", *names, check=False)
            self.daemon.terminate()
            self.daemon.wait(30)
        self.log.close()


class Runc:
    """Bare runc on an unpacked bundle, without a network."""

    name = "runc"

    def __init__(self, program: str, directory: Path, rootfs: Path) -> None:
        bundle = directory / "runc"
        (bundle / "rootfs").mkdir(parents=True)
        quietly("tar", "--extract", "--file", str(rootfs), "--directory", str(bundle / "rootfs"))
        quietly(program, "spec", "--bundle", str(bundle))
        file = bundle / "config.json"
        spec = json.loads(file.read_text())
        spec["process"] |= {"args": ["true"], "terminal": False, "rlimits": []}
        file.write_text(json.dumps(spec))
        self.program, self.bundle, self.root = program, bundle, directory / "runc-state"

    def version(self) -> str:
        return quietly(self.program, "--version").splitlines()[0].split()[-1]

    def run_once(self) -> list[str]:
        return [self.program, "--root", str(self.root), "run", "--bundle", str(self.bundle), "benchmark"]

    def end(self) -> None:
        quietly(self.program, "--root", str(self.root), "delete", "--force", "benchmark", check=False)


Peer = TypeVar("Peer", Podman, Docker, Runc)


def available(kind: type[Peer], directory: Path, rootfs: Path, ending: ExitStack) -> Peer | None:
    """This peer if it is installed and works here, else ``None``; ``ending`` ends it."""
    program = shutil.which(kind.name)
    if program is None:
        return None
    try:
        peer = kind(program, directory, rootfs)
    except (RuntimeError, OSError) as error:
        print(f"  {kind.name} is left out: {error}")
        return None
    ending.callback(peer.end)
    return peer
