"""``python -m multios.supervisor.main``: the small process that is the parent of every container.

It is single-threaded, imports nothing after its start, and does little itself: its children do the work.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import signal
import sys

from multios.cgroups.hierarchy import Hierarchy
from multios.supervisor import connections, flags
from multios.supervisor.birth import Nursery
from multios.supervisor.complaint import complain
from multios.supervisor.connections import Connection
from multios.supervisor.exits import Exits
from multios.supervisor.loop import READ, Loop
from multios.supervisor.requests import Requests
from multios.supervisor.streams import interrupt_stolen_reads
from multios.supervisor.supervision import Supervision
from multios.supervisor.syscalls import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from multios.supervisor.launcher import Launcher

USAGE = "--socket PATH --exits DIR --cgroup-parent NAME [--slots N] [--path DIR]... --launcher MODULE..."
ALREADY_RUNNING = 3
COLLECT_SECONDS = 30.0
_RLIMIT_NOFILE = 7


def main() -> None:
    """Serve until asked to leave."""
    options = _options(sys.argv[1:])
    path = options["socket"][-1]
    os.umask(0o077)
    lock = _lock(path)
    sys.path += options["path"]
    launchers = _load(options["launcher"])
    open_files = _raise_open_files()
    hierarchy = Hierarchy.find(options["cgroup-parent"][-1])
    if hierarchy.mode == "none":
        complain("cgroups", "there is no cgroup hierarchy that we may write to")
    kernel.prctl(flags.PR_SET_CHILD_SUBREAPER, 1)  # for orphans of containers that share our pid namespace
    loop = Loop()
    nursery = Nursery(loop, hierarchy, launchers, open_files)
    _hear_of_ends(loop, nursery)
    interrupt_stolen_reads()
    supervision = Supervision(nursery, Exits(options["exits"][-1]), int(options["slots"][-1]))
    listener = connections.listen(path)
    _serve(loop, listener, Requests(supervision))
    _tend_memory(loop)
    _say_ready()
    loop.run()
    os.unlink(path)
    hierarchy.dissolve()
    os.close(lock)


def _options(words: list[str]) -> dict[str, list[str]]:
    """The command line, parsed by hand: argparse alone is a tenth of this process."""
    options: dict[str, list[str]] = {"slots": ["2"], "path": [], "launcher": []}
    allowed = {"socket", "exits", "cgroup-parent", "slots", "path", "launcher"}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if not name.startswith("--") or name[2:] not in allowed:
            break
        options.setdefault(name[2:], []).append(value)
    else:
        if len(words) % 2 == 0 and allowed == options.keys() and options["slots"][-1].isdigit():
            return options
    sys.exit(f"usage: python -m multios.supervisor.main {USAGE}")


def _lock(path: str) -> int:
    """Be the only supervisor at this socket; the kernel lets the lock go when we die."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(ALREADY_RUNNING)
    return descriptor


def _load(names: list[str]) -> dict[str, Launcher]:
    """Import the launcher modules now; one that is broken is missed when it is asked for."""
    launchers: dict[str, Launcher] = {}
    for name in names:
        try:
            module: object = importlib.import_module(name)
        except Exception as error:  # whatever a third party's module does wrong
            complain(f"launcher {name}", error)
        else:
            launchers[name] = module  # type: ignore[assignment]  # a module fulfils the protocol
    return launchers


def _raise_open_files() -> tuple[int, int]:
    """Take as many descriptors as we may; containers get the former limit, which is returned."""
    former = kernel.prlimit(0, _RLIMIT_NOFILE)
    kernel.prlimit(0, _RLIMIT_NOFILE, (former[1], former[1]))
    return former


def _hear_of_ends(loop: Loop, nursery: Nursery) -> None:
    """Let SIGCHLD wake the loop."""
    wake, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def on_wake(events: int) -> None:
        os.read(wake, 4096)
        nursery.reap()

    loop.watch(wake, READ, on_wake)


def _serve(loop: Loop, listener: socket.socket, requests: Requests) -> None:
    def on_client(events: int) -> None:
        channel = connections.accept(listener)
        if channel is not None:
            Connection(loop, channel, requests.handle)

    loop.watch(listener.fileno(), READ, on_client)


def _tend_memory(loop: Loop) -> None:
    """Collect garbage between requests only, and never look at what the start has made: children share it."""
    gc.collect()
    gc.freeze()
    gc.disable()

    def collect() -> None:
        gc.collect()
        loop.later(COLLECT_SECONDS, collect)

    loop.later(COLLECT_SECONDS, collect)


def _say_ready() -> None:
    """Whoever started us waits for the end of our standard output."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main()
