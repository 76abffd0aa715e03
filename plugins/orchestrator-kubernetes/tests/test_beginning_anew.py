"""Pods that begin anew, and copies out of students' pods: by real websockets, with real commands in roots of the pods' own."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kubernetes_server import Server
from multios.drivers.orchestrator import Action, ApplyOptions, CopyBounds, PlanOptions
from multios.errors import InvalidInput, MultiosError, NotFound, Refused, StepFailed, Unavailable, Unsupported
from multios.model import app_document
from multios.model.course import Course, CourseMachine, CourseQuota
from multios_orchestrator_kubernetes import KubernetesOrchestrator

pytestmark = pytest.mark.needs_root
Driver = Callable[..., KubernetesOrchestrator]
COURSE = Course(
    "python",
    ("ada", "ben"),
    "registry.school/python@sha256:" + "a" * 64,
    quota=CourseQuota(storage=1 << 30),
    prefetch=False,
)
BOUNDS = CopyBounds(1 << 20, 20)
SERVICES = {
    "web": {
        "container": {"image": "web:1"},
        "replicas": 2,
        "depends_on": {"prepare": {"condition": "completed"}},
    },
    "prepare": {"container": {"image": "prepare:1"}},
}


@pytest.fixture
def own_roots(server: Server, root: Path, tmp_path: Path) -> Path:
    server.pods.root, server.pods.own_roots = root, tmp_path / "roots"
    server.pods.own_roots.mkdir()
    return server.pods.own_roots


@pytest.fixture
def course(driver: Driver, own_roots: Path) -> KubernetesOrchestrator:
    made = driver()
    made.apply_course(COURSE, lambda *_: None, ApplyOptions())
    return made


@pytest.fixture
def shop(driver: Driver, own_roots: Path) -> KubernetesOrchestrator:
    app = app_document.parse({"name": "shop", "services": SERVICES})
    made = driver()
    made.apply(app, made.plan(app, made.existing(app), PlanOptions()), lambda *_: None, ApplyOptions())
    return made


def pods(server: Server, namespace: str) -> dict[str, dict[str, Any]]:
    """By uid."""
    return {item["metadata"]["uid"]: item for item in server.store.select("pods", namespace, "")}


def inside(server: Server, namespace: str) -> Path:
    """The root filesystem of the only pod."""
    (pod,) = pods(server, namespace).values()
    return server.pods.root_of(pod)


def machine(driver: KubernetesOrchestrator, student: str) -> CourseMachine:
    return next(item for item in driver.course_state("python") if item.student == student)


def copied(
    driver: KubernetesOrchestrator, path: str, student: str = "ada", bounds: CopyBounds = BOUNDS
) -> list[str]:
    """The names in what was copied."""
    with tempfile.TemporaryFile() as archive:
        driver.copy_out_of_course("python", machine(driver, student), path, archive.fileno(), bounds)
        archive.seek(0)
        with tarfile.open(fileobj=io.BytesIO(archive.read())) as read:
            return read.getnames()


def replace_tar(server: Server, namespace: str, script: str) -> None:
    """As a student may who has the machine."""
    program = inside(server, namespace) / "bin/tar"
    program.unlink()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


# --- apps -----------------------------------------------------------------------------------------------


def test_pods_of_deployments_are_others_afterwards_and_jobs_are_left(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    before = pods(server, "shop")
    told: list[tuple[Action, str]] = []
    shop.reset("shop", "", lambda action, what: told.append((action, what)))
    after = pods(server, "shop")
    kept = [before[uid] for uid in before.keys() & after.keys()]
    assert [pod["metadata"]["name"] for pod in kept] == ["prepare-0"]
    assert len(after) == len(before) == 3
    assert [(action.verb, action.subject, what) for action, what in told] == [
        ("restart", "web", "done"), ("keep", "prepare", "done"),
    ]  # fmt: skip


def test_a_pod_is_given_a_moment_to_end_so_that_none_is_forgotten_while_it_runs(
    shop: KubernetesOrchestrator, server: Server
) -> None:
    server.store.behaviour.removal_seconds = 0.5
    begun = time.monotonic()
    shop.reset("shop", "", lambda *_: None)
    assert time.monotonic() >= begun + 0.5
    assert all("deletionTimestamp" not in pod["metadata"] for pod in pods(server, "shop").values())


def test_a_cluster_has_no_state_to_go_back_to(shop: KubernetesOrchestrator, server: Server) -> None:
    before = pods(server, "shop")
    with pytest.raises(Unsupported, match="keep states"):
        shop.reset("shop", "before", lambda *_: None)
    with pytest.raises(Unsupported, match="keep states"):
        shop.snapshot("shop", "before", lambda *_: None)
    assert pods(server, "shop") == before


def test_an_app_that_is_not_there_is_not_put_back(shop: KubernetesOrchestrator) -> None:
    with pytest.raises(NotFound, match="there is no app 'shpo'"):
        shop.reset("shpo", "", lambda *_: None)


def test_what_does_not_come_back_is_named(
    driver: Driver, shop: KubernetesOrchestrator, server: Server
) -> None:
    server.store.behaviour.broken_images = {"web"}
    with pytest.raises(StepFailed, match="web: not started after 1 s: ErrImagePull"):
        driver(timeout=1.0).reset("shop", "", lambda *_: None)


# --- courses --------------------------------------------------------------------------------------------


def test_a_machine_begins_anew_with_its_home(course: KubernetesOrchestrator, server: Server) -> None:
    others = pods(server, "python-ben")
    (inside(server, "python-ada") / "home/student/work").write_text("mine")
    (inside(server, "python-ada") / "tmp/rubbish").write_text("rubbish")
    told: list[tuple[str, str]] = []
    course.reset_course(
        "python", [machine(course, "ada")], lambda action, what: told.append((action.subject, what))
    )
    assert told == [("python-ada", "done")]
    assert (inside(server, "python-ada") / "home/student/work").read_text() == "mine"
    assert not (inside(server, "python-ada") / "tmp/rubbish").exists()
    assert pods(server, "python-ben") == others


def test_one_machine_that_cannot_be_put_back_is_told_and_the_others_are(
    course: KubernetesOrchestrator, server: Server
) -> None:
    chosen = [machine(course, "ada"), machine(course, "ben")]
    server.store.edit("Deployment", "python-ada", "environment", {"spec": {"replicas": 0}})
    told: dict[str, str] = {}
    with pytest.raises(
        StepFailed, match="1 of 2 machines were not put back; python-ada: python-ada is stopped"
    ):
        course.reset_course("python", chosen, lambda action, what: told.update({action.service: what}))
    assert told == {"ada": "python-ada is stopped", "ben": "done"}


def test_a_namespace_that_is_not_the_courses_is_not_touched(
    course: KubernetesOrchestrator, server: Server
) -> None:
    (before,) = pods(server, "python-ada")
    other = CourseMachine("ada", "", "python-ada", "running")
    with pytest.raises(StepFailed, match="there is no machine of other"):
        course.reset_course("other", [other], lambda *_: None)
    with tempfile.TemporaryFile() as archive, pytest.raises(Unavailable, match="it has no pod"):
        course.copy_out_of_course("other", other, "/etc", archive.fileno(), BOUNDS)
    assert list(pods(server, "python-ada")) == [before]


def test_work_of_several_students_is_copied_at_once(course: KubernetesOrchestrator, server: Server) -> None:
    for student in COURSE.students:
        work = inside(server, f"python-{student}") / "home/student/work"
        work.mkdir()
        (work / f"of-{student}").write_text("x" * 100_000)
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda student: copied(course, "/home/student/work", student), COURSE.students * 4)
        )
    assert found == [["./work", "./work/of-ada"], ["./work", "./work/of-ben"]] * 4


def test_what_is_not_there_is_no_failure_of_the_machine(course: KubernetesOrchestrator) -> None:
    with pytest.raises(NotFound):
        copied(course, "/home/student/nothing")


@pytest.mark.parametrize(
    ("script", "bounds", "error"),
    [
        ("while :; do cat /bin/busybox; done", CopyBounds(1 << 20, 60), InvalidInput),
        ("while :; do echo more >&2; done", CopyBounds(1 << 20, 1), Unavailable),
        ("exec sleep 1000", CopyBounds(1 << 20, 1), Unavailable),
        ("cat /bin/busybox", CopyBounds(1 << 20, 60), InvalidInput),
        ("echo 'tar: \x1b[2J' >&2; exit 2", BOUNDS, MultiosError),
    ],
    ids=["endless", "endless words", "silent", "too large", "failing"],
)  # fmt: skip
def test_a_student_who_replaced_tar_holds_nobody_up(
    course: KubernetesOrchestrator, server: Server, script: str, bounds: CopyBounds, error: type[MultiosError]
) -> None:
    replace_tar(server, "python-ada", script)
    begun = time.monotonic()
    with tempfile.TemporaryFile() as archive, pytest.raises(error) as raised:
        course.copy_out_of_course("python", machine(course, "ada"), "/home/student", archive.fileno(), bounds)
        assert archive.seek(0, 2) < 4 << 20
    assert "\x1b" not in str(raised.value.cause) and len(raised.value.cause) < 1000
    assert time.monotonic() < begun + 20
    assert copied(course, "/etc/passwd", "ben") == ["./passwd"]


def given(driver: KubernetesOrchestrator, student: str = "ada", seconds: float = 20) -> None:
    """Copy a file of a megabyte into the home."""
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as written:
            entry = tarfile.TarInfo("task/data")
            entry.size = 1 << 20
            written.addfile(entry, io.BytesIO(bytes(entry.size)))
        archive.seek(0)
        driver.copy_into_course(
            "python", machine(driver, student), "/home/student", archive.fileno(), seconds
        )


def test_files_are_copied_into_several_machines_at_once(
    course: KubernetesOrchestrator, server: Server
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda student: given(course, student), COURSE.students * 2))
    for student in COURSE.students:
        assert (inside(server, f"python-{student}") / "home/student/task/data").stat().st_size == 1 << 20


@pytest.mark.parametrize(
    "script",
    ["exec sleep 1000", "while :; do echo more; done", "while :; do echo more >&2; done", "exec cat"],
    ids=["silent", "endless", "endless words", "echo"],
)
def test_a_student_whose_tar_takes_nothing_holds_nobody_up(
    course: KubernetesOrchestrator, server: Server, script: str
) -> None:
    replace_tar(server, "python-ada", script)
    begun = time.monotonic()
    if script == "exec cat":  # it says that it has done it: whose machine it is has the harm
        given(course)
    else:
        with pytest.raises(Unavailable, match="python-ada was not written within 1 s"):
            given(course, seconds=1)
    assert time.monotonic() < begun + 20
    given(course, "ben")


def test_what_is_not_known_to_be_written_is_a_failure(course: KubernetesOrchestrator, server: Server) -> None:
    server.pods.cuts_streams = True
    with pytest.raises(Unavailable, match="ended before the command did"):
        given(course)
    server.pods.cuts_streams = False
    course.stop_course("python", lambda *_: None)
    with pytest.raises(Unavailable, match="python-ada does not run: it has no pod"):
        given(course)


def test_a_stream_that_is_lost_in_the_middle_is_no_copy(
    course: KubernetesOrchestrator, server: Server
) -> None:
    server.pods.cuts_streams = True
    with pytest.raises(Unavailable, match="ended before the command did"):
        copied(course, "/etc/passwd")


def test_files_that_change_meanwhile_are_no_failure(course: KubernetesOrchestrator, server: Server) -> None:
    replace_tar(
        server, "python-ada",
        'busybox tar "$@"; echo "tar: ./work/log: file changed as we read it" >&2; exit 1',
    )  # fmt: skip
    assert copied(course, "/etc/passwd") == ["./passwd"]


def test_a_machine_without_a_pod_does_not_run(course: KubernetesOrchestrator, server: Server) -> None:
    course.stop_course("python", lambda *_: None)
    with pytest.raises(Unavailable, match="python-ada does not run: it has no pod"):
        copied(course, "/etc/passwd")


@pytest.mark.parametrize("phase", ["Pending", "Failed", "Unknown"])
def test_a_pod_that_does_not_run_is_not_entered(
    course: KubernetesOrchestrator, server: Server, phase: str
) -> None:
    (pod,) = pods(server, "python-ada").values()
    server.store.edit("Pod", "python-ada", pod["metadata"]["name"], {"status": {"phase": phase}})
    server.requests.clear()
    with pytest.raises(Unavailable, match=f"python-ada does not run: its pod is {phase.lower()}"):
        copied(course, "/etc/passwd")
    assert not [request for request in server.requests if request.path.endswith("/exec")]


def test_a_token_that_ends_between_two_copies_is_fetched_anew(
    course: KubernetesOrchestrator, server: Server, tmp_path: Path
) -> None:
    assert copied(course, "/etc/passwd") == ["./passwd"]
    ada = machine(course, "ada")
    server.tokens = {"second"}
    with tempfile.TemporaryFile() as archive, pytest.raises(Refused):
        course.copy_out_of_course("python", ada, "/etc/passwd", archive.fileno(), BOUNDS)
    server.kubeconfig(tmp_path / "kubeconfig", token="second")
    with tempfile.TemporaryFile() as archive:
        course.copy_out_of_course("python", ada, "/etc/passwd", archive.fileno(), BOUNDS)
