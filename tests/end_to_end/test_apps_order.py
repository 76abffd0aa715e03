"""What waits for what in an app: dependencies that have started, are healthy or completed; ``--wait``; restarts of dependents."""

from __future__ import annotations

import time

import pytest

from app_directory import AppDirectory
from private_engine import eventually

PROBED = """
    services:
      web:
        image: small:1
        command: [sh, -c, 'echo web started; exec sleep 1000']
        depends_on: {db: {condition: service_healthy}}
      db:
        image: small:1
        command: [sh, -c, 'sleep 1; touch /ready; exec sleep 1000']
        healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 0.1s, timeout: 2s, retries: 100}
"""


def started(app: AppDirectory, container: str) -> str:
    at: str = app.engine.inspect(f"{app.name}-{container}")["State"]["StartedAt"]
    return at


def test_dependents_start_after_what_they_depend_on(app: AppDirectory) -> None:
    app.write(
        """
        services:
          c: {image: "small:1", command: sleep 1000, depends_on: [b]}
          b: {image: "small:1", command: sleep 1000, depends_on: [a]}
          a: {image: "small:1", command: sleep 1000}
        """
    )
    app.up()
    assert started(app, "a-1") < started(app, "b-1") < started(app, "c-1")


def test_what_does_not_depend_on_each_other_starts_side_by_side(app: AppDirectory) -> None:
    app.write(
        """
        services:
          slow: {image: "small:1", command: [sh, -c, 'until [ -e /data/go ]; do sleep 0.1; done; sleep 2'], volumes: [data:/data]}
          after: {image: "small:1", command: sleep 1000, depends_on: {slow: {condition: service_completed_successfully}}}
          other: {image: "small:1", command: [sh, -c, 'touch /data/go; exec sleep 1000'], volumes: [data:/data], depends_on: [third]}
          third: {image: "small:1", command: sleep 1000}
        volumes: {data: {}}
        """
    )
    done = app.up()
    assert done[-1] == f"container {app.name}-after-1: created"


def test_a_dependent_waits_until_what_it_depends_on_is_healthy(app: AppDirectory) -> None:
    app.write(PROBED)
    begun = time.monotonic()
    app.up()
    assert time.monotonic() - begun > 1
    db = app.engine.inspect(f"{app.name}-db-1")["State"]
    assert db["Health"]["Status"] == "healthy" and started(app, "web-1") > db["StartedAt"]


def test_a_dependent_of_what_is_never_healthy_does_not_start(app: AppDirectory) -> None:
    app.write(PROBED.replace("retries: 100", "retries: 2").replace("sleep 1; touch /ready; ", ""))
    refused = app.run("up", "-d", status=125).stderr
    assert f"service 'web' waits for 'db': {app.name}-db-1 is unhealthy" in refused
    assert f"multios-container logs {app.name}-db-1" in refused
    assert set(app.ids()) == {"db-1"}
    app.write(PROBED)
    app.up()
    assert set(app.ids()) == {"db-1", "web-1"}


