"""``RUN --mount``: what a command sees while it runs, and no image keeps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from multios.build import ssh_agent
from multios.build.layer_steps import check_wanted
from multios.build.placing import place
from multios.build.trees import Source, TreeWriter, content_digest, opened_directory
from multios.dockerfile.syntax import Mount
from multios.engine.locks import KeyedLocks
from multios.errors import InvalidInput, NotFound
from multios.model.container import Volume

LARGEST_SECRET = 512 * 1024
SECRET_MODE, SOCKET_MODE, CACHE_MODE = 0o400, 0o600, 0o755

_UNFINISHED = "."

OpenSource = Callable[[str], contextlib.AbstractContextManager[tuple[Source, bool]]]
"""From ``from=`` to what it names, for as long as a block runs, and whether files keep their owners."""


class CacheDirectories:
    """The directories of ``--mount=type=cache``, shared by all builds; they stay until they are pruned.

    Made when no build runs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._locked = KeyedLocks()
        self._guard = threading.Lock()
        self._in_use: dict[str, int] = {}
        for path in self._all():
            if path.name.startswith(_UNFINISHED):  # a killed daemon's
                shutil.rmtree(path, ignore_errors=True)

    def _all(self) -> list[Path]:
        return list(self._directory.iterdir())

    @contextlib.contextmanager
    def taking(
        self, mount: Mount, make: Callable[[Path], None], cancelled: Callable[[], bool]
    ) -> Iterator[Path]:
        """The directory of ``mount`` while the block runs: its own, others' too, or after the others (``sharing=``).

        ``make`` fills one that is new. Raises :class:`Cancelled` when nobody waits any more.
        """
        check = partial(check_wanted, cancelled)
        name = hashlib.sha256((mount.id or mount.target).encode()).hexdigest()
        with contextlib.ExitStack() as stack:
            if mount.sharing == "locked":
                stack.enter_context(self._locked.holding(name, check))
            path = self._take(name, alone=mount.sharing == "private")
            stack.callback(self._give_back, path)
            with self._locked.holding(("make", path.name), check):
                if not path.exists():
                    unfinished = path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
                    try:
                        make(unfinished)
                        unfinished.rename(path)
                    finally:
                        shutil.rmtree(unfinished, ignore_errors=True)
            yield path

    def _take(self, name: str, alone: bool) -> Path:
        with self._guard:
            number = 0
            while alone and self._in_use.get(f"{name}-{number}"):
                number += 1
            key = f"{name}-{number}"
            self._in_use[key] = self._in_use.get(key, 0) + 1
            return self._directory / key

    def _give_back(self, path: Path) -> None:
        with self._guard:
            self._in_use[path.name] -= 1

    def prune(self) -> int:
        """Remove those that no build uses; how many."""
        removed = 0
        with self._guard:
            for path in self._all():
                if not self._in_use.get(path.name) and not path.name.startswith(_UNFINISHED):
                    shutil.rmtree(path, ignore_errors=True)
                    removed += 1
        return removed


@dataclass(slots=True)
class Prepared:
    """What the mounts of one command come to."""

    volumes: list[Volume] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


