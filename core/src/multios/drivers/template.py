"""Template drivers: each educational template is one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from multios.drivers.base import Driver
from multios.model.template import Check, Parameter, TemplatePlan

if TYPE_CHECKING:
    from multios.template_format.overlay import Overlay


class TemplateDriver(Driver):
    """Contract. All methods are pure: they read the package's own files and change nothing."""

    kind: ClassVar[str] = "template"

    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The template's options."""

    @abstractmethod
    def render(self, values: Mapping[str, str]) -> TemplatePlan:
        """The plan for these option values; absent ones take their default.

        An unknown option or a value out of bounds raises ``InvalidInput`` that names it.
        """

    @abstractmethod
    def checks(self) -> tuple[Check, ...]:
        """What must hold inside a container of this template."""

    @abstractmethod
    def lesson(self) -> str:
        """The lesson, in Markdown."""

    def rootfs(self) -> Overlay | None:
        """The files that are copied over the root filesystem; ``None`` for none.

        The plan's ``rootfs`` is their fingerprint, so that other files make another image.
        """
        return None
