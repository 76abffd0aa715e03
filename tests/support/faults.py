"""Every fault that the end-to-end tests inject: their parameters, and the source of docs/reference/faults.md."""

from __future__ import annotations

from dataclasses import dataclass

CREATE_STEPS = ("take id range", "prepare rootfs", "make directory", "record")
CREATE_HOOKS = ("multios_prepare_rootfs",)
START_STEPS = (
    "make network",
    "write network files",
    "apply security",
    "create container",
    "attach network",
    "tell its names",
    "publish ports",
    "record",
    "start",
)
START_HOOKS = (
    "multios_apply_security",
    "multios_amend_spec",
    "multios_create_container",
    "multios_attach_network",
    "multios_start_container",
)

RESET_STEPS = ("end run", "fresh layer", "exchange layers", "run again")
SNAPSHOT_STEPS = ("copy layer", "record")


@dataclass(frozen=True)
class Fault:
    """``operation`` is ``create``, ``start``, ``fill``, ``reset`` or ``snapshot``; ``step`` is as :mod:`fault_injection` names it."""

    operation: str
    step: str
    when: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.when} {self.step}"


def _faults() -> tuple[Fault, ...]:
    found = []
    for operation, steps, hooks in (
        ("create", CREATE_STEPS, CREATE_HOOKS),
        ("start", START_STEPS, START_HOOKS),
    ):
        for step in (*steps, *(f"hook {hook}" for hook in hooks)):
            moments = ("before",) if step == "hook multios_amend_spec" else ("before", "after")
            found += [Fault(operation, step, when) for when in moments]
    return tuple(found)


FAULTS = _faults()
FILL_FAULTS = tuple(Fault("fill", "fill volumes", when) for when in ("before", "after"))
RESET_FAULTS = tuple(
    Fault(operation, step, when)
    for operation, steps in (("reset", RESET_STEPS), ("snapshot", SNAPSHOT_STEPS))
    for step in steps
    for when in ("before", "after")
)


@dataclass(frozen=True)
class NaturalFault:
    """A start that the kernel or the request itself makes fail; ``words`` go to ``run`` before and after the image."""

    title: str
    options: tuple[str, ...]
    command: tuple[str, ...]
    status: int
    says: str


NATURAL_FAULTS = (
    NaturalFault("the command is not there", (), ("nothing-here",), 127, "nothing-here"),
    NaturalFault("the command may not be executed", (), ("/etc/not-executable",), 126, "not-executable"),
    NaturalFault("the user is not known inside", ("-u", "nobody-here"), ("true",), 125, "nobody-here"),
    NaturalFault("the working directory is a file", ("-w", "/etc/passwd"), ("true",), 125, "/etc/passwd"),
    NaturalFault("the host path is not there", ("-v", "/no/such/place:/x"), ("true",), 125, "/no/such/place"),
    NaturalFault(
        "a mount goes onto a file's child", ("--tmpfs", "/etc/passwd/x"), ("true",), 125, "/etc/passwd"
    ),
    NaturalFault(
        "the profile is not there", ("--security-opt", "seccomp=/no/such.json"), ("true",), 125, "such.json"
    ),
    NaturalFault("the address is of another network", ("--ip", "192.0.2.9"), ("true",), 125, "192.0.2.9"),
    NaturalFault("the processors do not exist", ("--cpuset", "400-500"), ("true",), 125, "cpuset"),
)
