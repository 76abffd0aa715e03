"""``cp`` and ``export``: tar streams between the daemon and files that the caller opens."""

from __future__ import annotations

import os

from multios.api.protocol import PeerGone
from multios.cli.grammar import TEXT, Argument, Command, Option
from multios.errors import InvalidInput, MultiosError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from multios.cli.context import Context
    from multios.cli.grammar import Values

    Start = Callable[[int, str], Callable[[], None]]

BOTH_SIDES = "write one side as CONTAINER:/PATH and the other as a path on this host, or - for a tar stream"


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
    source, target = split(values["source"]), split(values["target"])
    if source is not None and target is None:
        copy_out(source[1], values["target"], _request(context, "containers.copy_out", source[0]))
    elif target is not None and source is None:
        copy_in(values["source"], target[1], _request(context, "containers.copy_in", target[0]))
    else:
        raise InvalidInput("cp is between one container and this host", BOTH_SIDES)
    return 0


def _request(context: Context, method: str, ref: str) -> Start:
    def start(descriptor: int, path: str) -> Callable[[], None]:
        answers = context.client.request(method, {"ref": ref, "path": path}, [descriptor])

        def finish() -> None:
            try:
                for _ in answers:
                    pass
            except PeerGone:
                raise MultiosError("the daemon went away while it copied", "copy again") from None

        return finish

    return start


def split(text: str) -> tuple[str, str] | None:
    """``CONTAINER:PATH`` as its parts; ``None`` for a path on this host, which may have a colon behind a slash."""
    ref, separator, path = text.partition(":")
    if not separator or not ref or "/" in ref or ref.startswith("."):
        return None
    return ref, path if path.startswith("/") else "/" + path


def copy_out(path: str, target: str, start: Start) -> None:
    """What is at ``path`` inside, to ``target`` on this host, or ``-``.

    ``start`` begins to write the tar of a path inside to a descriptor, and gives what waits for its end and raises.
    """
    contents = path.endswith("/.")
    path = path.removesuffix("/.") or "/"
    if target == "-":
        start(1, path)()
        return
    from multios.cli.archive import unpack  # deferred: tarfile

    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        try:
            finish = start(write, path)
        finally:
            os.close(write)
        wrong: MultiosError | None = None
        try:
            unpack(stream, target, contents_only=contents)
        except MultiosError as error:
            wrong = error
            while stream.read(1 << 16):  # let the other side finish, its own error says more
                pass
    finish()
    if wrong is not None:
        raise wrong


def copy_in(source: str, path: str, start: Start) -> None:
    """``source``, on this host or ``-``, to ``path`` inside.

    ``start`` begins to unpack a tar from a descriptor into a directory inside, and gives what waits for its end and raises.
    """
    if source == "-":
        start(0, path)()
        return
    contents = source.endswith("/.") or source in (".", "..")
    if not os.path.lexists(source.rstrip("/") or "/"):
        raise InvalidInput(f"{source}: no such file or directory", "give a file or directory of this host")
    name = "." if contents else os.path.basename(os.path.abspath(source))
    try:
        _send(source, name, path, start)
    except (NotFound, InvalidInput):  # no such directory: it is the new name, or the container is unknown
        parent, wanted = os.path.split(path.rstrip("/"))
        if path.endswith("/") or contents or not wanted:
            raise
        _send(source, wanted, parent or "/", start)


def _send(source: str, name: str, directory: str, start: Start) -> None:
    from multios.cli.archive import pack

    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        try:
            finish = start(read, directory)
        finally:
            os.close(read)
        try:
            pack(stream, source, name)
            stream.flush()
        except BrokenPipeError:  # the other side's answer says why
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), write, inheritable=False)
    finish()


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
