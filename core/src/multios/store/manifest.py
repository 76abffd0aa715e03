"""Images as documents: OCI manifests and configs, to and from the records (image-spec, manifest.md and config.md)."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from multios.errors import InvalidInput
from multios.model.image import Descriptor, Healthcheck, Image, ImageConfig

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
SOURCE_ANNOTATION = "multios.source"
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MOST_LAYERS = 128
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_KEYS = {
    "command": "Cmd",
    "entrypoint": "Entrypoint",
    "environment": "Env",
    "working_directory": "WorkingDir",
    "user": "User",
    "stop_signal": "StopSignal",
    "labels": "Labels",
}
_HEALTH_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}
_NANOSECONDS = 1_000_000_000


class Blobs(Protocol):
    """Where documents are read from."""

    def read_json(self, digest: str) -> dict[str, Any]:
        """A stored JSON object."""


class Sink(Protocol):
    """Where documents go."""

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Store ``data``."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A stored layer: its blob and the digest of its uncompressed tar."""

    blob: Descriptor
    diff_id: str


def architecture() -> str:
    """This machine's architecture in the words of the image specification."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def now() -> float:
    """Seconds since the epoch: ``SOURCE_DATE_EPOCH`` where the environment has it (reproducible-builds.org)."""
    return float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def history_entry(created: float, created_by: str, comment: str = "", author: str = "") -> dict[str, Any]:
    """How one layer came to be (image-spec, config.md, ``history``)."""
    texts = {"created_by": created_by, "comment": comment, "author": author}
    return {"created": _time_text(created), **{key: text for key, text in texts.items() if text}}


def write_image(
    content: Sink,
    config: ImageConfig,
    layers: Sequence[Layer],
    created_by: str,
    history: Sequence[Mapping[str, Any]] = (),
) -> Descriptor:
    """As :func:`write_document`, now; ``history`` is that of the layers before the last one."""
    created = now()
    return write_document(content, config, layers, [*history, history_entry(created, created_by)], created)


def write_document(
    content: Sink,
    config: ImageConfig,
    layers: Sequence[Layer],
    history: Sequence[Mapping[str, Any]],
    created: float,
    platform: str = "",
) -> Descriptor:
    """Store config and manifest of an image whose layers are stored; the manifest's descriptor.

    ``created`` in seconds since the epoch; an empty ``platform`` is this machine's.
    """
    system, machine, variant = (*(platform or f"linux/{architecture()}").split("/"), "")[:3]
    document = {
        "created": _time_text(created),
        "architecture": machine,
        "os": system,
        **({"variant": variant} if variant else {}),
        "config": config_json(config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [dict(item) for item in history],
    }
    return write_manifest(content, content.put_bytes(CONFIG_TYPE, _bytes(document)), layers)


def write_manifest(content: Sink, config: Descriptor, layers: Sequence[Layer]) -> Descriptor:
    """Store the manifest of a stored config and stored layers; its descriptor."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor_json(config),
        "layers": [descriptor_json(layer.blob) for layer in layers],
    }
    return content.put_bytes(MANIFEST_TYPE, _bytes(manifest))


