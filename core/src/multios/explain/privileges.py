"""What root inside may do: capabilities (capabilities(7)), the system call filter (seccomp(2)), Landlock and AppArmor."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multios.explain.live import LiveProcess
from multios.explain.part import part
from multios.model.container_document import CAPABILITIES

MEANINGS = {
    "CHOWN": "give files to other users",
    "DAC_OVERRIDE": "read and write files whatever their mode",
    "DAC_READ_SEARCH": "read files whatever their mode, and open them by handle",
    "FOWNER": "change mode and times of others' files",
    "FSETID": "keep set-user-ID bits when a file changes",
    "KILL": "send signals to others' processes",
    "SETGID": "take on other groups",
    "SETUID": "become another user",
    "SETPCAP": "give up capabilities for good",
    "LINUX_IMMUTABLE": "mark files as immutable",
    "NET_BIND_SERVICE": "listen on ports below 1024",
    "NET_BROADCAST": "nothing any more",
    "NET_ADMIN": "change interfaces, routes and packet filters",
    "NET_RAW": "send packets of any kind, as ping of old did",
    "IPC_LOCK": "lock memory so that it is never swapped",
    "IPC_OWNER": "use others' shared memory",
    "SYS_MODULE": "load kernel modules",
    "SYS_RAWIO": "reach the machine's memory and ports",
    "SYS_CHROOT": "change the root directory, enter mount namespaces",
    "SYS_PTRACE": "look into and steer other processes",
    "SYS_PACCT": "account for processes",
    "SYS_ADMIN": "mount file systems, and a great many other things",
    "SYS_BOOT": "reboot the machine",
    "SYS_NICE": "take more than its share of processor time",
    "SYS_RESOURCE": "exceed limits",
    "SYS_TIME": "set the clock",
    "SYS_TTY_CONFIG": "hang up terminals",
    "MKNOD": "make device files",
    "LEASE": "hold leases on files",
    "AUDIT_WRITE": "write to the kernel's audit log",
    "AUDIT_CONTROL": "switch auditing on and off",
    "SETFCAP": "give capabilities to program files",
    "MAC_OVERRIDE": "pass over mandatory access control",
    "MAC_ADMIN": "change mandatory access control",
    "SYSLOG": "read the kernel's log",
    "WAKE_ALARM": "wake the machine",
    "BLOCK_SUSPEND": "keep the machine awake",
    "AUDIT_READ": "read the kernel's audit log",
    "PERFMON": "measure the whole machine",
    "BPF": "load programs into the kernel",
    "CHECKPOINT_RESTORE": "freeze processes to disk and bring them back",
}
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_LAST = Path("/proc/sys/kernel/cap_last_cap")
_OPERATORS = {
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_GT": ">",
}
_MODES = {"0": "none", "1": "strict", "2": "filter"}


def capabilities(process: LiveProcess | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The bounding set's: nothing that runs inside ever has more. The kernel's own five sets beside them."""
    status = process.status() if process else {}
    if process:
        bounds = int(status["CapBnd"], 16)
        kept = [name for bit, name in enumerate(CAPABILITIES) if bounds >> bit & 1]
    else:
        bounding = spec["process"]["capabilities"].get("bounding") or ()
        kept = [name for name in CAPABILITIES if f"CAP_{name}" in bounding]
    known = CAPABILITIES[: int(_LAST.read_text()) + 1]
    pid = str(process.pid) if process else "PID"
    return part(
        "capabilities",
        "Capabilities",
        (
            "Root's power is cut into pieces that the kernel calls capabilities, and a container's root keeps only "
            "those that ordinary programs need.",
            "What is not in the bounding set cannot be had again, and `no_new_privs` keeps set-user-ID programs "
            "such as sudo from giving any.",
        ),
        (
            f"grep -E '^Cap|NoNewPrivs' /proc/{pid}/status",
            f"capsh --decode={status.get('CapBnd', '<CapBnd>')}",
        ),
        {
            "kept": [{"name": f"CAP_{name}", "means": MEANINGS.get(name, "")} for name in kept],
            "dropped": [
                {"name": f"CAP_{name}", "means": MEANINGS.get(name, "")} for name in known if name not in kept
            ],
            "sets": {name: status[name] for name in _SETS if name in status},
            "no_new_privileges": status.get("NoNewPrivs") == "1"
            if process
            else bool(spec["process"].get("noNewPrivileges")),
        },
    )


