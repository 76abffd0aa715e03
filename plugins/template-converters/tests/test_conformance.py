"""The conformance kit on each converter, with a source that has something of everything."""

from __future__ import annotations

from multios.testing.template_converter import TemplateConverterDriverSuite
from multios_template_converters import Containerlab, DevContainer, Kathara


class TestDevContainer(TemplateConverterDriverSuite):
    driver_type = DevContainer
    example = {
        ".devcontainer/devcontainer.json": """{
            // what it is built on
            "image": "debian:${templateOption:imageVariant}",
            "forwardPorts": [3000, "db:5432"],
            "remoteUser": "student",
            "features": {"ghcr.io/devcontainers/features/node:1": {}},
            "postCreateCommand": "make all",
        }""",
        "devcontainer-template.json": """{
            "id": "greek", "version": "1.2.0", "name": "Greek",
            "options": {"imageVariant": {"type": "string", "enum": ["12", "13"], "default": "12"}}
        }""",
        "main.c": "int main(void) { return 0; }\n",
    }


class TestKathara(TemplateConverterDriverSuite):
    driver_type = Kathara
    example = {
        "lab.conf": 'LAB_NAME="two"\npc1[0]="A"\npc1[image]="debian:12"\npc1[bridged]="true"\nr1[0]=A\nr1[mem]="64m"\n',
        "pc1.startup": "ip address add 10.0.0.1/24 dev eth0\n",
        "shared.startup": "#!/bin/sh\ndate\n",
        "pc1/etc/motd": "hello\n",
        "r1.shutdown": "date\n",
    }


class TestContainerlab(TemplateConverterDriverSuite):
    driver_type = Containerlab
    example = {
        "two.clab.yml": """
name: two
topology:
  defaults: {kind: linux, image: "alpine:3"}
  nodes:
    n1: {exec: [ip address add 10.0.0.1/24 dev eth1], binds: ["motd:/etc/motd"]}
    n2: {cmd: sleep 1000}
    srl: {kind: nokia_srlinux}
  links:
    - endpoints: ["n1:eth1", "n2:eth1"]
    - endpoints: ["n1:eth2", "srl:e1-1"]
""",
        "motd": "hello\n",
    }
