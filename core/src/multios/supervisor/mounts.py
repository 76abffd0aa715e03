"""Mount records made real as *detached* mounts: descriptors that appear in no mount table.

Closing the descriptor undoes the mount; move_mount(2) by whoever holds it attaches it. With a user
namespace every layer is idmapped (mount_setattr(2)), so that ids on disk are the ids inside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from multios.errors import MultiosError, StepFailed, Unsupported
from multios.filesystems import project_quota, sized
from multios.model.mount import Mount
from multios.supervisor import flags
from multios.supervisor.remounting import add_attributes
from multios.supervisor.syscalls import kernel

_REMEDY = "use a kernel from 5.19 on and ext4, xfs, btrfs or tmpfs below, or --userns host (administrators)"
_LAYER_OPTIONS = ("lowerdir", "upperdir", "workdir")
_WORDS = {"ro": flags.MOUNT_ATTR_RDONLY, "nosuid": flags.MOUNT_ATTR_NOSUID, "nodev": flags.MOUNT_ATTR_NODEV}
_WORDS |= {
    "noexec": flags.MOUNT_ATTR_NOEXEC,
    "noatime": flags.MOUNT_ATTR_NOATIME,
    "rw": 0,
    "rbind": 0,
    "bind": 0,
}
Result = TypeVar("Result")
_PRIVATE_PLACE = "/sys"
"""A directory that every host has; a mount namespace of our own puts a tmpfs there for an instant."""


class _Roads:
    """Which way to make an overlay works on this kernel, once known."""

    detached_layers: bool | None = None


def make_rootfs(mounts: Sequence[Mount], user_namespace: int | None = None) -> int:
    """One detached mount of a snapshot; the descriptor is the caller's.

    Raises ``Unsupported`` where the kernel or the filesystem below cannot idmap, ``StepFailed`` otherwise.
    """
    if len(mounts) != 1:
        raise Unsupported(
            f"the snapshot consists of {len(mounts)} mounts", "use a storage driver that gives one"
        )
    mount = mounts[0]
    with _told(f"mount {mount.type}"):
        if mount.type == "overlay":
            return _overlay(mount, user_namespace)
        if mount.type == "bind":
            with backed(mount) as place, _opened(mount.source, place) as source:
                recursive = "rbind" in mount.options
                attributes = sum(_WORDS.get(word, 0) for word in set(mount.options))
                if place >= 0:
                    return _bind_inside(place, source, attributes, user_namespace)
                return make_bind(source, attributes, recursive, user_namespace)
        return _filesystem(mount, user_namespace)


def make_bind(
    source: int, attributes: int = 0, recursive: bool = False, user_namespace: int | None = None
) -> int:
    """A detached bind mount of what the O_PATH descriptor ``source`` names; the descriptor is the caller's.

    It is private: what is mounted below it on one side is not seen on the other. ``attributes`` are MOUNT_ATTR_*. ``user_namespace`` maps the ids on disk: inside a namespace with the map
    ``0 → 100000`` a file of uid 0 on disk is root's. Raises ``Unsupported`` where the filesystem cannot idmap.
    """
    recursion = flags.AT_RECURSIVE if recursive else 0
    options = flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC | flags.AT_EMPTY_PATH | recursion
    with _told("bind mount"):
        clone = kernel.open_tree(source, "", options)
    with _kept(clone):
        with _told("bind mount"):
            clone = _made_private(clone, attributes, recursion)
        if user_namespace is not None:
            _idmap(clone, user_namespace, recursion)
    return clone


def _made_private(clone: int, attributes: int, recursion: int) -> int:
    """The detached mount, out of the peer group of what it is a copy of, with ``attributes`` set; mount_namespaces(7).

    Under the same descriptor, whether or not it is the same mount.
    """
    try:
        kernel.mount_setattr(
            clone,
            "",
            flags.AT_EMPTY_PATH | recursion,
            set_attributes=attributes,
            propagation=flags.MS_PRIVATE,
        )
        return clone
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    changed = in_private_namespace(lambda: _remounted(clone, attributes, recursion))
    os.dup2(changed, clone, inheritable=False)
    os.close(changed)
    return clone


def _remounted(clone: int, attributes: int, recursion: int) -> int:
    """Before Linux 5.12: the mount attached for an instant, in a namespace of this thread's own, and remounted."""
    place = f"{_PRIVATE_PLACE}/bind"
    kernel.mount("tmpfs", _PRIVATE_PLACE, "tmpfs")
    if stat.S_ISDIR(os.fstat(clone).st_mode):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC))
    kernel.move_mount(clone, "", flags.AT_FDCWD, place, flags.MOVE_MOUNT_F_EMPTY_PATH)
    kernel.mount("", place, "", flags.MS_PRIVATE | (flags.MS_REC if recursion else 0))
    if attributes:
        add_attributes(place, attributes, bool(recursion))
    return kernel.open_tree(
        flags.AT_FDCWD, place, flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC | recursion
    )


