"""podman, and docker, run their containers on ``multios-oci-runtime``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_rootfs
from private_engine import SCRIPTS, eventually

RUNTIME = str(SCRIPTS / "multios-oci-runtime")
# Neither podman nor docker may raise limits on a host without CAP_SYS_RESOURCE, so both are told not to.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
IMAGE = "small:1"
PATIENCE = 120

pytestmark = pytest.mark.needs_root


class Caller:
    """An engine other than ours that calls our runtime."""

    def __init__(self, base: list[str]) -> None:
        self.base = base

    def call(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.base, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == status, (words, done.returncode, done.stdout[-500:], done.stderr[-500:])
        return done

    def run(self, *words: str, status: int = 0) -> str:
        return self.call("run", "--rm", *LIMITS, *words, status=status).stdout

    def on_a_terminal(self, *words: str) -> tuple[int, str]:
        """Run it on a terminal of script(1)'s."""
        line = " ".join(f"'{word}'" for word in [*self.base, *words])
        done = subprocess.run(
            ["script", "-qec", line, "/dev/null"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="multios-oci-", dir="/var/tmp") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def archive(directory: Path) -> Path:
    return busybox_rootfs.write(directory / "root.tar")


@pytest.fixture(scope="module")
def podman(directory: Path, archive: Path) -> Iterator[Caller]:
    program = shutil.which("podman")
    if program is None:
        pytest.skip("this host has no podman")
    places = ("--root", str(directory / "storage"), "--runroot", str(directory / "run"))
    caller = Caller([program, *places, "--cgroup-manager", "cgroupfs", "--runtime", RUNTIME])
    caller.call("import", str(archive), IMAGE)
    yield caller
    caller.call("rm", "--all", "--force", "--time", "0")
    # podman leaves its storage mounted.
    subprocess.run(["umount", "--recursive", str(directory / "storage/overlay")], capture_output=True)


@pytest.fixture(scope="module")
def docker(directory: Path, archive: Path) -> Iterator[Caller]:
    program, server = shutil.which("docker"), shutil.which("dockerd")
    if program is None or server is None:
        pytest.skip("this host has no docker")
    home = directory / "docker"
    home.mkdir()
    words = [
        "--host",
        f"unix://{home}/s",
        "--data-root",
        str(home / "data"),
        "--exec-root",
        str(home / "exec"),
    ]
    words += ["--pidfile", str(home / "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false"]
    with (home / "log").open("w") as log:
        daemon = subprocess.Popen(
            [server, *words, "--add-runtime", f"multios={RUNTIME}"], stdout=log, stderr=log
        )
    caller = Caller([program, "--host", f"unix://{home}/s"])
    try:
        end = time.monotonic() + 60
        while subprocess.run([*caller.base, "version"], capture_output=True).returncode:
            if daemon.poll() is not None or time.monotonic() > end:
                pytest.skip("this host cannot run dockerd: " + (home / "log").read_text()[-300:])
            time.sleep(0.2)
        caller.call("import", str(archive), IMAGE)
        yield caller
        if names := caller.call("ps", "--all", "--quiet").stdout.split():
            caller.call("rm", "--force", *names)
    finally:
        daemon.terminate()
        daemon.wait(60)


# --- podman ---


@pytest.mark.parametrize("network", ["none", "host", "podman"])
def test_podman_runs_on_any_network_and_tells_the_exit_status(podman: Caller, network: str) -> None:
    assert "uid=0" in podman.run("--network", network, IMAGE, "sh", "-c", "id; exit 5", status=5)


def test_podman_reaches_its_bridge(podman: Caller) -> None:
    shown = podman.run(
        "--cap-add", "NET_RAW", IMAGE, "sh", "-c", "ip route | awk '/default/{print $3}' | xargs ping -c1 -W5"
    )
    assert "1 packets received" in shown


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_podman_hears_why_a_command_does_not_run(podman: Caller, command: str, status: int) -> None:
    podman.run("--network", "none", IMAGE, command, status=status)


def test_podman_gives_a_terminal(podman: Caller) -> None:
    # podman loses what a container writes that ends at once, with runc as well.
    status, shown = podman.on_a_terminal(
        "run", "--rm", "-it", *LIMITS, "--network", "none", IMAGE, "sh", "-c", "tty; sleep 1; exit 4"
    )
    assert status == 4 and "/dev/pts/0" in shown


def test_a_containers_life_under_podman(podman: Caller) -> None:
    script = "trap 'exit 9' TERM; echo hello; while :; do sleep 0.05; done"
    options = ("--memory", "64m", "--pids-limit", "50", "--tmpfs", "/scratch", "-v", "/etc/hostname:/name:ro")
    podman.call(
        "run", "-d", "--name", "life", *LIMITS, "--network", "none", *options, IMAGE, "sh", "-c", script
    )
    eventually(lambda: podman.call("logs", "life").stdout == "hello\n", "it has begun")
    inside = podman.call(
        "exec", "life", "sh", "-c", "cat /name; mount | grep -c scratch; exit 3", status=3
    ).stdout
    assert inside.split() == [Path("/etc/hostname").read_text().strip(), "1"]
    podman.call("exec", "life", "nosuch", status=127)
    assert "uid=1000" in podman.call("exec", "--user", "1000", "life", "id").stdout
    assert podman.on_a_terminal("exec", "-it", "life", "sh", "-c", "tty; exit 6")[0] == 6
    state = json.loads(podman.call("inspect", "life").stdout)[0]["State"]
    assert state["Status"] == "running" and os.path.exists(f"/proc/{state['Pid']}")
    assert "sh -c" in podman.call("top", "life").stdout
    podman.call("pause", "life")
    assert json.loads(podman.call("inspect", "life").stdout)[0]["State"]["Status"] == "paused"
    podman.call("unpause", "life")
    podman.call("stop", "--time", "20", "life")
    assert json.loads(podman.call("inspect", "life").stdout)[0]["State"]["ExitCode"] == 9
    podman.call("start", "life")
    podman.call("kill", "life")
    assert podman.call("wait", "life").stdout.strip() == "137"
    podman.call("rm", "life")


def test_podman_limits_memory(podman: Caller) -> None:
    paths = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    shown = podman.run(
        "--network", "none", "--memory", "64m", IMAGE, "sh", "-c", f"cat {paths} 2>/dev/null; true"
    )
    assert shown.split() == [str(64 << 20)]


def test_podmans_own_user_namespace(podman: Caller) -> None:
    maps = ("--uidmap", "0:700000:65536", "--gidmap", "0:700000:65536")
    assert podman.run(*maps, "--network", "none", IMAGE, "cat", "/proc/self/uid_map").split() == [
        "0",
        "700000",
        "65536",
    ]


def test_podman_shares_a_containers_network(podman: Caller) -> None:
    podman.call("run", "-d", "--name", "first", *LIMITS, "--network", "none", IMAGE, "sleep", "100")
    pid = podman.call("inspect", "-f", "{{.State.Pid}}", "first").stdout.strip()
    shown = podman.run("--network", "container:first", IMAGE, "readlink", "/proc/self/ns/net")
    assert shown.strip() == os.readlink(f"/proc/{pid}/ns/net")
    podman.call("rm", "--force", "--time", "0", "first")


def test_podman_privileged_and_read_only(podman: Caller) -> None:
    assert "fuse" in podman.run(
        "--privileged", "--network", "none", IMAGE, "ls", "/dev"
    ) or not os.path.exists("/dev/fuse")
    assert (
        podman.run(
            "--read-only", "--network", "none", IMAGE, "sh", "-c", "touch /x 2>/dev/null || echo closed"
        )
        == "closed\n"
    )


# --- docker ---


def test_docker_runs_by_containerds_shim(docker: Caller) -> None:
    on_ours = ("--runtime", "multios", "--network", "none")
    assert docker.run(*on_ours, IMAGE, "sh", "-c", "echo $HOME; exit 6", status=6) == "/root\n"
    docker.run(*on_ours, IMAGE, "nosuch", status=127)
    status, shown = docker.on_a_terminal(
        "run", "--rm", "-it", *LIMITS, *on_ours, IMAGE, "sh", "-c", "tty; exit 4"
    )
    assert status == 4 and "/dev/pts/0" in shown


def test_a_containers_life_under_docker(docker: Caller) -> None:
    script = "trap 'exit 9' TERM; echo hello; while :; do sleep 0.05; done"
    options = ("--runtime", "multios", "--network", "none", "--memory", "64m")
    docker.call("run", "-d", "--name", "life", *LIMITS, *options, IMAGE, "sh", "-c", script)
    eventually(lambda: docker.call("logs", "life").stdout == "hello\n", "it has begun")
    docker.call("exec", "life", "sh", "-c", "exit 3", status=3)
    assert docker.on_a_terminal("exec", "-it", "life", "sh", "-c", "tty; exit 6")[0] == 6
    assert "sh -c" in docker.call("top", "life").stdout
    assert "64MiB" in docker.call("stats", "--no-stream", "life").stdout
    docker.call("pause", "life")
    docker.call("unpause", "life")
    docker.call("update", "--memory", "128m", "--memory-swap", "256m", "life")
    docker.call("stop", "-t", "20", "life")
    assert docker.call("inspect", "-f", "{{.State.ExitCode}}", "life").stdout.strip() == "9"
    docker.call("rm", "life")
