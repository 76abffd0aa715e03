"""The container that the battery runs in: an empty root, and this interpreter's own files, read-only.

Nothing is downloaded, and no privilege is needed but an administrator's bind mounts. Everything is removed again.
"""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import tempfile

from multios.errors import StepFailed
from multios.selfproof import battery, interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.api.client import Client

_DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp")


def answers(client: Client, isolation: str, changes: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What the kernel answered inside a container of the driver ``isolation`` (empty: the default one).

    ``changes`` to the container document are for those who want to see what weaker settings come to.
    """
    mark = os.urandom(6).hex()
    image = f"multios-selfproof:{mark}"
    root = _memory_file(_empty_root())
    try:
        client.call("images.import", {"reference": image}, [root])
    finally:
        os.close(root)
    try:
        with (
            tempfile.NamedTemporaryFile(prefix="multios-selfproof-") as file,
            socket.socket(socket.AF_UNIX) as door,
        ):
            os.chmod(file.name, 0o644)
            door.bind(f"\0{mark}")
            door.listen(1)
            words = [file.name, str(os.getpid()), mark]
            config: dict[str, Any] = {
                "name": f"selfproof-{mark}",
                "image": image,
                "entrypoint": [],
                "command": [*interpreter.command(), "-I", "-S", "-c", _program(), *words],
                "volumes": [{"host": path, "container": path, "mode": "ro"} for path in interpreter.places()],
                "networking": {"network": "none"},
                "auto_remove": True,
            }
            if isolation:
                config["drivers"] = {"isolation": isolation}
            done = client.run({**config, **(changes or {})})
    finally:
        client.call("images.remove", {"ref": image, "force": True})
    try:
        found: Mapping[str, str] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise StepFailed("self-proof", f"the battery ended with {done.exit_code}: {said[-1][:200]}") from None
    return dict(found)


def _program() -> str:
    with open(battery.__file__, encoding="utf-8") as file:
        return file.read()


def _empty_root() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in _DIRECTORIES:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
    return target.getvalue()


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("selfproof")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
