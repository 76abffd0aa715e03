"""The one seam to the kernel: each call that Python 3.11 lacks, as a small typed method.

Every method raises :class:`OSError` whose text starts with the call's name and whose ``filename`` is the
argument that matters. ``kernel`` is the real thing; ``multios.testing.recording`` has a double that records.

Numbers are passed to syscall(2), because libc wraps few of these calls. ``CDLL`` lets other threads run
while a call blocks; clone3 must not, so it goes through ``PyDLL``, which keeps the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

from multios.supervisor import flags
from multios.supervisor.rooted_paths import open_rooted

TYPE_CHECKING = False  # typing itself is too heavy for the supervisor
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Calls from 424 on have one number on every architecture.
_NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
} | {
    "x86_64": {
        "clone": 56,
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "capget": 125,
        "capset": 126,
        "pivot_root": 155,
        "prctl": 157,
        "mount": 165,
        "umount2": 166,
        "sethostname": 170,
        "setdomainname": 171,
        "keyctl": 250,
        "unshare": 272,
        "prlimit64": 302,
        "setns": 308,
        "syncfs": 306,
        "renameat2": 316,
        "seccomp": 317,
        "memfd_create": 319,
        "statx": 332,
    },
    "aarch64": {
        "clone": 220,
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "capget": 90,
        "capset": 91,
        "unshare": 97,
        "setresuid": 147,
        "setresgid": 149,
        "setgroups": 159,
        "sethostname": 161,
        "setdomainname": 162,
        "prctl": 167,
        "keyctl": 219,
        "prlimit64": 261,
        "setns": 268,
        "syncfs": 267,
        "renameat2": 276,
        "seccomp": 277,
        "memfd_create": 279,
        "statx": 291,
    },
}.get(os.uname().machine, {})

_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH, _LANDLOCK_RULE_NET_PORT = 1, 2
_PIDFD_INFO = struct.Struct("=QQ11Ii")  # struct pidfd_info: mask, cgroup, ids, exit code
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(0xFF, 11, struct pidfd_info)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIGCHLD = 17
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_OPEN_TRIES = 100
_ENOSYS, _EBADF = 38, 9
_STATX_MNT_ID, _AT_SYMLINK_NOFOLLOW, _AT_NO_AUTOMOUNT = 0x1000, 0x100, 0x800


class Syscalls:
    """The real kernel. One instance serves all threads; calls act on the calling thread or process."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long
        self._locked = ctypes.PyDLL(None, use_errno=True)
        self._locked.syscall.restype = ctypes.c_long
        self._without_openat2 = False

    def _call(self, name: str, *arguments: Any, about: object = None) -> int:
        return self._through(self._libc, name, arguments, about)

    @staticmethod
    def _through(library: ctypes.CDLL, name: str, arguments: tuple[Any, ...], about: object) -> int:
        number = _NUMBERS.get(name)
        if not isinstance(number, int):
            raise OSError(38, f"{name}: no number known for this machine")  # ENOSYS
        wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result: int = library.syscall(ctypes.c_long(number), *wide)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{name}: {os.strerror(error)}", about)
        return result

    def has(self, name: str) -> bool:
        """Whether the kernel knows the system call: asked with arguments that it is bound to refuse."""
        try:
            self._call(name, -1, -1, -1, -1, -1)
        except OSError as error:
            return error.errno != 38  # ENOSYS
        return True

    # --- processes and namespaces ---

    def clone3(self, namespaces: Iterable[str] = (), extra: int = 0, cgroup: int = -1) -> tuple[int, int]:
        """Fork into new namespaces, named as in the OCI spec; clone(2).

        Returns (pid, pidfd) to the parent and (0, -1) to the child. ``extra`` are further flags
        (CLONE_PARENT); ``cgroup`` is a descriptor of a cgroup v2 directory for the child to start in. Where a
        sandbox of ours hides clone3, clone(2) does all but a time namespace and the cgroup.
        """
        wanted = extra | flags.CLONE_PIDFD
        for name in namespaces:
            wanted |= flags.NAMESPACES[name]
        if cgroup >= 0:
            wanted |= flags.CLONE_INTO_CGROUP
        pidfd = ctypes.c_int(-1)
        # With CLONE_PARENT the kernel takes over the caller's own exit signal and wants none here.
        exit_signal = 0 if wanted & flags.CLONE_PARENT else _SIGCHLD
        address = ctypes.addressof(pidfd)
        fields = (wanted, address, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0))
        arguments = struct.pack("=11Q", *fields)
        ctypes.pythonapi.PyOS_BeforeFork()
        try:
            try:
                pid = self._through(self._locked, "clone3", (arguments, len(arguments)), None)
            except OSError as error:
                if error.errno != _ENOSYS or wanted & (flags.CLONE_INTO_CGROUP | flags.CLONE_NEWTIME):
                    raise
                pid = self._through(self._locked, "clone", (wanted | exit_signal, 0, address, 0, 0), None)
        except BaseException:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
            raise
        if pid == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            return 0, -1
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        return pid, pidfd.value

    def clones_into_cgroups(self) -> bool:
        """Whether clone3 takes CLONE_INTO_CGROUP (Linux 5.7): asked with a descriptor that is not open."""
        arguments = struct.pack("=11Q", flags.CLONE_INTO_CGROUP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 30)
        try:
            self._call("clone3", arguments, len(arguments))
        except OSError as error:
            return error.errno == _EBADF
        raise AssertionError  # unreachable: the kernel cannot have found a cgroup there

    def setns(self, descriptor: int, kinds: int) -> None:
        """Join the namespaces ``kinds`` (CLONE_NEW* flags) of a namespace's or a process's descriptor; setns(2)."""
        self._call("setns", descriptor, kinds, about=f"0x{kinds:x}")

    def unshare(self, kinds: int) -> None:
        """Leave shared namespaces for new ones; unshare(2)."""
        self._call("unshare", kinds, about=f"0x{kinds:x}")

    def pidfd_open(self, pid: int) -> int:
        """A descriptor of a process; pidfd_open(2)."""
        return self._call("pidfd_open", pid, 0, about=pid)

    def pidfd_send_signal(self, pidfd: int, number: int) -> None:
        """Signal a process by descriptor; pidfd_send_signal(2)."""
        self._call("pidfd_send_signal", pidfd, number, None, 0, about=number)

    def pidfd_getfd(self, pidfd: int, descriptor: int) -> int:
        """A copy of another process's descriptor; pidfd_getfd(2)."""
        return self._call("pidfd_getfd", pidfd, descriptor, 0, about=descriptor)

    def pidfd_exit_status(self, pidfd: int) -> int | None:
        """The wait status of a process that somebody has reaped, or ``None`` while nobody has.

        PIDFD_GET_INFO with PIDFD_INFO_EXIT, since Linux 6.15 (linux/pidfd.h); ``OSError`` before.
        """
        asked = _PIDFD_INFO.pack(flags.PIDFD_INFO_EXIT, 0, *(0,) * 12)
        try:
            answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, asked)
        except OSError as error:
            raise OSError(error.errno, f"ioctl PIDFD_GET_INFO: {error.strerror}") from None
        fields = _PIDFD_INFO.unpack(answer)
        return fields[-1] if fields[0] & flags.PIDFD_INFO_EXIT else None

    # --- mounts ---

    def mount(self, source: str, target: str, kind: str = "", options: int = 0, data: str = "") -> None:
        """mount(2): ``kind`` is the filesystem type, ``options`` MS_* flags; empty text is passed as NULL."""
        self._call(
            "mount",
            os.fsencode(source) or None,
            os.fsencode(target),
            os.fsencode(kind) or None,
            options,
            os.fsencode(data) or None,
            about=target,
        )

    def umount2(self, target: str, options: int = 0) -> None:
        """Unmount; umount2(2)."""
        self._call("umount2", os.fsencode(target), options, about=target)

    def pivot_root(self, new_root: str, put_old: str) -> None:
        """Change the root mount; pivot_root(2), which also tells why ``(".", ".")`` works."""
        self._call("pivot_root", os.fsencode(new_root), os.fsencode(put_old), about=new_root)

    def openat2(self, directory: int, path: str, options: int, resolve: int, mode: int = 0) -> int:
        """Open ``path`` as ``resolve`` (RESOLVE_*) lets names be looked up; ``options`` are O_*; openat2(2)."""
        if self._without_openat2:
            return open_rooted(directory, path, options, resolve, mode)
        how = struct.pack("=3Q", options, mode, resolve)
        for _ in range(0 if resolve & flags.RESOLVE_CACHED else _OPEN_TRIES - 1):
            try:
                return self._call("openat2", directory, os.fsencode(path), how, len(how), about=path)
            except BlockingIOError:
                continue  # something on this host was renamed or mounted meanwhile: ``..`` could not be trusted
            except OSError as error:
                if error.errno != _ENOSYS:
                    raise
                self._without_openat2 = True
                return open_rooted(directory, path, options, resolve, mode)
        return self._call("openat2", directory, os.fsencode(path), how, len(how), about=path)

    def mount_id(self, path: str, follow: bool = False) -> int:
        """What mount ``path`` is of, links followed if told; statx(2), STATX_MNT_ID, since Linux 5.8, the device before.

        A device alone does not tell: on an overlay files may have their layer's.
        """
        record = ctypes.create_string_buffer(256)
        options = _AT_NO_AUTOMOUNT | (0 if follow else _AT_SYMLINK_NOFOLLOW)
        try:
            self._call("statx", flags.AT_FDCWD, os.fsencode(path), options, _STATX_MNT_ID, record, about=path)
        except OSError as error:
            if error.errno != _ENOSYS:
                raise
            return os.stat(path, follow_symlinks=follow).st_dev
        (mask,) = struct.unpack_from("=I", record.raw, 0)
        if not mask & _STATX_MNT_ID:
            return os.stat(path, follow_symlinks=follow).st_dev
        (identity,) = struct.unpack_from("=Q", record.raw, 144)
        return int(identity)

    def open_tree(self, directory: int, path: str, options: int) -> int:
        """A descriptor of a mount, or of a detached copy of it; open_tree(2)."""
        return self._call("open_tree", directory, os.fsencode(path), options, about=path)

    def move_mount(self, source: int, path: str, directory: int, target: str, options: int) -> None:
        """Attach a mount; move_mount(2)."""
        encoded = os.fsencode(path), os.fsencode(target)
        self._call(
            "move_mount",
            source,
            encoded[0],
            directory,
            encoded[1],
            options,
            about=target or path,
        )

    def fsopen(self, kind: str, options: int = flags.FSOPEN_CLOEXEC) -> int:
        """A context in which to set up a filesystem; fsopen(2)."""
        return self._call("fsopen", os.fsencode(kind), options, about=kind)

    def fsconfig(
        self,
        context: int,
        command: int,
        key: str = "",
        value: str | bytes = "",
        auxiliary: int = 0,
    ) -> None:
        """Set an option or create the filesystem; fsconfig(2). The error carries the kernel's own message.

        Empty ``key`` and ``value`` are passed as NULL where the command takes none.
        """
        takes_value = command in (
            flags.FSCONFIG_SET_STRING,
            flags.FSCONFIG_SET_BINARY,
            flags.FSCONFIG_SET_PATH,
            flags.FSCONFIG_SET_PATH_EMPTY,
        )
        encoded = os.fsencode(value) if takes_value else None
        try:
            self._call(
                "fsconfig",
                context,
                command,
                os.fsencode(key) or None,
                encoded,
                auxiliary,
                about=key or None,
            )
        except OSError as error:
            said = _filesystem_message(context)
            if said:
                text = f"{error.strerror} ({said})"
                raise OSError(error.errno, text, key or None) from None
            raise

    def fsmount(self, context: int, options: int = flags.FSMOUNT_CLOEXEC, attributes: int = 0) -> int:
        """A detached mount of the filesystem of ``context``; fsmount(2)."""
        return self._call("fsmount", context, options, attributes)

    def mount_setattr(
        self,
        directory: int,
        path: str,
        options: int,
        set_attributes: int = 0,
        clear_attributes: int = 0,
        propagation: int = 0,
        user_namespace: int = 0,
    ) -> None:
        """Change a mount's attributes (MOUNT_ATTR_*), propagation (MS_*) or id map; mount_setattr(2)."""
        record = struct.pack("=4Q", set_attributes, clear_attributes, propagation, max(user_namespace, 0))
        self._call(
            "mount_setattr",
            directory,
            os.fsencode(path),
            options,
            record,
            len(record),
            about=path,
        )

    def exchange_names(self, first: str, second: str) -> None:
        """Let two files of one filesystem change their names, both or neither; renameat2(2), RENAME_EXCHANGE."""
        here, places = flags.AT_FDCWD, (os.fsencode(first), os.fsencode(second))
        self._call("renameat2", here, places[0], here, places[1], _RENAME_EXCHANGE, about=first)

    def rename_to_free(self, path: str, place: str) -> None:
        """Rename, but replace nothing: ``FileExistsError``; renameat2(2), RENAME_NOREPLACE."""
        here, places = flags.AT_FDCWD, (os.fsencode(path), os.fsencode(place))
        self._call("renameat2", here, places[0], here, places[1], _RENAME_NOREPLACE, about=place)

    def sync_filesystem(self, descriptor: int) -> None:
        """Wait until all that was written to the filesystem of a descriptor is on its disk; syncfs(2)."""
        self._call("syncfs", descriptor)

    def quotactl_fd(self, directory: int, command: int, identity: int, record: bytearray) -> None:
        """Read into ``record``, or set from it, a quota of the filesystem of a descriptor; quotactl(2).

        ``command`` is QCMD's number: the sub-command and the kind of quota.
        """
        buffer = (ctypes.c_char * len(record)).from_buffer(record)
        self._call("quotactl_fd", directory, command, identity, buffer, about=identity)

    # --- privileges ---

    def prctl(
        self,
        option: int,
        second: int = 0,
        third: int = 0,
        fourth: int = 0,
        fifth: int = 0,
    ) -> int:
        """prctl(2)."""
        return self._call("prctl", option, second, third, fourth, fifth, about=option)

    def capget(self) -> tuple[int, int, int]:
        """The calling thread's (effective, permitted, inheritable) capabilities as bit sets; capget(2)."""
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        data = ctypes.create_string_buffer(24)
        self._call("capget", header, data)
        low = struct.unpack("=6I", data.raw)
        return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        """Set the calling thread's capabilities, as bit sets; capset(2), capabilities(7)."""
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        sets = effective, permitted, inheritable
        data = struct.pack("=6I", *(one & 0xFFFFFFFF for one in sets), *(one >> 32 for one in sets))
        self._call("capset", header, data)

    def seccomp_filter(self, program: bytes, options: int = 0) -> int:
        """Install a BPF filter, given as the bytes of its instructions; seccomp(2), SECCOMP_SET_MODE_FILTER."""
        code = ctypes.create_string_buffer(program, len(program))
        record = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
        return self._call("seccomp", _SECCOMP_SET_MODE_FILTER, options, record)

    def landlock_version(self) -> int:
        """The kernel's Landlock ABI, 0 where it has none; landlock_create_ruleset(2)."""
        try:
            return self._call("landlock_create_ruleset", None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
        except OSError:
            return 0

    def landlock_create_ruleset(self, files: int, network: int = 0, scope: int = 0) -> int:
        """A close-on-exec descriptor of a ruleset that handles these rights (LANDLOCK_ACCESS_*, LANDLOCK_SCOPE_*).

        The record is as long as what is asked: older kernels know only its beginning.
        """
        fields = (files, network, scope) if scope else (files, network) if network else (files,)
        record = struct.pack(f"={len(fields)}Q", *fields)
        return self._call("landlock_create_ruleset", record, len(record), 0, about=f"0x{files:x}")

    def landlock_allow_beneath(self, ruleset: int, directory: int, rights: int) -> None:
        """Allow ``rights`` on a file or all below a directory; landlock_add_rule(2), LANDLOCK_RULE_PATH_BENEATH."""
        record = struct.pack("=Qi", rights, directory)
        self._call("landlock_add_rule", ruleset, _LANDLOCK_RULE_PATH_BENEATH, record, 0, about=directory)

    def landlock_allow_port(self, ruleset: int, port: int, rights: int) -> None:
        """Allow ``rights`` on a TCP port; landlock_add_rule(2), LANDLOCK_RULE_NET_PORT."""
        record = struct.pack("=QQ", rights, port)
        self._call("landlock_add_rule", ruleset, _LANDLOCK_RULE_NET_PORT, record, 0, about=port)

    def landlock_restrict_self(self, ruleset: int) -> None:
        """Enforce a ruleset on the calling thread and its children, for good; landlock_restrict_self(2)."""
        self._call("landlock_restrict_self", ruleset, 0)

    def filesystem_type(self, descriptor: int) -> int:
        """The magic number of the file system that a descriptor is on; fstatfs(2)."""
        record = ctypes.create_string_buffer(256)
        if self._libc.fstatfs(ctypes.c_int(descriptor), record) < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"fstatfs: {os.strerror(error)}", descriptor)
        return int(struct.unpack_from("@l", record.raw)[0])

    def prlimit(self, pid: int, resource: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        """Set, where given, and return the former (soft, hard) limit of a process (0: the caller); prlimit(2).

        -1 is "no limit", both ways.
        """
        new = None if limits is None else struct.pack("=2q", *limits)
        old = ctypes.create_string_buffer(16)
        self._call("prlimit64", pid, resource, new, old, about=resource)
        soft, hard = struct.unpack("=2q", old.raw)
        return soft, hard

    def setgroups(self, groups: Iterable[int]) -> None:
        """Set the calling thread's supplementary groups; setgroups(2)."""
        members = list(groups)
        self._call("setgroups", len(members), struct.pack(f"={len(members)}I", *members))

    def setresuid(self, real: int, effective: int, saved: int) -> None:
        """Set the calling thread's (not: process's) user ids, -1 keeps one; setresuid(2)."""
        self._call("setresuid", real, effective, saved, about=effective)

    def setresgid(self, real: int, effective: int, saved: int) -> None:
        """Set the calling thread's (not: process's) group ids, -1 keeps one; setresgid(2)."""
        self._call("setresgid", real, effective, saved, about=effective)

    def keyctl_join_session(self) -> int:
        """Leave the inherited session keyring for a new, empty one; keyctl(2)."""
        return self._call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)

    # --- names, memory, network ---

    def sethostname(self, name: str) -> None:
        """sethostname(2)."""
        encoded = os.fsencode(name)
        self._call("sethostname", encoded, len(encoded), about=name)

    def setdomainname(self, name: str) -> None:
        """setdomainname(2)."""
        encoded = os.fsencode(name)
        self._call("setdomainname", encoded, len(encoded), about=name)

    def memfd_create(self, name: str) -> int:
        """An anonymous, close-on-exec file in memory; memfd_create(2)."""
        return self._call("memfd_create", os.fsencode(name), 1, about=name)

    def interface_up(self, name: str = "lo") -> None:
        """Bring up a network interface of the caller's network namespace; netdevice(7), SIOCSIFFLAGS."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            record = struct.pack("16sH22x", os.fsencode(name), 0)
            try:
                now = struct.unpack("16sH22x", fcntl.ioctl(probe, _SIOCGIFFLAGS, record))[1]
                fcntl.ioctl(
                    probe,
                    _SIOCSIFFLAGS,
                    struct.pack("16sH22x", os.fsencode(name), now | _IFF_UP),
                )
            except OSError as error:
                raise OSError(error.errno, f"ioctl SIOCSIFFLAGS: {error.strerror}", name) from None


def _filesystem_message(context: int) -> str:
    """What the kernel logged in a filesystem context, newest last, else empty text; fsopen(2)."""
    said: list[str] = []
    try:
        while len(said) < 16:
            said.append(os.read(context, 1024).decode(errors="replace")[2:].strip())
    except OSError:
        pass  # ENODATA: no more messages
    return "; ".join(said)


kernel = Syscalls()
