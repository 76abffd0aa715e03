"""``course stop`` and ``course wipe``: many machines at once, and the proof that nothing is left."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from multios.api.client import Client
from multios.cli.context import Context
from multios.errors import InvalidInput, MultiosError, NotFound
from multios.model.course import COURSE_LABEL
from multios_courses import course_file, labs, machines, networking
from multios_courses.commands import confirmed

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")
_AT_ONCE = 4
_FORGET_SECONDS = 60.0
_STOPPED_AT_ONCE = 200
"""Each waits for its machine to end, which costs nothing."""


def name_of(path: Path) -> str:
    """The course's name, from its file; or the name itself, because the file may be lost."""
    if path.exists():
        return course_file.load(path).name
    if _NAME.fullmatch(str(path)):
        return str(path)
    raise InvalidInput(f"{path}: there is no such file", "name a course.toml, or a course: `course list`")


def stop(context: Context, path: Path, timeout: int) -> int:
    """Stop what runs; 1 when something does not."""
    name = name_of(path)
    there = [*machines.existing(context.client, name), *labs.of_course(context.client, name)]
    rows = [row for row in there if row["status"] in ("running", "paused")]
    failed = each(
        context,
        [(row["name"], row["id"]) for row in rows],
        lambda client, ref: client.call("containers.stop", {"ref": ref, "timeout": timeout}),
        _STOPPED_AT_ONCE,
    )
    sys.stdout.write(f"{_machines(len(rows) - failed)} of {name} stopped\n")
    return 1 if failed else 0


def wipe(context: Context, path: Path, yes: bool) -> int:
    """Remove all that has the course's label, then look again; 1 when anything is left."""
    name = name_of(path)
    before = remains(context.client, name)
    if not any(before.values()):
        sys.stdout.write(f"nothing of {name} is here\n")
        return 0
    if not confirmed(f"Remove {_counted(before)} of {name}, with all work in them?", yes):
        sys.stderr.write("Nothing was removed; --yes does it without asking\n")
        return 1
    _remove(context, before)
    left = remains(context.client, name)
    gone = {kind: [row for row in rows if row not in left[kind]] for kind, rows in before.items()}
    sys.stdout.write(f"{_counted(gone)} of {name} removed\n")
    if any(left.values()):
        for kind, rows in left.items():
            for row in rows:
                sys.stderr.write(f"still there: {kind} {row['name']} ({row['id'][:12]})\n")
        context.report(
            MultiosError(f"{_counted(left)} of {name} are left", "wipe again; see the daemon's log")
        )
        return 1
    sys.stdout.write(f"nothing of {name} is left: no machine, no network, no volume has its label\n")
    return 0


def remains(client: Client, name: str) -> dict[str, list[dict[str, str]]]:
    """What the daemon has with the course's label, by kind: name and id of each."""
    volumes = client.call("volumes.list", {})
    return {
        "machine": [_ref(row) for row in machines.existing(client, name)],
        "lab machine": [_ref(row) for row in labs.of_course(client, name)],
        "network": [_ref(row) for row in networking.existing(client, name)],
        "volume": [
            {"name": row["name"], "id": row.get("id") or row["name"]}
            for row in volumes
            if row["labels"].get(COURSE_LABEL) == name
        ],
    }


def _ref(row: dict[str, Any]) -> dict[str, str]:
    return {"name": row["name"], "id": row["id"]}


def _remove(context: Context, found: dict[str, list[dict[str, str]]]) -> None:
    """Machines first: networks and volumes are in use by them."""
    if labs.is_installed():  # which forgets what it knows of them, too

        def forget(client: Client, ref: str) -> None:
            said = labs.run(client.path, ["rm", ref], os.geteuid(), Path("/"), _FORGET_SECONDS)
            if said.status:
                raise said.failure()

        each(context, [(row["name"], row["id"]) for row in found["lab machine"]], forget, _AT_ONCE)
    for kind, method, params in (
        ("lab machine", "containers.delete", {"force": True, "volumes": True}),
        ("machine", "containers.delete", {"force": True, "volumes": True}),
        ("network", "networks.remove", {}),
        ("volume", "volumes.remove", {}),
    ):
        key = "ref" if kind.endswith("machine") else "name"

        def remove(
            client: Client,
            ref: str,
            method: str = method,
            key: str = key,
            params: dict[str, Any] = params,
        ) -> None:
            try:
                client.call(method, {**params, key: ref})
            except NotFound:
                return  # someone was faster, or it went with its machine

        each(context, [(row["name"], row["id"]) for row in found[kind]], remove, _AT_ONCE)


def each(
    context: Context,
    things: Sequence[tuple[str, str]],
    act: Callable[[Client, str], object],
    at_once: int,
) -> int:
    """Do ``act`` for each name and id on several connections; how many failed, each reported."""

    def share(part: Sequence[tuple[str, str]]) -> list[MultiosError]:
        errors = []
        with context.another_client() as client:
            for name, ref in part:
                try:
                    act(client, ref)
                except MultiosError as error:
                    error.cause = f"{name}: {error.cause}"
                    errors.append(error)
        return errors

    parts = [part for number in range(at_once) if (part := things[number::at_once])]
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        errors = [error for found in pool.map(share, parts) for error in found]
    for error in errors[:10]:
        context.report(error)
    return len(errors)


def _machines(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}"


def _counted(found: dict[str, list[dict[str, str]]]) -> str:
    words = [f"{len(rows)} {kind}{'' if len(rows) == 1 else 's'}" for kind, rows in found.items() if rows]
    return ", ".join(words) or "nothing"
