"""The audit log: one line of JSON for each request that changes something.

Written after the request was authorised, whether it then worked or not. It names the thing and never what was said about it:
no environment, no command line, no credentials. JSON keeps what a user chose as a name from looking like another line.
A disk that fails costs lines, never a request: the daemon's log says how many.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import pwd
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multios.api import access
from multios.engine.caller import Caller
from multios.engine.log_files import open_log
from multios.errors import InvalidInput

log = logging.getLogger(__name__)
LARGEST = 10_000_000
"""Bytes of a file; then it becomes ``.1``, and the oldest goes."""
KEPT = 5
LONGEST_WORD = 200


class AuditLog:
    """Safe from any thread. The file is made when the first line is written, readable by its owner only."""

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self.path, self._largest = path, largest
        self._lock = threading.Lock()
        self._lost = 0

    def write(
        self, caller: Caller, method: str, params: Mapping[str, Any], result: str, cause: str = ""
    ) -> None:
        """A line, if the method changes anything. ``result`` is ``ok``, ``begun`` or an error's code."""
        line = access.of(method)
        if not line.changes:
            return
        entry = {
            "time": round(time.time(), 3),
            "uid": caller.uid,
            "user": _name(caller.uid),
            "pid": caller.pid,
            "method": method[:LONGEST_WORD],
            "object": _object(line.about, params),
            "result": result,
        }
        if cause and result != InvalidInput.code:  # which quotes what was typed, a secret perhaps
            entry["cause"] = cause[:LONGEST_WORD]
        data = (json.dumps(entry) + "\n").encode("ascii")
        with self._lock:
            try:
                self._append(data)
                if self._lost:
                    log.error("the audit log %s works again; %d lines were lost", self.path, self._lost)
                self._lost = 0
            except OSError as error:
                if not self._lost:
                    log.error("the audit log %s cannot be written: %s", self.path, error)
                self._lost += 1

    def read(self, since: float = 0.0, user: str = "") -> Iterator[dict[str, Any]]:
        """Entries since a time, oldest first, of a user by name or uid; lines that are torn are left out."""
        with contextlib.ExitStack() as closing:
            files = [closing.enter_context(open(found, "rb")) for found in open_log(self.path, KEPT)]
            for line in itertools.chain.from_iterable(files):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry["time"] >= since and user in ("", entry["user"], str(entry["uid"])):
                    yield entry

    def _append(self, data: bytes) -> None:
        self._rotate(len(data))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError("a line was written in part")
        finally:
            os.close(descriptor)

    def _rotate(self, coming: int) -> None:
        try:
            size = os.stat(self.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return
        if size + coming <= self._largest:
            return
        for number in range(KEPT - 1, 0, -1):
            source = self.path if number == 1 else self._numbered(number - 1)
            try:
                source.rename(self._numbered(number))
            except FileNotFoundError:
                continue

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _object(about: str, params: Mapping[str, Any]) -> str:
    """What a request is about: a name, an id, the names of a list; of a document its name and image."""
    value = params.get(about, "") if about else ""
    if about == "config":
        document = value if isinstance(value, dict) else {}
        words = [document.get(key) for key in ("name", "template", "image")]
        value = [word for word in words if isinstance(word, str) and word]
        if isinstance(owner := params.get("owner"), str) and owner:
            value.append(f"for {owner}")
    if about == "app":
        value = value.get("name", "") if isinstance(value, dict) else ""
    if isinstance(value, list):
        value = " ".join(str(word)[:LONGEST_WORD] for word in value[:10])
    text = str(value)[:LONGEST_WORD]
    other = params.get("ref") if about == "network" else None
    return f"{text} {str(other)[:LONGEST_WORD]}" if other else text


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
