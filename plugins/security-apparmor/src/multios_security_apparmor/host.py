"""AppArmor as the kernel shows it: the files of securityfs (apparmor(7), Documentation/admin-guide/LSM/apparmor.rst)."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_FILES = Path("/sys/kernel/security/apparmor")


class Host:
    """One kernel's AppArmor; tests give other directories."""

    def __init__(self, files: Path = _FILES, enabled: Path = _ENABLED) -> None:
        self._files, self._enabled = files, enabled

    def absence(self) -> str:
        """Why no profile can be enforced here, in a few words; empty where it can."""
        try:
            if self._enabled.read_text().strip() != "Y":
                return "AppArmor is switched off in this kernel"
        except OSError:
            return "this kernel lacks AppArmor"
        if not (self._files / "profiles").exists():
            return "AppArmor's files are not mounted at /sys/kernel/security"
        return ""

    def parser(self) -> str:
        """The path of apparmor_parser(8), or empty text."""
        return shutil.which("apparmor_parser", path=os.defpath + ":/usr/sbin:/sbin") or ""

    def profiles(self) -> dict[str, str]:
        """Every loaded profile, name to mode."""
        lines = (self._files / "profiles").read_text().splitlines()
        pairs = (line.rpartition(" (") for line in lines)
        return {name: mode.rstrip(")") for name, _, mode in pairs if name}

    def has_feature(self, path: str) -> bool:
        """Whether the kernel mediates something: a file below ``features``."""
        return (self._files / "features" / path).exists()

    def features_digest(self) -> str:
        """A digest of all that the kernel mediates: a compiled policy fits kernels of the same digest."""
        digest = hashlib.sha256()
        top = self._files / "features"
        for path in sorted(top.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(top)}\0{path.read_text()}\0".encode())
        return digest.hexdigest()

    def load(self, policy: bytes) -> None:
        """Load compiled policy, in place of a profile of the same name; one write, as the kernel wants it."""
        descriptor = os.open(self._files / ".replace", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, policy)
        finally:
            os.close(descriptor)
