"""``template.lock``: by base, the digest of the base and the version of every package, so that two builds agree."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multios import typed_table
from multios.errors import InvalidInput
from multios.model.template import Lock
from multios.template_format.rules import check_package
from multios.toml_lines import written

SCHEMA = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEAD = """\
# What the image of this template is built of; written by `multios-container template lock`.
# A build that has no such base or package any more fails and says which.
"""


def _bases(value: Any, where: str) -> Mapping[str, Lock]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise InvalidInput(f"{where}: must be tables", f'for example [{where}."debian:12"]')
    found = {}
    for base, table in value.items():
        path = f"{where}.{written(base)}"
        try:
            lock = typed_table.read(Lock, table, f"{path}.")
        except TypeError:
            raise InvalidInput(f"{path}: base_digest or time is missing", "write it anew") from None
        if not _DIGEST.fullmatch(lock.base_digest):
            raise InvalidInput(f"{path}.base_digest: is no digest", "sha256: and 64 hex digits")
        if not 0 <= lock.time < 2**33:
            raise InvalidInput(f"{path}.time: is out of bounds", "seconds since 1970")
        for number, package in enumerate(lock.packages):
            check_package(package, f"{path}.packages[{number}]")
            if "=" not in package:
                raise InvalidInput(f"{path}.packages[{number}]: has no version", "write NAME=VERSION")
        found[base] = lock
    return found


@dataclass(frozen=True, slots=True)
class LockFile:
    """The whole file: for each base that was locked, what it was."""

    schema: int
    template: str
    bases: Mapping[str, Lock] = field(default_factory=dict, metadata={"parse": _bases})


def read(text: str, where: str) -> LockFile:
    """The lock that the TOML ``text`` is; ``InvalidInput`` that begins with ``where``, the line and the key."""
    import tomli  # deferred: few templates have one

    from multios.template_format.document import located

    try:
        table = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InvalidInput(f"{where}:{line}: not TOML: {error}", "write it anew: template lock") from error
    try:
        if table.get("schema") != SCHEMA:
            raise InvalidInput(f"schema: this version reads {SCHEMA}", "write it anew: template lock")
        return typed_table.read(LockFile, table, "")
    except TypeError:
        raise InvalidInput(f"{where}:1: template: is missing", "write it anew: template lock") from None
    except InvalidInput as error:
        raise located(error, text, where) from None


def write(template: str, bases: Mapping[str, Lock]) -> str:
    """The file's text: the same locks give the same bytes."""
    lines = [_HEAD, f"schema = {SCHEMA}", f"template = {json.dumps(template)}"]
    for base, lock in sorted(bases.items()):
        lines += [
            "",
            f"[bases.{written(base)}]",
            f"base_digest = {json.dumps(lock.base_digest)}",
            f"time = {lock.time}",
            "packages = [",
            *(f"    {json.dumps(package)}," for package in lock.packages),
            "]",
        ]
    return "\n".join(lines) + "\n"
