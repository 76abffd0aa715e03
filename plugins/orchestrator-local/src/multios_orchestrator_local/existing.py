"""What there is of an app: everything that carries its label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multios.app_labels import APP_LABEL, FINGERPRINT_LABEL, NUMBER_LABEL, ONCE_LABEL, SERVICE_LABEL
from multios.drivers.base import Calls
from multios.model.app import App, AppState, Instance


def read(engine: Calls, app: App) -> AppState:
    """The app's containers, networks and volumes, and the images that it names."""
    networks, volumes = engine.call("networks.list"), engine.call("volumes.list")
    rows = [*(("network", row) for row in networks), *(("volume", row) for row in volumes)]
    own = [(kind, row) for kind, row in rows if is_own(engine, row, app.name)]
    return AppState(
        instances=instances(engine, app.name),
        networks={row["name"]: _fingerprint(row["labels"]) for kind, row in own if kind == "network"},
        volumes={row["name"]: _fingerprint(row["labels"]) for kind, row in own if kind == "volume"},
        elsewhere=frozenset(
            (kind, row["name"])
            for kind, row in rows
            if (kind, row) not in own and (row["owner"] == engine.uid or row.get("shared"))
        ),
        images=_images(engine, app),
    )


def rows(engine: Calls, app: str) -> list[dict[str, Any]]:
    """The engine's rows of the app's containers."""
    filters = {"label": f"{APP_LABEL}={app}", "owner": "me"}
    found: list[dict[str, Any]] = engine.call("containers.list", {"all": True, "filters": filters})
    return found


def instances(engine: Calls, app: str) -> tuple[Instance, ...]:
    """The app's containers, by service and number."""
    found = [instance(row) for row in rows(engine, app) if ONCE_LABEL not in row["labels"]]
    return tuple(sorted(found, key=lambda item: (item.service, item.number, item.name)))


def instance(row: Mapping[str, Any]) -> Instance:
    """What one of those rows says."""
    labels = row["labels"]
    number = labels.get(NUMBER_LABEL, "")
    return Instance(
        id=row["id"],
        name=row["name"],
        service=service_of(row),
        number=int(number) if number.isascii() and number.isdecimal() else 0,
        status=row["status"],
        image_id=row["image_id"],
        fingerprint=_fingerprint(labels),
        labels=labels,
    )


def service_of(row: Mapping[str, Any]) -> str:
    """Of which service a container is."""
    return str(row["labels"].get(SERVICE_LABEL, ""))


def is_own(engine: Calls, row: Mapping[str, Any], app: str) -> bool:
    """Whether a network or volume is the app's: its label says so, and its owner is who asks, for anybody may label his own."""
    return bool(row["labels"].get(APP_LABEL) == app and row["owner"] == engine.uid)


def _fingerprint(labels: Mapping[str, str]) -> dict[str, str]:
    """As it was written; what somebody else wrote there is as good as none."""
    try:
        value = json.loads(labels.get(FINGERPRINT_LABEL, "{}"))
    except ValueError:
        return {}
    return {str(path): str(digest) for path, digest in value.items()} if isinstance(value, dict) else {}


def _images(engine: Calls, app: App) -> dict[str, str]:
    wanted = {service.container["image"] for service in app.services if "image" in service.container}
    if not wanted:
        return {}
    found = engine.call("images.find", {"references": sorted(wanted)})
    return {str(reference): str(image) for reference, image in found.items()}
