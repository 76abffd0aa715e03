"""``plugin test DISTRIBUTION``: the right suite on every plugin that a distribution brings."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multios.errors import NotFound, PluginError, nearest
from multios.plugins.catalog import Catalog
from multios.plugins.discovery import COMMAND, HOOKS

SUITES = {
    "isolation": ("multios.testing.isolation", "IsolationDriverSuite", "driver_type"),
    "storage": ("multios.testing.storage", "StorageDriverSuite", "driver_type"),
    "network": ("multios.testing.network", "NetworkDriverSuite", "driver_type"),
    "security": ("multios.testing.security", "SecurityDriverSuite", "driver_type"),
    "template": ("multios.testing.template", "TemplateDriverSuite", "driver_type"),
    "template_converter": (
        "multios.testing.template_converter",
        "TemplateConverterDriverSuite",
        "driver_type",
    ),
    "image_source": ("multios.testing.image_source", "ImageSourceDriverSuite", "driver_type"),
    "orchestrator": ("multios.testing.orchestrator", "OrchestratorDriverSuite", "driver_type"),
    HOOKS: ("multios.testing.hooks", "HooksSuite", "plugin"),
    COMMAND: ("multios.testing.command", "CommandSuite", "command"),
}
"""Kind to the suite's module, its class, and the attribute that names what is tested."""
STAND_INS = ("fake", "noop")
"""Drivers of the core that have no kernel behind them and cannot pass a suite that looks for one."""


def run(distribution: str, pytest_arguments: Sequence[str] = ()) -> int:
    """Test an installed distribution's plugins; pytest's exit code.

    Raises ``NotFound`` for a distribution without plugins and ``PluginError`` where one is of another contract
    version or pytest is missing.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PluginError(
            "the conformance kit needs pytest", "python3 -m pip install 'multios-core[testing]'"
        )
    import pytest

    source = generate(Catalog(), distribution)
    with tempfile.TemporaryDirectory(prefix="multios-plugin-test-") as directory:
        (Path(directory) / "pytest.ini").write_text("[pytest]\n")
        file = Path(directory) / "test_conformance.py"
        file.write_text(source)
        quiet = [
            "-c",
            f"{directory}/pytest.ini",
            "--rootdir",
            directory,
            "-p",
            "no:cacheprovider",
            "--tb=short",
        ]
        quiet += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            return int(pytest.main([*quiet, "--import-mode=importlib", *pytest_arguments, str(file)]))
        finally:
            sys.dont_write_bytecode = writes_bytecode


def generate(catalog: Catalog, distribution: str) -> str:
    """The test module: a subclass of the kind's suite for each plugin of ``distribution``."""
    found = catalog.declared(distribution)
    if not found:
        names = catalog.distributions()
        guess = nearest(distribution, names)
        hint = f"did you mean {guess!r}?" if guess else f"with plugins: {', '.join(names)}"
        raise NotFound(f"no installed distribution {distribution[:80]!r} with plugins", hint)
    tested = [item for item in found if not (item.distribution == "multios-core" and item.name in STAND_INS)]
    if not tested:
        raise NotFound(
            f"{distribution} brings only stand-ins for tests", "name a distribution that brings plugins"
        )
    lines = ["from multios.testing.runner import load, suite", ""]
    for item in tested:
        if not item.compatible:
            raise PluginError(
                f"{item.kind} {item.name!r} of {item.distribution} is for contract {item.contract}",
                "install a version of it for this core",
            )
        title = re.sub(r"[^0-9A-Za-z]+", " ", f"{item.kind} {item.name}").title().replace(" ", "")
        place = item.entry_point.value
        lines += [
            "",
            f"class Test{title}(suite({item.kind!r})):",
            f"    {SUITES[item.kind][2]} = load({place!r})",
            "",
        ]
    return "\n".join(lines)


def suite(kind: str) -> Any:
    """The suite class of a kind."""
    module, name, _ = SUITES[kind]
    return getattr(importlib.import_module(module), name)


def load(place: str) -> Any:
    """What an entry point's value ``module:attribute`` names."""
    module, _, attribute = place.partition(":")
    found: Any = importlib.import_module(module.strip())
    for name in filter(None, attribute.strip().split(".")):
        found = getattr(found, name)
    return found
