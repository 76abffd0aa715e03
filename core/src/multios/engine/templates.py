"""Templates: listed, explained, and built into images by running their steps in our own containers."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from multios.drivers.base import DriverContext
from multios.drivers.image_source import Progress
from multios.drivers.storage import StorageDriver
from multios.drivers.template import TemplateDriver
from multios.engine.images import Images
from multios.engine.locks import KeyedLocks
from multios.errors import MultiosError, StepFailed, unknown
from multios.model.image import Image
from multios.model.json import to_json
from multios.model.template import Check, TemplatePlan
from multios.plugins.catalog import Catalog
from multios.settings import BuildSettings
from multios.store import manifest

log = logging.getLogger(__name__)

TEMPLATE_LABEL = "org.multios.template"
VERSION_LABEL = "org.multios.template.version"

_FOR_TESTS = ("fake", "noop")
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
_CA_BUNDLE = "/etc/multios-build-ca.pem"
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
)
_TOLD_LINES = 4
_LOGGED_LINES = 100
_PROGRESS_INTERVAL = 0.2


class BuildSession(Protocol):
    """Commands, one after another, as root on one writable snapshot of an image."""

    @property
    def storage(self) -> StorageDriver:
        """The driver that holds the snapshot."""

    def run(self, argv: list[str], environment: Mapping[str, str], on_output: Callable[[str], None]) -> int:
        """Run a command to its end; its exit status. ``on_output`` gets each line of its output and errors."""

    def write_file(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, with the directories above it."""

    def commit_key(self) -> str:
        """The storage key of the active snapshot; no process of the session runs any more."""

    def close(self) -> None:
        """Remove all that the session made; the snapshot may have been committed meanwhile."""


class BuildSandbox(Protocol):
    """Where steps run: containers of the engine."""

    def open(self, image: Image, name: str) -> BuildSession:
        """A session on a fresh snapshot of ``image``; ``name`` is for people."""


class Templates:
    """The installed templates and their images."""

    def __init__(
        self, catalog: Catalog, images: Images, sandbox: BuildSandbox, settings: BuildSettings | None = None
    ) -> None:
        self._catalog = catalog
        self._images = images
        self._sandbox = sandbox
        self._settings = settings or BuildSettings()
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
        base = self._images.ensure(plan.base, progress)
        session = self._sandbox.open(base, plan.name)
        try:
            _Build(plan, session, self._settings, progress).run(checks)
            progress(f"Storing the image of {plan.name}", 0, 0)
            name = image_name(plan)
            return self._images.commit(
                session.commit_key(),
                session.storage,
                base,
                _config(plan, base),
                [name, f"{name.rpartition(':')[0]}:latest"],
                created_by=f"template {plan.name} {plan.version}",
                consume=True,
            )
        finally:
            session.close()


class _Build:
    """One run of a plan's steps in a session."""

    def __init__(
        self, plan: TemplatePlan, session: BuildSession, settings: BuildSettings, progress: Progress
    ) -> None:
        self._plan = plan
        self._session = session
        self._settings = settings
        self._progress = progress
        self._environment = {**_ENVIRONMENT, **plan.environment, **settings.environment}

    def run(self, checks: tuple[Check, ...]) -> None:
        """Files, steps, checks; ``StepFailed`` says which step failed, on which command, with its last words."""
        plan, bundle = self._plan, self._settings.ca_bundle
        if bundle is not None:
            self._session.write_file(_CA_BUNDLE, _text_of(bundle))
            self._environment |= dict.fromkeys(_CA_VARIABLES, _CA_BUNDLE)
        for path, text in plan.files.items():
            self._session.write_file(path, text, 0o755 if text.startswith("#!") else 0o644)
        total = len(plan.steps) + len(checks)
        for number, step in enumerate(plan.steps):
            self._step(f"step {number + 1} of {len(plan.steps)}", ["/bin/sh", "-ec", step], number, total)
        for number, check in enumerate(checks, len(plan.steps)):
            said = self._step(f"check {check.name!r}", list(check.command), number, total)
            if check.expect not in "\n".join(said):
                raise self._failure(f"check {check.name!r}", f"{check.expect!r} is not in its output", said)
        if bundle is not None:
            self._step("clean up", ["/bin/rm", "-f", _CA_BUNDLE], total, total)

    def _step(self, name: str, argv: list[str], done: int, total: int) -> collections.deque[str]:
        what = f"Building {self._plan.name}: {name}"
        said: collections.deque[str] = collections.deque(maxlen=_LOGGED_LINES)
        told = time.monotonic()
        self._progress(what, done, total)

        def hear(line: str) -> None:
            nonlocal told
            said.append(line)
            if time.monotonic() - told >= _PROGRESS_INTERVAL:
                told = time.monotonic()
                self._progress(f"{what}: {line.strip()[:60]}", done, total)

        status = self._session.run(argv, self._environment, hear)
        if status:
            raise self._failure(name, f"{_shown(argv)} ended with status {status}", said)
        return said

    def _failure(self, name: str, cause: str, said: collections.deque[str]) -> StepFailed:
        step = f"build template {self._plan.name}: {name}"
        log.warning("%s: %s\n%s", step, cause, "\n".join(said))
        words = [line.strip() for line in said if line.strip()]
        # apt and dpkg bury their reason below a summary.
        reasons = [line for line in words if line.startswith(("E:", "Err:", "ERROR"))] or words
        last = " | ".join(reasons[-_TOLD_LINES:])[-500:]
        return StepFailed(
            step, f"{cause}: {last}" if last else cause, "the daemon's log has its whole output"
        )


def image_name(plan: TemplatePlan) -> str:
    """The reference of a plan's image: another plan has another one."""
    document = json.dumps(to_json(plan), sort_keys=True).encode()
    return f"multios/template-{plan.name}:{hashlib.sha256(document).hexdigest()[:12]}"


def _config(plan: TemplatePlan, base: Image) -> Any:
    labels = {**plan.labels, TEMPLATE_LABEL: plan.name, VERSION_LABEL: plan.version}
    changes = {
        "command": plan.command,
        "entrypoint": (),
        "environment": plan.environment,
        "working_directory": plan.working_directory,
        "exposed_ports": tuple(f"{port.container}/{port.protocol}" for port in plan.ports),
        "labels": labels,
    }
    return manifest.changed(base.config, changes)


def _text_of(bundle: Path) -> str:
    try:
        return bundle.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StepFailed("read [build] ca_bundle", str(error), "name a file of PEM certificates") from error


def _shown(argv: list[str]) -> str:
    """A command as one short line; of a shell's script its first line."""
    text = argv[-1].strip().splitlines()[0] if argv[0] == "/bin/sh" else " ".join(argv)
    return repr(text if len(text) <= 100 else text[:97] + "...")
