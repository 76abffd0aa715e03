"""Which files make up an app, and how they are merged, extended and included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from compose_box import at, checked, project, write

from multios.compose.merge import merge
from multios.compose.project import Project, Request, read
from multios.compose.tree import plain, settled
from multios.compose.yaml_text import read as read_yaml
from multios.errors import InvalidInput, NotFound

WEB = "services: {web: {image: nginx}}"


def images(made: Project) -> dict[str, str]:
    return {name: item["container"]["image"] for name, item in made.document.get("services", {}).items()}


# --- where files are found --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"])
def test_the_default_names_are_found_here_and_above(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: WEB, "a/b/.keep": ""})
    assert project(tmp_path).files == [name]
    below = project(tmp_path / "a/b")
    assert below.files == [str(tmp_path / name)] and below.directory == str(tmp_path)


def test_the_first_default_name_goes_before_the_others(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": WEB, "docker-compose.yml": "services: {old: {image: old}}"})
    assert images(project(tmp_path)) == {"web": "nginx"}


@pytest.mark.parametrize(("name", "override"), [("compose.yaml", "compose.override.yaml"), ("compose.yml", "compose.override.yml"),
                                                ("docker-compose.yml", "docker-compose.override.yml")])  # fmt: skip
def test_an_override_file_is_laid_over_a_default_one_only(tmp_path: Path, name: str, override: str) -> None:
    write(tmp_path, {name: WEB, override: "services: {web: {image: other}}"})
    assert images(project(tmp_path)) == {"web": "other"}
    assert images(read(Request([name], {}, str(tmp_path)))) == {"web": "nginx"}


def test_without_a_file_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        project(tmp_path)
    assert caught.value.cause == f"there is no compose.yaml in {tmp_path}, nor in a directory above it"


def test_a_current_directory_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(NotFound, match="the current directory is not there any more"):
        Request()


def test_several_files_are_merged_in_their_order_and_paths_begin_at_the_first(tmp_path: Path) -> None:
    write(tmp_path, {"one/a.yaml": "services: {web: {image: a, volumes: ['./x:/x']}}",
                     "two/b.yaml": "services: {web: {image: b, volumes: ['./y:/y']}}"})  # fmt: skip
    made = read(Request(["one/a.yaml", "two/b.yaml"], {}, str(tmp_path)))
    assert images(made) == {"web": "b"}
    mounts = made.document["services"]["web"]["container"]["volumes"]
    assert [item["host"] for item in mounts] == [str(tmp_path / "one/x"), str(tmp_path / "one/y")]
    assert made.name == "one"


def test_compose_file_names_files_in_the_environment_or_in_env(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "services: {web: {image: a}}", "b.yaml": "services: {web: {image: b}}"})
    assert images(project(tmp_path, environment={"COMPOSE_FILE": "a.yaml:b.yaml"})) == {"web": "b"}
    assert images(
        project(tmp_path, environment={"COMPOSE_FILE": "b.yaml,a.yaml", "COMPOSE_PATH_SEPARATOR": ","})
    ) == {"web": "a"}
    write(tmp_path, {".env": "COMPOSE_FILE=b.yaml\n"})
    assert images(project(tmp_path)) == {"web": "b"}


def test_a_project_directory_is_where_paths_begin(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "deep/a.yaml": "services: {web: {image: i, volumes: ['./x:/x']}}",
            ".env": "COMPOSE_PROJECT_NAME=here",
        },
    )
    made = read(Request(["deep/a.yaml"], {}, str(tmp_path), project_directory="."))
    assert at(made.document, "services/web/container/volumes/0/host") == str(tmp_path / "x")
    assert made.name == "here"


def test_standard_input_is_a_file_too(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, WEB.encode())
    os.close(write_end)
    saved = os.dup(0)
    os.dup2(read_end, 0)
    try:
        assert images(read(Request(["-"], {}, str(tmp_path)))) == {"web": "nginx"}
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(read_end)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "compose.yaml: it is empty"), (b"# nothing\n---\n", "compose.yaml: it is empty"), (b"- a", "compose.yaml:1: it is not a Compose file"),
     (b"a: \xff", "compose.yaml is not UTF-8, at byte 3"), (b"#" * (2 << 20), "compose.yaml has more than 1048576 bytes")],
)  # fmt: skip
def test_what_is_no_compose_file_is_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "compose.yaml").write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path)
    assert caught.value.cause.startswith(cause)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="^absent.yaml: No such file or directory$"):
        read(Request(["absent.yaml"], {}, str(tmp_path)))
    with pytest.raises(NotFound, match="Is a directory"):
        read(Request(["."], {}, str(tmp_path)))


def test_a_service_beside_services_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, "web:\n  image: nginx\n")
    assert caught.value.cause == "compose.yaml:1: web: there is no such key"
    assert caught.value.remedy == "put it below services:"


# --- names and variables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "name"),
    [("My App", "myapp"), ("a.b_c-d", "ab_c-d"), ("_x", "x"), ("Ünïx", "nx"), ("A" * 80, "a" * 63)],
)
def test_an_app_is_called_for_its_directory(tmp_path: Path, directory: str, name: str) -> None:
    (tmp_path / directory).mkdir()
    assert project(tmp_path / directory, WEB, project_name="").name == name


def test_a_directory_without_letters_gives_no_name(tmp_path: Path) -> None:
    (tmp_path / "日本").mkdir()
    with pytest.raises(InvalidInput, match="no name can be made from the directory"):
        project(tmp_path / "日本", WEB, project_name="")


def test_names_come_from_the_command_line_the_environment_the_file_and_the_directory(tmp_path: Path) -> None:
    text = f"name: ${{PART:-file}}-name\n{WEB}"
    named = {"environment": {"COMPOSE_PROJECT_NAME": "variable"}}
    assert project(tmp_path, text, project_name="given", **named).name == "given"
    assert project(tmp_path, text, project_name="", **named).name == "variable"
    assert project(tmp_path, text, project_name="").name == "file-name"
    assert project(tmp_path, text, project_name="", environment={"PART": "x"}).name == "x-name"


def test_the_name_is_a_variable_of_the_file(tmp_path: Path) -> None:
    assert images(
        project(tmp_path, "name: shop\nservices: {web: {image: '$COMPOSE_PROJECT_NAME:1'}}", project_name="")
    ) == {"web": "shop:1"}


@pytest.mark.parametrize("name", ["Shop", "-x", "a b", "x" * 64, "é"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name of an app"):
        project(tmp_path, WEB, project_name=name)
    with pytest.raises(InvalidInput, match=r"^compose\.yaml:1: name: .* is no name of an app"):
        project(tmp_path, f"name: '{name}'\n{WEB}", project_name="")


def test_the_environment_goes_before_env_files_and_later_ones_before_earlier(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": "services: {web: {image: '$A-$B-$C'}}", ".env": "A=env\nB=env\nC=env",
                     "one.env": "A=1\nB=1\nC=1", "two.env": "B=2\nC=${B}2"})  # fmt: skip
    assert images(project(tmp_path, environment={"A": "out"})) == {"web": "out-env-env"}
    given = {"env_files": ("one.env", "two.env"), "environment": {"A": "out"}}
    assert images(project(tmp_path, **given)) == {"web": "out-2-22"}
    assert images(project(tmp_path, environment={"COMPOSE_ENV_FILES": "one.env,two.env"})) == {
        "web": "1-2-22"
    }
    with pytest.raises(NotFound, match="absent.env"):
        project(tmp_path, env_files=("absent.env",))


def test_a_missing_variable_is_warned_of_with_its_place(tmp_path: Path) -> None:
    made = project(tmp_path, "services:\n  web:\n    image: nginx:$TAG\n    command: [echo, $TAG, $$TAG]\n")
    assert made.warnings == [
        "compose.yaml:3: services.web.image: variable TAG is not set: nothing stands in its place",
        "compose.yaml:4: services.web.command[1]: variable TAG is not set: nothing stands in its place",
    ]
    assert at(made.document, "services/web/container/command") == ["echo", "", "$TAG"]


def test_a_variable_that_cannot_be_put_in_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, "services:\n  web:\n    image: nginx:${TAG:?which one}\n")
    assert caught.value.cause == "compose.yaml:3: services.web.image: variable TAG is required: which one"
    assert caught.value.remedy == "set TAG"


def test_values_from_variables_are_what_their_key_wants(tmp_path: Path) -> None:
    text = "services: {web: {image: i, tty: '$T', scale: '$N', cpus: '$C', ports: ['$P:80'], init: yes}}"
    made = project(tmp_path, text, environment={"T": "true", "N": "2", "C": "0.5", "P": "8080"})
    assert made.document["services"]["web"]["replicas"] == 2
    container = made.document["services"]["web"]["container"]
    assert (
        container["terminal"] is True
        and container["init"] is True
        and container["resources"] == {"cpu_limit": 0.5}
    )
    assert container["networking"]["ports"] == [{"container": 80, "host": 8080}]


# --- profiles -----------------------------------------------------------------------------------------------------

PROFILES = "services: {web: {image: w}, debug: {image: d, profiles: [debug, all]}, test: {image: t, profiles: [test]}}"


@pytest.mark.parametrize(
    ("asked", "enabled"),
    [({}, {"web"}), ({"profiles": ["debug"]}, {"web", "debug"}), ({"profiles": ["test", "all"]}, {"web", "debug", "test"}),
     ({"profiles": ["*"]}, {"web", "debug", "test"}), ({"environment": {"COMPOSE_PROFILES": "test,x"}}, {"web", "test"}),
     ({"targets": ["debug"]}, {"web", "debug"}), ({"profiles": ["test"], "environment": {"COMPOSE_PROFILES": "debug"}}, {"web", "test"})],
)  # fmt: skip
def test_profiles_enable_services(tmp_path: Path, asked: dict[str, Any], enabled: set[str]) -> None:
    made = project(tmp_path, PROFILES, **asked)
    assert set(made.document["services"]) == enabled == set(made.config["services"])
    assert set(made.disabled) == {"web", "debug", "test"} - enabled


def test_a_service_that_is_not_enabled_cannot_be_depended_on_unless_it_need_not_be_there(
    tmp_path: Path,
) -> None:
    text = "services: {web: {image: w, depends_on: DEPENDS}, db: {image: d, profiles: [data]}}"
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, text.replace("DEPENDS", "[db]"))
    assert caught.value.cause == "compose.yaml:1: services.web.depends_on[0]: service 'db' is not enabled"
    assert caught.value.remedy == "enable one of its profiles: --profile data"
    made = project(tmp_path, text.replace("DEPENDS", "{db: {required: false, condition: service_healthy}}"))
    assert "depends_on" not in made.document["services"]["web"]
    checked(made)


def test_a_disabled_service_may_have_what_is_not_supported_but_no_unknown_key(tmp_path: Path) -> None:
    project(
        tmp_path,
        "services: {web: {image: w}, x: {profiles: [p], image: i, env_file: absent, runtime: x}}",
    )
    with pytest.raises(InvalidInput, match="services.x.imgae: there is no key"):
        project(tmp_path, "services: {web: {image: w}, x: {profiles: [p], imgae: i}}")


def test_a_target_that_is_no_service_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, PROFILES, targets=["debgu"])
    assert caught.value.remedy == "did you mean 'debug'?"


# --- merging ------------------------------------------------------------------------------------------------------


def merged(base: str, over: str) -> Any:
    """Two services ``web`` laid over each other."""
    trees = [read_yaml(f"services:\n  web:\n    {text}", "f")[0] for text in (base, over)]
    return plain(settled(merge(*trees)))["services"]["web"]


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ("image: a", "tty: true", {"image": "a", "tty": True}),
        ("image: a", "image: b", {"image": "b"}),
        ("image: a", "image:", {"image": "a"}),
        ("command: [a, b]", "command: [c]", {"command": ["c"]}),
        ("command: a b", "command: [c]", {"command": ["c"]}),
        ("entrypoint: [a]", "entrypoint: b", {"entrypoint": "b"}),
        ("healthcheck: {test: [CMD, a], retries: 3}", "healthcheck: {test: b}", {"healthcheck": {"test": "b", "retries": 3}}),
        ("environment: {A: 1, B: 2}", "environment: {B: 3, C: 4}", {"environment": {"A": 1, "B": 3, "C": 4}}),
        ("environment: [A=1, B=2, D]", "environment: {B: 3}", {"environment": {"A": "1", "B": 3, "D": None}}),
        ("environment: {A: 1}", "environment: [A=2=3, B]", {"environment": {"A": "2=3", "B": None}}),
        ("environment: {A: 1}", "environment: {A: }", {"environment": {"A": None}}),
        ("labels: [a=1]", "labels: [a=2, b=3]", {"labels": {"a": "2", "b": "3"}}),
        ("extra_hosts: ['a:1.1.1.1']", "extra_hosts: {b: 2.2.2.2}", {"extra_hosts": {"a": "1.1.1.1", "b": "2.2.2.2"}}),
        ("dns: 1.1.1.1", "dns: [2.2.2.2, 1.1.1.1]", {"dns": ["1.1.1.1", "2.2.2.2"]}),
        ("env_file: a", "env_file: [b, {path: c}]", {"env_file": ["a", "b", {"path": "c"}]}),
        ("cap_add: [A, B]", "cap_add: [B, C]", {"cap_add": ["A", "B", "C"]}),
        ("expose: [80]", "expose: ['80', 81]", {"expose": [80, "80", 81]}),
        ("ports: ['80:80', '81:81']", "ports: ['0.0.0.0:80:80/tcp', '82:82']", {"ports": ["0.0.0.0:80:80/tcp", "81:81", "82:82"]}),
        ("ports: ['80:80']", "ports: [{target: 80, published: 80}, {target: 80, published: 81}]",
            {"ports": [{"target": 80, "published": 80}, {"target": 80, "published": 81}]}),
        ("volumes: ['a:/x', 'b:/y:ro']", "volumes: [{type: bind, source: /s, target: /y/}, '/z']",
            {"volumes": ["a:/x", {"type": "bind", "source": "/s", "target": "/y/"}, "/z"]}),
        ("secrets: [a, b]", "secrets: [{source: c, target: b}]", {"secrets": ["a", {"source": "c", "target": "b"}]}),
        ("configs: [{source: a, target: /x/conf}]", "configs: [{source: b, target: /y/conf}]",
            {"configs": [{"source": "a", "target": "/x/conf"}, {"source": "b", "target": "/y/conf"}]}),
        ("devices: ['/dev/a']", "devices: ['/dev/b:/dev/a:r']", {"devices": ["/dev/b:/dev/a:r"]}),
        ("networks: [a]", "networks: {b: {priority: 1}}", {"networks": {"a": None, "b": {"priority": 1}}}),
        ("networks: {a: {aliases: [x]}}", "networks: {a: {aliases: [y]}}", {"networks": {"a": {"aliases": ["x", "y"]}}}),
        ("depends_on: [a]", "depends_on: {b: {condition: service_healthy}}",
            {"depends_on": {"a": {"condition": "service_started"}, "b": {"condition": "service_healthy"}}}),
        ("build: ./a", "build: {target: t}", {"build": {"context": "./a", "target": "t"}}),
        ("build: {context: a, args: [X=1]}", "build: {args: {Y: 2}}", {"build": {"context": "a", "args": {"X": "1", "Y": 2}}}),
        ("logging: {driver: a, options: {x: 1}}", "logging: {options: {y: 2}}",
            {"logging": {"driver": "a", "options": {"x": 1, "y": 2}}}),
        ("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", {"logging": {"driver": "b"}}),
        ("ulimits: {nofile: 1, core: 0}", "ulimits: {nofile: {soft: 1, hard: 2}}",
            {"ulimits": {"nofile": {"soft": 1, "hard": 2}, "core": 0}}),
        ("deploy: {resources: {limits: {cpus: 1}}}", "deploy: {resources: {limits: {pids: 2}}}",
            {"deploy": {"resources": {"limits": {"cpus": 1, "pids": 2}}}}),
        ("ports: ['80:80']", "ports: !override ['81:81']", {"ports": ["81:81"]}),
        ("ports: ['80:80']", "ports: !reset []", {}),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", {"environment": {"B": 2}}),
        ("environment: !override {A: 1}", "environment: {B: 2}", {"environment": {"A": 1, "B": 2}}),
        ("x-mine: {a: [1]}", "x-mine: {a: [2]}", {"x-mine": {"a": [1, 2]}}),
    ],
)  # fmt: skip
def test_keys_are_merged_by_their_rules(base: str, over: str, result: Any) -> None:
    assert merged(base, over) == result


def test_what_does_not_fit_together_is_replaced_and_judged_later() -> None:
    assert merged("environment: {A: 1}", "environment: 5") == {"environment": 5}
    assert merged("ports: 5", "ports: ['1']") == {"ports": ["1"]}


def test_several_documents_of_one_file_are_merged(tmp_path: Path) -> None:
    assert images(project(tmp_path, f"{WEB}\n---\nservices: {{web: {{image: b}}, c: {{image: c}}}}")) == {
        "web": "b",
        "c": "c",
    }


def test_errors_after_a_merge_name_the_file_that_said_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.yaml": "services:\n  web:\n    image: a\n", "b.yaml": "services:\n  web:\n\n    tty: perhaps\n"},
    )
    with pytest.raises(
        InvalidInput, match="^b.yaml:4: services.web.tty: expected true or false, got 'perhaps'$"
    ):
        read(Request(["a.yaml", "b.yaml"], {}, str(tmp_path)))


# --- extends --------------------------------------------------------------------------------------------------------


def test_extends_follows_chains_over_files_with_paths_of_their_own(tmp_path: Path) -> None:
    files = {"sub/mid.yaml": "services: {mid: {extends: {service: base, file: deep/base.yaml}, env_file: ./mid.env, command: [mid]}}",
             "sub/deep/base.yaml": "services: {base: {extends: root, build: ./here, environment: [A=base]}, root: {tty: true}}",
             "sub/mid.env": "B=mid"}  # fmt: skip
    made = project(
        tmp_path,
        "services: {web: {extends: {service: mid, file: sub/mid.yaml}, environment: {A: web}}}",
        files,
    )
    container = made.document["services"]["web"]["container"]
    assert (
        container["environment"] == {"A": "web", "B": "mid"}
        and container["terminal"]
        and container["command"] == ["mid"]
    )
    assert made.builds["web"]["context"] == str(tmp_path / "sub/deep/here")
    assert made.files == ["compose.yaml", "sub/mid.yaml", "sub/deep/base.yaml"]


@pytest.mark.parametrize(
    ("services", "cause"),
    [
        ("{a: {extends: a}}", "services.a.extends: services extend each other in a circle"),
        ("{a: {extends: b}, b: {extends: c}, c: {extends: a}}", "services extend each other in a circle"),
        ("{a: {extends: nothing}}", "services.a.extends: there is no service 'nothing' in compose.yaml"),
        ("{a: {extends: {file: x.yaml}}}", "services.a.extends: service is missing"),
        ("{a: {extends: {service: a, file: absent.yaml}}}", "services.a.extends: absent.yaml: No such file"),
        (
            "{a: {extends: {service: a, fiel: absent.yaml}}}",
            "services.a.extends.fiel: there is no key 'fiel'",
        ),
        ("{a: {extends: [a]}}", "services.a.extends: expected a mapping"),
    ],
)
def test_what_cannot_be_extended_is_an_error(tmp_path: Path, services: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, f"services: {services}")
    assert caught.value.cause.startswith("compose.yaml:1: ") and cause in caught.value.cause.replace(
        f"{tmp_path}/", ""
    )


def test_services_that_override_all_others_are_extended_too(tmp_path: Path) -> None:
    write(
        tmp_path, {"a.yaml": WEB, "b.yaml": "services: !override {b: {image: b}, c: !override {extends: b}}"}
    )
    assert images(read(Request(["a.yaml", "b.yaml"], {}, str(tmp_path)))) == {"b": "b", "c": "b"}


def test_how_often_files_include_and_services_extend_is_bounded(tmp_path: Path) -> None:
    files = {f"f{n}.yaml": f"include: [f{n + 1}.yaml, f{n + 1}.yaml]" for n in range(30)}
    with pytest.raises(InvalidInput, match="there are more than 200 includes"):
        project(tmp_path, "include: [f0.yaml]", {**files, "f30.yaml": WEB})
    chain = "\n".join(f"  s{n}: {{extends: s{n + 1}}}" for n in range(100))
    with pytest.raises(InvalidInput, match="more than 50 services extend each other"):
        project(tmp_path, f"services:\n{chain}\n  s100: {{image: i}}")


def test_a_service_may_extend_one_of_an_earlier_file(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "services: {base: {image: a}}", "b.yaml": "services: {web: {extends: base}}"})
    assert images(read(Request(["a.yaml", "b.yaml"], {}, str(tmp_path)))) == {"base": "a", "web": "a"}


# --- include ----------------------------------------------------------------------------------------------------------


def test_what_is_included_has_its_own_directory_and_variables_below_ours(tmp_path: Path) -> None:
    files = {"lib/compose.yaml": "services: {db: {image: 'db:$TAG', volumes: ['./d:/d', 'v:/v']}}\nvolumes: {v: }",
             "lib/.env": "TAG=lib\nOTHER=lib"}  # fmt: skip
    text = "include: [lib/compose.yaml]\nservices: {web: {image: 'w:$TAG', depends_on: [db]}}"
    made = project(tmp_path, text, files, environment={"TAG": "ours"})
    assert images(made) == {"web": "w:ours", "db": "db:ours"}
    assert project(tmp_path, text).document["services"]["db"]["container"]["image"] == "db:lib"
    assert at(made.document, "services/db/container/volumes/0/host") == str(tmp_path / "lib/d")
    assert at(made.document, "volumes/v/name") == "app_v"


def test_includes_are_followed_and_several_files_merged(tmp_path: Path) -> None:
    files = {"a/one.yaml": "services: {one: {image: a}}\ninclude: [../b/two.yaml]", "a/over.yaml": "services: {one: {image: b}}",
             "b/two.yaml": "services: {two: {image: c}}"}  # fmt: skip
    made = project(tmp_path, "include:\n  - path: [a/one.yaml, a/over.yaml]\n", files)
    assert images(made) == {"one": "b", "two": "c"}


def test_two_things_of_one_name_are_refused_and_the_same_twice_is_not(tmp_path: Path) -> None:
    files = {
        "a.yaml": "services: {one: {image: a}}",
        "b.yaml": "include: [a.yaml]\nservices: {two: {image: b}}",
    }
    assert images(project(tmp_path, "include: [a.yaml, b.yaml]", files)) == {"one": "a", "two": "b"}
    with pytest.raises(
        InvalidInput, match=r"^compose\.yaml:2: services.one: a\.yaml:1 includes another one of this name$"
    ):
        project(tmp_path, "include: [a.yaml]\nservices: {one: {image: z}}")


@pytest.mark.parametrize(
    ("include", "cause"),
    [
        ("[compose.yaml]", "compose.yaml:1: include[0]: these files include each other in a circle"),
        ("[absent.yaml]", "absent.yaml: No such file or directory"),
        ("[{path: []}]", "compose.yaml:1: include[0].path: expected a file"),
        ("[{project_directory: .}]", "compose.yaml:1: include[0]: path is missing"),
        ("absent.yaml", "compose.yaml:1: include: expected a list"),
        ("[[a]]", "compose.yaml:1: include[0]: expected a mapping"),
    ],
)
def test_what_cannot_be_included_is_an_error(tmp_path: Path, include: str, cause: str) -> None:
    with pytest.raises((InvalidInput, NotFound)) as caught:
        project(tmp_path, f"include: {include}\n{WEB}")
    assert cause in caught.value.cause
