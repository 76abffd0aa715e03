"""What a Dockerfile says, as records (BuildKit's Dockerfile reference).

The parser leaves variables as they are written; :func:`multios.dockerfile.expansion.expand` gives the same record
with them replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from multios.errors import InvalidInput
from multios.model import image


class DockerfileError(InvalidInput):
    """A Dockerfile that cannot be read: where, what was found, and in the remedy what was expected."""

    def __init__(self, file_name: str, line: int, cause: str, remedy: str = "") -> None:
        super().__init__(f"{file_name}:{line}: {cause}", remedy)
        self.file_name, self.line = file_name, line


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document in the Dockerfile itself. ``text`` is final but for variables; each line ends in a newline."""

    name: str
    text: str
    expand: bool = True
    """Whether variables in it are replaced: a quoted name says no."""
    descriptor: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """A command for the shell (``argv`` is None, ``text`` says it) or in exec form (``argv``)."""

    text: str = ""
    argv: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()
    document_only: bool = False
    """The text is nothing but ``<<NAME``: the document itself is what runs."""

    @property
    def program(self) -> Heredoc | None:
        """The one document that is a program by its ``#!``: run it as a file, not by the shell."""
        if self.document_only and self.heredocs[0].text.startswith("#!"):
            return self.heredocs[0]
        return None

    @property
    def script(self) -> str:
        """What the shell is given: documents stand where the shell expects them."""
        if self.document_only:
            return self.heredocs[0].text
        return self.text + "".join(f"\n{document.text}{document.name}" for document in self.heredocs)


@dataclass(frozen=True, slots=True)
class Mount:
    """A ``RUN --mount``. Before expansion, options whose values hold variables have their defaults here."""

    text: str
    kind: str = "bind"
    """``bind``, ``cache``, ``tmpfs``, ``secret`` or ``ssh``."""
    target: str = ""
    """May be empty for a secret with ``environment`` or with its default place, and for ssh."""
    source: str = ""
    origin: str = ""
    """A stage or an image (``from=``); empty is the context, or for a cache an empty directory."""
    id: str = ""
    sharing: str = "shared"
    """Of a cache: ``shared``, ``private`` or ``locked``."""
    environment: str = ""
    """Of a secret: the variable it appears in."""
    read_only: bool = True
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    """Of a tmpfs, in bytes; None is no limit."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """Any instruction; ``line`` is its first, counted from 1, ``original`` its text on one line."""

    line: int = field(default=0, kw_only=True)
    original: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """The instruction's word in capitals."""
        return type(self).__name__.upper()


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """``FROM [--platform=P] IMAGE [AS STAGE]``; ``image`` may be an earlier stage or ``scratch``."""

    image: str
    stage: str = ""
    """In lower case, as names of stages are compared."""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """``RUN``; ``network`` is ``default``, ``none`` or ``host``."""

    command: Command
    mounts: tuple[Mount, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """``COPY``; ``origin`` is ``--from``: a stage by name or number, or an image; empty is the context."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    origin: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Add(Instruction):
    """``ADD``; ``unpack`` is None where the source decides: local archives yes, URLs no."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_directory: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """``ENV``, in the order written."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """``ARG``: names with their defaults, None where there is none."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """``LABEL``, in the order written."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """``CMD``."""

    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """``ENTRYPOINT``."""

    command: Command


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """``EXPOSE``: after expansion every port is ``NUMBER/PROTOCOL``, ranges written out."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """``USER NAME[:GROUP]``."""

    user: str


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """``WORKDIR``; a relative path continues the one before."""

    path: str


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """``VOLUME``."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    """``STOPSIGNAL``: a number or a name such as ``SIGTERM`` (signal(7))."""

    signal: str


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """``SHELL``: what shell forms run in from here on."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """``HEALTHCHECK``."""

    check: image.Healthcheck


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """``ONBUILD``: ``trigger`` is the text that the image keeps; ``instruction`` is what it says."""

    trigger: str
    instruction: Instruction


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """``MAINTAINER``, which is old: a label is its successor."""

    maintainer: str


@dataclass(frozen=True, slots=True)
class Stage:
    """From one ``FROM`` to the next. ``name`` is empty when none is given; its number is its place."""

    name: str
    base: From
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file. ``notes`` are for the user's eyes: what was accepted but means nothing here."""

    file_name: str
    stages: tuple[Stage, ...]
    global_arguments: tuple[Arg, ...] = ()
    escape: str = "\\"
    notes: tuple[str, ...] = ()
