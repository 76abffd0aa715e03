"""A student's machine: made from a lab, found again, put back, removed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from multios.api.client import Client
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound, StepFailed, unknown
from multios_labs.document import filled
from multios_labs.inside import File, execute, get, put
from multios_labs.progress import Progress, load
from multios_labs.records import Lab, LabFile, LabStep

LABEL = "multios.lab"
SETUP_SECONDS = 600.0
HOMES = ("/root/", "/home/")
STAY = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")
"""What an image's machine runs when its lab names no command: nothing, until it is stopped."""
Call = Callable[[str, dict[str, Any]], Any]
"""A request to the daemon whose progress is shown."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A container of a lab. ``values`` are the student's parameters: from the start, or as a corrected lab left them."""

    id: str
    name: str
    status: str
    lab: str
    student: str
    values: Mapping[str, str]
    labels: Mapping[str, str]

    def progress(self) -> Progress:
        """What the student has done."""
        return load(self.id, self.name)


def start(
    client: Client, call: Call, lab: Lab, name: str, student: str, seed: str, values: Mapping[str, str]
) -> Machine:
    """Make the machine, put the lab's files in, set it up and begin the first step; a failure leaves nothing."""
    labels = {
        LABEL: lab.name,
        f"{LABEL}.version": lab.version,
        f"{LABEL}.digest": lab.digest,
        f"{LABEL}.student": student,
        f"{LABEL}.seed": seed_digest(seed),
        f"{LABEL}.values": json.dumps(dict(values), sort_keys=True),
    }
    call("containers.create", {"config": document(lab, name, labels)})
    progress = None
    try:
        client.call("containers.start", {"ref": name})
        machine = find(client, name)
        progress = Progress(machine.id, lab.steps[0].id)
        progress.keep_lab(lab)
        give(client, machine, progress, rendered(lab, values))
        run_setup(client, name, "the lab", lab.setup, values)
        begin(client, machine, progress, lab.steps[0])
        return machine
    except BaseException:
        with suppress(MultiosError):
            client.call("containers.delete", {"ref": name, "force": True})
        if progress is not None:
            progress.forget()
        raise


