"""Labs of a course on a cluster, where none has a machine of its own: which of a student's machines is a lab's, and what of it is where."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from multios.cli.context import Context
from multios.errors import InvalidInput
from multios.model.course import HOME, place_on_a_cluster
from multios_courses import labs, machines
from multios_courses.course_file import Course, Lab

_VALIDATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LabMachine:
    """A lab is in the machine of the course's ``part``; ``submit`` and ``targets`` are paths as the lab has them.

    ``given`` is the file in the home of who has got all of it.
    """

    lab: Lab
    part: str
    submit: tuple[str, ...]
    targets: tuple[str, ...]
    given: str

    @property
    def work(self) -> dict[str, str]:
        """The place in the machine by each path of ``submit``."""
        return {path: place_on_a_cluster(path) for path in self.submit}

    @property
    def files(self) -> set[str]:
        """Where the lab's files are in the machine."""
        return {place_on_a_cluster(path) for path in self.targets}


def of(context: Context, course: Course, lab: Lab) -> LabMachine:
    """As the labs' plugin reads it. Raises what that says, and ``InvalidInput`` for a lab of no machine of the course's."""
    words = ["validate", str(lab.path), "--format", "json"]
    said = labs.run(context.client.path, words, os.geteuid(), course.folder, _VALIDATE_SECONDS)
    if said.status:
        raise said.failure()
    document = json.loads(said.out)
    parts = [suffix.removeprefix("-") for suffix in machines.suffixes(course.templates)]
    own = [
        part
        for part, template in zip(parts, course.templates, strict=True)
        if template.source in (document["template"], document["image"])
    ]
    if not own and len(parts) != 1:
        raise InvalidInput(
            f"lab {lab.name!r} is of {document['template'] or document['image']!r}, and the course has no machine of that",
            f"add it to the [[templates]] of {course.file}",
        )
    return LabMachine(
        lab,
        (own or parts)[0],
        tuple(document["submit"]),
        tuple(document["targets"]),
        f"{HOME}/{document['given']}",
    )
