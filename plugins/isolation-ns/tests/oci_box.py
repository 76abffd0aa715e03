"""A bundle, a private ``--root``, and ``multios-oci-runtime`` run on them: for tests of the OCI runtime."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import uuid
from pathlib import Path
from typing import Any

from multios.cgroups import Cgroups
from multios.testing.isolation_box import make_layer, make_spec

PROGRAM = os.path.join(sysconfig.get_path("scripts"), "multios-oci-runtime")
SHIM = """
import os, sys
from multios.supervisor.syscalls import kernel
kernel.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, as conmon and containerd's shim
streams = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=streams)
print("called", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
try:
    print("ended", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
except ChildProcessError:
    print("childless", flush=True)
"""
"""A parent like conmon: the container's output is its standard error, its standard output tells what it sees."""


class RuntimeBox:
    """One container of a test: change ``spec``, then :meth:`call` the runtime."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.id = f"test-{uuid.uuid4().hex[:10]}"
        self.root = directory / "root"
        self.log = directory / "log.json"
        self.bundle = directory / "bundle"
        self.cgroup_parent = f"multios-ocitest-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.pid_file = directory / "pid"
        self.output = directory / "output"
        self.bundle.mkdir()
        make_layer(self.bundle / "rootfs")
        self.spec = make_spec("true", user_namespace=False)
        self.spec["linux"]["cgroupsPath"] = f"/{self.cgroup_parent}/{self.id}"
        self.shims: list[subprocess.Popen[str]] = []

    @property
    def process(self) -> dict[str, Any]:
        section: dict[str, Any] = self.spec["process"]
        return section

    @property
    def said(self) -> str:
        return self.output.read_text()

    def words(self, *words: str) -> list[str]:
        shared = ["--root", str(self.root), "--log", str(self.log), "--log-format", "json"]
        return [PROGRAM, *shared, *words]

    def write(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.spec))

    def call(self, *words: str, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run an operation to its end; it must exit with ``status``."""
        done = subprocess.run(
            self.words(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )
        assert done.returncode == status, (words, done.returncode, done.stderr)
        return done

    def create(self, *options: str, status: int = 0) -> subprocess.Popen[str]:
        """``create`` below a shim, as conmon's, that stays the container's parent; the shim tells how it ended."""
        self.write()
        words = self.words(
            "create", "--bundle", str(self.bundle), "--pid-file", str(self.pid_file), *options, self.id
        )
        with self.output.open("ab") as output, open(os.devnull, "rb") as null:
            shim = subprocess.Popen(
                [sys.executable, "-c", SHIM, *words],
                stdin=null,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self.shims.append(shim)
        assert shim.stdout is not None
        assert shim.stdout.readline() == f"called {status}\n", self.said
        return shim

    def ended(self) -> int:
        """The exit status that the shim saw."""
        shim = self.shims[-1]
        assert shim.stdout is not None
        word, _, code = shim.stdout.readline().partition(" ")
        assert word == "ended", word
        return int(code)

    def run(self) -> int:
        """Create, start, wait."""
        self.create()
        self.call("start", self.id)
        return self.ended()

    def shell(self, script: str) -> list[str]:
        """Run a script to its end; the lines that it wrote."""
        self.process["args"] = ["sh", "-c", script]
        assert self.run() == 0, self.said
        return self.said.splitlines()

    def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.call("state", self.id).stdout)
        return answer

    def last_error(self) -> str:
        """The last line of the log, as podman and containerd look for it."""
        entry = json.loads(self.log.read_text().splitlines()[-1])
        assert entry["level"] == "error" and entry["time"]
        return str(entry["msg"])

    def close(self) -> None:
        subprocess.run(self.words("delete", "--force", self.id), capture_output=True)
        for shim in self.shims:
            shim.wait(60)
        assert Cgroups("/", self.cgroup_parent).names() == []
        Cgroups("/", self.cgroup_parent).hierarchy.dissolve()


class ConsoleCatcher:
    """Listens on a console socket, as conmon does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)

    def master(self) -> int:
        """The terminal that was sent."""
        self._listener.settimeout(30)
        connection, _ = self._listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        self._listener.close()
        return descriptors[0]
