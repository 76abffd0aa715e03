"""A cgroup for a user's own daemon: systemd's user manager delegates one that limits may be written in."""

from __future__ import annotations

import os

_RUNNERS = ("/usr/bin/systemd-run", "/bin/systemd-run")
_UNIFIED = "/sys/fs/cgroup/cgroup.controllers"


def delegated(command: list[str]) -> list[str]:
    """``command`` begun in a scope of the caller's user manager, where there is one on a cgroup v2 host.

    systemd-run(1) with ``--scope`` becomes the command itself, so the process keeps its id.
    """
    runner = _user_manager()
    if not runner:
        return command
    name = "--description=MultiOS containers"
    return [runner, "--user", "--scope", "--quiet", "--collect", name, "--property=Delegate=yes", *command]


def _user_manager() -> str:
    """systemd-run's path if the caller's user manager can be asked for a delegated scope, else empty."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/") or not os.path.exists(_UNIFIED):
        return ""
    if not os.access(f"{runtime}/systemd/private", os.W_OK) and not os.access(f"{runtime}/bus", os.W_OK):
        return ""
    return next((place for place in _RUNNERS if os.access(place, os.X_OK)), "")
