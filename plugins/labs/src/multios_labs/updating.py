"""A corrected lab for students who have begun: the new files, and none of their work lost.

Of each file there are three versions: what the student was given, what the teacher has now, and what is in the machine. What
the student left alone becomes the teacher's; what the teacher left alone stays; where both have changed it, the
student's stays and the teacher's is put beside it as ``NAME.new``.

Parameters keep the student's values. New ones are drawn from the seed of the start, so that a machine that is started with the
corrected lab has the same; those that the teacher has taken out are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from multios.api.client import Client
from multios.errors import Conflict
from multios_labs.inside import File, execute, get
from multios_labs.machine import LABEL, Machine, digest_of_content, give, rendered, seed_digest, values_of
from multios_labs.parameters import derive, gives
from multios_labs.progress import Progress
from multios_labs.records import Lab

REMOVE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a file or a parameter, in a word, and the file that is written for it, if one is."""

    what: str
    path: str
    file: File | None = None


def update(
    client: Client, machine: Machine, lab: Lab, seed: str, students: Sequence[str] = ()
) -> list[Change]:
    """Bring ``lab`` to the machine, which runs; what was done. ``seed`` and ``students`` are those of the start."""
    progress = machine.progress()
    if lab.name != machine.lab:
        raise Conflict(
            f"{machine.name!r} is of lab {machine.lab!r}, not of {lab.name!r}", "name that lab's folder"
        )
    values = _values(machine, lab, seed, students)
    said = list(_of_parameters(lab, machine.values, values))
    machine = replace(machine, values=values)
    changes = [*_files(client, machine, progress, lab), *_removed(client, machine, progress, lab)]
    give(
        client,
        machine,
        progress,
        [one.file for one in changes if one.what in ("new", "updated") and one.file],
    )
    beside = [one.file for one in changes if one.what == "kept" and one.file]
    give(client, machine, progress, beside)
    for one in changes:
        if one.what == "removed":
            execute(client.path, machine.id, ["rm", "-f", "--", one.path], REMOVE_SECONDS)
            progress.given.pop(one.path, None)
        elif one.what == "kept":
            # The teacher's version has been offered, so the next update compares with it.
            progress.given[one.path].append(_offered(one.file))
    progress.values = values
    progress.keep_lab(lab)
    if lab.step(progress.current) is None:
        progress.reach(next((s.id for s in lab.steps if not _passed(progress, s.id)), lab.steps[-1].id))
    progress.save()
    return [*said, *changes]


def _values(machine: Machine, lab: Lab, seed: str, students: Sequence[str]) -> dict[str, str]:
    """The student's values of the corrected lab's parameters."""
    known = {**values_of(machine.labels), **machine.values}
    new = [one for one in lab.parameters if one.name not in known]
    if new and machine.labels.get(f"{LABEL}.seed") != seed_digest(seed):
        raise Conflict(
            f"new parameters ({', '.join(one.name for one in new)}) are drawn from the seed that {machine.name!r} "
            "was started with, and this is another",
            "set MULTIOS_LAB_SEED, or let the one who knows it do the update",
        )
    drawn = derive(new, lab.name, seed, machine.student, students) if new else {}
    return {one.name: known.get(one.name, drawn.get(one.name, "")) for one in lab.parameters}


def _of_parameters(lab: Lab, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for one in lab.parameters:
        if one.name not in before:
            yield Change("new", f"{{{{{one.name}}}}} = {after[one.name]}")
        elif not gives(one, after[one.name]):
            yield Change("outside", f"{{{{{one.name}}}}} = {after[one.name]}")
    for name in sorted(before.keys() - after.keys()):
        yield Change("removed", f"{{{{{name}}}}}")


def _files(client: Client, machine: Machine, progress: Progress, lab: Lab) -> Iterator[Change]:
    for file in rendered(lab, machine.values):
        given = progress.given.setdefault(file.path, [])
        wanted = digest_of_content(file.content)
        if given and given[-1] == wanted:
            continue  # the teacher left it alone
        present = get(client, machine.id, file.path)
        found = digest_of_content(present) if present is not None else ""
        if found == wanted:
            given.append(wanted)
        elif found in given or (not found and not given and not _is_there(client, machine, file.path)):
            yield Change("updated" if given else "new", file.path, file)
        else:
            yield Change("kept", file.path, File(f"{file.path}.new", file.content, file.mode))


def _removed(client: Client, machine: Machine, progress: Progress, lab: Lab) -> Iterator[Change]:
    """Files that the teacher has taken out: they go where the student left them alone."""
    targets = {file.target for file in lab.files}
    for file in progress.lab().files:
        if file.target not in targets:
            present = get(client, machine.id, file.target)
            if present is not None and digest_of_content(present) in progress.given.get(file.target, []):
                yield Change("removed", file.target)


def _is_there(client: Client, machine: Machine, path: str) -> bool:
    """Whether something that is no regular file has the name."""
    return (
        execute(
            client.path, machine.id, ["/bin/sh", "-c", 'test -e "$1" || test -L "$1"', "sh", path], 30
        ).exit_code
        == 0
    )


def _offered(file: File | None) -> str:
    return digest_of_content(file.content) if file else ""


def _passed(progress: Progress, step: str) -> bool:
    kept = progress.steps.get(step)
    return bool(kept and kept.passed)
