"""``multios-container course …``: the command line. What a command does is in a module of its own, loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path

import click

from multios.cli.context import Context
from multios.errors import InvalidInput

_COURSE = click.argument("course_path", metavar="COURSE", type=click.Path(path_type=Path))
_STUDENTS = click.option(
    "--students", "--roster", metavar="FILE.csv", type=click.Path(path_type=Path), help="The roster, instead of the course's own."
)  # fmt: skip
_FORMAT = click.option(
    "--format", "form", metavar="FORMAT", help="json, table, or a template such as '{{.Student}}'."
)

_SEED = click.option(
    "--seed",
    metavar="TEXT",
    envvar="MULTIOS_LAB_SEED",
    show_envvar=True,
    help="The course's secret, from which labs derive each student's values; in the environment others do not see it.",
)
_LOCAL = ("", "local")
_ORCHESTRATOR = click.option(
    "--orchestrator", metavar="NAME", default="", envvar="MULTIOS_ORCHESTRATOR", show_envvar=True,
    help="What runs the course: local, or an installed one such as kubernetes.",
)  # fmt: skip
_ORCHESTRATOR_OPTIONS = click.option(
    "--orchestrator-opt", "options", metavar="KEY=VALUE", multiple=True, help="A setting of the orchestrator."
)
_LAB = click.option("--lab", metavar="NAME", help="This lab only.")


def _epilog(*examples: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  multios-container course {example}" for example in examples)


@click.group(help="A machine for every student: start, watch, collect and wipe whole courses.")
def course() -> None:
    """The group behind the entry point."""


@course.command(
    help="Check a course's file and its roster.", epilog=_epilog("validate examples/courses/intro")
)
@_COURSE
@_STUDENTS
@_ORCHESTRATOR
def validate(course_path: Path, students: Path | None, orchestrator: str) -> int:
    from multios_courses import validation

    return validation.run(course_path, students, orchestrator not in _LOCAL)


@course.command(
    help="Make and start the machines that are missing, in turn; again, it goes on where it ended.",
    epilog=_epilog(
        "start examples/courses/intro --students roster.csv",
        "start intro --lab first",
        "start intro --orchestrator kubernetes --registry registry.example.org/courses --lab first",
    ),
)
@_COURSE
@_STUDENTS
@click.option("--at-once", metavar="N", type=click.IntRange(1, 64), help="How many are made at once.")
@click.option("--lab", metavar="NAME", help="The machines of this lab, instead of the templates'; on a cluster: the lab into these (needs multios-labs).")  # fmt: skip
@_SEED
@click.option("--dry-run", is_flag=True, help="Only show how many machines it comes to, and what is done for the first student.")  # fmt: skip
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.option("--registry", metavar="HOST/PATH", default="", help="Where images are pushed for a cluster to pull them.")  # fmt: skip
@click.option("--warm", metavar="N", type=click.IntRange(0, 10_000), help="So many places of a cluster are kept free for who comes.")  # fmt: skip
@click.option("--replace", is_flag=True, help="On a cluster: make machines anew that run with another image, command or quota.")  # fmt: skip
@click.pass_obj
def start(
    context: Context,
    course_path: Path,
    students: Path | None,
    at_once: int | None,
    lab: str | None,
    seed: str | None,
    dry_run: bool,
    orchestrator: str,
    options: tuple[str, ...],
    registry: str,
    warm: int | None,
    replace: bool,
) -> int:
    if orchestrator not in _LOCAL:
        from multios.model.course import AT_ONCE
        from multios_courses import orchestrated, orchestrated_lab, orchestrated_start
        from multios_courses.course_records import Wishes

        driver = orchestrated.driver(orchestrator, options)
        wishes = Wishes(registry, at_once or AT_ONCE, warm or 0)
        given = (context, course_path, students, driver, wishes, replace, dry_run)
        return orchestrated_lab.run(*given, lab, seed) if lab else orchestrated_start.run(*given)
    _refuse("a course on this host", orchestrator_opt=options, registry=registry, warm=warm, replace=replace)
    if lab:
        _refuse("--lab", dry_run=dry_run)
        from multios_courses import lab_start

        return lab_start.run(context, course_path, students, at_once, lab, seed)
    from multios_courses import start_command

    return start_command.run(context, course_path, students, at_once, dry_run)


@course.command(
    help="Show every student's machines.", epilog=_epilog("status examples/courses/intro --format json")
)
@_COURSE
@_STUDENTS
@_FORMAT
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.pass_obj
def status(
    context: Context,
    course_path: Path,
    students: Path | None,
    form: str | None,
    orchestrator: str,
    options: tuple[str, ...],
) -> int:
    if orchestrator not in _LOCAL:
        from multios_courses import orchestrated, orchestrated_watch

        return orchestrated_watch.status(
            course_path, students, form, orchestrated.driver(orchestrator, options)
        )
    _refuse("a course on this host", orchestrator_opt=options)
    from multios_courses import status as module

    return module.run(context, course_path, students, form)


@course.command(
    help="Stop a course's machines; they stay as they are.", epilog=_epilog("stop examples/courses/intro")
)
@_COURSE
@click.option("--time", "-t", "timeout", metavar="SECONDS", type=click.IntRange(0, 3600), help="Seconds before a machine is killed; 10 on a host.")  # fmt: skip
@click.option("--yes", "-y", is_flag=True, help="On a cluster: stop machines that keep nothing, too.")
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.pass_obj
def stop(
    context: Context,
    course_path: Path,
    timeout: int | None,
    yes: bool,
    orchestrator: str,
    options: tuple[str, ...],
) -> int:
    if orchestrator not in _LOCAL:
        _refuse("--orchestrator", time=timeout)
        from multios_courses import orchestrated, orchestrated_watch

        return orchestrated_watch.stop(course_path, yes, orchestrated.driver(orchestrator, options))
    _refuse("a course on this host", orchestrator_opt=options)
    from multios_courses import wiping

    return wiping.stop(context, course_path, 10 if timeout is None else timeout)


@course.command(
    help="Remove a course's machines, networks and volumes for good, and prove that nothing is left.",
    epilog=_epilog("wipe examples/courses/intro", "wipe intro --yes"),
)
@_COURSE
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.pass_obj
def wipe(context: Context, course_path: Path, yes: bool, orchestrator: str, options: tuple[str, ...]) -> int:
    if orchestrator not in _LOCAL:
        from multios_courses import orchestrated, orchestrated_watch

        return orchestrated_watch.wipe(course_path, yes, orchestrated.driver(orchestrator, options))
    _refuse("a course on this host", orchestrator_opt=options)
    from multios_courses import wiping

    return wiping.wipe(context, course_path, yes)


@course.command(
    help="Put machines of some students back to their beginning, as `reset` does; volumes, and homes that stay on a cluster, are kept.",
    epilog=_epilog("reset intro s001", "reset intro s001 s002 --yes"),
)
@_COURSE
@click.argument("names", metavar="STUDENT...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.pass_obj
def reset(
    context: Context,
    course_path: Path,
    names: tuple[str, ...],
    yes: bool,
    orchestrator: str,
    options: tuple[str, ...],
) -> int:
    from multios_courses import resetting

    if orchestrator not in _LOCAL:
        from multios_courses import orchestrated

        return resetting.run_elsewhere(course_path, names, yes, orchestrated.driver(orchestrator, options))
    _refuse("a course on this host", orchestrator_opt=options)
    return resetting.run(context, course_path, names, yes)


@course.command("list", help="List the courses that have machines here.", epilog=_epilog("list"))
@_FORMAT
@click.pass_obj
def list_(context: Context, form: str | None) -> int:
    from multios_courses import status as module

    return module.list_courses(context, form)


@course.command(
    help="Write one file with all that a course needs: plugins, images, labs and locks, for a room without a network.",
    epilog=_epilog("bundle examples/courses/intro -o intro.bundle"),
)
@_COURSE
@click.option("--output", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Default: NAME-VERSION.bundle.")  # fmt: skip
@click.option("--with-roster", is_flag=True, help="Take the roster along: names and addresses of people.")
@click.pass_obj
def bundle(context: Context, course_path: Path, output: Path | None, with_roster: bool) -> int:
    from multios_courses import bundle as module

    return module.run(context, course_path, output, with_roster)


@course.command(
    help="Bring what a course needs: its plugins only; from a bundle its images and files, too, without a network.",
    epilog=_epilog("install examples/courses/intro", "install intro.bundle --sha256 9f86d081…"),
)
@click.argument("source", metavar="COURSE|FILE.bundle", type=click.Path(path_type=Path))
@click.option("--find-links", metavar="DIR", multiple=True, help="Where pip looks for wheels, besides the index.")  # fmt: skip
@click.option("--no-index", is_flag=True, help="Do not ask the package index.")
@click.option("--to", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Where a bundle's course is written. Default: its name, here.")  # fmt: skip
@click.option("--sha256", "digest", metavar="DIGEST", help="Take a bundle only if this is its digest, as `bundle` printed it.")  # fmt: skip
@click.pass_obj
def install(
    context: Context,
    source: Path,
    find_links: tuple[str, ...],
    no_index: bool,
    folder: Path | None,
    digest: str | None,
) -> int:
    from multios_courses import installing

    return installing.run(context, source, find_links, no_index, folder, digest)


@course.command(
    help="Gather every student's work on the course's labs, one file each, and say who is missing.",
    epilog=_epilog("collect examples/courses/intro", "collect intro --orchestrator kubernetes"),
)
@_COURSE
@_STUDENTS
@click.option("--output", "-o", metavar="DIR", type=click.Path(path_type=Path), help="Default: submissions/ beside the course's file.")  # fmt: skip
@_LAB
@_FORMAT
@_ORCHESTRATOR
@_ORCHESTRATOR_OPTIONS
@click.pass_obj
def collect(
    context: Context,
    course_path: Path,
    students: Path | None,
    output: Path | None,
    lab: str | None,
    form: str | None,
    orchestrator: str,
    options: tuple[str, ...],
) -> int:
    if orchestrator not in _LOCAL:
        from multios_courses import orchestrated, orchestrated_collect

        driver = orchestrated.driver(orchestrator, options)
        return orchestrated_collect.run(context, course_path, students, output, lab, form, driver)
    _refuse("a course on this host", orchestrator_opt=options)
    from multios_courses import collecting

    return collecting.run(context, course_path, students, output, lab, form)


@course.command(
    help="Judge what was collected, each in a container of its own, and write a CSV file.",
    epilog=_epilog("grade examples/courses/intro -o grades.csv"),
)
@_COURSE
@_STUDENTS
@click.option("--submissions", metavar="DIR", type=click.Path(path_type=Path), help="Default: submissions/ beside the course's file.")  # fmt: skip
@click.option("--output", "-o", metavar="FILE.csv", type=click.Path(path_type=Path), default=Path("grades.csv"), help="Default: grades.csv.")  # fmt: skip
@_LAB
@_SEED
@click.pass_obj
def grade(
    context: Context,
    course_path: Path,
    students: Path | None,
    submissions: Path | None,
    output: Path,
    lab: str | None,
    seed: str | None,
) -> int:
    from multios_courses import grading

    return grading.run(context, course_path, students, submissions, output, lab, seed)


def _refuse(where: str, **given: object) -> None:
    """Raise ``InvalidInput`` for the first of these options that was given: it means nothing with ``where``."""
    for name, value in given.items():
        if value is not None and value is not False and value not in ("", ()):
            raise InvalidInput(
                f"--{name.replace('_', '-')} means nothing with {where}", "leave one of the two out"
            )


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user says yes; without a terminal nobody can."""
    if yes:
        return True
    try:
        return bool(click.confirm(question, default=False))
    except click.Abort:
        return False
