"""Kathará labs: a template a machine, its scripts at boot, its folder below rootfs/, and its links as commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from multios.errors import InvalidInput
from multios_template_converters import Kathara

Convert = Callable[..., Any]

LAB = """\
LAB_NAME="Static routing"
LAB_DESCRIPTION='Two hosts and a router'
LAB_VERSION=2.1
LAB_AUTHOR="A. Teacher"

# the hosts
pc1[0]="A"      # to the router
pc1[image]="kathara/quagga"
pc1[mem]="128m"
pc1[cpus]="0.5"
pc1[port]="8080:80/tcp"
pc1[env]="ROLE=host"
pc1[exec]="touch /done"
pc2[0]=B/02:00:00:00:00:0A
r1[1]='B'
r1[0]='A'
"""


def test_each_machine_becomes_a_template_named_after_lab_and_machine(convert: Convert) -> None:
    made = convert(Kathara, {"lab.conf": LAB})
    assert sorted(made.folders) == ["static-routing-pc1", "static-routing-pc2", "static-routing-r1"]
    plan = made.plan("static-routing-pc1")
    assert (plan.base, plan.version, plan.description) == ("kathara/quagga", "2.1", "Two hosts and a router")
    assert (plan.resources.memory_limit, plan.resources.cpu_limit) == (128 << 20, 0.5)
    assert [port.container for port in plan.ports] == [80]
    assert plan.environment == {"ROLE": "host"}
    assert plan.capabilities == ("NET_ADMIN", "NET_RAW")
    assert made.plan("static-routing-r1").base == "kathara/base"
    lesson = made.tree("static-routing-pc1").lesson()
    assert lesson.startswith("# pc1 of Static routing\n")
    assert "Author: A. Teacher" in lesson


def test_startup_scripts_run_at_boot_in_katharas_order_and_a_machines_folder_is_its_rootfs(
    convert: Convert,
) -> None:
    files = {
        "lab.conf": 'pc1[0]="A"\npc1[exec]="echo last; date"\n',
        "shared.startup": "#!/bin/sh\ndate\n",
        "pc1.startup": "ip address add 10.0.0.1/24 dev eth0\n",
        "pc1/etc/network/hosts": "10.0.0.1 pc1\n",
    }
    made = convert(Kathara, files)
    (folder,) = made.folders.values()
    (service,) = made.plan().services
    assert service.prepare.splitlines() == [
        "/usr/local/lib/kathara/shared.startup",
        '"$(command -v bash || command -v sh)" /usr/local/lib/kathara/pc1.startup',
        "/bin/sh -c 'echo last; date'",
        "true",
    ]
    root = folder / "rootfs"
    assert (root / "etc/network/hosts").read_text() == "10.0.0.1 pc1\n"
    assert os.access(root / "usr/local/lib/kathara/shared.startup", os.X_OK)
    assert (root / "usr/local/lib/kathara/pc1.startup").read_text() == files["pc1.startup"]


def test_links_are_left_out_and_the_commands_that_make_them_are_given(convert: Convert) -> None:
    made = convert(Kathara, {"lab.conf": LAB})
    assert "the commands below make the network static-routing-A" in made.why("lab.conf:7: pc1[0]")
    assert made.commands == (
        "multios-container network create --internal --network-opt source_guard=false static-routing-A",
        "multios-container network create --internal --network-opt source_guard=false static-routing-B",
        "multios-container create --template static-routing-pc1 --network static-routing-A pc1",
        "multios-container start pc1",
        "multios-container create --template static-routing-pc2 --network static-routing-B"
        " --mac-address 02:00:00:00:00:0a pc2",
        "multios-container start pc2",
        "multios-container create --template static-routing-r1 --network static-routing-A r1",
        "multios-container network connect static-routing-B r1",
        "multios-container start r1",
    )


def test_an_interface_that_gets_another_number_is_said_to(convert: Convert) -> None:
    made = convert(Kathara, {"lab.conf": "pc1[0]=A\npc1[2]=B\n"})
    assert made.why("lab.conf:2: pc1[2]").endswith("where its interface is eth1")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("bridged", "when it is created"),
        ("ipv6", "network create --ipv6"),
        ("sysctl", "kernel's parameters"),
        ("privileged", "cannot ask for everything"),
        ("shell", "exec -it"),
        ("num_terms", "exec -it"),
        ("ulimit", "--ulimit"),
        ("volume", "-v HOST:PATH"),
        ("strange", "not known here"),
    ],
)
def test_settings_without_a_place_are_left_out_with_their_line(
    convert: Convert, setting: str, why: str
) -> None:
    made = convert(Kathara, {"lab.conf": f'\npc1[{setting}]="something"\n'})
    assert why in made.why(f"lab.conf:2: pc1[{setting}]")
    assert len(made.left_out) == 1


def test_a_switch_that_is_off_leaves_nothing_out(convert: Convert) -> None:
    assert convert(Kathara, {"lab.conf": 'pc1[bridged]="false"\npc1[ipv6]="False"\n'}).left_out == []


def test_the_hosts_side_of_a_port_is_left_out(convert: Convert) -> None:
    assert "-p 8080:80/tcp" in convert(Kathara, {"lab.conf": LAB}).why("lab.conf:11: pc1[port]")


def test_files_of_the_lab_without_a_place_are_named(convert: Convert) -> None:
    files = {"pc1.shutdown": "date\n", "pc9.startup": "date\n", "lab.dep": "r1: pc1\n", "shared/a": "b"}
    made = convert(Kathara, {"lab.conf": "pc1[0]=A\n", **files})
    assert made.why("pc1.shutdown:0: script") == "nothing runs when a machine is stopped"
    assert made.why("pc9.startup:0: script") == "lab.conf has no machine pc9"
    assert "starts first" in made.why("lab.dep:0: file")
    assert "-v FOLDER:/shared" in made.why("shared:0: folder")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "lab.conf:1: lab: names no machine"),
        ('LAB_NAME="x"\n', "names no machine"),
        ("pc1[0]=A\nnonsense\n", "lab.conf:2: nonsense: is not understood"),
        ('pc1[0]="A\n', "lab.conf:1: .*its value is not understood"),
        ("pc1[0]=A B\n", "its value is not understood"),
        ("pc1[0]=A\npc1[0]=B\n", r"lab.conf:2: pc1\[0\]: pc1 has eth0 twice"),
        ("pc1[0]=../A\n", r"pc1\[0\]: '../A' is no collision domain"),
        ("pc1[1000]=A\n", "no collision domain"),
        ("pc1[image]=NOT/AN/IMAGE\n", r"lab.conf:1: pc1\[image\]: image"),
        ('pc1[image]="{{x}}"\n', r"pc1\[image\]"),
        ("pc1[mem]=much\n", r"pc1\[mem\]: size: 'much' is not a size"),
        ("../pc1[0]=A\n", "is not understood"),
        ("".join(f"pc{number}[0]=A\n" for number in range(101)), "lab.conf:101: .*more than 100 machines"),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_line_and_key(
    convert: Convert, text: str, cause: str
) -> None:
    with pytest.raises(InvalidInput, match=cause):
        convert(Kathara, {"lab.conf": text})
