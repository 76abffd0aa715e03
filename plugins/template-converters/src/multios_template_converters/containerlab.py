"""containerlab: the nodes of kind ``linux`` of a topology; each becomes a template.

See https://containerlab.dev/manual/topo-def-file/ and https://containerlab.dev/manual/nodes/.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from multios.drivers.template_converter import Conversion
from multios_template_converters import taken, yaml_values
from multios_template_converters.links import Links
from multios_template_converters.source_folder import SourceFolder
from multios_template_converters.template_folder import (
    MOST_TEMPLATES,
    Draft,
    has_placeholder,
    service,
    template_name,
)
from multios_template_converters.values import Account, Value, below

KIND = "linux"
CAPABILITIES = ("NET_ADMIN", "NET_RAW")
"""containerlab's nodes have every capability; these are what a node needs for its own interfaces."""
_INTERFACE = re.compile(r"eth([1-9][0-9]{0,2})")
_UNNUMBERED = 1000
"""Interfaces of other names come last."""
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_JOINED = ("binds", "exec", "ports")
_MERGED = ("env", "labels")
_FROM_OUTSIDE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::?[-=]([^}]*))?\}|[A-Za-z_][A-Za-z0-9_]*)")
_WHY_LEFT_OUT = {
    "startup-config": "it is for routers",
    "startup-delay": "nothing waits: services are started in order",
    "mgmt-ipv4": "an address is given when a machine is created: --ip",
    "mgmt-ipv6": "an address is given when a machine is created: --ip6",
    "network-mode": "the network is chosen when a machine is created",
    "cpu-set": "which processors it may use is said when a machine is created: --cpuset-cpus",
    "user": "the machine begins as root: say --user when it is created",
    "env-files": "what is in them is not read: write it below env",
    "image-pull-policy": "an image is brought when it is not there",
    "restart-policy": "say --restart when a machine is created",
    "sysctls": "no template sets the kernel's parameters",
    "devices": "devices of the host are asked for in [requests]",
    "labels": "they are for containerlab's own tools",
    "type": "it is for routers",
    "license": "it is for routers",
    "dns": "say --dns when a machine is created",
}


def convert(file: Path, target: Path) -> Conversion:
    """See :class:`multios.drivers.template_converter.TemplateConverterDriver`."""
    account = Account(file.name)
    with SourceFolder(file.parent, target) as folder:
        topology = _Topology(folder, account, yaml_values.read(folder.text(file.name), account))
        topology.take_nodes()
        folders = tuple(draft.write(target, file.name) for draft in topology.copied(target))
    topology.take_links()
    topology.leave_the_rest()
    return Conversion(folders, tuple(account.left_out), topology.links.commands(topology.templates))


