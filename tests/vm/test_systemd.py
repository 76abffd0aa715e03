"""The unit of `packaging/`, under a real systemd: what docs/how-to/systemd.md promises."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_rootfs
from private_engine import CLIENT, DAEMON, IMAGE, eventually

CHECKOUT = Path(__file__).parents[2]
UNIT = Path("/etc/systemd/system/multios-containerd.service")

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd/system").is_dir(), reason="this host is not run by systemd"
)


def run(*words: str | Path, stdin: Path = Path("/dev/null")) -> str:
    """Run a command that must succeed; what it printed, stripped."""
    with stdin.open("rb") as input_:
        done = subprocess.run([str(word) for word in words], stdin=input_, capture_output=True, check=False)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout!r}{done.stderr!r}"
    return done.stdout.decode().strip()


def multios(*words: str) -> str:
    """Run the client against the system's daemon."""
    return run(CLIENT, *words)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The unit installed and enabled as the how-to says, and the small image in its daemon."""
    assert not UNIT.exists(), "this host has a daemon of its own"
    UNIT.write_text(
        (CHECKOUT / "packaging/multios-containerd.service").read_text().replace("/opt/multios", str(CHECKOUT))
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "multios-containerd")
    run(
        CLIENT,
        "image",
        "import",
        "-",
        IMAGE,
        stdin=busybox_rootfs.write(tmp_path_factory.mktemp("image") / "small.tar"),
    )
    yield
    run("systemctl", "disable", "--now", "multios-containerd")
    UNIT.unlink()
    run("systemctl", "daemon-reload")


def await_daemon() -> None:
    """Wait until the unit's daemon serves."""

    def answers() -> bool:
        return "; answers" in subprocess.run([DAEMON, "status"], capture_output=True, text=True).stdout

    eventually(answers, "the daemon answers", patience=120)


def main_process() -> int:
    """The process that systemd takes for the service."""
    return int(run("systemctl", "show", "--property", "MainPID", "--value", "multios-containerd"))


def test_the_unit_serves_and_its_log_is_in_the_journal(service: None) -> None:
    assert multios("run", "--rm", IMAGE, "echo", "hello") == "hello"
    eventually(
        lambda: "serving" in run("journalctl", "--unit", "multios-containerd", "--no-pager"),
        "a journal entry",
    )


def test_a_restart_of_the_unit_ends_the_daemon_alone(service: None) -> None:
    multios("run", "-d", "--name", "stays", IMAGE, "sleep", "1000")
    pid, before = json.loads(multios("inspect", "stays"))[0]["State"]["Pid"], main_process()
    run("systemctl", "restart", "multios-containerd")
    assert main_process() != before
    state = json.loads(multios("inspect", "stays"))[0]["State"]
    assert (state["Status"], state["Pid"]) == ("running", pid)
    assert multios("exec", "stays", "echo", "still here") == "still here"
    multios("delete", "--force", "stays")


def test_a_killed_daemon_is_started_again_and_takes_over(service: None) -> None:
    multios("run", "-d", "--name", "outlives", IMAGE, "sleep", "1000")
    before = main_process()
    run("kill", "-KILL", str(before))
    eventually(lambda: main_process() not in (0, before), "systemd starts another", patience=60)
    await_daemon()
    assert multios("exec", "outlives", "echo", "alive") == "alive"
    multios("delete", "--force", "outlives")


def test_reload_reads_the_settings_again(service: None) -> None:
    before = main_process()
    run("systemctl", "reload", "multios-containerd")
    eventually(
        lambda: "settings read again" in run("journalctl", "--unit", "multios-containerd", "--no-pager"),
        "the journal tells of the reload",
    )
    assert main_process() == before


def test_containers_stand_in_cgroups_of_the_engine_below_the_unified_hierarchy(service: None) -> None:
    multios("run", "-d", "--name", "placed", "--memory-limit", "64M", IMAGE, "sleep", "1000")
    pid = json.loads(multios("inspect", "placed"))[0]["State"]["Pid"]
    (line,) = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    group = Path("/sys/fs/cgroup") / line.split("::")[1].lstrip("/")
    assert (group / "memory.max").read_text().strip() == str(64 << 20)
    assert group.parent.name == "multios"
    multios("delete", "--force", "placed")
