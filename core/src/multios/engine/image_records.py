"""The images of a content store as records, read from its index and found by name or id."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from multios.errors import InvalidInput, MultiosError, NotFound, nearest
from multios.model.image import Descriptor, Image
from multios.model.reference import parse
from multios.store import manifest
from multios.store.content import REFERENCE_ANNOTATION, ContentStore

log = logging.getLogger(__name__)

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


class ImageRecords:
    """What images there are; whoever changes the index calls :meth:`_refresh`."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._lock = threading.Lock()
        self._records: dict[str, Image] = {}
        self._refresh()

    def list(self) -> tuple[Image, ...]:
        """All images, newest first; one without a name has no references."""
        records = tuple(self._records.values())
        return tuple(sorted(records, key=lambda image: image.created, reverse=True))

    def find(self, reference: str) -> Image | None:
        """The image with this name (the tag is ``latest`` unless given), id or unambiguous id prefix.

        Raises ``InvalidInput`` for a prefix of several ids; what cannot be a name is simply not found.
        """
        records = self._records
        name = normal(reference)
        for image in records.values():
            if name in image.references or (name and name.partition("@")[2] == image.manifest.digest):
                return image
        if match := _ID.fullmatch(reference):
            # Two manifests, docker's and the OCI's, may lead to one image.
            found = {image.id: image for image in records.values() if image.id.startswith(match[1])}
            if len(found) > 1:
                raise InvalidInput(f"image id {reference!r} is ambiguous", "write more of it")
            return next(iter(found.values()), None)
        return None

    def get(self, reference: str) -> Image:
        """As :meth:`find`; ``NotFound`` with the nearest name when there is none."""
        image = self.find(reference)
        if image is None:
            parse(reference)
            known = [name for item in self.list() for name in item.references]
            raise no_image(reference, known, "see 'multios-container images'")
        return image

    def inspect(self, reference: str) -> dict[str, Any]:
        """The whole record, with podman's keys."""
        image = self.get(reference)
        system, architecture, variant = (*image.platform.split("/"), "", "")[:3]
        details = self._content.read_json(f"sha256:{image.id}")
        return {
            "Id": image.id,
            "Digest": image.manifest.digest,
            "RepoTags": list(image.references),
            "Created": details.get("created", ""),
            "Size": image.size,
            "Os": system,
            "Architecture": architecture,
            **({"Variant": variant} if variant else {}),
            "Source": image.source,
            "Config": manifest.config_json(image.config),
            "Labels": dict(image.config.labels),
            "RootFS": {"Type": "layers", "Layers": list(image.layers)},
            "History": [dict(item) for item in manifest.read_history(self._content, image)],
        }

    def layers_of(self, image: Image) -> tuple[manifest.Layer, ...]:
        """The image's stored layers, lowest first."""
        return manifest.read_layers(self._content, image)

    def history_of(self, image: Image) -> tuple[Mapping[str, Any], ...]:
        """How the image came to be (image-spec, config.md, ``history``), oldest first."""
        return manifest.read_history(self._content, image)

    def history(self, reference: str) -> tuple[dict[str, Any], ...]:
        """A row for each step that made the image, newest first; ``size`` is that of the compressed layer."""
        image = self.get(reference)
        layers = iter(self.layers_of(image))
        rows = []
        for item in self.history_of(image):
            layer = None if item.get("empty_layer") else next(layers, None)
            rows.append(
                {
                    "created": manifest.seconds(item.get("created")),
                    "created_by": str(item.get("created_by") or ""),
                    "size": layer.blob.size if layer else 0,
                    "comment": str(item.get("comment") or ""),
                    "author": str(item.get("author") or ""),
                }
            )
        if not rows:
            rows = [
                {"created": image.created, "created_by": "", "size": image.size, "comment": "", "author": ""}
            ]
        return tuple(
            {**row, "id": image.id if not number else "<missing>"}
            for number, row in enumerate(reversed(rows))
        )

    def _tag(self, name: str, descriptor: Descriptor) -> None:
        self._content.tag(name, descriptor)
        self._refresh()

    def _refresh(self) -> None:
        """Read the index again; only manifests that are new are opened. A damaged image is left out and logged."""
        with self._lock:
            names: dict[str, list[str]] = {}
            listed = self._content.manifests()
            entries = {item.digest: item for item in listed}
            for item in listed:
                name = item.annotations.get(REFERENCE_ANNOTATION)
                names.setdefault(item.digest, []).extend([name] if name else [])
            records = {}
            for digest, item in entries.items():
                known = self._records.get(digest)
                references = tuple(names[digest])
                if known is not None and known.references == references:
                    records[digest] = known
                    continue
                try:
                    records[digest] = manifest.read_image(self._content, item, references)
                except MultiosError as error:
                    log.warning("image %s is left out: %s", references or digest, error)
            self._records = records


def normal(reference: str) -> str:
    """The full form of a name, or empty when ``reference`` cannot be one."""
    try:
        return str(parse(reference))
    except InvalidInput:
        return ""


def no_image(reference: str, known: Sequence[str], remedy: str) -> NotFound:
    """That there is no such image, with the nearest of the known names."""
    return NotFound(f"no such image: {reference!r}", hint(reference, known) + remedy)


def hint(reference: str, known: Sequence[str]) -> str:
    """The known name that was probably meant, as a question; empty for none."""
    guess = nearest(reference, [*known])
    return f"did you mean {guess!r}? " if guess not in ("", reference) else ""
