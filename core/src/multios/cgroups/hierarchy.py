"""Where the host keeps its cgroups, and how a group is made, joined, listed, emptied and removed.

The supervisor imports this module, so it needs nothing but ``os``, ``errno`` and ``time``; it raises plain
``OSError``. A *group* is one name that exists in every hierarchy at once, below one parent.
"""

from __future__ import annotations

import errno
import os
import time

PARENT = "multios"
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb")
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")
REMOVE_SECONDS = 2.0
_SIGKILL = 9
_LEAF = "multios-host"
"""The group below a delegated one for what is no container: daemon and supervisor."""


def read(path: str) -> str:
    """The text of a control file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace")


def write(path: str, value: str) -> None:
    """Write a control file with one write(2), as the kernel wants it; never creates one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        error.filename = path
        raise


class Hierarchy:
    """The host's cgroups as one tree.

    ``mode`` is ``v1``, ``v2``, ``hybrid`` or ``none`` (nothing that we may write); ``unified`` is the
    cgroup2 directory that our parent stands in, or empty; ``v1`` maps a controller to such a directory.
    """

    def __init__(self, v1: dict[str, str], unified: str, parent: str = "", root: str = "") -> None:
        self.v1 = v1
        self.unified = unified
        self.root = root
        self.parent = _checked_parent(parent or os.environ.get("MULTIOS_CGROUP_PARENT", "") or PARENT)
        self.mode = ("hybrid" if v1 else "v2") if unified else ("v1" if v1 else "none")
        self._v2_controllers: frozenset[str] | None = None
        bases = [*v1.values(), unified] if unified else list(v1.values())
        self._parents = [f"{base}/{self.parent}" for base in dict.fromkeys(bases)]
        self._cpusets = [f"{base}/{self.parent}" for name, base in v1.items() if name == "cpuset"]

    @classmethod
    def find(cls, parent: str = "", root: str = "") -> Hierarchy:
        """Look at the host. ``root`` is put before every path, for tests on a made-up tree."""
        own = _own_groups(read(root + "/proc/self/cgroup"))
        systemd = os.path.isdir(root + "/run/systemd/system")
        v1: dict[str, str] = {}
        unified = ""
        for line in read(root + "/proc/self/mountinfo").splitlines():
            fields = line.split(" ")
            kind = fields[fields.index("-") + 1]
            if kind not in ("cgroup", "cgroup2"):
                continue
            names = ["unified"] if kind == "cgroup2" else fields[-1].split(",")
            directory = _writable(root + _unescape(fields[4]), fields[3], own, names)
            if not directory:
                continue
            if kind == "cgroup2":
                unified = unified or directory
            for name in names:
                if name in V1_CONTROLLERS or (name == "name=systemd" and systemd):
                    v1.setdefault(name, directory)
        return cls(v1, unified, parent, root)

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that groups have here, under the names of their own version."""
        return frozenset(self.v1) - {"name=systemd"} | self.v2_controllers

    @property
    def v2_controllers(self) -> frozenset[str]:
        """The controllers that the unified hierarchy gives our groups."""
        if self._v2_controllers is None:
            self._prepare()
        return self._v2_controllers or frozenset()

    def path(self, controller: str, name: str) -> str:
        """The directory of group ``name`` that ``controller`` is steered in; empty where the host has none.

        ``unified`` as a controller is the cgroup2 directory itself.
        """
        check_name(name)
        if controller in self.v1:
            return f"{self.v1[controller]}/{self.parent}/{name}"
        if self.unified and (controller == "unified" or controller in self.v2_controllers):
            return f"{self.unified}/{self.parent}/{name}"
        return ""

    def paths(self, name: str) -> list[str]:
        """The group's directory in every hierarchy, each once."""
        check_name(name)
        return [f"{parent}/{name}" for parent in self._parents]

    def exists(self, name: str) -> bool:
        """Whether the group exists in any hierarchy."""
        return any(os.path.isdir(path) for path in self.paths(name))

    def names(self) -> list[str]:
        """All groups below our parent, whoever made them."""
        found: set[str] = set()
        for parent in self._parents:
            found.update(os.path.basename(path) for path in _children(parent))
        return sorted(found)

    def create(self, name: str) -> None:
        """Make the group everywhere or nowhere; one that exists raises ``FileExistsError``."""
        paths = self.paths(name)
        if self._v2_controllers is None:
            self._prepare()
        made: list[str] = []
        try:
            for path in paths:
                try:
                    os.mkdir(path, 0o755)
                except FileNotFoundError:  # someone removed our parent
                    self._prepare()
                    os.mkdir(path, 0o755)
                made.append(path)
                os.chmod(path, 0o755)  # whatever the umask: a container reads its own limits there
            for parent in self._cpusets:
                _fill_cpuset(f"{parent}/{name}", parent)
        except OSError:
            for path in reversed(made):
                os.rmdir(path)
            raise

    def join(self, name: str, pid: int) -> None:
        """Move process ``pid`` (0: the caller) into the group.

        Back to back on purpose: on an idle host the first v1 join waits for an RCU grace period and the
        others then go along at once.
        """
        for path in self.paths(name):
            write(path + "/cgroup.procs", str(pid))

    def into(self, name: str) -> int | None:
        """A descriptor for clone3's CLONE_INTO_CGROUP, the caller's; ``None`` where :meth:`join` is needed."""
        if self.mode != "v2":
            return None
        return os.open(self.paths(name)[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def processes(self, name: str) -> list[int]:
        """The pids of the group and of all groups below it; none for a group that is not there."""
        directory = self._tracking(name)
        pids: set[int] = set()
        for path in [directory, *_descendants(directory)] if directory else ():
            try:
                pids.update(int(pid) for pid in read(path + "/cgroup.procs").split())
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
        return sorted(pids - {0})

    def kill(self, name: str) -> None:
        """SIGKILL every process of the group, frozen or not. Absent or empty: no error."""
        path = self.path("unified", name)
        freezer = self.path("freezer", name) if "freezer" in self.v1 else ""
        try:
            if not path or not os.path.exists(path + "/cgroup.kill"):
                self._kill_each(name, freezer)
            else:
                write(path + "/cgroup.kill", "1")
        except FileNotFoundError:
            return
        if freezer and os.path.isdir(freezer):  # v1: a frozen process dies only when thawed
            write(freezer + "/freezer.state", "THAWED")

    def remove(self, name: str) -> None:
        """Remove the group and those below it; absent: no error.

        Waits at most ``REMOVE_SECONDS`` for dying processes to leave, then raises ``OSError`` EBUSY.
        """
        end = time.monotonic() + REMOVE_SECONDS
        pause = 0.0005
        for path in self.paths(name):
            while not _remove_tree(path):
                if time.monotonic() > end:
                    raise OSError(errno.EBUSY, "cgroup still has processes", path)
                time.sleep(pause)
                pause = min(pause * 2, 0.05)

    def dissolve(self) -> None:
        """Remove our parent group too; groups that still hold processes stay."""
        for parent in self._parents:
            for path in [*_descendants(parent), parent]:
                try:
                    os.rmdir(path)
                except OSError:
                    continue
        self._v2_controllers = None

    def _tracking(self, name: str) -> str:
        """The directory in which the group's processes are listed."""
        return next((path for path in reversed(self.paths(name)) if os.path.isdir(path)), "")

    def _kill_each(self, name: str, freezer: str) -> None:
        """Without ``cgroup.kill`` (before 5.14): signal until nobody is left, frozen so that none can fork away."""
        for _ in range(20):
            pids = self.processes(name)
            if not pids:
                return
            if freezer and os.path.isdir(freezer):
                write(freezer + "/freezer.state", "FROZEN")
                pids = self.processes(name)
            for pid in pids:
                try:
                    os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    continue
            if freezer and os.path.isdir(freezer):
                write(freezer + "/freezer.state", "THAWED")
                return

    def _prepare(self) -> None:
        """Make our parent group in every hierarchy, ready to have children."""
        for base in dict.fromkeys(self.v1.values()):
            _make_path(base, self.parent)
        if "memory" in self.v1:
            path = f"{self.v1['memory']}/{self.parent}/memory.use_hierarchy"
            if os.path.exists(path) and read(path).strip() == "0":  # kernels before 5.11
                write(path, "1")
        if "cpuset" in self.v1:
            path = self.v1["cpuset"]
            for part in self.parent.split("/"):
                _fill_cpuset(f"{path}/{part}", path)
                path = f"{path}/{part}"
            write(path + "/cgroup.clone_children", "1")
        if self.unified:
            _make_path(self.unified, self.parent)
            path = self.unified
            enabled = _enable_controllers(path)
            for part in self.parent.split("/"):
                path = f"{path}/{part}"
                enabled = _enable_controllers(path)
            self._v2_controllers = enabled
        else:
            self._v2_controllers = frozenset()


def follow(pid: int) -> None:
    """Move the calling process into the unified group of process ``pid``; without cgroup v2 nothing is done."""
    path = _own_groups(read(f"/proc/{pid}/cgroup")).get("unified", "")
    if not path or path == _own_groups(read("/proc/self/cgroup")).get("unified", ""):
        return
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        inside = fields[3].rstrip("/")
        if fields[fields.index("-") + 1] == "cgroup2" and (path + "/").startswith(inside + "/"):
            write(f"{_unescape(fields[4])}{path[len(inside) :]}/cgroup.procs", "0")
            return


def check_name(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` can be one directory's name and no control file's."""
    if not name or len(name) > 128 or name[0] in ".-" or not name.isascii():
        raise ValueError(f"bad cgroup name {name!r}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"bad cgroup name {name!r}")


def _checked_parent(parent: str) -> str:
    parts = [part for part in parent.split("/") if part]
    if not parts or any(part.startswith(".") or not part.isascii() for part in parts):
        raise ValueError(f"bad cgroup parent {parent!r}")
    return "/".join(parts)


def _own_groups(text: str) -> dict[str, str]:
    """/proc/self/cgroup as controller to path; the unified one is ``unified``."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        number, names, path = line.split(":", 2)
        for name in names.split(",") if names else ["unified"] if number == "0" else []:
            own[name] = path
    return own


def _writable(mount_point: str, mount_root: str, own: dict[str, str], names: list[str]) -> str:
    """Where in this mount we may make groups: its top, else our own group (delegated), else nowhere."""
    if os.access(mount_point, os.W_OK):
        return mount_point
    path = next((own[name] for name in names if name in own), "").removesuffix(f"/{_LEAF}")
    inside = mount_root.rstrip("/")
    if path and (path + "/").startswith(inside + "/"):
        directory = (mount_point + path[len(inside) :]).rstrip("/")
        if os.access(directory, os.W_OK) and os.access(directory + "/cgroup.procs", os.W_OK):
            return directory
    return ""


def _unescape(text: str) -> str:
    """Undo mountinfo's octal escapes (proc_pid_mountinfo(5))."""
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, character)
    return text


def _make_path(base: str, path: str) -> None:
    for part in path.split("/"):
        base = f"{base}/{part}"
        try:
            os.mkdir(base, 0o755)
        except FileExistsError:
            continue
        os.chmod(base, 0o755)  # whatever the umask: a container that mounts its cgroup walks through here


def _fill_cpuset(path: str, parent: str) -> None:
    """Give a v1 cpuset its parent's processors and memory nodes: an empty one takes no process."""
    for name in ("/cpuset.cpus", "/cpuset.mems"):
        if not read(path + name).strip():
            write(path + name, read(parent + name).strip())


def _enable_controllers(path: str) -> frozenset[str]:
    """Give the children of a v2 group every controller that the group itself has and that we use."""
    available = set(read(path + "/cgroup.controllers").split())
    enabled = set(read(path + "/cgroup.subtree_control").split())
    if os.path.exists(path + "/cgroup.type") and available - enabled:
        # Those of threads (cpu, pids) could be enabled beside processes: that would make all below it "domain invalid".
        _move_processes_to_leaf(path)
    for name in V2_CONTROLLERS:
        if name not in available or name in enabled:
            continue
        try:
            _enable(path, name)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT, errno.EINVAL, errno.EACCES, errno.EOPNOTSUPP):
                raise
            continue  # not delegated to us: asking for its limits is refused later
        enabled.add(name)
    return frozenset(enabled)


def _enable(path: str, controller: str) -> None:
    try:
        write(path + "/cgroup.subtree_control", f"+{controller}")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_processes_to_leaf(path)
        write(path + "/cgroup.subtree_control", f"+{controller}")


def _move_processes_to_leaf(path: str) -> None:
    """cgroup v2's rule of no processes in inner groups: those in ``path`` go to a leaf below it."""
    leaf, pids = f"{path}/{_LEAF}", read(path + "/cgroup.procs").split()
    if not pids:
        return
    try:
        os.mkdir(leaf, 0o755)
    except FileExistsError:
        pass
    for pid in pids:
        try:
            write(leaf + "/cgroup.procs", pid)
        except ProcessLookupError:
            continue


def _children(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _descendants(path: str) -> list[str]:
    """All groups below ``path``, deepest first."""
    found: list[str] = []
    waiting = _children(path)
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += _children(current)
    return found[::-1]


def _remove_tree(path: str) -> bool:
    """Whether ``path`` and all below it are gone."""
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for child in _descendants(path):
        try:
            os.rmdir(child)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True
