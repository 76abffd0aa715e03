"""Where a user's own engine keeps its things, by the XDG base directories; light, for the client asks it too."""

from __future__ import annotations

import os
import stat

from multios.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_EXEC_ROOT = "/run/multios/containers"
GROUP = "multios"


class Places:
    """The paths of user ``uid``'s own engine, as text."""

    __slots__ = ("config_file", "data_root", "exec_root", "log_file", "uid")

    def __init__(self, uid: int, environ: Mapping[str, str]) -> None:
        home = environ.get("HOME") or _home(uid)
        data = _absolute(environ, "XDG_DATA_HOME") or f"{home}/.local/share"
        state = _absolute(environ, "XDG_STATE_HOME") or f"{home}/.local/state"
        config = _absolute(environ, "XDG_CONFIG_HOME") or f"{home}/.config"
        self.uid = uid
        self.data_root = f"{data}/multios/containers"
        self.exec_root = exec_root(uid, environ)
        self.config_file = f"{config}/multios/containers.conf"
        self.log_file = f"{state}/multios/containers.log"


class _Kept:
    """What was found out before the process became root of its user namespace, where every user looks like 0."""

    places: Places | None = None


def own() -> Places | None:
    """The calling user's own places; ``None`` for root, whose engine is the system's."""
    if _Kept.places is not None:
        return _Kept.places
    uid = os.geteuid()
    return Places(uid, os.environ) if uid else None


def keep() -> Places:
    """Remember :func:`own` for the rest of this process's life; only an ordinary user may."""
    _Kept.places = own()
    if _Kept.places is None:
        raise ValueError("root has no engine of its own")
    return _Kept.places


def exec_root(uid: int, environ: Mapping[str, str]) -> str:
    """``$XDG_RUNTIME_DIR/multios/containers`` if that directory is the user's alone, else ``/tmp/multios-UID``."""
    runtime = _absolute(environ, "XDG_RUNTIME_DIR")
    if runtime and _is_private(runtime, uid):
        return f"{runtime}/multios/containers"
    return f"/tmp/multios-{uid}"


def choose_exec_root(environ: Mapping[str, str]) -> str:
    """Whose daemon an ordinary user who names none means: the system's if he may use it, else his own.

    Raises ``Refused`` where somebody else has made the place of his own.
    """
    uid = os.geteuid()
    own_root = exec_root(uid, environ)
    if os.path.lexists(own_root):
        check_private(own_root, uid)
    if environ.get("MULTIOS_ROOTLESS", "") not in ("", "0"):
        return own_root
    socket = f"{SYSTEM_EXEC_ROOT}/api.sock"
    if os.access(socket, os.R_OK | os.W_OK):
        return SYSTEM_EXEC_ROOT
    if os.path.exists(socket) or os.path.exists(f"{own_root}/api.sock"):
        return own_root
    return SYSTEM_EXEC_ROOT if _is_member() else own_root


def make_private(path: str, uid: int) -> None:
    """Make the directory ``path``, which only ``uid`` may enter; one of somebody else's raises ``Refused``."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:
        pass  # no directory: said below
    check_private(path, uid)


def check_private(path: str, uid: int) -> None:
    """Raise ``Refused`` unless ``path`` is a directory, no link, that nobody but ``uid`` may enter."""
    if not _is_private(path, uid):
        raise Refused(
            f"{path} is not a directory that only you (uid {uid}) may enter",
            f"see who made it: ls -ld {path}; if it is yours: chmod 700 {path}",
        )


def _is_private(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def _absolute(environ: Mapping[str, str], name: str) -> str:
    """The XDG specification: a path that is not absolute is ignored."""
    value = environ.get(name, "")
    return value.rstrip("/") if value.startswith("/") else ""


def _home(uid: int) -> str:
    import pwd  # deferred: HOME is nearly always set

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise Refused(f"user {uid} has no home directory", "set HOME") from None


def _is_member() -> bool:
    import grp  # deferred: asked only where neither daemon runs

    try:
        return grp.getgrnam(GROUP).gr_gid in (os.getegid(), *os.getgroups())
    except KeyError:
        return False
