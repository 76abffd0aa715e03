"""A hooks plugin for tests: lets one step of the engine fail, or the daemon die in it, as a file says.

The engine's own code knows nothing of this: it is installed as any third party's plugin, by the metadata that
:func:`install` writes. Steps that are hooks are wrapped; the others are reached through the undo stack.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

ENVIRONMENT = "MULTIOS_TEST_FAULTS"
"""Names the directory of the orders (``order``: JSON, taken once) and of what was seen (``seen``: a step a line)."""


class InjectedFault(Exception):
    """The failure."""


def install(site: Path) -> None:
    """Write the metadata that makes this module a hooks plugin for programs with ``site`` in PYTHONPATH."""
    metadata = site / "multios_fault_injection-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: multios-fault-injection\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[multios.hooks.v1]\nfault-injection = fault_injection\n")
    (site / "fault_injection.py").symlink_to(Path(__file__).resolve())


def order(directory: Path, step: str, when: str, action: str) -> None:
    """The next ``step`` does ``action`` (``fail`` or ``kill``), ``before`` or ``after`` its work."""
    temporary = directory / "order.new"
    temporary.write_text(json.dumps({"step": step, "when": when, "action": action}))
    temporary.rename(directory / "order")


def _meet(step: str, when: str) -> None:
    directory = Path(os.environ[ENVIRONMENT])
    if when == "before":
        with (directory / "seen").open("a") as seen:
            seen.write(f"{step}\n")
    try:
        wanted = json.loads((directory / "order").read_text())
    except FileNotFoundError:
        return
    if (wanted["step"], wanted["when"]) != (step, when):
        return
    (directory / "order").unlink()
    if wanted["action"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFault(f"injected {when} {step!r}")


def _reach_steps() -> None:
    from multios.engine.steps import Steps

    original = Steps.do

    @functools.wraps(original)
    def do(
        self: Steps, name: str, action: Callable[[], Any], inverse: Callable[[], object] | None = None
    ) -> Any:
        def met() -> Any:
            _meet(name, "before")
            result = action()
            _meet(name, "after")
            return result

        return original(self, name, met, inverse)

    Steps.do = do  # type: ignore[method-assign]


if ENVIRONMENT in os.environ:
    import pluggy

    _reach_steps()
    hookimpl = pluggy.HookimplMarker("multios")

    @hookimpl(wrapper=True)
    def multios_prepare_rootfs() -> Generator[None, Any, Any]:
        _meet("hook multios_prepare_rootfs", "before")
        result = yield
        _meet("hook multios_prepare_rootfs", "after")
        return result

    @hookimpl(wrapper=True)
    def multios_apply_security() -> Generator[None, Any, Any]:
        _meet("hook multios_apply_security", "before")
        result = yield
        _meet("hook multios_apply_security", "after")
        return result

    @hookimpl
    def multios_amend_spec() -> None:
        _meet("hook multios_amend_spec", "before")

    @hookimpl(wrapper=True)
    def multios_create_container() -> Generator[None, Any, Any]:
        _meet("hook multios_create_container", "before")
        result = yield
        _meet("hook multios_create_container", "after")
        return result

    @hookimpl(wrapper=True)
    def multios_attach_network() -> Generator[None, Any, Any]:
        _meet("hook multios_attach_network", "before")
        result = yield
        _meet("hook multios_attach_network", "after")
        return result

    @hookimpl(wrapper=True)
    def multios_start_container() -> Generator[None, Any, Any]:
        _meet("hook multios_start_container", "before")
        result = yield
        _meet("hook multios_start_container", "after")
        return result
