"""Templates: listed, explained, and built into images by running their steps in our own containers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from multios.drivers.base import DriverContext
from multios.drivers.declarative_template import TreeTemplate
from multios.drivers.image_source import Progress
from multios.drivers.template import TemplateDriver
from multios.engine import template_locks
from multios.engine.build import Builds
from multios.engine.caller import Caller
from multios.engine.images import Images
from multios.engine.imported_templates import Imported, ImportedTemplates
from multios.engine.locks import KeyedLocks
from multios.engine.template_builds import (
    TEMPLATE_LABEL,
    VERSION_LABEL,
    TemplateBuild,
    image_name,
    image_prefix,
)
from multios.errors import InvalidInput, MultiosError, NotFound, unknown
from multios.model.container import Resources
from multios.model.image import Image
from multios.model.json import to_json
from multios.model.template import Check, TemplatePlan
from multios.plugins.catalog import Catalog
from multios.template_format import lock

__all__ = ["TEMPLATE_LABEL", "VERSION_LABEL", "Templates", "image_name"]
log = logging.getLogger(__name__)

_FOR_TESTS = ("fake", "noop")


@dataclass(frozen=True, slots=True)
class Found:
    """A template as a caller sees it; ``imported`` is ``None`` for an installed one."""

    driver: TemplateDriver
    distribution: str
    imported: Imported | None = None

    @property
    def is_of_a_user(self) -> bool:
        """Whether an ordinary user brought it: its word counts no more than his."""
        return self.imported is not None and not Caller(self.imported.owner, 0).is_administrator

    @property
    def owner(self) -> int | None:
        """Whose image it is built into; ``None``: everyone's."""
        return self.imported.owner if self.imported else None


