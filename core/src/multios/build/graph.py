"""One build: stages as a graph, only those that the target needs, side by side where they do not need each other."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from multios.build.config_changes import with_labels
from multios.build.layer_steps import LayerSteps, LayerStore
from multios.build.report import Report
from multios.build.request import BuildRequest
from multios.build.run_mounts import CacheDirectories
from multios.build.sandbox import Cancelled
from multios.build.trees import RootTree, Source
from multios.dockerfile.scope import FileScope, platform_arguments
from multios.drivers.image_source import FetchRequest, Progress
from multios.errors import InvalidInput, MultiosError, nearest
from multios.model.image import Image, ImageConfig
from multios.store.manifest import DEFAULT_PATH, Layer, architecture

SCRATCH = "scratch"
_ASK_SECONDS = 0.2


class ImageStore(LayerStore, Protocol):
    """What the engine's images do for a build, beside layers."""

    def ensure(
        self, reference: str, progress: Progress, host_paths: bool = False, request: FetchRequest = ...
    ) -> Image:
        """The image, fetched where it must be."""

    def layers_of(self, image: Image) -> tuple[Layer, ...]:
        """Its layers, lowest first."""

    def history_of(self, image: Image) -> tuple[Mapping[str, Any], ...]:
        """How it came to be."""

    def write(
        self,
        config: ImageConfig,
        layers: Sequence[Layer],
        history: Sequence[Mapping[str, Any]],
        references: Sequence[str],
        source: str,
        created: float,
        platform: str = "",
    ) -> Image:
        """Make an image of stored layers."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage stands: the image that it would be now. ``created`` in seconds since the epoch."""

    layers: tuple[Layer, ...] = ()
    config: ImageConfig = ImageConfig(environment=(DEFAULT_PATH,))
    history: tuple[Mapping[str, Any], ...] = ()
    created: float = 0.0
    platform: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """ARG of the stage, which a stage built on it inherits."""


@dataclass(frozen=True, slots=True)
class BuildParts:
    """What all builds share; ``working`` counts the steps that may work at a time.

    ``may_be_newer`` says whether an image that is stored may be another one at its source (``--pull``).
    """

    images: ImageStore
    steps: LayerSteps
    caches: CacheDirectories
    working: threading.Semaphore
    may_be_newer: Callable[[str], bool]


