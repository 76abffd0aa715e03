"""MultiOS Container System: what plugin authors and users of the Python interface import.

``connect()`` gives a client of the running daemon. The names below are loaded when they are first used, so
that importing the package costs a command line nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a command line 5 ms
if TYPE_CHECKING:
    from typing import Any

    from multios.api.client import connect
    from multios.hookspecs import hookimpl

__version__ = "0.1.0"
__all__ = ["__version__", "connect", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from multios.api.client import connect

        return connect
    if name == "hookimpl":
        from multios.hookspecs import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