@contextlib.contextmanager
def backed(mount: Mount) -> Iterator[int]:
    """The root of the filesystem that holds the mount's writable directories, a descriptor; -1 without one.

    While the block runs that filesystem stays mounted: mounting it once more then costs nothing.
    """
    if mount.backing is None:
        yield -1
        return
    with _told("mount sized filesystem"):
        root = sized.mount(mount.backing.file, mount.backing.limit)
    try:
        yield root
    finally:
        os.close(root)


def _bind_inside(place: int, source: int, attributes: int, user_namespace: int | None) -> int:
    """:func:`make_bind` of what lies in the detached mount ``place``, which before Linux 6.15 must be attached for it."""
    try:
        return make_bind(source, attributes, user_namespace=user_namespace)
    except StepFailed as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EINVAL:
            raise

    def attached() -> int:
        kernel.mount("tmpfs", _PRIVATE_PLACE, "tmpfs")
        kernel.move_mount(place, "", flags.AT_FDCWD, _PRIVATE_PLACE, flags.MOVE_MOUNT_F_EMPTY_PATH)
        return make_bind(source, attributes, user_namespace=user_namespace)

    return in_private_namespace(attached)


def make_device(mode: int, number: int, uid: int, gid: int) -> int:
    """A detached mount of a new device node alone, on a filesystem of the host's that lets it be used; mknod(2).

    ``PermissionError`` where we may make none: in a user namespace.
    """

    def make() -> int:
        kernel.mount("tmpfs", _PRIVATE_PLACE, "tmpfs", 0, "size=4k,mode=755")
        path = f"{_PRIVATE_PLACE}/node"
        os.mknod(path, mode, number)
        os.chmod(path, mode & 0o777)  # whatever the umask
        os.chown(path, uid, gid)
        return kernel.open_tree(flags.AT_FDCWD, path, flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC)

    return in_private_namespace(make)


@contextlib.contextmanager
def mounted(mounts: Sequence[Mount], user_namespace: int | None = None) -> Iterator[int]:
    """The snapshot's root as an O_PATH descriptor, for as long as the block runs.

    Nobody else sees the mount: work in it with ``dir_fd`` or let a child fchdir(2) and chroot(2) there.
    """
    root = make_rootfs(mounts, user_namespace)
    try:
        yield root
    finally:
        os.close(root)


def _idmap(clone: int, user_namespace: int, recursion: int = 0) -> None:
    try:
        kernel.mount_setattr(
            clone,
            "",
            flags.AT_EMPTY_PATH | recursion,
            set_attributes=flags.MOUNT_ATTR_IDMAP,
            user_namespace=user_namespace,
        )
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP):
            raise
        path = os.readlink(f"/proc/self/fd/{clone}")
        cause = f"the filesystem of {path} cannot be mounted with a user namespace's ids ({error.strerror})"
        raise Unsupported(cause, _REMEDY) from None


