"""Which call, though the filter allows it, the kernel is about to refuse: guessed before the kernel decides.

The guess only explains. The call goes on whatever is guessed here, and the kernel alone decides; so it does no harm
that a program may change what its arguments point to meanwhile (seccomp_unotify(2)). Nothing here may wait for
anyone: a path is looked up among the names that the kernel has at hand (RESOLVE_CACHED, openat2(2)).
"""

from __future__ import annotations

import os
import stat
import struct

from multios.supervisor import flags, refusals
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Guess = tuple[int, str] | None

_EPERM, _EACCES, _EINVAL, _EROFS = 1, 13, 22, 30
_CHOWN, _SETGID, _SETUID, _NET_BIND_SERVICE, _NET_RAW, _MKNOD = 0, 6, 7, 10, 13, 27
_AF_PACKET, _SOCK_RAW, _SOCK_KIND = 17, 3, 0xF
_INET = (2, 10)
_FIRST_FREE_PORT = 1024
_UNCHANGED = 0xFFFFFFFF
_HERE = 0xFFFFFF9C  # AT_FDCWD as an unsigned int
_REMOTE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph")


class Thread:
    """What /proc tells of a thread that waits for its answer: capabilities, ids, and its id map."""

    def __init__(self, thread: int) -> None:
        self.id = thread
        self.capabilities, self.user = 0, -1
        with open(f"/proc/{thread}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("Uid:"):
                    self.user = int(line.split()[2])
                elif line.startswith("CapEff:"):
                    self.capabilities = int(line.split()[1], 16)
        with open(f"/proc/{thread}/uid_map", encoding="ascii") as file:
            rows = [tuple(map(int, line.split())) for line in file]
        self.ids = sum(row[2] for row in rows)
        self.root = next((row[1] for row in rows if row[0] == 0), 0)

    def lacks(self, capability: int) -> bool:
        """Whether it has no such capability in effect."""
        return not self.capabilities >> capability & 1

    @property
    def is_mapped(self) -> bool:
        """Whether it is in a user namespace of its own."""
        return self.ids < _UNCHANGED


def guess(rule: Sequence[object], thread: int, arguments: Sequence[int]) -> Guess:
    """The errno to be expected and what will refuse (``read-only:/``, ``capability:CAP_NET_RAW`` …), or ``None``.

    ``rule`` is the name of a guess and the places of the arguments that it looks at.
    """
    name, *places = rule
    return _GUESSES[str(name)](thread, arguments, [int(str(place)) for place in places])


def _socket(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    raw = arguments[0] == _AF_PACKET or arguments[1] & _SOCK_KIND == _SOCK_RAW and arguments[0] in _INET
    return (_EPERM, "capability:CAP_NET_RAW") if raw and Thread(thread).lacks(_NET_RAW) else None


def _bind(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    data = _bytes(thread, arguments[1], 4)
    if len(data) == 4:
        family, port = struct.unpack("=H", data[:2])[0], struct.unpack(">H", data[2:])[0]
        if family in _INET and 0 < port < _FIRST_FREE_PORT and Thread(thread).lacks(_NET_BIND_SERVICE):
            return _EACCES, f"port:{port}"
    return None


def _node(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    if stat.S_IFMT(arguments[places[0]]) not in (stat.S_IFCHR, stat.S_IFBLK):
        return None
    who = Thread(thread)
    if who.is_mapped:
        return _EPERM, "user-namespace:devices"
    return (_EPERM, "capability:CAP_MKNOD") if who.lacks(_MKNOD) else None


def _owner(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    return _identity(thread, [arguments[place] for place in places], _CHOWN, "CAP_CHOWN")


def _users(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    return _identity(thread, [arguments[place] for place in places], _SETUID, "CAP_SETUID")


def _groups(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    return _identity(thread, [arguments[place] for place in places], _SETGID, "CAP_SETGID")


def _identity(thread: int, wanted: list[int], capability: int, name: str) -> Guess:
    who = Thread(thread)
    ids = [one & _UNCHANGED for one in wanted if one & _UNCHANGED != _UNCHANGED]
    if any(one >= who.ids for one in ids):
        return _EINVAL, f"user-namespace:{who.ids} ids"
    # Of an ordinary user inside this is Unix's own rule, and no confinement.
    if any(ids) and who.user == who.root and who.lacks(capability):
        return _EPERM, f"capability:{name}"
    return None


def _limit(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    resource, address = arguments[places[0]], arguments[places[1]]
    data = _bytes(thread, address, 16) if address else b""
    if len(data) == 16:
        hard = struct.unpack("=2q", data)[1]
        now = kernel.prlimit(thread, resource)[1]
        if now >= 0 and (hard < 0 or hard > now):
            return _EPERM, f"rlimit:{resource}"
    return None


def _writing(thread: int, arguments: Sequence[int], places: list[int]) -> Guess:
    """A change of a file or directory at a path: place of the directory's descriptor (-1: none), of the path."""
    directory, path = places
    text = (
        _bytes(thread, arguments[path], refusals.MOST_TEXT)
        .partition(b"\0")[0]
        .decode("utf-8", "surrogateescape")
    )
    if not text:
        return None
    if not text.startswith("/"):
        base = arguments[directory] & _UNCHANGED if directory >= 0 else _HERE
        link = "cwd" if base == _HERE else f"fd/{base}"
        text = f"{os.readlink(f'/proc/{thread}/{link}')}/{text}"
    where = _read_only_mount(thread, text)
    return (_EROFS, f"read-only:{where}") if where else None


_GUESSES: dict[str, Callable[[int, Sequence[int], list[int]], Guess]] = {
    "socket": _socket,
    "bind": _bind,
    "node": _node,
    "owner": _owner,
    "users": _users,
    "groups": _groups,
    "limit": _limit,
    "writing": _writing,
}


def _bytes(thread: int, address: int, length: int) -> bytes:
    if not address or not refusals.holds_still(thread, [address]):
        return b""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, length, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(memory)


def _read_only_mount(thread: int, path: str) -> str:
    """The mount point, if the path lies on a read-only mount; empty otherwise."""
    mounts = _mounts(thread)
    root = os.open(f"/proc/{thread}/root", os.O_PATH | os.O_CLOEXEC)
    how = flags.RESOLVE_IN_ROOT | flags.RESOLVE_CACHED | flags.RESOLVE_NO_MAGICLINKS
    try:
        for candidate in (
            path,
            os.path.dirname(path.rstrip("/")) or "/",
        ):  # what is yet to be made is not there
            try:
                found = kernel.openat2(root, candidate, os.O_PATH | os.O_CLOEXEC, how)
            except OSError:
                continue
            try:
                return _if_read_only(found, mounts)
            finally:
                os.close(found)
    finally:
        os.close(root)
    # Nothing at hand: as the path reads, links left out of account.
    whole = os.path.normpath(path) + "/"
    lying = [mount for mount in mounts if whole.startswith(mount.place.rstrip("/") + "/")]
    nearest = max(
        lying, key=lambda mount: len(mount.place), default=None
    )  # of two at one place, max() takes the first
    return nearest.place if nearest and nearest.read_only else ""


class _Mount:
    """A line of proc_pid_mountinfo(5)."""

    __slots__ = ("id", "kind", "place", "read_only")

    def __init__(self, line: str) -> None:
        words = line.split()
        self.id, self.place = words[0], words[4]
        self.kind, _, superblock = words[words.index("-") + 1 :][:3]
        self.read_only = "ro" in words[5].split(",") or "ro" in superblock.split(",")


def _mounts(thread: int) -> list[_Mount]:
    """Its mounts, the latest first."""
    with open(f"/proc/{thread}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [_Mount(line) for line in file][::-1]


def _if_read_only(found: int, mounts: list[_Mount]) -> str:
    with open(f"/proc/self/fdinfo/{found}", encoding="ascii") as file:
        identity = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    mount = next((mount for mount in mounts if mount.id == identity), None)
    if mount is None or not mount.read_only or mount.kind.startswith(_REMOTE):
        return ""
    # A device is written to through its driver, not to the file system that it lies on.
    ordinary = stat.S_IFMT(os.fstat(found).st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return mount.place if ordinary else ""
