"""Pull, push, login and logout from the command line, against a real registry and with real other clients."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine, eventually
from registry_box import SmallImage, digest_of
from registry_server import PASSWORD, PROGRAM, USER, Registry, registry
from scripted_registry import Request, ScriptedRegistry

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, (PROGRAM, "skopeo", "umoci", "podman"))),
    reason="needs docker-registry, skopeo, umoci and podman: scripts/install-system-packages test",
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("plain")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("guarded"), password=True) as running:
        yield running


@pytest.fixture(scope="module")
def pulling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine that may speak plain HTTP on loopback, whose user has an empty home."""
    directory = tmp_path_factory.mktemp("pulling")
    engine = PrivateEngine(directory, {"HOME": str(directory)})
    with engine.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\nstall_timeout = 5.0\n')
    engine.start()
    engine.import_small_image()
    yield engine
    engine.end()


def digest_printed(engine: PrivateEngine, *words: str) -> str:
    digest = engine.out("image", "push", *words)
    assert digest.startswith("sha256:") and len(digest) == 71
    return digest


def test_an_image_goes_there_and_back_and_runs(pulling: PrivateEngine, plain: Registry) -> None:
    name = f"{plain.host}/there/and-back:1"
    digest = digest_printed(pulling, IMAGE, name)
    image_id = pulling.out("image", "pull", name)
    assert json.loads(pulling.out("image", "inspect", name))[0]["Digest"] == digest
    assert pulling.out("run", "--rm", name, "cat", "/etc/greeting") == "hello"
    pulling.run("image", "rm", name)
    pulling.run("image", "rm", "--force", IMAGE)
    try:
        # Without any of its blobs here it comes whole, and the same.
        assert pulling.out("image", "pull", "--quiet", f"{name.rpartition(':')[0]}@{digest}") == image_id
        assert pulling.out("image", "pull", name) == image_id
        assert pulling.out("run", "--rm", name, "cat", "/etc/greeting") == "hello"
        assert digest_printed(pulling, name) == digest
    finally:
        pulling.import_small_image()


def test_a_run_pulls_what_is_absent(pulling: PrivateEngine, plain: Registry) -> None:
    name = f"{plain.host}/pulled/by-run:1"
    digest_printed(pulling, IMAGE, name)
    done = pulling.run("run", "--rm", name, "cat", "/etc/greeting")
    assert done.stdout == "hello\n"
    assert "Asking" in done.stderr


def test_several_images_are_pulled_and_one_that_fails_keeps_none_of_the_others(
    pulling: PrivateEngine, plain: Registry
) -> None:
    names = [f"{plain.host}/several/image:{number}" for number in (1, 2)]
    for name in names:
        digest_printed(pulling, IMAGE, name)
    done = pulling.run("image", "pull", names[0], f"{plain.host}/several/none:1", names[1], status=125)
    assert len(done.stdout.split()) == 2
    assert "has no such image" in done.stderr
    assert "Traceback" not in done.stderr


OTHER_CLIENTS = (
    "skopeo inspect --tls-verify=false docker://{name}",
    "skopeo copy --quiet --src-tls-verify=false docker://{name} oci:{directory}/layout:1",
    "umoci unpack --rootless --image {directory}/layout:1 {directory}/bundle",
    "podman --root {directory}/podman --runroot {directory}/run --storage-driver vfs pull --quiet"
    " --tls-verify=false {name}",
)


def test_other_clients_read_what_was_pushed(pulling: PrivateEngine, plain: Registry) -> None:
    name = f"{plain.host}/for/others:1"
    digest_printed(pulling, IMAGE, name)
    # podman takes no long path for its runroot.
    with tempfile.TemporaryDirectory(prefix="clients-", dir="/tmp") as directory:
        for command in OTHER_CLIENTS:
            words = command.format(name=name, directory=directory).split()
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert Path(directory, "bundle/rootfs/etc/greeting").read_text() == "hello\n"


