"""Locks of templates: what an image was built of, told afterwards, and kept to by later builds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from multios.build.sandbox import Command
from multios.drivers.image_source import Progress
from multios.engine.build import Builds
from multios.engine.images import Images
from multios.errors import InvalidInput, MultiosError, StepFailed
from multios.model.image import Image
from multios.model.reference import Reference, parse
from multios.model.template import Lock, TemplatePlan
from multios.store.manifest import Layer

_LIST = (
    "dpkg-query",
    "--show",
    "--showformat",
    "${db:Status-Abbrev}${Package}:${Architecture}=${Version}\\n",
)
_INSTALLED = "ii "
_MISSING = re.compile(r"E: (?:Version '([^']+)' for '([^']+)' was not found|Unable to locate package (\S+))")
_AGAIN = "write the lock anew: multios-container template lock"


def versions(builds: Builds, layers: Sequence[Layer]) -> dict[str, str]:
    """The Debian packages in an image by ``name:architecture``, and their versions; none where there is no dpkg."""
    said: list[str] = []
    try:
        status = builds.steps.try_command(layers, Command(_LIST), said.append, lambda: False, _quiet)
    except MultiosError:  # there is no such program
        return {}
    if status:
        return {}
    found = (line.removeprefix(_INSTALLED) for line in said if line.startswith(_INSTALLED))
    return {name: version for name, _, version in (line.partition("=") for line in found)}


def _quiet(what: str, done: int, total: int) -> None:
    """Nobody is told."""


def made(builds: Builds, images: Images, base: Image, image: Image) -> Lock:
    """The lock of an image that was built on ``base``: all packages that it has and its base has not."""
    before = versions(builds, images.layers_of(base))
    after = versions(builds, images.layers_of(image))
    added = sorted(f"{name}={version}" for name, version in after.items() if before.get(name) != version)
    return Lock(base.manifest.digest, int(time.time()), tuple(added))


def base_for(images: Images, plan: TemplatePlan, progress: Progress) -> str:
    """The reference to build on: the plan's base, which must be the one of its lock.

    Raises ``InvalidInput`` when the base is another one by now, and its registry has the old one no more.
    """
    image = images.ensure(plan.base, progress)
    if plan.lock is None or image.manifest.digest == plan.lock.base_digest:
        return plan.base
    name = parse(plan.base)
    pinned = str(Reference(name.domain, name.path, digest=plan.lock.base_digest))
    if image.source == "registry":
        try:
            images.ensure(pinned, progress)
            return pinned
        except MultiosError:
            pass  # it is not there any more
    raise InvalidInput(
        f"template {plan.name!r}: the lock wants the base {plan.base!r} as {plan.lock.base_digest[:19]}…, "
        f"and here it is {image.manifest.digest[:19]}…",
        f"bring the locked base with image import, or {_AGAIN}",
    )


def check_requested(plan: TemplatePlan) -> None:
    """Raise ``InvalidInput`` for a package that the template asks for and its lock does not know."""
    if plan.lock is None:
        return
    known = {re.split("[:=]", package, maxsplit=1)[0] for package in plan.lock.packages}
    for package in plan.packages:
        name = re.split("[:=]", package, maxsplit=1)[0]
        if name not in known:
            raise InvalidInput(
                f"template {plan.name!r}: the lock of the base {plan.base!r} does not know the package {name!r}",
                _AGAIN,
            )


def raise_unmet(plan: TemplatePlan, said: Iterable[str]) -> None:
    """Raise the error of an apt-get that has not found a package of the lock; nothing where it failed otherwise."""
    for line in said:
        if found := _MISSING.search(line):
            version, name, absent = found.groups()
            _unmet(plan, f"{name}={version}" if name else absent, "no archive has it any more")


def check_kept(plan: TemplatePlan, there: Mapping[str, str]) -> None:
    """Raise ``StepFailed`` that names a package which is not there as the lock says."""
    if plan.lock is None:
        return
    for package in plan.lock.packages:
        name, _, version = package.partition("=")
        if there.get(name) != version:
            _unmet(plan, package, f"the image has {there.get(name, 'none')}")


def _unmet(plan: TemplatePlan, package: str, why: str) -> NoReturn:
    raise StepFailed(
        f"build template {plan.name}", f"the lock cannot be met: package {package}: {why}", _AGAIN
    )