class RunMounts:
    """Prepares the mounts of one build's commands.

    ``secrets`` and ``agents`` (O_PATH descriptors of ssh agents' sockets) are by id; ``disk`` is for what is copied,
    ``memory`` for what should never be on a disk: directories of the build's own.
    """

    def __init__(
        self,
        caches: CacheDirectories,
        secrets: Mapping[str, bytes],
        agents: Mapping[str, int],
        disk: Path,
        memory: Path,
        open_source: OpenSource,
    ) -> None:
        self._caches, self._secrets, self._agents = caches, secrets, agents
        self._disk, self._memory, self._open = disk, memory, open_source

    def key(self, mounts: Sequence[Mount]) -> list[Any]:
        """What a step's result depends on: the content of bind mounts; of the others only that they are there."""
        parts: list[Any] = []
        for mount in mounts:
            facts = [repr(mount)]
            if mount.kind == "bind":
                with self._open(mount.origin) as (source, owners):
                    placed = place(source, [(_one(source, mount), "")], "", False)
                    facts.append(content_digest(source, placed, owners))
            parts.append(facts)
        return parts

    @contextlib.contextmanager
    def prepared(
        self, mounts: Sequence[Mount], working_directory: str, cancelled: Callable[[], bool]
    ) -> Iterator[Prepared]:
        """The mounts, made; undone on leaving."""
        made = Prepared()
        with contextlib.ExitStack() as stack:
            agents = 0
            for mount in mounts:
                target = posixpath.normpath(posixpath.join("/", working_directory, mount.target))
                if mount.kind == "tmpfs":
                    size = str(mount.size) if mount.size else ""
                    made.volumes.append(Volume("tmpfs", size, target))
                elif mount.kind == "bind":
                    path = self._copied(mount, cancelled, stack)
                    made.volumes.append(Volume("bind", path, target, "ro" if mount.read_only else "rw"))
                elif mount.kind == "cache":
                    filling = lambda path, mount=mount: self._fill(path, mount, cancelled)  # noqa: E731
                    directory = stack.enter_context(self._caches.taking(mount, filling, cancelled))
                    made.volumes.append(
                        Volume("bind", str(directory), target, "ro" if mount.read_only else "rw")
                    )
                elif mount.kind == "secret":
                    self._add_secret(mount, working_directory, made, stack)
                else:
                    self._add_agent(mount, agents, working_directory, made, stack)
                    agents += 1
            yield made

    # --- kinds --------------------------------------------------------------------------------------

    def _copied(self, mount: Mount, cancelled: Callable[[], bool], stack: contextlib.ExitStack) -> str:
        """A copy, so that what the command writes is thrown away, and on a filesystem that can be idmapped."""
        directory = self._disk / secrets.token_hex(8)
        directory.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        with self._open(mount.origin) as (source, owners), opened_directory(directory) as root:
            placed = place(source, [(_one(source, mount), "")], "content", False)
            with TreeWriter(root, None if owners else (0, 0)) as writer:
                writer.write(source, placed, cancelled)
        return str(directory / "content")

    def _fill(self, path: Path, mount: Mount, cancelled: Callable[[], bool]) -> None:
        """A new cache directory: empty, or with what ``from=`` and ``source=`` name."""
        path.mkdir()
        if mount.origin:
            with self._open(mount.origin) as (source, owners), opened_directory(path) as root:
                with TreeWriter(root, None if owners else (0, 0)) as writer:
                    writer.write(source, place(source, [(_one(source, mount), "")], "", True), cancelled)
        os.chown(path, mount.uid or 0, mount.gid or 0)
        os.chmod(path, CACHE_MODE if mount.mode is None else mount.mode)

    def _add_secret(
        self, mount: Mount, working_directory: str, made: Prepared, stack: contextlib.ExitStack
    ) -> None:
        name = mount.id or posixpath.basename(mount.target)
        if name not in self._secrets:
            if mount.required:
                raise NotFound(f"secret {name!r} was not given", f"give it with --secret id={name},src=FILE")
            return
        content = self._secrets[name]
        if mount.environment:
            try:
                made.environment[mount.environment] = content.decode()
            except UnicodeDecodeError:
                raise InvalidInput(f"secret {name!r} is no text", "mount it as a file") from None
        if mount.target or not mount.environment:
            target = posixpath.join("/", working_directory, mount.target or f"/run/secrets/{name}")
            path = self._memory / secrets.token_hex(8)
            stack.callback(path.unlink, missing_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchown(descriptor, mount.uid or 0, mount.gid or 0)
                os.fchmod(descriptor, SECRET_MODE if mount.mode is None else mount.mode)
            made.volumes.append(Volume("bind", str(path), posixpath.normpath(target), "ro"))

    def _add_agent(
        self,
        mount: Mount,
        number: int,
        working_directory: str,
        made: Prepared,
        stack: contextlib.ExitStack,
    ) -> None:
        name = mount.id or "default"
        if name not in self._agents:
            if mount.required:
                raise NotFound(f"ssh agent {name!r} was not given", f"give it with --ssh {name}")
            return
        target = posixpath.join("/", working_directory, mount.target or f"/run/buildkit/ssh_agent.{number}")
        # A Unix socket's path is short (unix(7): 108 bytes).
        path = self._memory / secrets.token_hex(4)
        mode = SOCKET_MODE if mount.mode is None else mount.mode
        owner = (mount.uid or 0, mount.gid or 0)
        stack.enter_context(ssh_agent.relayed(self._agents[name], path, owner, mode))
        made.volumes.append(Volume("bind", str(path), posixpath.normpath(target), "ro"))
        made.environment.setdefault("SSH_AUTH_SOCK", posixpath.normpath(target))


def _one(source: Source, mount: Mount) -> str:
    """The path that ``source=`` names, which is no pattern."""
    escaped = "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in mount.source)
    found = source.select(escaped or "/")
    if not found:
        raise NotFound(
            f"--mount: {mount.source!r} is not there", "look at its spelling, and at .dockerignore"
        )
    return found[0]
