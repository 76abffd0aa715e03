"""One stage: its instructions, one after another, each from the cache or made."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multios.build import config_changes, files
from multios.build.cache import key_of
from multios.build.layer_steps import check_wanted
from multios.build.report import StepReport
from multios.build.run_mounts import RunMounts
from multios.build.sandbox import Cancelled, Command, CommandFailed, InstructionFailed
from multios.build.trees import Source, TreeWriter
from multios.dockerfile import syntax
from multios.dockerfile.parser import parse_trigger
from multios.dockerfile.scope import PROXIES, StageScope
from multios.errors import InvalidInput, MultiosError
from multios.model.container import Volume
from multios.model.mount import Mount
from multios.store.manifest import Layer, chain_ids, history_entry

if TYPE_CHECKING:
    from multios.build.graph import Build, Position

MOST_LAYERS = 128
_PROGRAMS = "/dev/pipes"
_SHOWN = 120


class StageBuild:
    """Builds the stage with this number."""

    def __init__(self, build: Build, number: int) -> None:
        self._build, self._number = build, number
        self._stage = build.stages[number]
        self._from = build.scope.base(self._stage)
        self._mounts = RunMounts(
            build.parts.caches,
            build.request.secrets,
            build.request.agents,
            build.disk,
            build.memory,
            self._opened,
        )
        self._has_command = False
        self._key = ""

    def _opened(self, origin: str) -> contextlib.AbstractContextManager[tuple[Source, bool]]:
        return self._build.opened(origin, self._number)

    def needs(self) -> list[int]:
        """The stages that this one builds on or copies from, as far as can be told before it runs."""
        names = []
        for item in self._stage.instructions:
            if isinstance(item, syntax.Copy):
                names.append(item.origin)
            elif isinstance(item, syntax.Run):
                names += [mount.origin for mount in item.mounts]
        found = [self._build.stage_number(name, self._number) for name in names if name]
        found.append(self._build.stage_number(self._from.image, self._number, by_number=False))
        return [number for number in found if number is not None]

    # --- the whole --------------------------------------------------------------------------------

    def run(self) -> Position:
        """Every instruction; where that leads to. Errors name the file and the line."""
        with self._told(self._from, f"[{self._label}] FROM {self._from.image}") as step:
            self._at = self._base(self._from, step)
            step.end("done")
        self._key = key_of("base", [layer.diff_id for layer in self._at.layers], repr(self._at.config))
        environment = config_changes.environment_of(self._at.config)
        self._scope = StageScope(self._build.scope, environment, self._at.arguments)
        triggers = self._triggers()
        self._at = replace(self._at, config=replace(self._at.config, on_build=()))
        count = len(triggers) + len(self._stage.instructions)
        for number, item in enumerate((*triggers, *self._stage.instructions), 1):
            check_wanted(self._build.cancelled)
            with self._told(item, f"[{self._label} {number}/{count}] {item.original}") as step:
                self._do(self._scope.apply(item), step)
        return replace(self._at, arguments=self._scope.arguments)

    @property
    def _label(self) -> str:
        return self._stage.name or f"stage-{self._number}"

    def _base(self, base: syntax.From, step: StepReport) -> Position:
        number = self._build.stage_number(base.image, self._number, by_number=False)
        if number is not None:
            return self._build.position_of(number)
        return self._build.fetched(base.image, base.platform, step.progress)

    def _triggers(self) -> tuple[syntax.Instruction, ...]:
        """What the base's ONBUILD asks of whoever builds on it."""
        image = f"ONBUILD of {self._from.image}"
        line = self._from.line
        return tuple(replace(parse_trigger(text, image), line=line) for text in self._at.config.on_build)

    @contextlib.contextmanager
    def _told(self, item: syntax.Instruction, name: str) -> Iterator[StepReport]:
        """Tell of a step; what goes wrong in it says where."""
        step = self._build.report.begin(name)
        try:
            yield step
        except Cancelled:
            step.end("cancelled")
            raise
        except syntax.DockerfileError:
            step.end("failed")
            raise
        except CommandFailed as error:
            step.end("failed")
            where = f"{self._build.request.dockerfile.file_name}:{item.line}: {item.original[:_SHOWN]}"
            raise InstructionFailed(where, item.line, error.exit_code, step.last) from None
        except MultiosError as error:
            step.end("failed")
            error.cause = f"{self._build.request.dockerfile.file_name}:{item.line}: {error.cause}"
            raise

    def _do(self, item: syntax.Instruction, step: StepReport) -> None:
        if isinstance(item, syntax.Run):
            self._run(item, step)
        elif isinstance(item, (syntax.Copy, syntax.Add)):
            self._copy(item, step)
        elif isinstance(item, syntax.Workdir):
            self._change_directory(item, step)
        elif isinstance(item, syntax.Arg):
            self._config_step(item, self._at.config, step)
        else:
            config = config_changes.changed(self._at.config, item)
            if isinstance(item, syntax.Cmd):
                self._has_command = True
            if isinstance(item, syntax.Entrypoint) and not self._has_command:
                config = replace(config, command=())  # the base's words were for its own entrypoint
            self._config_step(item, config, step)

    # --- steps --------------------------------------------------------------------------------------

    def _config_step(self, item: syntax.Instruction, config: Any, step: StepReport) -> None:
        self._at = replace(self._at, config=config)
        self._step(key_of("config", self._key, repr(_bare(item))), item.original, step, lambda: None)

    def _step(self, key: str, created_by: str, step: StepReport, make: Callable[[], Layer | None]) -> None:
        """Take what the step makes on the layers so far, and write it into the history."""
        request, steps = self._build.request, self._build.parts.steps
        made = steps.cached(key, self._at.layers, request.fresh, request.epoch, make)
        entry = history_entry(made.step.created, created_by)
        if made.step.layer is None:
            entry["empty_layer"] = True
            layers = self._at.layers
        else:
            layers = (*self._at.layers, made.step.layer)
            if len(layers) > MOST_LAYERS:
                raise InvalidInput(
                    f"the image has more than {MOST_LAYERS} layers",
                    "join commands into one RUN, by && or <<EOF",
                )
        self._at = replace(
            self._at, layers=layers, history=(*self._at.history, entry), created=made.step.created
        )
        self._key = key_of(self._key, key)
        step.end("cached" if made.was_cached and made.step.layer else "done")

    def _run(self, item: syntax.Run, step: StepReport) -> None:
        config, scope, build = self._at.config, self._scope, self._build
        network = build.request.network if item.network == "default" else item.network
        program = item.command.program
        words = (f"{_PROGRAMS}/{program.name}",) if program else config_changes.words_of(item.command, config)
        document = program.text if program else ""
        declared = {name: text for name, text in scope.arguments.items() if name not in PROXIES}
        environment = {**declared, **scope.environment}
        key = key_of(
            *("run", chain_of(self._at.layers), words, document, environment),
            *(config.working_directory, config.user, network),
            *(self._mounts.key(item.mounts), build.request.epoch),
        )
        told = [f"{name}={value}" for name, value in declared.items()]
        shown = " ".join([*([f"|{len(told)}", *told] if told else []), *words]).rstrip()

        def make() -> Layer:
            prepared = self._mounts.prepared(item.mounts, config.working_directory, build.cancelled)
            with prepared as mounts, self._program(document, words[0]) as programs, build.working():
                if build.request.epoch is not None:
                    environment.setdefault("SOURCE_DATE_EPOCH", f"{build.request.epoch:.0f}")
                command = Command(
                    argv=words,
                    environment={
                        **build.request.surroundings.environment,
                        **scope.run_environment,
                        **environment,
                        **mounts.environment,
                    },
                    working_directory=config.working_directory,
                    user=config.user,
                    network=network,
                    resources=build.request.resources,
                    mounts=(*build.request.surroundings.mounts, *mounts.volumes, *programs),
                )
                return build.parts.steps.run(
                    self._at.layers, command, build.request.epoch, step.line, build.cancelled, step.progress
                )

        self._step(key, f"RUN {shown}", step, make)

    @contextlib.contextmanager
    def _program(self, text: str, target: str) -> Iterator[tuple[Volume, ...]]:
        """A document that is a program by its first line, as a file that can be executed."""
        if not text:
            yield ()
            return
        path = self._build.disk / secrets.token_hex(8)
        path.write_text(text)
        path.chmod(0o755)
        try:
            yield (Volume("bind", str(path), target, "ro"),)
        finally:
            path.unlink()

    def _copy(self, item: syntax.Copy | syntax.Add, step: StepReport) -> None:
        build, config = self._build, self._at.config
        origin = item.origin if isinstance(item, syntax.Copy) else ""
        # Where files come from a stage that is the same as before, nothing has to be read to know them.
        note = ""
        if origin:
            below = chain_of(build.position_from(origin, self._number).layers)
            note = key_of("files", below, repr(_bare(item)))
        with contextlib.ExitStack() as stack:

            def ready() -> files.Copying:
                source, owners = stack.enter_context(self._opened(origin))
                return stack.enter_context(
                    files.prepared(
                        item, source, owners, config.working_directory, build.disk, build.cancelled
                    )
                )

            copying: list[files.Copying] = []
            content = build.parts.steps.cache.note(note) if note else ""
            if isinstance(item, syntax.Add) and item.checksum:
                content = key_of(item.sources, item.checksum)  # known without fetching it
            if not content:
                copying.append(ready())
                content = key_of(copying[0].digest(), [found.digest for found in copying[0].downloads])
                if note:
                    build.parts.steps.cache.write_note(note, content)
            below = "" if item.link and not _names_owner(item.chown) else chain_of(self._at.layers)
            # Where it comes from and what is left out of it is in the content's key.
            said = replace(item, sources=(), exclude=(), line=0, original="")
            said = replace(said, origin="") if isinstance(said, syntax.Copy) else said
            key = key_of("copy", below, content, repr(said), config.working_directory, build.request.epoch)

            def make() -> Layer | None:
                if not copying:
                    copying.append(ready())
                fill = copying[0].fill
                with contextlib.ExitStack() as viewing, build.working():
                    if item.link and _names_owner(item.chown):
                        view = build.parts.steps.viewing(self._at.layers, step.progress)
                        _, below = viewing.enter_context(view)
                        return self._written(lambda root, _: fill(root, below), step, alone=True)
                    return self._written(fill, step, alone=item.link)

            self._step(key, item.original, step, make)

    def _written(
        self, fill: Callable[[int, Sequence[Mount]], bool], step: StepReport, alone: bool = False
    ) -> Layer | None:
        build = self._build

        def wanted(root: int, mounts: Sequence[Mount]) -> bool:
            changed = fill(root, mounts)
            check_wanted(build.cancelled)
            return changed

        return build.parts.steps.write(self._at.layers, wanted, build.request.epoch, step.progress, alone)

    def _change_directory(self, item: syntax.Workdir, step: StepReport) -> None:
        path = config_changes.working_directory_of(item, self._at.config)
        user = self._at.config.user

        def fill(root: int, mounts: Sequence[Mount]) -> bool:
            with TreeWriter(root, files.owner_of(user, mounts) if user else None) as writer:
                if writer.is_directory(path.strip("/")):
                    return False
                writer.make_directories(path.strip("/"))
            return True

        key = key_of("workdir", chain_of(self._at.layers), path, user, self._build.request.epoch)
        self._step(key, item.original, step, lambda: self._written(fill, step))
        self._at = replace(self._at, config=replace(self._at.config, working_directory=path))


def _names_owner(chown: str) -> bool:
    """Whether names have to be looked up in the image below."""
    return not all(part.isdecimal() for part in chown.split(":")) if chown else False


def chain_of(layers: Sequence[Layer]) -> str:
    """The chain ID of all of them, empty for none."""
    chains = chain_ids([layer.diff_id for layer in layers])
    return chains[-1] if chains else ""


def _bare(item: syntax.Instruction) -> syntax.Instruction:
    """What an instruction says, wherever it stands."""
    return replace(item, line=0, original="")
