"""``cp`` and ``export``: tar streams between the daemon and files that the caller opens."""

from __future__ import annotations

import os

from multios.api.protocol import PeerGone
from multios.cli.grammar import TEXT, Argument, Command, Option
from multios.errors import InvalidInput, MultiosError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Values

_BOTH = "write one side as CONTAINER:/PATH and the other as a path on this host, or - for a tar stream"


def _export(values: Values, context: Context) -> int:
    path = values["output"]
    if path is None:
        if os.isatty(1):
            raise InvalidInput(
                "a tar archive does not belong on a terminal", "redirect it, or use --output FILE"
            )
        context.call("containers.export", {"ref": values["ref"]}, [1])
        return 0
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        context.call("containers.export", {"ref": values["ref"]}, [target])
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(target)
    return 0


def _cp(values: Values, context: Context) -> int:
    source, target = _split(values["source"]), _split(values["target"])
    if source is not None and target is None:
        _copy_out(context, *source, values["target"])
    elif target is not None and source is None:
        _copy_in(context, values["source"], *target)
    else:
        raise InvalidInput("cp is between one container and this host", _BOTH)
    return 0


def _split(text: str) -> tuple[str, str] | None:
    """``CONTAINER:PATH`` as its parts; ``None`` for a path on this host, which may have a colon behind a slash."""
    ref, separator, path = text.partition(":")
    if not separator or not ref or "/" in ref or ref.startswith("."):
        return None
    return ref, path if path.startswith("/") else "/" + path


def _copy_out(context: Context, ref: str, path: str, target: str) -> None:
    contents = path.endswith("/.")
    params = {"ref": ref, "path": path.removesuffix("/.") or "/"}
    if target == "-":
        context.call("containers.copy_out", params, [1])
        return
    from multios.cli.archive import unpack  # deferred: tarfile

    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        try:
            answers = context.client.request("containers.copy_out", params, [write])
        finally:
            os.close(write)
        wrong: MultiosError | None = None
        try:
            unpack(stream, target, contents_only=contents)
        except MultiosError as error:
            wrong = error
            while stream.read(1 << 16):  # let the daemon finish, its own error says more
                pass
    for _ in answers:
        pass
    if wrong is not None:
        raise wrong


def _copy_in(context: Context, source: str, ref: str, path: str) -> None:
    if source == "-":
        context.call("containers.copy_in", {"ref": ref, "path": path}, [0])
        return
    contents = source.endswith("/.") or source in (".", "..")
    if not os.path.lexists(source.rstrip("/") or "/"):
        raise InvalidInput(f"{source}: no such file or directory", "give a file or directory of this host")
    name = "." if contents else os.path.basename(os.path.abspath(source))
    try:
        _send(context, source, name, ref, path)
    except (NotFound, InvalidInput):  # no such directory: it is the new name, or the container is unknown
        parent, wanted = os.path.split(path.rstrip("/"))
        if path.endswith("/") or contents or not wanted:
            raise
        _send(context, source, wanted, ref, parent or "/")


def _send(context: Context, source: str, name: str, ref: str, directory: str) -> None:
    from multios.cli.archive import pack

    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        try:
            answers = context.client.request("containers.copy_in", {"ref": ref, "path": directory}, [read])
        finally:
            os.close(read)
        try:
            pack(stream, source, name)
            stream.flush()
        except BrokenPipeError:  # the daemon's answer says why
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), write, inheritable=False)
    try:
        for _ in answers:
            pass
    except PeerGone:
        raise MultiosError("the daemon went away while it copied", "copy again") from None


COMMANDS = {
    "export": Command(
        _export,
        (Option("--output -o", "output", TEXT, "Write to this file", "FILE", completes="files"),),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "",
        ("export my-python > my-python.tar", "export -o my-python.tar my-python"),
    ),
    "cp": Command(
        _cp,
        (),
        (
            Argument("source", "SOURCE", completes="paths"),
            Argument("target", "TARGET", completes="paths"),
        ),
        "One side is CONTAINER:PATH, the other a path on this host or - for a tar stream.",
        ("cp main.py my-python:/work/", "cp my-python:/work/result.csv .", "cp my-python:/etc - | tar -t"),
    ),
}
