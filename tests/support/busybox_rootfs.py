"""A root filesystem of one static program, for tests and benchmarks: 2 MB, there in a moment, no network needed."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
DIRECTORIES = ("bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "usr", "usr/bin", "var")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1000::/home/student:/bin/sh\n",
    "etc/group": "root:x:0:\nstudent:x:1000:\nstaff:x:50:student\n",
    "etc/greeting": "hello\n",
}


def write(target: Path) -> Path:
    """Write the archive to ``target``, a plain tar, and return it."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(target, "w") as archive:
        for name in DIRECTORIES:
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        temporary = _entry("tmp", tarfile.DIRTYPE, 0o1777)
        archive.addfile(temporary)
        home = _entry("home/student", tarfile.DIRTYPE, 0o755)
        home.uid = home.gid = 1000
        archive.addfile(home)
        program = _entry("bin/busybox", tarfile.REGTYPE, 0o755)
        content = BUSYBOX.read_bytes()
        program.size = len(content)
        archive.addfile(program, io.BytesIO(content))
        for name in applets:
            if name != "busybox":
                link = _entry(f"bin/{name}", tarfile.SYMTYPE, 0o777)
                link.linkname = "busybox"
                archive.addfile(link)
        for name, text in FILES.items():
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        not_executable = _entry("etc/not-executable", tarfile.REGTYPE, 0o644)
        archive.addfile(not_executable)
    return target


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry
