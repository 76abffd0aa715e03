"""Files of a container, read and written from outside: ``cp`` and ``export``.

What is inside is untrusted, so the work is done in a child process that has gone into the container's root before
it looks at a path: into the running container's own namespaces, or by chroot(2) into the stopped one's snapshot.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from multios.engine.drivers import Drivers
from multios.engine.inside import NO_DIRECTORY, NOT_THERE
from multios.engine.processes import open_process
from multios.engine.registry import RUNNING
from multios.errors import InvalidInput, NotFound, StepFailed
from multios.model.container import Container
from multios.supervisor.mounts import mounted


def export(drivers: Drivers, container: Container, target: int) -> int:
    """Write the whole root filesystem as a tar to the descriptor ``target``; the bytes written."""
    before = _position(target)
    _work(drivers, container, "export", "/", target)
    return max(0, _position(target) - before)


def copy_out(drivers: Drivers, container: Container, path: str, target: int) -> None:
    """Write a file or tree as a tar, named by its last path element, to ``target``."""
    _work(drivers, container, "out", path, target)


def copy_in(drivers: Drivers, container: Container, path: str, source: int) -> None:
    """Unpack a tar from ``source`` below the directory ``path``."""
    _work(drivers, container, "in", path, source)


def _work(drivers: Drivers, container: Container, verb: str, path: str, stream: int) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"path {path!r} is not absolute", "write CONTAINER:/path")
    with _root(drivers, container) as words:
        descriptors = [int(word) for word in words if word.isdecimal()]
        argv = [sys.executable, "-I", "-m", "multios.engine.inside", *words, verb, path]
        ended = subprocess.run(
            argv,
            stdin=stream if verb == "in" else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if verb == "in" else stream,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            check=False,
        )
    if ended.returncode == NOT_THERE:
        raise NotFound(f"{path!r} is not in container {container.name!r}", "look with `exec NAME ls`")
    if ended.returncode == NO_DIRECTORY:
        raise InvalidInput(f"{path!r} in container {container.name!r} is no directory", "name a directory")
    if ended.returncode:
        lines = ended.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise StepFailed("copy", lines[-1][:300])


@contextmanager
def _root(drivers: Drivers, container: Container) -> Iterator[list[str]]:
    """How the child gets in: ``namespaces USER MOUNT`` or ``chroot ROOT``, as descriptors."""
    if container.status in RUNNING:
        pid = open_process(container)
        try:
            yield ["process", str(pid), "user" if container.id_map else "host"]
        finally:
            os.close(pid)
        return
    with mounted(drivers.storage(container).mounts(container.id)) as root:
        yield ["chroot", str(root), "host"]


def _position(descriptor: int) -> int:
    try:
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return 0
