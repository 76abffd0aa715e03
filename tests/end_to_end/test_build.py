"""``image build``: the cache, stages side by side, contexts, cancelling, and what a killed daemon leaves."""

from __future__ import annotations

import io
import os
import re
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kitchen import Kitchen
from private_engine import PrivateEngine, eventually

THREE = "FROM small:1\nRUN echo one > /one\nCOPY file /file\nRUN cat /file > /two\n"


@pytest.fixture
def kitchen(engine: PrivateEngine, tmp_path: Path, request: pytest.FixtureRequest) -> Kitchen:
    made = Kitchen(engine, tmp_path, re.sub(r"\W+", "-", request.node.name)[-40:].strip("-_"))
    # A step of its own: tests share an engine, and one's steps must not be hits of another's.
    made.write({"file": request.node.name})
    return made


def own(kitchen: Kitchen, text: str) -> str:
    """A Dockerfile whose steps no other test has."""
    return text.replace("FROM small:1\n", f"FROM small:1\nENV TEST={kitchen.context.parent.name}\n")


def cached(kitchen: Kitchen, text: str, *options: str) -> list[bool]:
    """Of each RUN, COPY, ADD and WORKDIR whether it was a hit."""
    said = kitchen.run(text, *options).stderr
    steps = re.findall(r"^#(\d+) \[\S+ \d+/\d+\] (?:RUN|COPY|ADD|WORKDIR)", said, re.MULTILINE)
    return [f"#{number} CACHED" in said.splitlines() for number in steps]


def traces(engine: PrivateEngine) -> list[str]:
    """What builds under way have: containers, writable snapshots, directories."""
    found = engine.out("ps", "--all", "--quiet", "--filter", "label=org.multios.build").split()
    for folder in (engine.data_root / "build/work", engine.exec_root / "builds"):
        found += os.listdir(folder)
    index = engine.data_root / "snapshots/overlay/index"
    return found + [name for name in os.listdir(index) if not name.startswith("sha256-")]


# --- the cache ------------------------------------------------------------------------------------------


def test_an_unchanged_build_is_all_hits_and_the_same_image(kitchen: Kitchen) -> None:
    text = own(kitchen, THREE)
    assert cached(kitchen, text, "-t", "again:1") == [False] * 3
    first = kitchen.record("again:1")["Id"]
    os.utime(kitchen.context / "file", (1, 1))
    assert cached(kitchen, text, "-t", "again:1") == [True] * 3
    assert kitchen.record("again:1")["Id"] == first
    assert cached(kitchen, text, "--no-cache") == [False] * 3


def test_a_changed_file_makes_only_what_depends_on_it_anew(kitchen: Kitchen) -> None:
    text = own(kitchen, THREE)
    kitchen.run(text)
    kitchen.write({"file": "changed"})
    assert cached(kitchen, text) == [True, False, False]
    (kitchen.context / "file").chmod(0o700)
    assert cached(kitchen, text) == [True, False, False]


def test_a_failed_step_leaves_those_before_it_in_the_cache(kitchen: Kitchen) -> None:
    text = own(kitchen, THREE)
    said = kitchen.fails(text + "RUN exit 7\n")
    assert "Dockerfile:6: RUN exit 7: exited with 7" in said
    assert cached(kitchen, text) == [True] * 3


