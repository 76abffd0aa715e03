"""The child's file system work, between clone and exec: the order of the kernel's steps, told straight.

The new root is entered *first*, with the old one kept as working directory. From then on every absolute path is
resolved inside the container, so no symlink of an image can lead a mount out of it; sources on the host are named
relative to the old root. procfs comes last, because its magic links could lead out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from multios.supervisor import flags
from multios.supervisor.remounting import add_attributes, kept_flags
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIOCSWINSZ = 0x5414
_EMPTY_DIRECTORY = flags.MS_RDONLY | flags.MS_NOSUID | flags.MS_NODEV | flags.MS_NOEXEC
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)


class Workplace:
    """What the steps share: the plan, the descriptors that came with it, and the host's root while it is there."""

    __slots__ = ("descriptors", "old_root", "plan")

    def __init__(self, plan: dict[str, Any], descriptors: list[int]) -> None:
        self.plan = plan
        self.descriptors = descriptors
        self.old_root = -1


def make_private(work: Workplace) -> None:
    """Nothing that we mount reaches the host, nothing that the host mounts reaches us."""
    kernel.mount("", "/", "", flags.MS_REC | flags.MS_PRIVATE)


def enter_root(work: Workplace) -> None:
    """Put the root file system over ``/`` and go there; from now on no path leads out of it.

    Not yet by pivot_root(2): it would leave the old root on top of the new one, and ``/..`` leads to what is on top.
    """
    work.old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    root = work.descriptors[work.plan["root"]]
    kernel.move_mount(root, "", flags.AT_FDCWD, "/", flags.MOVE_MOUNT_F_EMPTY_PATH)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(work.old_root)


def mount_all(work: Workplace) -> None:
    """The spec's mounts, in order; ``cwd`` is the old root."""
    for mount in work.plan["mounts"]:
        _MAKERS.get(mount["kind"], _plain)(work, mount)


def mount_proc(work: Workplace) -> None:
    """A procfs of the new PID namespace."""
    mount = work.plan["proc"]
    if mount is not None:
        _plain(work, mount)


def make_devices(work: Workplace) -> None:
    """Device nodes: made where the kernel lets us, else those made for us, or the host's own, are bind-mounted.

    None in the host's /dev.
    """
    if not work.plan["devices"]:
        return
    for device in work.plan["devices"]:
        path = device["path"]
        if "descriptor" in device:
            _bind(work, {"descriptor": device["descriptor"], "target": path})
            continue
        if not device["bind"]:
            _make_directory(os.path.dirname(path))
            try:
                os.mknod(path, device["mode"], os.makedev(device["major"], device["minor"]))
            except FileExistsError:
                os.unlink(path)
                os.mknod(path, device["mode"], os.makedev(device["major"], device["minor"]))
            os.chmod(path, stat.S_IMODE(device["mode"]))
            os.chown(path, device["uid"], device["gid"])
            continue
        _make_file(path)
        kernel.mount(path.lstrip("/"), path, "", flags.MS_BIND)
    for source, link in _LINKS:
        try:
            os.symlink(source, link)
        except FileExistsError:
            continue


def make_console_place(work: Workplace) -> None:
    """Where the terminal is mounted once there is one."""
    if work.plan["terminal"]:
        _make_file("/dev/console")


def take_console(plan: dict[str, Any]) -> None:
    """The terminal (standard input) belongs to the user; the first process's one is /dev/console too."""
    user = plan["process"]["user"]
    os.fchown(0, user["uid"], -1)
    size = plan["console_size"]
    if size:
        fcntl.ioctl(0, _TIOCSWINSZ, struct.pack("HHHH", size["height"], size["width"], 0, 0))
    if "root" in plan:
        kernel.mount(os.ttyname(0), "/dev/console", "", flags.MS_BIND)


def set_sysctls(work: Workplace) -> None:
    """Kernel parameters of the container's own namespaces."""
    for name, value in work.plan["sysctl"].items():
        _write("/proc/sys/" + name.replace(".", "/"), value)


