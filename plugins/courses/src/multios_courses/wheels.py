"""Wheels of what is installed: so that a bundle needs no index, and the classroom no network.

A distribution that was installed normally is packed again from its own RECORD (PEP 427); an editable one is built from its
folder by pip. Both give the same bytes each time.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from multios.errors import InvalidInput, PluginError
from multios_courses.course_file import Plugin

EPOCH = "315532800"
"""1980-01-01, the first moment that a zip can have."""
_DATE = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_TOLD_LINES = 3
_MOST_ENTRIES = 50_000
_LARGEST_WHEEL = 1 << 30
PIP_SECONDS = 1800


def normalized(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_version(name: str) -> str:
    """The version of a distribution in this environment, empty when it is not installed."""
    importlib.invalidate_caches()  # pip may have changed it
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def collect(plugins: Iterable[Plugin], target: Path, file: Path) -> dict[str, str]:
    """Write a wheel of each plugin and all that it needs to ``target``; wheel names by distribution.

    Raises ``PluginError`` for one that is not installed, or in another version than ``file`` says.
    """
    for plugin in plugins:
        found = installed_version(plugin.distribution)
        if found != plugin.version:
            cause = f"{file}: {plugin.distribution} {plugin.version} is needed, " + (
                f"{found} is installed" if found else "it is not installed"
            )
            raise PluginError(cause, f"multios-container course install {file}")
    wanted = _closure([plugin.distribution for plugin in plugins])
    return {name: _wheel(distribution, target).name for name, distribution in sorted(wanted.items())}


def _closure(names: Sequence[str]) -> dict[str, importlib.metadata.Distribution]:
    """The distributions and, as far as they are installed, what they need: a marker may leave out the rest."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if normalized(name) in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[normalized(name)] = distribution
        for line in distribution.requires or []:
            requirement, _, marker = line.partition(";")
            if "extra" not in marker and (match := _REQUIREMENT.match(requirement)):
                waiting.append(match[1])
    return found


def _wheel(distribution: importlib.metadata.Distribution, target: Path) -> Path:
    folder = _editable_folder(distribution)
    return _built(folder, distribution, target) if folder else _repacked(distribution, target)


def _editable_folder(distribution: importlib.metadata.Distribution) -> Path | None:
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))


def _built(folder: Path, distribution: importlib.metadata.Distribution, target: Path) -> Path:
    before = set(target.iterdir())
    pip(
        ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target), str(folder)],
        f"building {distribution.name} from {folder}",
    )
    (made,) = set(target.iterdir()) - before
    return made


def _repacked(distribution: importlib.metadata.Distribution, target: Path) -> Path:
    """The wheel that this was installed from, but for compression; scripts are made anew by pip from the entry points."""
    about = distribution.read_text("WHEEL")
    if not about or not distribution.files:
        raise PluginError(
            f"{distribution.name} was not installed from a wheel", f"pip install --force {distribution.name}"
        )
    info = next(file.parent for file in distribution.files if file.name == "METADATA")
    name = f"{re.sub(r'[-_.]+', '_', distribution.name)}-{distribution.version}"
    made = target / f"{name}-{_tag(about)}.whl"
    record = []
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(distribution.files, key=str):
            path = PurePosixPath(file)
            if ".." in path.parts or "__pycache__" in path.parts or path.is_absolute():
                continue  # scripts, manual pages, compiled files
            if path.parent == info and path.name in _LEFT_OUT:
                continue
            data = Path(str(distribution.locate_file(file))).read_bytes()
            archive.writestr(_entry(str(path)), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{_csv(str(path))},sha256={digest},{len(data)}")
        archive.writestr(_entry(f"{info}/RECORD"), "\n".join([*record, f"{info}/RECORD,,", ""]))
    return made


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100644 << 16
    return entry


def _csv(text: str) -> str:
    return f'"{text}"' if "," in text else text


def _tag(about: str) -> str:
    """All tags of a WHEEL file in one, as a file's name has them (PEP 425)."""
    tags = [
        line.partition(":")[2].strip().split("-") for line in about.splitlines() if line.startswith("Tag:")
    ]
    return "-".join(".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))


def pip(words: Sequence[str], doing: str) -> None:
    """Run pip of this environment; ``PluginError`` has the end of what it said."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_TARGET", "PIP_USER"))
    }
    environment |= {"SOURCE_DATE_EPOCH": EPOCH, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command = [sys.executable, "-m", "pip", *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            env=environment, timeout=PIP_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PluginError(f"{doing}: {error}", "try again") from None
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reasons = [line for line in said if line.startswith(("ERROR", "error"))] or said
        last = " | ".join(reasons[-_TOLD_LINES:])[-600:]
        remedy = (
            "apt install python3-pip, or python3 -m ensurepip"
            if "No module named pip" in last
            else "see above"
        )
        raise PluginError(f"{doing}: {last}", remedy)


def check(path: Path, shown: str) -> None:
    """Raise ``InvalidInput`` for a wheel that would write elsewhere or fill the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise InvalidInput(
            f"{shown}: this is no wheel; nothing was installed", "get the bundle again"
        ) from None
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_ENTRIES or total > _LARGEST_WHEEL:
        raise InvalidInput(
            f"{shown}: {len(entries)} files with {total} bytes are too much; nothing was installed",
            f"at most {_MOST_ENTRIES} files and {_LARGEST_WHEEL >> 20} MB",
        )
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename:
            raise InvalidInput(
                f"{shown}: {entry.filename[:100]!r} leads out of it; nothing was installed",
                "do not use this bundle",
            )
