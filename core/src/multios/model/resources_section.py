"""The ``resources`` of the container document.

A part of :mod:`multios.model.container_document`: readers take a field's path and its value, and give the checked one.
"""

from __future__ import annotations

import math
import re
from typing import Any

from multios.model.container import Resources
from multios.model.fields import Reader, read_fields, read_integer, read_mapping, read_text, wrong
from multios.model.quantities import parse_cpus, parse_size

MEMORY_FLOOR = 6 * 1024 * 1024


def parse_resources(document: Any) -> Resources:
    """The ``resources`` section alone, as ``update`` sends it."""
    return read_resources("resources", document)


def read_resources(path: str, value: Any) -> Resources:
    """The section."""
    return Resources(**read_fields(path, value, _RESOURCES))


def size_reader(least: int) -> Reader:
    """Reads a size in bytes that is not below ``least``."""

    def read(path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise wrong(path, value, "a size such as 512M or 1GB")
        if isinstance(value, float) and not math.isfinite(value):
            raise wrong(path, value, "a size such as 512M or 1GB")
        size = parse_size(value if not isinstance(value, float) else int(value), field=path)
        if size < least:
            raise wrong(path, value, f"at least {least} bytes")
        return size

    return read


def _cpus(path: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong(path, value, "cores such as 1.5 or a share such as '50%'")
    return parse_cpus(value, field=path)


def _or_unlimited(limit: Reader) -> Reader:
    """−1 for 0 and −1, which take a limit away as podman and docker have it; else ``limit``."""

    def read(path: str, value: Any) -> Any:
        is_none = not isinstance(value, bool) and value in (0, -1, "0", "-1")
        return -1 if is_none else limit(path, value)

    return read


def _shares(path: str, value: Any) -> int:
    return int(_or_unlimited(read_integer(2, 262144))(path, value))


def _hugepages(path: str, value: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for size, limit in read_mapping(lambda path, value: value)(path, value).items():
        page = parse_size(size, field=f"{path}: page size")
        bytes_ = int(_or_unlimited(size_reader(1))(f"{path}.{size}", limit))
        if bytes_ != -1 and bytes_ % page:
            raise wrong(f"{path}.{size}", limit, f"whole pages of {size}")
        found[page_name(page)] = bytes_
    return found


def page_name(size: int) -> str:
    """A huge page's size as the kernel writes it in its control files: ``2MB`` (hugetlb_cgroup.c, mem_fmt)."""
    unit, name = next(pair for pair in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")) if size >= pair[0])
    return f"{size // unit}{name}"


def _cpuset(path: str, value: Any) -> str:
    text = read_text(path, value)
    if text in ("", "all", "-1"):
        return ""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise wrong(path, value, "processors such as 0-3 or 0,2")
    return text


_RESOURCES: dict[str, Reader] = {
    "cpu_limit": _or_unlimited(_cpus),
    "cpu_shares": _shares,
    "cpuset": _cpuset,
    "memory_limit": _or_unlimited(size_reader(MEMORY_FLOOR)),
    "memory_swap": _or_unlimited(size_reader(0)),
    "pids_limit": _or_unlimited(read_integer(1, 4194304)),
    "disk_limit": size_reader(1024 * 1024),
    "io_limit": _or_unlimited(read_integer(1, 10**9)),
    "io_bytes_limit": _or_unlimited(size_reader(1024)),
    "hugepages": _hugepages,
}
