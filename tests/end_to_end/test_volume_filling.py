"""A new volume gets what the image has in its place, by the real programs: images built here, apps, faults."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fault_injection
from app_directory import AppDirectory
from document_session import commands, play
from faults import FILL_FAULTS, Fault
from kitchen import Kitchen
from private_engine import IMAGE, SCRIPTS, PrivateEngine, eventually

DOCKERFILE = """
FROM small:1
RUN mkdir -p /srv/site/sub && echo welcome > /srv/site/index && echo inner > /srv/site/sub/inner \\
    && ln /srv/site/index /srv/site/same && ln -s ../../etc/greeting /srv/site/link \\
    && cp /bin/busybox /srv/site/program && chown 1000:1000 /srv/site/sub /srv/site/program && chmod 4755 /srv/site/program \\
    && chown 1000:1000 /srv/site && chmod 2750 /srv/site && mkdir /srv/empty && chown 1000 /srv/empty && chmod 1770 /srv/empty \\
    && ln -s site /srv/also
"""
LOOKS = "cd /srv/site && stat -c '%n %a %u %g %h' . index program sub && cat index sub/inner && readlink link"
EXPECTED = """. 2750 1000 1000 3
index 644 0 0 2
program 4755 1000 1000 1
sub 755 1000 1000 2
welcome
inner
../../etc/greeting"""


@pytest.fixture(scope="module")
def site(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with files at ``/srv/site``."""
    kitchen = Kitchen(engine, tmp_path_factory.mktemp("site"), "volume-filling")
    yield kitchen.build(DOCKERFILE, "--network", "none")
    kitchen.clear()


@pytest.fixture
def volume(engine: PrivateEngine, name: str) -> Iterator[str]:
    """A name that no volume has."""
    text = "v-" + re.sub(r"\W+", "-", name)[-40:].strip("-")
    yield text
    engine.run("delete", "--force", name, status=None)
    engine.run("volume", "rm", text, status=None)


WAYS = {
    "own ids": (),
    "the host's ids": ("--userns", "host"),
    "privileged": ("--privileged",),
    "vfs": ("--storage", "vfs"),
    "oci": ("--isolation", "oci"),
    "limited disk": ("--disk-limit", "64M"),
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_a_new_volume_has_the_files_of_the_image_as_they_are(
    engine: PrivateEngine, site: str, volume: str, options: tuple[str, ...]
) -> None:
    if "oci" in options and shutil.which("runc") is None:
        pytest.skip("this host has no runc")
    words = ("run", "--rm", *options, "-v", f"{volume}:/srv/site")
    assert engine.out(*words, site, "sh", "-c", LOOKS) == EXPECTED
    engine.run(*words, site, "sh", "-c", "rm -r /srv/site/*; echo mine > /srv/site/own")
    assert engine.out(*words, site, "ls", "/srv/site") == "own"
    assert engine.out("run", "--rm", *options, site, "sh", "-c", LOOKS) == EXPECTED


def test_it_is_filled_also_where_it_is_read_only_or_met_by_a_link(
    engine: PrivateEngine, site: str, volume: str
) -> None:
    said = engine.out("run", "--rm", "-v", f"{volume}:/srv/also:ro", site, "sh", "-c", LOOKS)
    assert said == EXPECTED
    done = engine.run("run", "--rm", "-v", f"{volume}:/srv/site:ro", site, "touch", "/srv/site/x", status=1)
    assert "Read-only" in done.stderr


def test_nocopy_leaves_it_empty(engine: PrivateEngine, site: str, volume: str) -> None:
    assert engine.out("run", "--rm", "-v", f"{volume}:/srv/site:ro,nocopy", site, "ls", "/srv/site") == ""
    assert engine.out("run", "--rm", "-v", f"{volume}:/srv/site", site, "cat", "/srv/site/index") == "welcome"


def test_an_empty_directory_gives_its_owner_and_mode(engine: PrivateEngine, site: str, volume: str) -> None:
    words = ("run", "--rm", "-v", f"{volume}:/srv/empty", site, "stat", "-c", "%u %a", "/srv/empty")
    assert engine.out(*words) == "1000 1770"


def test_bind_mounts_are_never_filled(engine: PrivateEngine, site: str, tmp_path: Path) -> None:
    assert engine.out("run", "--rm", "-v", f"{tmp_path}:/srv/site", site, "ls", "/srv/site") == ""
    assert engine.out("run", "--rm", "--tmpfs", "/srv/site", site, "ls", "/srv/site") == ""
    done = engine.run("run", "--rm", "-v", f"{tmp_path}:/srv/site:nocopy", site, "true", status=125)
    assert "nocopy" in done.stderr and "Traceback" not in done.stderr


def test_of_many_first_uses_at_once_all_see_everything(engine: PrivateEngine, site: str, volume: str) -> None:
    words = ("run", "--rm", "-v", f"{volume}:/srv/site", site, "sh", "-c", LOOKS)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda number: engine.out(*words), range(6))) == {EXPECTED}