def test_the_cache_keeps_what_a_removed_image_had_and_prune_gives_it_back(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    engine = make_engine()
    kitchen = Kitchen(engine, tmp_path, "pruned")
    kitchen.write({"file": "x"})
    image = kitchen.build(THREE)
    engine.run("image", "rm", image)
    assert cached(kitchen, THREE, "-t", image) == [True] * 3
    assert kitchen.out(image, "cat", "/two") == "x"
    assert engine.out("builder", "prune") == "3 steps and 0 cache mounts removed"
    assert kitchen.out(image, "cat", "/two") == "x"
    engine.run("image", "rm", image)
    assert len(os.listdir(engine.data_root / "content/blobs/sha256")) == 3
    assert cached(kitchen, THREE, "-t", image) == [False] * 3


def test_a_damaged_cache_costs_time_and_nothing_else(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    engine = make_engine()
    kitchen = Kitchen(engine, tmp_path, "damaged")
    kitchen.write({"file": "x"})
    kitchen.build(THREE)
    engine.daemon("stop")
    for name in os.listdir(engine.data_root / "build"):
        if name.startswith("cache.db"):
            (engine.data_root / "build" / name).write_bytes(b"damaged" * 1000)
    engine.start()
    assert cached(kitchen, THREE) == [False] * 3
    with sqlite3.connect(engine.data_root / "build/cache.db") as database:
        database.execute("UPDATE step SET digest = 'sha256:' || hex(zeroblob(32))")
    assert cached(kitchen, THREE) == [False] * 3


# --- side by side -----------------------------------------------------------------------------------------


def test_stages_that_do_not_need_each_other_are_built_side_by_side(kitchen: Kitchen) -> None:
    """Each waits for the other's file."""
    mount = f"--mount=type=cache,id={kitchen.context.parent.name},target=/met"
    meet = f"RUN {mount} touch /met/{{0}}; until [ -e /met/{{1}} ]; do sleep 0.1; done; echo {{0}} > /{{0}}\n"
    stage = f"FROM small:1 AS {{0}}\n{meet}"
    last = "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    kitchen.run(stage.format("a", "b") + stage.format("b", "a") + last)


def test_builds_that_come_to_the_same_step_make_it_once(kitchen: Kitchen) -> None:
    text = own(kitchen, "FROM small:1\nRUN sleep 0.3; cat /proc/sys/kernel/random/uuid > /id\n")
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(kitchen.run(text).stdout)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 3 and len(set(ids)) == 1


def test_the_first_failure_ends_the_other_stages(kitchen: Kitchen) -> None:
    text = "FROM small:1 AS slow\nRUN sleep 60\nFROM small:1 AS bad\nRUN sleep 0.2; exit 9\n"
    text += "FROM scratch\nCOPY --from=slow /a /\nCOPY --from=bad /b /\n"
    before, began = traces(kitchen.engine), time.monotonic()
    assert "exited with 9" in kitchen.fails(own(kitchen, text))
    assert time.monotonic() - began < 30
    eventually(lambda: set(traces(kitchen.engine)) <= set(before), "nothing is left of the build")


# --- contexts and options -----------------------------------------------------------------------------------


def archive(files: dict[str, str], mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return target.getvalue()


def build_from_stdin(engine: PrivateEngine, content: bytes, *options: str, status: int = 0) -> str:
    done = engine.run("build", "-q", *options, "-", input=content, status=status)
    return done.stdout.strip() or done.stderr


def test_the_context_may_be_an_archive_and_the_dockerfile_stdin(engine: PrivateEngine) -> None:
    files = {
        "Dockerfile": "FROM small:1\nCOPY a/b /b\n",
        "a/b": "content",
        "other": "FROM scratch\nCOPY a /\n",
    }
    for mode in ("w", "w:gz", "w:bz2"):
        image = build_from_stdin(engine, archive(files, mode))
        assert engine.out("run", "--rm", image, "cat", "/b") == "content"
    build_from_stdin(engine, archive(files, "w"), "-f", "other")
    assert "'none' is not in" in build_from_stdin(engine, archive(files, "w"), "-f", "none", status=125)
    image = build_from_stdin(engine, b"FROM small:1\nRUN echo > /x\n")
    assert image.startswith("sha256:")
    assert "not there" in build_from_stdin(engine, b"FROM small:1\nCOPY x /\n", status=125)
    assert "neither a tar archive" in build_from_stdin(engine, b"\xff\xfe\0" * 300, status=125)
    climbing = archive({"Dockerfile": "FROM scratch\n", "../../out": "x"}, "w")
    assert "leads out" in build_from_stdin(engine, climbing, status=125)


def test_files_and_names_are_found_as_people_write_them(engine: PrivateEngine, tmp_path: Path) -> None:
    assert "neither a Dockerfile nor a Containerfile" in engine.run("build", str(tmp_path), status=125).stderr
    (tmp_path / "Containerfile").write_text("FROM small:1\nLABEL file=container\n")
    (tmp_path / "Other").write_text("FROM small:1\nLABEL file=other\n")
    engine.run("build", "-t", "named:1", "-t", "named:2", "--iidfile", str(tmp_path / "id"), str(tmp_path))
    record = engine.json("image", "inspect", "named:2")[0]
    assert (tmp_path / "id").read_text() == f"sha256:{record['Id']}"
    assert record["Labels"] == {"file": "container"} and len(record["RepoTags"]) == 2
    quiet = engine.run("image", "build", "--quiet", "-t", "named:1", "-f", "Other", str(tmp_path))
    assert quiet.stderr == "" and re.fullmatch(r"sha256:[0-9a-f]{64}\n", quiet.stdout)
    assert engine.json("image", "inspect", "named:1")[0]["Labels"] == {"file": "other"}


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ((), "FORM small:1\n", "did you mean"),
        (("--target", "noen"), "FROM small:1 AS none\n", "did you mean 'none'?"),
        (("--platform", "a b"), "FROM small:1\n", "--platform"[2:]),
        (("-t", "Not A Name"), "FROM small:1\n", "Not A Name"),
        (("--secret", "id=x,src=/"), "FROM small:1\n", "name a file"),
        (("--secret", "src=x"), "FROM small:1\n", "id=NAME"),
        (("--secret", "id=x,src=/no/such"), "FROM small:1\n", "/no/such"),
        (("--memory", "much"), "FROM small:1\n", "much"),
        (("--build-arg", "SOURCE_DATE_EPOCH=soon"), "FROM small:1\n", "SOURCE_DATE_EPOCH"),
        ((), "FROM small:1\nCOPY --from=nowhere/x:1 / /\n", "nowhere/x"),
        ((), "FROM small:1\nADD http:///x /\n", "only http and https"),
        ((), "FROM small:1\nRUN --mount=type=bind,from=none:1,target=/x true\n", "none"),
        ((), "", "no FROM"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said_in_two_lines(
    kitchen: Kitchen, options: tuple[str, ...], text: str, said: str
) -> None:
    lines = kitchen.fails(text, *options).splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert 1 <= len(lines) <= 2 and lines[0].startswith("Error: "), lines
    assert said in " ".join(lines)


def test_contexts_elsewhere_are_refused(engine: PrivateEngine) -> None:
    for place in ("https://example.org/x.git", "git@example.org:x"):
        assert "contexts are not fetched" in engine.run("build", place, status=125).stderr


def test_commands_are_limited_and_their_mount_points_are_not_in_the_image(kitchen: Kitchen) -> None:
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    text = f"FROM small:1 AS one\nRUN --mount=type=tmpfs,target=/made/here {limit} > /limit; true\n"
    text += "FROM small:1\nCOPY --from=one / /one/\nRUN ls /one /one/etc > /list\n"
    image = kitchen.build(own(kitchen, text), "--memory", "64M")
    assert kitchen.out(image, "cat", "/one/limit") == str(64 << 20)
    listed = kitchen.out(image, "cat", "/list").split()
    assert "greeting" in listed
    assert not {"made", "hosts", "resolv.conf", "hostname"} & set(listed)


def test_only_an_administrator_builds(engine: PrivateEngine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    os.chmod(tmp_path, 0o755)
    socket, folder = engine.exec_root / "api.sock", engine.exec_root
    before = socket.stat().st_mode & 0o777, folder.stat().st_mode & 0o777
    socket.chmod(0o666)
    folder.chmod(0o755)
    try:
        script = (
            "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
            "from multios.api.client import Client;"
            "c = Client(sys.argv[1], start=False);"
            "c.call('builds.build', {'context': 'none', 'dockerfile': 'FROM scratch'})"
        )
        import sys

        done = subprocess.run(
            [sys.executable, "-c", "import multios.api.client, multios.errors\n" + script, str(socket)],
            capture_output=True, text=True,
        )  # fmt: skip
    finally:
        socket.chmod(before[0])
        folder.chmod(before[1])
    assert "building is for administrators" in done.stderr


# --- reproducible -------------------------------------------------------------------------------------------


def test_with_an_epoch_two_builds_are_one_image(kitchen: Kitchen) -> None:
    text = "FROM small:1\nRUN mkdir /d && echo x > /d/x\nCOPY file /d/\nWORKDIR /d/e\nRUN rm /etc/greeting && ln ../x y\n"
    records = []
    for _ in range(2):
        image = kitchen.build(text, "--no-cache", environment={"SOURCE_DATE_EPOCH": "1000000000"})
        records.append(kitchen.record(image))
        time.sleep(1.1)
        kitchen.write({"file": (kitchen.context / "file").read_text()})
    first, second = records
    assert first["Id"] == second["Id"] and first["RootFS"] == second["RootFS"]
    assert first["Created"].startswith("2001-09-09T01:46:40")
    assert kitchen.shell(second["Id"], "stat -c %Y /d /d/x /d/file /d/e").split() == ["1000000000"] * 4


def test_more_layers_than_an_image_may_have_are_said_in_time(kitchen: Kitchen) -> None:
    text = "FROM small:1\n" + "".join(f"COPY <<x /{number}\n{number}\nx\n" for number in range(128))
    assert "more than 128 layers" in kitchen.fails(text)


# --- ended early --------------------------------------------------------------------------------------------


def waiting_build(engine: PrivateEngine, directory: Path, step: str) -> subprocess.Popen[bytes]:
    """A build whose second RUN does not end; it has come to that when this returns."""
    directory.mkdir()
    mark = f"{directory.name}-{time.monotonic_ns()}"
    (directory / "Dockerfile").write_text(f"FROM small:1\nRUN echo {mark}\n{step}\n")
    client = engine.popen(
        *("build", "-t", "never:1", str(directory)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert client.stdout is not None
    while b"waiting" not in client.stdout.readline():
        assert client.poll() is None
    return client


STEP = "RUN --mount=type=secret,id=x --mount=target=/c,rw --mount=type=cache,target=/k echo wait''ing; echo waiting; sleep 1000"


def test_a_client_that_is_interrupted_ends_its_build_and_nothing_is_left(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    before = traces(engine)
    client = waiting_build(engine, tmp_path / "context", STEP)
    client.send_signal(signal.SIGINT)
    assert client.wait(30) == 130
    eventually(lambda: set(traces(engine)) <= set(before), "nothing is left of the build")
    assert "never:1" not in engine.out("images")


def test_a_daemon_killed_in_the_middle_leaves_nothing_but_cached_steps(
    make_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    engine = make_engine()
    client = waiting_build(engine, tmp_path / "context", STEP)
    assert traces(engine)
    os.kill(engine.daemon_pid, signal.SIGKILL)
    assert client.wait(60) != 0
    engine.start()
    eventually(lambda: not traces(engine), "nothing is left of the build")
    (tmp_path / "context/Dockerfile").write_text(
        (tmp_path / "context/Dockerfile").read_text().replace("sleep 1000", "true")
    )
    said = engine.run("build", "-t", "never:1", str(tmp_path / "context")).stderr
    assert said.count("CACHED") == 1