def seccomp(process: LiveProcess | None, spec: Mapping[str, Any], bundle: Path) -> dict[str, Any]:
    """The mode is the kernel's word; the list is the one that the filter was made of, for the kernel gives none back."""
    status = process.status() if process else {}
    section = spec["linux"].get("seccomp") or {}
    rules = section.get("syscalls") or ()
    actions: dict[str, list[str]] = {}
    for rule in rules:
        if not rule.get("args"):
            actions.setdefault(_action(rule["action"], rule.get("errnoRet")), []).extend(rule["names"])
    default = _action(section["defaultAction"], section.get("defaultErrnoRet")) if section else ""
    planned = "filter" if section else "none"
    pid = str(process.pid) if process else "PID"
    return part(
        "seccomp",
        "System calls: the seccomp list",
        (
            "Everything a program wants of the kernel is a system call, and a small program in the kernel looks at "
            "each call's number and arguments before it is done.",
            "What is not on the list is answered with an error, as if the kernel could not do it at all.",
        ),
        (
            f"grep Seccomp /proc/{pid}/status   (2: there is a filter)",
            f"jq .linux.seccomp {bundle}/config.json   (as root: the list that the filter was made of)",
            "unshare --mount true   (inside: a call that is refused)",
        ),
        {
            "mode": _MODES.get(status.get("Seccomp", ""), planned) if process else planned,
            "filters": int(status.get("Seccomp_filters", "0")) if process else int(bool(section)),
            "default": default,
            "calls": [
                {"action": action, "count": len(set(names)), "names": sorted(set(names))}
                for action, names in sorted(actions.items())
            ],
            "conditions": list(_conditions(rules)),
        },
    )


def _conditions(rules: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for rule in rules:
        for argument in rule.get("args") or ():
            value, index = argument["value"], argument["index"]
            if argument["op"] == "SCMP_CMP_MASKED_EQ":
                words = f"argument {index} & {value:#x} == {argument.get('valueTwo', 0):#x}"
            else:
                words = f"argument {index} {_OPERATORS.get(argument['op'], argument['op'])} {value:#x}"
            for name in rule["names"]:
                action = _action(rule["action"], rule.get("errnoRet"))
                yield {"call": name, "condition": words, "action": action}


def _action(action: str, number: int | None) -> str:
    """``allowed``, or ``refused with EPERM`` and the like."""
    if action == "SCMP_ACT_ALLOW":
        return "allowed"
    if action == "SCMP_ACT_ERRNO":
        number = errno.EPERM if number is None else number
        return f"refused with {errno.errorcode.get(number, str(number))}"
    return action.removeprefix("SCMP_ACT_").lower().replace("_", " ")


def confinement(
    process: LiveProcess | None, spec: Mapping[str, Any], drivers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Who confines it, as the engine recorded; of AppArmor what the kernel says of the process."""
    label = (
        process.text("attr/current").strip("\0\n ")
        if process and Path("/sys/kernel/security/apparmor").exists()
        else ""
    )
    landlock = (spec.get("annotations") or {}).get("org.multios.landlock", "")
    pid = str(process.pid) if process else "PID"
    rows = []
    for row in drivers:
        detail = row["Reason"]
        if row["Driver"] == "landlock" and not detail:
            detail = landlock or "no rules for this container"
        if row["Driver"] == "apparmor" and not detail:
            detail = f"the kernel says: {label}" if label else spec["process"].get("apparmorProfile") or ""
        rows.append(
            {
                "driver": row["Driver"],
                "profile": row["Profile"],
                "enforced": row["Enforced"],
                "detail": detail,
            }
        )
    return part(
        "confinement",
        "Who confines it",
        (
            "Several of the kernel's guards stand behind one another, so that a hole in one is not a way out.",
            "AppArmor and Landlock know files by name and path and refuse what the mode of a file would permit; "
            "not every kernel has them.",
        ),
        (f"cat /proc/{pid}/attr/current   (AppArmor's profile)", "cat /sys/kernel/security/lsm"),
        {"drivers": rows, "apparmor": label, "landlock": landlock},
    )