def read_image(content: Blobs, manifest: Descriptor, references: tuple[str, ...] = ()) -> Image:
    """The record of a stored image; ``InvalidInput`` when its documents are not what they should be."""
    try:
        document = content.read_json(manifest.digest)
        stored, blobs = document["config"], document["layers"]
        details = content.read_json(stored["digest"])
        diff_ids = tuple(str(item) for item in details["rootfs"]["diff_ids"])
        if len(diff_ids) != len(blobs) or len(blobs) > _MOST_LAYERS:
            raise ValueError(f"{len(blobs)} layers and {len(diff_ids)} diff IDs")
        return Image(
            id=stored["digest"].removeprefix("sha256:"),
            references=references,
            manifest=manifest,
            config=_read_config(details.get("config") or {}),
            layers=diff_ids,
            created=seconds(details.get("created")),
            size=sum(int(item["size"]) for item in blobs),
            platform="/".join(_platform_words(details)),
            source=manifest.annotations.get(SOURCE_ANNOTATION, ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"manifest {manifest.digest} is no usable image: {error}", "fetch the image again"
        ) from error


def read_layers(content: Blobs, image: Image) -> tuple[Layer, ...]:
    """The image's layers, lowest first."""
    blobs = content.read_json(image.manifest.digest)["layers"]
    return tuple(
        Layer(Descriptor(item["mediaType"], item["digest"], item["size"]), diff_id)
        for item, diff_id in zip(blobs, image.layers, strict=True)
    )


def read_history(content: Blobs, image: Image) -> tuple[Mapping[str, Any], ...]:
    """How the image came to be, as its config tells."""
    history = content.read_json(f"sha256:{image.id}").get("history")
    return tuple(item for item in history if isinstance(item, dict)) if isinstance(history, list) else ()


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain ID of every layer (image-spec, config.md, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        joined = f"{chains[-1]} {diff_id}" if chains else ""
        chains.append("sha256:" + hashlib.sha256(joined.encode()).hexdigest() if joined else diff_id)
    return chains


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """The OCI form of a descriptor."""
    document: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        document["annotations"] = dict(descriptor.annotations)
    return document


def config_json(config: ImageConfig) -> dict[str, Any]:
    """The OCI form of what an image says of its containers; empty parts are left out."""
    values: dict[str, Any] = {_KEYS[name]: getattr(config, name) for name in _KEYS}
    values["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    values["Volumes"] = {path: {} for path in config.volumes}
    values["Shell"] = config.shell
    values["OnBuild"] = config.on_build
    values["Healthcheck"] = _healthcheck_json(config.healthcheck) if config.healthcheck else {}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in lists.items() if value
    }


def _platform_words(details: Mapping[str, Any]) -> list[str]:
    words = [
        details.get("os") or "linux",
        details.get("architecture") or architecture(),
        details.get("variant"),
    ]
    return [str(word) for word in words if word]


def _read_config(section: Mapping[str, Any]) -> ImageConfig:
    default = ImageConfig()
    return ImageConfig(
        command=tuple(map(str, section.get("Cmd") or ())),
        entrypoint=tuple(map(str, section.get("Entrypoint") or ())),
        environment=tuple(map(str, section.get("Env") or ())),
        working_directory=str(section.get("WorkingDir") or default.working_directory),
        user=str(section.get("User") or ""),
        exposed_ports=tuple(map(str, section.get("ExposedPorts") or ())),
        volumes=tuple(map(str, section.get("Volumes") or ())),
        labels={str(key): str(value) for key, value in (section.get("Labels") or {}).items()},
        stop_signal=str(section.get("StopSignal") or default.stop_signal),
        shell=tuple(map(str, section.get("Shell") or ())),
        on_build=tuple(map(str, section.get("OnBuild") or ())),
        healthcheck=_read_healthcheck(section.get("Healthcheck") or {}),
    )


def _healthcheck_json(check: Healthcheck) -> dict[str, Any]:
    """Docker's form of a health check, times in nanoseconds; inherited parts are left out."""
    values: dict[str, Any] = {"Test": list(check.test), "Retries": check.retries}
    for name, key in _HEALTH_TIMES.items():
        values[key] = round(getattr(check, name) * _NANOSECONDS)
    return {key: value for key, value in values.items() if value}


def _read_healthcheck(section: Mapping[str, Any]) -> Healthcheck | None:
    """The health check of a config, if it has one; ``ValueError`` for a number that is none or negative."""
    if not section:
        return None
    numbers = {key: section.get(key) or 0 for key in (*_HEALTH_TIMES.values(), "Retries")}
    for key, value in numbers.items():
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"Healthcheck.{key} is {value!r}, not a number from 0")
    times = {name: numbers[key] / _NANOSECONDS for name, key in _HEALTH_TIMES.items()}
    test = tuple(map(str, section.get("Test") or ()))
    return Healthcheck(test=test, retries=numbers["Retries"], **times)


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _time_text(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    fraction = f".{moment.microsecond:06}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def seconds(text: object) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 for none."""
    if not isinstance(text, str) or not text:
        return 0.0
    whole, _, rest = text.partition(".")
    zone = rest.lstrip("0123456789")
    fraction = rest[: len(rest) - len(zone)][:6]  # nanoseconds are more than datetime takes
    return datetime.datetime.fromisoformat(
        f"{whole}.{fraction.ljust(6, '0')}{zone}" if fraction else whole
    ).timestamp()
