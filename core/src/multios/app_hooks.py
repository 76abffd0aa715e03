"""``post_start`` and ``pre_stop``: commands that an app's own commands run in a container after its start and before its stop.

They ride on the container as labels, so that whoever stops it needs no file. Imported by the client too, so it is light.
"""

from __future__ import annotations

import contextlib

from multios.app_labels import POST_START_LABEL, PRE_STOP_LABEL
from multios.errors import Conflict, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Call = Callable[[str, dict[str, Any]], Any]

_SHOWN = 80


def after_start(call: Call, ref: str, labels: Mapping[str, str]) -> None:
    """Run what is to be run in the container ``ref`` now that it runs; where it fails the container is stopped, and that raised."""
    try:
        _run(call, ref, "post_start", labels.get(POST_START_LABEL, ""))
    except MultiosError:
        with contextlib.suppress(MultiosError):  # what failed first is what is told
            call("containers.stop", {"ref": ref})
        raise


def before_stop(call: Call, ref: str, labels: Mapping[str, str]) -> MultiosError | None:
    """Run what is to be run before the container ``ref`` is stopped. It is stopped whatever comes of it: a failure is the answer."""
    try:
        _run(call, ref, "pre_stop", labels.get(PRE_STOP_LABEL, ""))
    except MultiosError as error:
        return error
    return None


def _run(call: Call, ref: str, kind: str, label: str) -> None:
    """One after another; raises ``Conflict`` for the first that fails."""
    for hook in _read(label):
        ended = call("containers.exec", {**hook, "ref": ref, "capture": True})
        if ended["exit_code"] != 0:
            command = " ".join(map(str, hook["command"]))[:_SHOWN]
            said = ended["last"][-1] if ended["last"] else "nothing"
            raise Conflict(f"{kind}: `{command}` ended with status {ended['exit_code']}", f"it said: {said}")


def _read(label: str) -> list[dict[str, Any]]:
    """The parameters of ``containers.exec`` for each; none for what somebody else wrote there."""
    if not label:
        return []
    import json  # deferred: few containers have any

    try:
        found = json.loads(label)
    except (ValueError, RecursionError):
        return []
    allowed = ("command", "user", "working_directory", "environment")
    return [
        {key: item[key] for key in allowed if key in item}
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, dict) and isinstance(item.get("command"), list)
    ]
