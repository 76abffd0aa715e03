"""``save``, ``load``, ``image export`` and ``image import``: archives between the daemon and files of the caller."""

from __future__ import annotations

import os
import sys

from multios.cli.grammar import FLAG, LIST, TEXT, Argument, Command, Option
from multios.errors import InvalidInput, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

STDIN_NAME = "imported:latest"
"""What a root filesystem from stdin is called when no name is given."""
_DIRECTORY = "oci-dir"
_FORMATS = ("docker-archive", "oci-archive", _DIRECTORY)


def _save(values: Values, context: Context) -> int:
    return _write(values, context, values["format"] or "docker-archive")


def _export(values: Values, context: Context) -> int:
    return _write(values, context, values["format"] or "oci-archive")


def _write(values: Values, context: Context, form: str) -> int:
    path = values["output"]
    params = {"refs": values["refs"], "format": "oci-archive" if form == _DIRECTORY else form}
    caller = context.client if values["quiet"] else context
    if form == _DIRECTORY:
        if not path:
            raise InvalidInput("a directory needs a name", "write it as --output DIRECTORY")
        _unpack(context, params, path)
    elif path:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            caller.call("images.save", params, [target])
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(target)
    else:
        if os.isatty(1):
            raise InvalidInput(
                "an archive does not belong on a terminal", "redirect it, or use --output FILE"
            )
        caller.call("images.save", params, [1])
    return 0


def _unpack(context: Context, params: dict[str, Any], path: str) -> None:
    """Ask for an OCI archive and write what is in it to a new directory."""
    from multios.cli.archive import unpack  # deferred: tarfile

    os.mkdir(path)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        try:
            answers = context.client.request("images.save", params, [write])
        finally:
            os.close(write)
        wrong: MultiosError | None = None
        try:
            unpack(stream, path)
        except MultiosError as error:
            wrong = error
            while stream.read(1 << 16):  # let the daemon finish, its own error says more
                pass
    try:
        for _ in answers:
            pass
    except MultiosError:
        if not os.listdir(path):
            os.rmdir(path)
        raise
    if wrong is not None:
        raise wrong


def _load(values: Values, context: Context) -> int:
    path = values["input"] or values["file"] or "-"
    for image in _bring(values, context, path, {"reference": "", "rootfs_name": "", "changes": []}):
        names = image["references"] or [f"sha256:{image['id']}"]
        sys.stdout.write("".join(f"Loaded image: {name}\n" for name in names))
    return 0


def _import(values: Values, context: Context) -> int:
    """``import [FILE|-] [NAME]``: one word is a file or directory if there is one of that name, else the name."""
    words = values["words"]
    path, name, rootfs_name = "-", "", STDIN_NAME
    if len(words) == 2:
        path, name = words
    elif len(words) == 1 and (words[0] == "-" or os.path.exists(words[0])):
        path = words[0]
        if path != "-":
            rootfs_name = os.path.basename(os.path.abspath(path)).split(".tar")[0].lower() + ":latest"
    elif words:
        name = words[0]
    if len(words) > 2:
        raise InvalidInput("too many words", "write image import [FILE] [NAME]")
    params = {"reference": name, "rootfs_name": rootfs_name, "changes": values["change"]}
    for image in _bring(values, context, path, params):
        sys.stdout.write(f"{image['id']}\n")
    return 0


def _bring(values: Values, context: Context, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if path == "-" and os.isatty(0):
        raise InvalidInput("no archive is given", "write < FILE")
    if values["platform"]:
        params["platform"] = values["platform"]
    caller = context.client if values["quiet"] else context
    if path != "-" and os.path.isdir(path):
        result = _send(context, path, params)
    else:
        stream = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        result = caller.call("images.import", params, [stream])
    yield from result["images"]


def _send(context: Context, path: str, params: dict[str, Any]) -> Any:
    """Send an image's directory as an archive."""
    from multios.cli.archive import pack  # deferred: tarfile

    if not any(os.path.exists(os.path.join(path, name)) for name in ("index.json", "manifest.json")):
        raise InvalidInput(
            f"{path} is no directory of an image", "it has neither index.json nor manifest.json"
        )
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        try:
            answers = context.client.request("images.import", params, [read])
        finally:
            os.close(read)
        try:
            pack(stream, path, ".")
            stream.flush()
        except BrokenPipeError:  # the daemon's answer says why
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), write, inheritable=False)
    for _ in answers:
        pass
    return answers.result


_FORMAT = Option(
    "--format", "format", TEXT, "docker-archive, oci-archive or oci-dir", "FORMAT", choices=_FORMATS
)
_OUTPUT = Option(
    "--output -o", "output", TEXT, "Write to this file or new directory", "PATH", completes="files"
)
_QUIET = Option("--quiet -q", "quiet", FLAG, "Show no progress")
_PLATFORM = Option(
    "--platform", "platform", TEXT, "Which image of several platforms, like linux/arm64", "PLATFORM"
)
_SAVED = (Argument("refs", "IMAGE", 1, 0, completes="images"),)
_SAVE = Command(
    _save,
    (_FORMAT, _OUTPUT, _QUIET),
    _SAVED,
    "Without --format it is an archive that every docker loads.",
    ("save myapp:latest > myapp.tar", "save --format oci-dir -o myapp myapp:latest"),
)
_LOAD = Command(
    _load,
    (
        Option("--input -i", "input", TEXT, "Read this file or directory", "PATH", completes="files"),
        _PLATFORM,
        _QUIET,
    ),
    (Argument("file", "[PATH]", 0, completes="files"),),
    "Archives of docker and of OCI layouts, compressed or not, and directories with either in them.",
    ("load < myapp.tar", "load -i myapp.tar.gz"),
)
_IMPORT = Command(
    _import,
    (
        Option("--change -c", "change", LIST, "Apply a line of a Dockerfile to it", "INSTRUCTION"),
        Option("--message -m", "message", TEXT, "Accepted for podman's sake", "TEXT"),
        _PLATFORM,
        _QUIET,
    ),
    (Argument("words", "[FILE] [NAME]", 0, 0, completes="files"),),
    f"What it is, is seen by its content: docker's archive, an OCI archive or directory, or the tar of a root file "
    f"system, compressed or not. Without FILE it is read from stdin. A root file system without a name is called "
    f"after the file, or {STDIN_NAME}; images keep their names.",
    ("image import < myapp.tar", "image import rootfs.tar.gz myapp:1.0 --change 'CMD /bin/sh'"),
)

COMMANDS = {
    "save": _SAVE,
    "image save": _SAVE,
    "load": _LOAD,
    "image load": _LOAD,
    "import": _IMPORT,
    "image import": _IMPORT,
    "image export": Command(
        _export,
        (_FORMAT, _OUTPUT, _QUIET),
        _SAVED,
        "Without --format it is an OCI archive, in which nothing is changed, and which docker loads too.",
        ("image export myapp:latest > myapp.tar",),
    ),
}
