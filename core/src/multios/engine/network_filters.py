"""Which networks a list or a prune is about: ``--filter``."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multios.errors import InvalidInput, nearest
from multios.model.network import Network

LIST_FILTERS = ("name", "id", "driver", "label")
PRUNE_FILTERS = ("label",)


def select(networks: Iterable[Network], filters: Mapping[str, Any], valid: Sequence[str]) -> list[Network]:
    """The networks that pass every filter; a list is of alternatives."""
    chosen = list(networks)
    for key, wanted in filters.items():
        if key not in valid:
            guess = nearest(key, list(valid))
            raise InvalidInput(
                f"no such filter: {key!r}",
                f"did you mean {guess!r}?" if guess else f"valid: {', '.join(valid)}",
            )
        choices = [str(item) for item in (wanted if isinstance(wanted, list) else [wanted])]
        chosen = [item for item in chosen if any(_passes(item, key, choice) for choice in choices)]
    return chosen


def _passes(network: Network, key: str, wanted: str) -> bool:
    if key == "name":
        return wanted in network.name or fnmatch.fnmatchcase(network.name, wanted)
    if key == "id":
        return network.id.startswith(wanted)
    if key == "driver":
        return network.driver == wanted
    name, separator, value = wanted.partition("=")
    return name in network.labels and (not separator or network.labels[name] == value)
