"""``multios-container lab …``. What the commands do is imported when one runs."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios_labs.records import Lab, LabStep

_FOLDER = click.Path(path_type=Path)
_NAME = click.option("--name", "-n", default="", metavar="NAME", help="Which lab, when there are several.")

_JSON = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to write it."
)
_SEED = click.option(
    "--seed",
    default="",
    metavar="TEXT",
    envvar="MULTIOS_LAB_SEED",
    show_envvar=True,
    help="The course's secret, from which parameters are derived; in the environment others do not see it.",
)


@click.group(help="Labs: a machine with a task in steps, checks, and a way to hand it in.")
def lab() -> None:
    """The group."""


def _command(name: str, epilog: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of the group with an example."""
    return lab.command(name, epilog=f"\b\nExample:\n  multios-container lab {epilog}")


_WORD = click.argument("word", metavar="[NAME]", required=False)


def _named(word: str | None, name: str) -> str:
    """The lab that is meant, by a word or by ``--name``; empty when neither is there."""
    from multios.errors import InvalidInput

    if word and name and word != name:
        raise InvalidInput(f"two labs are named: {word!r} and {name!r}", "name one")
    return word or name


@_command("validate", "validate examples/labs/first-steps")
@click.argument("path", type=_FOLDER)
@_JSON
def validate(path: Path, form: str) -> None:
    """Check a lab's folder: file, key and line of what is wrong."""
    from multios_labs import rendering
    from multios_labs.document import read, read_grading

    found = read(path)
    _, grades = read_grading(found)
    if form == "json":
        keys = ("name", "version", "image", "template", "submit")
        more = {"targets": [file.target for file in found.files], "given": rendering.given(found)}
        click.echo(json.dumps({key: getattr(found, key) for key in keys} | more))
        return
    checks = sum(len(step.checks) for step in found.steps)
    click.echo(
        f"{found.name} {found.version}: {len(found.steps)} steps, {checks} checks, {len(grades)} for grading"
    )


@_command("start", "start examples/labs/first-steps --student ada")
@click.argument("path", metavar="PATH|NAME")
@click.option("--name", "-n", default="", metavar="NAME", help="The machine's name; the lab's by default.")
@_SEED
@click.option("--student", default="", metavar="ID", help="Whose machine it is; you by default.")
@click.option(
    "--roster", type=_FOLDER, help="A CSV file of all students: no two of them get the same parameters."
)
@click.pass_obj
def start(context: Context, path: str, name: str, seed: str, student: str, roster: Path | None) -> None:
    """Make the machine of a lab, or start one that was stopped."""
    from multios_labs import machine as machines
    from multios_labs import parameters
    from multios_labs.document import read

    if "/" not in path and not Path(path).is_dir():
        stopped = machines.running(context.client, machines.stopped(context.client, path))
        click.echo(stopped.name)
        return
    found = read(Path(path))
    whose = student or getpass.getuser()
    parameters.check_student(whose, "--student")
    students = parameters.read_roster(roster) if roster else ()
    values = parameters.derive(found.parameters, found.name, seed or found.name, whose, students)
    made = machines.start(
        context.client, context.call, found, name or found.name, whose, seed or found.name, values
    )
    click.echo(made.name)


@_command("status", "status")
@click.option(
    "--format", "form", metavar="FORMAT", help="json, table, or a template such as '{{.Name}} {{.Done}}'."
)
@click.pass_obj
def status(context: Context, form: str | None) -> None:
    """Show your labs and how far each is."""
    from multios.cli.output import print_rows
    from multios_labs import status as module

    print_rows(module.rows(context.client), module.COLUMNS, form)


