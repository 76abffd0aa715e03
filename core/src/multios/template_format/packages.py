"""A template's Debian packages: which of the lists is a base's, and the command that installs it as one layer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from multios.errors import InvalidInput
from multios.model import reference

_QUIETLY = "--yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0"
_LEFT_BEHIND = (
    "/var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/log/alternatives.log"
)


def for_base(packages: Mapping[str, Sequence[str]], base: str) -> tuple[str, ...]:
    """The list whose key fits ``base`` best: the whole reference before the distribution's name alone.

    Without any list it is empty; with lists of which none fits ``InvalidInput`` says for which there are.
    """
    if not packages:
        return ()
    wanted = reference.parse(base)
    for key, names in packages.items():
        if (":" in key or "/" in key) and str(reference.parse(key)) == str(wanted):
            return tuple(names)
    distribution = wanted.path.rpartition("/")[2]
    for name in (wanted.name, distribution):
        if name in packages:
            return tuple(packages[name])
    raise InvalidInput(
        f"packages: there is no list for the base {base!r}", f"there are lists for {', '.join(packages)}"
    )


def install(names: Sequence[str]) -> str:
    """The line for the shell that installs the packages and leaves nothing of apt's own behind.

    Not syncing after every file is safe: a step that is cut off is thrown away whole. Nothing may be started by
    a package that is installed (invoke-rc.d(8)).
    """
    words = " ".join(shlex.quote(name) for name in names)
    policy = "/usr/sbin/policy-rc.d"
    return f"""\
[ -e {policy} ] || {{ printf '#!/bin/sh\\nexit 101\\n' > {policy}; chmod 755 {policy}; ours=1; }}
apt-get update
apt-get install {_QUIETLY} {words}
apt-get clean
[ -z "${{ours-}}" ] || rm {policy}
rm -rf {_LEFT_BEHIND}"""
