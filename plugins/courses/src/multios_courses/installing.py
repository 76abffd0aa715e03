"""``course install``: the plugins of a course, and from a bundle its images and files; all is verified before anything changes.

The daemon is asked first, because without it nothing can be brought; then pip is asked whether it could, by a dry run.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.errors import Conflict, InvalidInput, MultiosError, PluginError, Unsupported
from multios_courses import bundle, course_file, wheels
from multios_courses.archive import MANIFEST, Bundle
from multios_courses.course_file import FILE, Course, Plugin

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def run(
    context: Context,
    source: Path,
    find_links: Sequence[str],
    no_index: bool,
    folder: Path | None,
    digest: str | None,
) -> int:
    """Install from a course's file, or from a bundle."""
    if source.is_dir() or source.suffix == ".toml":
        if folder or digest:
            raise InvalidInput("--to and --sha256 are for bundles", "leave them out")
        course = course_file.load(source)
        _bring_plugins(course.plugins, _pip_words(find_links, no_index))
        return _told(context, course)
    try:
        file = source.open("rb")
    except OSError as error:
        raise InvalidInput(f"{source}: {error.strerror}", f"name a {FILE} or a bundle") from None
    with file:
        return _from_bundle(context, Bundle(file, str(source)), folder, digest)


def _pip_words(find_links: Sequence[str], no_index: bool) -> list[str]:
    words = [word for place in find_links for word in ("--find-links", place)]
    return [*words, "--no-index"] if no_index else words


def _missing(plugins: Iterable[Plugin]) -> list[Plugin]:
    """Those that are not here in the version that is asked for."""
    return [one for one in plugins if wheels.installed_version(one.distribution) != one.version]


def _bring_plugins(plugins: Iterable[Plugin], words: Sequence[str], only_ask: bool = False) -> None:
    """Let pip install what is missing or of another version: nothing at all if it cannot have all of it.

    ``only_ask`` is a dry run: it raises what the real one would, and changes nothing.
    """
    missing = _missing(plugins)
    if not missing:
        return
    wanted = [f"{one.distribution}=={one.version}" for one in missing]
    dry = ["--dry-run"] if only_ask else []
    wheels.pip(["install", "--quiet", *dry, *words, *wanted], f"installing {', '.join(wanted)}")
    if not only_ask:
        sys.stdout.write("".join(f"installed {one.distribution} {one.version}\n" for one in missing))


def _from_bundle(context: Context, opened: Bundle, folder: Path | None, digest: str | None) -> int:
    if digest is not None:
        _check_digest(opened, digest)
    _check_manifest(opened)
    context.client.open()
    with tempfile.TemporaryDirectory(prefix="course-install-", dir=_work_place()) as place:
        work = Path(place)
        for name, member in opened.below(bundle.WHEELS).items():
            opened.extract(member, work / bundle.WHEELS / name)
            wheels.check(work / bundle.WHEELS / name, f"{opened.path}: {member.name}")
        for name, member in opened.below(bundle.COURSE).items():
            opened.extract(member, work / bundle.COURSE / name)
        course = course_file.load(work / bundle.COURSE)
        _check_plugins(opened, course)
        target = (folder or Path(course.name)).absolute()
        _check_target(target, work / bundle.COURSE)
        words = ["--no-index", "--find-links", str(work / bundle.WHEELS)]
        _bring_plugins(course.plugins, words, only_ask=True)
        _bring_images(context, opened, work)
        _bring_plugins(course.plugins, words)
        _place(work / bundle.COURSE, target)
    sys.stdout.write(f"{target}: the course's files\n")
    return _told(context, course_file.load(target))


def _work_place() -> str | None:
    """A place on a disk: /tmp may be memory, and images are large."""
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else None


def _check_digest(opened: Bundle, digest: str) -> None:
    match = _DIGEST.fullmatch(digest.strip().lower())
    if not match:
        raise InvalidInput(
            "--sha256: this is no SHA-256 digest", "copy the line that `course bundle` printed"
        )
    if match[1] != opened.digest:
        raise opened.wrong(MANIFEST, f"its digest is {opened.digest}, not the one that is asked for")


