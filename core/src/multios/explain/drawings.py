"""The three pictures of a container: its layers, its namespaces beside the host's, and the way to the outside."""

from __future__ import annotations

import textwrap

from multios.explain.drawing import SIZE, WIDTH, Drawing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LAYERS_SHOWN = 8
_DETAIL_WIDTH, _DETAIL_LINES = 48, 3
_GAP = 6.0
_MARGIN = 2.0
_KIND = 56.0
"""Room for a namespace's kind, left of both columns."""
_WORDS = {
    "process": "process",
    "interface": "interface inside",
    "veth": "the cable's other end",
    "parent": "the host's interface",
    "bridge": "bridge",
    "rule": "nftables",
    "uplink": "the host's interface",
    "end": "end",
}


def layers(part: dict[str, Any]) -> str:
    """From above: what the container sees, the directory that takes its changes, then the image's."""
    root, drawing = part["root"], Drawing("The root directory's layers")
    width = WIDTH - 2 * _MARGIN
    bottom = drawing.box(_MARGIN, _MARGIN, width, ["/ — what the container sees", root["type"]], "seen")
    drawing.arrow(WIDTH / 2, bottom, bottom + 14)
    bottom += 14
    if root["copy"]:
        lines = ["a copy of the image, its own", root["copy"]]
        bottom = drawing.box(_MARGIN, bottom, width, lines, "upper", end=True) + _GAP
    if root["upper"]:
        lines = ["upper: takes every change", root["upper"]]
        bottom = drawing.box(_MARGIN, bottom, width, lines, "upper", end=True) + _GAP
    lower = root["lower"]
    for number, path in enumerate(lower[:_LAYERS_SHOWN], 1):
        lines = [f"lower {number}: of the image, never written", path]
        bottom = drawing.box(_MARGIN, bottom, width, lines, "lower", end=True) + _GAP
    if len(lower) > _LAYERS_SHOWN:
        drawing.box(_MARGIN, bottom, width, [f"and {len(lower) - _LAYERS_SHOWN} more below"], "lower")
    return drawing.svg()


def namespaces(part: dict[str, Any]) -> str:
    """Two columns of numbers; what is shared is one box over both."""
    drawing = Drawing("Namespaces of the container and of the host")
    wide = (WIDTH - _KIND - 2 * _MARGIN - _GAP) / 2
    left, right = _KIND, _KIND + wide + _GAP
    drawing.label(left, SIZE + 2, "this container", wide)
    drawing.label(right, SIZE + 2, "the host", wide)
    top = SIZE + 10
    for row in part["rows"]:
        own = "at its start" if row["inode"] is None else str(row["inode"])
        if row["shared"]:
            lines = [f"{row['host_inode']}  shared"]
            bottom = drawing.box(left, top, 2 * wide + _GAP, lines, "shared")
        else:
            drawing.box(left, top, wide, [own], "own")
            bottom = drawing.box(right, top, wide, [str(row["host_inode"])], "host")
        drawing.label(_MARGIN, (top + bottom) / 2 + SIZE / 3, row["kind"], _KIND - 6)
        top = bottom + _GAP
    return drawing.svg()


def network(part: dict[str, Any]) -> str:
    """The steps of the way, one below the other; a line where the container ends. Empty without a way."""
    steps = part["path"]
    if not steps:
        return ""
    drawing = Drawing("The way from the process to the outside")
    width = WIDTH - 2 * _MARGIN
    bottom, outside = _MARGIN, False
    for number, step in enumerate(steps):
        if number and step["kind"] == "process":  # the way by another network
            bottom, outside = bottom + 3 * _GAP, False
        elif number:
            host = step["kind"] not in ("process", "interface")
            begins = host and not outside
            following = bottom + (26 if begins else 14)
            drawing.arrow(WIDTH / 2, bottom, following)
            if begins:
                drawing.border(bottom + 6, "on the host")
            outside, bottom = host, following
        name = step["name"].rpartition(", ")[2] if step["kind"] == "rule" else step["name"]
        title = f"{_WORDS.get(step['kind'], step['kind'])}: {name}"
        lines = [title, *textwrap.wrap(step["detail"], _DETAIL_WIDTH)[:_DETAIL_LINES]]
        bottom = drawing.box(_MARGIN, bottom, width, lines, step["kind"])
    return drawing.svg()
