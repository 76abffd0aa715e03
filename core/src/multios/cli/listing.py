"""``ps``, ``inspect`` and ``top``."""

from __future__ import annotations

import sys

from multios.cli.filters import FILTER, filters
from multios.cli.grammar import FLAG, INTEGER, LIST, Argument, Command, Option
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import ago, clip, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns


def ports_text(ports: list[dict[str, Any]]) -> str:
    """``0.0.0.0:8080->80/tcp, …`` as podman shows published ports."""
    parts = []
    for port in ports:
        inside = f"{port['container']}/{port.get('protocol') or 'tcp'}"
        parts.append(f"{published_at(port)}->{inside}" if port.get("host") else inside)
    return ", ".join(parts)


def published_at(port: dict[str, Any]) -> str:
    """``0.0.0.0:8080`` or ``[::]:8080``: where on the host a port is published."""
    address = port.get("address") or "0.0.0.0"
    return f"[{address}]:{port['host']}" if ":" in address else f"{address}:{port['host']}"


def _columns(whole: bool) -> Columns:
    def command(row: dict[str, Any]) -> str:
        text = " ".join(row["command"])
        return text if whole else clip(text, 24)

    return (
        ("CONTAINER ID", "ID", lambda row: row["id"] if whole else row["id"][:12]),
        ("IMAGE", "Image", lambda row: row["image"]),
        ("COMMAND", "Command", command),
        ("CREATED", "Created", lambda row: ago(row["created"])),
        ("STATUS", "Status", lambda row: row["status_text"]),
        ("PORTS", "Ports", lambda row: ports_text(row["ports"])),
        ("NAMES", "Names", lambda row: row["name"]),
    )


def _ps(values: Values, context: Context) -> int:
    last = values["last"] or 0
    params: dict[str, Any] = {"all": values["all"] or last > 0, "filters": filters(values["filter"])}
    if "status" in params["filters"]:
        params["all"] = True
    if last:
        params["limit"] = last
    rows = context.call("containers.list", params)
    if values["quiet"] and not values["no_trunc"]:
        rows = [{**row, "id": row["id"][:12]} for row in rows]
    print_rows(rows, _columns(values["no_trunc"]), values["format"], "id" if values["quiet"] else "")
    return 0


def _inspect(values: Values, context: Context) -> int:
    records: list[Any] = []
    status = context.each(
        values["refs"], lambda ref: records.append(context.call("containers.inspect", {"ref": ref}))
    )
    print_records(records, values["format"])
    return status


def _top(values: Values, context: Context) -> int:
    columns = [word for text in values["columns"] for word in text.replace(",", " ").split()]
    answer = context.call(
        "containers.top", {"ref": values["ref"], **({"columns": columns} if columns else {})}
    )
    rows = [[str(cell) for cell in process] for process in answer["processes"]]
    sys.stdout.write(table([str(title) for title in answer["titles"]], rows))
    return 0


COMMANDS = {
    "ps": Command(
        _ps,
        (
            Option("--all -a", "all", FLAG, "Show stopped ones too"),
            Option("--quiet -q", "quiet", FLAG, "Print ids only"),
            Option("--last -n", "last", INTEGER, "Show the N newest, in any state", "N"),
            Option("--no-trunc", "no_trunc", FLAG, "Shorten nothing"),
            FILTER,
            FORMAT,
        ),
        (),
        "",
        ("ps --all", "ps --filter status=exited", "ps --format '{{.Names}} {{.Status}}'"),
    ),
    "inspect": Command(
        _inspect,
        (FORMAT,),
        (Argument("refs", "CONTAINER", 1, 0, completes="containers"),),
        "",
        ("inspect my-python", "inspect --format '{{.State.Status}}' my-python"),
    ),
    "top": Command(
        _top,
        (
            Option(
                "-o --format",
                "columns",
                LIST,
                "Only these columns: user, pid, ppid, pcpu, etime, time, stat, comm, args or hpid",
                "COLUMN,…",
            ),
        ),
        (Argument("ref", "CONTAINER", completes="containers"),),
        "Ids and names are those inside; hpid is the id on the host.",
        ("top my-python", "top my-python -o pid,user,args"),
    ),
}
