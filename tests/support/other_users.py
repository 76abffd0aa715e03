"""Ordinary users of a private engine: real accounts of the host that are members of the socket's group by setgroups(2)."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multios.api.client import Client
from multios.engine.host_paths import Account, as_user
from private_engine import PrivateEngine

GROUP = 54321
"""Nobody's on this host; stands for ``multios``."""


@dataclass(frozen=True)
class User:
    """One who may use ``engine``, unless ``groups`` leaves the socket's out. Needs an account that every Debian has."""

    engine: PrivateEngine
    name: str
    groups: tuple[int, ...] = (GROUP,)

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    @property
    def gid(self) -> int:
        return pwd.getpwnam(self.name).pw_gid

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """The client in the background, run as this user."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self.engine.command(*words), env={**self.engine.environment, "HOME": "/nonexistent"}, text=True,
            user=self.uid, group=self.gid, extra_groups=self.groups, cwd="/", errors="replace", **options,
        )  # fmt: skip

    def run(
        self, *words: str, status: int | None = 0, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the client to its end as this user; it must exit with ``status`` (``None``: any)."""
        process = self.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
        if status is not None and process.returncode != status:
            raise AssertionError(f"{self.name}: {' '.join(words)}: exit {process.returncode}\n{out}\n{err}")
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def out(self, *words: str, **options: Any) -> str:
        """What the client printed, stripped."""
        return self.run(*words, **options).stdout.strip()

    def directory(self, path: Path, mode: int = 0o700) -> Path:
        """A directory of this user's."""
        path.mkdir(mode=mode)
        os.chown(path, self.uid, self.gid)
        path.chmod(mode)
        return path

    def client(self) -> Client:
        """A connection that belongs to this user, used from the test's own process: SO_PEERCRED is of connect(2)."""

        def connect() -> Client:
            client = Client(str(self.engine.exec_root / "api.sock"), start=False)
            client.open()
            return client

        return as_user(Account(self.uid, self.gid, self.groups, self.name), connect)


def open_to_group(engine: PrivateEngine) -> None:
    """Let members of :data:`GROUP` reach the socket, as a system's own daemon lets those of ``multios``."""
    engine.exec_root.chmod(0o711)
    os.chown(engine.exec_root / "api.sock", 0, GROUP)
