"""The user namespace that a user's own daemon, supervisor and containers live in (user_namespaces(7)).

The daemon makes it, or joins the one that its predecessor has left with containers in it. It lives as long as one
process in it does; nothing else holds it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import struct
from pathlib import Path

from multios.cgroups import hierarchy
from multios.errors import Unavailable, Unsupported
from multios.rootless import subordinate_ids
from multios.rootless.subordinate_ids import GID_FILE, UID_FILE
from multios.supervisor import flags, id_map
from multios.supervisor.syscalls import kernel

log = logging.getLogger(__name__)
_NS_GET_PARENT = 0xB702
"""ioctl_ns(2): the namespace above a user namespace."""
_RECORD, _IDS = "namespace", "ids"
_MAPPERS = (("newuidmap", UID_FILE), ("newgidmap", GID_FILE))


def enter(exec_root: Path, uid: int) -> None:
    """Become root of the user's namespace, in a mount namespace of it; the process must have one thread.

    Raises ``Unsupported`` where the kernel gives users no namespaces.
    """
    found = _living(exec_root)
    if found >= 0:
        try:
            kernel.setns(found, flags.CLONE_NEWUSER)
        except OSError as error:
            raise Unavailable(
                f"the namespace of the running containers cannot be entered: {error.strerror}",
                "end what runs in it, or log in as you were when it was started",
            ) from error
        finally:
            os.close(found)
        kernel.unshare(flags.CLONE_NEWNS)
    else:
        _make(uid)
    (exec_root / _RECORD).write_text(f"{_identity('/proc/self/ns/user')}\n")


def check_ids(data_root: Path) -> None:
    """Raise ``Unavailable`` where the files below belong to more ids than there are now: they could not be read."""
    file, count = data_root / _IDS, id_map.size()
    former = int(file.read_text()) if file.exists() else 0
    if former > count:
        raise Unavailable(
            f"{data_root} was made with {former} ids, and now there are {count}",
            "have your lines in /etc/subuid and /etc/subgid, and uidmap, as they were; or choose another data root",
        )
    file.write_text(f"{count}\n")


def mappers_missing() -> list[str]:
    """Which of newuidmap(1) and newgidmap(1) are not installed."""
    return [name for name, _ in _MAPPERS if not _program(name)]


# --- a new one ---


def _make(uid: int) -> None:
    ranges = [subordinate_ids.of_user(uid, file) for _, file in _MAPPERS]
    words = [
        [_program(name), str(os.getpid()), *subordinate_ids.map_words(own, given)]
        for (name, _), own, given in zip(_MAPPERS, (uid, os.getegid()), ranges, strict=True)
    ]
    mapped = all(ranges) and not mappers_missing()
    mapper = _Mapper(words) if mapped else None
    own = (uid, os.getegid())  # once inside, they are nobody's until there is a map
    try:
        kernel.unshare(flags.CLONE_NEWUSER | flags.CLONE_NEWNS)
    except OSError as error:
        if mapper:
            mapper.give_up()
        raise Unsupported(
            f"this host gives ordinary users no user namespace ({error.strerror})",
            "ask the administrator: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, "
            "kernel.apparmor_restrict_unprivileged_userns; or to be in the group multios",
        ) from error
    if mapper and (said := mapper.map()):
        log.warning("subordinate ids cannot be used, so there is a single id: %s", said)
        mapper = None
    if not mapper:
        _map_single(*own)


def _map_single(uid: int, gid: int) -> None:
    """Without subordinate ids a user may map himself, and nobody else; groups cannot be set then."""
    for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
        try:
            Path(f"/proc/self/{name}").write_text(text)
        except OSError as error:
            raise Unsupported(
                f"the user namespace cannot be given your own id ({name}: {error.strerror})",
                "ask the administrator whether user namespaces are restricted on this host",
            ) from error


class _Mapper:
    """A child that stays outside, for only from there the set-user-id programs may write our maps."""

    def __init__(self, words: list[list[str]]) -> None:
        theirs, self._go = os.pipe()
        answer, self_answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._go)
            os.close(answer)
            self._wait_and_map(theirs, self_answer, words)
        os.close(theirs)
        os.close(self_answer)
        self._answer = answer

    def map(self) -> str:
        """Have the maps written; what was wrong, or nothing."""
        os.write(self._go, b"x")
        said = b""
        while part := os.read(self._answer, 4096):
            said += part
        self.give_up()
        return said.decode("utf-8", "replace").strip()

    def give_up(self) -> None:
        """End the child."""
        os.close(self._go)
        os.close(self._answer)
        os.waitpid(self._pid, 0)

    @staticmethod
    def _wait_and_map(go: int, answer: int, words: list[list[str]]) -> None:
        try:
            if os.read(go, 1):
                for command in words:
                    actions = [(os.POSIX_SPAWN_DUP2, answer, 1), (os.POSIX_SPAWN_DUP2, answer, 2)]
                    pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
                    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
                        os.write(answer, f" ({command[0]} failed)".encode())
                        break
        except OSError as error:
            os.write(answer, str(error).encode())
        finally:
            os._exit(0)


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin") or ""


# --- one that lives ---


def _living(exec_root: Path) -> int:
    """A descriptor of the user namespace that our supervisor or containers are in; −1 if there is none."""
    pid = _supervisor(exec_root / "supervisor.sock")
    if pid:
        try:
            opened = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # it has just ended
        else:
            _join_cgroup(pid)
            return opened
    try:
        wanted = (exec_root / _RECORD).read_text().strip()
    except OSError:
        return -1
    return _search(wanted) if wanted and wanted != _identity("/proc/self/ns/user") else -1


def _supervisor(path: Path) -> int:
    """The process that listens at the supervisor's socket, 0 if none does; unix(7), SO_PEERCRED."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return 0
        packed = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", packed)
    return pid if uid == os.geteuid() else 0


def _search(wanted: str) -> int:
    """Supervisor and daemon died at once: a container's process is in the namespace, or in one below it."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or _has_ended(name):
            continue
        try:
            opened = os.open(f"/proc/{name}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        if _identity(opened) == wanted:
            _join_cgroup(int(name))
            return opened
        try:
            above = fcntl.ioctl(opened, _NS_GET_PARENT)
        except OSError:
            above = -1
        os.close(opened)
        if above >= 0:
            if _identity(above) == wanted:
                return above
            os.close(above)
    return -1


def _has_ended(pid: str) -> bool:
    """Whether the process is gone, or waits to be reaped: such a one still has its user namespace."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _identity(place: str | int) -> str:
    """What tells a namespace from every other, until the next boot."""
    status = os.stat(place)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {status.st_dev} {status.st_ino}"


def _join_cgroup(pid: int) -> None:
    """Go where the supervisor is: limits are written below the group that was delegated to it (cgroup v2)."""
    try:
        hierarchy.follow(pid)
    except OSError as error:
        log.warning("the supervisor's cgroup cannot be joined, so limits may fail: %s", error)