def make_read_only(work: Workplace) -> None:
    """Paths that may be read but not written: each a bind mount of itself, remounted."""
    for path in work.plan["read_only_paths"]:
        try:
            kernel.mount(path, path, "", flags.MS_BIND | flags.MS_REC)
        except FileNotFoundError:
            continue
        options = flags.MS_BIND | flags.MS_REMOUNT | flags.MS_RDONLY | kept_flags(path)
        kernel.mount("", path, "", options)


def mask(work: Workplace) -> None:
    """Paths that show nothing: an empty read-only directory, or /dev/null over a file."""
    for path in work.plan["masked_paths"]:
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                kernel.mount("tmpfs", path, "tmpfs", _EMPTY_DIRECTORY, "size=0,nr_inodes=1,mode=555")
            else:
                kernel.mount("dev/null", path, "", flags.MS_BIND)
        except FileNotFoundError:
            continue


def make_working_directory(work: Workplace) -> None:
    """Make the working directory where the image has none."""
    _make_directory(work.plan["process"]["cwd"])


def leave_old_root(work: Workplace) -> None:
    """Change places with the host's file system and let go of it; pivot_root(2) tells why ``(".", ".")`` works."""
    os.chroot(".")  # back in the old root, where we have been standing all the time
    os.fchdir(work.descriptors[work.plan["root"]])
    kernel.pivot_root(".", ".")
    kernel.umount2(".", flags.MNT_DETACH)
    os.chdir("/")
    os.close(work.old_root)
    work.old_root = -1


def close_root(work: Workplace) -> None:
    """A read-only root, last, because mount points had to be made in it."""
    if work.plan["root_read_only"]:
        kernel.mount("", "/", "", flags.MS_BIND | flags.MS_REMOUNT | flags.MS_RDONLY | kept_flags("/"))


# --- how each kind of mount is made ---


