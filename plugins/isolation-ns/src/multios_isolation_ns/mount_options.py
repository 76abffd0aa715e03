"""fstab's words for mounts as the kernel's flags (mount(8), mount(2), mount_setattr(2))."""

from __future__ import annotations

from multios.errors import Unsupported
from multios.supervisor import flags

TYPE_CHECKING = False  # typing and dataclasses are too heavy for the one-shot OCI runtime
if TYPE_CHECKING:
    from collections.abc import Iterable

_SET = {
    "ro": flags.MS_RDONLY,
    "nosuid": flags.MS_NOSUID,
    "nodev": flags.MS_NODEV,
    "noexec": flags.MS_NOEXEC,
    "noatime": flags.MS_NOATIME,
    "nodiratime": flags.MS_NODIRATIME,
    "relatime": flags.MS_RELATIME,
    "strictatime": flags.MS_STRICTATIME,
}
_CLEAR = {
    "rw": flags.MS_RDONLY,
    "suid": flags.MS_NOSUID,
    "dev": flags.MS_NODEV,
    "exec": flags.MS_NOEXEC,
    "atime": flags.MS_NOATIME,
    "diratime": flags.MS_NODIRATIME,
}
_NOTHING = {"defaults", "bind", "rbind", "private", "rprivate", "async"}
_REFUSED = {
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "tmpcopyup",
    "idmap",
    "ridmap",
}
_ATTRIBUTES = {
    flags.MS_RDONLY: flags.MOUNT_ATTR_RDONLY,
    flags.MS_NOSUID: flags.MOUNT_ATTR_NOSUID,
    flags.MS_NODEV: flags.MOUNT_ATTR_NODEV,
    flags.MS_NOEXEC: flags.MOUNT_ATTR_NOEXEC,
}


class Options:
    """``flags`` are MS_*; ``data`` are the filesystem's own words; ``recursive`` is ``rbind``."""

    __slots__ = ("data", "flags", "recursive")

    def __init__(self, flags: int, data: tuple[str, ...], recursive: bool) -> None:
        self.flags, self.data, self.recursive = flags, data, recursive

    @property
    def attributes(self) -> int:
        """The flags that a bind mount takes, as MOUNT_ATTR_*."""
        return sum(attribute for flag, attribute in _ATTRIBUTES.items() if self.flags & flag)


def parse(target: str, words: Iterable[str]) -> Options:
    """The options of the mount at ``target``; ``Unsupported`` for what we do not do."""
    number, data, recursive = 0, [], False
    for word in words:
        if word in _REFUSED:
            raise Unsupported(f"mount option {word!r} at {target}", "mounts of containers are private")
        if word in _SET:
            number |= _SET[word]
        elif word in _CLEAR:
            number &= ~_CLEAR[word]
        elif word not in _NOTHING:
            data.append(str(word))
        recursive = recursive or word == "rbind"
    return Options(number, tuple(data), recursive)


def words() -> list[str]:
    """The words that are not a filesystem's own and that we do something about."""
    return [*_SET, *_CLEAR, "bind", "rbind"]
