"""Commands in pods, and copies: by real websockets, with real commands in a root filesystem."""

from __future__ import annotations

import io
import os
import pty
import select
import tarfile
import tempfile
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubernetes_server import Server, running
from multios.drivers.base import DriverContext
from multios.drivers.orchestrator import ApplyOptions, Place, PlanOptions
from multios.errors import (
    CommandNotFound,
    MultiosError,
    NotFound,
    Refused,
    Unavailable,
    Unsupported,
)
from multios.model import app_document
from multios_orchestrator_kubernetes import KubernetesOrchestrator
from multios_orchestrator_kubernetes.settings import KubernetesSettings
from multios_orchestrator_kubernetes.websockets import V4
from registry_server import certificate

pytestmark = pytest.mark.needs_root
Driver = Callable[..., KubernetesOrchestrator]
WEB = Place("web")


@pytest.fixture
def shop(driver: Driver, server: Server, root: Path) -> KubernetesOrchestrator:
    """A driver, and the app ``shop`` with two pods of ``web``."""
    server.pods.root = root
    services = {"web": {"container": {"image": "web:1"}, "replicas": 2}}
    app = app_document.parse({"name": "shop", "services": services})
    made = driver()
    made.apply(app, made.plan(app, made.existing(app), PlanOptions()), lambda *_: None, ApplyOptions())
    return made


