"""Templates of other systems by the real client: imported, built, run, and joined by the commands that are printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from other_users import User, open_to_group
from private_engine import PrivateEngine, eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine of these tests' own, open to other users: what a user imports is seen by listing."""
    directory = tmp_path_factory.mktemp("own")
    engine = PrivateEngine(directory, {"HOME": str(directory)})
    engine.start()
    engine.import_small_image()
    open_to_group(engine)
    yield engine
    engine.end()


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def carry_out(engine: PrivateEngine, told: str) -> list[str]:
    """Run the commands that an import told on stderr; the machines that they create."""
    lines = [shlex.split(line) for line in told.splitlines() if line.startswith("  multios-container ")]
    assert lines
    for words in lines:
        engine.run(*words[1:])
    return [words[-1] for words in lines if words[1] == "create"]


DEV_CONTAINER = {
    ".devcontainer/devcontainer.json": """{
    // comments and trailing commas are fine
    "image": "small:${templateOption:imageVariant}",
    "containerEnv": {"COURSE": "${templateOption:course}"},
    "remoteUser": "student",
    "forwardPorts": [8000],
    "features": {"ghcr.io/devcontainers/features/node:1": {}},
    "postCreateCommand": "id -un > made-by && cat main.txt >> made-by",
}
""",
    "devcontainer-template.json": json.dumps(
        {
            "id": "greek",
            "version": "1.4.0",
            "name": "Greek",
            "options": {
                "imageVariant": {"type": "string", "enum": ["1", "2"], "default": "1"},
                "course": {"type": "string", "proposals": ["alpha"], "default": "alpha"},
            },
        }
    ),
    "main.txt": "the project\n",
}


def test_a_dev_container_template_is_imported_built_and_run(own: PrivateEngine, tmp_path: Path) -> None:
    folder = write(tmp_path / "greek", DEV_CONTAINER)
    done = own.run("template", "import", str(folder))
    assert done.stdout == "greek\n"
    first, second = done.stderr.splitlines()
    assert first.startswith("left out: .devcontainer/devcontainer.json:5: remoteUser: ")
    assert second.startswith("left out: .devcontainer/devcontainer.json:7: features.")
    assert own.out("template", "test", "greek").endswith("1 of 1 checks hold")
    words = ("--template-option", "course=beta gamma", "--template", "greek", "greek-1")
    own.run("create", *words)
    try:
        own.run("start", "greek-1")
        assert own.out("exec", "greek-1", "cat", "made-by") == "student\nthe project"
        assert own.out("exec", "greek-1", "sh", "-c", "echo $COURSE; pwd") == "beta gamma\n/workspaces/greek"
        assert own.out("exec", "greek-1", "stat", "-c", "%U", "main.txt") == "student"
    finally:
        own.run("delete", "--force", "greek-1")
        own.run("template", "rm", "greek")


def test_a_kathara_lab_becomes_machines_that_reach_each_other(own: PrivateEngine, tmp_path: Path) -> None:
    lab = {
        "lab.conf": 'LAB_NAME="pair"\n'
        'pc1[image]="small:1"\npc1[0]="A"\npc2[image]="small:1"\npc2[0]="A"\npc2[bridged]="true"\n',
        "shared.startup": "#!/bin/sh\nhostname > /shared-was-here\n",
        "pc1.startup": "ip address add 10.9.0.1/24 dev eth0\n",
        "pc2.startup": "ip address add 10.9.0.2/24 dev eth0\n",
        "pc1/etc/greeting": "from the lab\n",
    }
    done = own.run("template", "import", str(write(tmp_path / "lab", lab)))
    assert done.stdout.split() == ["pair-pc1", "pair-pc2"]
    assert "left out: lab.conf:3: pc1[0]: a template holds no links" in done.stderr
    assert "left out: lab.conf:6: pc2[bridged]: " in done.stderr
    machines = carry_out(own, done.stderr)
    try:
        assert machines == ["pc1", "pc2"]
        assert own.out("exec", "pc1", "cat", "/etc/greeting") == "from the lab"
        assert own.out("exec", "pc2", "cat", "/etc/greeting") == "hello"
        ping = ("exec", "pc1", "ping", "-c", "1", "-W", "1", "10.9.0.2")
        eventually(lambda: own.run(*ping, status=None).returncode == 0, "the machines reach each other", 20)
        own.run("exec", "pc1", "test", "-s", "/shared-was-here")
    finally:
        own.run("delete", "--force", *machines)
        own.run("network", "rm", "pair-A")
        own.run("template", "rm", "pair-pc1", "pair-pc2")


