"""``build``, which is ``image build`` too, and ``builder prune``."""

from __future__ import annotations

import os
import sys

from multios.cli.container_options import RESOURCES
from multios.cli.grammar import FLAG, LIST, TEXT, Argument, Command, Option
from multios.errors import InvalidInput, MultiosError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_NAMES = ("Dockerfile", "Containerfile")
_LARGEST_FILE = 4 << 20
_LARGEST_SECRET = 512 << 10
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")
_CLOSE = os.O_RDONLY | os.O_CLOEXEC


def build(values: Values, context: Context) -> int:
    """Build an image as the values of a command line say, and print its id."""
    image = built(values, context)
    if values["iidfile"]:
        with open(values["iidfile"], "w", encoding="utf-8") as file:
            file.write(f"sha256:{image}")
    sys.stdout.write(f"sha256:{image}\n" if values["quiet"] else f"{image}\n")
    return 0


def built(values: Values, context: Context) -> str:
    """Build an image as the values of a command line say; its id. What happens is told on stderr."""
    params: dict[str, Any] = {
        "references": values["tags"],
        "target": values["target"] or "",
        "arguments": _pairs(values["build_args"], from_environment=True),
        "labels": _pairs(values["labels"], from_environment=False),
        "no_cache": values["no_cache"],
        "pull": values["pull"],
        "platform": values["platform"] or "",
        "network": values["network"] or "default",
        "epoch": os.environ.get("SOURCE_DATE_EPOCH", ""),
        "resources": {
            key.partition(".")[2]: value
            for key, value in values.items()
            if key.startswith("resources.") and value is not None
        },
    }
    fds = _context(values["file"] or "", values["context"], params)
    params["secrets"], secrets = _secrets(values["secrets"])
    params["agents"], agents = _agents(values["ssh"])
    logins = _logins(params.get("dockerfile", ""))
    params["credentials"] = bool(logins)
    printer = _Printer(quiet=values["quiet"])
    answers = context.client.request("builds.build", params, [*fds, *secrets, *agents, *logins])
    try:
        for kind, value, _ in answers:
            if kind == "item":
                printer.show(value)
    except MultiosError:
        printer.tell_kept()
        raise
    return str(answers.result["id"])


# --- what is built ------------------------------------------------------------------------------------


def _context(file: str, place: str, params: dict[str, Any]) -> list[int]:
    """Fill in where the Dockerfile and its context come from; the context's descriptor, if it has one."""
    if place.startswith(_REMOTE):
        raise InvalidInput(
            f"{place}: contexts are not fetched", "download or clone it, and name its directory"
        )
    if file == "-":
        if place == "-":
            raise InvalidInput("stdin cannot be both the Dockerfile and the context", "name one of them")
        params["dockerfile"], params["file"] = _text(0, "stdin"), "Dockerfile"
    if place == "-":
        if os.isatty(0):
            raise InvalidInput("no context is given", "write build - < ARCHIVE, or name a directory")
        params |= {"context": "stream", "file": file or "Dockerfile"}
        return [0]
    try:
        directory = os.open(place, _CLOSE | os.O_DIRECTORY)
    except OSError as error:
        raise NotFound(f"{place}: {error.strerror}", "name the directory to build from") from None
    params["context"] = "directory"
    if file != "-":
        path = _named(file, place) if file else _default(place)
        params["dockerfile"], params["file"] = _read(path), path
        if os.path.isfile(f"{path}.dockerignore"):
            params["ignore"] = _read(f"{path}.dockerignore")
    return [directory]


def _named(file: str, place: str) -> str:
    """A file as it is named, or, where there is none, that of the context."""
    inside = os.path.join(place, file)
    return inside if not os.path.exists(file) and os.path.exists(inside) else file


