"""containerlab topologies: nodes of kind linux with what they inherit; other kinds and links are said to stay behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from multios.errors import InvalidInput
from multios_template_converters import Containerlab

Convert = Callable[..., Any]

TOPOLOGY = """\
name: Lab-1
topology:
  defaults:
    env: {SITE: north, LEVEL: "1"}
    exec: ["touch /first"]
  kinds:
    linux:
      image: alpine:3
      memory: 1Gb
      cpu: 1.5
  groups:
    servers:
      env: {LEVEL: "2"}
      ports: ["8080:80"]
  nodes:
    web:
      kind: linux
      group: servers
      image: nginx:1
      cmd: nginx -g 'daemon off;'
      env:
        LEVEL: 3
        ON: yes
      binds:
        - conf/web.conf:/etc/nginx/web.conf:ro
        - /etc/shadow:/etc/shadow
      exec: [ip address add 10.0.0.2/24 dev eth1]
      ports: [443:443]
      startup-delay: 5
    client: {kind: linux}
    core: {kind: nokia_srlinux, image: srlinux}
  links:
    - endpoints: ["client:eth1", "web:eth1"]
    - endpoints: ["web:eth2", "core:e1-1"]
    - type: veth
      endpoints: [{node: web, interface: eth3}, {node: client, interface: eth2}]
"""


def test_nodes_inherit_from_group_kind_and_defaults(convert: Convert) -> None:
    made = convert(Containerlab, {"one.clab.yml": TOPOLOGY, "conf/web.conf": "listen 80;\n"})
    assert sorted(made.folders) == ["lab-1-client", "lab-1-web"]
    web, client = made.plan("lab-1-web"), made.plan("lab-1-client")
    assert (web.base, client.base) == ("nginx:1", "alpine:3")
    assert web.environment == {"SITE": "north", "LEVEL": "3", "ON": "yes"}
    assert client.environment == {"SITE": "north", "LEVEL": "1"}
    assert [port.container for port in web.ports] == [80, 443]
    assert (web.resources.memory_limit, web.resources.cpu_limit) == (1 << 30, 1.5)
    command, executed = web.services
    assert command.command == "exec nginx -g 'daemon off;'"
    assert executed.prepare.splitlines() == ["touch /first", "ip address add 10.0.0.2/24 dev eth1", "true"]
    assert (made.folders["lab-1-web"] / "rootfs/etc/nginx/web.conf").read_text() == "listen 80;\n"
    assert not (made.folders["lab-1-web"] / "rootfs/etc/shadow").exists()


def test_what_has_no_place_is_left_out_with_line_key_and_reason(convert: Convert) -> None:
    made = convert(Containerlab, {"one.clab.yml": TOPOLOGY, "conf/web.conf": ""})
    node = "topology.nodes.web"
    assert "not in the lab's folder" in made.why(f"one.clab.yml:26: {node}.binds[1]")
    assert "nothing waits" in made.why(f"one.clab.yml:29: {node}.startup-delay")
    assert "'nokia_srlinux'" in made.why("one.clab.yml:31: topology.nodes.core")
    assert "no machine of ours: core" in made.why("one.clab.yml:34: topology.links[1]")
    assert "network lab-1-link1" in made.why("one.clab.yml:33: topology.links[0].web")
    assert "where its interface is eth2" in made.why("one.clab.yml:35: topology.links[2].web")
    assert "it is not started" in made.why("one.clab.yml:30: topology.nodes.client.cmd")


def test_the_commands_keep_eth0_for_the_default_network_as_there(convert: Convert) -> None:
    made = convert(Containerlab, {"one.clab.yml": TOPOLOGY, "conf/web.conf": ""})
    assert made.commands == (
        "multios-container network create --internal --network-opt source_guard=false lab-1-link1",
        "multios-container network create --internal --network-opt source_guard=false lab-1-link2",
        "multios-container create --template lab-1-client client",
        "multios-container network connect lab-1-link1 client",
        "multios-container network connect lab-1-link2 client",
        "multios-container start client",
        "multios-container create --template lab-1-web web",
        "multios-container network connect lab-1-link1 web",
        "multios-container network connect lab-1-link2 web",
        "multios-container start web",
    )


def node(text: str) -> dict[str, str]:
    return {
        "one.clab.yml": f"topology:\n  nodes:\n    n1:\n      kind: linux\n      image: alpine:3\n      cmd: sh\n{text}"
    }


def test_ports_of_low_numbers_are_no_sexagesimals(convert: Convert) -> None:
    plan = convert(Containerlab, node("      ports: [80:22]\n")).plan()
    assert [port.container for port in plan.ports] == [22]


def test_merge_keys_and_anchors_are_followed(convert: Convert) -> None:
    text = """