def document(lab: Lab, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The container document of a lab's machine."""
    config: dict[str, Any] = {"name": name, "labels": dict(labels), "hostname": hostname(lab.name)}
    if lab.template:
        config |= {"template": lab.template, "template_options": dict(lab.options)}
    else:
        config |= {"image": lab.image, "command": list(STAY), "entrypoint": []}
    if lab.command:
        config["command"] = list(lab.command)
    if lab.resources:
        config["resources"] = dict(lab.resources)
    if lab.network:
        config["networking"] = {"network": lab.network}
    return config


def hostname(text: str) -> str:
    """A host's name made of a lab's (hostname(7))."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower()).strip("-")[:63] or "lab"


def seed_digest(seed: str) -> str:
    """What tells that two machines have one seed, and not which."""
    return hashlib.sha256(b"seed of a course: " + seed.encode()).hexdigest()[:32]


def rendered(
    lab: Lab, values: Mapping[str, str], chosen: Callable[[LabFile], bool] = lambda file: True
) -> list[File]:
    """The lab's files as this student gets them."""
    return [File(file.target, content(lab, file, values), file.mode) for file in lab.files if chosen(file)]


def give(client: Client, machine: Machine, progress: Progress, files: Sequence[File]) -> None:
    """Put files of the lab in, and remember what the student was given."""
    put(client, machine.id, files)
    for file in files:
        versions = progress.given.setdefault(file.path, [])
        digest = digest_of_content(file.content)
        if digest in versions:
            versions.remove(digest)
        versions.append(digest)


def digest_of_content(data: bytes) -> str:
    """What tells two versions of a file apart."""
    return hashlib.sha256(data).hexdigest()


def content(lab: Lab, file: LabFile, values: Mapping[str, str]) -> bytes:
    """What is in one of them."""
    data = (lab.folder / file.source).read_bytes()
    if file.raw or b"{{" not in data:
        return data
    try:
        return filled(data.decode(), values).encode()
    except UnicodeDecodeError:
        return data


def run_setup(
    client: Client, ref: str, what: str, commands: Sequence[str], values: Mapping[str, str]
) -> None:
    """Run a lab's or step's setup as root inside, a command after the other."""
    for command in commands:
        line = filled(command, values)
        outcome = execute(client.path, ref, ["/bin/sh", "-c", line], SETUP_SECONDS)
        if outcome.exit_code != 0:
            said = (
                outcome.problem or outcome.text().strip() or f"exit status {outcome.exit_code}"
            ).splitlines()[-1]
            raise StepFailed(f"setup of {what}", f"`{line[:80]}`: {said[:200]}", "tell who wrote the lab")


def begin(client: Client, machine: Machine, progress: Progress, step: LabStep) -> None:
    """The student reaches a step: its setup runs and the state is kept, so that it can be gone back to."""
    run_setup(client, machine.name, f"step {step.id!r}", step.setup, machine.values)
    name = snapshot_of(step.id)
    if name in _snapshots(client, machine):
        client.call("containers.remove_snapshot", {"ref": machine.id, "snapshot": name})
    client.call("containers.snapshot", {"ref": machine.id, "snapshot": name})
    progress.reach(step.id)
    progress.save()


def snapshot_of(step: str) -> str:
    """The name of the state in which a step was reached."""
    return f"step-{step}"


def _snapshots(client: Client, machine: Machine) -> list[str]:
    return [row["name"] for row in client.call("containers.snapshots", {"ref": machine.id})]


# --- finding it -------------------------------------------------------------------------------------------


def all_machines(client: Client) -> list[Machine]:
    """Every lab's machine that the caller sees."""
    rows = client.call("containers.list", {"all": True})
    return [_machine(row) for row in rows if (row.get("labels") or {}).get(LABEL)]


def find(client: Client, name: str) -> Machine:
    """The machine of this name, or the only one there is when ``name`` is empty."""
    machines = all_machines(client)
    names = [machine.name for machine in machines]
    if name:
        chosen = [machine for machine in machines if name in (machine.name, machine.id)]
        if not chosen:
            raise unknown("lab", name, names, f"there are: {', '.join(names) or 'none'}")
        return _as_updated(chosen[0])
    if not machines:
        raise NotFound("no lab was started", "start one: multios-container lab start PATH")
    if len(machines) > 1:
        raise Conflict(
            f"there are {len(machines)} labs: {', '.join(sorted(names))}", "say which one: --name NAME"
        )
    return _as_updated(machines[0])


def _as_updated(machine: Machine) -> Machine:
    """With the values that ``lab update`` has left it, if there was one and it is known here."""
    with suppress(MultiosError):
        values = machine.progress().values
        return machine if values is None else replace(machine, values=values)
    return machine


def _machine(row: Mapping[str, Any]) -> Machine:
    labels = row["labels"]
    return Machine(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        lab=labels[LABEL],
        student=labels.get(f"{LABEL}.student", ""),
        values=values_of(labels),
        labels=labels,
    )


def values_of(labels: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that a machine was started with."""
    try:
        return texts(json.loads(labels[f"{LABEL}.values"]))
    except (ValueError, KeyError, TypeError):
        return {}


def texts(table: Any) -> dict[str, str]:
    """A table of texts, whatever it was; what is no table is an empty one."""
    return {str(key): str(value) for key, value in table.items()} if isinstance(table, dict) else {}


def stopped(client: Client, name: str) -> Machine:
    """The lab to be started again that is called ``name``; ``NotFound`` says that a folder would have done, too."""
    try:
        return find(client, name)
    except NotFound as error:
        raise NotFound(
            f"no folder and no lab of yours: {name!r}", f"name a folder with a lab.toml; {error.remedy}"
        ) from None


def running(client: Client, machine: Machine) -> Machine:
    """Make sure that it runs."""
    if machine.status == "paused":
        raise Conflict(f"{machine.name!r} is paused", f"multios-container resume {machine.name}")
    client.call("containers.start", {"ref": machine.id})
    return machine


# --- putting it back ----------------------------------------------------------------------------------------


def reset(client: Client, machine: Machine, to: str, soft: bool) -> str:
    """Put the machine back; the step that the student is at afterwards.

    ``to`` is a step, empty for the first. ``soft`` keeps /root and /home and the step: what the lab puts elsewhere is put there again.
    """
    if to and soft:
        raise InvalidInput("a reset is soft or to a step, not both", "leave out --soft or --to")
    progress = machine.progress()
    lab = progress.lab()
    if soft:
        return _soft(client, machine, progress, lab)
    step = to or lab.steps[0].id
    if lab.step(step) is None:
        names = [item.id for item in lab.steps]
        raise unknown("step", step, names, f"steps: {', '.join(names)}")
    if snapshot_of(step) not in _snapshots(client, machine):
        raise Conflict(f"step {step!r} has not been reached yet", f"the current step is {progress.current!r}")
    client.call("containers.reset", {"ref": machine.id, "to": snapshot_of(step)})
    running(client, machine)
    _corrected(client, machine, progress, lab)
    progress.reach(step)
    progress.save()
    return step


def _corrected(client: Client, machine: Machine, progress: Progress, lab: Lab) -> None:
    """A state that was kept before the lab was corrected has files of before: those that are still as given are replaced."""
    outdated = []
    for file in rendered(lab, machine.values):
        versions = progress.given.get(file.path, [])
        if len(versions) > 1:
            found = get(client, machine.id, file.path)
            if found is not None and digest_of_content(found) in versions[:-1]:
                outdated.append(file)
    put(client, machine.id, outdated)


def _soft(client: Client, machine: Machine, progress: Progress, lab: Lab) -> str:
    client.call("containers.reset", {"ref": machine.id, "keep_home": True})
    running(client, machine)
    put(client, machine.id, rendered(lab, machine.values, lambda file: not file.target.startswith(HOMES)))
    run_setup(client, machine.id, "the lab", lab.setup, machine.values)
    for step in lab.steps:
        run_setup(client, machine.id, f"step {step.id!r}", step.setup, machine.values)
        if step.id == progress.current:
            break
    return progress.current
