"""Builds: their cache, their places on disk, and the one way in for Dockerfiles and templates."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from multios.build.cache import BuildCache
from multios.build.graph import Build, BuildParts, ImageStore, Position, processors
from multios.build.layer_steps import LayerSteps
from multios.build.report import Report, Tell
from multios.build.request import BuildRequest, Surroundings
from multios.build.run_mounts import LARGEST_SECRET, CacheDirectories
from multios.build.sandbox import Command, Hear, Sandbox
from multios.build.stat_cache import StatCache
from multios.build.trees import Source
from multios.drivers.image_source import Progress
from multios.errors import InvalidInput, StepFailed
from multios.model.container import Volume
from multios.model.image import Image
from multios.settings import BuildSettings

CA_BUNDLE = "/etc/multios-build-ca.pem"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
)


class Builds:
    """All builds of one engine. ``directory`` is below data_root, ``runtime`` below exec_root: for what is secret.

    ``has`` says whether a blob is stored, ``may_be_newer`` whether a stored image may be another one at its source.
    Made when no build runs: what killed ones left is removed first.
    """

    def __init__(
        self,
        directory: Path,
        runtime: Path,
        images: ImageStore,
        sandbox: Sandbox,
        settings: BuildSettings,
        has: Callable[[str], bool],
        may_be_newer: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._disk, self._memory = directory / "work", runtime / "builds"
        for path in (self._disk, self._memory):
            shutil.rmtree(path, ignore_errors=True)
        for path in (directory, self._disk, self._memory, directory / "mounts"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.digests = StatCache()
        """What is known of the contexts' files, for all builds."""
        self._digests_file = directory / "digests.json"
        self.digests.load(self._digests_file)
        self.cache = BuildCache(directory / "cache.db")
        self.steps = LayerSteps(images, sandbox, self.cache, has)
        self._caches = CacheDirectories(directory / "mounts")
        working = threading.BoundedSemaphore(processors())
        self._parts = BuildParts(images, self.steps, self._caches, working, may_be_newer)

    def scratch(self) -> Path:
        """A new directory for one build; whoever takes it removes it."""
        path = self._disk / secrets.token_hex(8)
        path.mkdir(mode=0o700)
        return path

    def build(
        self,
        request: BuildRequest,
        context: Source,
        tell: Tell,
        wanted: Callable[[], bool],
        check: Callable[[Position], None] | None = None,
    ) -> Image:
        """Build the image. ``wanted`` is asked whether anybody still waits, ``check`` whether what was made is right."""
        # A Unix socket's path is short (unix(7): 108 bytes).
        memory = self._memory / secrets.token_hex(4)
        disk = self.scratch()
        try:
            memory.mkdir(mode=0o700)
            request = replace(request, surroundings=self._surroundings(disk))
            build = Build(request, context, self._parts, Report(tell), disk, memory)
            return build.run(wanted, check)
        finally:
            shutil.rmtree(disk, ignore_errors=True)
            shutil.rmtree(memory, ignore_errors=True)

    def _surroundings(self, disk: Path) -> Surroundings:
        """``[build]`` of the settings: variables, and certificates that the commands' TLS clients trust."""
        environment, bundle = dict(self._settings.environment), self._settings.ca_bundle
        if bundle is None:
            return Surroundings(environment)
        try:
            (disk / "ca.pem").write_bytes(bundle.read_bytes())
        except OSError as error:
            raise StepFailed(
                "read [build] ca_bundle", str(error), "name a file of PEM certificates"
            ) from error
        environment |= dict.fromkeys(CA_VARIABLES, CA_BUNDLE)
        return Surroundings(environment, (Volume("bind", str(disk / "ca.pem"), CA_BUNDLE, "ro"),))

    def try_command(
        self,
        position: Position,
        command: Command,
        hear: Hear,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> int:
        """The exit status of a command on what a build has made; what it changes is thrown away.

        Raises ``Cancelled``, the command killed, soon after ``cancelled`` says so.
        """
        disk = self.scratch()
        try:
            around = self._surroundings(disk)
            command = replace(
                command,
                environment={**around.environment, **command.environment},
                mounts=(*around.mounts, *command.mounts),
            )
            quiet: Progress = lambda what, done, total: None  # noqa: E731
            return self.steps.try_command(position.layers, command, hear, cancelled, quiet)
        finally:
            shutil.rmtree(disk, ignore_errors=True)

    def prune(self) -> dict[str, int]:
        """Empty the cache and the cache mounts that no build uses; how many steps and directories that were."""
        return {"steps": self.cache.empty(), "mounts": self._caches.prune()}

    def close(self) -> None:
        """Close the cache, and keep what is known of files for the next daemon."""
        self.cache.close()
        with contextlib.suppress(OSError):  # it only saves reading
            self.digests.save(self._digests_file)


def read_secret(name: str, descriptor: int) -> bytes:
    """A secret's content; ``InvalidInput`` for one that is too large, or no file."""
    content = b""
    try:
        while len(content) <= LARGEST_SECRET and (part := os.read(descriptor, LARGEST_SECRET)):
            content += part
    except OSError as error:
        raise InvalidInput(f"secret {name!r}: {error.strerror}", "name a file") from None
    if len(content) > LARGEST_SECRET:
        raise InvalidInput(f"secret {name!r} is larger than {LARGEST_SECRET >> 10} KiB", "make it smaller")
    return content
