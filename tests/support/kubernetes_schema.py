"""Whether an object is what Kubernetes' published schema says, no field too many: by the JSON schemas of ``kubernetes-validate``."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from typing import Any

import jsonschema
import referencing

VERSION = "1.37.0"
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HOST_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def problems(manifest: dict[str, Any], version: str = VERSION) -> list[str]:
    """What is wrong with it, as an API server would say: unknown fields, wrong types, names and labels out of bounds."""
    found = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in _validator(manifest["kind"], manifest["apiVersion"], version).iter_errors(manifest)
    ]
    return [*found, *_of_metadata(manifest)]


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = _contents(f"{kind.lower()}-{group}.json", version)
    registry = referencing.Resource.from_contents(schema) @ referencing.Registry()
    registry = referencing.Resource.from_contents(_contents("_definitions.json", version)) @ registry
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def _contents(name: str, version: str) -> Any:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    return json.loads((folder / name).read_text())


def _of_metadata(manifest: dict[str, Any]) -> list[str]:
    metadata = manifest["metadata"]
    name = metadata.get("name", "")
    is_host = manifest["kind"] in ("Service", "Namespace")
    allowed = _HOST_LABEL if is_host and manifest["kind"] == "Service" else _SUBDOMAIN
    longest = 63 if is_host else 253
    found = (
        []
        if allowed.fullmatch(name) and len(name) <= longest
        else [f"metadata.name: Invalid value: {name!r}"]
    )
    template = (manifest.get("spec") or {}).get("template") or {}
    for where in (metadata, template.get("metadata") or {}):
        for key, value in (where.get("labels") or {}).items():
            if not _KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                found.append(f"metadata.labels: Invalid value: {key}={value!r}")
        for key in where.get("annotations") or {}:
            if not _KEY.fullmatch(key):
                found.append(f"metadata.annotations: Invalid value: {key!r}")
    return [*found, *_of_pod(template.get("spec") or {})]


def _of_pod(spec: dict[str, Any]) -> list[str]:
    found = []
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    for container in spec.get("containers") or ():
        if not container.get("image"):
            found.append("spec.containers.image: Required value")
        paths = [mount["mountPath"] for mount in container.get("volumeMounts") or ()]
        found += [f"mountPath: must be unique: {path}" for path in paths if paths.count(path) > 1]
        used = [mount["name"] for mount in container.get("volumeMounts") or ()]
        found += [f"volumeMounts.name: Not found: {name}" for name in used if name not in volumes]
    return found