def test_what_another_client_pushed_is_pulled(pulling: PrivateEngine, plain: Registry) -> None:
    source, name = f"{plain.host}/theirs/from:1", f"{plain.host}/theirs/docker:1"
    digest_printed(pulling, IMAGE, source)
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false",
         f"docker://{source}", f"docker://{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    pulling.run("image", "pull", name)
    assert pulling.out("run", "--rm", name, "cat", "/etc/greeting") == "hello"


# --- logins -----------------------------------------------------------------------------------------


def test_a_login_opens_a_guarded_registry_and_a_logout_closes_it(
    pulling: PrivateEngine, guarded: Registry
) -> None:
    name = f"{guarded.host}/private/image:1"
    refused = pulling.run("image", "push", IMAGE, name, status=125)
    assert f"multios-container login {guarded.host}" in refused.stderr
    wrong = pulling.run("login", "-u", USER, "--password-stdin", guarded.host, input="wrong\n", status=125)
    assert "refuses it to this user" in wrong.stderr
    done = pulling.run("login", "-u", USER, "--password-stdin", guarded.host, input=f"{PASSWORD}\n")
    assert done.stdout == f"logged in to {guarded.host} as {USER}\n"
    file = Path(pulling.environment["HOME"]) / ".docker/config.json"
    assert file.stat().st_mode & 0o777 == 0o600
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert json.loads(file.read_text())["auths"] == {guarded.host: {"auth": pair}}
    digest_printed(pulling, IMAGE, name)
    assert pulling.out("run", "--rm", name, "cat", "/etc/greeting") == "hello"
    pulling.run("image", "rm", name)
    container = pulling.out("run", "-d", name, "sleep", "100")
    pulling.run("delete", "--force", container)
    pulling.run("image", "rm", name)
    pulling.run("delete", pulling.out("create", name, "true"))
    pulling.run("image", "pull", name)
    assert pulling.out("logout", guarded.host) == f"logged out of {guarded.host}"
    assert pulling.out("logout", guarded.host) == f"not logged in to {guarded.host}"
    assert "without a login" in pulling.run("image", "pull", name, status=125).stderr
    assert PASSWORD not in pulling.log.read_text()


# --- what goes wrong --------------------------------------------------------------------------------


def test_a_name_that_nobody_knows_is_answered_soon_with_the_nearest(pulling: PrivateEngine) -> None:
    began = time.monotonic()
    done = pulling.run("run", "--rm", "debain:12", "true", status=125)
    assert time.monotonic() - began < 7  # four more tries would wait for 7.5 s
    cause, remedy = done.stderr.strip().splitlines()[-2:]
    assert cause.startswith("Error: pull debain:12: docker.io ")
    assert remedy.startswith("did you mean 'debian:12'?")


def slowly(served: ScriptedRegistry, digest: str) -> None:
    """Serve one layer so that it never ends."""

    def drip(request: Request) -> None:
        data = served.image.blobs[digest]
        request.answer(200, data[:1000], length=len(data))
        for _ in range(100):
            time.sleep(0.1)
            request.wfile.write(b"x")

    served.scripts[digest] = drip


def test_a_killed_daemon_leaves_nothing_half_written_and_the_next_pull_carries_on(
    pulling: PrivateEngine,
) -> None:
    image = SmallImage(3, 200_000, name="killed")
    first, second, last = (digest_of(data) for data in image.layers)
    content = pulling.data_root / "content"
    with ScriptedRegistry(image).serving() as served:
        slowly(served, last)
        client = pulling.popen("image", "pull", served.reference, stderr=subprocess.DEVNULL)
        blobs = [content / "blobs/sha256" / digest.removeprefix("sha256:") for digest in (first, second)]
        eventually(lambda: all(blob.exists() for blob in blobs), "two layers are here")
        eventually(lambda: list((content / "ingest").iterdir()), "the third one is coming")
        os.kill(pulling.daemon_pid, signal.SIGKILL)
        client.wait(30)
        pulling.start()
        assert list((content / "ingest").iterdir()) == []
        assert served.reference not in pulling.out("images")
        served.scripts.clear()
        served.asked.clear()
        pulling.run("image", "pull", served.reference)
        assert [path.rpartition("/")[2] for path in served.paths("/blobs/")] == [
            digest_of(image.config),
            last,
        ]
        pulling.run("image", "rm", served.reference)
        assert not any(blob.exists() for blob in blobs)