class Build:
    """One run of it. ``context`` is what COPY reads without ``--from``.

    ``disk`` is a directory of its own for what is copied, ``memory`` one for what should be on no disk.
    """

    def __init__(
        self,
        request: BuildRequest,
        context: Source,
        parts: BuildParts,
        report: Report,
        disk: Path,
        memory: Path,
    ) -> None:
        self.request, self.context, self.parts, self.report = request, context, parts, report
        self.disk, self.memory = disk, memory
        self.stages = request.dockerfile.stages
        own = f"linux/{architecture()}"
        automatic = platform_arguments(request.fetch.platform or own, own, request.target)
        self.scope = FileScope(request.dockerfile, request.arguments, automatic)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._started: dict[int, Future[Position]] = {}
        self._threads: list[threading.Thread] = []
        self._fetching: dict[str, Position] = {}

    # --- the whole --------------------------------------------------------------------------------

    def run(self, wanted: Callable[[], bool], check: Callable[[Position], None] | None = None) -> Image:
        """Build the target's image; ``wanted`` is asked now and then whether anybody still waits for it.

        ``check`` may still raise when all is made; then nothing gets the image's name.
        """
        target = self._target()
        try:
            with self.parts.images.holding():
                future = self.start(target)
                position = self._await(future, wanted)
                if check is not None:
                    check(position)
                return self._write(position)
        finally:
            self._cancelled.set()
            for thread in self._threads:
                thread.join()
            self.parts.steps.settle()

    def _await(self, future: Future[Position], wanted: Callable[[], bool]) -> Position:
        while True:
            with contextlib.suppress(TimeoutError, Cancelled):
                return future.result(timeout=_ASK_SECONDS)
            if not wanted():
                self._cancelled.set()
            failed = self._failure()
            if failed is not None:
                self._cancelled.set()
                raise failed

    def _failure(self) -> BaseException | None:
        """What made a stage fail, rather than that others were cancelled for it."""
        with self._lock:
            futures = list(self._started.values())
        errors = [error for item in futures if item.done() and (error := item.exception()) is not None]
        return next(
            (error for error in errors if not isinstance(error, Cancelled)), errors[0] if errors else None
        )

    def _write(self, position: Position) -> Image:
        request = self.request
        for note in (*request.dockerfile.notes, *self.scope.unused()):
            self.report.note(note)
        config = with_labels(position.config, request.labels) if request.labels else position.config
        step = self.report.begin(f"storing {', '.join(request.references) or 'the image'}")
        created = position.created if request.epoch is None else request.epoch
        image = self.parts.images.write(
            config, position.layers, position.history, request.references, "build", created, position.platform
        )
        step.end("done")
        return image

    def _target(self) -> int:
        name = self.request.target
        if not name:
            return len(self.stages) - 1
        found = self.stage_number(name, len(self.stages))
        if found is None:
            names = [stage.name for stage in self.stages if stage.name]
            guess = nearest(name, names)
            raise InvalidInput(
                f"no such stage: {name!r}",
                f"did you mean {guess!r}?"
                if guess
                else f"there are {', '.join(names) or 'none with a name'}",
            )
        return found

    def stage_number(self, name: str, before: int, by_number: bool = True) -> int | None:
        """The stage that a name, or a number, means, of those before number ``before``."""
        for number in reversed(range(before)):
            if self.stages[number].name and self.stages[number].name == name.lower():
                return number
        return int(name) if by_number and name.isdecimal() and int(name) < before else None

    def cancelled(self) -> bool:
        """Whether the build is to end."""
        return self._cancelled.is_set()

    # --- stages -----------------------------------------------------------------------------------

    def start(self, number: int) -> Future[Position]:
        """The stage with this number, begun in a thread of its own unless it is under way already."""
        with self._lock:
            if number in self._started:
                return self._started[number]
            future = self._started[number] = Future()
            thread = threading.Thread(
                target=self._run_stage, args=(number, future), name=f"stage-{number}", daemon=True
            )
            self._threads.append(thread)
        thread.start()
        return future

    def _run_stage(self, number: int, future: Future[Position]) -> None:
        from multios.build.stage import StageBuild  # the two know each other

        try:
            stage = StageBuild(self, number)
            for needed in stage.needs():
                self.start(needed)
            future.set_result(stage.run())
        except BaseException as error:  # whoever waits for the stage gets it
            future.set_exception(error)
            if not isinstance(error, MultiosError):
                self._cancelled.set()

    def position_of(self, number: int) -> Position:
        """Where another stage ended; waits for it. One that fails cancels who waits: its own error is the one to tell."""
        future = self.start(number)
        while True:
            with contextlib.suppress(TimeoutError):
                error = future.exception(timeout=_ASK_SECONDS)
                if error is None:
                    return future.result()
                raise Cancelled
            if self.cancelled():
                raise Cancelled

    def fetched(self, reference: str, platform: str, progress: Progress) -> Position:
        """The position that an image is; ``scratch`` is nothing."""
        if reference == SCRATCH:
            return Position(platform=platform)
        request = self.request.fetch
        request = replace(
            request,
            platform=platform or request.platform,
            refresh=request.refresh and self.parts.may_be_newer(reference),
            is_wanted=lambda: not self.cancelled(),
        )
        images = self.parts.images
        image = images.ensure(reference, progress, host_paths=True, request=request)
        return Position(
            images.layers_of(image), image.config, images.history_of(image), image.created, image.platform
        )

    # --- sources ----------------------------------------------------------------------------------

    def position_from(self, origin: str, before: int) -> Position:
        """What ``--from=`` means to a stage: an earlier one, or an image."""
        number = self.stage_number(origin, before)
        if number is not None:
            return self.position_of(number)
        with self._lock:
            known = self._fetching.get(origin)
        if known is None:
            known = self.fetched(origin, "", lambda what, done, total: None)
            with self._lock:
                self._fetching[origin] = known
        return known

    @contextlib.contextmanager
    def opened(self, origin: str, before: int) -> Iterator[tuple[Source, bool]]:
        """What stage ``before`` copies from, empty for the context, and whether its files keep their owners."""
        if not origin:
            yield self.context, False
            return
        layers = self.position_from(origin, before).layers
        with self.parts.steps.viewing(layers, lambda what, done, total: None) as (root, _):
            yield RootTree(root), True

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Held while a step works: so many at a time as there are processors, over all builds."""
        while not self.parts.working.acquire(timeout=_ASK_SECONDS):
            if self.cancelled():
                raise Cancelled
        try:
            yield
        finally:
            self.parts.working.release()


def processors() -> int:
    """How many steps work at a time."""
    return max(2, len(os.sched_getaffinity(0)))