x-common: &common {kind: linux, image: "alpine:3", cmd: sh}
topology:
  nodes:
    n1:
      <<: *common
      image: debian:12
    n2: *common
"""
    made = convert(Containerlab, {"one.clab.yml": text})
    assert made.plan("one-n1").base == "debian:12"
    assert made.plan("one-n2").base == "alpine:3"


def test_variables_of_the_authors_host_count_only_with_a_default(convert: Convert) -> None:
    made = convert(Containerlab, node("      env: {A: '${A:-here}', B: '$B', C: 'it costs 5$'}\n"))
    assert made.plan().environment == {"A": "here", "C": "it costs 5$"}
    assert "$B" in made.why("one.clab.yml:7: topology.nodes.n1.env.B")


def test_a_bind_may_name_its_node(convert: Convert) -> None:
    made = convert(
        Containerlab, {**node("      binds: ['__clabNodeName__/etc:/etc']\n"), "n1/etc/motd": "hello\n"}
    )
    (folder,) = made.folders.values()
    assert (folder / "rootfs/etc/motd").read_text() == "hello\n"


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{name}'] * 10)}]\n"
    for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "YAML: must be a table"),
        ("name: x\n", "one.clab.yml:1: topology: is missing"),
        ("topology:\n  nodes: {}\n", "topology.nodes: has no node of kind linux"),
        (
            "topology:\n  nodes: {n: {kind: linux}}\n",
            "one.clab.yml:2: topology.nodes.n.image: names no image",
        ),
        (
            "topology:\n  nodes: {n: {kind: linux, image: $IMAGE}}\n",
            "topology.nodes.n.image: depends on the host",
        ),
        ("topology:\n  nodes: {../n: {kind: linux, image: a}}\n", "cannot be a machine's name"),
        ("topology:\n  nodes: [a]\n", "one.clab.yml:2: topology.nodes: must be a table"),
        ("topology: {nodes: {n: {kind: linux, image: a, memory: much}}}\n", "n.memory: .*not a size"),
        (
            'topology: {nodes: {n: {kind: linux, image: a, cmd: "\'"}}}\n',
            "n.cmd: a quotation mark is missing",
        ),
        ("topology: {nodes: {n: 1, n: 2}}\n", "topology.nodes.n: is there twice"),
        ("topology: [\n", "one.clab.yml:2: YAML: "),
        ("topology: !!python/object/apply:os.system [id]\n", "topology: must be a table"),
        (LAUGHS + "topology: *i\n", "more than 20000 values"),
        ("a: &a [*a]\n", "one.clab.yml:1: "),
        ("a: " + "[" * 3000 + "\n", "is deeper than|deeper than 40"),
        ("? [a]\n: b\n", "a key is no text"),
        ('a: "\\0"\n', "a text has characters"),
        ("a: \x01\n", "one.clab.yml: has characters that cannot be printed"),
        ("a: 1\n---\nb: 2\n", "YAML: "),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_line_and_key(
    convert: Convert, text: str, cause: str
) -> None:
    with pytest.raises(InvalidInput, match=cause):
        convert(Containerlab, {"one.clab.yml": text})


def test_of_several_topologies_the_user_names_one(convert: Convert) -> None:
    with pytest.raises(InvalidInput, match="one.clab.yml, two.clab.yaml") as caught:
        convert(Containerlab, {**node(""), "two.clab.yaml": ""})
    assert "name the file" in caught.value.remedy
