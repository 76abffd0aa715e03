"""``lab status``: the labs that a user has, and how far each is."""

from __future__ import annotations

from typing import Any

from multios.api.client import Client
from multios.errors import MultiosError
from multios_labs.machine import LABEL, Machine, all_machines

COLUMNS = (
    ("NAME", "Name", lambda row: row["name"]),
    ("LAB", "Lab", lambda row: f"{row['lab']} {row['version']}".strip()),
    ("STUDENT", "Student", lambda row: row["student"]),
    ("STATE", "Status", lambda row: row["status"]),
    ("DONE", "Done", lambda row: f"{row['passed']}/{row['steps']}" if "passed" in row else ""),
    ("STEP", "Step", lambda row: row["step"] or "not known here"),
)


def rows(client: Client) -> list[dict[str, Any]]:
    """A row a machine, by name."""
    return [_row(machine) for machine in sorted(all_machines(client), key=lambda machine: machine.name)]


def _row(machine: Machine) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": machine.name,
        "lab": machine.lab,
        "student": machine.student,
        "status": machine.status,
    }
    try:
        progress = machine.progress()
        lab = progress.lab()
    except MultiosError as error:
        version = machine.labels.get(f"{LABEL}.version", "")
        return row | {"version": version, "step": "", "problem": error.cause}
    passed = [step for step in lab.steps if (kept := progress.steps.get(step.id)) and kept.passed]
    return row | {
        "version": lab.version,
        "step": progress.current,
        "passed": len(passed),
        "steps": len(lab.steps),
    }
