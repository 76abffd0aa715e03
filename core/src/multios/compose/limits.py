"""Limits of a service's containers: ``resources`` and ``rlimits`` of the container document."""

from __future__ import annotations

from multios.compose import quantities
from multios.compose.tree import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios.compose.field import Field

SMALLEST_MEMORY = 6 << 20
RLIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
"""What may be limited: setrlimit(2)."""
_OWN_PARAMETERS = ("net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm")
"""How names of kernel parameters begin that containers have of their own."""
_MOST_CORES, _FEWEST_CORES = 65536, 0.01
_MOST_PIDS = 4194304
_LARGEST = 2**63 - 1
_USUAL_PERIOD = 100_000


def resources(service: dict[str, Field], limits: dict[str, Field]) -> dict[str, Any]:
    """``limits`` are those of ``deploy.resources``; the same limit in both places must be the same."""
    found: dict[str, Any] = {}
    _either(found, "cpu_limit", service.get("cpus"), limits.get("cpus"), _cores)
    _either(found, "memory_limit", service.get("mem_limit"), limits.get("memory"), _memory)
    _either(found, "pids_limit", service.get("pids_limit"), limits.get("pids"), _pids)
    _quota(found, service)
    if "memswap_limit" in service:
        found["memory_swap"] = _memory(service["memswap_limit"])
        if found["memory_swap"] and "memory_limit" not in found:
            raise service["memswap_limit"].error("memory itself is not limited", "give mem_limit too")
    if "cpu_shares" in service and (shares := service["cpu_shares"].whole(0, 262144)):
        found["cpu_shares"] = max(shares, 2)  # the kernel's least, as docker has it
    if "cpuset" in service:
        found["cpuset"] = _processors(service["cpuset"])
    if "storage_opt" in service:
        for name, field in service["storage_opt"].entries().items():
            if name != "size":
                raise field.error(f"the option {name[:80]!r} is not supported", "the only one is size")
            found["disk_limit"] = quantities.size(field, 1 << 20)
    return {name: value for name, value in found.items() if value not in (None, "")}


def _either(
    found: dict[str, Any], name: str, one: Field | None, other: Field | None, read: Callable[[Field], Any]
) -> None:
    values = [read(field) for field in (one, other) if field is not None]
    if one is not None and other is not None and values[0] != values[1]:
        raise one.error(f"{other.path} says something else", "leave one of them out")
    if values:
        found[name] = values[0]


def _cores(field: Field) -> float | None:
    cores = field.number(0, _MOST_CORES)
    if 0 < cores < _FEWEST_CORES:
        raise field.expected(f"at least {_FEWEST_CORES} cores")
    return cores or None


def _memory(field: Field) -> int | None:
    if field.text() in ("0", "-1"):
        return -1 if field.text() == "-1" else None
    return quantities.size(field, SMALLEST_MEMORY)


def _pids(field: Field) -> int | None:
    return field.whole(-1, _MOST_PIDS) or None


def _processors(field: Field) -> str:
    text = field.text()
    ends = [end for part in text.split(",") for end in part.split("-", 1)]
    if text and not all(end.isascii() and end.isdecimal() and len(end) <= 6 for end in ends):
        raise field.expected("processors such as 0-3 or 0,2")
    return text


def _quota(found: dict[str, Any], service: dict[str, Field]) -> None:
    if "cpu_quota" not in service:
        if "cpu_period" in service:
            raise service["cpu_period"].error("there is no cpu_quota", "give both, or cpus")
        return
    field = service["cpu_quota"]
    period = _microseconds(service["cpu_period"]) if "cpu_period" in service else _USUAL_PERIOD
    quota = field.whole(-1, 10**9)
    if quota <= 0:
        return
    cores = quota / period
    if not _FEWEST_CORES <= cores <= _MOST_CORES:
        raise field.expected(f"at least {_FEWEST_CORES} of cpu_period")
    if found.get("cpu_limit") not in (None, cores):
        raise field.error("cpus says something else", "leave one of them out")
    found["cpu_limit"] = cores


def _microseconds(field: Field) -> float:
    """``100000`` or ``100ms``."""
    text = field.text()
    return field.whole(1000, 10**6) if text.isdecimal() else quantities.seconds(field, 0.001) * 1e6


def rlimits(field: Field) -> dict[str, Any]:
    """Limits of processes: a number, or ``soft`` and ``hard``."""
    found = {}
    for name, limit in field.entries().items():
        if name not in RLIMITS:
            raise limit.error(f"there is no limit {name[:40]!r}", f"there are: {', '.join(RLIMITS)}")
        if not isinstance(limit.value, Table):
            found[name] = [limit.whole(-1, _LARGEST)] * 2
            continue
        keys = limit.table("ulimits")
        if keys.keys() != {"soft", "hard"}:
            raise limit.expected("a number, or soft and hard")
        soft, hard = (keys[key].whole(-1, _LARGEST) for key in ("soft", "hard"))
        if hard != -1 and (soft == -1 or soft > hard):
            raise keys["soft"].error("it is above the hard limit", "make it smaller")
        found[name] = [soft, hard]
    return found


def sysctls(field: Field, whose_network: str) -> dict[str, str]:
    """Kernel parameters of the container's own namespaces; ``whose_network`` says whose the network is that is not its own."""
    found = {}
    for name, item in field.pairs().items():
        if not name.startswith(_OWN_PARAMETERS):
            raise item.error(
                f"{name[:80]!r} is the whole host's", f"a container has its own {', '.join(_OWN_PARAMETERS)}"
            )
        if whose_network and name.startswith("net."):
            raise item.error(
                f"{name[:80]!r} would be {whose_network}", "leave it out, or use another network"
            )
        found[name] = item.scalar()
    return found
