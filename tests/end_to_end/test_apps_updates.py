"""How a service's containers are replaced by those of a new version, and what happens when it does not run."""

from __future__ import annotations

import json
import time

import pytest

from app_directory import AppDirectory
from private_engine import eventually

GOOD, DYING = "sleep 1000", "[sh, -c, 'sleep 0.2; exit 9']"


def write(app: AppDirectory, command: str, policy: str = "", replicas: int = 2, version: int = 1) -> None:
    update = f"update_config: {{{policy}}}" if policy else ""
    app.write(
        f"""
        services:
          web:
            image: small:1
            command: {command}
            environment: {{VERSION: "{version}"}}
            stop_grace_period: 0s
            deploy: {{replicas: {replicas}, {update}}}
        """
    )


def versions(app: AppDirectory) -> dict[str, str]:
    """Which version each running container is of."""
    found = {}
    for name, row in app.rows().items():
        environment = app.engine.inspect(name)["Config"]["Env"]
        number = name.removeprefix(f"{app.name}-web-")
        if row["status"] == "running":
            found[number] = next(
                item.partition("=")[2] for item in environment if item.startswith("VERSION=")
            )
    return found


def moments(app: AppDirectory, since: str) -> list[tuple[str, str]]:
    """What happened to the containers."""

    shown = app.out("events", "--json", "--since", since, "--until", "0s")
    events = [json.loads(line) for line in shown.splitlines()]
    return [(event["action"], event["name"]) for event in events if event["type"] == "container"]


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_each_is_replaced_in_the_order_asked_for(app: AppDirectory, order: str) -> None:
    write(app, GOOD, f"parallelism: 1, order: {order}, monitor: 0s", replicas=1)
    app.up()
    begun = str(time.time())
    write(app, GOOD, f"parallelism: 1, order: {order}, monitor: 0s", replicas=1, version=2)
    app.up()
    assert versions(app) == {"1": "2"}
    done = [action for action, _ in moments(app, begun)]
    assert (done.index("start") < done.index("die")) == (order == "start-first"), done


def test_so_many_at_a_time_are_replaced_with_a_delay_between(app: AppDirectory) -> None:
    policy = "parallelism: 1, delay: 1s, monitor: 0s"
    write(app, GOOD, policy, replicas=3)
    app.up()
    write(app, GOOD, policy, replicas=3, version=2)
    begun = time.monotonic()
    app.up()
    assert time.monotonic() - begun >= 2
    assert versions(app) == {"1": "2", "2": "2", "3": "2"}


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_a_new_version_that_dies_pauses_the_update_and_the_old_one_runs_on(
    app: AppDirectory, order: str
) -> None:
    policy = f"parallelism: 1, monitor: 2s, order: {order}, failure_action: pause"
    write(app, GOOD, policy)
    app.up()
    write(app, DYING, policy, version=2)
    refused = app.run("up", "-d", status=125).stderr
    assert "service 'web': its new container ended with status 9" in refused
    assert versions(app) == {"1": "1", "2": "1"}
    write(app, GOOD, policy, version=3)
    app.up()
    assert versions(app) == {"1": "3", "2": "3"} and app.up() == []


def test_a_new_version_that_dies_is_rolled_back_everywhere(app: AppDirectory) -> None:
    policy = "parallelism: 1, monitor: 2s, order: stop-first, failure_action: rollback"
    write(app, GOOD, policy)
    app.up()
    ids = app.ids()
    # The first of the new version runs, the second does not: it finds what the first has left.
    app.write(
        f"""
        services:
          web:
            image: small:1
            command: [sh, -c, 'test -e /shared/first && exit 9; touch /shared/first; exec sleep 1000']
            environment: {{VERSION: "2"}}
            stop_grace_period: 0s
            volumes: [shared:/shared]
            deploy: {{replicas: 2, update_config: {{{policy}}}}}
        volumes: {{shared: {{}}}}
        """
    )
    assert "ended with status 9" in app.run("up", "-d", status=125).stderr
    assert versions(app) == {"1": "1", "2": "1"}
    assert app.ids() == ids, "the very same containers are back, under their names"


def test_a_new_version_that_dies_goes_everywhere_where_that_is_asked_for(app: AppDirectory) -> None:
    policy = "parallelism: 1, monitor: 2s, failure_action: continue"
    write(app, GOOD, policy)
    app.up()
    write(app, DYING, policy, version=2)
    assert "ended with status 9" in app.run("up", "-d", status=125).stderr
    assert versions(app) == {"1": "1", "2": "1"}, "what failed leaves the old one"


def test_without_a_policy_nobody_watches(app: AppDirectory) -> None:
    write(app, GOOD)
    app.up()
    write(app, DYING, version=2)
    app.up()
    eventually(lambda: versions(app) == {}, "both have died")
    assert set(app.ids()) == {"web-1", "web-2"}


def test_a_new_version_that_cannot_start_leaves_the_old_one(app: AppDirectory) -> None:
    write(app, GOOD)
    app.up()
    ids = app.ids()
    write(app, "/nothing-here", version=2)
    refused = app.run("up", "-d", status=None)
    assert refused.returncode and "/nothing-here" in refused.stderr
    assert versions(app) == {"1": "1", "2": "1"} and app.ids() == ids


def test_an_old_container_serves_until_the_new_one_is_healthy(app: AppDirectory) -> None:
    text = """
        services:
          web:
            image: small:1
            command: [sh, -c, 'sleep {wait}; touch /ready; exec sleep 1000']
            stop_grace_period: 0s
            healthcheck: {{test: [CMD, test, -e, /ready], interval: 200ms, retries: 50}}
            deploy: {{update_config: {{order: start-first, monitor: 0s}}}}
        """
    app.write(text.format(wait=0))
    app.up("--wait")
    app.write(text.format(wait=1))
    app.up()
    new = app.engine.inspect(f"{app.name}-web-1")["State"]
    assert new["Health"]["Status"] == "healthy", "apply has ended, so the old one is gone"
