"""Networks as a student sees them: a tree for the terminal, Graphviz's dot, and mermaid."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Record = dict[str, Any]


def tree(networks: list[Record]) -> str:
    """Each network, its containers below it with address and published ports."""
    lines: list[str] = []
    for network in networks:
        lines.append(f"{network['name']} ({', '.join([network['driver'], *_traits(network)])})")
        above = "host" if _above(network) == "host" else "gateway"
        below = [f"{above} {network['gateway']}", *(_leaf(item) for item in network["endpoints"])]
        for number, text in enumerate(below, 1):
            lines.append(("└── " if number == len(below) else "├── ") + text)
    return "".join(f"{line}\n" for line in lines)


def dot(networks: list[Record]) -> str:
    """An undirected graph for Graphviz (its language reference, ``graph``)."""
    lines = ["graph networks {", "  node [fontname=sans]; edge [fontname=sans, fontsize=10];"]
    lines.append('  outside [label="outside", shape=plaintext]; host [label="this host", shape=box3d];')
    lines.append("  outside -- host;")
    for number, network in enumerate(networks):
        label = _quoted("\n".join([network["name"], *_traits(network)]))
        lines.append(f"  n{number} [label={label}, shape=ellipse];")
        style = ", style=dashed" if network["internal"] else ""
        lines.append(f"  {_above(network)} -- n{number} [label={_quoted(network['gateway'])}{style}];")
    names = _containers(networks)
    for container, (node, name) in names.items():
        ports = _ports(networks, container)
        lines.append(f"  {node} [label={_quoted(chr(10).join([name, *ports]))}, shape=box];")
    for number, item in _edges(networks):
        lines.append(f"  n{number} -- {names[item['container']][0]} [label={_quoted(_address(item))}];")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(networks: list[Record]) -> str:
    """A flowchart that GitHub and many editors draw."""
    lines = ["graph LR", '  outside(["outside"]) --- host["this host"]']
    for number, network in enumerate(networks):
        label = "<br/>".join(map(_escaped, [network["name"], *_traits(network)]))
        line = "-.-" if network["internal"] else "---"
        lines.append(f'  {_above(network)} {line}|{network["gateway"]}| n{number}(("{label}"))')
    names = _containers(networks)
    for container, (node, name) in names.items():
        label = "<br/>".join(map(_escaped, [name, *_ports(networks, container)]))
        lines.append(f'  {node}["{label}"]')
    for number, item in _edges(networks):
        lines.append(f"  n{number} ---|{_address(item)}| {names[item['container']][0]}")
    return "\n".join(lines) + "\n"


def _above(network: Record) -> str:
    """The node at the gateway: a network without an interface of the host is the LAN's."""
    return "host" if network["interface"] else "outside"


def _traits(network: Record) -> list[str]:
    named = [word for word in ("internal", "isolate", "shared") if network[word]]
    allowed = network["egress_allow"]
    limits = [f"egress only to {', '.join(allowed)}"] if allowed else []
    return [*filter(None, (network["subnet"], network["subnet6"])), *named, *limits]


def _leaf(item: Record) -> str:
    return "  ".join([item["name"], _address(item), *_port_texts(item)])


def _address(item: Record) -> str:
    return ", ".join(text.partition("/")[0] for text in (item["address"], item["address6"]) if text)


def _port_texts(item: Record) -> list[str]:
    return [f"{port['host']}->{port['container']}/{port['protocol']}" for port in item["ports"]]


def _ports(networks: list[Record], container: str) -> list[str]:
    return next(_port_texts(item) for _, item in _edges(networks) if item["container"] == container)


def _containers(networks: list[Record]) -> dict[str, tuple[str, str]]:
    """Each container's node and name: one that is on several networks is drawn once."""
    names = {item["container"]: item["name"] for _, item in _edges(networks)}
    return {container: (f"c{number}", name) for number, (container, name) in enumerate(names.items())}


def _edges(networks: list[Record]) -> Iterator[tuple[int, Record]]:
    for number, network in enumerate(networks):
        for item in network["endpoints"]:
            yield number, item


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
