"""Networks drawn: as a tree, for Graphviz and for mermaid."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from multios.cli.network_pictures import dot, mermaid, tree


def network(name: str, *endpoints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "driver": "bridge",
        "subnet": "10.0.0.0/24",
        "subnet6": "",
        "gateway": "10.0.0.1",
        "interface": "br0",
        "internal": False,
        "isolate": False,
        "shared": False,
        "egress_allow": [],
    }
    return {**plain, **fields, "endpoints": list(endpoints)}


def place(name: str, address: str, *ports: tuple[int, int]) -> dict[str, Any]:
    published = [{"host": host, "container": inside, "protocol": "tcp"} for host, inside in ports]
    return {
        "container": f"id-{name}",
        "name": name,
        "address": f"{address}/24",
        "address6": "",
        "ports": published,
    }


WEB = place("web", "10.0.0.2", (8080, 80))
TWO = [
    network("front", WEB),
    network("back", place("web", "10.0.1.2", (8080, 80)), place("db", "10.0.1.3"), internal=True),
]


def test_a_tree_has_a_branch_for_each_container() -> None:
    exam = network("exam", WEB, isolate=True, egress_allow=["example.org"])
    assert tree([exam]) == (
        "exam (bridge, 10.0.0.0/24, isolate, egress only to example.org)\n"
        "├── host 10.0.0.1\n"
        "└── web  10.0.0.2  8080->80/tcp\n"
    )
    assert tree([network("empty")]).endswith("└── host 10.0.0.1\n")


@pytest.mark.parametrize("draw", [dot, mermaid])
def test_a_network_on_the_lan_hangs_on_the_outside(draw: Any) -> None:
    lan = network("lan", WEB, interface="")
    assert "├── gateway 10.0.0.1\n" in tree([lan])
    (line,) = [line for line in draw([lan]).splitlines() if "10.0.0.1" in line]
    assert line.strip().startswith("outside ") and "host" not in line


@pytest.mark.parametrize("draw", [dot, mermaid])
def test_a_container_on_two_networks_is_drawn_once_with_two_lines(draw: Any) -> None:
    text = draw(TWO)
    assert text.count("8080-") == 1
    assert text.count("10.0.0.2") == 1 and text.count("10.0.1.2") == 1
    assert ("dashed" if draw is dot else "-.-") in text


def test_what_users_wrote_cannot_end_a_label() -> None:
    hostile = network('a"b\\c<d>', place('x"y', "10.0.0.9"))
    assert 'a\\"b\\\\c<d>' in dot([hostile])
    assert "a&quot;b\\c&lt;d&gt;" in mermaid([hostile])


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it() -> None:
    hostile = network('a"b\\c<d>', place('x"y', "10.0.0.9"))
    done = subprocess.run(["dot", "-Tsvg"], input=dot([*TWO, hostile]), capture_output=True, text=True)
    assert done.returncode == 0 and "8080" in done.stdout, done.stderr
