"""The driver's own profile in the kernel: compiled once for a kernel's features, kept, loaded where it is missing."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import tempfile
import threading
from pathlib import Path

from multios_security_apparmor import default_profile
from multios_security_apparmor.host import Host

log = logging.getLogger(__name__)
_COMPILER_SECONDS = 60


class CompileError(Exception):
    """The compiler refuses a profile; the text is what it said."""


class Loading:
    """Makes sure that ``name`` is loaded; thread-safe. A failure is told, not raised: nobody asked for the default."""

    def __init__(self, host: Host, directory: Path, name: str) -> None:
        self._host, self._directory, self._name = host, directory, name
        self._lock = threading.Lock()
        self._is_loaded = False
        self._failure = ""

    def failure(self) -> str:
        """Why the profile is not loaded; empty where it is, or where there is no AppArmor."""
        return self._failure

    def ensure(self) -> str:
        """Load it at the first call; afterwards only remember how that ended. Returns :meth:`failure`."""
        with self._lock:
            if not self._is_loaded and not self._failure and not self._host.absence():
                try:
                    self._host.load(self._compiled())
                    self._is_loaded = True
                except (OSError, CompileError) as error:
                    self._failure = f"{self._name} cannot be loaded: {error}"
                    log.warning("AppArmor: %s", self._failure)
            return self._failure

    def _compiled(self) -> bytes:
        """The policy as the kernel takes it, from the last time if text and kernel are the same."""
        source = default_profile.text(self._name, self._host.has_feature("ipc/posix_mqueue"))
        key = hashlib.sha256(f"{source}\0{self._host.features_digest()}".encode()).hexdigest()
        path = self._directory / f"{key}.policy"
        if path.exists():
            return path.read_bytes()
        parser = self._host.parser()
        if not parser:
            raise CompileError("apparmor_parser is not installed (Debian package apparmor)")
        try:
            policy = compile_text(parser, source)
        except CompileError:
            # A compiler older than the kernel: it does not know message queues, and leaves them alone.
            policy = compile_text(parser, default_profile.text(self._name, message_queues=False))
        _write_whole(path, policy)
        return policy


def compile_text(parser: str, source: str, *options: str) -> bytes:
    """Compiled policy of ``source``, by apparmor_parser(8), which does not load it. Raises :class:`CompileError`."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory, "policy")
        try:
            done = subprocess.run(
                [parser, "--skip-kernel-load", "--skip-cache", *options, "--ofile", str(result)],
                input=source,
                capture_output=True,
                text=True,
                timeout=_COMPILER_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"apparmor_parser: {error}") from error
        if done.returncode or not result.exists():
            said = " ".join(done.stderr.split())[:300] or f"exit status {done.returncode}"
            raise CompileError(f"apparmor_parser: {said}")
        return result.read_bytes()


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
