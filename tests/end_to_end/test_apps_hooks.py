"""``post_start`` and ``pre_stop`` of services: commands that are run in containers as the app starts and stops them."""

from __future__ import annotations

from app_directory import AppDirectory

HOOKS = """
    services:
      web:
        image: small:1
        command: [sh, -c, 'trap "exit 0" TERM; while true; do sleep 0.1; done']
        volumes: ["seen:/seen"]
        environment: {MODE: service}
        post_start:
          - command: [sh, -c, 'echo started $$MODE $$WHO $$(id -u) $$PWD >> /seen/log']
            environment: {WHO: hook}
            user: "1000"
            working_dir: /tmp
          - command: sh -c 'echo second $$(id -u) >> /seen/log'
        pre_stop:
          - command: [sh, -c, 'echo stopping $$MODE >> /seen/log']
      look:
        image: small:1
        command: [sleep, "1000"]
        stop_grace_period: 0s
        volumes: ["seen:/seen"]
        post_start: [{command: [chmod, "777", /seen]}, {command: [touch, /seen/log]}, {command: [chmod, "666", /seen/log]}]
    volumes: {seen: {}}
"""
STARTED = ["started service hook 1000 /tmp", "second 0"]
STOPPED = ["stopping service"]


def ordered(text: str) -> str:
    return text.replace(
        "environment: {MODE: service}", "environment: {MODE: service}\n        depends_on: [look]"
    )


def seen(app: AppDirectory) -> list[str]:
    """What the hooks have written since the last look."""
    shown = app.out("exec", "-T", "look", "cat", "/seen/log").splitlines()
    app.run("exec", "-T", "look", "sh", "-c", ": > /seen/log")
    return shown


def test_hooks_run_inside_as_the_app_starts_and_stops_it(app: AppDirectory) -> None:
    app.write(ordered(HOOKS))
    app.up()
    assert seen(app) == STARTED
    app.run("stop", "web")
    assert seen(app) == STOPPED
    app.run("start", "web")
    assert seen(app) == STARTED
    app.run("restart", "web")
    assert seen(app) == STOPPED + STARTED
    assert app.up() == [] and seen(app) == []
    app.up("--force-recreate", "--no-deps", "web")
    assert seen(app) == STOPPED + STARTED
    app.run("rm", "--stop", "web")
    assert seen(app) == STOPPED
    app.up()
    app.run("kill", "web")
    assert seen(app) == STARTED
    app.up()
    assert seen(app) == STARTED
    app.run("reset")
    assert seen(app) == STOPPED + STARTED
    app.run("run", "--rm", "-T", "web", "true")
    assert seen(app) == []


def test_down_runs_what_is_to_be_run_before_the_stop(app: AppDirectory) -> None:
    app.write(ordered(HOOKS))
    app.up()
    app.write("services: {}")
    app.run("down")
    log = app.engine.out("run", "--rm", "-v", f"{app.name}_seen:/seen", "small:1", "cat", "/seen/log")
    assert log.splitlines() == STARTED + STOPPED


def test_a_changed_hook_is_a_change(app: AppDirectory) -> None:
    app.write(ordered(HOOKS))
    app.up()
    app.write(ordered(HOOKS).replace("echo stopping", "echo ending"))
    assert app.plan() == ["~ container web-1"]


FAILING = """
    services:
      web:
        image: small:1
        command: [sleep, "1000"]
        stop_grace_period: 0s
        {kind}: [{{command: [sh, -c, 'echo too bad; exit 3']}}]
"""


def test_where_post_start_fails_the_service_fails(app: AppDirectory) -> None:
    app.write(FAILING.format(kind="post_start"))
    said = app.run("up", "-d", status=125).stderr
    assert "post_start: `sh -c echo too bad; exit 3` ended with status 3" in said and "too bad" in said
    assert "Traceback" not in said and app.ids() == {}
    app.write(FAILING.format(kind="post_start").replace("exit 3", "test ! -e /stop"))
    app.up()
    app.run("exec", "-T", "web", "touch", "/stop")
    app.run("stop")
    assert "ended with status 1" in app.run("start", status=125).stderr
    assert app.status_of("web-1") == "exited"


def test_an_old_container_goes_on_where_post_start_of_the_new_one_fails(app: AppDirectory) -> None:
    app.write(FAILING.format(kind="post_start").replace("exit 3", "true"))
    app.up()
    before = app.ids()
    app.write(FAILING.format(kind="post_start"))
    assert "ended with status 3" in app.run("up", "-d", status=125).stderr
    assert app.ids() == before and app.status_of("web-1") == "running"


def test_where_pre_stop_fails_the_container_is_stopped_all_the_same(app: AppDirectory) -> None:
    app.write(FAILING.format(kind="pre_stop"))
    app.up()
    said = app.run("stop", status=125).stderr
    assert "pre_stop" in said and "too bad" in said and app.status_of("web-1") == "exited"
    app.run("start")
    assert any("pre_stop" in line for line in app.down())
    assert app.left() == []


def test_a_hook_that_cannot_be_run_is_said(app: AppDirectory) -> None:
    app.write(
        "services: {web: {image: 'small:1', command: [sleep, '9'], post_start: [{command: [nowhere]}]}}"
    )
    said = app.run("up", "-d", status=None)
    assert said.returncode and "nowhere" in said.stderr and "Traceback" not in said.stderr
    app.write("services: {web: {image: 'small:1', post_start: [{command: [a], privileged: true}]}}")
    assert "post_start[0].privileged" in app.run("validate", status=125).stderr
