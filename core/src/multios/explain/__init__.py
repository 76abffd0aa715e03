"""``explain``: a container shown as what it is, part by part, each with the kernel's file where one can see it oneself.

The daemon reads (``reading`` and the modules that it imports); the client writes (``text``, ``page``, ``script``),
from the document that ``containers.explain`` answers with. Neither imports the other's side.
"""

from __future__ import annotations

PARTS = (
    "namespaces",
    "ids",
    "mounts",
    "cgroups",
    "capabilities",
    "seccomp",
    "confinement",
    "network",
    "process",
)
"""What ``--part`` may name, in the order in which they are shown."""
