"""Templates that users brought: archives unpacked below ``data_root``, each its owner's alone.

``templates/trees/SHA256/`` are the folders, by what is in them; ``templates/owners/UID/NAME.json`` says which one a
user's template is. No line of Python of a template is ever run.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, ClassVar

from multios.drivers.base import DriverContext
from multios.drivers.declarative_template import TreeTemplate
from multios.engine.caller import Caller
from multios.errors import Conflict, NotFound
from multios.model.json import from_json, to_json
from multios.model.quantities import format_size
from multios.template_format import archive, tree
from multios.template_format.tree import Tree

log = logging.getLogger(__name__)
MOST_OF_A_USER = 100
LARGEST_OF_A_USER = 1 << 30
"""Of all that one user has imported, in bytes."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One user's template. ``digest`` is of its folder, ``source`` what the user imported, ``time`` since the epoch.

    ``size`` is of its tar, in bytes; ``shared`` says that an administrator gave it to everyone.
    """

    name: str
    owner: int
    digest: str
    source: str
    time: float
    size: int = 0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A template found right, in a folder that goes again; ``left_out`` are names that are not a template's."""

    tree: Tree
    left_out: tuple[str, ...]


class ImportedTemplate(TreeTemplate):
    """The driver of an imported template; ``record`` is whose it is."""

    name: ClassVar[str] = "imported"
    summary: ClassVar[str] = "a template that a user imported"

    def __init__(self, record: Imported, given: Tree) -> None:
        self.record = record
        self._given = given
        super().__init__(None, DriverContext(Path("/"), Path("/")))

    def _find(self) -> Tree:
        return self._given


class ImportedTemplates:
    """Those of all users. Thread-safe; several daemons may not share the directory."""

    def __init__(self, directory: Path) -> None:
        self._trees, self._owners = directory / "trees", directory / "owners"
        self._work = directory / "work"
        shutil.rmtree(self._work, ignore_errors=True)  # of a daemon that was killed
        for path in (directory, self._trees, self._owners, self._work):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._records = {(item.owner, item.name): item for item in self._read()}

    def _read(self) -> Iterator[Imported]:
        for file in sorted(self._owners.glob("*/*.json")):
            try:
                record = from_json(Imported, json.loads(file.read_text()))
                if (self._trees / record.digest).is_dir():
                    yield record
            except (OSError, ValueError, TypeError) as error:
                log.warning("imported template %s is left out: %s", file, error)

    # --- what there is ----------------------------------------------------------------------------

    def names(self, caller: Caller | None) -> list[str]:
        """The caller's, and those that are everyone's."""
        with self._lock:
            records = list(self._records.values())
        return sorted({item.name for item in records if item.shared or _is_of(item, caller)})

    def driver(self, name: str, caller: Caller | None) -> ImportedTemplate | None:
        """The caller's template of this name, else the shared one; anybody else's does not exist."""
        with self._lock:
            called = [item for item in self._records.values() if item.name == name]
        own = [item for item in called if _is_of(item, caller)]
        record = next(iter([*own, *(item for item in called if item.shared)]), None)
        return ImportedTemplate(record, self._tree(record)) if record else None

    def _tree(self, record: Imported) -> Tree:
        # What is in the folder is its name, so it never changes.
        return tree.at(self._trees / record.digest, record.name, float("inf"))

    # --- bringing and removing ----------------------------------------------------------------------

    @contextmanager
    def unpacked(self, stream: BinaryIO, where: str) -> Iterator[Unpacked]:
        """The template in an archive, checked, for as long as the block runs. ``where`` begins every error."""
        scratch = self._work / secrets.token_hex(8)
        scratch.mkdir(mode=0o700)
        try:
            top, left_out = archive.unpack(stream, scratch, where)
            found = Tree(top, where)
            found.check()
            yield Unpacked(found, tuple(left_out))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def add(
        self,
        found: Unpacked,
        caller: Caller,
        source: str,
        installed: Iterable[str],
        shared: bool = False,
    ) -> Imported:
        """Keep an unpacked template as the caller's, or ``shared`` as everyone's; it replaces one of his of the same name.

        Raises ``Conflict`` where an installed template is called so.
        """
        name = found.tree.document.name
        if name in installed:
            raise Conflict(
                f"a template {name!r} is installed", "give yours another name in its template.toml"
            )
        with self._lock:
            own = [item for item in self._records.values() if item.owner == caller.uid and item.name != name]
            digest, size = archive.digest(found.tree.folder)
            taken = sum(item.size for item in own)
            if len(own) >= MOST_OF_A_USER or taken + size > LARGEST_OF_A_USER:
                raise Conflict(
                    f"you have {len(own)} imported templates of {format_size(taken)}, at most "
                    f"{MOST_OF_A_USER} of {format_size(LARGEST_OF_A_USER)} are kept",
                    "remove some: template rm NAME",
                )
            if not (self._trees / digest).exists():
                os.rename(found.tree.folder, self._trees / digest)
            record = Imported(name, caller.uid, digest, source[:500], time.time(), size, shared)
            self._write(record)
            before = self._records.get((caller.uid, name))
            self._records[(caller.uid, name)] = record
            if before is not None:
                self._drop(before.digest)
        return record

    def _write(self, record: Imported) -> None:
        directory = self._owners / str(record.owner)
        directory.mkdir(mode=0o700, exist_ok=True)
        temporary = directory / f".{record.name}.new"
        temporary.write_text(json.dumps(to_json(record)))
        temporary.rename(directory / f"{record.name}.json")

    def remove(self, name: str, caller: Caller) -> Imported:
        """Forget the caller's template, and its folder unless somebody else has the same; ``NotFound`` without one."""
        with self._lock:
            record = self._records.pop((caller.uid, name), None)
            if record is None:
                raise NotFound(
                    f"you have no imported template {name!r}",
                    "an installed one is removed with pip uninstall",
                )
            (self._owners / str(record.owner) / f"{name}.json").unlink(missing_ok=True)
            self._drop(record.digest)
        return record

    def _drop(self, digest: str) -> None:
        if not any(item.digest == digest for item in self._records.values()):
            shutil.rmtree(self._trees / digest, ignore_errors=True)

    def write(self, found: Unpacked, target: IO[bytes]) -> str:
        """Write the template as an archive; its digest."""
        return archive.write(found.tree.folder, target)[0]


def _is_of(record: Imported, caller: Caller | None) -> bool:
    return caller is not None and record.owner == caller.uid