def run(
    driver: KubernetesOrchestrator, *command: str, given: bytes = b"", place: Place = WEB
) -> tuple[int, bytes, bytes]:
    """Exit status, stdout and stderr."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(given)
        stdin.seek(0)
        status = driver.execute("shop", place, command, (stdin.fileno(), out.fileno(), err.fileno()))
        return status, _content(out), _content(err)


def _content(file: Any) -> bytes:
    file.seek(0)
    content: bytes = file.read()
    return content


# --- commands -------------------------------------------------------------------------------------------


def test_a_command_has_its_streams_and_its_exit_status(shop: KubernetesOrchestrator) -> None:
    script = 'read -r line; echo "out $line"; echo problem >&2; exit 7'
    assert run(shop, "sh", "-c", script, given=b"given\n") == (7, b"out given\n", b"problem\n")
    assert run(shop, "true") == (0, b"", b"")


def test_the_words_of_a_command_arrive_as_they_are(shop: KubernetesOrchestrator) -> None:
    words = ["a b", "", "$HOME", "ü&x=1", "%41", "+", "\n"]
    assert run(shop, "printf", "<%s>", *words)[1] == "".join(f"<{word}>" for word in words).encode()


def test_the_end_of_stdin_arrives(shop: KubernetesOrchestrator) -> None:
    assert run(shop, "wc", "-c", given=b"x" * 100_000)[1].strip() == b"100000"


def test_a_command_ends_on_a_cluster_that_cannot_tell_the_end_of_stdin(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    server.pods.has_v5 = False
    assert run(shop, "head", "-n", "1", given=b"one\ntwo\n")[:2] == (0, b"one\n")


def test_much_goes_both_ways_at_once(shop: KubernetesOrchestrator) -> None:
    much = os.urandom(1 << 20) * 8
    assert run(shop, "cat", given=much)[:2] == (0, much)


def test_a_command_may_end_before_it_has_read_all(shop: KubernetesOrchestrator) -> None:
    done = run(shop, "sh", "-c", "echo enough; exec <&-; exec sh -c 'exit 4'", given=os.urandom(1 << 20) * 8)
    assert done[:2] == (4, b"enough\n")


def test_a_command_that_is_not_there_is_one_as_in_shells(shop: KubernetesOrchestrator) -> None:
    with pytest.raises(CommandNotFound, match="no-such-command"):
        run(shop, "no-such-command")


def test_a_connection_that_breaks_off_is_no_success(shop: KubernetesOrchestrator, server: Server) -> None:
    server.pods.cuts_streams = True
    with pytest.raises(Unavailable, match="before the command did"):
        run(shop, "true")


def test_a_terminal_is_one_inside_and_has_our_size(shop: KubernetesOrchestrator) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 111))
    read, write = os.pipe()
    try:
        sized = 'for i in $(seq 100); do [ "$(stty size)" = "33 111" ] && break; sleep 0.1; done'
        script = f"{sized}; stty size; test -t 0 && echo is one"  # the size comes after the beginning
        assert shop.execute("shop", WEB, ["sh", "-c", script], (read, slave, slave), terminal=True) == 0
        shown = b""
        while b"is one" not in shown:  # the kernel hands it over when it has the time
            assert select.select([master], [], [], 30)[0], shown
            shown += os.read(master, 4096)
    finally:
        for descriptor in (master, slave, read, write):
            os.close(descriptor)
    assert b"33 111" in shown


def test_a_place_with_a_number_is_that_pod(shop: KubernetesOrchestrator, server: Server) -> None:
    run(shop, "true", place=Place("web", 2))
    assert server.requests[-1].path.split("/")[-2] == sorted(server.store.named("Pod"))[1]
    with pytest.raises(NotFound, match="web 3"):
        run(shop, "true", place=Place("web", 3))


def test_a_service_that_is_not_there_is_named_and_guessed(shop: KubernetesOrchestrator) -> None:
    with pytest.raises(NotFound, match="'wbe'") as raised:
        run(shop, "true", place=Place("wbe"))
    assert "'web'" in raised.value.remedy


def test_a_service_that_does_not_run_is_said_to(shop: KubernetesOrchestrator, server: Server) -> None:
    for name in server.store.named("Pod"):
        server.store.edit("Pod", "shop", name, {"status": {"phase": "Pending"}})
    with pytest.raises(MultiosError, match="does not run: its pod is pending"):
        run(shop, "true")


def test_who_may_not_is_told_which_right_is_missing(shop: KubernetesOrchestrator, server: Server) -> None:
    server.forbidden = {("GET", "pods/exec")}
    with pytest.raises(Refused, match="pods/exec is forbidden"):
        run(shop, "true")


def test_credentials_that_ended_are_fetched_anew_once(
    shop: KubernetesOrchestrator, server: Server, tmp_path: Path
) -> None:
    answered = []

    def fault(request: Any) -> Any:
        if not request.path.endswith("/exec"):
            return None
        answered.append(request)
        return (401, "Unauthorized", "Unauthorized", "") if len(answered) == 1 else None

    server.fault = fault
    assert run(shop, "true")[0] == 0
    assert len(answered) == 2
    server.fault = lambda request: (401, "Unauthorized", "no", "") if request.path.endswith("/exec") else None
    with pytest.raises(Refused, match="does not accept your credentials"):
        run(shop, "true")


def test_a_busy_server_is_asked_again(shop: KubernetesOrchestrator, server: Server) -> None:
    asked = []

    def fault(request: Any) -> Any:
        if request.path.endswith("/exec"):
            asked.append(request)
        return (429, "TooManyRequests", "later", "0") if len(asked) == 1 else None

    server.fault = fault
    assert run(shop, "true")[0] == 0


def test_much_goes_both_ways_by_tls_and_only_to_the_server_that_is_trusted(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    ours, key = certificate(tmp_path)
    other, _ = certificate(tmp_path / "other")
    with running(ours, key) as server:
        server.pods.root = root
        path = server.kubeconfig(tmp_path / "kubeconfig")
        settings = KubernetesSettings(rate=0.0, timeout=5.0, kubeconfig=str(path))
        driver = KubernetesOrchestrator(settings, DriverContext(tmp_path, tmp_path))
        app = app_document.parse({"name": "shop", "services": {"web": {"container": {"image": "web:1"}}}})
        driver.apply(
            app, driver.plan(app, driver.existing(app), PlanOptions()), lambda *_: None, ApplyOptions()
        )
        much = os.urandom(1 << 20) * 2
        assert run(driver, "cat", given=much)[:2] == (0, much)
        path.write_text(path.read_text().replace(str(ours), str(other)))
        (pod,) = server.store.named("Pod")
        with pytest.raises(Unavailable, match="certificate verify failed"):
            driver.cluster().channels("shop", pod, "exec", [("command", "true")], (V4,))


# --- copies ---------------------------------------------------------------------------------------------


def tar_of(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_files_are_copied_in_and_out(shop: KubernetesOrchestrator, root: Path) -> None:
    content = os.urandom(3 << 20)
    read, write = os.pipe()

    def give() -> None:
        with os.fdopen(write, "wb") as stream:
            stream.write(tar_of("page", content))

    thread = threading.Thread(target=give)
    thread.start()
    shop.copy_in("shop", WEB, "/tmp", read)
    thread.join()
    os.close(read)
    assert (root / "tmp/page").read_bytes() == content
    with tempfile.TemporaryFile() as back:
        shop.copy_out("shop", WEB, "/tmp/page", back.fileno())
        back.seek(0)
        with tarfile.open(fileobj=back) as archive:
            (member,) = archive.getmembers()
            file = archive.extractfile(member)
            assert member.name in ("page", "./page")
            assert file and file.read() == content


def test_what_is_not_there_is_not_found(shop: KubernetesOrchestrator) -> None:
    with tempfile.TemporaryFile() as stream:
        with pytest.raises(NotFound, match="/no-such"):
            shop.copy_out("shop", WEB, "/no-such", stream.fileno())
        stream.write(tar_of("page", b"x"))
        stream.seek(0)
        with pytest.raises(NotFound, match="web:/no-such"):
            shop.copy_in("shop", WEB, "/no-such", stream.fileno())


def test_a_cluster_that_cannot_tell_the_end_of_a_file_is_said_to_be_too_old(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    server.pods.has_v5 = False
    with tempfile.TemporaryFile() as stream, pytest.raises(Unsupported, match="ended"):
        shop.copy_in("shop", WEB, "/tmp", stream.fileno())


def test_an_image_without_tar_is_said_to_be_one(shop: KubernetesOrchestrator, server: Server) -> None:
    server.pods.root = None
    with tempfile.TemporaryFile() as stream, pytest.raises(Unsupported, match="has no tar"):
        shop.copy_out("shop", WEB, "/etc", stream.fileno())
