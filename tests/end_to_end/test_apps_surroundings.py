"""What the services of an app have around them: names, ports, secrets, variables; and other users' apps."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_directory import AppDirectory
from free_ports import free_port
from greeting_server import await_servers
from other_users import User, open_to_group
from private_engine import PrivateEngine, eventually

SERVE = "[sh, -c, 'hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp']"


def asked(app: AppDirectory, service: str, name: str) -> str:
    """What a service is told when it asks ``http://NAME/``."""
    return app.out("exec", "-T", service, "wget", "-q", "-O", "-", f"http://{name}/", status=None)


# --- names ----------------------------------------------------------------------------------------------


def test_services_find_each_other_by_their_names_and_aliases(app: AppDirectory) -> None:
    app.write(
        f"""
        services:
          web: {{image: "small:1", command: sleep 1000, depends_on: [api]}}
          api:
            image: small:1
            command: {SERVE}
            container_name: {app.name}-the-api
            networks: {{default: {{aliases: [backend]}}}}
        """
    )
    app.up()
    hostname = app.out("exec", "-T", "api", "hostname")
    for name in ("api", "backend", f"{app.name}-the-api"):
        eventually(lambda name=name: asked(app, "web", name) == hostname, f"{name} answers")  # type: ignore[misc]


def test_a_name_is_spread_over_all_replicas_and_follows_them(app: AppDirectory) -> None:
    app.write(
        f"""
        services:
          client: {{image: "small:1", command: sleep 1000}}
          api: {{image: "small:1", command: {SERVE}, deploy: {{replicas: 3}}, stop_grace_period: 0s}}
        """
    )
    app.up()
    hostnames = {row["id"][:12] for name, row in app.rows().items() if "-api-" in name}
    eventually(lambda: {asked(app, "client", "api") for _ in range(6)} == hostnames, "all three answer")
    app.run("scale", "api=1")
    left = {row["id"][:12] for name, row in app.rows().items() if "-api-" in name}
    assert len(left) == 1
    assert {asked(app, "client", "api") for _ in range(6)} == left


def test_networks_keep_services_apart(app: AppDirectory) -> None:
    app.write(
        f"""
        services:
          web: {{image: "small:1", command: sleep 1000, networks: [front]}}
          api: {{image: "small:1", command: {SERVE}, networks: [front, back]}}
          db: {{image: "small:1", command: {SERVE}, networks: [back]}}
        networks: {{front: {{}}, back: {{internal: true}}}}
        """
    )
    app.up()
    eventually(lambda: asked(app, "web", "api"), "the neighbour answers")
    eventually(lambda: asked(app, "api", "db"), "the neighbour's neighbour answers it")
    assert app.run("exec", "-T", "web", "nslookup", "db", status=None).returncode != 0


def test_a_changed_network_is_refused_until_the_app_is_down(app: AppDirectory) -> None:
    text = "services: {web: {image: 'small:1', command: sleep 1000, networks: [n]}}\nnetworks: {n: {internal: %s}}"
    app.write(text % "false")
    app.up()
    app.write(text % "true")
    refused = app.run("up", "-d", status=125).stderr
    assert "network 'n': internal changed" in refused and f"app --project-name {app.name} down" in refused
    app.down()
    app.up()


# --- ports ----------------------------------------------------------------------------------------------


def test_ports_are_published_and_shown(app: AppDirectory) -> None:
    port = free_port()
    app.write(f"services: {{web: {{image: 'small:1', command: {SERVE}, ports: ['127.0.0.1:{port}:80']}}}}")
    app.up()
    assert app.out("port", "web", "80") == f"127.0.0.1:{port}"
    await_servers(app.engine, f"{app.name}-web-1")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.status == 200
    assert f"127.0.0.1:{port}->80/tcp" in app.out("ps")


def test_a_port_for_every_replica_is_chosen(app: AppDirectory) -> None:
    app.write(
        f"services: {{web: {{image: 'small:1', command: {SERVE}, ports: ['80'], deploy: {{replicas: 2}}}}}}"
    )
    app.up()
    places = {app.out("port", "--index", str(index), "web", "80") for index in (1, 2)}
    assert len(places) == 2 and all(re.search(r":\d+$", place) for place in places)


# --- secrets and configs --------------------------------------------------------------------------------