class _Topology:
    def __init__(self, folder: SourceFolder, account: Account, document: Value) -> None:
        self._folder, self._account = folder, account
        self._document = account.table("YAML", document)
        if "topology" not in self._document:
            raise account.wrong("topology", 1, "is missing", "write topology: with nodes: below it")
        self._topology = account.table("topology", self._document["topology"])
        title = account.scalar("name", self._document["name"]) if "name" in self._document else ""
        self._title = title or account.file.partition(".clab.")[0]
        self.name = template_name((), self._title)[:20].rstrip("-")
        self.templates: dict[str, str] = {}
        # There, eth0 is the network by which the nodes are managed: here, the default one.
        self.links = Links(account, first=1)
        self._drafts: dict[str, Draft] = {}
        self._binds: dict[str, list[tuple[str, str]]] = {}

    def _group(self, *names: str) -> dict[str, Value]:
        """A table of the topology, empty where it is absent."""
        table, key = self._topology, "topology"
        for name in names:
            key = below(key, name)
            if name not in table or table[name].data is None:
                return {}
            table = self._account.table(key, table[name])
        return table

    # --- nodes ----------------------------------------------------------------------------------------

    def take_nodes(self) -> None:
        """A draft for every node of kind linux."""
        nodes = self._group("nodes")
        for node, value in nodes.items():
            key = below("topology.nodes", node)
            if not _NODE.fullmatch(node):
                raise self._account.wrong(
                    key, value, f"{node!r} cannot be a machine's name", "letters, digits, '-'"
                )
            settings = self._inherited(key, value)
            kind = self._account.scalar(below(key, "kind"), settings.get("kind", Value("", value.line)))
            if kind != KIND:
                self._account.leave(
                    key, value, f"only nodes of kind {KIND} are machines of ours, not {kind!r}"
                )
            elif len(self._drafts) == MOST_TEMPLATES:
                raise self._account.wrong(key, value, f"more than {MOST_TEMPLATES} nodes", "divide the lab")
            else:
                self._take(node, key, value, settings)
        if not self._drafts:
            line = self._topology["nodes"].line if nodes else self._document["topology"].line
            raise self._account.wrong(
                "topology.nodes", line, f"has no node of kind {KIND}", f"write kind: {KIND}"
            )

    def _inherited(self, key: str, value: Value) -> dict[str, Value]:
        """A node's settings: its own before its group's, its kind's and the defaults."""
        own = {} if value.data is None else self._account.table(key, value)
        defaults = self._group("defaults")

        def name_of(field: str, *tables: dict[str, Value]) -> str:
            found = next((table[field] for table in tables if field in table), Value("", 0))
            return self._account.scalar(below(key, field), found)

        group = self._group("groups", name_of("group", own, defaults))
        kind = self._group("kinds", name_of("kind", own, group, defaults))
        found: dict[str, Value] = {}
        for table in (defaults, kind, group, own):
            for field, item in table.items():
                if item.data is None:
                    continue
                before = found.get(field)
                if (
                    before
                    and field in _MERGED
                    and isinstance(before.data, dict)
                    and isinstance(item.data, dict)
                ):
                    item = Value({**before.data, **item.data}, item.line)
                elif (
                    before
                    and field in _JOINED
                    and isinstance(before.data, list)
                    and isinstance(item.data, list)
                ):
                    item = Value([*before.data, *item.data], item.line)
                found[field] = item
        return found

    def _take(self, node: str, key: str, value: Value, settings: dict[str, Value]) -> None:
        if "image" not in settings:
            raise taken.require_image(
                self._account, below(key, "image"), value.line, "write image: debian:12"
            )
        path, image = below(key, "image"), settings["image"]
        base = self._known(path, image)
        if base is None:
            raise self._account.wrong(
                path, image, "depends on the host that it was written on", "write its name"
            )
        name = template_name(self.templates.values(), self.name, node)
        draft = Draft(name, f"{node} of {self._title}", taken.image(self._account, path, image, base))
        draft.working_directory = "/"
        draft.lesson = [f"The node {node} of a containerlab topology."]
        draft.capabilities += CAPABILITIES
        self._drafts[node], self.templates[node] = draft, name
        for field, item in settings.items():
            self._setting(draft, node, below(key, field), field, item)
        self._take_programs(draft, key, value, settings)

    def _setting(self, draft: Draft, node: str, key: str, field: str, value: Value) -> None:
        account = self._account
        if field == "env":
            for name, item in (account.table(key, value) if value.data is not None else {}).items():
                taken.variable(
                    draft, account, below(key, name), item, name, self._known(below(key, name), item)
                )
        elif field == "ports":
            for path, item in self._items(key, value):
                taken.port(draft, account, path, item, account.scalar(path, item))
        elif field == "memory":
            taken.memory(draft, account, key, value)
        elif field == "cpu":
            taken.processors(draft, account, key, value)
        elif field == "binds":
            self._binds[node] = [
                bind for path, item in self._items(key, value) for bind in self._bind(node, path, item)
            ]
        elif field == "cap-add":
            for path, item in self._items(key, value):
                taken.capability(draft, account, path, item, account.text(path, item))
        elif field not in ("kind", "group", "image", "exec", "cmd", "entrypoint") and not taken.is_off(value):
            account.leave(key, value, _WHY_LEFT_OUT.get(field, "it is not known here"))

    def _items(self, key: str, value: Value) -> list[tuple[str, Value]]:
        items = self._account.items(key, value) if value.data is not None else []
        return [(below(key, number), item) for number, item in enumerate(items)]

    def _known(self, key: str, value: Value) -> str | None:
        """The text, defaults of variables of the author's host put in; ``None`` where there is none, which is said."""
        text = self._account.scalar(key, value) if value.data is not None else ""
        unknown = next((found[0] for found in _FROM_OUTSIDE.finditer(text) if found[2] is None), None)
        if unknown is not None or has_placeholder(text):
            self._account.leave(key, value, f"{unknown or 'what stands in {{…}}'} is not known here")
            return None
        return _FROM_OUTSIDE.sub(lambda found: found[2], text)

    # --- what runs ------------------------------------------------------------------------------------

    def _take_programs(self, draft: Draft, key: str, value: Value, settings: dict[str, Value]) -> None:
        command: list[str] = []
        for field in ("entrypoint", "cmd"):
            if field in settings:
                command += self._words(below(key, field), settings[field])
        lines = []
        for path, item in self._items(below(key, "exec"), settings.get("exec", Value(None, 0))):
            lines.append(shlex.join(self._words(path, item)))
        lines = [line for line in lines if line]
        if not command:
            self._account.leave(
                below(key, "cmd"),
                value,
                "is not given, and the image's own command is not looked up: it is not started",
            )
        if lines:
            if command:
                draft.services.append({"name": "cmd", "command": f"exec {shlex.join(command)}"})
            draft.services.append(service("exec", lines))
        else:
            draft.command = command or ("/bin/sh",)

    def _words(self, key: str, value: Value) -> list[str]:
        """A command's words: containerlab runs no shell unless it is named."""
        text = self._account.scalar(key, value)
        if not taken.is_plain(self._account, key, value, text):
            return []
        try:
            return shlex.split(text)
        except ValueError:
            raise self._account.wrong(key, value, "a quotation mark is missing", "close it") from None

    # --- files ----------------------------------------------------------------------------------------

    def _bind(self, node: str, key: str, value: Value) -> list[tuple[str, str]]:
        """What a bind copies, as (name in the folder, place inside); nothing where that is not of the lab's folder."""
        text = self._known(key, value)
        source, _, place = (text or "").replace("__clabNodeName__", node).partition(":")
        place = place.partition(":")[0]
        if text is None:
            return []
        inside = taken.path_inside(place)
        if inside is None:
            self._account.leave(key, value, f"{place!r} is no path inside")
        elif self._folder.inside(source) is None:
            self._account.leave(
                key, value, f"{source} is not in the lab's folder: share it when a machine is created, -v"
            )
        else:
            return [(source, inside)]
        return []

    def copied(self, target: Path) -> list[Draft]:
        """The drafts, their files in place."""
        for node, draft in self._drafts.items():
            for source, place in self._binds.get(node, []):
                self._folder.copy(source, target / draft.name / "rootfs" / place.lstrip("/"), self._account)
        self._folder.make_links()
        return list(self._drafts.values())

    # --- links ----------------------------------------------------------------------------------------

    def take_links(self) -> None:
        """Links between nodes of kind linux become networks of two, in commands."""
        value = self._topology.get("links", Value(None, 0))
        number = 0
        for key, item in self._items("topology.links", value):
            ends = self._ends(key, item)
            missing = next((node for node, _ in ends if node not in self._drafts), None)
            if len(ends) != 2 or missing is not None:
                self._account.leave(
                    key, item, f"it leads to what is no machine of ours: {missing or 'one end alone'}"
                )
                continue
            number += 1
            network = f"{self.name}-link{number}"
            for node, interface in ends:
                known = _INTERFACE.fullmatch(interface)
                place = int(known[1]) if known else _UNNUMBERED + self.links.count(node)
                self.links.join(node, place, network, f"{key}.{node}", item)
        self.links.leave()

    def _ends(self, key: str, value: Value) -> list[tuple[str, str]]:
        table = self._account.table(key, value)
        path = below(key, "endpoints")
        found = []
        for place, item in self._items(path, table.get("endpoints", Value(None, 0))):
            if isinstance(item.data, dict):
                parts: Any = [
                    self._account.scalar(place, item.data.get(name, Value("", item.line)))
                    for name in ("node", "interface")
                ]
            else:
                parts = self._account.scalar(place, item).partition(":")[::2]
            found.append((parts[0], parts[1]))
        return found

    def leave_the_rest(self) -> None:
        """What a topology says beside nodes and links."""
        for key, value in self._document.items():
            if key not in ("name", "topology") and not taken.is_off(value):
                self._account.leave(key, value, "it is for containerlab's own network and names")
        for key, value in self._topology.items():
            if key not in ("nodes", "links", "defaults", "kinds", "groups") and not taken.is_off(value):
                self._account.leave(below("topology", key), value, "it is not known here")
