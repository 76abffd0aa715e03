"""Templates: listed, explained, and built into images by running their steps in our own containers."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from multios.build.context_source import empty_source
from multios.build.graph import Position
from multios.build.request import BuildRequest
from multios.build.sandbox import Command, InstructionFailed
from multios.dockerfile.syntax import (
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Heredoc,
    Instruction,
    Label,
    Run,
    Stage,
    Workdir,
)
from multios.dockerfile.syntax import Command as Words
from multios.drivers.base import DriverContext
from multios.drivers.image_source import Progress
from multios.drivers.template import TemplateDriver
from multios.engine.build import Builds
from multios.engine.images import Images
from multios.engine.locks import KeyedLocks
from multios.errors import MultiosError, StepFailed, unknown
from multios.model.image import Image
from multios.model.json import to_json
from multios.model.template import Check, TemplatePlan
from multios.plugins.catalog import Catalog

log = logging.getLogger(__name__)

TEMPLATE_LABEL = "org.multios.template"
VERSION_LABEL = "org.multios.template.version"

_FOR_TESTS = ("fake", "noop")
_ENVIRONMENT = (("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8"))
_TOLD_LINES = 4
_LOGGED_LINES = 100
_PROGRESS_INTERVAL = 0.2
_SPECIAL = re.compile(r"""([\\$"'])""")


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
            "checks": to_json(driver.checks()),
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
                image = self._images.find(reference) or self._build(plan, driver.checks(), progress)
        return image

    def _build(self, plan: TemplatePlan, checks: tuple[Check, ...], progress: Progress) -> Image:
        """As any build: the plan is written as the instructions that it means."""
        self._images.ensure(plan.base, progress)
        name = image_name(plan)
        dockerfile = Dockerfile(f"template {plan.name}", (_stage(plan),))
        request = BuildRequest(dockerfile, (name, f"{name.rpartition(':')[0]}:latest"))
        news = _News(plan, len(plan.steps) + len(checks), progress)
        try:
            return self._builds.build(
                request,
                empty_source(),
                news.hear,
                lambda: True,
                lambda position: self._check(plan, checks, position, news),
            )
        except InstructionFailed as error:
            shown = _shown(plan.steps[error.line - 1])
            cause = f"{shown} ended with status {error.exit_code}"
            raise _failure(plan, f"step {error.line} of {len(plan.steps)}", cause, error.said) from None

    def _check(self, plan: TemplatePlan, checks: tuple[Check, ...], position: Position, news: _News) -> None:
        """Run the checks on what was built; ``StepFailed`` names the one that does not hold."""
        for number, check in enumerate(checks, len(plan.steps)):
            name = f"check {check.name!r}"
            said: collections.deque[str] = collections.deque(maxlen=_LOGGED_LINES)
            news.begin(name, number)
            command = Command(
                check.command, dict([*_ENVIRONMENT, *plan.environment.items()]), plan.working_directory
            )
            status = self._builds.try_command(position, command, said.append)
            if status:
                raise _failure(plan, name, f"{' '.join(check.command)!r} ended with status {status}", said)
            if check.expect not in "\n".join(said):
                raise _failure(plan, name, f"{check.expect!r} is not in its output", said)


class _News:
    """What a build tells, as a template's progress."""

    def __init__(self, plan: TemplatePlan, total: int, progress: Progress) -> None:
        self._plan, self._total, self._progress = plan, total, progress
        self._what, self._done, self._told = "", 0, 0.0

    def begin(self, what: str, done: int) -> None:
        """A step or a check begins."""
        self._what, self._done, self._told = what, done, time.monotonic()
        self._progress(f"Building {self._plan.name}: {what}", done, self._total)

    def hear(self, news: Mapping[str, Any]) -> None:
        """See :mod:`multios.build.report`."""
        name = str(news.get("name", "")).rpartition("] ")[2]
        if name.startswith("step "):
            self.begin(name, int(name.split()[1]) - 1)
        elif "line" in news and time.monotonic() - self._told >= _PROGRESS_INTERVAL:
            self.begin(self._what, self._done)
            line = str(news["line"]).strip()[:60]
            self._progress(f"Building {self._plan.name}: {self._what}: {line}", self._done, self._total)


def _stage(plan: TemplatePlan) -> Stage:
    """The plan as a stage of a Dockerfile; the line of each step is its number."""
    count = len(plan.steps)
    files = [_file(path, text) for path, text in plan.files.items()]
    steps = [
        Run(Words(argv=("/bin/sh", "-ec", step)), line=number, original=f"step {number} of {count}")
        for number, step in enumerate(plan.steps, 1)
    ]
    labels = {**plan.labels, TEMPLATE_LABEL: plan.name, VERSION_LABEL: plan.version}
    ports = tuple(f"{port.container}/{port.protocol}" for port in plan.ports)
    instructions: list[Instruction] = [
        Arg(_ENVIRONMENT, original="ARG of template builds"),
        *([Env(_literal(plan.environment), original="ENV of the template")] if plan.environment else []),
        *files,
        *steps,
        Workdir(_escaped(plan.working_directory), original=f"WORKDIR {plan.working_directory}"),
        Label(_literal(labels), original="LABEL of the template"),
        Entrypoint(Words(argv=()), original="ENTRYPOINT []"),
        Cmd(Words(argv=plan.command), original=f"CMD {json.dumps(plan.command)}"),
        *([Expose(ports, original=f"EXPOSE {' '.join(ports)}")] if ports else []),
    ]
    return Stage("", From(_escaped(plan.base), original=f"FROM {plan.base}"), tuple(instructions))


def _file(path: str, text: str) -> Instruction:
    document = Heredoc("file", text, expand=False)
    mode = "0755" if text.startswith("#!") else "0644"
    return Copy((), _escaped(path), (document,), chmod=mode, original=f"COPY file {path}")


def _literal(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((_escaped(name), _escaped(text)) for name, text in values.items())


def _escaped(text: str) -> str:
    """A plan's text means itself: nothing in it is a variable."""
    return _SPECIAL.sub(r"\\\1", text)


def _failure(plan: TemplatePlan, name: str, cause: str, said: Iterable[str]) -> StepFailed:
    step, lines = f"build template {plan.name}: {name}", list(said)
    log.warning("%s: %s\n%s", step, cause, "\n".join(lines))
    words = [line.strip() for line in lines if line.strip()]
    # apt and dpkg bury their reason below a summary.
    reasons = [line for line in words if line.startswith(("E:", "Err:", "ERROR"))] or words
    last = " | ".join(reasons[-_TOLD_LINES:])[-500:]
    return StepFailed(step, f"{cause}: {last}" if last else cause, "the daemon's log has its whole output")


def image_name(plan: TemplatePlan) -> str:
    """The reference of a plan's image: another plan has another one."""
    document = json.dumps(to_json(plan), sort_keys=True).encode()
    return f"multios/template-{plan.name}:{hashlib.sha256(document).hexdigest()[:12]}"


def _shown(step: str) -> str:
    """A step's first line, if it is a short one."""
    text = step.strip().splitlines()[0]
    return repr(text if len(text) <= 100 else text[:97] + "...")