def test_secrets_and_configs_are_files_inside_and_secrets_are_shown_to_nobody(app: AppDirectory) -> None:
    app.write("hunter2", "password.txt")
    app.write(
        """
        services:
          web:
            image: small:1
            command: sleep 1000
            secrets: [password, {source: token, target: /run/token, mode: 0400}]
            configs: [{source: page, target: /srv/page.html, mode: 0440}]
        secrets: {password: {file: ./password.txt}, token: {environment: APP_TOKEN}}
        configs: {page: {content: "<p>hello</p>"}}
        """
    )
    app.write("APP_TOKEN=sesame\n", ".env")
    app.up()
    assert app.out("exec", "-T", "web", "cat", "/run/secrets/password") == "hunter2"
    assert app.out("exec", "-T", "web", "cat", "/run/token") == "sesame"
    assert app.out("exec", "-T", "web", "stat", "-c", "%a %u", "/run/token") == "400 0"
    assert app.out("exec", "-T", "web", "cat", "/srv/page.html") == "<p>hello</p>"
    shown = app.engine.out("inspect", f"{app.name}-web-1") + app.out("up", "--dry-run")
    assert "hunter2" not in shown and "aHVudGVyMg" not in shown
    assert (
        app.out("run", "--rm", "-T", "web", "cat", "/run/secrets/password", "/srv/page.html")
        == "hunter2<p>hello</p>"
    )
    app.write("hunter3", "password.txt")
    assert "    ~ files./run/secrets/password" in app.out("up", "--dry-run").splitlines()
    app.up()
    assert app.out("exec", "-T", "web", "cat", "/run/secrets/password") == "hunter3"


# --- files and variables --------------------------------------------------------------------------------


