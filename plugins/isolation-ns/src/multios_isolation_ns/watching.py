"""Refused system calls that somebody watches: the filter that asks, and what its answers are told by name.

A filter's refusals become questions to the supervisor (:mod:`multios.supervisor.notification`), which records numbers;
names are given here, by libseccomp.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from multios.drivers.isolation import RefusedCall
from multios.errors import Unsupported
from multios.supervisor import notification

_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 0x40000003),
    "aarch64": (0xC00000B7, 0x40000028),
    "riscv64": (0xC00000F3,),
    "ppc64le": (0xC0000015,),
}
"""AUDIT_ARCH_* of linux/audit.h, which libseccomp numbers architectures by: the native one, then its 32-bit one."""
_TEXTS = {
    "acct": (0,),
    "add_key": (0, 1),
    "chroot": (0,),
    "delete_module": (0,),
    "fsopen": (0,),
    "fsconfig": (2, 3),
    "fspick": (1,),
    "mount": (0, 1, 2),
    "mount_setattr": (1,),
    "move_mount": (1, 3),
    "name_to_handle_at": (1,),
    "open_tree": (1,),
    "pivot_root": (0, 1),
    "quotactl": (1,),
    "request_key": (0, 1),
    "setdomainname": (0,),
    "sethostname": (0,),
    "swapoff": (0,),
    "swapon": (0,),
    "umount": (0,),
    "umount2": (0,),
    "mkdir": (0,),
    "mkdirat": (1,),
    "mknod": (0,),
    "mknodat": (1,),
    "chmod": (0,),
    "creat": (0,),
    "truncate": (0,),
    "chown": (0,),
    "lchown": (0,),
    "fchmodat": (1,),
    "fchownat": (1,),
    "link": (0, 1),
    "linkat": (1, 3),
    "open": (0,),
    "openat": (1,),
    "rename": (0, 1),
    "renameat": (1, 3),
    "renameat2": (1, 3),
    "rmdir": (0,),
    "symlink": (0, 1),
    "symlinkat": (0, 2),
    "unlink": (0,),
    "unlinkat": (1,),
}
"""The arguments of a call that are texts: what it was to be done to."""
_WRITES = 0x203  # O_WRONLY, O_RDWR, O_TRUNC
_FORESEEN: dict[str, tuple[tuple[Any, ...], ...]] = {
    "socket": (("socket",),),
    "bind": (("bind",),),
    "mknod": (("node", 1), ("writing", -1, 0)),
    "mknodat": (("node", 2), ("writing", 0, 1)),
    "chown": (("owner", 1, 2), ("writing", -1, 0)),
    "lchown": (("owner", 1, 2), ("writing", -1, 0)),
    "fchown": (("owner", 1, 2),),
    "fchownat": (("owner", 2, 3), ("writing", 0, 1)),
    "setuid": (("users", 0),),
    "setreuid": (("users", 0, 1),),
    "setresuid": (("users", 0, 1, 2),),
    "setgid": (("groups", 0),),
    "setregid": (("groups", 0, 1),),
    "setresgid": (("groups", 0, 1, 2),),
    "setrlimit": (("limit", 0, 1),),
    "prlimit64": (("limit", 1, 2),),
    "open": (("writing", -1, 0),),
    "creat": (("writing", -1, 0),),
    "openat": (("writing", 0, 1),),
    "truncate": (("writing", -1, 0),),
    "mkdir": (("writing", -1, 0),),
    "mkdirat": (("writing", 0, 1),),
    "rmdir": (("writing", -1, 0),),
    "unlink": (("writing", -1, 0),),
    "unlinkat": (("writing", 0, 1),),
    "rename": (("writing", -1, 0),),
    "renameat": (("writing", 0, 1),),
    "renameat2": (("writing", 0, 1),),
    "link": (("writing", -1, 1),),
    "linkat": (("writing", 2, 3),),
    "symlink": (("writing", -1, 1),),
    "symlinkat": (("writing", 1, 2),),
    "chmod": (("writing", -1, 0),),
    "fchmodat": (("writing", 0, 1),),
}
"""Calls that the filter allows and the kernel may refuse: the guesses of ``multios.supervisor.foresight`` to make."""
_ONLY_WITH = {"open": (1, _WRITES), "openat": (2, _WRITES)}


def is_possible() -> bool:
    """Whether the kernel's filters can ask; since Linux 5.0."""
    try:
        return "user_notif" in _ACTIONS.read_text(encoding="ascii").split()
    except OSError:
        return False


