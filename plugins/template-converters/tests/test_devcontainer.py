"""Dev containers: what maps, what is left out with its line, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multios.drivers.base import DriverContext
from multios.errors import InvalidInput
from multios_template_converters import DevContainer

Convert = Callable[..., Any]

FILE = ".devcontainer/devcontainer.json"


def files(table: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, str]:
    found = {FILE: json.dumps({"image": "debian:12", **table}, indent=1)}
    if metadata is not None:
        found["devcontainer-template.json"] = json.dumps(
            {"id": "greek", "version": "1.3.0", "name": "Greek", **metadata}, indent=1
        )
    return found


def test_comments_and_trailing_commas_are_read_and_the_project_comes_along(convert: Convert) -> None:
    text = """// For editors
    {
        /* the image */
        "image": "debian:12",
        "forwardPorts": [3000, 5000,],
    }"""
    made = convert(
        DevContainer,
        {
            ".devcontainer.json": text,
            "src/main.py": "print(1)\n",
            ".git/config": "[core]\n",
            "README.md": "# It\n",
        },
    )
    plan = made.plan()
    assert (plan.base, plan.working_directory, plan.command) == (
        "debian:12",
        "/workspaces/source",
        ("/bin/bash",),
    )
    assert [port.container for port in plan.ports] == [3000, 5000]
    work = made.folders["source"] / "rootfs/workspaces/source"
    assert sorted(path.name for path in work.iterdir()) == ["README.md", "src"]
    assert (work / "src/main.py").read_text() == "print(1)\n"
    assert made.left_out == []


def test_options_of_a_template_become_ours(convert: Convert) -> None:
    options = {
        "imageVariant": {
            "type": "string",
            "description": "Which Debian",
            "enum": ["12", "13"],
            "default": "13",
        },
        "userName": {"type": "string", "proposals": ["ada", "bob"], "default": "ada"},
        "installZsh": {"type": "boolean", "default": True},
    }
    table = {
        "image": "debian:${templateOption:imageVariant}",
        "containerEnv": {"ZSH": "${templateOption:installZsh}"},
        "postCreateCommand": "echo ${templateOption:userName} > /etc/who",
    }
    made = convert(
        DevContainer,
        files(table, {"options": options, "description": "Letters", "licenseURL": "https://x.test/l"}),
    )
    document = made.document()
    assert (document.name, document.version, document.description) == ("greek", "1.3.0", "Letters")
    variant, user, zsh = document.parameters
    assert (variant.name, variant.choices, variant.default) == ("image_variant", ("12", "13"), "13")
    assert (user.name, user.type) == ("user_name", "text")
    assert "ada, bob" in user.description
    assert (zsh.name, zsh.type, zsh.default) == ("install_zsh", "boolean", "true")
    plan = made.plan(image_variant="12", user_name="a b", install_zsh="no")
    assert plan.base == "debian:12"
    assert plan.environment == {"ZSH": "false"}
    assert plan.steps == ("cd /workspaces/source\necho 'a b' > /etc/who",)
    assert "Licence: https://x.test/l" in made.tree().lesson()


def test_an_option_that_is_not_there_is_refused_with_its_place(convert: Convert) -> None:
    with pytest.raises(InvalidInput, match=r"devcontainer\.json:2: image: .*variant.*no such option"):
        convert(DevContainer, files({"image": "debian:${templateOption:variant}"}))


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        (
            {"type": "string", "enum": ["12"], "default": "13"},
            r"devcontainer-template\.json:6: options.v: .*not a choice",
        ),
        ({"type": "boolean", "default": "perhaps"}, "options.v: .*neither true nor false"),
        ({"type": "string", "default": "a" * 300}, "options.v: .*too long"),
        ({"type": "string", "default": {}}, "options.v.default: must be text"),
        ([], "options.v: must be a table"),
    ],
)
def test_an_option_that_contradicts_itself_is_refused_with_its_place(
    convert: Convert, option: Any, cause: str
) -> None:
    with pytest.raises(InvalidInput, match=cause):
        convert(DevContainer, files({}, {"options": {"v": option}}))


def test_commands_run_in_the_order_of_a_dev_container_each_in_the_workspace(convert: Convert) -> None:
    table = {
        "postCreateCommand": {"web": "npm install", "db": ["make", "a b"]},
        "onCreateCommand": "first",
        "updateContentCommand": ["second", "$HOME"],
        "postStartCommand": "service ssh start",
        "workspaceFolder": "/work",
    }
    plan = convert(DevContainer, files(table)).plan()
    assert plan.steps == (
        "cd /work\nfirst", "cd /work\nsecond '$HOME'", "cd /work\nnpm install", "cd /work\nmake 'a b'"
    )  # fmt: skip
    assert plan.working_directory == "/work"
    (service,) = plan.services
    assert service.prepare == "/bin/sh -c 'cd /work\nservice ssh start'\ntrue"


def test_a_user_owns_the_work_runs_the_commands_and_has_the_shell(convert: Convert) -> None:
    made = convert(DevContainer, files({"remoteUser": "vscode", "postCreateCommand": "echo 'it is'"}))
    plan = made.plan()
    assert plan.command == ("su", "vscode")
    assert plan.steps[0] == "chown -R vscode /workspaces/source"
    assert plan.steps[1] == "su -s /bin/sh vscode -c 'cd /workspaces/source\necho '\"'\"'it is'\"'\"''"
    assert "--user vscode" in made.why(f"{FILE}:3: remoteUser")


def test_ports_variables_limits_and_capabilities_map(convert: Convert) -> None:
    table = {
        "forwardPorts": [3000, "localhost:4000"],
        "portsAttributes": {
            "3000": {"label": "the app", "onAutoForward": "notify"},
            "9229": {"label": "debugger"},
        },
        "containerEnv": {
            "A": "1",
            "HOME_OF": "${localEnv:HOME:/root}",
            "WORK": "${containerWorkspaceFolder}/bin",
        },
        "remoteEnv": {"B": "2"},
        "hostRequirements": {"cpus": 2, "memory": "8gb", "storage": "32gb"},
        "capAdd": ["SYS_PTRACE", "CAP_NET_ADMIN"],
    }
    made = convert(DevContainer, files(table))
    plan = made.plan()
    assert [(port.container, port.description) for port in plan.ports] == [
        (3000, "the app"), (4000, ""), (9229, "debugger")
    ]  # fmt: skip
    assert plan.environment == {"A": "1", "HOME_OF": "/root", "WORK": "/workspaces/source/bin", "B": "2"}
    assert (plan.resources.cpu_limit, plan.resources.memory_limit, plan.resources.disk_limit) == (
        2,
        8 << 30,
        32 << 30,
    )
    assert plan.capabilities == ("SYS_PTRACE", "NET_ADMIN")
    assert made.left_out == []


@pytest.mark.parametrize(
    ("table", "place", "why"),
    [
        ({"privileged": True}, "3: privileged", "cannot ask for everything"),
        ({"runArgs": ["--gpus", "all"]}, "3: runArgs", "docker's options"),
        ({"mounts": ["source=/,target=/host,type=bind"]}, "3: mounts", "-v HOST:PATH"),
        (
            {"features": {"ghcr.io/x/node:1": {}}},
            '4: features."ghcr.io/x/node:1"',
            "a program of its author's",
        ),
        ({"customizations": {"vscode": {}}}, "3: customizations", "for editors"),
        ({"dockerComposeFile": "compose.yml"}, "3: dockerComposeFile", "one machine"),
        ({"build": {"dockerfile": "Dockerfile"}}, "3: build", "no Dockerfile is read"),
        ({"initializeCommand": "rm -rf ~"}, "3: initializeCommand", "on the host"),
        ({"overrideCommand": False}, "3: overrideCommand", "not the image's own command"),
        ({"securityOpt": ["seccomp=unconfined"]}, "3: securityOpt", "the host's choice"),
        ({"capAdd": ["ALL"]}, "4: capAdd[0]", "no capability"),
        ({"hostRequirements": {"gpu": True}}, "4: hostRequirements.gpu", "no template asks"),
        (
            {"remoteEnv": {"PATH": "${containerEnv:PATH}:/x"}},
            "4: remoteEnv.PATH",
            "${containerEnv:PATH} is not known",
        ),
        ({"containerEnv": {"A": "{{b}}"}}, "4: containerEnv.A", "would fill"),
        ({"containerEnv": {"a b": "c"}}, '4: containerEnv."a b"', "variable's name"),
        ({"forwardPorts": ["db:5432"]}, "4: forwardPorts[0]", "no port of this machine"),
        ({"appPort": ["8080:80"]}, "4: appPort[0]", "-p 8080:80"),
        ({"workspaceFolder": "../up"}, "3: workspaceFolder", "no path inside"),
        ({"workspaceFolder": "/."}, "3: workspaceFolder", "no path inside"),
        ({"somethingNew": 1}, "3: somethingNew", "not known here"),
    ],
)
def test_what_has_no_place_is_left_out_with_line_key_and_reason(
    convert: Convert, table: dict[str, Any], place: str, why: str
) -> None:
    made = convert(DevContainer, files(table))
    assert why in made.why(f"{FILE}:{place}")
    assert len(made.left_out) == 1


@pytest.mark.parametrize("key", ["build", "dockerFile", "dockerComposeFile"])
def test_without_an_image_it_is_refused_and_said_what_to_build(convert: Convert, key: str) -> None:
    text = json.dumps({key: {"dockerfile": "Dockerfile"}}, indent=1)
    with pytest.raises(InvalidInput, match=rf"devcontainer\.json:2: {key}: names no image") as caught:
        convert(DevContainer, {FILE: text})
    assert "image build" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", r"devcontainer\.json:1: JSON: a value is missing"),
        ("[]", "JSON: must be a table of keys"),
        ('{"image": "debian:12"', "image: ',' is missing"),
        ('{\n"image": "debian:12",\n"image": "x"}', "3: image: is there twice"),
        ('{"image": 12}', "1: image: must be text"),
        ('{"image": "NOT AN IMAGE"}', "1: image: "),
        ('{"image": "a\\ud800"}', "image: a text has characters"),
        ('{"image": "a\\u0000"}', "image: a text has characters"),
        ('{"image": "debian:12", "remoteUser": "a; rm"}', "remoteUser: .* cannot be a user's name"),
        (
            '{"image": "debian:12", "hostRequirements": {"memory": "much"}}',
            "hostRequirements.memory: .*not a size",
        ),
        ('{"image": "debian:12", "x": ' + "[" * 5000, "deeper than 40"),
        ('{"image": "debian:12", "x": [' + "0," * 30000, "more than 20000 values"),
        ('{"image": "debian:12", "x": ' + "9" * 5000 + "}", "x: a value is missing"),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_line_and_key(
    convert: Convert, text: str, cause: str
) -> None:
    with pytest.raises(InvalidInput, match=cause):
        convert(DevContainer, {FILE: text})


def test_the_file_itself_names_its_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".devcontainer").mkdir()
    (tmp_path / FILE).write_text('{"image": "debian:12"}')
    (tmp_path / "code").write_text("x")
    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path / ".devcontainer")
    driver = DevContainer(DevContainer.Settings(), DriverContext(tmp_path, tmp_path))
    file = driver.find(Path("devcontainer.json"))
    assert file is not None
    (folder,) = driver.convert(file, tmp_path / "target").folders
    assert (folder / f"rootfs/workspaces/{tmp_path.name}/code").is_file()
