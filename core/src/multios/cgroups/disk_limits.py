"""Operations and bytes a second on the disk under the data root (kernel: blkio-controller, cgroup-v2 ``io.max``)."""

from __future__ import annotations

import os

from multios.cgroups.control_files import ControlFiles
from multios.cgroups.hierarchy import read
from multios.errors import Unsupported

_V1_FILES = {"iops": "blkio.throttle.{}_iops_device", "bps": "blkio.throttle.{}_bps_device"}


def limit(files: ControlFiles, operations: int | None, bytes_: int | None, data_root: str) -> None:
    """Limit reading and writing each; −1 is no limit, ``None`` stays.

    v1 throttles direct and read I/O only; buffered writes are seen by v2's ``io`` controller alone.
    """
    option = "io_limit" if operations is not None else "io_bytes_limit"
    controller = "blkio" if "blkio" in files.hierarchy.v1 else "io"
    if max(operations or -1, bytes_ or -1) < 0 and not files.hierarchy.path(controller, files.name):
        return  # nothing is to be limited, and nothing can be
    directory = files.directory(controller, option)
    device = block_device(data_root, files.hierarchy.root)
    for kind, value, name in (("iops", operations, "io_limit"), ("bps", bytes_, "io_bytes_limit")):
        if value is None:
            continue
        if controller == "io":
            _limit_v2(files, f"{directory}/io.max", device, kind, value, name)
            continue
        for way in ("read", "write"):
            path = f"{directory}/{_V1_FILES[kind].format(way)}"
            before = _line_of(path, device) or f"{device} 0"
            files.write(path, f"{device} {max(value, 0)}", name, before)


def _limit_v2(files: ControlFiles, path: str, device: str, kind: str, value: int, option: str) -> None:
    text = "max" if value < 0 else str(value)
    unlimited = f"{device} rbps=max wbps=max riops=max wiops=max"
    files.write(path, f"{device} r{kind}={text} w{kind}={text}", option, _line_of(path, device) or unlimited)


def _line_of(path: str, device: str) -> str:
    """What the file says of ``device``; empty when nothing, or when there is no such file."""
    try:
        lines = read(path).splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(device + " ")), "")


def block_device(path: str, root: str = "") -> str:
    """``major:minor`` of the whole disk that ``path`` lies on; ``Unsupported`` where there is none."""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    directory = f"{root}/sys/dev/block/{device}"
    if not os.path.isdir(directory):
        raise Unsupported(
            f"io_limit: {path} does not lie on a block device (device {device})",
            "put the data root on a filesystem with a disk of its own, or leave the limit out",
        )
    if os.path.exists(directory + "/partition"):  # only whole disks are throttled
        return read(os.path.realpath(directory) + "/../dev").strip()
    return device
