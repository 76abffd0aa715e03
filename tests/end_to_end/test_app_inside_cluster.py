"""What one does with an app on a cluster, through the client alone: no daemon is there, and none is started."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import busybox_rootfs
import kubernetes_server
from private_engine import CLIENT, PrivateEngine, eventually
from registry_server import PROGRAM, registry

pytestmark = pytest.mark.needs_root
COMPOSE = """
services:
  web:
    image: registry.example.org/web:1
    command: [sh, -c, 'echo begun; echo again; exec sleep 1000']
    deploy: {replicas: 2}
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[kubernetes_server.Server]:
    """Its pods have a root filesystem."""
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs.write(tmp_path / "root.tar"), "-C", root], check=True)
    with kubernetes_server.running() as running:
        running.pods.root = root
        yield running


@pytest.fixture
def environment(cluster: kubernetes_server.Server, tmp_path: Path) -> dict[str, str]:
    """That of a user who has chosen the cluster, where no daemon listens."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MULTIOS_", "PYTHON"))}
    return {
        **own,
        "MULTIOS_EXEC_ROOT": str(tmp_path / "nothing"),
        "MULTIOS_SOCKET": str(tmp_path / "nothing.sock"),
        "MULTIOS_ORCHESTRATOR": "kubernetes",
        "KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
        "NO_COLOR": "1",
    }


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The directory of the app ``shop``."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "compose.yaml").write_text(COMPOSE)
    return directory


@pytest.fixture
def run(shop: Path, environment: dict[str, str]) -> Run:
    """Runs ``app WORDS`` there."""

    def run_app(*words: str, status: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [CLIENT, "app", *words], cwd=shop, env=environment, input=given,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run_app


@contextmanager
def beside(environment: dict[str, str], shop: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """``app WORDS`` while the block runs; then it is interrupted."""
    running = subprocess.Popen(
        [CLIENT, "app", *words], cwd=shop, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(10)
        finally:
            running.kill()


def lines_of(running: subprocess.Popen[str], count: int) -> list[str]:
    assert running.stdout is not None
    return [running.stdout.readline().rstrip("\n") for _ in range(count)]


def test_pods_are_listed_by_service_and_number(run: Run) -> None:
    run("up", "-d")
    assert run("ps", "--services").stdout.split() == ["web"]
    rows = run("ps", "--format", "{{.Service}} {{.Index}} {{.Status}}").stdout.splitlines()
    assert rows == ["web 1 running", "web 2 running"]
    assert "NAME" in run("ps").stdout


def test_logs_have_whose_they_are(run: Run, shop: Path, environment: dict[str, str]) -> None:
    run("up", "-d")
    with beside(environment, shop, "logs", "--follow") as following:
        lines = sorted(lines_of(following, 4))
    assert lines == ["web-1 | again", "web-1 | begun", "web-2 | again", "web-2 | begun"]
    assert run("logs", "--tail", "1", "--no-log-prefix", "web").stdout == "again\nagain\n"


def test_up_shows_logs_until_ctrl_c_and_leaves_the_app_there(
    run: Run, shop: Path, environment: dict[str, str]
) -> None:
    with beside(environment, shop, "up") as attached:
        assert sorted(lines_of(attached, 4))[0] == "web-1 | again"
    assert attached.returncode == 0
    assert attached.stderr is not None
    assert "app -p shop down" in attached.stderr.read()
    assert len(run("ps", "--quiet").stdout.split()) == 2


def test_a_command_inside_has_streams_and_status(run: Run) -> None:
    run("up", "-d")
    done = run("exec", "-T", "web", "sh", "-c", "cat; echo wrong >&2; exit 3", given="given", status=3)
    assert (done.stdout, done.stderr) == ("given", "wrong\n")
    assert run("exec", "--index", "2", "web", "hostname").returncode == 0
    assert "no such command" in run("exec", "web", "no-such", status=127).stderr
    assert (
        "--user: the orchestrator 'kubernetes' cannot"
        in run("exec", "-u", "1", "web", "id", status=125).stderr
    )


def test_a_shell_inside_has_our_terminal(run: Run, shop: Path, environment: dict[str, str]) -> None:
    run("up", "-d")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shop)
        os.execve(CLIENT, [str(CLIENT), "app", "exec", "web", "sh"], environment)
    try:
        shown = b""
        os.write(terminal, b"echo one-$((1+1)); test -t 0 && exit 5\n")
        deadline = time.monotonic() + 20
        while b"one-2" not in shown and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.5)[0]:
                shown += os.read(terminal, 4096)
        assert b"one-2" in shown
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 5
    finally:
        os.close(terminal)


def test_files_are_copied_in_and_out(run: Run, shop: Path, cluster: kubernetes_server.Server) -> None:
    run("up", "-d")
    (shop / "site").mkdir()
    (shop / "site/page").write_text("hello")
    run("cp", "site", "web:/tmp/")
    assert cluster.pods.root is not None
    assert (cluster.pods.root / "tmp/site/page").read_text() == "hello"
    run("cp", "site/page", "web:/tmp/renamed")
    run("cp", "web:/tmp/renamed", "back")
    assert (shop / "back").read_text() == "hello"
    run("cp", "web:/tmp/site/.", "all")
    assert (shop / "all/page").read_text() == "hello"
    assert "No such file" in run("cp", "web:/no-such", ".", status=125).stderr
    assert "No such file" in run("cp", "site", "web:/no/such/place", status=125).stderr


def test_an_app_begins_anew_without_a_daemon(run: Run, shop: Path, cluster: kubernetes_server.Server) -> None:
    run("up", "-d")
    before = {pod["metadata"]["uid"] for pod in cluster.store.select("pods", "shop", "")}
    assert run("reset").stderr == "Deployment web: back to its beginning\n"
    after = {pod["metadata"]["uid"] for pod in cluster.store.select("pods", "shop", "")}
    assert len(before) == len(after) == 2 and not before & after
    for words in (("reset", "--to", "before"), ("snapshot", "before")):
        assert "the orchestrator 'kubernetes' cannot keep states" in run(*words, status=125).stderr


def test_a_port_leads_inside_until_ctrl_c(
    run: Run, shop: Path, environment: dict[str, str], cluster: kubernetes_server.Server
) -> None:
    run("up", "-d")
    with socket.create_server(("127.0.0.1", 0)) as inside:
        cluster.pods.ports[80] = inside.getsockname()[1]
        with beside(environment, shop, "port-forward", "web", "80") as forwarding:
            (line,) = lines_of(forwarding, 1)
            address, arrow, target = line.split()
            assert (arrow, target) == ("->", "web:80")
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 10) as client:
                client.sendall(b"hello")
                with inside.accept()[0] as served:
                    assert served.recv(5) == b"hello"
        assert forwarding.returncode == 0


@pytest.mark.parametrize("command", ["start", "stop", "restart", "top"])
def test_what_a_cluster_has_no_equal_of_is_said_with_what_to_do(run: Run, command: str) -> None:
    done = run(command, status=125)
    assert "the orchestrator 'kubernetes' cannot" in done.stderr
    assert "app " in done.stderr.splitlines()[-1]


def test_a_service_that_is_built_needs_a_registry(run: Run, shop: Path) -> None:
    (shop / "compose.yaml").write_text("services: {web: {build: .}}")
    done = run("up", "-d", status=125)
    assert "service 'web' is built on this host" in done.stderr
    assert "`image:`" in done.stderr
    (shop / "compose.yaml").write_text("services: {web: {build: ., image: registry.example.org/web:1}}")
    run("up", "-d")


@pytest.mark.skipif(
    not shutil.which(PROGRAM), reason="needs docker-registry: scripts/install-system-packages test"
)
def test_what_is_built_is_pushed_for_the_cluster_when_asked_to(
    cluster: kubernetes_server.Server, environment: dict[str, str], tmp_path: Path, shop: Path
) -> None:
    engine = PrivateEngine(tmp_path / "engine", {"KUBECONFIG": environment["KUBECONFIG"]})
    try:
        with engine.config.open("a") as file:
            file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
        engine.start()
        engine.import_small_image()
        with registry(tmp_path / "registry") as running:
            (shop / "Dockerfile").write_text("FROM small:1\n")
            image = f"{running.host}/web:1"
            (shop / "compose.yaml").write_text(f"services: {{web: {{build: ., image: '{image}'}}}}")
            words = (
                "app",
                "--project-directory",
                str(shop),
                "up",
                "-d",
                "--build",
                "--orchestrator",
                "kubernetes",
            )
            engine.run(*words)
            assert running.requests("PUT", "/v2/web/manifests/1") == 1
        (deployment,) = cluster.store.named("Deployment").values()
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image
    finally:
        engine.end()


def test_events_of_the_cluster_are_shown(
    run: Run, shop: Path, environment: dict[str, str], cluster: kubernetes_server.Server
) -> None:
    run("up", "-d")
    with beside(environment, shop, "events", "--json") as watching:
        eventually(lambda: cluster.watches == 1, "it watches")
        name = next(iter(cluster.store.named("Pod")))
        cluster.store.edit("Pod", "shop", name, {"status": {"phase": "Failed", "conditions": []}})
        (line,) = lines_of(watching, 1)
    event = json.loads(line)
    assert (event["action"], event["name"]) == ("exit", name)