@_command("show", "show")
@click.argument("step", required=False)
@_NAME
@click.pass_obj
def show(context: Context, step: str | None, name: str) -> None:
    """Show a step's text, the current one's by default."""
    from multios_labs import machine as machines
    from multios_labs.document import filled, text_of

    found = machines.find(context.client, name)
    progress = found.progress()
    known = progress.lab()
    chosen = _step(known, step or progress.current, found.name)
    number = known.steps.index(chosen) + 1
    title = filled(chosen.title, found.values)
    click.echo(f"# {known.title}: {title} ({number} of {len(known.steps)})\n")
    click.echo(filled(text_of(known, chosen), found.values).strip())


@_command("check", "check")
@click.argument("step", required=False)
@_NAME
@_JSON
@click.pass_obj
def check(context: Context, step: str | None, name: str, form: str) -> int:
    """Check a step, the current one by default, and go on to the next when all is right. Status 1: not all is."""
    from multios_labs import checking
    from multios_labs import machine as machines

    found = machines.running(context.client, machines.find(context.client, name))
    progress = found.progress()
    known = progress.lab()
    chosen = _step(known, step or progress.current, found.name)
    results = checking.run(context.client.path, found, chosen)
    if form == "text" and results:
        click.echo(checking.as_text(results, found.values))
    passed = checking.record(progress, chosen, results)
    following = None
    if passed and chosen.id == progress.current:
        following = next(iter(known.steps[known.steps.index(chosen) + 1 :]), None)
        if following:
            machines.begin(context.client, found, progress, following)
            said = f"Next: {following.title}. Read it: multios-container lab show"
        else:
            said = "All steps are done." + (
                " Hand it in: multios-container lab submit" if known.submit else ""
            )
        if form == "text":
            click.echo(said)
    if form == "json":
        rows = checking.as_rows(results, found.values)
        answer = {
            "step": chosen.id,
            "passed": passed,
            "checks": rows,
            "next": following.id if following else "",
        }
        click.echo(json.dumps(answer, indent=2))
    return 0 if passed else 1


@_command("reset", "reset --to files")
@click.option("--soft", is_flag=True, help="Keep /root and /home, and the step.")
@click.option(
    "--to", default="", metavar="STEP", help="To the moment when this step was reached; the first by default."
)
@_WORD
@_NAME
@click.pass_obj
def reset(context: Context, soft: bool, to: str, word: str | None, name: str) -> None:
    """Put the machine back, whatever was done to it."""
    from multios_labs import machine as machines

    found = machines.find(context.client, _named(word, name))
    step = machines.reset(context.client, found, to, soft)
    click.echo(f"{found.name} is at step {step}")


@_command("snapshot", "snapshot before-i-try-it")
@click.argument("snapshot", required=False)
@_NAME
@click.pass_obj
def snapshot(context: Context, snapshot: str | None, name: str) -> None:
    """Keep the state of the machine's files; `multios-container reset --to` goes back to it."""
    from multios_labs import machine as machines

    found = machines.find(context.client, name)
    chosen = snapshot or time.strftime("%Y%m%d-%H%M%S")
    context.client.call("containers.snapshot", {"ref": found.id, "snapshot": chosen})
    click.echo(f"{chosen}: back to it with `multios-container reset --to {chosen} {found.name}`")


@_command("stop", "stop")
@_WORD
@_NAME
@click.pass_obj
def stop(context: Context, word: str | None, name: str) -> None:
    """Stop the machine; `lab start NAME` starts it again."""
    from multios_labs import machine as machines

    found = machines.find(context.client, _named(word, name))
    context.client.call("containers.stop", {"ref": found.id})
    click.echo(found.name)


@_command("rm", "rm first-steps")
@_WORD
@_NAME
@click.pass_obj
def remove(context: Context, word: str | None, name: str) -> None:
    """Remove the machine with all that was done in it."""
    from multios.errors import InvalidInput, MultiosError
    from multios_labs import machine as machines

    chosen = _named(word, name)
    if not chosen:
        raise InvalidInput("which lab is to be removed?", "multios-container lab rm NAME")
    found = machines.find(context.client, chosen)
    context.client.call("containers.delete", {"ref": found.id, "force": True})
    try:
        found.progress().forget()
    except MultiosError:
        pass  # nothing is known of it here
    click.echo(found.name)


