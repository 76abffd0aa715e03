"""A cable between hosts that are network namespaces."""

from __future__ import annotations

import subprocess

from multios.testing.network_box import Namespace


def lay_cable(inner: Namespace, inner_address: str, outer: Namespace, outer_address: str) -> None:
    """Join two namespaces by a veth pair, ``cable`` in each; addresses are given with their prefix."""
    with inner.entered():
        _ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", outer.path)
    for place, address in ((inner, inner_address), (outer, outer_address)):
        with place.entered():
            _ip("address", "add", address, "dev", "cable")
            _ip("link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
