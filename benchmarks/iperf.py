"""iperf3, the same binary for every engine: an image that has it, and what it prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import busybox_rootfs

PROGRAM = "/usr/bin/iperf3"
"""Where it is in the image."""
PORT = 5201


def installed() -> str | None:
    """The machine's own, if there is one."""
    return shutil.which("iperf3")


def write_image(target: Path) -> Path:
    """A root filesystem of busybox, and of iperf3 with its libraries if it is installed."""
    busybox_rootfs.write(target)
    program = installed()
    if program is not None:
        files = {PROGRAM: program} | {library: library for library in _libraries(program)}
        with tarfile.open(target, "a", dereference=True) as archive:
            for directory in sorted({str(parent) for name in files for parent in Path(name).parents}):
                if directory not in ("/", "/usr", "/usr/bin"):
                    entry = tarfile.TarInfo(directory.lstrip("/"))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            for name, file in files.items():
                archive.add(file, name.lstrip("/"))
    return target


def _libraries(program: str) -> list[str]:
    """The files that the dynamic linker would load for it, itself among them; ldd(1)."""
    printed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", printed)


def gigabits(printed: str) -> float:
    """Gbit/s that the other end received, of what ``iperf3 --json`` printed."""
    return float(json.loads(printed)["end"]["sum_received"]["bits_per_second"]) / 1e9