def test_a_container_that_runs_already_meets_the_files_in_its_empty_volume(
    engine: PrivateEngine, site: str, name: str, volume: str
) -> None:
    engine.run("run", "-d", "--name", name, "-v", f"{volume}:/mine", IMAGE, "sleep", "1000")
    engine.run("run", "--rm", "-v", f"{volume}:/srv/site", site, "true")
    assert engine.out("exec", name, "cat", "/mine/index") == "welcome"


def test_links_of_an_image_lead_nowhere_outside(engine: PrivateEngine, tmp_path: Path, volume: str) -> None:
    """Through ``..``, through an absolute link, and to a directory of the host that the image lacks."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the host's")
    kitchen = Kitchen(engine, tmp_path, "volume-links")
    image = kitchen.build(
        f"FROM small:1\nRUN ln -s {secret} /absolute && ln -s ../../../../../..{secret} /relative && ln -s /proc/1/root/etc /proc-link\n",
        *("--network", "none"),
    )
    for place in ("absolute", "relative", "proc-link"):
        engine.run("run", "--rm", "-v", f"{volume}:/{place}", image, "true", status=None)
        path = Path(engine.json("volume", "inspect", volume)[0]["path"])
        assert os.listdir(path) == [], place


def test_an_app_fills_its_volumes_and_nocopy_does_not(app: AppDirectory, site: str) -> None:
    app.write(f"""
        x-web: &web {{image: "{site}", command: sleep 1000}}
        services:
          web: {{<<: *web, volumes: ["files:/srv/site"]}}
          backup: {{<<: *web, volumes: ["files:/backup:ro"], depends_on: [web]}}
          long:
            <<: *web
            volumes: [{{type: volume, source: long, target: /srv/site, volume: {{nocopy: true}}}}]
          short: {{<<: *web, volumes: ["short:/srv/site:ro,nocopy"]}}
          unnamed: {{<<: *web, volumes: [/srv/site]}}
        volumes: {{files: , long: , short: }}
    """)
    app.up()
    assert app.out("exec", "-T", "web", "sh", "-c", LOOKS) == EXPECTED
    assert app.out("exec", "-T", "unnamed", "sh", "-c", LOOKS) == EXPECTED
    assert app.out("exec", "-T", "backup", "cat", "/backup/index") == "welcome"
    for service in ("long", "short"):
        assert app.out("exec", "-T", service, "ls", "/srv/site") == ""
    app.out("exec", "-T", "web", "sh", "-c", "rm -r /srv/site/*")
    app.up("--force-recreate")
    assert app.out("exec", "-T", "web", "ls", "/srv/site") == ""


def test_step_by_step_it_is_said(engine: PrivateEngine, site: str, name: str, volume: str) -> None:
    engine.run("create", "--name", name, "-v", f"{volume}:/srv/site", site, "true")
    said = engine.out("start", "--step", name)
    assert "fill volumes" in said and "its image has" in said


def test_the_page_about_volumes_goes_as_written(engine: PrivateEngine, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/how-to/volumes.md"
    section = tmp_path / "section.md"
    section.write_text(page.read_text().partition("## A new volume")[2].partition("## Mounts")[0])
    environment = {**engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        played = commands(section, {})
        for command in played:
            play(command, tmp_path, environment)
        assert len(played) == 5
        assert engine.out("run", "--rm", "-v", "bare:/look", IMAGE, "ls", "/look") == ""
    finally:
        engine.run("volume", "rm", "pages", "bare", status=None)


# --- faults ---------------------------------------------------------------------------------------------


class FaultyEngine:
    """A private engine whose steps fail on order, with an image that has files for a volume."""

    def __init__(self, engine: PrivateEngine, orders: Path, image: str) -> None:
        self.engine, self.orders, self.image = engine, orders, image

    def create(self, volume: str, place: str = "/srv/site") -> None:
        self.engine.run("create", "--name", "broken", "-v", f"{volume}:{place}", self.image, "sleep", "1000")

    def volume(self, name: str) -> Path:
        return self.engine.data_root / "volumes" / name

    def check_whole(self, volume: str) -> None:
        """The volume of the running container has everything, and nothing lies beside it."""
        assert self.engine.out("exec", "broken", "sh", "-c", LOOKS) == EXPECTED
        assert os.listdir(self.volume(volume)) == ["_data"]


@pytest.fixture(scope="module")
def faulty(make_engine: object, tmp_path_factory: pytest.TempPathFactory) -> FaultyEngine:
    site, orders = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("orders")
    fault_injection.install(site)
    engine = make_engine({"PYTHONPATH": str(site), fault_injection.ENVIRONMENT: str(orders)})  # type: ignore[operator]
    kitchen = Kitchen(engine, tmp_path_factory.mktemp("faulty"), "faulty")
    text = (
        DOCKERFILE + "RUN mkdir /srv/big && dd if=/dev/urandom of=/srv/big/file bs=1M count=300 2>/dev/null\n"
    )
    return FaultyEngine(engine, orders, kitchen.build(text, "--network", "none"))


@pytest.fixture
def calm(faulty: FaultyEngine) -> Iterator[FaultyEngine]:
    yield faulty
    (faulty.orders / "order").unlink(missing_ok=True)
    faulty.engine.run("delete", "--force", "--volumes", "broken", status=None)


@pytest.mark.parametrize("action", ["fail", "kill"])
@pytest.mark.parametrize("fault", FILL_FAULTS, ids=str)
def test_a_step_that_fails_leaves_an_empty_volume_or_a_whole_one(
    calm: FaultyEngine, fault: Fault, action: str
) -> None:
    engine = calm.engine
    calm.create("data")
    fault_injection.order(calm.orders, fault.step, fault.when, action)
    done = engine.run("start", "broken", status=125 if action == "fail" else None)
    assert "Traceback" not in done.stderr
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers again")
    found = sorted(os.listdir(calm.volume("data") / "_data"))
    assert found == ([] if fault.when == "before" else ["index", "link", "program", "same", "sub"])
    engine.run("start", "broken")
    calm.check_whole("data")


def slow_start(faulty: FaultyEngine) -> subprocess.Popen[bytes]:
    """A start that is in the middle of its copy, which stands still."""
    faulty.create("data", "/srv/big")
    client = faulty.engine.popen("start", "broken", stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid, line in faulty.engine.processes().items():
            if "multios.layers.rooted_copy" in line:
                os.kill(pid, signal.SIGSTOP)
                eventually(functools.partial(stands_still, pid), "it stands still")
                return client
    raise AssertionError("no copy was seen")


def stands_still(pid: int) -> bool:
    """Whether a signal has stopped the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def copiers(engine: PrivateEngine) -> list[str]:
    return [line for line in engine.processes().values() if "multios.layers.rooted_copy" in line]