def _check_manifest(opened: Bundle) -> None:
    manifest = opened.manifest
    if manifest.get("schema") != bundle.SCHEMA:
        raise opened.wrong(MANIFEST, f"this version reads bundles of schema {bundle.SCHEMA}")
    if f"{bundle.COURSE}/{FILE}" not in opened.members:
        raise opened.wrong(f"{bundle.COURSE}/{FILE}", "it is missing")
    images = manifest.get("images")
    if not isinstance(images, list) or not all(
        isinstance(row, dict) and isinstance(row.get("reference"), str) and isinstance(row.get("id"), str)
        for row in images
    ):
        raise opened.wrong(MANIFEST, "its images are not valid")
    known = {bundle.COURSE, bundle.WHEELS}
    for name in opened.members:
        if name.split("/")[0] not in known and name != bundle.IMAGES:
            raise opened.wrong(name, "no part of a bundle")
    here = f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine()
    made = str(manifest.get("python")), str(manifest.get("machine"))
    if made[1] != here[1] and images:
        raise Unsupported(
            f"{opened.path}: made for {made[1][:40]}, this host is {here[1]}", "make it on such a host"
        )


def _check_plugins(opened: Bundle, course: Course) -> None:
    """Every plugin of the course has a wheel inside, or is here already."""
    inside = {
        (wheels.normalized(parts[0]), parts[1])
        for name in opened.below(bundle.WHEELS)
        if len(parts := name.split("-")) > 2
    }
    for plugin in course.plugins:
        wanted = (wheels.normalized(plugin.distribution), plugin.version)
        if wanted not in inside and wheels.installed_version(plugin.distribution) != plugin.version:
            raise opened.wrong(bundle.WHEELS, f"{plugin.distribution} {plugin.version} is not among them")


def _check_target(target: Path, made: Path) -> None:
    """Nothing of the teacher's is overwritten: a folder that is there must be this course as it is."""
    if not target.exists():
        if not target.parent.is_dir():
            raise InvalidInput(f"{target.parent}: there is no such folder", "make it, or name another: --to")
        return
    if not target.is_dir():
        raise Conflict(f"{target} is there and is no folder", "name another: --to DIR")
    for path in made.rglob("*"):
        there = target / path.relative_to(made)
        if path.is_file() and (not there.is_file() or there.read_bytes() != path.read_bytes()):
            raise Conflict(f"{there} differs from the bundle's", "name another folder: --to DIR")


def _place(made: Path, target: Path) -> None:
    if target.exists():
        return  # the same, as was checked
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        shutil.copytree(made, partial, dirs_exist_ok=True)
        partial.chmod(0o755)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _bring_images(context: Context, opened: Bundle, work: Path) -> None:
    images: list[dict[str, Any]] = opened.manifest["images"]
    missing = [row for row in images if not _is_there(context, row)]
    if not missing:
        return
    member = opened.members.get(bundle.IMAGES)
    if member is None:
        raise opened.wrong(bundle.IMAGES, "it is missing")
    archive = work / "images.tar"
    opened.extract(member, archive)
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        context.call("images.import", {"reference": "", "rootfs_name": "", "changes": []}, [descriptor])
    finally:
        os.close(descriptor)
    for row in missing:
        if not _is_there(context, row):
            raise opened.wrong(bundle.IMAGES, f"the image {row['reference'][:200]!r} is not in it")
        sys.stdout.write(f"image {row['reference']}\n")


def _is_there(context: Context, row: dict[str, Any]) -> bool:
    """Whether the daemon has exactly this image under that name."""
    try:
        record = context.client.call("images.inspect", {"ref": row["reference"]})
    except MultiosError:
        return False
    return bool(record["Id"] == row["id"])


def _told(context: Context, course: Course) -> int:
    """Say whether the daemon knows the templates: one that was started before the plugins came does not."""
    for plugin in course.plugins:
        if wheels.installed_version(plugin.distribution) != plugin.version:
            raise PluginError(
                f"{plugin.distribution} {plugin.version} is not installed after all", "see `pip list`"
            )
    wanted = {template.name for template in course.templates if template.name}
    known = {row["name"] for row in context.client.call("templates.list")} if wanted else set()
    if wanted - known:
        sys.stderr.write(
            f"the daemon does not know {', '.join(sorted(wanted - known))} yet: it was started before. Restart it, "
            "containers run on: sudo multios-containerd stop\n"
        )
    sys.stdout.write(
        f"{course.name} {course.version} is ready: multios-container course start {course.file}\n"
    )
    return 0
