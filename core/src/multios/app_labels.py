"""The labels by which what belongs to an app is known; without imports, because the client reads them too."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

APP_LABEL = "org.multios.app"
SERVICE_LABEL = "org.multios.app.service"
NUMBER_LABEL = "org.multios.app.number"
FINGERPRINT_LABEL = "org.multios.app.fingerprint"
"""What is asked for, as :func:`multios.model.app.fingerprint` has it, so that a later plan can say what changed."""
DEPENDS_LABEL = "org.multios.app.depends_on"
"""The services that a container's depends on, by commas: dependents are ended first."""
ONCE_LABEL = "org.multios.app.once"
"""On a container of ``app run``, which is none of its service's replicas."""
POST_START_LABEL = "org.multios.app.post_start"
PRE_STOP_LABEL = "org.multios.app.pre_stop"
"""Commands to run inside, as JSON: see :mod:`multios.app_hooks`."""
VOLUME_LABEL = "org.multios.app.volume"
"""On a volume, the name it has in the app's file."""
NETWORK_LABEL = "org.multios.app.network"


def waves(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows of containers in groups that end together: each after all that depend on it. Reversed they start together.

    A circle, which a user can label, goes last at once.
    """
    left, ordered = list(rows), []
    while left:
        needed = {name for row in left for name in row["labels"].get(DEPENDS_LABEL, "").split(",") if name}
        wave = [row for row in left if row["labels"].get(SERVICE_LABEL, "") not in needed] or left
        ordered.append(wave)
        left = [row for row in left if row not in wave]
    return ordered
