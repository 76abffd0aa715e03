"""Drivers that a client makes for itself, because they need its user's own files."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from multios.drivers.base import DriverContext
from multios.drivers.orchestrator import OrchestratorDriver
from multios.plugins.catalog import Catalog


def orchestrator(name: str, options: Mapping[str, str]) -> OrchestratorDriver | None:
    """The orchestrator ``name``, unless it is one that works in the daemon. Raises what the catalog says of one that is not there."""
    catalog = Catalog()
    kind = cast(type[OrchestratorDriver], catalog.load("orchestrator", name).driver)
    if kind.needs_engine:
        return None
    directory = tempfile.TemporaryDirectory(prefix="multios-client-")
    where = Path(directory.name)
    context = DriverContext(state=where, runtime=where)
    made = cast(OrchestratorDriver, catalog.create("orchestrator", name, dict(options), context))
    weakref.finalize(made, directory.cleanup)
    return made
