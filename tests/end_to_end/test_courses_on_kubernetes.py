"""``course … --orchestrator kubernetes`` through the real programs: an API server of the tests' own, a real registry."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_rootfs
import kubernetes_server
import registry_server
from document_session import commands, play
from private_engine import SCRIPTS, PrivateEngine, eventually
from registry_server import Registry

pytestmark = pytest.mark.skipif(
    not Path(registry_server.PROGRAM).exists(), reason="this host has no docker-registry"
)
PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/courses.md"
COURSE = """\
schema = 1
name = "intro"
title = "A course of the tests"
version = "1.0+a"
roster = "students.csv"
[[templates]]
image = "{image}"
command = ["sleep", "1000"]
[quota]
memory = "64MB"
cpus = 0.5
{more}
"""
ROSTER = "id,name,user\ns1,Ada,\ns2,Bob,\ns3,Cleo,games\n"
LAB = """\
schema = 1
name = "first"
version = "1.0"
title = "A lab of the tests"
image = "small:1"
network = "none"
submit = ["/root/work"]
[[steps]]
id = "only"
title = "Do it"
goal = "Do it."
[[steps.checks]]
name = "it is done"
command = "test -e done"
"""
DIGEST = "registry.example.org/small@sha256:" + "a" * 64


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_server.registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = PrivateEngine(tmp_path_factory.mktemp("engine"))
    with made.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
    made.start()
    made.import_small_image()
    yield made
    made.end()


@pytest.fixture
def cluster(
    engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[kubernetes_server.Server]:
    with kubernetes_server.running() as running:
        monkeypatch.setitem(
            engine.environment, "KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig"))
        )
        monkeypatch.setitem(engine.environment, "MULTIOS_ORCHESTRATOR", "kubernetes")
        yield running


def write(folder: Path, image: str, more: str = 'disk = "1GB"', roster: str = ROSTER) -> Path:
    (folder / "course.toml").write_text(COURSE.format(image=image, more=more))
    (folder / "students.csv").write_text(roster)
    return folder


FAST = ("--orchestrator-opt", "rate=0")


def states(engine: PrivateEngine, folder: Path) -> dict[str, str]:
    rows = engine.json("course", "status", str(folder), *FAST)
    return {row["machine"]: row["state"] for row in rows}


def test_a_course_is_pushed_started_stopped_started_again_and_wiped(
    engine: PrivateEngine, cluster: kubernetes_server.Server, registry: Registry, tmp_path: Path
) -> None:
    empty = set(cluster.store.objects)
    course = str(write(tmp_path, "small:1"))
    to = ("--registry", f"{registry.host}/courses", *FAST)
    planned = engine.out("course", "start", course, "--dry-run", *to)
    assert "intro: 3 students, network isolated: 3 to be made" in planned
    assert "create Deployment environment" in planned
    assert not cluster.changes() and not registry.requests("PUT", "manifests")
    assert states(engine, tmp_path) == dict.fromkeys(("intro-s1", "intro-s2", "intro-s3"), "missing")

    done = engine.run("course", "start", course, *to)
    assert "3 of 3 machines of intro run: 3 started" in done.stdout
    assert "machines of 1 students with one are yours" in done.stderr
    assert registry.requests("PUT", "courses/intro/manifests/1.0-a") == 1
    (pod,) = (
        item["spec"]["template"]["spec"]
        for item in cluster.store.select("deployments", "intro-s1", "")
    )  # fmt: skip
    (container,) = pod["containers"]
    assert re.fullmatch(rf"{registry.host}/courses/intro@sha256:[0-9a-f]{{64}}", container["image"])
    assert container["resources"]["limits"]["memory"] == str(64 << 20)
    assert set(states(engine, tmp_path).values()) == {"running"}
    before = len(cluster.changes())
    assert "0 started, 3 ran already" in engine.out("course", "start", course, *to)
    assert len(cluster.changes()) == before

    assert "3 machines of intro stopped" in engine.out("course", "stop", course, *FAST)
    assert set(states(engine, tmp_path).values()) == {"stopped"}
    assert "3 started" in engine.out("course", "start", course, *to)
    assert set(states(engine, tmp_path).values()) == {"running"}
    gone = engine.out("course", "wipe", "--yes", "intro", *FAST)
    assert "4 Namespace" in gone and "nothing of intro is left" in gone
    assert set(cluster.store.objects) == empty
    assert "nothing of intro is there" in engine.out("course", "wipe", "--yes", "intro", *FAST)


def test_who_comes_later_gets_a_machine_and_who_left_keeps_his(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    course = str(write(tmp_path, DIGEST))
    engine.run("course", "start", course, *FAST)
    write(tmp_path, DIGEST, roster="id\ns2\ns3\ns4\n")
    assert "3 of 3 machines of intro run: 1 started" in engine.out("course", "start", course, *FAST)
    rows = {row["student"]: row for row in engine.json("course", "status", course, *FAST)}
    assert rows["s1"]["state"] == "running" and rows["s1"]["problem"] == "not in the roster"
    assert rows["s4"]["state"] == "running"


def test_machines_that_run_are_made_anew_only_when_it_is_asked_for(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    course = str(write(tmp_path, DIGEST))
    engine.run("course", "start", course, *FAST)
    write(tmp_path, DIGEST.replace("aaaa", "bbbb"))
    before = len(cluster.changes())
    refused = engine.run("course", "start", course, *FAST, status=125).stderr
    assert "3 machines of intro run and would be made anew" in refused and "--replace" in refused
    assert len(cluster.changes()) == before
    assert "3 started" in engine.out("course", "start", course, "--replace", *FAST)


def test_what_a_cluster_cannot_have_is_said_by_name(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/lab.toml").write_text('name = "first"\n')
    write(tmp_path, DIGEST, 'processes = 20\n[[labs]]\npath = "lab"')
    said = engine.run("course", "start", str(tmp_path), "--dry-run", *FAST).stderr
    for words in (
        "labs have no machines of their own, and are given by --lab: first",
        "quota.processes",
        "quota.disk",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("start", "{course}"), "course.toml:7: templates.image: 'small:1' has no digest"),
        (("start", "{course}", "--registry", "https://r"), "--registry: 'https://r' is no registry"),
        (("start", "{course}", "--lab", "first"), "course.toml: there is no lab first"),
        (("stop", "{course}", "--time", "0"), "--time means nothing with --orchestrator"),
        (("status", "{course}", "--orchestrator-opt", "context=scool"), "has none called 'scool'"),
        (("status", "{course}", "--orchestrator-opt", "context"), "'context' is not KEY=VALUE"),
        (("status", "{course}", "--orchestrator", "kubernets"), "kubernets"),
        (("start", "{course}", "--orchestrator", "local", "--warm", "3"), "--warm means nothing with a course on this host"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_without_a_traceback(
    engine: PrivateEngine,
    cluster: kubernetes_server.Server,
    tmp_path: Path,
    words: tuple[str, ...],
    cause: str,
) -> None:
    course = str(write(tmp_path, "small:1"))
    refused = engine.run("course", *(word.format(course=course) for word in words), status=125).stderr
    assert cause in refused and "Traceback" not in refused
    assert not cluster.changes()


def test_machines_without_a_home_that_stays_are_stopped_only_when_it_is_asked_for(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    course = str(write(tmp_path, DIGEST, ""))
    engine.run("course", "start", course, *FAST)
    assert "3 machines of intro have no home that stays" in engine.run(
        "course", "stop", course, *FAST, status=125
    ).stderr  # fmt: skip
    assert "3 machines of intro stopped" in engine.out("course", "stop", "--yes", course, *FAST)


def test_one_students_failure_is_shown_and_a_partial_start_is_wiped(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    empty = set(cluster.store.objects)
    course = str(write(tmp_path, DIGEST))
    cluster.fault = lambda request: (
        (403, "Forbidden", "deployments is forbidden", "")
        if request.method == "PATCH" and request.path.endswith("intro-s2/deployments/environment")
        else None
    )
    failed = engine.run("course", "start", course, *FAST, status=1)
    assert "2 of 3 machines of intro run: 2 started" in failed.stdout
    assert "intro-s2: " in failed.stderr and "Traceback" not in failed.stderr
    assert states(engine, tmp_path) == {"intro-s1": "running", "intro-s2": "missing", "intro-s3": "running"}
    engine.run("course", "wipe", "--yes", course, *FAST)
    assert set(cluster.store.objects) == empty


def test_after_an_interrupt_the_next_start_goes_on(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    empty = set(cluster.store.objects)
    course = str(write(tmp_path, DIGEST, roster="id\n" + "".join(f"s{number}\n" for number in range(30))))
    cluster.store.behaviour.start_seconds = 0.3
    process = engine.popen(
        "course", "start", course, "--at-once", "2", *FAST, stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: cluster.store.select("deployments", "intro-s0", ""), "the first student's machine")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert "30 of 30 machines of intro run" in engine.out("course", "start", course, *FAST)
    engine.run("course", "wipe", "--yes", course, *FAST)
    assert set(cluster.store.objects) == empty


def test_what_holds_a_wipe_is_named(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    course = str(write(tmp_path, DIGEST))
    engine.run("course", "start", course, *FAST)
    cluster.store.edit(
        "Deployment", "intro-s1", "environment", {"metadata": {"finalizers": ["example.org/hold"]}}
    )
    left = engine.run("course", "wipe", "--yes", course, *FAST, "--orchestrator-opt", "timeout=1", status=125)
    assert "there are left: Namespace intro-s1" in left.stderr
    cluster.store.release(("deployments", "intro-s1", "environment"))
    assert "nothing of intro is left" in engine.out("course", "wipe", "--yes", course, *FAST)


def test_two_templates_are_two_machines_a_student_that_share_the_quota(
    engine: PrivateEngine, cluster: kubernetes_server.Server, tmp_path: Path
) -> None:
    write(tmp_path, DIGEST)
    file = tmp_path / "course.toml"
    second = f'[[templates]]\nimage = "{DIGEST.replace("small", "other")}"\n[network]\npolicy = "shared"\n'
    file.write_text(file.read_text() + second)
    assert "6 of 6 machines of intro run" in engine.out("course", "start", str(tmp_path), *FAST)
    assert set(states(engine, tmp_path)) == {
        f"intro-{student}-machine{number}" for student in ("s1", "s2", "s3") for number in (1, 2)
    }
    spec = cluster.store.select("deployments", "intro-s1-machine2", "")[0]["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["memory"] == str(32 << 20)
    policy = json.dumps(cluster.store.select("networkpolicies", "intro-s1-machine2", ""))
    assert '"namespaceSelector": {"matchLabels": {"org.multios.course": "intro"}}' in policy


def test_a_dry_run_on_this_host_says_the_same(engine: PrivateEngine, tmp_path: Path) -> None:
    course = str(write(tmp_path, "small:1", "", "id\ns1\ns2\n"))
    said = engine.out("course", "start", course, "--dry-run")
    assert "intro: 2 students, network isolated: 2 to be made, 0 to be started" in said
    assert "create container intro-s1 of small:1" in said
    assert "intro-s1" not in engine.out("ps", "--all")


@pytest.mark.skipif(importlib.util.find_spec("multios_labs") is None, reason="this host has no multios-labs")
def test_the_page_goes_as_written(
    engine: PrivateEngine, cluster: kubernetes_server.Server, registry: Registry, tmp_path: Path
) -> None:
    (section,) = re.findall(r"^## On a cluster\n.*?^(?=## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "section.md").write_text(section)
    (tmp_path / "intro").mkdir()
    root, roots = tmp_path / "root", tmp_path / "roots"
    root.mkdir()
    roots.mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs.write(tmp_path / "root.tar"), "-C", root], check=True)
    cluster.pods.root, cluster.pods.own_roots = root, roots
    names = "id,name\ns001,Ada Lovelace\ns002,Grace Hopper\ns003,Alan Turing\n"
    write(tmp_path / "intro", "small:1", 'disk = "2GB"\n[[labs]]\npath = "labs/first"', names)
    (tmp_path / "intro/labs/first").mkdir(parents=True)
    (tmp_path / "intro/labs/first/lab.toml").write_text(LAB)
    empty = set(cluster.store.objects)
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    found = commands(tmp_path / "section.md", {"registry.example.org": registry.host})
    assert len(found) == 11
    for command in found:
        if "collect" in command.line:
            for student in ("s001", "s002"):
                (pod,) = cluster.store.select("pods", f"intro-{student}", "")
                (cluster.pods.root_of(pod) / "home/student/work").mkdir()
        play(command, tmp_path, environment)
    assert set(cluster.store.objects) == empty
