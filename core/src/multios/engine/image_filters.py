"""Which images a list or a prune is about: ``--filter``."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from multios.errors import InvalidInput, nearest
from multios.model.image import Image

LIST_FILTERS = ("reference", "dangling", "label", "before", "since", "until", "id")
PRUNE_FILTERS = ("label", "until")


class Finder(Protocol):
    """Who finds images by name."""

    def get(self, reference: str) -> Image:
        """The image; ``NotFound`` when there is none."""


def select(
    images: Iterable[Image], filters: Mapping[str, Any], valid: Sequence[str], finder: Finder
) -> list[Image]:
    """The images that pass every filter; a list is of alternatives. ``until`` is in seconds since the epoch."""
    chosen = list(images)
    for key, wanted in filters.items():
        if key not in valid:
            guess = nearest(key, list(valid))
            raise InvalidInput(
                f"no such filter: {key!r}",
                f"did you mean {guess!r}?" if guess else f"valid: {', '.join(valid)}",
            )
        choices = [str(item) for item in (wanted if isinstance(wanted, list) else [wanted])]
        bounds = (
            {choice: finder.get(choice).created for choice in choices} if key in ("before", "since") else {}
        )
        chosen = [item for item in chosen if any(_passes(item, key, choice, bounds) for choice in choices)]
    return chosen


def _passes(image: Image, key: str, wanted: str, bounds: Mapping[str, float]) -> bool:
    if key == "reference":
        return any(_is_like(name, wanted) for name in image.references)
    if key == "dangling":
        return (not image.references) == _truth(wanted)
    if key == "label":
        name, separator, value = wanted.partition("=")
        labels = image.config.labels
        return name in labels and (not separator or labels[name] == value)
    if key == "id":
        return image.id.startswith(wanted.removeprefix("sha256:"))
    if key == "until":
        return image.created < _moment(wanted)
    return image.created < bounds[wanted] if key == "before" else image.created > bounds[wanted]


def _is_like(name: str, pattern: str) -> bool:
    """Whether a name, its part before the tag, or what is behind a slash of it, is like the pattern (fnmatch(3))."""
    bare, colon, tag = name.rpartition(":")
    names = [name, bare] if colon and "/" not in tag else [name]
    endings = [text.split("/", count)[-1] for text in names for count in range(text.count("/") + 1)]
    return any(fnmatch.fnmatchcase(text, pattern) for text in endings)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise InvalidInput(f"filter dangling: {text!r} is neither true nor false", "write dangling=true")
    return text.lower() in ("true", "1")


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"filter until: {text!r} is no time", "use a client of the same version") from None
