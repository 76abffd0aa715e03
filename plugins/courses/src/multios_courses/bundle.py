"""``course bundle``: one file with all that a course needs where there is no network."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multios.cli.context import Context
from multios.cli.tables import size
from multios.errors import InvalidInput
from multios_courses import archive, course_file, locks, validation, wheels
from multios_courses.course_file import FILE, Course

SCHEMA = 1
SUFFIX = ".bundle"
COURSE, WHEELS, IMAGES = "course", "wheels", "images/images.tar"
_LEFT_OUT = ("__pycache__", ".git")


def run(context: Context, path: Path, output: Path | None, with_roster: bool) -> int:
    """Build what is not built yet, gather, and write the bundle."""
    course = course_file.load(path)
    validation.check_files(course)
    target = output or Path(f"{course.name}-{course.version}{SUFFIX}")
    if not target.parent.is_dir():
        raise InvalidInput(f"{target.parent}: there is no such folder", "make it, or write elsewhere")
    with tempfile.TemporaryDirectory(prefix=".course-bundle-", dir=target.absolute().parent) as place:
        work = Path(place)
        files = _course_files(course, with_roster)
        (work / WHEELS).mkdir()
        made = wheels.collect(course.plugins, work / WHEELS, course.file)
        files |= {f"{WHEELS}/{name}": work / WHEELS / name for name in made.values()}
        images = _images(context, course)
        if images:
            files[IMAGES] = work / "images.tar"
            _save(context, images, files[IMAGES])
        manifest = {
            "schema": SCHEMA,
            "course": course.name,
            "version": course.version,
            "title": course.title,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "machine": platform.machine(),
            "plugins": [[plugin.distribution, plugin.version] for plugin in course.plugins],
            "wheels": made,
            "images": images,
        }
        digest = archive.write(target, manifest, files)
    sys.stdout.write(
        f"{target}: {size(target.stat().st_size)}, {_counted(len(made), 'wheel')}, "
        f"{_counted(len(images), 'image')}, {_counted(len(files), 'file')}\nsha256:{digest}\n"
    )
    return 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _course_files(course: Course, with_roster: bool) -> dict[str, Path]:
    """The course's own files, by their names inside: its description, locks and labs, and the roster if that is wanted."""
    files = {f"{COURSE}/{FILE}": course.file}
    alone = [template.lock for template in course.templates if template.lock]
    if with_roster:
        if course.roster is None or not course.roster.is_file():
            raise InvalidInput(f"{course.file}: there is no roster to take along", "leave out --with-roster")
        alone.append(course.roster)
    folders = [file for lab in course.labs for file in _tree(lab.path)]
    for path in (*alone, *folders):
        files[f"{COURSE}/{path.relative_to(course.folder)}"] = path
    return files


def _tree(folder: Path) -> Iterator[Path]:
    """The plain files of a folder. A link or a device is refused: what it would be elsewhere nobody knows."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in (*folders, *sorted(names)):
            path = Path(place) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InvalidInput(f"{path}: this is no plain file", "put a file in its place")
            if name in names:
                yield path


def _images(context: Context, course: Course) -> list[dict[str, Any]]:
    """Each template's image, built now if it must be, and each image by itself."""
    found = []
    for template in course.templates:
        if template.name:
            built = locks.build(context, template, verify=True)
            found.append({"template": template.name, "reference": built["image"], "id": built["id"]})
        else:
            record = context.call("images.inspect", {"ref": template.image})
            found.append({"template": "", "reference": template.image, "id": record["Id"]})
    return found


def _save(context: Context, images: list[dict[str, Any]], target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        references = [image["reference"] for image in images]
        context.call("images.save", {"refs": references, "format": "oci-archive"}, [descriptor])
    finally:
        os.close(descriptor)
