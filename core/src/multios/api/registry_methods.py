"""``images.pull``, ``images.push`` and ``registries.login``: checked here, done by :mod:`multios.engine.registries`.

Credentials come in a file of their own (a memfd), not among the parameters: those are shown to hooks.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from multios.drivers.image_source import Credentials, FetchRequest
from multios.errors import InvalidInput
from multios.model import platform

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine

_LARGEST_CREDENTIALS = 256 << 10
_FIELDS = ("username", "password", "identity_token")


class Transfers:
    """``images.*`` that talk to registries."""

    prefix = "images"

    def __init__(self, engine: Engine) -> None:
        self._registries = engine.registries

    def pull(self, call: Call) -> Any:
        image = self._registries.pull(
            call.text("ref"), _request(call), call.progress, call.caller.is_administrator
        )
        return {"id": image.id, "digest": image.manifest.digest}

    def push(self, call: Call) -> Any:
        digest = self._registries.push(
            call.text("ref"), call.text("destination", ""), _request(call), call.progress
        )
        return {"digest": digest}


class Registries:
    """``registries.*``"""

    prefix = "registries"

    def __init__(self, engine: Engine) -> None:
        self._registries = engine.registries

    def login(self, call: Call) -> Any:
        registry = call.text("registry")
        given = read_credentials(call.descriptors(1)[0]).get(registry)
        if given is None:
            raise InvalidInput(
                f"no credentials for {registry!r} came along", "use a client of the same version"
            )
        self._registries.login(registry, given)
        return {}


def _request(call: Call) -> FetchRequest:
    wanted = call.text("platform", "")
    return FetchRequest(
        platform=str(platform.parse(wanted)) if wanted else "",
        credentials=read_credentials(call.descriptors(1)[0]) if call.fds else {},
        is_wanted=call.alive,
    )


def read_credentials(descriptor: int) -> dict[str, Credentials]:
    """What a client hands over: a JSON object of registries, each with ``username`` and the like, all text."""
    data = os.pread(descriptor, _LARGEST_CREDENTIALS + 1, 0) if _is_file(descriptor) else b""
    try:
        document: Any = json.loads(data) if len(data) <= _LARGEST_CREDENTIALS else None
        found = {
            registry: Credentials(*(entry.get(name, "") for name in _FIELDS))
            for registry, entry in document.items()
        }
        for item in found.values():
            "".join(getattr(item, name) for name in _FIELDS).encode()  # text, and no half of a surrogate pair
    except (ValueError, TypeError, AttributeError, RecursionError):
        # Without a cause: it might quote a secret.
        raise InvalidInput("the credentials cannot be read", "use a client of the same version") from None
    return found


def _is_file(descriptor: int) -> bool:
    """Whether reading it cannot wait for anybody."""

    return stat.S_ISREG(os.fstat(descriptor).st_mode)
