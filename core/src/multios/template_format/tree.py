"""A template as it lies in a folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from multios.errors import InvalidInput
from multios.model.template import TemplatePlan
from multios.template_format import document, lock, overlay, rendering

TEMPLATE = "template.toml"
LESSON = "lesson.md"
LOCK = "template.lock"
FRESH_SECONDS = 1.0
_PLANS_KEPT = 256
_TREES_KEPT = 256


class Tree:
    """The folder ``folder``; ``where`` is what errors call it. ``template.toml`` is read and checked at once."""

    def __init__(self, folder: Path, where: str = "") -> None:
        self.folder = folder
        self.where = where or str(folder)
        self._plans: dict[tuple[tuple[str, str], ...], TemplatePlan] = {}
        self.document = document.read(self._text(TEMPLATE), f"{self.where}/{TEMPLATE}")

    def lesson(self) -> str:
        """The lesson, in Markdown."""
        return self._text(LESSON)

    @cached_property
    def overlay(self) -> overlay.Overlay:
        """The files that are copied over the root filesystem."""
        return overlay.Overlay(self.folder / overlay.FOLDER, f"{self.where}/{overlay.FOLDER}")

    @cached_property
    def lock(self) -> lock.LockFile | None:
        """The lock, if there is one."""
        if not os.path.lexists(self.folder / LOCK):
            return None
        return lock.read(self._text(LOCK), f"{self.where}/{LOCK}")

    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        """See :func:`multios.template_format.rendering.render`; with the lock of the plan's base, if there is one."""
        key = tuple(sorted(values.items()))
        if key not in self._plans:
            plan = rendering.render(self.document, values, self.overlay.fingerprint)
            locks = self.lock.bases if self.lock else {}
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            self._plans[key] = replace(plan, lock=locks.get(plan.base))
        return self._plans[key]

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


_kept: dict[tuple[Path, str], tuple[float, Tree]] = {}
_keeping = threading.Lock()


def at(folder: Path, where: str, seconds: float = FRESH_SECONDS) -> Tree:
    """The template in a folder as it was at most so many seconds ago: one container asks for it several times."""
    now = time.monotonic()
    with _keeping:
        since, tree = _kept.get((folder, where), (0.0, None))
    if tree is not None and now - since <= seconds:
        return tree
    tree = Tree(folder, where)
    with _keeping:
        if len(_kept) >= _TREES_KEPT:
            _kept.clear()
        _kept[(folder, where)] = (now, tree)
    return tree
