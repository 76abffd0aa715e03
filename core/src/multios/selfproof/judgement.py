"""What each answer of the battery means. A driver may refuse in its own way; what counts is that it refuses."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED = "EPERM|EACCES|ENOSYS|killed by signal 31"
ABSENT = "ENOENT|ENXIO|ENODEV"
READ_ONLY = "EROFS|EACCES|EPERM|ENOENT"
HIDDEN = "empty|ENOENT|EACCES|EPERM"


class Expectation:
    """``tried`` in words; ``wanted`` matches the whole of a good answer; what a good and a bad one mean."""

    __slots__ = ("bad", "good", "tried", "wanted")

    def __init__(self, tried: str, wanted: str, good: str, bad: str) -> None:
        self.tried, self.wanted, self.good, self.bad = tried, wanted, good, bad


def _call(tried: str, guard: str, more: str = "") -> Expectation:
    return Expectation(
        tried, REFUSED + more, f"refused: {guard}", "the kernel was reached: no filter, or too wide a one"
    )


EXPECTATIONS: dict[str, Expectation] = {
    "root": Expectation("be root", r"is host uid [1-9]\d*", "nobody outside", "root outside as well"),
    "no-new-privileges": Expectation(
        "look for no_new_privs", "1", "set-user-id programs give nothing", "they do"
    ),
    "filter": Expectation("look for a system call filter", "2", "there is one", "there is none"),
    "capabilities": Expectation(
        "look at the capabilities",
        "[0-9a-f]+",
        "none that is more than a container's own",
        "SYS_ADMIN or the like",
    ),
    "first-process": Expectation(
        "count the processes", r"1 of 1|[1-9] of [1-9]", "it sees its own only", "it sees the host's"
    ),
    "descriptors": Expectation(
        "look for open descriptors", "0 above 2", "none is left open", "some leaked in"
    ),
    "host-file": Expectation(
        "open a file of the host's", ABSENT, "its root is not the host's", "it can be read"
    ),
    "host-file-by-root-link": Expectation(
        "open it through /proc/1/root",
        f"{ABSENT}|EACCES|EPERM",
        "that leads to its own root",
        "it can be read",
    ),
    "host-process": Expectation(
        "signal a process of the host's", "ESRCH|EPERM", "it does not exist", "it can"
    ),
    "host-socket": Expectation(
        "connect to the host's abstract socket",
        "ECONNREFUSED|EACCES|EPERM",
        "another network namespace",
        "it can",
    ),
    "interfaces": Expectation(
        "list network interfaces", "(lo)?", "nothing but its own loopback", "there are more"
    ),
    "devices": Expectation("list device nodes", "only .*", "harmless ones", "some reach the host's hardware"),
    "mknod": Expectation("make a node of a disk and open it", REFUSED, "refused", "the disk can be opened"),
    "kcore": Expectation("read /proc/kcore", HIDDEN, "masked", "the kernel's memory can be read"),
    "keys": Expectation("read /proc/keys", HIDDEN, "masked", "the host's keys are listed"),
    "timer-list": Expectation("read /proc/timer_list", HIDDEN, "masked", "the host's timers are listed"),
    "kernel-log": Expectation(
        "open /dev/kmsg", f"{ABSENT}|{REFUSED}", "not there", "the kernel's log can be read"
    ),
    "memory": Expectation(
        "open /dev/mem", f"{ABSENT}|{REFUSED}", "not there", "the host's memory can be read"
    ),
    "core-pattern": Expectation(
        "write to core_pattern", READ_ONLY, "read-only", "it can run programs on the host"
    ),
    "sysrq": Expectation("write to sysrq-trigger", READ_ONLY, "read-only", "it can stop the host"),
    "uevent-helper": Expectation(
        "write to uevent_helper", READ_ONLY, "read-only", "it can run programs on the host"
    ),
    "sysfs": Expectation("write to /sys", READ_ONLY, "read-only", "it can change the host's devices"),
    "cgroup": Expectation(
        "write to a cgroup", "none opens", "its limits are not its own to change", "it can"
    ),
    "mount": _call("mount a tmpfs", "no CAP_SYS_ADMIN"),
    "unmount": _call("unmount", "no CAP_SYS_ADMIN"),
    "pivot": _call("change the root with pivot_root", "no CAP_SYS_ADMIN"),
    "user-namespace": _call("make a user namespace", "no capabilities by way of a new one"),
    "network-namespace": _call("make a network namespace", "no CAP_SYS_ADMIN"),
    "setns": _call("join a namespace", "no CAP_SYS_ADMIN"),
    "handle": _call("open a file by its handle", "no CAP_DAC_READ_SEARCH"),
    "keyring": _call("use the kernel's keyrings", "they are not the container's"),
    "bpf": _call("load a BPF program", "no CAP_BPF"),
    "perf": _call("watch with perf_event_open", "no CAP_PERFMON"),
    "io-uring": _call("set up io_uring", "too often a way out"),
    "userfaultfd": _call("handle page faults itself", "too often a help to attackers"),
    "module": _call("load a kernel module", "no CAP_SYS_MODULE"),
    "kexec": _call("load another kernel", "no CAP_SYS_BOOT"),
    "reboot": _call("reboot", "no CAP_SYS_BOOT"),
    "swap": _call("swap to a file", "no CAP_SYS_ADMIN"),
    "quota": _call("change disk quotas", "no CAP_SYS_ADMIN"),
    "clock": _call("set the clock", "no CAP_SYS_TIME"),
    "hostname": _call("set the host name", "no CAP_SYS_ADMIN"),
    "raw-packets": Expectation("send raw packets", REFUSED, "no CAP_NET_RAW", "it can forge packets"),
    "crypto-sockets": Expectation(
        "open a socket to the kernel's crypto",
        f"{REFUSED}|EAFNOSUPPORT",
        "refused",
        "one more way into the kernel",
    ),
    "hypervisor-sockets": Expectation(
        "open a socket to the hypervisor",
        f"{REFUSED}|EAFNOSUPPORT|ENODEV",
        "refused",
        "it can speak to the hypervisor",
    ),
    "priority": Expectation(
        "raise its priority", REFUSED, "no CAP_SYS_NICE", "it can take the CPU from others"
    ),
    "real-time": Expectation(
        "run in real time", REFUSED, "no CAP_SYS_NICE", "it can take the CPU from others"
    ),
    "limits": Expectation("raise a hard limit", REFUSED, "no CAP_SYS_RESOURCE", "its limits do not bind it"),
    "oom-score": Expectation(
        "be spared when memory is short", REFUSED, "no CAP_SYS_RESOURCE", "others die in its place"
    ),
}

_TOO_MUCH = {
    2: "DAC_READ_SEARCH", 12: "NET_ADMIN", 16: "SYS_MODULE", 17: "SYS_RAWIO", 19: "SYS_PTRACE",
    21: "SYS_ADMIN", 22: "SYS_BOOT", 23: "SYS_NICE", 24: "SYS_RESOURCE", 25: "SYS_TIME", 34: "SYSLOG",
    38: "PERFMON", 39: "BPF",
}  # fmt: skip
"""Capability numbers (capabilities(7)) that default security never leaves in the bounding set."""


def judge(answers: Mapping[str, str]) -> list[dict[str, object]]:
    """A row for every expectation: ``check``, ``tried``, ``answer``, ``meaning``, ``expected`` (a bool)."""
    rows: list[dict[str, object]] = []
    for key, one in EXPECTATIONS.items():
        answer = answers.get(key, "no answer")
        skipped = answer.startswith("not tried")
        good = skipped or (re.fullmatch(one.wanted, answer) is not None and not _excess(key, answer))
        meaning = "" if skipped else _good(one, answer) if good else one.bad
        rows.append(
            {"check": key, "tried": one.tried, "answer": answer, "meaning": meaning, "expected": good}
        )
    return rows


def _good(one: Expectation, answer: str) -> str:
    return "not there" if answer == "ENOENT" and one.good in ("masked", "read-only") else one.good


def _excess(key: str, answer: str) -> bool:
    return key == "capabilities" and any(int(answer, 16) >> number & 1 for number in _TOO_MUCH)
