"""The resolver's process: ``python -I -m multios.resolver.main EMPTY_DIRECTORY``, its control socket as stdin.

It says that it is ready on stdout. All rights are given up before the first message is read.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  (socket asks for it by name, and there is nothing to load from afterwards)
import os
import resource
import socket
import sys

from multios.resolver.control import Control
from multios.resolver.loop import Loop
from multios.resolver.zones import Zones
from multios.supervisor import flags, id_map
from multios.supervisor.syscalls import kernel

NOBODY = 65534
OPEN_FILES = 4096
_LAST_CAPABILITY = 63


def main(empty: str) -> None:
    """Serve until told to leave, or until neither a network nor a daemon is left."""
    listening = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    give_up_rights(empty)
    loop = Loop()
    Control(loop, listening, Zones())
    os.write(1, b"ready")
    os.dup2(null, 0)
    os.dup2(null, 1)
    loop.run()


def give_up_rights(empty: str) -> None:
    """An empty root, nobody's ids where there are such, no capability, and no way to get one."""
    has_nobody = id_map.size() > NOBODY
    most = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chroot(empty)
    os.chdir("/")
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            kernel.prctl(flags.PR_CAPBSET_DROP, capability)
        except OSError:  # the kernel has no more of them
            break
    if has_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.capset(0, 0, 0)
    kernel.prctl(flags.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(flags.PR_SET_DUMPABLE, 0)


if __name__ == "__main__":
    main(sys.argv[1])
