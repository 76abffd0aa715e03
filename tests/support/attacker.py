"""What attacks are made of: Python inside a container, images with chosen entries, other processes' patience."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

import busybox_rootfs
from multios.selfproof import interpreter
from private_engine import IMAGE, PrivateEngine

QUICK = 5.0
"""Seconds in which another container's ``exec true`` must be done, on a machine that others load as well."""

PRELUDE = """
import ctypes, errno, json, mmap, os, socket, stat, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    words = [ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word) for word in words]
    answer = libc.syscall(ctypes.c_long(number), *words)
    return "done" if answer >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""
"""What :func:`python_words` has before every program: a system call, and an open that changes nothing."""


def volumes() -> list[str]:
    """Options that bring this interpreter into a container."""
    return [word for path in interpreter.places() for word in ("-v", f"{path}:{path}:ro")]


def python_words(program: str, *arguments: str) -> list[str]:
    """The command for a program inside, of whatever image; it needs :func:`volumes`."""
    return [*interpreter.command(), "-I", "-S", "-u", "-c", PRELUDE + program, *arguments]


def python_inside(engine: PrivateEngine, program: str, *options: str, image: str = IMAGE) -> str:
    """What a program printed in a container of its own."""
    return engine.out("run", "--rm", *volumes(), *options, "--entrypoint", "", image, *python_words(program))


def entry(
    name: str, kind: bytes, link: str = "", mode: int = 0o755, device: tuple[int, int] = (0, 0)
) -> tarfile.TarInfo:
    """A member without content."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    made.devmajor, made.devminor = device
    return made


def symlink(name: str, target: str) -> tarfile.TarInfo:
    """A member that is a symbolic link."""
    return entry(name, tarfile.SYMTYPE, target)


def import_image(
    engine: PrivateEngine,
    name: str,
    entries: list[tarfile.TarInfo],
    files: Mapping[str, bytes] | None = None,
    changes: tuple[str, ...] = (),
) -> str:
    """The small image with some of its members replaced, as ``name``."""
    given = {member.name for member in entries} | set(files or {})
    target = io.BytesIO()
    base = busybox_rootfs.write(engine.directory / f"{name.partition(':')[0]}.tar")
    with tarfile.open(base) as source, tarfile.open(fileobj=target, mode="w") as archive:
        for member in source:
            if member.name not in given:
                archive.addfile(member, source.extractfile(member) if member.isreg() else None)
        for member in entries:
            archive.addfile(member)
        for path, content in (files or {}).items():
            made = tarfile.TarInfo(path)
            made.size, made.mode = len(content), 0o755
            archive.addfile(made, io.BytesIO(content))
    base.unlink()
    words = [word for change in changes for word in ("--change", change)]
    engine.run("image", "import", *words, "-", name, input=target.getvalue())
    return name


def seconds_of_another(engine: PrivateEngine, other: str) -> float:
    """How long ``exec true`` takes in another container now."""
    begin = time.monotonic()
    engine.run("exec", other, "true", timeout=60)
    return time.monotonic() - begin


def resident(pid: int) -> int:
    """A process's memory in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def mounts_of_host() -> list[str]:
    """The host's mount table, without what engines of others do meanwhile."""
    done = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True, check=True)
    return sorted(set(done.stdout.split()))
