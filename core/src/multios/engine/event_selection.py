"""Which events somebody asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multios.errors import InvalidInput, nearest

FILTERS = ("type", "action", "event", "name", "container", "id", "label", "image")


@dataclass(frozen=True, slots=True)
class Selection:
    """``filters`` has a value or a list of alternatives a key; ``since`` and ``until`` are times, 0 for none.

    ``after`` is the number of the last event that is known already. An unknown filter raises ``InvalidInput``.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    since: float = 0.0
    until: float = 0.0
    after: int = 0

    def __post_init__(self) -> None:
        for key in self.filters:
            if key not in FILTERS:
                guess = nearest(key, list(FILTERS))
                raise InvalidInput(
                    f"no such filter: {key!r}",
                    f"did you mean {guess!r}?" if guess else f"valid: {', '.join(FILTERS)}",
                )

    def has(self, event: Mapping[str, Any]) -> bool:
        """Whether the event is asked for."""
        return (
            event["sequence"] > self.after
            and event["time"] >= self.since
            and (not self.until or event["time"] <= self.until)
            and all(_passes(event, key, wanted) for key, wanted in self.filters.items())
        )


def _passes(event: Mapping[str, Any], key: str, wanted: Any) -> bool:
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(_is(event, key, str(choice)) for choice in choices)


def _is(event: Mapping[str, Any], key: str, wanted: str) -> bool:
    if key == "id":
        return str(event["id"]).startswith(wanted)
    if key == "container":
        is_meant = event["name"] == wanted or (bool(wanted) and event["id"].startswith(wanted))
        return event["type"] == "container" and is_meant
    if key == "label":
        name, separator, value = wanted.partition("=")
        labels = event["attributes"].get("labels", {})
        return name in labels and (not separator or labels[name] == value)
    if key == "image":
        image = event["attributes"].get("image", "")
        return wanted in (image, image.partition(":")[0])
    return bool(event["action" if key == "event" else key] == wanted)
