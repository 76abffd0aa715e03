"""``RUN --mount=…``: its options read into a :class:`Mount` (Dockerfile reference, "RUN --mount")."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Callable

from multios.dockerfile.syntax import Mount
from multios.errors import InvalidInput, nearest
from multios.model.quantities import parse_size

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_OWNERSHIP = ("mode", "uid", "gid")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "bind": ("target", "source", "from", "readonly", "readwrite"),
    "cache": ("id", "target", "source", "from", "readonly", "readwrite", "sharing", *_OWNERSHIP),
    "tmpfs": ("target", "size", "readonly", "readwrite"),
    "secret": ("id", "target", "source", "env", "required", *_OWNERSHIP),
    "ssh": ("id", "target", "required", *_OWNERSHIP),
}
_SHARING = ("shared", "private", "locked")
_TRUTHS = {"readonly", "readwrite", "required"}
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def parse_mount(text: str, expand: Callable[[str], str] | None = None) -> Mount:
    """A mount from what follows ``--mount=``.

    Without ``expand`` a text that holds variables, quotes or escapes gives only what can be known: its ``origin``.
    Raises ``InvalidInput``.
    """
    options = _split(text)
    origin = options.get("from", "")
    if "$" in origin:
        raise InvalidInput(
            f"--mount: from={origin!r} holds a variable", "name a stage with FROM … AS and mount from that"
        )
    if expand is None:
        if any(special in text for special in "$\\`\"'"):
            return Mount(text, origin=origin)
        return _build(text, options)
    return _build(text, {name: value if name == "from" else expand(value) for name, value in options.items()})


def _split(text: str) -> dict[str, str]:
    """Options by their long names; one without ``=`` is true."""
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidInput(f"--mount={text[:80]}: {error}", "expected NAME=VALUE,NAME=VALUE") from None
    options: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        name = _ALIASES.get(name, name)
        if not equals and name not in _TRUTHS:
            raise InvalidInput(f"--mount: {field[:80]!r} has no value", "expected NAME=VALUE")
        options[name] = value if equals else "true"
    return options


def _build(text: str, options: dict[str, str]) -> Mount:
    kind = options.pop("type", "bind").lower()
    if kind not in _OPTIONS:
        guess = nearest(kind, list(_OPTIONS))
        raise InvalidInput(
            f"--mount: unknown type {kind[:80]!r}",
            f"did you mean {guess!r}?" if guess else f"expected {', '.join(_OPTIONS)}",
        )
    for name in options:
        if name not in _OPTIONS[kind]:
            guess = nearest(name, [*_OPTIONS[kind], *_ALIASES])
            expected = f"expected {', '.join(_OPTIONS[kind])}"
            raise InvalidInput(
                f"--mount: a {kind} mount has no option {name[:80]!r}",
                f"did you mean {guess!r}?" if guess else expected,
            )
    sharing = options.get("sharing", "shared").lower()
    if sharing not in _SHARING:
        raise InvalidInput(f"--mount: sharing={sharing[:80]!r}", f"expected {', '.join(_SHARING)}")
    target, identifier = _names(kind, options)
    return Mount(
        text,
        kind,
        target=target,
        source=options.get("source", "") if kind != "secret" else "",
        origin=options.get("from", ""),
        id=identifier,
        sharing=sharing,
        environment=options.get("env", ""),
        read_only=_read_only(kind, options),
        required=_truth("required", options.get("required", "false")),
        mode=_number("mode", options, 8, 0o7777),
        uid=_number("uid", options, 10, 2**32 - 2),
        gid=_number("gid", options, 10, 2**32 - 2),
        size=parse_size(options["size"], "--mount: size") if "size" in options else None,
    )


def _names(kind: str, options: dict[str, str]) -> tuple[str, str]:
    """Target and id, each found by the other where that is documented."""
    target, identifier = options.get("target", ""), options.get("id", "")
    if kind in ("bind", "cache", "tmpfs"):
        if not target or (target.startswith("/") and not posixpath.normpath(target).strip("/")):
            raise InvalidInput(f"--mount: a {kind} mount has no target", "expected target=/PATH")
        return target, (identifier or target) if kind == "cache" else ""
    if kind == "ssh":
        return target, identifier or "default"
    if identifier and options.get("source"):
        raise InvalidInput("--mount: a secret has both id and source", "give its id alone")
    identifier = identifier or options.get("source", "") or posixpath.basename(target)
    if not identifier:
        raise InvalidInput("--mount: a secret has no id", "expected id=NAME, or target=/PATH/NAME")
    if not target and "env" not in options:
        target = "/run/secrets/" + posixpath.basename(identifier)
    return target, identifier


def _read_only(kind: str, options: dict[str, str]) -> bool:
    if "readonly" in options:
        return _truth("readonly", options["readonly"])
    if "readwrite" in options:
        return not _truth("readwrite", options["readwrite"])
    return kind not in ("cache", "tmpfs")


def _truth(name: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise InvalidInput(f"--mount: {name}={value[:80]!r} is no truth value", "expected true or false")
    return value in _TRUE


def _number(name: str, options: dict[str, str], base: int, largest: int) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    digits = "01234567" if base == 8 else "0123456789"
    if not value or len(value) > 11 or value.strip(digits) or int(value, base) > largest:
        kind = "an octal mode" if base == 8 else "a number"
        raise InvalidInput(f"--mount: {name}={value[:80]!r} is not {kind}", f"expected {name}=N")
    return int(value, base)