def _step(known: Lab, name: str, machine: str) -> LabStep:
    from multios.errors import NotFound, unknown

    found = known.step(name)
    if found is None:
        names = [step.id for step in known.steps]
        if name == machine:
            raise NotFound(
                f"no such step: {name!r}", f"the lab is named by --name {name}; steps: {', '.join(names)}"
            )
        raise unknown("step", name, names, f"steps: {', '.join(names)}")
    return found


@_command("submit", "submit -o ada.submission")
@click.option("--output", "-o", type=_FOLDER, metavar="FILE", help="Where to; NAME.submission by default.")
@_WORD
@_NAME
@click.pass_obj
def submit(context: Context, output: Path | None, word: str | None, name: str) -> None:
    """Hand in: one signed file with the work, and with what the machine looked like."""
    from multios_labs import machine as machines
    from multios_labs import submission

    found = machines.find(context.client, _named(word, name))
    target = output or Path(f"{found.name}.submission")
    manifest = submission.write(context.client, found, target)
    click.echo(f"{target}: {manifest['lab']['name']} of {manifest['student']}")


@_command("render", "render examples/labs/first-steps --student ada -o ada.tar")
@click.argument("path", type=_FOLDER)
@click.option("--student", required=True, metavar="ID", help="Who gets it.")
@_SEED
@click.option(
    "--roster", type=_FOLDER, help="A CSV file of all students: no two of them get the same parameters."
)
@click.option("--output", "-o", type=_FOLDER, required=True, metavar="FILE", help="Where to.")
def render(path: Path, student: str, seed: str, roster: Path | None, output: Path) -> None:
    """Write what a student gets of a lab as a tar for the home of a machine elsewhere, which has no root."""
    from multios_labs import parameters, rendering
    from multios_labs.document import read

    found = read(path)
    parameters.check_student(student, "--student")
    students = parameters.read_roster(roster) if roster else ()
    values = parameters.derive(found.parameters, found.name, seed or found.name, student, students)
    rendering.write(found, values, output)
    click.echo(f"{output}: {found.name} of {student}")
    for line in rendering.differences(found):
        click.echo(f"elsewhere {line}", err=True)


@_command(
    "pack", "pack --lab first-steps --student ada --machine intro-ada -o ada.submission /root/work=ada.tar"
)
@click.argument("trees", nargs=-1, required=True, metavar="PATH=FILE.tar...")
@click.option(
    "--lab", "folder", type=_FOLDER, required=True, metavar="PATH", help="The teacher's copy of the lab."
)
@click.option("--student", required=True, metavar="ID", help="Whose work it is.")
@click.option("--machine", required=True, metavar="NAME", help="Where it was copied from.")
@click.option("--output", "-o", type=_FOLDER, required=True, metavar="FILE", help="Where to.")
def pack(trees: tuple[str, ...], folder: Path, student: str, machine: str, output: Path) -> None:
    """Make a submission of directories that were copied from a machine elsewhere: not signed by the student, attested by nobody."""
    from multios.errors import InvalidInput
    from multios_labs import packing, parameters
    from multios_labs.document import read

    parameters.check_student(student, "--student")
    found: dict[str, Path] = {}
    for tree in trees:
        path, separator, file = tree.partition("=")
        if not (separator and file) or path in found:
            raise InvalidInput(
                f"{tree!r} is no PATH=FILE.tar, or its path stands twice", "write /root/work=ada.tar"
            )
        found[path] = Path(file)
    manifest = packing.write(read(folder), student, machine, found, output)
    click.echo(f"{output}: {manifest['lab']['name']} of {student}, {manifest['origin']}")
    if left_out := manifest["left_out"]:
        click.echo(f"left out, because no plain file below submit: {', '.join(left_out)}", err=True)


