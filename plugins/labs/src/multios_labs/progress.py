"""What a student has done in a lab, and the lab as it was given out.

What never changes (which lab, whose, which values) stands in the container's labels. What does is in a folder of the user's own,
by the container's id: ``$XDG_DATA_HOME/multios/labs/ID/`` with ``progress.json`` and ``lab/``, a copy of the lab without
``private/``, which a later correction is compared with. It is a record for the student: what counts is judged elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multios.errors import InvalidInput, NotFound
from multios_labs.document import files_of, read
from multios_labs.records import Lab

_FILE = "progress.json"


def data_directory() -> Path:
    """``$XDG_DATA_HOME/multios/labs`` of who runs this."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "multios" / "labs"


@dataclass(slots=True)
class StepProgress:
    """Times in seconds since the epoch; ``passed`` is 0 until all checks have held once. ``results``: those of the last check."""

    reached: float
    passed: float = 0.0
    attempts: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Progress:
    """``current`` is the step that the student is at; ``given`` the digests of every version of a lab's file that the machine
    got, by its path there, the newest last; ``values`` the student's parameters after a correction, ``None`` before the first."""

    container: str
    current: str
    steps: dict[str, StepProgress] = field(default_factory=dict)
    given: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return data_directory() / self.container

    def lab(self) -> Lab:
        """The lab as it was given out, or brought up to date."""
        return read(self.folder / "lab")

    def reach(self, step: str) -> None:
        """The student is at this step now."""
        self.current = step
        self.steps.setdefault(step, StepProgress(reached=time.time()))

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.folder / f".{_FILE}.{os.getpid()}"
        steps = {
            name: {key: getattr(step, key) for key in StepProgress.__slots__}
            for name, step in self.steps.items()
        }
        table: dict[str, Any] = {"schema": 1, "current": self.current, "steps": steps, "given": self.given}
        if self.values is not None:
            table["values"] = self.values
        temporary.write_text(json.dumps(table, indent=1))
        temporary.rename(self.folder / _FILE)

    def keep_lab(self, lab: Lab) -> None:
        """Copy the lab, without what is the teacher's, in the place of the one that is kept."""
        fresh, place, former = (self.folder / name for name in ("lab.new", "lab", "lab.former"))
        for old in (fresh, former):
            shutil.rmtree(old, ignore_errors=True)
        for name, path in files_of(lab.folder):
            target = fresh / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        with contextlib.suppress(FileNotFoundError):
            place.rename(former)
        fresh.rename(place)
        shutil.rmtree(former, ignore_errors=True)

    def forget(self) -> None:
        """Remove all that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)


def load(container: str, name: str) -> Progress:
    """What is known of the lab in container ``container`` (its id), which people call ``name``."""
    file = data_directory() / container / _FILE
    try:
        table = json.loads(file.read_text())
        steps = {key: StepProgress(**value) for key, value in table["steps"].items()}
        given = {str(path): [str(one) for one in digests] for path, digests in table["given"].items()}
        values = table.get("values")
        if values is not None:
            values = {str(key): str(value) for key, value in values.items()}
        return Progress(container, str(table["current"]), steps, given, values)
    except FileNotFoundError:
        raise NotFound(
            f"nothing is known of the lab in {name!r} here: it was started by another user, or on another host",
            "use the account that ran `multios-container lab start`",
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"{file}: is damaged ({error})", f"remove the lab: multios-container lab rm {name}"
        ) from None
