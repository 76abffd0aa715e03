"""A template as it lies in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from multios.errors import InvalidInput
from multios.model.template import TemplatePlan
from multios.template_format import document, overlay, rendering

TEMPLATE = "template.toml"
LESSON = "lesson.md"
LOCK = "template.lock"


class Tree:
    """The folder ``folder``; ``where`` is what errors call it. ``template.toml`` is read and checked at once."""

    def __init__(self, folder: Path, where: str = "") -> None:
        self.folder = folder
        self.where = where or str(folder)
        self.document = document.read(self._text(TEMPLATE), f"{self.where}/{TEMPLATE}")

    def lesson(self) -> str:
        """The lesson, in Markdown."""
        return self._text(LESSON)

    @cached_property
    def overlay(self) -> overlay.Overlay:
        """The files that are copied over the root filesystem."""
        return overlay.Overlay(self.folder / overlay.FOLDER, f"{self.where}/{overlay.FOLDER}")

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        """See :func:`multios.template_format.rendering.render`."""
        return rendering.render(self.document, values, self.overlay.fingerprint)

    def check(self) -> TemplatePlan:
        """Raise ``InvalidInput`` for anything that is wrong in the folder; its plan with the options' defaults."""
        lesson = self.lesson()
        if not lesson.startswith("# "):
            raise InvalidInput(f"{self.where}/{LESSON}:1: has no title", "begin it with a line '# Title'")
        plan = self.render({})
        for parameter in self.document.parameters:
            for choice in parameter.choices:
                self.render({parameter.name: choice})
        if not plan.checks:
            raise InvalidInput(
                f"{self.where}/{TEMPLATE}: it has no checks",
                "add [[checks]]: what must hold when it is right",
            )
        return plan

    def _text(self, name: str) -> str:
        path = self.folder / name
        try:
            # A link could lead to any file of the host.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(document.LARGEST_TEXT + 1)
            if len(content) > document.LARGEST_TEXT:
                raise InvalidInput(
                    f"{self.where}/{name}: larger than {document.LARGEST_TEXT >> 10} KiB", "make it shorter"
                )
            return content.decode()
        except OSError as error:
            raise InvalidInput(
                f"{self.where}/{name}: {error.strerror}",
                f"a template is a folder with {TEMPLATE} and {LESSON}",
            ) from None
        except UnicodeDecodeError:
            raise InvalidInput(f"{self.where}/{name}: is no text", "save it as UTF-8") from None
