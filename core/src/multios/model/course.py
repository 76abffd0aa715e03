"""Courses as an orchestrator has them: one machine each for many students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

COURSE_LABEL, STUDENT_LABEL = "org.multios.course", "org.multios.course.student"
"""By which what is of a course is known, and whose it is."""
POLICIES = ("none", "isolated", "shared", "open")
"""What a machine reaches: nothing; no machine and nothing outside; the course's machines; those and the outside."""
HOME = "/home/student"
"""Whose files a student's machine keeps on a cluster, and where a student's work is there."""
IDLE = ("sleep", "infinity")
AT_ONCE = 20
RUNNING, STARTING, STOPPED, MISSING = "running", "starting", "stopped", "missing"


def place_on_a_cluster(path: str) -> str:
    """Where a path of a host's machine is in one that has no root: what is root's own is in the student's home."""
    rest = path.removeprefix("/root/")
    return path if rest == path else f"{HOME}/{rest}"


@dataclass(frozen=True, slots=True)
class CourseQuota:
    """What one student may use: cores, bytes of memory, bytes that stay (0: nothing does), machines at a time."""

    cpu: float = 1.0
    memory: int = 1 << 30
    storage: int = 0
    pods: int = 1


@dataclass(frozen=True, slots=True)
class Course:
    """A machine of one kind for each of ``students``, by their ids. A course with several kinds is as many records.

    ``image`` is named by its digest, so that all students have the same one. ``command`` is what runs in it; empty is
    the image's own, on a terminal. ``part`` tells the kinds of one course apart, empty for the only one.

    ``at_once`` students are let in at a time: the next one when one's machine runs. ``warm`` places are kept free for
    who comes, and yield to students' machines at once. With ``prefetch`` every node has the image before the first
    student comes. ``network`` is one of :data:`POLICIES`; ``egress`` are CIDRs that machines may reach besides.
    ``user`` is the uid in the machines.
    """

    name: str
    students: Sequence[str]
    image: str
    command: tuple[str, ...] = IDLE
    part: str = ""
    quota: CourseQuota = CourseQuota()
    profile: Literal["restricted", "baseline"] = "restricted"
    network: Literal["none", "isolated", "shared", "open"] = "isolated"
    egress: tuple[str, ...] = ()
    at_once: int = AT_ONCE
    warm: int = 0
    prefetch: bool = True
    user: int = 1000

    def machine(self, student: str) -> str:
        """What the student's machine is called."""
        return f"{self.name}-{student}{self._suffix}"

    @property
    def common(self) -> str:
        """What holds what is nobody's."""
        return f"course-{self.name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return f"-{self.part}" if self.part else ""


@dataclass(frozen=True, slots=True)
class CourseMachine:
    """A student's machine as it is. ``since`` is when it was made, in seconds since 1970.

    ``state`` is ``running``, ``starting``, ``stopped`` or ``missing`` (what is around it is there, itself not); ``problem``
    says why it does not run. ``keeps``: the student's files outlive a stop.
    """

    student: str
    part: str
    name: str
    state: str
    since: float = 0.0
    problem: str = ""
    keeps: bool = False
