"""A real control plane on this host's loopback, as long as the tests run that want one.

kubernetes_cluster.py DIRECTORY_OF_PROGRAMS [PYTEST_ARGUMENTS…]
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import kubernetes_node
from free_ports import free_port

PATIENCE = 120.0
SELECTION = ["plugins/orchestrator-kubernetes/tests/test_real_cluster.py"]


@contextmanager
def running(programs: Path, directory: Path) -> Iterator[Path]:
    """etcd, the API server and the controllers; the kubeconfig of its administrator."""
    store, peers, port = (free_port() for _ in range(3))
    token, key = secrets.token_hex(16), directory / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{token},admin,admin,"system:masters"\n')
    kubeconfig = _write_kubeconfig(directory, port, token)
    with ExitStack() as ended:
        for name, command in {
            "etcd": [
                "etcd", f"--data-dir={directory}/etcd", "--unsafe-no-fsync",
                f"--listen-client-urls=http://127.0.0.1:{store}", f"--advertise-client-urls=http://127.0.0.1:{store}",
                f"--listen-peer-urls=http://127.0.0.1:{peers}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
                f"--initial-cluster=default=http://127.0.0.1:{peers}",
            ],
            "kube-apiserver": [
                programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1",
                "--advertise-address=192.0.2.2", "--insecure-port=0", f"--secure-port={port}",
                f"--cert-dir={directory}/certificates", f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}", "--service-cluster-ip-range=192.0.2.0/24",
            ],
            "kube-controller-manager": [
                programs / "kube-controller-manager", f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--port=0",
                "--secure-port=0", f"--service-account-private-key-file={key}",
            ],
        }.items():  # fmt: skip
            ended.enter_context(_process(command, directory / f"{name}.log"))
            if name == "kube-apiserver":
                _wait_until_ready(port, token)
        ended.enter_context(kubernetes_node.running(str(kubeconfig)))
        yield kubeconfig


@contextmanager
def _process(command: list[str | Path], log: Path) -> Iterator[None]:
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()


def _write_kubeconfig(directory: Path, port: int, token: str) -> Path:
    # The server makes itself a certificate, and an authority for it in the same file.
    authority = f"{directory}/certificates/apiserver.crt"
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": authority}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "current-context": "tests",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


def _wait_until_ready(port: int, token: str) -> None:
    """Its own word; the certificate is not there yet to be trusted."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    authorization = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"https://127.0.0.1:{port}/readyz", headers=authorization)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(request, context=context, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main(programs: str, *arguments: str) -> int:
    with tempfile.TemporaryDirectory(prefix="multios-kubernetes-") as directory:
        with running(Path(programs), Path(directory)) as kubeconfig:
            environment = {
                **os.environ,
                "KUBECONFIG": str(kubeconfig),
                "MULTIOS_TEST_CLUSTER_IMAGE_BY_DIGEST": f"busybox@sha256:{'0' * 64}",
            }
            command = [sys.executable, "-m", "pytest", *(arguments or SELECTION)]
            return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
