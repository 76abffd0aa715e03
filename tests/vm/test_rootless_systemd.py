"""A user's own engine where systemd delegates cgroups to the user: its limits are enforced, without any set-up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_engine import IMAGE, eventually
from user_engine import UID, UserEngine

RUNTIME = Path(f"/run/user/{UID}")

pytestmark = pytest.mark.skipif(
    not (RUNTIME / "systemd/private").exists(), reason=f"this host runs no user manager for uid {UID}"
)


@pytest.fixture(scope="module")
def user() -> Iterator[UserEngine]:
    """The user, whose manager is there already."""
    engine = UserEngine(runtime=RUNTIME)
    try:
        engine.import_image()
        yield engine
    finally:
        engine.end()


def run(user: UserEngine, *words: str) -> str:
    """The output of a container's command; there is no network in the machine."""
    return user.out("run", "--rm", "--network", "none", *words)


def test_the_daemon_is_in_a_scope_that_is_delegated_to_it(user: UserEngine) -> None:
    group = Path(f"/proc/{user.daemon_pid}/cgroup").read_text()
    assert f"user@{UID}.service" in group and ".scope" in group
    assert user.out("info", "--format", "{{.cgroup}}") == "v2"
    lines = user.run("doctor").stdout.splitlines()
    assert next(line for line in lines if " cgroups: " in line).startswith("ok")


def test_limits_hold(user: UserEngine) -> None:
    read = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    limits = ("-m", "64m", "--pids-limit", "20")
    assert run(user, *limits, IMAGE, "sh", "-c", read).split() == [str(64 << 20), "20"]
    assert run(user, IMAGE, "cat", "/sys/fs/cgroup/pids.max") == "2048", "the usual limit is there"
    eat = "head -c 200m /dev/zero | tail -c 200m | wc -c"
    command = ("run", "--rm", "--network", "none", *limits, IMAGE, "sh", "-c", eat)
    assert user.run(*command, status=None).stdout.strip() != str(200 << 20)


def test_limits_and_pause_survive_the_daemon_and_the_supervisor(user: UserEngine) -> None:
    user.run("run", "-d", "--name", "held", "--network", "none", "-m", "64m", IMAGE, "sleep", "1000")
    user.run("exec", "held", "true")
    for victim in ("daemon_pid", "supervisor_pid"):
        os.kill(getattr(user, victim), signal.SIGKILL)
        eventually(
            lambda: user.run("exec", "held", "true", status=None).returncode == 0,
            f"after {victim}",
            patience=180,
        )
        limit = "32m" if victim == "daemon_pid" else "48m"
        user.run("update", "-m", limit, "held")
        user.run("pause", "held")
        user.run("resume", "held")
    assert user.out("exec", "held", "cat", "/sys/fs/cgroup/memory.max") == str(48 << 20)
    user.run("delete", "--force", "held")


def test_nothing_stays_in_the_users_slice(user: UserEngine) -> None:
    user.end_processes()
    listing = ["systemctl", "--user", "list-units", "--type=scope", "--plain", "--no-legend"]
    eventually(
        lambda: "MultiOS" not in user.execute(listing, status=None).stdout,
        "the scope has gone with its processes",
    )
