"""The spec's annotation ``org.multios.landlock``, checked.

The OCI runtime spec has no section for Landlock, so a security driver writes it as JSON: ``fs``, ``net`` and ``scope``, the
rights that are handled (linux/landlock.h), ``paths`` and ``ports``, pairs of a place and the rights there.
"""

from __future__ import annotations

import json
from typing import Any

from multios.errors import InvalidInput, Unsupported
from multios.supervisor.syscalls import kernel

_MOST_RULES = 1000
_NETWORK_SINCE, _SCOPE_SINCE = 4, 6


def ruleset(text: str) -> dict[str, Any] | None:
    """The ruleset for the launcher's plan; ``None`` for empty text. Raises ``InvalidInput`` or ``Unsupported``."""
    if not text:
        return None
    try:
        document = json.loads(text)
        made: dict[str, Any] = {
            **{name: _mask(document.get(name, 0)) for name in ("fs", "net", "scope")},
            "paths": [[_path(path), _mask(rights)] for path, rights in document.get("paths", ())],
            "ports": [[_port(port), _mask(rights)] for port, rights in document.get("ports", ())],
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"annotation org.multios.landlock is malformed: {error}", "see landlock(7)"
        ) from error
    if len(made["paths"]) + len(made["ports"]) > _MOST_RULES:
        raise InvalidInput(f"annotation org.multios.landlock has more than {_MOST_RULES} rules", "join some")
    version = kernel.landlock_version()
    needed = _SCOPE_SINCE if made["scope"] else _NETWORK_SINCE if made["net"] else 1
    if version < needed:
        has = f"has Landlock ABI {version}" if version else "has no Landlock"
        raise Unsupported(f"Landlock ABI {needed} was asked for, and this kernel {has}", "leave that out")
    return made


def _mask(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is no set of rights")
    return value


def _port(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise ValueError(f"{value!r} is no port")
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or len(value) > 4095:
        raise ValueError(f"{value!r} is no absolute path")
    return value
