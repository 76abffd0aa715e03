"""``explain --as-shell``: a script for sh that builds the same container with the tools of any Linux, step by step.

It is one file that runs itself three times: *outside* as root, *entering* in the new namespaces but still without
ids, and *inside* as the new namespaces' root, which mounts and then becomes the program. What it makes on the host
has names of its own (bridge, cgroup, nftables table, directory) and is removed when it ends.
"""

from __future__ import annotations

from multios.errors import Unsupported
from multios.explain.script_inside import inside
from multios.explain.script_outside import outside
from multios.explain.shell_words import comment, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Parts = dict[str, dict[str, Any]]


def script(document: dict[str, Any]) -> str:
    """The whole script; ``Unsupported`` for a container that it could not build."""
    if document["rootless"]:
        raise Unsupported(
            "the script is for root, and this container is of a user's own daemon",
            "explain it as text: explain NAME",
        )
    parts: Parts = {part["part"]: part for part in document["parts"]}
    if parts["network"]["mode"] == "container":
        raise Unsupported(
            "the script makes a network namespace of its own, and this container uses another one's",
            f"explain it as text, or: explain --as-shell {parts['network']['owner']}",
        )
    return "\n".join(
        [
            *_head(document),
            *_settings(parts),
            *outside(parts),
            *inside(parts),
            *_dispatch(),
            "",
        ]
    )


def _head(document: dict[str, Any]) -> list[str]:
    return [
        "#!/bin/sh",
        comment(f"The container {document['name']}, built by hand."),
        "#",
        "# Save it to a file and run it as root:   sh by-hand.sh [COMMAND [ARGUMENT...]]",
        "# With a command, for instance `sh by-hand.sh /bin/sh`, that runs inside instead of the container's own.",
        "#",
        "# It needs what Debian has in util-linux, mount, iproute2, nftables, libcap2-bin, hostname, findutils and tar.",
        "# What it makes has names of its own, so the real container is not disturbed, and all of it goes at the end.",
        "#",
        "# Run it for containers that you trust: what a shell cannot do is partly what confines the real one.",
        "#",
        "# What a shell cannot do, and this container therefore lacks:",
        "#   - the system call filter (seccomp): it is a program for the kernel, and no tool of Debian 12 loads one;",
        "#   - Landlock's rules and AppArmor's profile, where the real one has them;",
        "#   - id-mapped layers (mount_setattr(2); mount(8) of util-linux 2.39 can): here the owners of a copy are changed;",
        "#   - pivot_root(2): the tools must stay in reach until the last line, so the root is moved, as an initramfs does;",
        "#   - the program's short name: capsh gives it its whole path as its first word;",
        "#   - the supervisor, which would write the log and keep the exit status: here it is the shell that waits.",
        "set -eu",
        "umask 022",
        "",
    ]


def _settings(parts: Parts) -> list[str]:
    process, ids = parts["process"]["asked"], parts["ids"]["users"][0]
    own_ids = ids["outside"] != 0
    command = " ".join(quoted(word) for word in process["command"])
    return [
        "# --- what the container is -----------------------------------------------------------------",
        "",
        f"FIRST_ID={ids['outside'] if own_ids else 0}   # the host's number of the container's user 0",
        f"IDS={ids['count']}   # so many follow",
        f"NAME={quoted(parts['process']['hostname'])}",
        f"[ $# -gt 0 ] || set -- {command}",
        "",
    ]


def _dispatch() -> list[str]:
    return [
        "# --- begin ---------------------------------------------------------------------------------",
        "",
        'case "${BY_HAND_STAGE-}" in',
        "'')",
        '    [ "$(id -u)" = 0 ] || { echo "run this as root" >&2; exit 1; }',
        '    [ -f "$0" ] || { echo "save this script to a file, then: sh FILE" >&2; exit 1; }',
        "    # A mount namespace for the script itself: the host's mount table does not even see what it mounts.",
        '    BY_HAND_STAGE=outside exec unshare --mount --propagation private sh "$0" "$@" ;;',
        'outside) outside "$@" ;;',
        'entering) entering "$@" ;;',
        'inside) inside "$@" ;;',
        "esac",
    ]
