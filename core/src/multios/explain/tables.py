"""Each part's facts as tables of text: what both the terminal and the page show."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Part = dict[str, Any]
    Rows = list[tuple[str, ...]]


class Table:
    """``title`` may be empty; without ``columns`` the rows stand alone."""

    __slots__ = ("columns", "rows", "title")

    def __init__(self, title: str, columns: tuple[str, ...], rows: Rows) -> None:
        self.title = title
        self.columns = columns
        self.rows = rows


def tables(part: Part) -> list[Table]:
    """The tables of a part, those without rows left out."""
    return [table for table in _MAKERS[part["part"]](part) if table.rows]


def _namespaces(part: Part) -> list[Table]:
    rows: Rows = []
    for row in part["rows"]:
        own = "another container's" if row["joined"] else "its own"
        own = "shared with the host" if row["shared"] else own
        inode = "-" if row["inode"] is None else str(row["inode"])
        rows.append((row["kind"], inode, str(row["host_inode"]), own, row["keeps"]))
    return [Table("", ("NAMESPACE", "HERE", "HOST", "", "WHAT IT HOLDS"), rows)]


def _ids(part: Part) -> list[Table]:
    rows: Rows = []
    for kind in ("users", "groups"):
        for row in part[kind]:
            last = row["count"] - 1
            rows.append(
                (
                    kind,
                    f"{row['inside']} to {row['inside'] + last}",
                    f"{row['outside']} to {row['outside'] + last}",
                )
            )
    me: Rows = [("its user inside", _known(part["uid"])), ("the same on the host", _known(part["host_uid"]))]
    return [Table("", ("", "INSIDE", "ON THE HOST"), rows), Table("", (), me)]


def _known(value: object) -> str:
    return "-" if value is None else str(value)


def _mounts(part: Part) -> list[Table]:
    root = part["root"]
    layers: Rows = []
    if root["copy"]:
        layers.append(("copy", root["copy"], "the container's own, all of it"))
    if root["upper"]:
        where = f"{root['upper']} (in {root['limited_file']})" if root["limited_file"] else root["upper"]
        layers.append(("upper", where, "what the container writes"))
        layers.append(("work", root["work"], "the kernel's own, for changes under way"))
    for number, path in enumerate(root["lower"], 1):
        layers.append((f"lower {number}", path, "of the image, never written"))
    kind = (
        root["type"]
        + (", id-mapped" if root["id_mapped"] else "")
        + (", read-only" if root["read_only"] else "")
    )
    mounted: Rows = [
        (
            row["target"],
            row["type"],
            row["source"],
            ",".join(row["options"]) + (" (id-mapped)" if row["id_mapped"] else ""),
        )
        for row in part["mounts"]
    ]
    return [
        Table(f"The root: {kind}, topmost first", ("LAYER", "DIRECTORY ON THE HOST", ""), layers),
        Table("Mounted over it", ("PATH", "TYPE", "SOURCE", "OPTIONS"), mounted),
        Table("Covered, so that it cannot be read", (), [(path,) for path in part["masked"]]),
        Table("Read-only", (), [(path,) for path in part["read_only"]]),
    ]


def _cgroups(part: Part) -> list[Table]:
    groups: Rows = [
        (f"v{row['version']}", row["controllers"] or "(unified)", row["directory"]) for row in part["groups"]
    ]
    limits: Rows = [(row["what"], row["value"], row["file"]) for row in part["limits"]]
    asked: Rows = [(row["what"], row["value"]) for row in part["asked"]]
    return [
        Table("What is set", ("LIMIT", "VALUE", "FILE"), limits),
        Table("What would be set", ("LIMIT", "VALUE"), asked),
        Table(f"Where it is counted ({part['mode']})", ("VERSION", "CONTROLLERS", "DIRECTORY"), groups),
    ]


def _capabilities(part: Part) -> list[Table]:
    kept: Rows = [(row["name"], row["means"]) for row in part["kept"]]
    dropped: Rows = [(row["name"], row["means"]) for row in part["dropped"]]
    sets: Rows = list(part["sets"].items())
    sets.append(("no_new_privs", "yes" if part["no_new_privileges"] else "no"))
    return [
        Table(f"Kept: {len(kept)}", (), kept),
        Table(f"Dropped: {len(dropped)}", (), dropped),
        Table("As the kernel writes it", (), sets),
    ]


def _seccomp(part: Part) -> list[Table]:
    head: Rows = [("mode", part["mode"]), ("filters", str(part["filters"]))]
    if part["default"]:
        head.append(("what is on no list", part["default"]))
    lists = [
        Table(f"{row['count']} calls {row['action']}", (), [(" ".join(row["names"]),)])
        for row in part["calls"]
    ]
    conditions: Rows = [(row["call"], row["condition"], row["action"]) for row in part["conditions"]]
    return [Table("", (), head), *lists, Table("It depends", ("CALL", "IF", "THEN"), conditions)]


def _confinement(part: Part) -> list[Table]:
    rows: Rows = [
        (row["driver"], row["profile"], "yes" if row["enforced"] else "no", row["detail"])
        for row in part["drivers"]
    ]
    return [Table("", ("DRIVER", "PROFILE", "ENFORCED", "DETAIL"), rows)]


def _network(part: Part) -> list[Table]:
    way: Rows = [(f"{number}", row["name"], row["detail"]) for number, row in enumerate(part["path"], 1)]
    links: Rows = [
        (
            row["name"],
            row["kind"] or "loopback",
            row["mac"],
            " ".join(row["addresses"]),
            "up" if row["up"] else "down",
        )
        for row in part["interfaces"]
    ]
    routes: Rows = [(row["to"], row["via"] or "directly", row["interface"]) for row in part["routes"]]
    ports: Rows = [
        (
            f"{row['address']}, port {row['host'] or 'chosen at start'}",
            f"port {row['container']} inside",
            row["protocol"],
        )
        for row in part["ports"]
    ]
    mode: Rows = []
    if part["mode"] == "host":
        mode.append(("It is on the host's own network: nothing lies between.",))
    elif part["mode"] == "container":
        mode.append((f"It uses the network of container {part['owner']}.",))
    elif part["mode"] == "none":
        mode.append(("It has no network but its own loopback.",))
    if part["mode"] in ("private", "container") and part.get("planned"):
        mode.append((f"It would be attached to: {', '.join(part['planned'])}",))
    servers: Rows = [(server,) for server in part["name_servers"]]
    return [
        Table("", (), mode),
        Table("The way out, step by step", (), way),
        Table("Its interfaces", ("NAME", "KIND", "MAC", "ADDRESSES", ""), links),
        Table("Its routes", ("TO", "VIA", "INTERFACE"), routes),
        Table("Published: from the host to it", (), ports),
        Table("Whom it asks for names (/etc/resolv.conf)", (), servers),
    ]


def _process(part: Part) -> list[Table]:
    rows: Rows = [("command", " ".join(part["command"]))]
    if part["pid"] is not None:
        rows += [
            ("number on the host", str(part["pid"])),
            ("number inside", _known(part["pid_inside"])),
            ("parent", f"{part['parent']['pid']}: {part['parent']['command']}"),
        ]
    rows += [
        ("host name", part["hostname"]),
        ("working directory", part["working_directory"]),
        ("log", part["log"]),
    ]
    environment: Rows = [(word,) for word in part["environment"]]
    return [Table("", (), rows), Table("Environment", (), environment)]


_MAKERS: dict[str, Callable[[Part], list[Table]]] = {
    "namespaces": _namespaces,
    "ids": _ids,
    "mounts": _mounts,
    "cgroups": _cgroups,
    "capabilities": _capabilities,
    "seccomp": _seccomp,
    "confinement": _confinement,
    "network": _network,
    "process": _process,
}
