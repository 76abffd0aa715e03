"""Programs that measure a limit from inside a container: each prints one number. Shared by tests and the table of limits.

They run under the host's Python, mounted read-only, so that any small image will do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
PYTHON = Path("/usr/bin/python3")
HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")

CPU = """
import time
before, begin = time.process_time(), time.monotonic()
while time.monotonic() < begin + 2: pass
print((time.process_time() - before) / (time.monotonic() - begin))
"""
"""Cores that a busy loop got in 2 s."""

CPU_UNTIL = """
import sys, time
begin = float(sys.argv[1])
while time.time() < begin: time.sleep(0.001)
used = time.process_time()
while time.time() < begin + 3: pass
print(time.process_time() - used)
"""
"""Seconds of CPU that a busy loop got in the 3 s from the moment that is its argument."""

PROCESSORS = "import os; print(len(os.sched_getaffinity(0)))"

MEMORY = """
import os
got = 0
blocks = []
while got < 400:
    blocks.append(b"x" * (1 << 20))
    got += 1
    os.write(1, b"%d\\n" % got)
"""
"""MiB written to, a line each, until it is killed or has 400."""

PROCESSES = """
import os, signal, time
children = []
try:
    while len(children) < 500:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        children.append(child)
except BlockingIOError:
    pass
print(len(children) + 1)
for child in children: os.kill(child, signal.SIGKILL)
for child in children: os.waitpid(child, 0)
"""
"""Processes that could be, this one included."""

_DISK = """
import mmap, os, time
size, way = {size}, "{way}"
block = mmap.mmap(-1, size)
file = os.open("/root/probe", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
room = 64 << 20
if way == "read" and os.fstat(file).st_size < room:
    os.close(file)
    with open("/root/probe", "wb") as plain:
        plain.write(bytes(room)); plain.flush(); os.fsync(plain.fileno())
    file = os.open("/root/probe", os.O_RDWR | os.O_DIRECT)
begin, count = time.monotonic(), 0
while time.monotonic() < begin + 2:
    place = count * size % room
    if way == "read": os.preadv(file, [block], place)
    else: os.pwrite(file, block, place)
    count += 1
print(count * {unit} / (time.monotonic() - begin))
"""
WRITES = _DISK.format(size=4096, way="write", unit=1)
"""Direct writes of 4 KiB a second."""
READS = _DISK.format(size=4096, way="read", unit=1)
WRITTEN = _DISK.format(size=256 << 10, way="write", unit=256 << 10)
"""Bytes a second, written directly."""
READ = _DISK.format(size=256 << 10, way="read", unit=256 << 10)

ROOM = """
import os
got = 0
file = os.open("/root/room", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
try:
    while got < 400:
        os.write(file, bytes(1 << 20))
        os.fsync(file)
        got += 1
except OSError:
    pass
os.unlink("/root/room")
print(got)
"""
"""MiB that could be written to the root filesystem before there was no room; at most 400."""

HUGE = """
import mmap
pages = []
try:
    while len(pages) < 64:
        page = mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        page[0] = 1
        pages.append(page)
except OSError:
    pass
print(len(pages) * 2)
"""
"""MiB of huge pages of 2 MiB that could be had (mmap(2), MAP_HUGETLB)."""


def mounts() -> list[str]:
    """The words of ``run`` and ``create`` that bring the host's Python into a container."""
    places = {"/usr": "/usr", "/usr/lib": "/lib", "/usr/lib64": "/lib64"}
    words = [["--volume", f"{host}:{inside}:ro"] for host, inside in places.items() if Path(host).is_dir()]
    return [word for pair in words for word in pair]


def command(program: str, *arguments: str) -> list[str]:
    """The command that runs a program of this module."""
    return [str(PYTHON), "-I", "-S", "-c", program, *arguments]


@contextlib.contextmanager
def huge_pages(count: int) -> Iterator[bool]:
    """Whether the host has ``count`` free huge pages of 2 MiB meanwhile: reserved here if need be, given back after."""
    if not HUGE_PAGES.is_dir():
        yield False
        return
    total, free = HUGE_PAGES / "nr_hugepages", HUGE_PAGES / "free_hugepages"
    before = total.read_text()
    try:
        if int(free.read_text()) < count:
            with contextlib.suppress(OSError):
                total.write_text(str(int(before) + count))
        yield int(free.read_text()) >= count
    finally:
        with contextlib.suppress(OSError):
            total.write_text(before)
