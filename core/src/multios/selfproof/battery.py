"""What is tried from inside. This file is run by a bare interpreter in a container: the standard library only.

Each function of :data:`BATTERY` tries one thing and returns the kernel's answer as one short text: the name of an
error number, ``done`` where it was allowed, or what was seen. Nothing it tries would harm the host if it were
allowed: what is opened is not written, what is changed is set to what it is.

The command line: a file of the host's, a process of the host's, an abstract socket of the host's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import socket
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_X86_64 = {
    "add_key": 248, "bpf": 321, "clock_settime": 227, "init_module": 175, "io_uring_setup": 425, "kexec_load": 246,
    "keyctl": 250, "mount": 165, "open_by_handle_at": 304, "perf_event_open": 298, "pivot_root": 155,
    "quotactl": 179, "reboot": 169, "setns": 308, "sethostname": 170, "swapon": 167, "umount2": 166, "unshare": 272,
    "userfaultfd": 323,
}  # fmt: skip
_GENERIC = {
    "add_key": 217, "bpf": 280, "clock_settime": 112, "init_module": 105, "io_uring_setup": 425, "kexec_load": 104,
    "keyctl": 219, "mount": 40, "open_by_handle_at": 265, "perf_event_open": 241, "pivot_root": 41,
    "quotactl": 60, "reboot": 142, "setns": 268, "sethostname": 161, "swapon": 224, "umount2": 39, "unshare": 97,
    "userfaultfd": 282,
}  # fmt: skip
_NUMBERS = {"x86_64": _X86_64, "aarch64": _GENERIC, "riscv64": _GENERIC}.get(os.uname().machine, {})
_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWUSER, _CLONE_NEWNET, _MS_RDONLY = 0x10000000, 0x40000000, 1


def _named(number: int) -> str:
    return errno.errorcode.get(number, f"error {number}")


def _call(name: str, *arguments: int | bytes) -> str:
    """A system call with arguments that could do no harm."""
    if name not in _NUMBERS:
        return "not tried on this kind of machine"
    words = [ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word) for word in arguments]
    if _libc.syscall(ctypes.c_long(_NUMBERS[name]), *words) >= 0:
        return "done"
    return _named(ctypes.get_errno())


def _opened(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return _named(error.errno or 0)
    return "done"


def _tried(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return _named(error.errno or 0)
    except ValueError:  # the module resource says so instead of EPERM
        return "EPERM"
    return "done"


def _content(path: str) -> str:
    """``empty``, or how much can be read of it."""
    try:
        with open(path, "rb", buffering=0) as file:
            return "has content" if file.read(16) else "empty"
    except OSError as error:
        return _named(error.errno or 0)


def _status(field: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith(field + ":")), "absent"
        )


def _host_id() -> str:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        first = file.readline().split()
    return f"is host uid {first[1]}"


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, 0))
        hard = 0
    resource.setrlimit(resource.RLIMIT_CORE, (soft if soft < hard else hard, hard + 1))


def _lower_oom_score() -> None:
    with open("/proc/self/oom_score_adj", "w+", encoding="ascii") as file:
        now = int(file.read())
        file.seek(0)
        file.write(str(now - 100))


def _connect(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)


def _descriptors() -> str:
    """How many this program found open when it began."""
    return f"{len(_INHERITED)} above 2"


def _devices() -> str:
    """Device nodes in /dev that are not among the harmless ones."""
    usual = {(1, minor) for minor in (3, 5, 7, 8, 9)} | {(5, 0), (5, 1), (5, 2)}
    found = []
    for entry in os.scandir("/dev"):
        status = entry.stat(follow_symlinks=False)
        number = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)) and number not in usual:
            found.append(entry.name)
    return ", ".join(sorted(found)) or "only null, zero, full, random, urandom, tty"


def _make_disk() -> None:
    os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    os.close(os.open("/tmp/disk", os.O_RDONLY))


def _cgroup_writable() -> str:
    """The first control file of a cgroup that can be opened for writing."""
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        for name in files:
            path = os.path.join(directory, name)
            if name != "cgroup.procs" and _opened(path, os.O_WRONLY) == "done":
                return f"{path} opens"
    return "none opens"


def _processes() -> str:
    """Its own id, and how many there are; the child that asks is not counted."""
    return f"{os.getppid()} of {sum(word.isdigit() for word in os.listdir('/proc')) - 1}"


def _interfaces() -> str:
    return " ".join(sorted(name for _, name in socket.if_nameindex()))


def _family(number: int, kind: int = socket.SOCK_DGRAM) -> Callable[[], object]:
    return lambda: socket.socket(number, kind).close()


_INHERITED = []
for _word in os.listdir("/proc/self/fd"):
    with contextlib.suppress(OSError):  # the one that lists
        os.fstat(int(_word))
        if int(_word) > 2:
            _INHERITED.append(_word)

_FILE, _PROCESS, _SOCKET = [*sys.argv[1:], "/", "0", ""][:3]

BATTERY: dict[str, Callable[[], str]] = {
    "root": _host_id,
    "no-new-privileges": lambda: _status("NoNewPrivs"),
    "filter": lambda: _status("Seccomp"),
    "capabilities": lambda: _status("CapBnd"),
    "first-process": _processes,
    "descriptors": _descriptors,
    "host-file": lambda: _opened(_FILE, os.O_RDONLY),
    "host-file-by-root-link": lambda: _opened("/proc/1/root" + _FILE, os.O_RDONLY),
    "host-process": lambda: _tried(lambda: os.kill(int(_PROCESS), 0)),
    "host-socket": lambda: _tried(lambda: _connect(_SOCKET)),
    "interfaces": _interfaces,
    "devices": _devices,
    "mknod": lambda: _tried(_make_disk),
    "kcore": lambda: _content("/proc/kcore"),
    "keys": lambda: _content("/proc/keys"),
    "timer-list": lambda: _content("/proc/timer_list"),
    "kernel-log": lambda: _opened("/dev/kmsg", os.O_RDONLY),
    "memory": lambda: _opened("/dev/mem", os.O_RDONLY),
    "core-pattern": lambda: _opened("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "sysrq": lambda: _opened("/proc/sysrq-trigger", os.O_WRONLY),
    "uevent-helper": lambda: _opened("/sys/kernel/uevent_helper", os.O_WRONLY),
    "sysfs": lambda: _tried(lambda: os.mkdir("/sys/multios")),
    "cgroup": _cgroup_writable,
    "mount": lambda: _call("mount", b"none", b"/tmp", b"tmpfs", _MS_RDONLY, 0),
    "unmount": lambda: _call("umount2", b"/tmp/nothing-is-mounted-here", 0),
    "pivot": lambda: _call("pivot_root", b"/tmp", b"/tmp"),
    "user-namespace": lambda: _call("unshare", _CLONE_NEWUSER),
    "network-namespace": lambda: _call("unshare", _CLONE_NEWNET),
    "setns": lambda: _call("setns", -1, 0),
    "handle": lambda: _call("open_by_handle_at", -1, 0, 0),
    "keyring": lambda: _call("keyctl", 0, -3, 0),
    "bpf": lambda: _call("bpf", 0, 0, 0),
    "perf": lambda: _call("perf_event_open", 0, 0, -1, -1, 0),
    "io-uring": lambda: _call("io_uring_setup", 1, 0),
    "userfaultfd": lambda: _call("userfaultfd", 0),
    "module": lambda: _call("init_module", 0, 0, b""),
    "kexec": lambda: _call("kexec_load", 0, 0, 0, 0xFFFF0000),
    "reboot": lambda: _call("reboot", 0, 0, 0, 0),
    "swap": lambda: _call("swapon", b"/tmp/no-such-file", 0),
    "quota": lambda: _call("quotactl", 0x800007 << 8, 0, 0, 0),
    "clock": lambda: _call("clock_settime", 0, 0),
    "hostname": lambda: _call("sethostname", 0, 1 << 20),
    "raw-packets": lambda: _tried(_family(17, socket.SOCK_RAW)),
    "crypto-sockets": lambda: _tried(_family(38, socket.SOCK_SEQPACKET)),
    "hypervisor-sockets": lambda: _tried(_family(40, socket.SOCK_STREAM)),
    "priority": lambda: _tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),
    "real-time": lambda: _tried(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "limits": lambda: _tried(_raise_limit),
    "oom-score": lambda: _tried(_lower_oom_score),
}


def main() -> None:
    """Try everything and print the answers as one JSON object."""
    print(json.dumps({key: _apart(attempt) for key, attempt in BATTERY.items()}))


def _apart(attempt: Callable[[], str]) -> str:
    """The answer to ``attempt``, made in a child: what is allowed, or kills, must not change what follows."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            answer = attempt()
        except Exception as wrong:
            answer = f"cannot be tried: {wrong}"
        os.write(write, answer.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read().decode()
    _, status = os.waitpid(child, 0)
    return f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else answer


if __name__ == "__main__":
    main()