def test_a_containerlab_topology_becomes_machines_with_its_interfaces(
    own: PrivateEngine, tmp_path: Path
) -> None:
    topology = """\
name: duo
topology:
  kinds:
    linux: {image: "small:1", cmd: sleep 1000}
  nodes:
    n1: {kind: linux, exec: [ip address add 10.8.0.1/24 dev eth1], binds: ["motd:/etc/motd:ro"]}
    n2: {kind: linux, exec: [ip address add 10.8.0.2/24 dev eth1]}
    router: {kind: nokia_srlinux, image: srlinux}
  links:
    - endpoints: ["n1:eth1", "n2:eth1"]
    - endpoints: ["n2:eth2", "router:e1-1"]
"""
    source = write(tmp_path / "duo", {"duo.clab.yml": topology, "motd": "bound\n"}) / "duo.clab.yml"
    done = own.run("template", "import", str(source))
    assert done.stdout.split() == ["duo-n1", "duo-n2"]
    assert "left out: duo.clab.yml:8: topology.nodes.router: " in done.stderr
    assert "left out: duo.clab.yml:11: topology.links[1]: " in done.stderr
    machines = carry_out(own, done.stderr)
    try:
        assert own.out("exec", "n1", "cat", "/etc/motd") == "bound"
        ping = ("exec", "n1", "ping", "-c", "1", "-W", "1", "10.8.0.2")
        eventually(lambda: own.run(*ping, status=None).returncode == 0, "the nodes reach each other", 20)
    finally:
        own.run("delete", "--force", *machines)
        own.run("network", "rm", "duo-link1")
        own.run("template", "rm", "duo-n1", "duo-n2")


def test_the_guide_shows_what_an_import_says(own: PrivateEngine, tmp_path: Path) -> None:
    page = (
        (ROOT / "docs/how-to/templates.md")
        .read_text()
        .partition("## Bring what others wrote")[2]
        .partition("\n## ")[0]
    )
    (lab,) = re.findall(r"^```ini\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folder = write(tmp_path / "my-lab", {"lab.conf": lab})
    for line, expected in shown:
        words = [str(folder) if word == "./my-lab" else word for word in shlex.split(line)[1:]]
        done = own.run(*[str(tmp_path / "converted") if word == "./converted" else word for word in words])
        assert not expected or done.stdout + done.stderr == expected
    assert (tmp_path / "converted/pair-pc1/template.toml").is_file()
    own.run("template", "rm", "pair-pc1", "pair-pc2")


def test_to_writes_folders_that_are_ours_and_imports_nothing(own: PrivateEngine, tmp_path: Path) -> None:
    source = write(tmp_path / "greek", DEV_CONTAINER)
    target = tmp_path / "converted"
    done = own.run("template", "import", "--to", str(target), str(source))
    assert done.stdout == f"{target}/greek\n"
    assert "greek 1.4.0 is valid" in own.out("template", "validate", str(target / "greek"))
    assert "greek" not in own.out("template", "list")
    again = own.run("template", "import", "--to", str(target), str(source), status=125)
    assert f"{target}/greek is there already" in again.stderr
    ours = own.run("template", "import", "--to", str(target), str(target / "greek"), status=125)
    assert "nothing to convert" in ours.stderr


def test_what_is_of_no_format_or_of_two_or_wrong_is_said_in_two_lines(
    own: PrivateEngine, tmp_path: Path
) -> None:
    nothing = write(tmp_path / "nothing", {"a": "b"})
    both = write(tmp_path / "both", {"lab.conf": "pc1[0]=A\n", ".devcontainer.json": '{"image": "small:1"}'})
    wrong = write(tmp_path / "wrong", {"lab.conf": "pc1[0]=A\npc1[mem]=much\n"})
    for source, expected in (
        (
            nothing,
            "no template.toml in it\na template is a folder with one; other formats that are read: containerlab, devcontainer, kathara",
        ),
        (both, "is of several formats: devcontainer ("),
        (wrong, "lab.conf:2: pc1[mem]: size: 'much' is not a size"),
    ):
        done = own.run("template", "import", str(source), status=125)
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) <= 2
        assert "Traceback" not in done.stderr
    unknown = own.run("template", "import", str(nothing / "a"), status=125).stderr
    assert "the archive is cut short" in unknown
    assert own.run("template", "import", str(both / "lab.conf")).stdout == "both-pc1\n"
    own.run("template", "rm", "both-pc1")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user reaches: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="multios-test-public-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def test_a_source_is_read_with_the_rights_of_who_brings_it(own: PrivateEngine, public: Path) -> None:
    alice = User(own, "games")
    lab = write(public / "theirs", {"lab.conf": "pc1[image]=small:1\n", "pc1.startup": "date\n"})
    (lab / "pc1.startup").chmod(0o600)
    assert "pc1.startup: Permission denied" in alice.run("template", "import", str(lab), status=125).stderr
    (lab / "pc1.startup").chmod(0o644)
    alice.run("template", "import", str(lab))
    assert "theirs-pc1" in alice.out("template", "list")
    assert "theirs-pc1" not in own.out("template", "list")
    # What the lab asks for is the user's word, and counts no more than that.
    assert "NET_ADMIN" in alice.run("create", "--template", "theirs-pc1", "p", status=125).stderr
    alice.run("template", "rm", "theirs-pc1")