class Templates:
    """The installed templates, those that a caller imported, and their images."""

    def __init__(
        self,
        catalog: Catalog,
        images: Images,
        builds: Builds,
        imported: ImportedTemplates,
        most: Callable[[int], Resources] = lambda uid: Resources(),
    ) -> None:
        """``most`` says what the steps of a template that this user brought may have."""
        self._catalog = catalog
        self._images = images
        self._builds = builds
        self._imported = imported
        self._most = most
        self._building = KeyedLocks()

    # --- what there is ----------------------------------------------------------------------------

    def installed(self) -> list[str]:
        """The installed templates."""
        return self._catalog.names("template")

    def names(self, caller: Caller | None = None) -> list[str]:
        """The installed templates, and those that the caller imported."""
        installed = self.installed()
        return [*installed, *(name for name in self._imported.names(caller) if name not in installed)]

    def list(self, caller: Caller | None = None) -> list[dict[str, Any]]:
        """A row a template, without those for tests; a broken one is left out and logged (``plugin list`` shows it)."""
        rows = []
        for name in self.names(caller):
            if name in _FOR_TESTS:
                continue
            try:
                found = self.find(name, caller)
                plan = found.driver.render({})
            except MultiosError as error:
                log.warning("template %s is left out: %s", name, error)
                continue
            rows.append(
                {
                    "name": name,
                    "version": plan.version,
                    "summary": plan.description,
                    "distribution": found.distribution,
                    "source": found.imported.source if found.imported else "",
                    "base": plan.base,
                    "resources": to_json(plan.resources),
                    "built": self._images.find(image_name(plan, found.owner)) is not None,
                }
            )
        return rows

    def show(self, name: str, caller: Caller | None = None) -> str:
        """The lesson, in Markdown."""
        return self.find(name, caller).driver.lesson()

    def plan(self, name: str, options: Mapping[str, str], caller: Caller | None = None) -> TemplatePlan:
        """The template with these options; ``NotFound`` or ``InvalidInput`` name what is wrong."""
        return self.find(name, caller).driver.render(options)

    def checks(
        self, name: str, options: Mapping[str, str], caller: Caller | None = None
    ) -> tuple[Check, ...]:
        """What must hold in a container of the template with these options."""
        driver = self.find(name, caller).driver
        return checks_of(driver, driver.render(options))

    def inspect(self, name: str, options: Mapping[str, str], caller: Caller | None = None) -> dict[str, Any]:
        """The whole plan, the options there are, the checks, and the image if it is built."""
        found = self.find(name, caller)
        plan = found.driver.render(options)
        reference = image_name(plan, found.owner)
        image = self._images.find(reference)
        return {
            **to_json(plan),
            "distribution": found.distribution,
            "imported": to_json(found.imported),
            "parameters": to_json(found.driver.parameters()),
            "checks": to_json(checks_of(found.driver, plan)),
            "image": reference,
            "image_id": image.id if image else "",
            "built": image is not None,
        }

    def find(self, name: str, caller: Caller | None = None) -> Found:
        """The template of this name; ``NotFound`` offers the nearest of those that the caller sees."""
        if name in self.installed():
            # A template keeps nothing, so it gets no place of its own.
            context = DriverContext(Path("/"), Path("/"))
            driver = cast(TemplateDriver, self._catalog.create("template", name, {}, context))
            return Found(driver, self._catalog.load("template", name).distribution)
        own = self._imported.driver(name, caller)
        if own is not None:
            return Found(own, "", own.record)
        if "/" in name:
            raise NotFound(
                f"{name!r} is no template's name", f"a folder is imported first: template import {name}"
            )
        names = [known for known in self.names(caller) if known not in _FOR_TESTS]
        remedy = f"there are: {', '.join(names)}" if names else "pip install multios-templates-edu"
        raise unknown("template", name, names, remedy)

    # --- building ---------------------------------------------------------------------------------

    def image_for(
        self,
        name: str,
        options: Mapping[str, str],
        progress: Progress,
        caller: Caller | None = None,
        locked: bool = False,
    ) -> Image:
        """The template's image, built unless it is stored; several threads that ask for one build it once.

        With ``locked`` a template without a lock for its base is ``InvalidInput``.
        """
        found = self.find(name, caller)
        plan = found.driver.render(options)
        if locked and plan.lock is None:
            raise InvalidInput(
                f"template {name!r} has no lock for the base {plan.base!r}",
                f"write one: multios-container template lock {name}",
            )
        return self.built(found, plan, progress)

    def built(self, found: Found, plan: TemplatePlan, progress: Progress) -> Image:
        """The image of a plan of this template, built unless it is stored."""
        reference = image_name(plan, found.owner)
        image = self._images.find(reference)
        if image is None:
            with self._building.holding(reference):
                image = self._images.find(reference) or self._build(found, plan, progress)
        return image

    def _build(self, found: Found, plan: TemplatePlan, progress: Progress) -> Image:
        template_locks.check_requested(plan)
        base = template_locks.base_for(self._images, plan, progress)
        resources = Resources()
        if found.imported is not None and found.is_of_a_user:
            resources = self._most(found.imported.owner)
        checks, rootfs = checks_of(found.driver, plan), found.driver.rootfs()
        build = TemplateBuild(self._builds, plan, checks, rootfs, progress)
        return build.run(image_name(plan, found.owner), resources, base)

    def forget_images(self, owner: int, name: str, users_of: Callable[[str], Sequence[str]]) -> None:
        """Remove the images of a template that its user took away, but for those of containers: ``users_of`` an image's id."""
        prefix = f"{image_prefix(name, owner)}:"
        for image in self._images.list():
            for reference in image.references:
                if reference.startswith(prefix):
                    with contextlib.suppress(MultiosError):  # in use, or just gone
                        self._images.remove(reference, used_by=users_of(image.id))

    # --- locks --------------------------------------------------------------------------------------

    def lock(self, found: Found, options: Mapping[str, str], progress: Progress) -> str:
        """The text of a lock file: the template built as it is today, beside what is locked of other bases."""
        plan = replace(found.driver.render(options), lock=None)
        image = self.built(found, plan, progress)
        base = self._images.ensure(plan.base, progress)
        tree = found.driver.tree if isinstance(found.driver, TreeTemplate) else None
        others = tree.lock.bases if tree is not None and tree.lock else {}
        made = template_locks.made(self._builds, self._images, base, image)
        return lock.write(plan.name, {**others, plan.base: made})


def checks_of(driver: TemplateDriver, plan: TemplatePlan) -> tuple[Check, ...]:
    """What must hold in a container of the plan."""
    return plan.checks or driver.checks()
