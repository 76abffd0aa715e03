"""This very interpreter, made to run inside an empty root: which files of the host's it needs, and how it is started."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from multios.errors import MultiosError

_LIST_FILES = "import ctypes, json, os, socket, resource\nprint(open('/proc/self/maps').read())"


@functools.cache
def _mapped() -> tuple[str, ...]:
    """The files that the interpreter has mapped once it has what the battery imports."""
    done = subprocess.run(
        [executable(), "-I", "-S", "-c", _LIST_FILES], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise MultiosError(f"this interpreter cannot be run bare: {done.stderr.strip()[-200:]}")
    paths = {line.split(maxsplit=5)[5] for line in done.stdout.splitlines() if line.count("/")}
    return tuple(sorted(path for path in paths if path.startswith("/") and ".so" in path))


def executable() -> str:
    """The real file, outside of any virtual environment."""
    return os.path.realpath(sys.executable)


def _loader() -> str:
    """The dynamic linker's own file; a program that needs none has no such mapping."""
    found = [
        path
        for path in _mapped()
        if os.path.basename(path).startswith(("ld-linux", "ld-musl", "ld64", "ld-2"))
    ]
    return found[0] if found else ""


def command() -> list[str]:
    """The words that start it where nothing stands at its usual place but what :func:`places` names."""
    loader = _loader()
    if not loader:
        return [executable()]
    libraries = dict.fromkeys(os.path.dirname(path) for path in _mapped())
    return [loader, "--library-path", ":".join(libraries), executable()]


def places() -> list[str]:
    """Directories and files of the host that the interpreter needs; none lies in another."""
    wanted = {os.path.dirname(os.path.realpath(os.__file__)), executable(), _loader()} - {""}
    wanted |= {os.path.dirname(path) for path in _mapped()}
    return sorted(path for path in wanted if not any(path.startswith(other + "/") for other in wanted))
