"""Templates: listed, explained, and built into images by running their steps in our own containers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from multios.drivers.base import DriverContext
from multios.drivers.image_source import Progress
from multios.drivers.template import TemplateDriver
from multios.engine.build import Builds
from multios.engine.images import Images
from multios.engine.locks import KeyedLocks
from multios.engine.template_builds import TEMPLATE_LABEL, VERSION_LABEL, TemplateBuild, image_name
from multios.errors import MultiosError, unknown
from multios.model.image import Image
from multios.model.json import to_json
from multios.model.template import Check, TemplatePlan
from multios.plugins.catalog import Catalog

__all__ = ["TEMPLATE_LABEL", "VERSION_LABEL", "Templates", "image_name"]
log = logging.getLogger(__name__)

_FOR_TESTS = ("fake", "noop")


class Templates:
    """The installed templates and their images."""

    def __init__(self, catalog: Catalog, images: Images, builds: Builds) -> None:
        self._catalog = catalog
        self._images = images
        self._builds = builds
        self._building = KeyedLocks()

    # --- what there is ----------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The installed templates."""
        return self._catalog.names("template")

    def list(self) -> list[dict[str, Any]]:
        """A row a template, without those for tests; a broken one is left out and logged (``plugin list`` shows it)."""
        rows = []
        for name in self.names():
            if name in _FOR_TESTS:
                continue
            try:
                plan = self.plan(name, {})
                distribution = self._catalog.load("template", name).distribution
            except MultiosError as error:
                log.warning("template %s is left out: %s", name, error)
                continue
            rows.append(
                {
                    "name": name,
                    "version": plan.version,
                    "summary": plan.description,
                    "distribution": distribution,
                    "base": plan.base,
                    "resources": to_json(plan.resources),
                    "built": self._images.find(image_name(plan)) is not None,
                }
            )
        return rows

    def show(self, name: str) -> str:
        """The lesson, in Markdown."""
        return self._driver(name).lesson()

    def plan(self, name: str, options: Mapping[str, str]) -> TemplatePlan:
        """The template with these options; ``NotFound`` or ``InvalidInput`` name what is wrong."""
        return self._driver(name).render(options)

    def inspect(self, name: str, options: Mapping[str, str]) -> dict[str, Any]:
        """The whole plan, the options there are, the checks, and the image if it is built."""
        driver = self._driver(name)
        plan = driver.render(options)
        image = self._images.find(image_name(plan))
        return {
            **to_json(plan),
            "distribution": self._catalog.load("template", name).distribution,
            "parameters": to_json(driver.parameters()),
            "checks": to_json(checks_of(driver, plan)),
            "image": image_name(plan),
            "image_id": image.id if image else "",
            "built": image is not None,
        }

    def _driver(self, name: str) -> TemplateDriver:
        if name not in (names := self.names()):
            listed = ", ".join(names)
            remedy = f"installed: {listed}" if listed else "pip install multios-templates-edu"
            raise unknown("template", name, names, remedy)
        # A template keeps nothing, so it gets no place of its own.
        context = DriverContext(Path("/"), Path("/"))
        return cast(TemplateDriver, self._catalog.create("template", name, {}, context))

    # --- building ---------------------------------------------------------------------------------

    def image_for(self, name: str, options: Mapping[str, str], progress: Progress) -> Image:
        """The template's image, built unless it is stored; several threads that ask for one build it once."""
        driver = self._driver(name)
        plan = driver.render(options)
        reference = image_name(plan)
        image = self._images.find(reference)
        if image is None:
            with self._building.holding(reference):
                image = self._images.find(reference) or self._build(driver, plan, progress)
        return image

    def _build(self, driver: TemplateDriver, plan: TemplatePlan, progress: Progress) -> Image:
        self._images.ensure(plan.base, progress)
        return TemplateBuild(self._builds, plan, checks_of(driver, plan), driver.rootfs(), progress).run()


def checks_of(driver: TemplateDriver, plan: TemplatePlan) -> tuple[Check, ...]:
    """What must hold in a container of the plan."""
    return plan.checks or driver.checks()
