"""What each step of a create or start has done, in words, with the place where one can see it.

A step without words here is told by its name alone: a driver or a later release may have further ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multios.drivers.isolation import Launched
from multios.model.mount import IdMap, Mount

Told = tuple[str, list[str]]
"""One or two sentences, and where to look."""


def told(step: str, result: object, pid: int) -> Told:
    """What ``step`` has done; ``pid`` is the new process's, 0 before there is one."""
    words = _WORDS.get(step)
    return words(result, pid or "PID") if words else ("", [])


def _id_range(result: Any, pid: Any) -> Told:
    ids: IdMap = result
    last = ids.start + ids.size - 1
    return (
        f"The container's users 0 to {ids.size - 1} will be the host's {ids.start} to {last}, which nobody else has. "
        "So its root is nobody on the host.",
        [],
    )


def _rootfs(result: Any, pid: Any) -> Told:
    mounts: tuple[Mount, ...] = result
    upper = mounts[-1].option("upperdir") or mounts[-1].source
    lower = (mounts[-1].option("lowerdir") or "").split(":")
    layers = f"lie the {len(lower)} layers" if len(lower) > 1 else "lies the one layer"
    return (
        f"An empty directory was made for what the container will change; below it {layers} of the image. "
        "Nothing was copied, and nothing is mounted yet.",
        [f"ls {upper}", f"ls {lower[0]}"],
    )


def _spec(result: Any, pid: Any) -> Told:
    spec: dict[str, Any] = result
    kept = len((spec["process"].get("capabilities") or {}).get("bounding") or ())
    rules = (spec["linux"].get("seccomp") or {}).get("syscalls") or ()
    calls = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    return (
        f"The security drivers have said what it may do: {kept} capabilities are left to its root, and {len(calls)} "
        "system calls are on the list. It is only written down so far.",
        [],
    )


def _created(result: Any, pid: Any) -> Told:
    launched: Launched = result
    return (
        f"There is a process now, number {launched.pid} on the host, in the container's namespaces and control groups, with "
        "its root directory mounted. It stands still just before it becomes the program.",
        [
            f"ls -l /proc/{launched.pid}/ns",
            f"cat /proc/{launched.pid}/mountinfo",
            f"cat /proc/{launched.pid}/cgroup",
        ],
    )


def _said(text: str, *see: str) -> Callable[[Any, Any], Told]:
    return lambda result, pid: (text, [line.format(pid=pid) for line in see])


_WORDS: dict[str, Callable[[Any, Any], Told]] = {
    "take id range": _id_range,
    "prepare rootfs": _rootfs,
    "make directory": _said(
        "A directory was made for what the engine itself keeps of it: its settings, its log, its hosts file."
    ),
    "write given files": _said(
        "The files that it is given were written, with the permissions and the owners that they have inside. They are "
        "mounted read-only at each start."
    ),
    "record": _said("It was written into the engine's database: from here on `ps` knows it so."),
    "make network": _said(
        "Its network's bridge is there, with the address that will be its gateway, and an address was chosen for it.",
        "ip address show type bridge",
    ),
    "write network files": _said(
        "Its hosts file and its resolv.conf were written. They will be mounted over those of the image."
    ),
    "write hostname file": _said(
        "The file of its name was written. Its hosts file and its resolv.conf are those of the container whose network it uses."
    ),
    "apply security": _spec,
    "fill volumes": _said(
        "Its volumes are new: each got the files that its image has in that place, if it has any. It is done once.",
        "multios-container volume inspect VOLUME",
    ),
    "create container": _created,
    "attach network": _said(
        "A virtual cable was laid: one end is eth0 in its network namespace, the other is plugged into the bridge.",
        "nsenter --target {pid} --net ip address",
        "bridge link",
    ),
    "tell its names": _said(
        "The name server of its network knows its name: its neighbours can find it by it."
    ),
    "serve names inside": _said(
        "A name server answers in its own namespace, because it does not reach the host."
    ),
    "publish ports": _said(
        "The host's packet filter leads the published ports to it: a rule that translates the address.",
        "nft list ruleset",
    ),
    "start": _said(
        "It was let go: it gave up its capabilities, took on the system call filter, and became the program.",
        "cat /proc/{pid}/status",
        "cat /proc/{pid}/cmdline",
    ),
}
