"""What is to be built for a service, for ``image build``."""

from __future__ import annotations

from multios.compose.environment import resolved
from multios.compose.paths import is_remote
from multios.compose.tree import Items, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.compose.field import Field
    from multios.compose.files import Files

_NETWORKS = ("default", "none", "host")


def build(field: Field, image: str, files: Files, variables: Mapping[str, str]) -> dict[str, Any]:
    """``image`` is the reference that the result gets. What is not said is not there."""
    keys = field.table("build") if isinstance(field.value, Table) else {"context": field}
    found: dict[str, Any] = {"context": _context(keys, field), "image": image}
    if "dockerfile" in keys and "dockerfile_inline" in keys:
        raise keys["dockerfile_inline"].error("there is a dockerfile too", "leave one of them out")
    for key in ("dockerfile", "dockerfile_inline", "target"):
        if key in keys:
            found[key] = keys[key].text()
    if "network" in keys:
        found["network"] = keys["network"].one_of(*_NETWORKS)
    for key in ("pull", "no_cache"):
        if key in keys and keys[key].flag():
            found[key] = True
    if "args" in keys:
        found["args"] = resolved(keys["args"], variables)
    if "labels" in keys:
        found["labels"] = keys["labels"].texts()
    for key in ("tags", "platforms"):
        if keys.get(key):
            found[key] = [item.text() for item in keys[key].items()]
    if len(found.get("platforms", [])) > 1:
        raise keys["platforms"].error("a build is for one platform", "leave the others out")
    if "secrets" in keys:
        found["secrets"] = [_secret(item, files) for item in keys["secrets"].items()]
    if "ssh" in keys:
        found["ssh"] = _agents(keys["ssh"])
    return found


def _context(keys: dict[str, Field], field: Field) -> str:
    if "context" not in keys:
        raise field.error("context is missing", "name the directory to build from")
    context = keys["context"].text()
    if not context or is_remote(context):
        raise keys["context"].error(
            f"{context[:80]!r} would have to be fetched", "clone it, and name its directory"
        )
    return context


def _secret(item: Field, files: Files) -> dict[str, str]:
    """``id``, and ``file`` or ``environment``."""
    keys = (
        item.table("configs and secrets of a service") if isinstance(item.value, Table) else {"source": item}
    )
    if "source" not in keys:
        raise item.error("source is missing", "name one of the secrets")
    name = keys["source"].text()
    return {"id": keys["target"].text() if "target" in keys else name, **files.secret_source(name, item)}


def _agents(field: Field) -> list[str]:
    """As ``--ssh`` takes them: ``default`` or ``ID=SOCKET``."""
    if isinstance(field.value, Items):
        return [item.text() for item in field.items()]
    if not isinstance(field.value, Table):
        return [field.text()]
    return [name if item.value is None else f"{name}={item.text()}" for name, item in field.entries().items()]
