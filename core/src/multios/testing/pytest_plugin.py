"""The pytest plugin that comes with multios-core: markers, nothing else until a test asks for more.

Every pytest run on the machine loads it, so it imports nothing of ``multios`` at module level.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

MARKERS = (
    "needs_root: runs only as root",
    "needs_network: needs the package mirror; skipped when MULTIOS_TEST_OFFLINE is set",
    "needs_feature(name, ...): needs these kernel features, by the names of multios.features.probe()",
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this host cannot run, with the reason."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("needs_network") and os.environ.get("MULTIOS_TEST_OFFLINE"):
        pytest.skip("needs the network, and MULTIOS_TEST_OFFLINE is set")
    names = [name for marker in item.iter_markers("needs_feature") for name in marker.args]
    if names:
        _skip_without(names)


def _skip_without(names: Iterable[str]) -> None:
    from multios.features import probe  # deferred: only tests that are marked pay for it

    features = probe()
    for name in names:
        if name not in features:
            pytest.fail(f"needs_feature({name!r}): unknown; there are {', '.join(sorted(features))}")
        if not features[name]:
            pytest.skip(f"this kernel lacks {name}")