def test_an_interrupted_pull_ends_and_the_next_one_carries_on(pulling: PrivateEngine) -> None:
    image = SmallImage(2, 200_000, name="interrupted")
    first, last = (digest_of(data) for data in image.layers)
    content = pulling.data_root / "content"
    with ScriptedRegistry(image).serving() as served:
        slowly(served, last)
        client = pulling.popen("image", "pull", served.reference, stderr=subprocess.DEVNULL)
        whole = content / "blobs/sha256" / first.removeprefix("sha256:")
        eventually(whole.exists, "the first layer is here")
        eventually(lambda: list((content / "ingest").iterdir()), "the other one is coming")
        client.send_signal(signal.SIGINT)
        assert client.wait(30) == 130
        eventually(lambda: not list((content / "ingest").iterdir()), "the daemon has given up")
        served.scripts.clear()
        served.asked.clear()
        pulling.run("image", "pull", served.reference)
        assert [path.rpartition("/")[2] for path in served.paths("/blobs/")] == [
            digest_of(image.config),
            last,
        ]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    engine = PrivateEngine(tmp_path)
    with engine.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
    engine.data_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", engine.data_root], check=True)
    try:
        engine.start()
        with ScriptedRegistry(SmallImage(2, 6_000_000, name="full")).serving() as served:
            done = engine.run("image", "pull", served.reference, status=125)
        assert "No space left on device" in done.stderr
        assert "free some disk space" in done.stderr
        content = engine.data_root / "content"
        assert list((content / "ingest").iterdir()) == []
        assert list((content / "blobs/sha256").iterdir()) == []
        engine.run("image", "list")
    finally:
        try:
            engine.end()
        finally:
            subprocess.run(["umount", "--lazy", engine.data_root], check=True)


def test_many_pulls_of_one_image_at_once_fetch_it_once(pulling: PrivateEngine) -> None:
    image = SmallImage(2, 500_000, name="at once")
    with ScriptedRegistry(image).serving() as served:
        clients = [pulling.popen("image", "pull", "-q", served.reference) for _ in range(4)]
        assert [client.wait(30) for client in clients] == [0, 0, 0, 0]
        for data in image.layers:
            assert len(served.paths(digest_of(data))) == 1


def test_the_daemon_stays_small_while_much_is_pulled(pulling: PrivateEngine) -> None:
    image = SmallImage(3, 40_000_000, name="much")
    status = Path(f"/proc/{pulling.daemon_pid}/status")
    with ScriptedRegistry(image).serving() as served:
        small = SmallImage(1, name="warm")
        with ScriptedRegistry(small).serving() as warm:
            pulling.run("image", "pull", "--quiet", warm.reference)
        before = peak(status)
        pulling.run("image", "pull", "--quiet", served.reference)
        assert peak(status) - before <= 64 << 20


def peak(status: Path) -> int:
    """The most memory that a process has had, in bytes (proc(5), VmHWM)."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_an_image_of_another_machine_is_pulled_when_asked_for(pulling: PrivateEngine) -> None:
    with ScriptedRegistry(SmallImage(architecture="arm64")).serving() as served:
        refused = pulling.run("image", "pull", served.reference, status=125)
        assert "is for linux/arm64, not for linux/amd64" in refused.stderr
        assert "--platform linux/arm64" in refused.stderr
        pulling.run("image", "pull", "--platform", "linux/arm64", served.reference)
        assert json.loads(pulling.out("image", "inspect", served.reference))[0]["Architecture"] == "arm64"
        assert "not valid" in pulling.run("image", "pull", "--platform", "a b", "x", status=125).stderr


def test_a_pull_shows_its_layers_in_lines(pulling: PrivateEngine) -> None:
    image = SmallImage(2, 1000, name="lines")
    with ScriptedRegistry(image).serving() as served:
        done = pulling.run("image", "pull", served.reference)
    for data in image.layers:
        assert f"Layer {digest_of(data)[7:19]}\n" in done.stderr