def test_a_daemon_that_is_killed_in_a_copy_leaves_an_empty_volume(calm: FaultyEngine) -> None:
    engine = calm.engine
    client = slow_start(calm)
    os.kill(engine.daemon_pid, signal.SIGKILL)
    client.communicate(timeout=30)
    for pid, line in engine.processes().items():
        if (
            "multios.layers.rooted_copy" in line
        ):  # it was stopped too early to have asked to die with the daemon
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: not copiers(engine), "the copy ended with the daemon")
    eventually(lambda: engine.run("version", status=None).returncode == 0, "a daemon answers again")
    assert os.listdir(calm.volume("data")) == ["_data"] and os.listdir(calm.volume("data") / "_data") == []
    engine.run("start", "broken")
    assert engine.out("exec", "broken", "stat", "-c", "%s", "/srv/big/file") == str(300 << 20)


def test_a_client_that_is_interrupted_ends_the_copy_and_others_are_served_meanwhile(
    calm: FaultyEngine,
) -> None:
    engine = calm.engine
    client = slow_start(calm)
    assert (
        engine.out("run", "--rm", "-v", "other:/srv/site", calm.image, "cat", "/srv/site/index") == "welcome"
    )
    engine.run("volume", "rm", "other")
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=30)
    eventually(lambda: not copiers(engine), "the copy was ended")
    eventually(lambda: os.listdir(calm.volume("data")) == ["_data"], "what was copied is gone")
    assert os.listdir(calm.volume("data") / "_data") == []
    assert engine.status_of("broken") == "created"
    engine.run("start", "broken")
    assert engine.out("exec", "broken", "stat", "-c", "%s", "/srv/big/file") == str(300 << 20)


def test_a_full_disk_fails_the_start_with_the_file_that_had_no_room(
    calm: FaultyEngine, tmp_path: Path
) -> None:
    engine, place = calm.engine, calm.volume("data")
    engine.run("volume", "create", "data")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(place)], check=True)
    try:
        (place / "_data").mkdir()
        calm.create("data", "/srv/big")
        said = engine.run("start", "broken", status=125).stderr
        assert "No space left on device at '/srv/big/file'" in said and "Traceback" not in said
        assert os.listdir(place) == ["_data"] and os.listdir(place / "_data") == []
        assert engine.status_of("broken") in ("created", "exited")
    finally:
        engine.run("delete", "--force", "broken", status=None)
        subprocess.run(["umount", str(place)], check=True)
    calm.create("data")
    engine.run("start", "broken")
    calm.check_whole("data")
