"""Converters of templates: what others wrote, in a format of theirs, as folders of ours.

A converter runs in the client, with the rights of whoever brings the source; what it writes is checked by the daemon
as any other template's folder. It only reads: nothing of the source is ever run.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from multios.drivers.base import Driver


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What did not come along: ``key`` on ``line`` (0: none in particular) of ``file``, and why."""

    file: str
    line: int
    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a source became. ``folders`` each hold a whole template and have its name.

    ``commands`` are command lines that make, after the import, what a template cannot hold: networks between machines.
    """

    folders: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()
    commands: tuple[str, ...] = ()


class TemplateConverterDriver(Driver):
    """Contract. Sources are untrusted: sizes, counts and depths are bounded, and no link is followed out of them."""

    kind: ClassVar[str] = "template_converter"

    @abstractmethod
    def find(self, source: Path) -> Path | None:
        """The file by which ``source``, a folder or a file, is of this format; ``None`` if it is not.

        Looks at names only. ``InvalidInput`` where there are several, and the user must name one.
        """

    @abstractmethod
    def convert(self, file: Path, target: Path) -> Conversion:
        """Write a folder for each template below the empty folder ``target``; ``file`` is what :meth:`find` found.

        What cannot be read is ``InvalidInput`` that begins with file, line and key. What has no place in a template
        is left out, and said.
        """
