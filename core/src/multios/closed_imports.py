"""For a process about to work inside an untrusted root: from then on it loads no code from any file.

Python imports by path, and the C library loads its name services (nsswitch.conf(5)) by path; after chroot(2) or
setns(2) those paths are the container's (CVE-2019-14271).
"""

from __future__ import annotations

import sys

_FROM_THE_INTERPRETER = ("BuiltinImporter", "FrozenImporter")


def close_imports() -> None:
    """Only what is imported already, and what the interpreter itself contains, can be imported from here on."""
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if getattr(finder, "__name__", "") in _FROM_THE_INTERPRETER
    ]