def asking_program(path: Path, foreseeing: bool) -> bytes:
    """The filter in the file ``path`` with questions for refusals, and for what is foreseen; kept beside it."""
    kept = path.with_suffix(".foreseeing" if foreseeing else ".asking")
    try:
        return kept.read_bytes()
    except FileNotFoundError:
        pass
    try:
        made = notification.asking(path.read_bytes())
        if foreseeing:
            native = _ARCHITECTURES[os.uname().machine][0]
            made = notification.foreseeing(made, native, _numbers(native))
    except ValueError as error:
        raise Unsupported(
            f"refused calls cannot be watched: the filter has {error}", "use --security-opt explain=false"
        ) from None
    _keep(kept, made)
    return made


def watch(program: str, record: str, foreseeing: bool) -> dict[str, Any]:
    """How the supervisor serves the filter's listener: see :class:`multios.supervisor.watches.Listener`."""
    return {"program": program, "record": record, "rules": _rules(os.path.dirname(program), foreseeing)}


@cache
def _rules(directory: str, foreseeing: bool) -> str:
    """The file of what to read of a call and what to foresee: one for all containers, anew by each daemon."""
    path = Path(directory, "foreseeing.rules" if foreseeing else "asking.rules")
    _keep(path, json.dumps({"texts": _texts(), "foreseen": _foreseen() if foreseeing else {}}).encode())
    return str(path)


def _keep(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def watched(plan: dict[str, Any], program: str, foreseeing: bool) -> None:
    """Have the process of a launcher's plan install the asking filter."""
    process = plan["process"]
    process["seccomp"] = base64.b64encode(asking_program(Path(program), foreseeing)).decode()
    process["watched"] = True


def read(path: str) -> tuple[RefusedCall, ...]:
    """The record that the supervisor wrote, with names; nothing recorded: empty."""
    try:
        rows = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, ValueError):
        return ()
    return tuple(_named(row) for row in rows)


def _named(row: Mapping[str, Any]) -> RefusedCall:
    return RefusedCall(
        call=_name(int(row["architecture"]), int(row["call"])),
        errno=int(row["errno"]),
        program=str(row["program"]),
        pid=int(row["pid"]),
        count=int(row["count"]),
        first=float(row["first"]),
        last=float(row["last"]),
        arguments=tuple(int(value) for value in row["arguments"]),
        by=str(row["by"]),
        texts={int(place): str(text) for place, text in row["texts"].items()},
    )


@cache
def _name(architecture: int, number: int) -> str:
    import pyseccomp  # heavy, and wanted only when somebody asks why

    try:
        return str(pyseccomp.resolve_syscall(architecture, number).decode())
    except (ValueError, OSError, AttributeError):
        return f"system call {number}"


def _texts() -> dict[str, list[int]]:
    import pyseccomp  # heavy: once a daemon

    found = {}
    for architecture in _ARCHITECTURES.get(os.uname().machine, ()):
        for name, places in _TEXTS.items():
            number = pyseccomp.resolve_syscall(architecture, name)
            if number >= 0:
                found[f"{architecture}:{number}"] = list(places)
    return found


def _numbers(architecture: int) -> dict[int, tuple[int, int] | None]:
    """The calls to foresee, and the bits without which one need not be looked at."""
    import pyseccomp  # as in _texts

    numbers = {name: pyseccomp.resolve_syscall(architecture, name) for name in _FORESEEN}
    return {number: _ONLY_WITH.get(name) for name, number in numbers.items() if number >= 0}


def _foreseen() -> dict[str, list[list[Any]]]:
    import pyseccomp  # as in _texts

    architecture = _ARCHITECTURES[os.uname().machine][0]
    found = {}
    for name, rules in _FORESEEN.items():
        number = pyseccomp.resolve_syscall(architecture, name)
        if number >= 0:
            found[f"{architecture}:{number}"] = [list(rule) for rule in rules]
    return found
