"""An ordinary user without a daemon but his own, driven by the real programs.

The host does not know the user: each command runs in a mount namespace with its own ``/etc/passwd``, ``/etc/subuid``
and ``/etc/subgid``, and with a ``/dev/net/tun`` that everyone may open, as on most hosts.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import busybox_rootfs
from private_engine import CLIENT, DAEMON, IMAGE, eventually

UID = 4711
NAME = "learner"
SUBORDINATE = 3_000_000_000
"""Nobody's on the host, and above what private engines use."""


class UserEngine:
    """``ids`` is how many subordinate ids the user has; 0 is the single-id way. ``cgroup`` is a delegated one below which he logs in,
    ``runtime`` his runtime directory where systemd has made one."""

    def __init__(
        self,
        ids: int = 65536,
        uid: int = UID,
        environment: Mapping[str, str] | None = None,
        tun: bool = True,
        cgroup: Path | None = None,
        runtime: Path | None = None,
    ) -> None:
        self.uid = uid
        self._cgroup = cgroup
        self.directory = Path(tempfile.mkdtemp(prefix="multios-user-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.home, self.runtime = self.directory / "home", self.directory / "run"
        for path in (self.home, self.runtime):
            path.mkdir(mode=0o700)
            os.chown(path, uid, uid)
        self.runtime = runtime or self.runtime
        self._host = self.directory / "host"
        self._host.mkdir()
        self._write_host_files(ids)
        self._tun = tun
        if tun:
            os.mknod(self._host / "tun", stat.S_IFCHR, os.makedev(10, 200))
            (self._host / "tun").chmod(0o666)
        self.exec_root = self.runtime / "multios/containers"
        self.data_root = self.home / ".local/share/multios/containers"
        self.log = self.home / ".local/state/multios/containers.log"
        self.environment = {
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": "/usr/bin:/bin",
            "MULTIOS_ROOTLESS": "1",
            "NO_COLOR": "1",
            **(environment or {}),
        }

    def _write_host_files(self, ids: int) -> None:
        lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
        passwd = "".join(line for line in lines if line.split(":")[2] != str(self.uid))
        entry = f"{NAME}:x:{self.uid}:{self.uid}::{self.home}:/bin/sh\n"
        (self._host / "passwd").write_text(passwd + entry)
        (self._host / "group").write_text(Path("/etc/group").read_text() + f"{NAME}:x:{self.uid}:\n")
        for name in ("subuid", "subgid"):
            line = f"{NAME}:{SUBORDINATE}:{ids}\n" if ids else ""
            (self._host / name).write_text(line)
            Path(f"/etc/{name}").touch()

    def _inside(self, command: list[str]) -> list[str]:
        names = ["passwd", "group", "subuid", "subgid"]
        steps = [f"mount --bind {self._host}/{name} /etc/{name}" for name in names]
        if self._tun:
            steps.append(f"mount --bind {self._host}/tun /dev/net/tun")
        if self._cgroup:
            # Each log-in has a group of its own: into one that has controllers for its children no process may go.
            session = f"{self._cgroup}/session-$$"
            files = " ".join(
                f"{session}{name}"
                for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads")
            )
            steps.append(f"mkdir {session}\nchown {self.uid} {files}\necho $$ > {session}/cgroup.procs")
        ids = f"setpriv --reuid {self.uid} --regid {self.uid} --clear-groups --"
        steps.append(f"exec {ids} {shlex.join(command)}")
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps)]

    def execute(
        self, command: list[str], status: int | None = 0, input: bytes = b"", timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run any command as the user; it must exit with ``status`` (``None``: any)."""
        done = subprocess.run(
            self._inside(command),
            input=input, capture_output=True, env=self.environment, timeout=timeout, cwd="/",
        )  # fmt: skip
        output, errors = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
        if status is not None and done.returncode != status:
            log = self.log.read_text()[-3000:] if self.log.exists() else ""
            raise AssertionError(
                f"{shlex.join(command)}: exit {done.returncode}, expected {status}\n{output}\n{errors}\n{log}"
            )
        return subprocess.CompletedProcess(command, done.returncode, output, errors)

    def run(
        self, *words: str, status: int | None = 0, input: bytes = b"", timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run the client."""
        return self.execute([str(CLIENT), *words], status, input, timeout)

    def out(self, *words: str) -> str:
        """The client's output, stripped; it must succeed."""
        return self.run(*words).stdout.strip()

    def import_image(self, reference: str = IMAGE) -> None:
        """Import the small image of the tests under a name. An emulated machine may take long to start the daemon."""
        eventually(lambda: self.run("ps", status=None).returncode == 0, "the daemon serves", patience=180)
        archive = self.directory / "rootfs.tar"
        if not archive.exists():
            busybox_rootfs.write(archive)
        self.run("image", "import", "-", reference, input=archive.read_bytes())

    @property
    def daemon_pid(self) -> int:
        """The daemon's process id on the host."""
        file = self.exec_root / "daemon.pid"
        return int(eventually(lambda: file.exists() and file.read_text().strip(), "a daemon runs"))

    def processes(self) -> dict[int, str]:
        """Everything that runs with an id of this user's or his subordinate ones: id to command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                uid = entry.stat().st_uid
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if (
                    words
                    and "systemd" not in words
                    and "(sd-pam)" not in words
                    and (uid == self.uid or SUBORDINATE <= uid < SUBORDINATE + 65536)
                ):
                    found[int(entry.name)] = words
        return found

    @property
    def supervisor_pid(self) -> int:
        """The supervisor's process id on the host: the oldest with its command line."""
        pids = [pid for pid, words in self.processes().items() if "multios.supervisor.main" in words]
        return min(pids)

    def end(self) -> None:
        """Delete every container, end the processes, remove every trace."""
        names = self.run("ps", "--all", "--quiet", status=None).stdout.split()
        if names:
            self.run("delete", "--force", *names, status=None)
        self.end_processes()
        shutil.rmtree(self.exec_root, ignore_errors=True)
        shutil.rmtree(self.directory)

    def end_processes(self) -> None:
        """End the engine, and whatever else there is of it."""
        self.execute([str(DAEMON), "stop"], status=None)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.processes(), "the user's processes ended")
