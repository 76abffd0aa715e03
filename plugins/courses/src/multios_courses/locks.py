"""A template's lock in a course: what was built must be what the course was written with.

The file is what ``multios-container template lock TEMPLATE --output FILE`` wrote: by base, its digest and the version of every package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli

from multios.cli.context import Context
from multios.errors import Conflict, InvalidInput, MultiosError, Unsupported
from multios_courses.course_file import Template

_LARGEST = 1 << 20
_METHOD = "templates.lock"


def build(context: Context, template: Template, verify: bool = False) -> dict[str, Any]:
    """Build a template unless its image is there: ``image`` and ``id``.

    What is built now is compared with its lock, and thrown away when it is another; with ``verify`` what was there is compared, too.
    One that came in a bundle was compared when that was made.
    """
    params = {"name": template.name, "options": dict(template.options)}
    was_there = template.lock is None or context.call("templates.inspect", params)["built"]
    built: dict[str, Any] = context.call("templates.build", params)
    if template.lock is not None and (verify or not was_there):
        try:
            check(context, template)
        except MultiosError:
            if not was_there:
                context.call("images.remove", {"ref": built["image"]})
            raise
    return built


def check(context: Context, template: Template) -> None:
    """Raise ``Conflict`` that names the lock's file and line when the template's image was built of something else."""
    if template.lock is None:
        return
    text = _read(template.lock)
    wanted = _bases(text, template.lock)
    params = {"name": template.name, "options": dict(template.options)}
    base = context.call("templates.inspect", params)["base"]
    if base not in wanted:
        raise InvalidInput(
            f"{template.lock}: there is no lock for the base {base!r}",
            f"it has: {', '.join(wanted) or 'none'}",
        )
    try:
        built = context.call(_METHOD, params)["lock"]
    except MultiosError as error:
        if "no such method" not in error.cause:
            raise
        raise Unsupported(
            f"{template.lock}: this daemon cannot tell what a template was built of", "update multios-core"
        ) from None
    _compare(wanted[base], _bases(built, template.lock)[base], text, template)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: {error}", "write it anew: multios-container template lock") from None


def _bases(text: str, file: Path) -> dict[str, dict[str, Any]]:
    try:
        bases = tomli.loads(text)["bases"]
        return {
            str(name): {"digest": row["base_digest"], "packages": set(row["packages"])}
            for name, row in bases.items()
        }
    except (tomli.TOMLDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        raise InvalidInput(
            f"{file}: this is no template's lock", "write it anew: multios-container template lock"
        ) from None


def _compare(wanted: dict[str, Any], built: dict[str, Any], text: str, template: Template) -> None:
    differing = [wanted["digest"]] if wanted["digest"] != built["digest"] else []
    differing += sorted(wanted["packages"] - built["packages"]) or sorted(
        built["packages"] - wanted["packages"]
    )
    if not differing:
        return
    first = str(differing[0])
    line = text[: text.index(first)].count("\n") + 1 if first in text else 1
    kind = "the base" if first == wanted["digest"] else "package"
    where = (
        "is locked, and the image has another" if first in text else "is in the image, and not in the lock"
    )
    raise Conflict(
        f"{template.lock}:{line}: the lock of {template.name} cannot be met: {kind} {first} {where}",
        "write the lock anew: multios-container template lock, or build where its packages are",
    )
