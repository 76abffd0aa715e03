"""The gap that a filter of socket(2)'s arguments has: socketcall(2), by which 32-bit programs on x86-64 make sockets.

Its arguments lie in memory, which no filter sees, and libseccomp lets it through with whatever ``socket`` may do. So
that way is closed where ``socket`` is filtered by its arguments; a C library falls back on socket(2) itself.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Any

_I386 = 0x40000003
"""AUDIT_ARCH_I386 of linux/audit.h."""
_SOCKETCALL, _SYS_SOCKET = 102, 1
_LOAD, _EQUAL, _RETURN, _ERRNO = 0x20, 0x15, 0x06, 0x50000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data (seccomp(2))."""


def closed(program: bytes, section: Mapping[str, Any]) -> bytes:
    """``program``, which is for x86-64, with the gap closed where the spec's ``section`` filters by family."""
    rules = section.get("syscalls") or ()
    if not any("socket" in rule["names"] and rule.get("args") for rule in rules):
        return program
    return b"".join(struct.pack("=HBBI", *one) for one in _PREFIX) + program


_PREFIX = (
    (_LOAD, 0, 0, _ARCHITECTURE),
    (_EQUAL, 0, 5, _I386),
    (_LOAD, 0, 0, _NUMBER),
    (_EQUAL, 0, 3, _SOCKETCALL),
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_EQUAL, 0, 1, _SYS_SOCKET),
    (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
)
"""Instructions as code, jump if true, jump if false, operand; each failed comparison jumps behind the last."""