def _overlay(mount: Mount, user_namespace: int | None) -> int:
    layers = [_unescape(path) for path in _split(mount.option("lowerdir") or "")]
    upper, work = mount.option("upperdir") or "", mount.option("workdir") or ""
    if bool(upper) != bool(work) or (upper and os.path.dirname(upper) != os.path.dirname(work)):
        raise StepFailed("mount overlay", "upperdir and workdir must stand side by side")
    places = [*layers, *([os.path.dirname(upper)] if upper and not mount.backing else [])]
    names = [os.path.basename(upper), os.path.basename(work)] if upper else []
    words = [word for word in mount.options if word.partition("=")[0] not in _LAYER_OPTIONS]
    with contextlib.ExitStack() as stack:
        clones: list[int] = []
        for path in places:
            clones.append(_layer(path, user_namespace))
            stack.callback(os.close, clones[-1])
        if mount.backing:
            clones.append(stack.enter_context(backed(mount)))
            if user_namespace is not None:
                _idmap(clones[-1], user_namespace)
            stack.enter_context(sized.room(mount.backing.file, clones[-1], mount.backing.limit))
        elif upper:
            stack.enter_context(project_quota.room(os.path.dirname(upper)))
        return _joined(clones, names, words)


def _layer(path: str, user_namespace: int | None) -> int:
    """A detached copy of the mount at ``path``, idmapped where there is a namespace."""
    options = flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC
    clone = kernel.open_tree(flags.AT_FDCWD, path, options)
    if user_namespace is not None:
        with _kept(clone):
            _idmap(clone, user_namespace)
    return clone


def _joined(clones: list[int], names: list[str], words: list[str]) -> int:
    """The overlay of detached layers; before Linux 6.15 they must be attached somewhere for its making."""
    if _Roads.detached_layers is not False:
        try:
            root = _overlay_of_descriptors(clones, names, words)
        except OSError as error:
            if _Roads.detached_layers or error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        else:
            _Roads.detached_layers = True
            return root
    root = in_private_namespace(lambda: _overlay_of_paths(clones, names, words))
    _Roads.detached_layers = False
    return root


def _overlay_of_descriptors(clones: list[int], names: list[str], words: list[str]) -> int:
    lower = clones[:-1] if names else clones
    with contextlib.ExitStack() as stack:
        context = kernel.fsopen("overlay")
        stack.callback(os.close, context)
        for layer in lower:
            kernel.fsconfig(context, flags.FSCONFIG_SET_FD, "lowerdir+", auxiliary=layer)
        for key, name in zip(("upperdir", "workdir"), names, strict=False):
            place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=clones[-1])
            stack.callback(os.close, place)
            kernel.fsconfig(context, flags.FSCONFIG_SET_FD, key, auxiliary=place)
        attributes = _configure(context, words)
        with _as_owner_of(clones[-1], names):
            kernel.fsconfig(context, flags.FSCONFIG_CMD_CREATE)
        root = kernel.fsmount(context, attributes=attributes)
    return _writable(root) if names else root


def _overlay_of_paths(clones: list[int], names: list[str], words: list[str]) -> int:
    """The same with mount(2), in a mount namespace of this thread's own, where the layers are attached."""
    kernel.mount("tmpfs", _PRIVATE_PLACE, "tmpfs")
    os.chdir(_PRIVATE_PLACE)
    os.mkdir("root")
    for number, clone in enumerate(clones):
        os.mkdir(str(number))
        kernel.move_mount(clone, "", flags.AT_FDCWD, str(number), flags.MOVE_MOUNT_F_EMPTY_PATH)
    lower = range(len(clones) - 1 if names else len(clones))
    data = ["lowerdir=" + ":".join(str(number) for number in lower)]
    if names:
        data += [
            f"{key}={len(lower)}/{name}" for key, name in zip(("upperdir", "workdir"), names, strict=True)
        ]
    data += [word for word in words if word not in _WORDS]
    read_only = flags.MS_RDONLY if "ro" in words else 0
    with _as_owner_of(clones[-1], names):
        kernel.mount("overlay", "root", "overlay", read_only, ",".join(data))
    root = kernel.open_tree(flags.AT_FDCWD, "root", flags.OPEN_TREE_CLONE | flags.OPEN_TREE_CLOEXEC)
    return _writable(root) if names else root


