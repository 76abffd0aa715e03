"""How a container comes to be; what has been done is undone in reverse when a later step fails."""

from __future__ import annotations

import os
import socket

from multios.errors import InvalidInput, StepFailed
from multios.supervisor import flags, wire
from multios.supervisor.syscalls import kernel
from multios_isolation_ns.oci_runtime import birth, bundle, console, hooks, resources, store
from multios_isolation_ns.oci_runtime.control_group import ControlGroup, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from multios_isolation_ns.oci_runtime.bundle import Bundle

OPTIONS = {
    "--bundle": "value",
    "-b": "--bundle",
    "--console-socket": "value",
    "--pid-file": "value",
    "--no-pivot": "flag",
    "--no-new-keyring": "flag",
    "--preserve-fds": "value",
}
_JOIN_LAST = "user"  # root of the host may join all others; once in a user namespace it is root no more
_ADVISED = ("--no-pivot", "--no-new-keyring")


def make(kept: store.Store, container_id: str, options: dict[str, Any], systemd: bool) -> birth.Newborn:
    """Create a container: its process waits for *start* when this returns."""
    for name in _ADVISED:
        if options.get(name):
            raise InvalidInput(f"{name}: this runtime always does", "leave the option out")
    asked = bundle.read(options.get("--bundle", "."))
    terminal = bool(asked.spec["process"].get("terminal"))
    channel = options.get("--console-socket", "")
    console.check(terminal, channel)
    group_path = path_of(str(asked.linux.get("cgroupsPath") or ""), container_id, systemd)
    resources.check(asked.linux.get("resources") or {})
    record = {
        "id": container_id,
        "bundle": asked.directory,
        "annotations": asked.spec.get("annotations") or {},
        "pid": 0,
        "born": 0,
        "cgroup": group_path,
        "rootfs": asked.rootfs,
        "user_namespace": asked.own_user_namespace,
        "hooks": {kind: asked.hooks[kind] for kind in ("poststart", "poststop") if kind in asked.hooks},
        "made": False,
    }
    undo: list[Callable[[], object]] = []
    kept.claim(container_id)
    undo.append(lambda: kept.remove(container_id))
    try:
        made = _make(kept, record, asked, channel if terminal else "", undo)
        write_pid(options.get("--pid-file", ""), made.pid)
        made.let_go()
    except BaseException:
        for action in reversed(undo):
            action()
        raise
    return made


def _make(
    kept: store.Store, record: dict[str, Any], asked: Bundle, channel: str, undo: list[Callable[[], object]]
) -> birth.Newborn:
    container_id = record["id"]
    caller = console.connect(channel) if channel else None
    kept.write(container_id, record)
    kept.keep_config(container_id, asked.spec)
    group = ControlGroup.at(record["cgroup"])
    group.make()
    undo.append(group.end)
    joining = _joining(asked)
    newborn = birth.begin(group.paths(group.name), joining, frozenset(asked.new))
    undo.append(newborn.end)
    wire.close_all(descriptor for descriptor, _ in joining)
    limits = asked.linux.get("resources") or {}
    resources.apply(group, limits)
    if group.mode != "none":
        resources.allow_devices(group, limits)
    plan, descriptors = asked.made(group, f"{kept.root}/.seccomp")
    plan["listener"] = len(descriptors)
    descriptors.append(_listener(kept.directory(container_id)))
    plan["complaints"] = len(descriptors)
    descriptors.append(kernel.memfd_create("complaints"))
    newborn.wait()
    record |= {"pid": newborn.pid, "born": store.birth_of(newborn.pid)}
    kept.write(container_id, record)
    _write_id_maps(newborn.pid, asked)
    held = plan["process"]
    held["rlimits"] = rlimits(held["rlimits"], newborn.pid)
    held["capabilities"] = capabilities(held["capabilities"], asked.own_user_namespace)
    plan |= {"hooks": asked.hooks, "rootfs": asked.rootfs, "state": store.state(record, "creating")}
    for kind in ("prestart", "createRuntime"):
        hooks.run(kind, asked.hooks.get(kind, ()), plan["state"])
    plan["state"] = store.state(record, "created")
    master = newborn.order("create", plan, descriptors, caller is not None)
    wire.close_all(descriptors)
    if caller is not None:
        console.send(caller, master)
        caller.close()
        os.close(master)
    record["made"] = True
    kept.write(container_id, record)
    return newborn


def rlimits(asked: list[list[int]], pid: int) -> list[list[int]]:
    """Set them on process ``pid`` from here, because inside a user namespace it could not raise any."""
    for number, soft, hard in asked:
        try:
            kernel.prlimit(pid, number, (soft, hard))
        except OSError as error:
            raise StepFailed(
                f"set limit {number} to {hard}",
                os.strerror(error.errno or 0).lower(),
                "this host does not permit it: ask for less (podman and docker: --ulimit)",
            ) from None
    return asked


def capabilities(sets: dict[str, int], user_namespace: bool) -> dict[str, int]:
    """Without those that the host lacks itself; a user namespace has all of its own."""
    # The kernel holds in the ambient set only what is permitted and inheritable; specs often name more.
    held = sets | {"ambient": sets["ambient"] & sets["permitted"] & sets["inheritable"]}
    if user_namespace:
        return held
    with open("/proc/self/status", encoding="ascii") as file:
        host = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd:"))
    return {name: bits & host for name, bits in held.items()}


def _joining(asked: Bundle) -> list[tuple[int, int]]:
    """Descriptors of the namespaces to join, in the order that works."""
    found: list[tuple[int, int]] = []
    for kind in sorted(asked.joined, key=lambda name: name == _JOIN_LAST):
        path = asked.joined[kind]
        try:
            found.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), flags.NAMESPACES[kind]))
        except OSError as error:
            wire.close_all(descriptor for descriptor, _ in found)
            raise InvalidInput(f"the {kind} namespace {path}: {(error.strerror or '').lower()}") from None
    return found


def _write_id_maps(pid: int, asked: Bundle) -> None:
    for name, text in asked.id_maps().items():
        try:
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise StepFailed("id map", f"{name}: {(error.strerror or '').lower()}") from None


def _listener(directory: str) -> int:
    """The socket on which the first process waits for *start*."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # through the directory's descriptor, because a socket's path holds 107 bytes (unix(7))
        listener.bind(f"/proc/self/fd/{place}/{store.START_SOCKET}")
        listener.listen(1)
    finally:
        os.close(place)
    return listener.detach()


def write_pid(path: str, pid: int) -> None:
    """Whole or not at all: callers watch for it."""
    if path:
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.replace(temporary, path)
