"""The child's work, between clone and exec: the launcher of ``multios_isolation_ns.launch``, and what a one-shot runtime adds.

Nobody stays behind to say *start* over the child's own socket, so it waits on a listening one, ``ROOT/ID/start``.
"""

from __future__ import annotations

import os
import socket
import stat

from multios.errors import StepFailed
from multios.supervisor import flags, wire
from multios.supervisor.launcher import LaunchError
from multios.supervisor.syscalls import kernel
from multios_isolation_ns import filesystem
from multios_isolation_ns import launch as ordinary
from multios_isolation_ns.oci_runtime import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class _Waiting:
    """What ``create`` leaves for ``execute``."""

    listener: socket.socket | None = None


def create(plan: dict[str, Any], descriptors: list[int]) -> None:
    """Everything short of exec; the command must be there already, or callers would hear of it too late."""
    work = filesystem.Workplace(plan, descriptors)
    ordinary.furnish(work)
    if plan["hooks"].get("createContainer"):
        _run_inside_but_with_the_hosts_root(work)
    ordinary.leave(work)
    if plan["propagation"]:
        kernel.mount("", "/", "", plan["propagation"])
    _look_for_command(plan["process"])
    _Waiting.listener = socket.socket(fileno=descriptors[plan["listener"]])


def enter(plan: dict[str, Any], descriptors: list[int]) -> None:
    """A process of exec."""
    ordinary.enter(plan, descriptors)


def execute(plan: dict[str, Any]) -> NoReturn:
    """Wait for *start* (a process of exec does not), then become the command."""
    if _Waiting.listener is None:
        _prepare(plan)
        ordinary.execute(plan)
    connection, _ = _Waiting.listener.accept()
    _Waiting.listener.close()
    wire.send(connection, {"accepted": True})
    try:
        _prepare(plan)
        hooks.run(
            "startContainer", plan["hooks"].get("startContainer", ()), plan["state"] | {"pid": os.getpid()}
        )
        ordinary.execute(plan)
    except LaunchError as error:
        told = {"step": error.step, "errno": error.errno, "detail": error.detail, "status": error.status}
    except StepFailed as error:
        told = {"step": "start", "errno": 0, "detail": error.cause, "status": 125}
    except OSError as error:
        about = str(error.filename or error.strerror or "")
        told = {"step": "start", "errno": error.errno or 0, "detail": about, "status": 125}
    wire.send(connection, {"error": told})
    os._exit(int(str(told["status"])))


def _look_for_command(process: dict[str, Any]) -> None:
    try:
        os.chdir(process["cwd"])
    except PermissionError:
        return  # only the user may look there: then it is found, or not, at the start
    ordinary.found(process)
    os.chdir("/")


def _prepare(plan: dict[str, Any]) -> None:
    """Streams that the user may open by name, and HOME, which callers leave to the runtime."""
    user = plan["process"]["user"]["uid"]
    for descriptor in range(3):
        found = os.fstat(descriptor)
        if found.st_uid != user and not stat.S_ISCHR(found.st_mode):
            try:
                os.fchown(descriptor, user, -1)
            except OSError:
                pass  # not ours to give, or an id that the user namespace does not have
    environment = plan["process"]["env"]
    if not any(word.startswith("HOME=") for word in environment):
        environment.append(f"HOME={_home(user)}")


def _home(user: int) -> str:
    """passwd(5)."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.rstrip("\n").split(":")
                if len(fields) > 5 and fields[2] == str(user):
                    return fields[5] or "/"
    except OSError:
        pass  # no such file in this image
    return "/"


def _run_inside_but_with_the_hosts_root(work: filesystem.Workplace) -> None:
    """createContainer hooks: in the container's namespaces, before pivot_root; their paths are the host's.

    What they mount below the bundle's root filesystem must be there afterwards: the root is shared for so long
    with its copy at the path by which the hooks know it.
    """
    plan = work.plan
    kernel.mount("", "/", "", flags.MS_SHARED)
    copy = kernel.open_tree(
        flags.AT_FDCWD, "/", flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC | flags.AT_RECURSIVE
    )
    pid = os.fork()
    if pid == 0:
        status = 1
        reply = work.descriptors[plan["complaints"]]
        try:
            os.fchdir(work.old_root)
            os.chroot(".")
            kernel.move_mount(copy, "", flags.AT_FDCWD, plan["rootfs"], flags.MOVE_MOUNT_F_EMPTY_PATH)
            hooks.run(
                "createContainer", plan["hooks"]["createContainer"], plan["state"] | {"status": "creating"}
            )
            status = 0
        except StepFailed as error:
            os.write(reply, error.cause.encode())
        except OSError as error:
            os.write(reply, f"createContainer hooks: {error.strerror} ({error.filename})".encode())
        finally:
            os._exit(status)
    failed = os.waitpid(pid, 0)[1]
    os.close(copy)
    kernel.mount("", "/", "", flags.MS_PRIVATE)
    if failed:
        told = os.pread(work.descriptors[plan["complaints"]], 1000, 0).decode(errors="replace")
        raise LaunchError("createContainer", 0, told)
