"""Copying a directory out of an untrusted root filesystem, in a child that is in that root before it looks at a path.

``python -m multios.layers.rooted_copy PARENT ROOT TARGET PATH`` is that child, with two descriptors of directories. By chroot(2) no
symbolic link of ``PATH``, or below it, leads out of the root, whoever changes it meanwhile; the target is the working
directory, which lies outside and which nobody else reaches.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  (codecs are loaded by name; there is nothing to load from afterwards)
import os
import subprocess
import sys
from collections.abc import Callable

from multios.closed_imports import close_imports
from multios.errors import InvalidInput, StepFailed
from multios.layers.copying import copy_looks, copy_tree
from multios.supervisor.syscalls import kernel

MOST_ENTRIES = 2_000_000
"""As many as a layer may have."""
_CHECK_SECONDS = 0.1
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_SHOWN = 300
"""Characters of a path in an error."""


def copy_from_root(root: int, path: str, target: int, check: Callable[[], None]) -> None:
    """Copy the directory ``path`` of ``root`` into the empty directory ``target``, which gets its looks too.

    ``root`` and ``target`` are descriptors of directories. Kept is what :func:`copy_tree` keeps. ``check`` is called now and then
    and stops the copy by raising. Raises ``StepFailed`` with what the kernel said. After any error ``target`` is half done.
    """
    words = [str(os.getpid()), str(root), str(target), path]
    argv = [sys.executable, "-I", "-m", "multios.layers.rooted_copy", *words]
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(root, target),
        cwd="/",
    )
    try:
        errors = _wait(child, check)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if child.stderr:
            child.stderr.close()
    if child.returncode:
        ended = f"the copy ended with status {child.returncode}"
        lines = errors.decode("utf-8", "replace").strip().splitlines() or [ended]
        raise StepFailed("copy files", lines[-1])


def _wait(child: subprocess.Popen[bytes], check: Callable[[], None]) -> bytes:
    """What the child wrote to stderr until its end."""
    while True:
        try:
            return child.communicate(timeout=_CHECK_SECONDS)[1]
        except subprocess.TimeoutExpired:
            check()


def _child(parent: int, root: int, target: int, path: str) -> None:
    kernel.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked to die with it
    close_imports()
    os.umask(0)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(target)
    source = os.fsencode(path) + b"/."
    status = os.stat(source)
    copy_tree(source, b".", most=MOST_ENTRIES)
    copy_looks(source, b".", status)


def _main(parent: str, root: str, target: str, path: str) -> int:
    try:
        _child(int(parent), int(root), int(target), path)
    except InvalidInput as error:
        sys.stderr.write(f"{path}: {error.cause}\n")
    except OSError as error:
        name = os.fsencode(error.filename or b"").decode("utf-8", "backslashreplace")
        place = name if name.startswith("/") else path + name[1:]  # of the copy: ./NAME
        sys.stderr.write(f"{error.strerror} at {place[:_SHOWN]!r}\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