def _default(place: str) -> str:
    for name in _NAMES:
        path = os.path.join(place, name)
        if os.path.exists(path):
            return os.path.normpath(path)
    raise NotFound(f"{place} has neither a {' nor a '.join(_NAMES)}", "name the file with --file")


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, _CLOSE)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}", "name the Dockerfile with --file") from None
    try:
        return _text(descriptor, path)
    finally:
        os.close(descriptor)


def _text(descriptor: int, path: str) -> str:
    try:
        return _bytes(descriptor, path, _LARGEST_FILE).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8", "save it as UTF-8") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a directory", "name a file") from None


def _bytes(descriptor: int, path: str, largest: int) -> bytes:
    data = b""
    while part := os.read(descriptor, largest + 1 - len(data)):
        data += part
        if len(data) > largest:
            raise InvalidInput(f"{path} is larger than {largest >> 10} KiB", "make it smaller")
    return data


# --- options ------------------------------------------------------------------------------------------


def _pairs(texts: list[str], from_environment: bool) -> dict[str, str]:
    """``KEY=VALUE``; of a key alone the value is the caller's variable, or empty."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key:
            raise InvalidInput(f"{text!r} has no name", "write KEY=VALUE")
        if separator:
            found[key] = value
        elif not from_environment:
            found[key] = ""
        elif key in os.environ:
            found[key] = os.environ[key]
    return found


def _secrets(texts: list[str]) -> tuple[list[str], list[int]]:
    """Ids and descriptors of what ``--secret`` names: a file, or a variable of the caller's."""
    names, fds = [], []
    for text in texts:
        fields = _fields(text, ("id", "src", "source", "env", "type"))
        path, variable = fields.get("src") or fields.get("source") or "", fields.get("env") or ""
        if fields.get("type") == "env":
            variable, path = variable or path or fields["id"], ""
        elif not path and not variable:
            variable = fields["id"] if fields["id"] in os.environ else ""
            path = "" if variable else fields["id"]
        names.append(fields["id"])
        fds.append(_memory(variable) if variable else _opened(path, f"--secret {text}"))
    return names, fds


def _memory(variable: str) -> int:
    if variable not in os.environ:
        raise NotFound(f"--secret: there is no variable {variable}", "set it, or name a file with src=")
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC)
    os.write(descriptor, os.fsencode(os.environ[variable])[: _LARGEST_SECRET + 1])
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _opened(path: str, what: str) -> int:
    try:
        return os.open(path, _CLOSE)
    except OSError as error:
        raise NotFound(f"{what}: {path}: {error.strerror}", "name a file that you may read") from None


def _agents(texts: list[str]) -> tuple[list[str], list[int]]:
    """Ids and descriptors of the sockets that ``--ssh`` names."""
    names, fds = [], []
    for text in texts:
        name, _, path = text.partition("=")
        path = path or os.environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise NotFound("--ssh: no agent runs here", "start one: eval $(ssh-agent) && ssh-add")
        try:
            fds.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        except OSError as error:
            raise NotFound(f"--ssh {text}: {path}: {error.strerror}", "name an agent's socket") from None
        names.append(name)
    return names, fds


def _logins(dockerfile: str) -> list[int]:
    """A descriptor of the caller's credentials at the registries of the images that the text names outright."""
    from multios.cli import credentials

    found: dict[str, dict[str, str]] = {}
    for registry in {credentials.registry_of(name) for name in _images_of(dockerfile)}:
        found |= credentials.find(registry)
    return credentials.handed_over(found)


def _images_of(dockerfile: str) -> list[str]:
    """What follows FROM and ``from=``: images, and names of stages."""
    names = []
    for line in dockerfile.splitlines():
        words = line.split()
        if words and words[0].upper() == "FROM":
            names += [word for word in words[1:] if not word.startswith("--")][:1]
        names += [word.partition("from=")[2].partition(",")[0] for word in words if "from=" in word]
    return [name for name in names if name and "$" not in name and name != "scratch"]


