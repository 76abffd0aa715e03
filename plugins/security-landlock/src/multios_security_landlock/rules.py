"""The language of profiles, and the rules that they come to (linux/landlock.h).

A profile is words ``KEY=VALUE,VALUE…``:

===================  ================================================================================================
``read=PATH,…``      may be read and executed, with all below
``write=PATH,…``     may be changed as well
``bind=PORT,…``      TCP ports that may be served
``connect=PORT,…``   TCP ports that may be connected to
``scope=WHAT,…``     ``abstract``: no abstract Unix sockets outside; ``signal``: no signals to outside
===================  ================================================================================================

With ``read`` or ``write``, no other file may be used, but /dev, /proc and /sys, which programs cannot do without and the
container has anyhow. With ``bind`` or ``connect``, no other port of that use; ``none`` is no port at all.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from functools import lru_cache

from multios.errors import InvalidInput, unknown

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_FILES = (1 << 15) - 1
"""LANDLOCK_ACCESS_FS_EXECUTE to TRUNCATE, without IOCTL_DEV: devices are another wall's."""
_READING = _EXECUTE | _READ_FILE | _READ_DIRECTORY
_BIND, _CONNECT = 1 << 0, 1 << 1
_SCOPES = {"abstract": 1 << 0, "signal": 1 << 1}
_KEYS = ("read", "write", "bind", "connect", "scope")
_ALWAYS = (("/dev", _ALL_FILES), ("/proc", _READING | _WRITE_FILE), ("/sys", _READING))
_LONGEST, _MOST = 16_384, 500
SINCE = {"files": 3, "TCP ports": 4, "scope": 6}
"""The ABI that has it; of files the one with TRUNCATE, without which what may only be read could be emptied."""
ABSTRACT_SOCKETS = json.dumps({"scope": _SCOPES["abstract"]})


@dataclass(frozen=True, slots=True)
class Ruleset:
    """``annotation`` is the isolation driver's JSON; ``needs`` the least ABI that can enforce all of it."""

    annotation: str
    needs: int


@lru_cache(maxsize=64)
def read(text: str) -> Ruleset:
    """The rules of a profile. ``NotFound`` for what is no profile, ``InvalidInput`` for a value that does not fit."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"the Landlock profile is longer than {_LONGEST} characters", "shorten it")
    given: dict[str, list[str]] = {}
    for word in text.split():
        key, separator, listed = word.partition("=")
        if key not in _KEYS or not separator or not listed:
            names = ["default", "unconfined", *(f"{name}=" for name in _KEYS)]
            hint = "write default, unconfined, or words such as read=/usr write=/tmp connect=443"
            raise unknown("Landlock profile", word[:80], names, hint)
        given.setdefault(key, []).extend(listed.split(","))
    if sum(map(len, given.values())) > _MOST:
        raise InvalidInput(f"the Landlock profile has more than {_MOST} values", "name what contains them")
    return _ruleset(given)


def _ruleset(given: dict[str, list[str]]) -> Ruleset:
    needs = 1
    document: dict[str, object] = {}
    if "read" in given or "write" in given:
        needs = SINCE["files"]
        rights = dict(_ALWAYS)
        for key, allowed in (("read", _READING), ("write", _ALL_FILES)):
            for path in given.get(key, ()):
                place = _path(key, path)
                rights[place] = rights.get(place, 0) | allowed
        document |= {"fs": _ALL_FILES, "paths": sorted(rights.items())}
    handled, ports = 0, dict[int, int]()
    for key, right in (("bind", _BIND), ("connect", _CONNECT)):
        if key in given:
            needs = max(needs, SINCE["TCP ports"])
            handled |= right
            for port in _ports(key, given[key]):
                ports[port] = ports.get(port, 0) | right
    if handled:
        document |= {"net": handled, "ports": sorted(ports.items())}
    if "scope" in given:
        needs = max(needs, SINCE["scope"])
        for name in given["scope"]:
            if name not in _SCOPES:
                raise InvalidInput(f"scope={name[:40]}: no such scope", f"there are {', '.join(_SCOPES)}")
        document["scope"] = sum(_SCOPES[name] for name in set(given["scope"]))
    return Ruleset(json.dumps(document), needs)


def _path(key: str, text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise InvalidInput(f"{key}={text[:80]!r}: not an absolute path", "begin with /, without '..'")
    return "/" + posixpath.normpath(text).lstrip("/")


def _ports(key: str, words: list[str]) -> list[int]:
    if words == ["none"]:
        return []
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) <= 5 and 0 < int(word) <= 65535):
            raise InvalidInput(f"{key}={word[:40]}: not a TCP port", "give numbers from 1 to 65535, or none")
    return [int(word) for word in words]
