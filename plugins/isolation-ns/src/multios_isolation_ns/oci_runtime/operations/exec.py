"""``exec ID [COMMAND ...]``: another process in a running container."""

from __future__ import annotations

import json
import os

from multios.errors import InvalidInput
from multios.supervisor import wire
from multios.supervisor.processes import other_namespaces
from multios_isolation_ns import plan
from multios_isolation_ns.oci_runtime import birth, bundle, console, life, making
from multios_isolation_ns.oci_runtime.control_group import ControlGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios_isolation_ns.oci_runtime.command_line import Request

OPTIONS = {
    "--process": "value",
    "-p": "--process",
    "--pid-file": "value",
    "--console-socket": "value",
    "--detach": "flag",
    "-d": "--detach",
    "--tty": "flag",
    "-t": "--tty",
    "--cwd": "value",
    "--env": "list",
    "-e": "--env",
    "--user": "value",
    "-u": "--user",
    "--additional-gids": "list",
    "-g": "--additional-gids",
    "--cap": "list",
    "-c": "--cap",
    "--no-new-privs": "flag",
    "--ignore-paused": "flag",
    "--preserve-fds": "value",
}
STOPS_AT_WORD = 1


def run(request: Request) -> int:
    """Its exit status; with ``--detach`` 0 once it runs."""
    kept, container_id = request.shared["store"], request.container_id
    record = life.require(kept, container_id, "running", "created")
    spec = kept.config(container_id)
    section = _process(request, spec["process"])
    detach = request.own.get("--detach", False)
    terminal, channel = bool(section.get("terminal")), request.own.get("--console-socket", "")
    console.check(terminal, channel)
    program, program_flags = bundle.compiled(
        (spec.get("linux") or {}).get("seccomp"), f"{kept.root}/.seccomp"
    )
    made = plan.process(bundle.plain_process(section), program, program_flags)
    caller = console.connect(channel) if channel else None
    group = ControlGroup.at(record["cgroup"])
    target = os.pidfd_open(record["pid"])
    newborn = birth.begin(group.paths(group.name), [(target, other_namespaces(record["pid"]))])
    os.close(target)
    try:
        newborn.wait()
        held = made["process"]
        held["rlimits"] = making.rlimits(held["rlimits"], newborn.pid)
        held["capabilities"] = making.capabilities(held["capabilities"], record["user_namespace"])
        master = newborn.order("enter", made, (), terminal)
        if caller is not None:
            console.send(caller, master)
        wire.close_all([master])
        newborn.executed()
        making.write_pid(request.own.get("--pid-file", ""), newborn.pid)
    except BaseException:
        newborn.end()
        raise
    return 0 if detach else console.wait(newborn.pid, newborn.pidfd)


def _process(request: Request, former: dict[str, Any]) -> dict[str, Any]:
    """The ``process`` of ``--process``, else the container's own with the command line's changes."""
    own = request.own
    if "--process" in own:
        try:
            with open(own["--process"], encoding="utf-8") as file:
                section = json.load(file)
        except ValueError as error:
            raise InvalidInput(f"--process: {error}", "give process of the runtime spec as JSON") from None
        if not isinstance(section, dict):
            raise InvalidInput("--process is no JSON object")
        if own.get("--tty"):
            section["terminal"] = True
        return section
    if len(request.words) < 2:
        raise InvalidInput("exec needs a command", "exec ID COMMAND, or --process FILE")
    section = former | {"args": request.words[1:], "terminal": own.get("--tty", False)}
    section["env"] = [*(former.get("env") or ()), *own.get("--env", ())]
    if "--cwd" in own:
        section["cwd"] = own["--cwd"]
    if "--user" in own:
        uid, _, gid = own["--user"].partition(":")
        section["user"] = {"uid": _id(uid), "gid": _id(gid or "0")}
    if "--additional-gids" in own:
        section["user"] = section["user"] | {"additionalGids": [_id(one) for one in own["--additional-gids"]]}
    if "--cap" in own:
        held = former.get("capabilities") or {}
        kinds = ("bounding", "permitted", "effective")
        section["capabilities"] = held | {kind: [*(held.get(kind) or ()), *own["--cap"]] for kind in kinds}
    if own.get("--no-new-privs"):
        section["noNewPrivileges"] = True
    return section


def _id(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput(f"{text!r} is not a numeric id", "give --user UID:GID")
    return int(text)