def test_profiles_choose_services(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web: {image: "small:1", command: sleep 1000}
          debug: {image: "small:1", command: sleep 1000, profiles: [debug]}
        """
    )
    app.up()
    assert set(app.ids()) == {"web-1"}
    app.run("--profile", "debug", "up", "-d")
    assert set(app.ids()) == {"web-1", "debug-1"}
    app.down()
    assert app.left() == []
    app.up("debug")
    assert "debug-1" in app.ids(), "who is named is enabled"


def test_override_files_and_variables_come_together(app: AppDirectory) -> None:
    app.write("WORD=from-env-file\nTAG=1\n", ".env")
    app.write(
        "services: {web: {image: 'small:${TAG}', command: sleep 1000, environment: {WORD: '${WORD}', STAGE: base}}}"
    )
    override = app.write("services: {web: {environment: {STAGE: production}}}", "production.yaml")
    base = app.directory / "compose.yaml"
    app.run("-f", str(base), "-f", str(override), "up", "-d")
    words = ("exec", "-T", "web", "sh", "-c", "echo $WORD $STAGE")
    assert app.out(*words) == "from-env-file production"
    app.write("WORD=other\nTAG=1\n", "other.env")
    app.up("--env-file", str(app.directory / "other.env"))
    assert app.out(*words) == "other base"


# --- other users ----------------------------------------------------------------------------------------


@pytest.fixture
def user(engine: PrivateEngine, tmp_path: Path) -> Iterator[User]:
    """Somebody who may use the same engine."""
    open_to_group(engine)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    yield User(engine, "games")


def test_anothers_app_of_the_same_name_is_another_app(app: AppDirectory, user: User) -> None:
    text = """
        services: {web: {image: "small:1", command: sleep 1000, container_name: %s}}
        """
    app.write(text % f"{app.name}-mine")
    app.up()
    before = app.rows()
    theirs = user.directory(app.directory.parent / "theirs", 0o755)
    (theirs / "compose.yaml").write_text(
        "services: {web: {image: 'small:1', command: sleep 1000, volumes: ['data:/data']}}\nvolumes: {data: {}}"
    )
    words = ("app", "--project-directory", str(theirs), "--project-name", app.name)
    user.run(*words, "up", "-d")
    try:
        assert len(user.out(*words, "ps", "--quiet").split()) == 1
        assert app.up() == [] and app.out("ps", "--quiet").split() == [row["id"] for row in before.values()]
        listed = [row["owner"] for row in app.engine.json("app", "ls") if row["name"] == app.name]
        assert sorted(listed) == [0, user.uid]
        assert "no container" in user.run(*words, "exec", "db", "true", status=125).stderr
    finally:
        user.run(*words, "down", "-v", "--timeout", "0")
    assert app.rows().keys() == before.keys() and app.status_of("mine") == "running"


def test_a_user_cannot_have_what_he_may_not_through_an_app(
    engine: PrivateEngine, user: User, tmp_path: Path
) -> None:
    theirs = user.directory(tmp_path / "theirs", 0o755)
    for extra in (
        "privileged: true",
        "volumes: ['/root:/x']",
        "ports: ['127.0.0.1:80:80']",
        "network_mode: host",
    ):
        (theirs / "compose.yaml").write_text(f"services:\n  web:\n    image: small:1\n    {extra}\n")
        words = ("app", "--project-directory", str(theirs), "--project-name", "theirs-alone")
        refused = user.run(*words, "up", "-d", status=None)
        user.run(*words, "down", "-v")
        assert refused.returncode != 0 and "Traceback" not in refused.stderr, extra


def test_services_share_a_network_and_are_made_anew_together(app: AppDirectory) -> None:
    text = """
        services:
          proxy:
            image: small:1
            network_mode: service:web
            command: [sh, -c, 'until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done; echo reached; exec sleep 1000']
            stop_grace_period: 0s
          web:
            image: small:1
            command: [httpd, -f, -p, '80', -h, /etc]
            environment: {COLOUR: red}
            stop_grace_period: 0s
        """
    app.write(text)
    app.up()
    eventually(lambda: "reached" in app.engine.out("logs", f"{app.name}-proxy-1"), "the proxy reached it")
    web = app.engine.inspect(f"{app.name}-web-1")
    proxy = app.engine.inspect(f"{app.name}-proxy-1")
    assert proxy["HostConfig"]["NetworkMode"] == f"container:{web['Id']}"
    assert proxy["State"]["StartedAt"] > web["State"]["StartedAt"], "it is an implied dependency"
    before = app.ids()
    app.up()
    assert app.ids() == before
    app.write(text.replace("red", "green"))
    app.up()
    after = app.ids()
    assert not set(before.values()) & set(after.values()) and before.keys() == after.keys()
    eventually(lambda: "reached" in app.engine.out("logs", f"{app.name}-proxy-1"), "the new ones, too")
    app.run("restart", "web")
    assert {app.engine.status_of(f"{app.name}-{name}") for name in after} == {"running"}
    app.run("down")
    assert app.ids() == {}


def test_who_shares_a_network_runs_again_when_the_replaced_one_is_brought_back(app: AppDirectory) -> None:
    text = """
        services:
          guest: {image: "small:1", network_mode: "service:web", command: [sleep, "1000"], stop_grace_period: 0s}
          web: {image: "small:1", command: [sleep, "1000"], stop_grace_period: 0s}
        """
    app.write(text)
    app.up()
    before = app.ids()
    app.write(
        text.replace('web: {image: "small:1", command: [sleep,', 'web: {image: "small:1", command: [nothing,')
    )
    assert "nothing" in app.run("up", "-d", status=None).stderr
    assert app.ids() == before
    assert {app.status_of(name) for name in before} == {"running"}


def test_a_name_that_another_app_has_is_not_to_be_deleted(app: AppDirectory) -> None:
    app.write(
        "services: {web: {image: 'small:1', command: [sleep, '1000'], stop_grace_period: 0s, container_name: desk}}"
    )
    app.up()
    for words in (
        ("--project-name", "other", "up", "-d"),
        ("--project-name", "other", "run", "--name", "desk", "web"),
    ):
        refused = app.run(*words, status=125).stderr
        assert f"'desk' is in use by service 'web' of app '{app.name}'" in refused and "delete" not in refused
    app.run("--project-name", "other", "down")
    app.down()
    app.engine.run("create", "--name", "desk", "--image", "small:1")
    assert "delete desk" in app.run("up", "-d", status=125).stderr
    app.engine.run("delete", "desk")


def test_a_volume_in_memory_is_each_containers_own(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web: {image: "small:1", command: [sleep, "1000"], stop_grace_period: 0s, volumes: ["fast:/fast"]}
        volumes: {fast: {driver_opts: {type: tmpfs, device: tmpfs, o: size=1m}}}
        """
    )
    assert any("in memory of its own" in line for line in app.up())
    assert "tmpfs on /fast" in app.out("exec", "-T", "web", "mount")
    assert app.left() == [f"{app.name}-web-1", f"network {app.name}_default"]


def test_each_container_gets_a_free_port_of_the_range(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web:
            image: small:1
            command: [sleep, "1000"]
            stop_grace_period: 0s
            deploy: {replicas: 2}
            ports: [{target: 80, published: "18470-18472", host_ip: 127.0.0.1}]
        """
    )
    app.up()
    published = [row["ports"][0]["host"] for row in app.rows().values()]
    assert len(set(published)) == 2 and set(published) <= {18470, 18471, 18472}
    assert app.up() == [], "a range is no change"
    refused = app.run("scale", "web=4", status=125).stderr
    assert "host ports 18470-18472/tcp are all in use" in refused
