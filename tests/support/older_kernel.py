"""Run a program on what looks like an older kernel: ``older_kernel.py CALL[,CALL…] PROGRAM ARGUMENTS…``.

The calls named answer ENOSYS, as they do where they do not exist. ``setns-pidfd`` is setns(2) of several namespaces at
once, which before Linux 5.8 answers EINVAL.
"""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp

_NEW_NET, _NEW_PID = 0x40000000, 0x20000000


def hide(calls: list[str]) -> None:
    """Install the filter in this process, for good; its children inherit it."""
    filter_ = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    filter_.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    for name in calls:
        if name == "setns-pidfd":
            several = pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _NEW_NET | _NEW_PID, _NEW_NET | _NEW_PID)
            filter_.add_rule(pyseccomp.ERRNO(errno.EINVAL), "setns", several)
        else:
            filter_.add_rule(pyseccomp.ERRNO(errno.ENOSYS), name)
    filter_.load()


if __name__ == "__main__":
    hide(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
