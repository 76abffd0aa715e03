"""The apps of examples/apps, done as their pages say: Compose files as others write them, with images that are built here."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import debian_image
from document_session import commands, play
from free_ports import free_port
from other_users import User, open_to_group
from private_engine import SCRIPTS, PrivateEngine, eventually
from registry_server import PASSWORD, PROGRAM, USER, Registry, registry

pytestmark = [
    pytest.mark.needs_network,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="this host has no mmdebstrap"),
]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/apps"


class Example:
    """A copy of one example, which publishes a port that is free here."""

    def __init__(self, engine: PrivateEngine, directory: Path, name: str, port: str) -> None:
        self.engine, self.name = engine, name
        self.directory = directory / name
        shutil.copytree(EXAMPLES / name, self.directory, ignore=shutil.ignore_patterns("__pycache__"))
        self.port = free_port()
        for file in ("README.md", "compose.yaml"):
            path = self.directory / file
            path.write_text(path.read_text().replace(port, str(self.port)))

    def do(self, section: str) -> None:
        """Play the sessions of one section of its page."""
        page = (self.directory / "README.md").read_text()
        part = self.directory.parent / f"{self.name}.md"
        part.write_text(next(text for text in page.split("\n## ") if text.startswith(f"{section}\n")))
        found = commands(part, {})
        assert found, section
        environment = {**self.engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
        for command in found:
            play(command, self.directory, environment)

    def app(self, *words: str, **options: object) -> str:
        """``app …`` of this example; what it printed, stripped."""
        return self.engine.out("app", "--project-directory", str(self.directory), *words, **options)

    def get(self) -> str:
        """The page at its port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=20) as answer:
            page: bytes = answer.read()
        return page.decode().strip()

    def ids(self) -> dict[str, str]:
        """The ids of its containers, by name."""
        rows = self.engine.json("ps", "--all", "--filter", f"label=org.multios.app={self.name}")
        return {row["name"].removeprefix(f"{self.name}-"): row["id"] for row in rows}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """One that has the base image, may speak plain HTTP on loopback, and is ordinary users', too."""
    directory = tmp_path_factory.mktemp("wild")
    made = PrivateEngine(directory, {"HOME": str(directory)}, containers=64)
    with made.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
    try:
        made.start()
        debian_image.provide(made, directory)
        open_to_group(made)
        yield made
    finally:
        made.end()


def brought_up(engine: PrivateEngine, directory: Path, name: str, port: str) -> Iterator[Example]:
    """Built and brought up as its page says, and taken down as it says."""
    example = Example(engine, directory, name, port)
    example.do("Build")
    example.do("Bring it up")
    yield example
    example.do("Take it down")
    assert example.ids() == {}
    example.app("down", "--volumes")
    assert name not in engine.out("volume", "ls", "--quiet") + engine.out("network", "ls", "--quiet")


# --- WordPress ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wordpress(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    yield from brought_up(engine, tmp_path_factory.mktemp("wordpress"), "wordpress", "8080")


def test_wordpress_is_installed_and_its_site_outlives_its_containers(wordpress: Example) -> None:
    wordpress.do("Install it")
    before = wordpress.ids()
    wordpress.app("down")
    wordpress.app("up", "--detach", "--wait", timeout=120)
    assert not set(before.values()) & set(wordpress.ids().values())
    page = eventually(lambda: answered(wordpress), "WordPress answers again")
    assert "<title>School</title>" in page and "Hello world!" in page


def answered(example: Example) -> str:
    """Its page; empty where there is none yet."""
    try:
        return example.get()
    except OSError:
        return ""


def test_wordpress_waits_until_its_database_is_healthy(wordpress: Example) -> None:
    shown = wordpress.app("events", "--json", "--since", "1h", "--until", "0s")
    told = [(event["action"], event["name"]) for event in map(json.loads, shown.splitlines())]
    healthy = told.index(("health_status", "wordpress-db-1"))
    assert healthy < told.index(("start", "wordpress-wordpress-1"))


# --- Flask and Redis ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flask(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    yield from brought_up(engine, tmp_path_factory.mktemp("flask"), "flask-redis", "8000")


