"""What the installed distributions declare: entry points of this system, read once, nothing imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from multios.drivers.base import CONTRACT_VERSION, KINDS

HOOKS, COMMAND = "hooks", "command"
ALL_KINDS = (*KINDS, HOOKS, COMMAND)

_GROUP = re.compile(r"multios\.([a-z_]+)\.(v[0-9]+)")
_PREFIXES = {
    "isolation": "multios-isolation-",
    "storage": "multios-storage-",
    "network": "multios-net-",
    "security": "multios-security-",
    "template": "multios-template-",
    "template_converter": "multios-converter-",
    "image_source": "multios-image-",
    "orchestrator": "multios-orchestrator-",
    HOOKS: "multios-hooks-",
    COMMAND: "multios-command-",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry point: ``contract`` is the contract's version in its group's name."""

    kind: str
    name: str
    contract: str
    distribution: str
    version: str
    entry_point: importlib.metadata.EntryPoint

    @property
    def compatible(self) -> bool:
        """Whether it is written for this version of the contract."""
        return self.contract == CONTRACT_VERSION


def scan() -> tuple[Declared, ...]:
    """Every entry point of ours, by kind and name; installations since the last scan are seen."""
    importlib.invalidate_caches()
    found = importlib.metadata.entry_points()
    return declared(
        item for name in found.groups if _GROUP.fullmatch(name) for item in found.select(group=name)
    )


def follow_editable_installs() -> None:
    """Make importable what was installed with ``pip install -e`` since this process began.

    Python reads the ``.pth`` files of its site directories (site, library reference) at its start only. Lines of code in
    them are not run.
    """
    for directory in [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]:
        for file in sorted(Path(directory).glob("*.pth")):
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            for line in lines:
                place = os.path.abspath(os.path.join(directory, line.rstrip()))
                if line.startswith(("#", "import ", "import\t")) or not os.path.isdir(place):
                    continue
                if place not in sys.path:
                    sys.path.append(place)


def declared(entry_points: Iterable[importlib.metadata.EntryPoint]) -> tuple[Declared, ...]:
    """Those of ``entry_points`` that are ours."""
    found: dict[tuple[str, str, str, str], Declared] = {}
    for entry_point in entry_points:
        match = _GROUP.fullmatch(entry_point.group)
        if match is None or match[1] not in ALL_KINDS:
            continue
        # One that is being installed may have entry points and no name yet.
        distribution = (entry_point.dist.name if entry_point.dist else "") or "(no distribution)"
        version = (entry_point.dist.version if entry_point.dist else "") or ""
        item = Declared(match[1], entry_point.name, match[2], distribution, version, entry_point)
        found[item.kind, item.name, item.contract, distribution] = item
    spoken_for = {(item.kind, item.name, item.distribution) for item in found.values() if item.compatible}
    # A distribution may serve two versions of a contract; then the one that fits is the one that counts.
    kept = [i for i in found.values() if i.compatible or (i.kind, i.name, i.distribution) not in spoken_for]
    return tuple(sorted(kept, key=lambda item: (ALL_KINDS.index(item.kind), item.name, item.distribution)))


def distribution_for(kind: str, name: str) -> str:
    """The distribution that by convention brings a driver: ``network``, ``bridge`` → ``multios-net-bridge``."""
    return _PREFIXES[kind] + name.replace("_", "-").lower()