def _fields(text: str, known: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in known:
            raise InvalidInput(
                f"--secret {text}: unknown field {key!r}", "write id=NAME,src=FILE or id=NAME,env=NAME"
            )
        found[key] = value
    if not found.get("id"):
        raise InvalidInput(f"--secret {text}: it has no id", "write id=NAME,src=FILE or id=NAME,env=NAME")
    return found


# --- what is shown ------------------------------------------------------------------------------------


class _Printer:
    """Plain progress on stderr, a line a piece of news; with ``quiet`` it is kept for when the build fails."""

    def __init__(self, quiet: bool) -> None:
        self._kept: list[str] | None = [] if quiet else None

    def show(self, news: dict[str, Any]) -> None:
        """Show one piece of news: see multios.build.report."""
        number = news.get("step")
        if "note" in news:
            line = f"Note: {news['note']}"
        elif "name" in news:
            line = f"#{number} {news['name']}"
        elif "line" in news:
            line = f"#{number} {news['line']}"
        elif news.get("end") == "done":
            line = f"#{number} DONE {news['seconds']:.1f}s"
        else:
            line = f"#{number} {str(news.get('end', '')).upper()}"
        if self._kept is not None:
            self._kept.append(line)
            del self._kept[:-100]
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def tell_kept(self) -> None:
        """Show what was kept back."""
        for line in self._kept or ():
            sys.stderr.write(f"{line}\n")


def _prune(values: Values, context: Context) -> int:
    removed = context.call("builds.prune")
    sys.stdout.write(f"{removed['steps']} steps and {removed['mounts']} cache mounts removed\n")
    return 0


_LIMITS = tuple(
    option
    for option in RESOURCES
    if option.key.partition(".")[2] in ("cpu_limit", "cpu_shares", "cpuset", "memory_limit", "memory_swap")
)

_OPTIONS = (
    Option("--tag -t", "tags", LIST, "Name the image, once or more", "NAME[:TAG]"),
    Option("--file -f", "file", TEXT, "The Dockerfile; - is stdin", "FILE", completes="files"),
    Option("--target", "target", TEXT, "Build this stage, not the last", "STAGE"),
    Option("--build-arg", "build_args", LIST, "The value of an ARG", "NAME[=VALUE]"),
    Option("--label", "labels", LIST, "A label of the image", "KEY[=VALUE]"),
    Option("--no-cache", "no_cache", FLAG, "Make every step anew"),
    Option("--pull", "pull", FLAG, "Ask for newer base images"),
    Option("--platform", "platform", TEXT, "The platform to build for", "OS/ARCH[/VARIANT]"),
    Option("--secret", "secrets", LIST, "A secret for RUN --mount=type=secret", "id=ID[,src=FILE|env=NAME]"),
    Option("--ssh", "ssh", LIST, "An ssh agent for RUN --mount=type=ssh", "ID[=SOCKET]"),
    Option(
        "--network",
        "network",
        TEXT,
        "The network of RUN",
        "default|none|host",
        ("default", "none", "host"),
    ),
    Option("--iidfile", "iidfile", TEXT, "Write the image's id to a file", "FILE", completes="files"),
    Option("--quiet -q", "quiet", FLAG, "Print the image's id only"),
    Option("--progress", "progress", TEXT, "How progress is shown", "auto|plain", ("auto", "plain")),
    *_LIMITS,
)
_DETAILS = (
    "CONTEXT is the directory that COPY reads; - is a tar archive of it, or a Dockerfile alone, from stdin."
)


def _command(*examples: str) -> Command:
    return Command(build, _OPTIONS, (Argument("context", "CONTEXT", completes="files"),), _DETAILS, examples)


COMMANDS = {
    "build": _command("build -t myapp:latest .", "build --target test --secret id=token,src=token.txt ."),
    "image build": _command(
        "image build -t myapp:latest .",
        "image build -t myapp:latest -f Dockerfile.dev --build-arg VERSION=2 .",
    ),
    "builder prune": Command(_prune, (), (), "Images and what they need stay.", ("builder prune",)),
}
