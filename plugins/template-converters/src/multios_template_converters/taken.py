"""What the formats have in common: images, ports, limits, variables and capabilities, each read from a foreign value."""

from __future__ import annotations

import posixpath
import re

from multios.errors import InvalidInput
from multios.model import reference
from multios.model.container_document import CAPABILITIES
from multios.model.quantities import parse_cpus, parse_size
from multios.template_format import rules
from multios_template_converters.template_folder import Draft, has_placeholder
from multios_template_converters.values import Account, Value

_PORT = re.compile(
    r"(?:(?:(?P<address>[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?P<host>[0-9]{0,5}):)?(?P<port>[0-9]{1,5})(?:/(?P<protocol>[a-zA-Z]+))?"
)


def image(account: Account, key: str, value: Value, text: str) -> str:
    """An image's reference."""
    account.checked(key, value, lambda: reference.parse(text))
    return text


def port(draft: Draft, account: Account, key: str, value: Value, text: str, purpose: str = "") -> None:
    """A port that something listens on, perhaps with one of the host before it: that is chosen at ``create``."""
    match = _PORT.fullmatch(text.strip())
    protocol = (match["protocol"] or "tcp").lower() if match else ""
    if match is None or not 1 <= int(match["port"]) <= 65535 or protocol not in rules.PROTOCOLS:
        account.leave(key, value, f"{text!r} is no port of this machine")
        return
    place = (int(match["port"]), protocol)
    draft.ports[place] = purpose or draft.ports.get(place, "")
    if match["host"] or match["address"]:
        account.leave(
            key, value, f"the host's side of it is chosen when a machine is created: -p {text.strip()}"
        )


def variable(draft: Draft, account: Account, key: str, value: Value, name: str, text: str | None) -> None:
    """A variable of the environment; ``None`` is one that has been left out already."""
    if not rules.VARIABLE.fullmatch(name):
        account.leave(key, value, f"{name!r} cannot be a variable's name")
    elif text is not None:
        draft.environment[name] = text


def is_plain(account: Account, key: str, value: Value, text: str) -> bool:
    """Whether our templates would leave the text as it is; if not, that is said."""
    if has_placeholder(text):
        account.leave(key, value, "our templates would fill what stands in {{…}}")
        return False
    return True


def memory(draft: Draft, account: Account, key: str, value: Value) -> None:
    """A limit of memory, or the least that is asked for."""
    _size("memory_limit", draft, account, key, value)


def disk(draft: Draft, account: Account, key: str, value: Value) -> None:
    """The least space on disk that is asked for."""
    _size("disk_limit", draft, account, key, value)


def _size(limit: str, draft: Draft, account: Account, key: str, value: Value) -> None:
    text = account.scalar(key, value)
    draft.resources[limit] = account.checked(key, value, lambda: parse_size(text, "size"))


def processors(draft: Draft, account: Account, key: str, value: Value) -> None:
    """A limit of processors, or the least that is asked for."""
    text = account.scalar(key, value)
    draft.resources["cpu_limit"] = account.checked(key, value, lambda: parse_cpus(text, "cores"))


def capability(draft: Draft, account: Account, key: str, value: Value, text: str) -> None:
    """A capability, with or without ``CAP_``."""
    name = text.upper().removeprefix("CAP_")
    if name not in CAPABILITIES:
        account.leave(key, value, f"{text!r} is no capability that can be asked for")
    elif name not in draft.capabilities:
        draft.capabilities.append(name)


def path_inside(text: str) -> str | None:
    """A path inside a machine without detours; ``None`` for what is none, and for the root itself."""
    if not text.startswith("/") or not text.isprintable() or ".." in text.split("/") or not text.strip("/."):
        return None
    return posixpath.normpath("/" + text.lstrip("/"))


def is_off(value: Value) -> bool:
    """Whether a switch is off, or there is nothing: then nothing is left out."""
    data = value.data
    return data in (None, False, "", [], {}) or (
        isinstance(data, str) and data.lower() in ("false", "0", "no")
    )


def require_image(account: Account, key: str, line: int, remedy: str) -> InvalidInput:
    """The error for what names no image to build on."""
    return account.wrong(key, line, "names no image, and every template is built on one", remedy)
