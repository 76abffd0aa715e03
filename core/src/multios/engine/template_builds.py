"""Templates built into images: the plan is written as the instructions that it means, then it is a build as any other."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multios.build.context_source import empty_source
from multios.build.graph import Position
from multios.build.request import BuildRequest
from multios.build.sandbox import Cancelled, Command, InstructionFailed
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
from multios.drivers.image_source import Progress
from multios.engine import template_locks
from multios.engine.build import Builds
from multios.errors import StepFailed
from multios.model.container import Resources
from multios.model.image import Image
from multios.model.json import to_json
from multios.model.template import Check, TemplatePlan
from multios.template_format import packages
from multios.template_format.overlay import Overlay

log = logging.getLogger(__name__)

TEMPLATE_LABEL = "org.multios.template"
VERSION_LABEL = "org.multios.template.version"
LICENSE_LABEL = "org.opencontainers.image.licenses"

_ENVIRONMENT = (("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8"))
_TOLD_LINES = 4
_LOGGED_LINES = 100
_PROGRESS_INTERVAL = 0.2
_DIGESTS_KEPT = 256
_SPECIAL = re.compile(r"""([\\$"'])""")


def image_name(plan: TemplatePlan, owner: int | None = None) -> str:
    """The reference of a plan's image: another plan has another one.

    What is built of a template that the user ``owner`` imported cannot be taken for an installed one's.
    """
    return f"{image_prefix(plan.name, owner)}:{_digest(plan)[:12]}"


def image_prefix(name: str, owner: int | None) -> str:
    """The part that all images of a template have in common."""
    whose = "" if owner is None else f"user-{owner}/"
    return f"multios/{whose}template-{name}"


_digests: dict[int, tuple[TemplatePlan, str]] = {}
"""Of the plans asked for last; a plan that is kept here keeps its id."""


def _digest(plan: TemplatePlan) -> str:
    known, digest = _digests.get(id(plan), (None, ""))
    if known is not plan:
        document = json.dumps(to_json(plan), sort_keys=True).encode()
        digest = hashlib.sha256(document).hexdigest()
        if len(_digests) >= _DIGESTS_KEPT:
            _digests.clear()
        _digests[id(plan)] = (plan, digest)
    return digest


class TemplateBuild:
    """One build of a plan; ``rootfs`` is what the plan's fingerprint is of."""

    def __init__(
        self,
        builds: Builds,
        plan: TemplatePlan,
        checks: Sequence[Check],
        rootfs: Overlay | None,
        progress: Progress,
    ) -> None:
        self._builds, self._plan = builds, plan
        self._checks = [check for check in checks if not check.running]
        self._rootfs = rootfs
        self._steps = steps(plan)
        self._resources = Resources()
        self._news = _News(plan, len(self._steps) + len(self._checks), progress)

    def run(self, name: str, resources: Resources, base: str = "") -> Image:
        """The image, its checks passed. ``StepFailed`` names the step or check that failed, with its last words.

        ``name`` is the image's reference; ``resources`` bound each step and check; ``base`` is what is built on,
        empty for the plan's own.
        """
        plan, self._resources = self._plan, resources
        stage = _stage(plan, base or plan.base, self._steps, self._rootfs)
        request = BuildRequest(
            Dockerfile(f"template {plan.name}", (stage,)),
            (name, f"{name.rpartition(':')[0]}:latest"),
            resources=resources,
            epoch=plan.lock.time if plan.lock else None,
        )
        context = self._rootfs if self._rootfs and self._rootfs.sources else empty_source()
        try:
            return self._builds.build(request, context, self._news.hear, lambda: True, self._check)
        except InstructionFailed as error:
            if plan.lock and plan.packages and error.line == 1:
                template_locks.raise_unmet(plan, error.said)
            shown = _shown(self._steps[error.line - 1])
            cause = f"{shown} ended with status {error.exit_code}"
            number = f"step {error.line} of {len(self._steps)}"
            raise _failure(plan, number, cause, error.said, _LOG) from None

    def _check(self, position: Position) -> None:
        """Run the checks on what was built; ``StepFailed`` names the one that does not hold."""
        if self._plan.lock is not None:
            versions = template_locks.versions(self._builds, position.layers)
            template_locks.check_kept(self._plan, versions)
        for number, check in enumerate(self._checks, len(self._steps)):
            self._news.begin(f"check {check.name!r}", number)
            said: collections.deque[str] = collections.deque(maxlen=_LOGGED_LINES)
            cause = self._try(check, position, said)
            if cause:
                raise _failure(self._plan, f"check {check.name!r}", cause, said, check.hint or _LOG)

    def _try(self, check: Check, position: Position, said: collections.deque[str]) -> str:
        """Why the check does not hold, empty when it does."""
        environment = dict([*_ENVIRONMENT, *self._plan.environment.items()])
        command = Command(check.command, environment, self._plan.working_directory, resources=self._resources)
        end = time.monotonic() + check.timeout
        try:
            status = self._builds.try_command(position, command, said.append, lambda: time.monotonic() > end)
        except Cancelled:
            return verdict(check, None, "")
        return verdict(check, status, "\n".join(said))


def verdict(check: Check, status: int | None, output: str) -> str:
    """Why a check whose command ended so does not hold, empty when it does; ``None`` is: not in time."""
    if status is None:
        return f"{' '.join(check.command)!r} did not end within {check.timeout} s"
    if status:
        return f"{' '.join(check.command)!r} ended with status {status}"
    if check.expect not in output:
        return f"{check.expect!r} is not in its output"
    return ""


def steps(plan: TemplatePlan) -> tuple[str, ...]:
    """Every command line of the build: the packages' first."""
    names = plan.lock.packages if plan.lock else plan.packages
    return (*((packages.install(names),) if plan.packages else ()), *plan.steps)


_LOG = "the daemon's log has its whole output"


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
            self._told = time.monotonic()
            line = str(news["line"]).strip()[:60]
            self._progress(f"Building {self._plan.name}: {self._what}: {line}", self._done, self._total)


def _stage(plan: TemplatePlan, base: str, lines: Sequence[str], rootfs: Overlay | None) -> Stage:
    """The plan as a stage of a Dockerfile; the line of each step is its number."""
    runs = [
        Run(Words(argv=("/bin/sh", "-ec", line)), line=number, original=f"step {number} of {len(lines)}")
        for number, line in enumerate(lines, 1)
    ]
    first = 1 if plan.packages else 0
    labels = {**plan.labels, TEMPLATE_LABEL: plan.name, VERSION_LABEL: plan.version}
    if plan.license:
        labels.setdefault(LICENSE_LABEL, plan.license)
    ports = tuple(f"{port.container}/{port.protocol}" for port in plan.ports)
    instructions: list[Instruction] = [
        Arg(_ENVIRONMENT, original="ARG of template builds"),
        *([Env(_literal(plan.environment), original="ENV of the template")] if plan.environment else []),
        *runs[:first],
        *_overlay(rootfs),
        *(_file(path, text) for path, text in plan.files.items()),
        *runs[first:],
        Workdir(_escaped(plan.working_directory), original=f"WORKDIR {plan.working_directory}"),
        Label(_literal(labels), original="LABEL of the template"),
        Entrypoint(Words(argv=()), original="ENTRYPOINT []"),
        Cmd(Words(argv=plan.command), original=f"CMD {json.dumps(plan.command)}"),
        *([Expose(ports, original=f"EXPOSE {' '.join(ports)}")] if ports else []),
    ]
    return Stage("", From(_escaped(base), original=f"FROM {base}"), tuple(instructions))


def _overlay(rootfs: Overlay | None) -> list[Instruction]:
    """Each file by its own path: directories that are there already keep their looks."""
    if rootfs is None or not rootfs.sources:
        return []
    return [Copy(tuple(map(_escaped, rootfs.sources)), "/", parents=True, original="COPY rootfs/ /")]


def _file(path: str, text: str) -> Instruction:
    document = Heredoc("file", text, expand=False)
    mode = "0755" if text.startswith("#!") else "0644"
    return Copy((), _escaped(path), (document,), chmod=mode, original=f"COPY file {path}")


def _literal(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((_escaped(name), _escaped(text)) for name, text in values.items())


def _escaped(text: str) -> str:
    """A plan's text means itself: nothing in it is a variable."""
    return _SPECIAL.sub(r"\\\1", text)


def _failure(plan: TemplatePlan, name: str, cause: str, said: Iterable[str], remedy: str) -> StepFailed:
    step, lines = f"build template {plan.name}: {name}", list(said)
    log.warning("%s: %s\n%s", step, cause, "\n".join(lines))
    last = last_words(lines)
    return StepFailed(step, f"{cause}: {last}" if last else cause, remedy)


def last_words(said: Iterable[str]) -> str:
    """The end of a command's output on one line."""
    words = [line.strip() for line in said if line.strip()]
    # apt and dpkg bury their reason below a summary.
    reasons = [line for line in words if line.startswith(("E:", "Err:", "ERROR"))] or words
    return " | ".join(reasons[-_TOLD_LINES:])[-500:]


def _shown(step: str) -> str:
    """A step's first line, if it is a short one."""
    text = step.strip().splitlines()[0]
    return repr(text if len(text) <= 100 else text[:97] + "...")
