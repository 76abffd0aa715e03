"""Objects that a cluster shall have, with what a later plan knows them by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from multios.model.app import fingerprint
from multios_orchestrator_kubernetes import names
from multios_orchestrator_kubernetes.kinds import Kind, Manifest, key_of
from multios_orchestrator_kubernetes.pods import Rendering


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object. ``service`` is whose it is; ``users`` are the services that need it, empty for all."""

    manifest: Manifest
    service: str = ""
    users: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return key_of(self.manifest)


def signed(manifest: Manifest) -> Manifest:
    """The object with its fingerprint on it, by which a later plan sees what changed."""
    text = json.dumps(fingerprint(_viewed(manifest)), sort_keys=True, separators=(",", ":"))
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), names.FINGERPRINT_ANNOTATION: text}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _viewed(manifest: Manifest) -> dict[str, Any]:
    """The object so that its fingerprint's paths say something: a workload's container stands at its top."""
    view = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata")}
    view["labels"] = manifest["metadata"].get("labels", {})
    template = (view.get("spec") or {}).get("template")
    if template:
        pod = dict(template["spec"])
        (container,) = pod.pop("containers")
        variables = {item["name"]: item["value"] for item in container["env"]}
        view["container"] = {**container, "env": variables}
        view["pod"] = {**pod, "metadata": template["metadata"]}
        view["spec"] = {key: value for key, value in view["spec"].items() if key != "template"}
    return view


def new(rendering: Rendering, kind: Kind, name: str, service: str = "", **fields: Any) -> dict[str, Any]:
    """An object of the app's, of its namespace where the kind has one; ``fields`` are all but its metadata."""
    metadata: dict[str, Any] = {"name": name, "labels": names.app_labels(rendering.app.name, service)}
    if kind.is_namespaced:
        metadata["namespace"] = rendering.namespace
    return {"apiVersion": kind.version, "kind": kind.name, "metadata": metadata, **fields}
