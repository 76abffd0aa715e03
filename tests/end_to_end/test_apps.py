"""Apps from Compose files: brought up, changed, scaled, taken down."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from app_directory import AppDirectory
from private_engine import PrivateEngine

THREE = """
    services:
      web:
        image: small:1
        command: sleep 1000
        stop_grace_period: 0s
        depends_on: [api]
      api:
        image: small:1
        command: sleep 1000
        stop_grace_period: 0s
        environment: {LEVEL: "1"}
        depends_on: [db]
      db:
        image: small:1
        command: sleep 1000
        stop_grace_period: 0s
        volumes: [data:/data]
    volumes:
      data:
"""


def test_up_makes_all_and_once_more_changes_nothing(app: AppDirectory) -> None:
    app.write(THREE)
    done = app.up()
    assert done[:2] == [f"network {app.name}_default: created", f"volume {app.name}_data: created"]
    assert done[2:] == [f"container {app.name}-{service}-1: created" for service in ("db", "api", "web")]
    before = app.rows()
    assert {row["status"] for row in before.values()} == {"running"}
    assert app.up() == []
    assert app.rows().keys() == before.keys() and app.ids() == {
        name.removeprefix(f"{app.name}-"): row["id"] for name, row in before.items()
    }


def test_a_change_replaces_only_what_changed(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    before = app.ids()
    app.write(THREE.replace('LEVEL: "1"', 'LEVEL: "2"'))
    assert app.plan() == ["~ container api-1"]
    shown = app.out("up", "--dry-run")
    assert "(environment.LEVEL changed)" in shown and "    ~ environment.LEVEL" in shown
    assert app.ids() == before, "a dry run does nothing"
    assert app.up() == [f"container {app.name}-api-1: recreated"]
    after = app.ids()
    assert {name for name in after if after[name] != before[name]} == {"api-1"}
    assert app.out("exec", "-T", "api", "sh", "-c", "echo $LEVEL") == "2"


def test_a_dry_run_of_nothing_shows_all_as_new_and_makes_nothing(app: AppDirectory) -> None:
    app.write(THREE)
    assert app.plan() == [
        f"+ network {app.name}_default",
        f"+ volume {app.name}_data",
        "+ container db-1",
        "+ container api-1",
        "+ container web-1",
    ]
    assert app.left() == []


def test_scaling_adds_and_removes_the_highest_numbers(app: AppDirectory) -> None:
    app.write(THREE)
    app.up("--scale", "web=3")
    before = app.ids()
    assert set(before) == {"web-1", "web-2", "web-3", "api-1", "db-1"}
    app.run("scale", "web=1", "api=2")
    after = app.ids()
    assert set(after) == {"web-1", "api-1", "api-2", "db-1"}
    assert all(after[name] == before[name] for name in ("web-1", "api-1", "db-1"))
    app.run("scale", "api=0")
    assert set(app.ids()) == {"web-1", "db-1"}
    assert app.up() == [f"container {app.name}-api-1: created"], "up goes back to the file's number"


@pytest.mark.parametrize("word", ["web", "web=", "web=x", "web=-1", "web=1001", "wbe=2"])
def test_a_scale_that_is_none_is_refused(app: AppDirectory, word: str) -> None:
    app.write(THREE)
    refused = app.run("scale", word, status=125).stderr
    assert word.partition("=")[0] in refused and "Traceback" not in refused
    assert app.left() == []


def test_a_missing_number_is_filled(app: AppDirectory) -> None:
    app.write(THREE)
    app.up("--scale", "web=3")
    app.engine.run("delete", "--force", f"{app.name}-web-2")
    assert app.up("--scale", "web=3") == [f"container {app.name}-web-2: created"]


def test_services_that_left_the_file_stay_until_asked_for(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    app.write(
        "services: {db: {image: 'small:1', command: sleep 1000, stop_grace_period: 0s, volumes: ['data:/data']}}\n"
        "volumes: {data: }"
    )
    assert app.up() == []
    assert set(app.ids()) == {"web-1", "api-1", "db-1"}
    assert app.plan("--remove-orphans") == ["- container api-1", "- container web-1"]
    app.up("--remove-orphans")
    assert set(app.ids()) == {"db-1"}


def test_what_was_stopped_is_started(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    before = app.ids()
    app.engine.run("stop", "-t", "0", f"{app.name}-api-1")
    assert app.plan() == ["> container api-1"]
    assert app.up() == [f"container {app.name}-api-1: started"]
    assert app.ids() == before


def test_one_service_comes_with_what_it_depends_on(app: AppDirectory) -> None:
    app.write(THREE)
    app.up("api")
    assert set(app.ids()) == {"api-1", "db-1"}
    app.up("--no-deps", "web")
    assert set(app.ids()) == {"web-1", "api-1", "db-1"}


def test_without_dependencies_only_the_one_is_touched(app: AppDirectory) -> None:
    app.write(THREE)
    app.up("--no-deps", "web")
    assert set(app.ids()) == {"web-1"}


def test_all_are_replaced_or_none_where_that_is_asked_for(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    before = app.ids()
    app.write(THREE.replace('LEVEL: "1"', 'LEVEL: "2"'))
    assert app.up("--no-recreate") == [] and app.ids() == before
    app.up("--force-recreate")
    assert not set(app.ids().values()) & set(before.values())


def test_a_new_image_under_the_same_name_replaces_its_containers(app: AppDirectory) -> None:
    image = f"{app.name}:1"
    app.engine.run("image", "tag", "small:1", image)
    app.write(
        f"services: {{web: {{image: '{image}', command: sleep 1000}}, db: {{image: 'small:1', command: sleep 1000}}}}"
    )
    app.up()
    app.engine.run("exec", f"{app.name}-web-1", "touch", "/new")
    app.engine.run("commit", f"{app.name}-web-1", image)
    assert app.plan() == ["~ container web-1"]
    app.up()
    app.run("exec", "-T", "web", "test", "-e", "/new")
    assert app.up() == []
    app.down()
    app.engine.run("image", "rm", "--force", image)


def test_containers_are_made_and_not_started(app: AppDirectory) -> None:
    app.write(THREE)
    app.run("create")
    assert {app.status_of(name) for name in app.ids()} == {"created"}
    before = app.ids()
    app.run("start")
    assert {app.status_of(name) for name in app.ids()} == {"running"} and app.ids() == before


def test_a_directory_below_finds_the_file_above(app: AppDirectory, engine: PrivateEngine) -> None:
    app.write(THREE)
    (app.directory / "a/b").mkdir(parents=True)

    done = subprocess.run(
        engine.command("app", "config", "--services"),
        cwd=app.directory / "a/b", env=engine.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["web", "api", "db"], done.stderr


# --- down -----------------------------------------------------------------------------------------------


def test_down_leaves_nothing_but_volumes_and_with_them_nothing(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    app.run("exec", "-T", "db", "sh", "-c", "echo kept > /data/file")
    done = app.down()
    assert done == [
        *(f"container {app.name}-{service}-1: removed" for service in ("web", "api", "db")),
        f"network {app.name}_default: removed",
    ]
    assert app.left() == [f"volume {app.name}_data"]
    app.up()
    assert app.out("exec", "-T", "db", "cat", "/data/file") == "kept"
    app.down("--volumes")
    assert app.left() == []


def test_down_of_nothing_is_no_error(app: AppDirectory) -> None:
    app.write(THREE)
    assert app.down() == [] and app.down("--volumes") == []


def test_down_needs_no_file_and_takes_orphans_and_single_runs_too(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    app.run("run", "--detach", "web", "sleep", "1000")
    assert len(app.ids()) == 4
    (app.directory / "compose.yaml").unlink()
    app.engine.run("app", "--project-name", app.name, "down", "--timeout", "0", "-v")
    assert app.left() == []


def test_external_networks_and_volumes_are_used_and_stay(app: AppDirectory) -> None:
    shared = f"{app.name}-shared"
    app.write(
        f"""
        services:
          web: {{image: "small:1", command: sleep 1000, networks: [shared], volumes: ["shared:/data"]}}
        networks: {{shared: {{external: true, name: {shared}}}}}
        volumes: {{shared: {{external: true, name: {shared}}}}}
        """
    )
    missing = app.run("up", "-d", status=125).stderr
    assert f"network create {shared}" in missing
    app.engine.run("network", "create", shared)
    assert f"volume create {shared}" in app.run("up", "-d", status=125).stderr
    app.engine.run("volume", "create", shared)
    app.up()
    app.down("--volumes")
    assert shared in app.engine.out("network", "ls", "--quiet").split()
    app.engine.run("volume", "rm", shared)
    app.engine.run("network", "rm", shared)


# --- what it looks like ---------------------------------------------------------------------------------


def test_what_is_made_carries_the_apps_labels(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    labels = app.engine.inspect(f"{app.name}-web-1")["Config"]["Labels"]
    assert labels["org.multios.app"] == app.name
    assert (labels["org.multios.app.service"], labels["org.multios.app.number"]) == ("web", "1")
    assert labels["org.multios.app.depends_on"] == "api"
    volume = json.loads(app.engine.out("volume", "inspect", f"{app.name}_data"))[0]
    assert volume["labels"]["org.multios.app.volume"] == "data"
    network = json.loads(app.engine.out("network", "inspect", f"{app.name}_default"))[0]
    assert network["labels"]["org.multios.app.network"] == "default"


def test_ps_and_ls_show_the_app(app: AppDirectory) -> None:
    app.write(THREE)
    app.up("--scale", "web=2")
    app.engine.run("stop", "-t", "0", f"{app.name}-web-2")
    assert app.out("ps", "--services").split() == ["api", "db", "web"]
    assert len(app.out("ps", "--quiet").split()) == 3
    assert len(app.out("ps", "--quiet", "--all").split()) == 4
    header, *rows = app.out("ps", "--all", "web").splitlines()
    assert re.match(r"NAME +IMAGE +COMMAND +SERVICE +CREATED +STATUS +PORTS", header)
    assert [row.split()[0] for row in rows] == [f"{app.name}-web-1", f"{app.name}-web-2"]
    (listed,) = [row for row in app.engine.json("app", "ls") if row["name"] == app.name]
    assert listed["status"] == "exited (1), running (3)" and listed["services"] == ["api", "db", "web"]
    app.run("stop", "--timeout", "0")
    assert app.name not in app.engine.out("app", "ls", "--quiet").split()
    assert app.name in app.engine.out("app", "ls", "--quiet", "--all").split()


def test_top_shows_each_containers_processes(app: AppDirectory) -> None:
    app.write(THREE)
    app.up()
    shown = app.out("top", "web", "db")
    assert f"{app.name}-web-1" in shown and f"{app.name}-db-1" in shown and f"{app.name}-api-1" not in shown
    assert shown.count("sleep 1000") == 2
