"""The page about clusters is played as a reader would, against an API server of the tests' own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_rootfs
import kubernetes_server
from document_session import commands, play
from private_engine import SCRIPTS, PrivateEngine

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/kubernetes.md"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes_server.Server]:
    """Each of its pods has a root filesystem of its own."""
    root = tmp_path_factory.mktemp("pods")
    subprocess.run(["tar", "-xf", busybox_rootfs.write(root / "root.tar"), "-C", root], check=True)
    with kubernetes_server.running() as running:
        running.pods.root, running.pods.own_roots = root, tmp_path_factory.mktemp("roots")
        yield running


@pytest.fixture
def environment(engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path) -> dict[str, str]:
    return {
        **engine.environment,
        "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin",
        "KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
    }


def test_the_page_about_clusters_goes_as_written(
    cluster: kubernetes_server.Server, environment: dict[str, str], tmp_path: Path
) -> None:
    empty = set(cluster.store.objects)
    for command in commands(PAGE, {}):
        play(command, tmp_path, environment)
        if "up -d" in command.line:
            assert set(cluster.store.named("Deployment")) == {"web", "db"}
            assert set(cluster.store.named("Job")) == {"migrate"}
    assert set(cluster.store.objects) == empty


def test_the_course_of_the_page_is_put_on_a_cluster(
    cluster: kubernetes_server.Server, environment: dict[str, str], tmp_path: Path
) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert {"python-ada", "python-ben", "course-python"} <= set(cluster.store.named("Namespace"))


def test_a_cluster_that_is_not_there_is_said_without_a_traceback(
    engine: PrivateEngine, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: a}}")
    done = subprocess.run(
        ["multios-container", "app", "up", "--dry-run", "--orchestrator", "kubernetes", "--orchestrator-opt", "context=scool"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 125
    assert "context: the kubeconfig has none called 'scool'" in done.stderr
    assert "there are: school" in done.stderr
    assert "Traceback" not in done.stderr
