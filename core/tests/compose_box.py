"""Reads Compose files that a test writes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multios.compose.project import Project, Request, read
from multios.model import app_document
from multios.model.app import App


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Files by their relative names; their text is dedented."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def project(
    directory: Path, text: str = "", files: Mapping[str, str] | None = None, **request: Any
) -> Project:
    """``text`` as compose.yaml, read without any environment but what is given."""
    write(directory, {**({"compose.yaml": text} if text else {}), **(files or {})})
    return read(Request(**{"directory": str(directory), "environment": {}, "project_name": "app", **request}))


def service(directory: Path, snippet: str, **request: Any) -> Any:
    """The service ``web`` of the document, whose keys ``snippet`` has; it has an image if the snippet names none."""
    return project(directory, service_text(snippet), **request).document["services"]["web"]


def service_text(snippet: str) -> str:
    """A whole file with the service ``web``."""
    keys = textwrap.dedent(snippet)
    has_image = any(line.startswith(("image:", "build:", "template:")) for line in keys.splitlines())
    keys = keys if has_image else f"image: nginx\n{keys}"
    return "services:\n  web:\n" + textwrap.indent(keys, "    ")


def checked(made: Project) -> App:
    """The document as the daemon's door takes it."""
    return app_document.parse(made.document)


def at(document: Any, path: str) -> Any:
    """What stands at ``a/b/0``; ``None`` for nothing."""
    for part in path.split("/"):
        if isinstance(document, list):
            document = document[int(part)]
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document
