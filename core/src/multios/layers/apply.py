"""Applying a layer's entries to the directory tree at ``/``: what runs in the chrooted child.

Inside the chroot neither ``..`` nor a symbolic link can lead out; names with ``..`` are refused all the
same, because no honest layer has them.
"""

from __future__ import annotations

import errno
import os
import stat

from multios.errors import InvalidInput, MultiosError, StepFailed
from multios.layers.archive import Entry, Source, entries
from multios.layers.pack import OPAQUE, WHITEOUT
from multios.layers.trees import remove_tree

_CHUNK = 1 << 20
_PATH_MOST = 4095
_ID_MOST = 2**32 - 2
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Applier:
    """Applies one layer onto what the layers below have made.

    Whiteouts hide what the layers below have, never what this layer brings (image-spec, layer.md), in
    whichever order they stand.
    """

    def __init__(
        self, most_entries: int, root: bytes = b"/", ids: int = _ID_MOST + 1, devices: bool = True
    ) -> None:
        """``ids`` is how many owners there are, from 0 on: with one everything is its, else a layer with others is
        refused. Without ``devices`` device nodes are left out: in a user namespace none can be made."""
        self.count = 0
        self._ids, self._devices = ids, devices
        self._most = most_entries
        self._root = root.rstrip(b"/") + b"/"
        self._brought: dict[bytes, set[bytes]] = {b"": set()}  # with what was brought directly below
        self._emptied: set[bytes] = set()
        self._directories: set[bytes] = {b""}
        self._times: dict[bytes, int] = {}

    def apply(self, source: Source) -> None:
        """All entries of ``source``, then the directories' times."""
        for entry in entries(source):
            self.count += 1
            if self.count > self._most:
                raise InvalidInput(f"the layer has more than {self._most} entries")
            name = _normal(entry.name)
            try:
                self._one(entry, name, source)
            except OSError as error:
                raise _explained(error, name) from error
            except OverflowError:
                raise InvalidInput(f"the layer's entry {_shown(name)} has a number out of range") from None
        for name, mtime in reversed(self._times.items()):
            self._set_time(name, mtime)

    def _one(self, entry: Entry, name: bytes, source: Source) -> None:
        directory, _, base = name.rpartition(b"/")
        if base.startswith(WHITEOUT):
            source.skip(entry.size)
            self._whiteout(directory, base)
            return
        if directory not in self._directories:
            self._make_parents(directory)
        if entry.type_flag == b"5":
            self._directory(entry, name)
        elif not name:
            raise InvalidInput("the layer's root is not a directory")
        else:
            self._times.pop(name, None)
            self._directories.discard(name)
            self._file(entry, name, source)
        self._bring(name)

    # --- kinds of entries ------------------------------------------------------------------------

    def _directory(self, entry: Entry, name: bytes) -> None:
        path = self._path(name)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                self._clear(name)
                os.mkdir(path, 0o700)
        self._directories.add(name)
        os.chown(path, *self._owner(entry), follow_symlinks=False)
        os.chmod(path, entry.mode)
        self._attributes(entry, path)
        self._times.pop(name, None)
        self._times[name] = entry.mtime

    def _file(self, entry: Entry, name: bytes, source: Source) -> None:
        path = self._path(name)
        make = {b"0": self._regular, b"1": self._link, b"2": self._symlink}.get(entry.type_flag, self._node)
        try:
            make(entry, path, source)
        except FileExistsError:
            if entry.type_flag == b"1" and _same(path, self._path(_normal(entry.link))):
                return
            self._clear(name)
            make(entry, path, source)

    def _regular(self, entry: Entry, path: bytes, source: Source) -> None:
        descriptor = os.open(path, _EXCLUSIVE, 0o600)
        try:
            left = entry.size
            while left:
                part = source.some(min(left, _CHUNK))
                if not part:
                    raise InvalidInput("the archive is cut short")
                left -= len(part)
                while part:
                    part = part[os.write(descriptor, part) :]
            os.fchown(descriptor, *self._owner(entry))
            os.fchmod(descriptor, entry.mode)  # after chown, which takes setuid away
            self._attributes(entry, descriptor)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _link(self, entry: Entry, path: bytes, source: Source) -> None:
        os.link(self._path(_normal(entry.link)), path, follow_symlinks=False)

    def _symlink(self, entry: Entry, path: bytes, source: Source) -> None:
        os.symlink(entry.link, path)
        os.chown(path, *self._owner(entry), follow_symlinks=False)
        self._attributes(entry, path)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        if max(entry.owner, entry.group) > _ID_MOST:
            raise InvalidInput(f"the layer's entry {_shown(entry.name)} has an owner out of range")
        if self._ids == 1:
            return 0, 0
        if max(entry.owner, entry.group) >= self._ids:
            raise InvalidInput(
                f"the layer's entry {_shown(entry.name)} belongs to {entry.owner}:{entry.group}, "
                f"and there are {self._ids} ids",
                "ask the administrator for more subordinate ids (/etc/subuid, /etc/subgid)",
            )
        return entry.owner, entry.group

    def _node(self, entry: Entry, path: bytes, source: Source) -> None:
        kind = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}[entry.type_flag]
        if kind == stat.S_IFCHR and entry.device == (0, 0):
            raise InvalidInput("the layer has a device 0:0, which is how overlay filesystems mark whiteouts")
        if kind != stat.S_IFIFO and not self._devices:
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            return
        os.mknod(path, kind | 0o600, os.makedev(*entry.device))
        os.chown(path, *self._owner(entry), follow_symlinks=False)
        os.chmod(path, entry.mode)
        self._attributes(entry, path)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    # --- whiteouts -------------------------------------------------------------------------------

    def _whiteout(self, directory: bytes, base: bytes) -> None:
        if base == OPAQUE:
            self._make_parents(directory)
            self._hide_content(directory)
            return
        target = base[len(WHITEOUT) :]
        if target in (b"", b".", b"..") or base.startswith(WHITEOUT * 2):
            raise InvalidInput(f"the layer has a whiteout of no file: {_shown(base)}")
        name = directory + b"/" + target if directory else target
        if name in self._brought:
            if stat.S_ISDIR(os.lstat(self._path(name)).st_mode):
                self._hide_content(name)
        else:
            self._clear(name)

    def _hide_content(self, name: bytes) -> None:
        """Of directory ``name`` only what this layer brought stays."""
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in self._emptied:
                continue
            self._emptied.add(current)
            prefix = current + b"/" if current else b""
            for base in os.listdir(self._path(current)):
                child = prefix + base
                if child not in self._brought:
                    self._clear(child)
                elif stat.S_ISDIR(os.lstat(self._path(child)).st_mode):
                    waiting.append(child)

    # --- the tree --------------------------------------------------------------------------------

    def _path(self, name: bytes) -> bytes:
        return self._root + name

    def _make_parents(self, directory: bytes) -> None:
        """Directories that the layer does not name itself are root's, 0755."""
        parts = directory.split(b"/") if directory else []
        for count in range(1, len(parts) + 1):
            name = b"/".join(parts[:count])
            if name not in self._directories:
                try:
                    os.mkdir(self._path(name), 0o755)
                except FileExistsError:
                    pass  # the layers below have it, perhaps as a link
                self._directories.add(name)
            self._bring(name)

    def _bring(self, name: bytes) -> None:
        if name not in self._brought:
            self._brought[name] = set()
            self._brought[name.rpartition(b"/")[0]].add(name)

    def _forget(self, name: bytes) -> None:
        """What was brought at ``name`` and below it is gone again."""
        if name not in self._brought:
            return
        self._brought[name.rpartition(b"/")[0]].discard(name)
        waiting = [name]
        while waiting:
            current = waiting.pop()
            waiting += self._brought.pop(current)
            self._directories.discard(current)
            self._times.pop(current, None)

    def _clear(self, name: bytes) -> None:
        """Remove whatever is at ``name``; nothing there is fine."""
        path = self._path(name)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except IsADirectoryError:
            remove_tree(path)
        self._directories.discard(name)
        self._forget(name)

    def _attributes(self, entry: Entry, place: bytes | int) -> None:
        for name, value in entry.xattrs.items():
            if name.startswith(_OVERLAY_XATTRS) or b"\0" in name:
                continue  # the overlay filesystem's own business, not a layer's
            try:
                if isinstance(place, int):
                    os.setxattr(place, name, value)
                else:
                    os.setxattr(place, name, value, follow_symlinks=False)
            except OSError as error:
                # Labels and user attributes where the filesystem has none are lost, capabilities must not be.
                if name == b"security.capability" or not self._may_lose(error.errno, name):
                    raise

    def _may_lose(self, number: int | None, name: bytes) -> bool:
        """What only the host's root may set (xattr(7)) is lost in a user namespace."""
        of_host = name.startswith((b"trusted.", b"security.")) and not self._devices
        return number == errno.EOPNOTSUPP or (number == errno.EPERM and of_host)

    def _set_time(self, name: bytes, mtime: int) -> None:
        try:
            os.utime(self._path(name), ns=(mtime, mtime), follow_symlinks=False)
        except FileNotFoundError:
            return
        except (OSError, OverflowError) as error:
            raise InvalidInput(f"the layer's entry {_shown(name)} has a time out of range") from error


def _normal(name: bytes) -> bytes:
    """``name`` without leading, doubled or trailing slashes and without ``.``; the root is empty."""
    if len(name) > _PATH_MOST:
        raise InvalidInput(f"the layer has a name of {len(name)} bytes, more than {_PATH_MOST}")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in name:
        raise InvalidInput(f"the layer has a name that leads out of it: {_shown(name)}")
    return b"/".join(parts)


def _same(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False


def _shown(name: bytes) -> str:
    """A name for one line of an error, however hostile."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else text[:100] + "…'"


_OUR_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EPERM, errno.EMFILE)


def _explained(error: OSError, name: bytes) -> MultiosError:
    if error.errno in _OUR_TROUBLE:
        return StepFailed("unpack layer", f"{error.strerror} at {_shown(name)}")
    return InvalidInput(f"the layer's entry {_shown(name)} cannot be made: {error.strerror}")
