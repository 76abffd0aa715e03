"""Bundles of confinement with a name: ``--security-profile lab|strict|exam``, and a teacher's own.

A bundle is data. What a user says beside it goes before it; :mod:`multios.engine.security_profiles` joins the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from multios import typed_table
from multios.errors import InvalidInput
from multios.model import destination
from multios.model.container_document import CAPABILITIES

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def read_capabilities(value: Any, where: str) -> tuple[str, ...]:
    """A list of capabilities of a settings file, without ``CAP_``; ``InvalidInput`` for one that there is not."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{where}: must be a list of capabilities", 'for example ["NET_RAW"]')
    names = tuple(name.upper().removeprefix("CAP_") for name in value)
    for name in names:
        if name != "ALL" and name not in CAPABILITIES:
            raise InvalidInput(f"{where}: no such capability: {name!r}", "see capabilities(7)")
    return names


def _destinations(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidInput(f"{where}: must be a list of destinations", 'for example ["192.0.2.0/24"]')
    return tuple(destination.parse(text, where) for text in value)


def _profiles(value: Any, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInput(f"{where}: must be a table of text", 'for example { seccomp = "strict" }')
    return value


@dataclass(frozen=True, slots=True)
class SecurityProfile:
    """A bundle. Lists and profiles are as in the container document's ``security``.

    With ``network`` ``allow-list`` a container reaches what its own ``egress_allow`` says, else the bundle's, and gets
    no network without either; an ordinary user's own may only be of the bundle's. ``administrators_only`` keeps
    the bundle from ordinary users.
    """

    summary: str = ""
    capabilities: tuple[str, ...] = field(default=(), metadata={"parse": read_capabilities})
    drop_capabilities: tuple[str, ...] = field(default=(), metadata={"parse": read_capabilities})
    profiles: Mapping[str, str] = field(default_factory=dict, metadata={"parse": _profiles})
    read_only: bool = False
    no_new_privileges: bool = True
    pids_limit: int | None = None
    network: Literal["any", "allow-list"] = "any"
    egress_allow: tuple[str, ...] = field(default=(), metadata={"parse": _destinations})
    administrators_only: bool = False

    def __post_init__(self) -> None:
        if self.pids_limit is not None and not 1 <= self.pids_limit <= 2**22:
            raise ValueError("pids_limit must be 1 to 4194304")


def read(name: str, table: Any, where: str) -> SecurityProfile:
    """The bundle that a table of the settings file describes; ``where`` begins every error."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{where}{name}: not a profile's name", "use small letters, digits, '-' and '_', at most 63"
        )
    if not isinstance(table, dict):
        raise InvalidInput(f"{where}{name}: must be a table", f"write [{where.split(': ')[-1]}{name}]")
    return typed_table.read(SecurityProfile, table, f"{where}{name}.")


_FEW = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
_STRICT: dict[str, Any] = {
    "capabilities": _FEW,
    "drop_capabilities": ("ALL",),
    "profiles": {"seccomp": "strict"},
    "read_only": True,
    "pids_limit": 256,
}
BUILT_IN: dict[str, SecurityProfile] = {
    "lab": SecurityProfile(
        "the default, and what lab work needs: debuggers and ping", capabilities=("NET_RAW", "SYS_PTRACE")
    ),
    "strict": SecurityProfile("six capabilities, a read-only root, no tracing, 256 processes", **_STRICT),
    "exam": SecurityProfile("strict, and no network but what is allowed", network="allow-list", **_STRICT),
}