def test_the_count_is_kept_and_the_code_is_the_directorys(flask: Example) -> None:
    flask.do("Restart Redis")
    flask.do("Change the code")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    if not shutil.which(PROGRAM):
        pytest.skip("this host has no docker-registry")
    with registry(tmp_path / "registry", password=True) as running:
        yield running


def test_an_image_of_the_app_is_pulled_from_a_registry_with_its_users_login(
    flask: Example, guarded: Registry, tmp_path: Path
) -> None:
    engine, image = flask.engine, f"{guarded.host}/school/redis:7"
    files = [
        flask.directory / "compose.yaml",
        flask.directory / "compose.override.yaml",
        tmp_path / "school.yaml",
    ]
    files[-1].write_text(f"services: {{redis: {{image: '{image}', build: !reset null}}}}\n")
    app = ("app", "--project-directory", str(flask.directory), *(f"--file={file}" for file in files))
    engine.run("login", "-u", USER, "--password-stdin", guarded.host, input=f"{PASSWORD}\n")
    engine.run("image", "push", "flask-redis-redis", image)
    engine.run("logout", guarded.host)
    assert f"login {guarded.host}" in engine.run(*app, "pull", status=125).stderr
    count = number(flask)

    engine.run("login", "-u", USER, "--password-stdin", guarded.host, input=f"{PASSWORD}\n")
    assert engine.out(*app, "pull") == image
    engine.run("image", "rm", image)
    engine.run(*app, "up", "--detach")  # which pulls what is absent
    (row,) = engine.json("ps", "--filter", "name=flask-redis-redis-1")
    assert row["image"] == image
    assert number(flask) == count + 1

    flask.app("up", "--detach")
    engine.run("image", "rm", image)


def number(example: Example) -> int:
    """What the application counts."""
    return int(re.sub(r"\D", "", example.get()))


# --- nginx --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    yield from brought_up(engine, tmp_path_factory.mktemp("nginx"), "nginx-backends", "8080")


def test_no_request_fails_while_the_back_ends_are_replaced_and_become_more(nginx: Example) -> None:
    answers: list[str] = []
    failed: list[str] = []
    ends = threading.Event()

    def ask() -> None:
        while not ends.is_set():
            try:
                answers.append(nginx.get())
            except OSError as error:
                failed.append(str(error))
            time.sleep(0.01)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        nginx.do("Bring a new version")
        nginx.do("Have more of them")
        begun = len(answers)
        eventually(lambda: len({answer.split()[2] for answer in answers[begun:]}) == 5, "all five answer")
    finally:
        ends.set()
        for thread in asking:
            thread.join()
    assert failed == []
    seen = Counter(answer.rpartition(" ")[0] for answer in answers)
    assert seen.keys() == {"api 1", "api 2", "news 1"}
    assert "api 1" not in {answer.rpartition(" ")[0] for answer in answers[begun:]}


def test_a_new_version_that_is_never_healthy_is_rolled_back_and_nobody_notices(nginx: Example) -> None:
    before, ended = nginx.ids(), []
    broken = nginx.directory / "broken.yaml"
    broken.write_text("services: {api: {command: [sleep, infinity], healthcheck: {retries: 2}}}\n")
    files = [
        f"--file={nginx.directory / name}" for name in ("compose.yaml", "compose.override.yaml", broken.name)
    ]

    def update() -> None:
        ended.append(nginx.engine.run("app", *files, "up", "--detach", status=125).stderr)

    updating = threading.Thread(target=update)
    updating.start()
    while updating.is_alive():
        assert nginx.get().startswith(("api", "news"))
    updating.join()
    assert "service 'api': its new container is unhealthy" in ended[0]
    assert all(before[name] == found for name, found in nginx.ids().items() if name in ("api-1", "api-2"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="multios-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_an_ordinary_user_brings_up_what_an_administrator_has_built(nginx: Example, place: Path) -> None:
    games = User(nginx.engine, "games")
    mine = Example(nginx.engine, place, "nginx-backends", "8080")
    app = ("app", "--project-directory", str(mine.directory), "--project-name", "game")
    refused = games.run(*app, "build", "proxy", status=125).stderr
    assert "administrator" in refused and "service 'proxy'" in refused
    games.run(*app, "up", "--detach", "--wait", timeout=120)
    assert {mine.get().split()[0] for _ in range(30)} == {"api", "news"}
    games.run(*app, "down")
    assert games.out("ps", "--all", "--quiet") == ""