def _plain(work: Workplace, mount: dict[str, Any]) -> None:
    """A filesystem of the kernel's: proc, sysfs, tmpfs, devpts, mqueue."""
    if mount["kind"] in ("proc", "sysfs"):
        _refuse_link(mount["target"])
    _make_directory(mount["target"])
    if not mount.get("copy_up"):
        kernel.mount(mount["source"], mount["target"], mount["kind"], mount["flags"], mount["data"])
        return
    former = os.open(mount["target"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    writable = mount["flags"] & ~flags.MS_RDONLY
    kernel.mount(mount["source"], mount["target"], mount["kind"], writable, mount["data"])
    copy_tree(former, mount["target"])
    os.close(former)
    if writable != mount["flags"]:
        kernel.mount("", mount["target"], "", flags.MS_BIND | flags.MS_REMOUNT | mount["flags"])


def _bind(work: Workplace, mount: dict[str, Any]) -> None:
    """A detached bind mount that came as a descriptor; its attributes are set already."""
    source = work.descriptors[mount["descriptor"]]
    if stat.S_ISDIR(os.fstat(source).st_mode):
        _make_directory(mount["target"])
    else:
        _make_file(mount["target"])
    options = flags.MOVE_MOUNT_F_EMPTY_PATH | flags.MOVE_MOUNT_T_SYMLINKS
    kernel.move_mount(source, "", flags.AT_FDCWD, mount["target"], options)


def _host_sysfs(work: Workplace, mount: dict[str, Any]) -> None:
    """The host's /sys, read-only with all below it: without a network namespace we may not mount a new one."""
    _refuse_link(mount["target"])
    _make_directory(mount["target"])
    kernel.mount("sys", mount["target"], "", flags.MS_BIND | flags.MS_REC)
    try:
        kernel.mount_setattr(
            flags.AT_FDCWD, mount["target"], flags.AT_RECURSIVE, set_attributes=flags.MOUNT_ATTR_RDONLY
        )
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        add_attributes(mount["target"], flags.MOUNT_ATTR_RDONLY, recursive=True, proc="proc")


def _cgroup_v1(work: Workplace, mount: dict[str, Any]) -> None:
    """A directory a hierarchy, as programs that look up their limits expect it; cgroups(7)."""
    target = mount["target"]
    _make_directory(target)
    kernel.mount("tmpfs", target, "tmpfs", mount["flags"] & ~flags.MS_RDONLY, "mode=755,size=64k")
    for controllers in mount["hierarchies"]:
        place = f"{target}/{controllers}"
        os.mkdir(place)
        kernel.mount("cgroup", place, "cgroup", mount["flags"], controllers)
        for name in controllers.split(",") if "," in controllers else ():
            os.symlink(controllers, f"{target}/{name}")
    if mount["flags"] & flags.MS_RDONLY:
        kernel.mount("", target, "", flags.MS_BIND | flags.MS_REMOUNT | mount["flags"])


def _cgroup_v2(work: Workplace, mount: dict[str, Any]) -> None:
    """The hierarchy from the container's group on; in the host's /sys, where it is mounted already, over a mount of another kind.

    The kernel does not mount one file system twice at one place (EBUSY, mount(2)).
    """
    try:
        _plain(work, mount)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        kernel.mount("tmpfs", mount["target"], "tmpfs", flags.MS_RDONLY, "size=4k")
        _plain(work, mount)


def _cgroup_binds(work: Workplace, mount: dict[str, Any]) -> None:
    """The container's own group in every hierarchy, by descriptor: without a cgroup namespace a mount shows the host's."""
    target = mount["target"]
    _make_directory(target)
    move = flags.MOVE_MOUNT_F_EMPTY_PATH
    if list(mount["groups"]) == [""]:
        kernel.move_mount(work.descriptors[mount["groups"][""]], "", flags.AT_FDCWD, target, move)
        return
    kernel.mount("tmpfs", target, "tmpfs", mount["flags"] & ~flags.MS_RDONLY, "mode=755,size=64k")
    for controllers, descriptor in mount["groups"].items():
        place = f"{target}/{controllers}"
        os.mkdir(place)
        kernel.move_mount(work.descriptors[descriptor], "", flags.AT_FDCWD, place, move)
        for name in controllers.split(",") if "," in controllers else ():
            os.symlink(controllers, f"{target}/{name}")
    if mount["flags"] & flags.MS_RDONLY:
        kernel.mount("", target, "", flags.MS_BIND | flags.MS_REMOUNT | mount["flags"])


_MAKERS = {
    "bind": _bind,
    "host-sysfs": _host_sysfs,
    "cgroup": _cgroup_v1,
    "cgroup2": _cgroup_v2,
    "cgroup-binds": _cgroup_binds,
}


def copy_tree(source: int, target: str) -> None:
    """Copy what the directory behind ``source`` holds into ``target``: files, directories and symlinks as they are."""
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(directory):
            place = f"{target}/{name}"
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(name, dir_fd=directory), place)
            elif stat.S_ISDIR(found.st_mode):
                os.mkdir(place, 0o700)
                below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                copy_tree(below, place)
                os.close(below)
            elif stat.S_ISREG(found.st_mode):
                _copy_file(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory), place)
            else:
                continue  # sockets, pipes and devices are of no use in a copy
            os.chown(place, found.st_uid, found.st_gid, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                os.chmod(place, stat.S_IMODE(found.st_mode))
    finally:
        os.close(directory)


def _copy_file(source: int, target: str) -> None:
    written = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while os.sendfile(written, source, None, 1 << 20):
            pass
    finally:
        os.close(written)
        os.close(source)


# --- mount points ---


def _refuse_link(path: str) -> None:
    """Whoever else can write where a link leads could move it between this mount and its masks (CVE-2019-19921)."""
    if os.path.islink(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make_directory(path: str) -> None:
    """Like mkdir -p; where a dangling symlink stands, its target is made (inside the root)."""
    if not os.path.isdir(path):
        os.makedirs(os.path.realpath(path), exist_ok=True)


def _make_file(path: str) -> None:
    """An empty file to mount on, unless something is there; a dangling symlink's target is made."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return
    except FileNotFoundError:
        pass
    except FileExistsError:
        if os.path.exists(path):
            return
    place = os.path.realpath(path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    finally:
        os.close(descriptor)
