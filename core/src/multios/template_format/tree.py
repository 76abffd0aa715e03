"""A template as it lies in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from multios.errors import InvalidInput
from multios.model.template import TemplatePlan
from multios.template_format import document, overlay, rendering

TEMPLATE = "template.toml"
LESSON = "lesson.md"


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

    def _text(self, name: str) -> str:
        path = self.folder / name
        try:
            with path.open("rb") as file:
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
