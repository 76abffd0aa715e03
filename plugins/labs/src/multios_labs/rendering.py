"""What one student gets of a lab, as a tar for the home of a machine elsewhere: one that has no root and that no daemon here knows.

Files of root's own go into the home. The text of all steps, and a program with their setups and checks, go along, because ``lab show``
and ``lab check`` know no machine elsewhere. What is otherwise than on a host, :func:`differences` says.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

from multios.errors import InvalidInput, MultiosError
from multios.model.course import HOME, place_on_a_cluster
from multios_labs import check_script
from multios_labs.document import filled, text_of
from multios_labs.machine import content
from multios_labs.records import Lab, LabFile


def given(lab: Lab) -> str:
    """The file in the home that is written last: who has it has got all of the lab."""
    return f".multios-lab/{lab.name}"


def write(lab: Lab, values: Mapping[str, str], target: Path) -> None:
    """Write the tar; its names are relative to the home. Raises ``InvalidInput`` for a file that belongs elsewhere."""
    files = [(f"{lab.name}.md", text(lab, values).encode(), 0o644)]
    files.append((check_script.name(lab), check_script.script(lab, values).encode(), 0o755))
    files += [(_name(lab, file), content(lab, file, values), file.mode) for file in lab.files]
    files.append((given(lab), f"{lab.version} {lab.digest}\n".encode(), 0o644))
    try:
        with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as archive:
            for name, data, mode in files:
                entry = tarfile.TarInfo(name)
                entry.mode, entry.size, entry.mtime = mode, len(data), int(time.time())
                archive.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise MultiosError(f"{target}: {error.strerror}", "name a file that is not there yet") from None


def text(lab: Lab, values: Mapping[str, str]) -> str:
    """What ``lab show`` would say of all steps."""
    parts = [
        f"# {lab.title}",
        f"Where this says /root, it is {HOME} here. There is no command `multios-container` here: "
        f"`sh ~/{check_script.name(lab)}` begins the first step, and says how far you are.",
    ]
    for number, step in enumerate(lab.steps, 1):
        parts += [f"## {number}. {filled(step.title, values)}", filled(text_of(lab, step), values).strip()]
    return "\n\n".join(parts) + "\n"


def differences(lab: Lab) -> list[str]:
    """What of the lab is otherwise in a machine elsewhere than in one on a host, a line each."""
    owners = ["the lab"] if lab.setup else []
    owners += [f"step {step.id}" for step in lab.steps if step.setup]
    said = []
    if owners:
        said.append(
            f"the setup of {', '.join(owners)} is run by {check_script.name(lab)}, with the student's rights"
        )
    if lab.command:
        said.append("its command is not run")
    return said


def _name(lab: Lab, file: LabFile) -> str:
    inside = place_on_a_cluster(file.target)
    if not inside.startswith(f"{HOME}/"):
        raise InvalidInput(
            f"{lab.folder}/lab.toml: files: {file.target!r} needs root, whom machines elsewhere do not have",
            "put it below /root, or into the machine's image",
        )
    return inside.removeprefix(f"{HOME}/")