def test_a_dependent_waits_until_what_it_depends_on_has_completed(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web:
            image: small:1
            command: [sh, -c, 'cat /data/schema; exec sleep 1000']
            volumes: [data:/data]
            depends_on: {migrate: {condition: service_completed_successfully}}
          migrate: {image: "small:1", command: [sh, -c, 'sleep 0.5; echo made > /data/schema'], volumes: [data:/data]}
        volumes: {data: {}}
        """
    )
    app.up()
    app.says("web", "made")
    assert app.status_of("migrate-1") == "exited"


@pytest.mark.parametrize("required", ["true", "false"])
def test_what_did_not_complete_well_holds_up_who_requires_it(app: AppDirectory, required: str) -> None:
    condition = f"{{condition: service_completed_successfully, required: {required}}}"
    app.write(
        f"""
        services:
          web: {{image: "small:1", command: sleep 1000, depends_on: {{migrate: {condition}}}}}
          migrate: {{image: "small:1", command: [sh, -c, 'exit 3']}}
        """
    )
    if required == "false":
        app.up()
        assert app.status_of("web-1") == "running"
        return
    refused = app.run("up", "-d", status=125).stderr
    assert f"service 'web' waits for 'migrate': {app.name}-migrate-1 ended with status 3" in refused
    assert set(app.ids()) == {"migrate-1"}


def test_one_failure_does_not_hold_up_what_does_not_depend_on_it(app: AppDirectory) -> None:
    app.write(
        """
        services:
          broken: {image: "small:1", command: /nothing-here}
          after: {image: "small:1", command: sleep 1000, depends_on: [broken]}
          other: {image: "small:1", command: sleep 1000, depends_on: [base]}
          base: {image: "small:1", command: sleep 1000}
        """
    )
    refused = app.run("up", "-d", status=None)
    assert refused.returncode != 0 and "/nothing-here" in refused.stderr
    assert set(app.ids()) == {"base-1", "other-1"}


def test_up_waits_for_health_when_asked_to(app: AppDirectory) -> None:
    app.write(PROBED.replace("depends_on: {db: {condition: service_healthy}}", ""))
    app.run("up", "--wait")
    assert app.engine.inspect(f"{app.name}-db-1")["State"]["Health"]["Status"] == "healthy"


def test_up_waits_no_longer_than_asked_to(app: AppDirectory) -> None:
    app.write(
        PROBED.replace("depends_on: {db: {condition: service_healthy}}", "").replace("sleep 1;", "sleep 60;")
    )
    begun = time.monotonic()
    refused = app.run("up", "--wait", "--wait-timeout", "1", status=125).stderr
    assert time.monotonic() - begun < 20
    assert f"{app.name}-db-1 is not healthy after 1 s" in refused and "--wait-timeout" in refused


def test_up_waits_no_longer_than_asked_to_for_what_others_depend_on(app: AppDirectory) -> None:
    app.write(PROBED.replace("touch /ready", "true"))
    begun = time.monotonic()
    refused = app.run("up", "--wait", "--wait-timeout", "1", status=125).stderr
    assert time.monotonic() - begun < 20
    assert f"waits for 'db': {app.name}-db-1 is not healthy after 1 s" in refused


def test_up_waits_no_longer_than_asked_to_for_a_task(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web: {image: "small:1", depends_on: {task: {condition: service_completed_successfully}}}
          task: {image: "small:1", command: sleep 1000, stop_grace_period: 0s}
        """
    )
    refused = app.run("up", "--wait", "--wait-timeout", "1", status=125).stderr
    assert f"waits for 'task': {app.name}-task-1 has not completed after 1 s" in refused


def test_up_that_waits_says_what_has_ended(app: AppDirectory) -> None:
    app.write(
        PROBED.replace("depends_on: {db: {condition: service_healthy}}", "").replace(
            "exec sleep 1000", "exit 4", 1
        )
    )
    refused = app.run("up", "--wait", status=125).stderr
    assert f"{app.name}-web-1 ended with status 4" in refused


def test_up_that_waits_takes_nothing_for_good_that_ends_again_and_again(app: AppDirectory) -> None:
    app.write(
        "services: {web: {image: 'small:1', command: [sh, -c, 'sleep 0.2; exit 5'], restart: always, stop_grace_period: 0s}}"
    )
    app.up()
    eventually(lambda: app.engine.inspect(f"{app.name}-web-1")["RestartCount"] > 0, "it was restarted")
    refused = app.run("up", "--wait", status=125).stderr
    assert f"{app.name}-web-1 ended with status 5" in refused


def test_up_that_waits_takes_nothing_for_good_that_ends_soon_after_its_first_start(app: AppDirectory) -> None:
    app.write(
        "services: {web: {image: 'small:1', command: [sh, -c, 'sleep 0.3; exit 5'], restart: always, stop_grace_period: 0s}}"
    )
    refused = app.run("up", "--wait", status=125).stderr
    assert f"{app.name}-web-1 ended with status 5" in refused


def test_up_that_waits_bears_that_tasks_which_others_wait_for_have_ended(app: AppDirectory) -> None:
    app.write(
        """
        services:
          web: {image: "small:1", command: sleep 1000, depends_on: {task: {condition: service_completed_successfully}}}
          task: {image: "small:1", command: "true"}
        """
    )
    app.run("up", "--wait")
    assert (app.status_of("web-1"), app.status_of("task-1")) == ("running", "exited")


def test_dependents_that_ask_for_it_restart_with_what_they_depend_on(app: AppDirectory) -> None:
    text = """
        services:
          web: {image: "small:1", command: sleep 1000, depends_on: {db: {condition: service_started, restart: true}}}
          other: {image: "small:1", command: sleep 1000, depends_on: [db]}
          db: {image: "small:1", command: sleep 1000, environment: {LEVEL: "1"}}
        """
    app.write(text)
    app.up()
    ids, before = app.ids(), {name: started(app, f"{name}-1") for name in ("web", "other")}
    app.write(text.replace('LEVEL: "1"', 'LEVEL: "2"'))
    assert app.plan() == ["~ container db-1", "> container web-1"]
    app.up()
    assert {name for name in ids if app.ids()[name] != ids[name]} == {"db-1"}
    assert started(app, "web-1") != before["web"] and started(app, "other-1") == before["other"]