@_command("verify", "verify ada.submission")
@click.argument("files", type=_FOLDER, nargs=-1, required=True, metavar="FILE...")
@_JSON
@click.pass_obj
def verify(context: Context, files: tuple[Path, ...], form: str) -> int:
    """Say whether submissions are what they say: status 0 when all are."""
    from multios.errors import InvalidInput, NotFound
    from multios_labs import submission

    rows = []
    for file in files:
        try:
            found = submission.read(file)
            verdict = submission.verify(context.client, found)
        except (InvalidInput, NotFound) as error:
            if len(files) == 1:
                raise
            rows.append(submission.unreadable(file, error))
            if form == "text":
                click.echo(f"{file}: NOT VALID\n  wrong      {error.cause.removeprefix(f'{file}: ')}")
            continue
        rows.append(submission.as_row(found, verdict))
        if form == "text":
            click.echo(f"{file}: {'valid' if verdict.valid else 'NOT VALID'}")
            for line in submission.describe(found, verdict):
                click.echo(f"  {line}")
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    return 0 if all(row["valid"] for row in rows) else 1


@_command("grade", "grade ada.submission --lab examples/labs/first-steps --format csv")
@click.argument("files", type=_FOLDER, nargs=-1, required=True, metavar="SUBMISSION...")
@click.option(
    "--lab", "folder", type=_FOLDER, required=True, metavar="PATH", help="The teacher's copy of the lab."
)
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", help="How to write it.")
@_SEED
@click.option(
    "--roster", type=_FOLDER, help="With --seed: the CSV file of all students that `lab start` had."
)
@click.pass_obj
def grade(
    context: Context, files: tuple[Path, ...], folder: Path, form: str, seed: str, roster: Path | None
) -> None:
    """Judge submissions: each check in a fresh machine without network."""
    from multios.errors import InvalidInput, NotFound
    from multios_labs import grading, parameters, submission
    from multios_labs.document import read

    known = read(folder)
    students = parameters.read_roster(roster) if roster else ()
    grades = []
    for file in files:
        try:
            found = submission.read(file)
        except (InvalidInput, NotFound) as error:
            grades.append(grading.unreadable(file, error, known))
            continue
        drawn = None
        drawing = seed or (known.name if found.is_copied else "")  # no engine has seen what was given out
        if drawing and (not students or found.student in students):
            drawn = parameters.derive(known.parameters, known.name, drawing, found.student, students)
        grades.append(grading.grade(context.client, context.call, found, known, drawn))
    click.echo(grading.as_csv(grades) if form == "csv" else grading.as_json(grades), nl=form != "csv")


_SAID = {
    "new": "new       {path}",
    "updated": "updated   {path}",
    "removed": "removed   {path}",
    "kept": "KEPT      {path}: you have changed it; the corrected one is {path}.new",
    "outside": "KEPT      {path}: the corrected lab gives no such value; a parameter with another name would be drawn anew",
}


@_command("update", "update examples/labs/first-steps")
@click.argument("path", type=_FOLDER)
@_NAME
@_SEED
@click.option(
    "--roster", type=_FOLDER, help="For new parameters: the CSV file of all students that `lab start` had."
)
@click.pass_obj
def update(context: Context, path: Path, name: str, seed: str, roster: Path | None) -> None:
    """Bring a corrected lab to a machine that was started from it, and keep what was done there."""
    from multios_labs import machine as machines
    from multios_labs import parameters, updating
    from multios_labs.document import read

    known = read(path)
    students = parameters.read_roster(roster) if roster else ()
    found = machines.running(context.client, machines.find(context.client, name))
    for change in updating.update(context.client, found, known, seed or known.name, students):
        click.echo(_SAID[change.what].format(path=change.path))
    click.echo(f"{found.name} is at {known.name} {known.version}")