def _filesystem(mount: Mount, user_namespace: int | None) -> int:
    """Any other filesystem: a block device, a tmpfs."""
    context = kernel.fsopen(mount.type)
    try:
        if mount.source:
            kernel.fsconfig(context, flags.FSCONFIG_SET_STRING, "source", mount.source)
        attributes = _configure(context, list(mount.options))
        kernel.fsconfig(context, flags.FSCONFIG_CMD_CREATE)
        root = kernel.fsmount(context, attributes=attributes)
    finally:
        os.close(context)
    if user_namespace is not None:
        with _kept(root):
            _idmap(root, user_namespace)
    return root


def _configure(context: int, words: list[str]) -> int:
    """Give the filesystem its own options; the mount's attributes among them are returned."""
    attributes = 0
    for word in words:
        key, equals, value = word.partition("=")
        if word in _WORDS:
            attributes |= _WORDS[word]
        elif equals:
            kernel.fsconfig(context, flags.FSCONFIG_SET_STRING, key, value)
        else:
            kernel.fsconfig(context, flags.FSCONFIG_SET_FLAG, word)
    return attributes


@contextlib.contextmanager
def _as_owner_of(layer: int, names: list[str]) -> Iterator[None]:
    """Act, in this thread, as the one who owns the work directory as its idmapped mount shows it.

    The overlay keeps the credentials of its maker and makes work files and whiteouts with them; an id that the
    layer's map does not have could create nothing (EOVERFLOW), and the kernel would mount read-only.
    """
    owner = os.stat(names[1], dir_fd=layer) if names else None
    user, group = os.geteuid(), os.getegid()
    if owner is None or (owner.st_uid, owner.st_gid) == (user, group):
        yield
        return
    effective, permitted, inheritable = kernel.capget()
    kernel.setresgid(-1, owner.st_gid, -1)
    try:
        kernel.setresuid(-1, owner.st_uid, -1)
        try:
            kernel.capset(effective, permitted, inheritable)
            yield
        finally:
            kernel.setresuid(-1, user, -1)
            kernel.capset(effective, permitted, inheritable)
    finally:
        kernel.setresgid(-1, group, -1)


def _writable(root: int) -> int:
    """``root``, unless the kernel made it read-only because it could not use the work directory."""
    if os.fstatvfs(root).f_flag & os.ST_RDONLY:
        os.close(root)
        raise StepFailed(
            "mount overlay", "the kernel cannot write to the snapshot's work directory", "see dmesg"
        )
    return root


def in_private_namespace(action: Callable[[], Result]) -> Result:
    """Run ``action`` in a thread with a mount namespace of its own, which ends with the thread."""
    answers: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            kernel.unshare(flags.CLONE_NEWNS | flags.CLONE_FS)
            kernel.mount("", "/", "", flags.MS_REC | flags.MS_PRIVATE)
            answers.append(action())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="private-mounts")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


@contextlib.contextmanager
def _told(step: str) -> Iterator[None]:
    """Turn the kernel's refusal into a :class:`StepFailed` that says on what."""
    try:
        yield
    except MultiosError:
        raise
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        if error.errno == errno.ENOSYS:
            raise Unsupported(f"{step}: this kernel lacks the new mount API", _REMEDY) from error
        raise StepFailed(step, f"{error.strerror}{about}") from error


@contextlib.contextmanager
def _kept(descriptor: int) -> Iterator[None]:
    """Close ``descriptor`` if the block fails."""
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


@contextlib.contextmanager
def _opened(path: str, directory: int = -1) -> Iterator[int]:
    """``path``, relative to ``directory`` where there is one."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=directory if directory >= 0 else None)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _split(text: str) -> list[str]:
    """The colon-separated paths of ``lowerdir``; a colon in a path is written ``\\:``."""
    paths, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == ":":
            paths.append(text[start:position])
            start = position + 1
        position += 1
    return [path for path in (*paths, text[start:]) if path]


def _unescape(path: str) -> str:
    return path.replace("\\:", ":").replace("\\\\", "\\")
