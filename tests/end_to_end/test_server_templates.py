"""The templates with servers, from the mirror's packages to a container that answers, stops in time and keeps its data.

An image is built once for the session; the application of two templates on one network uses the same ones.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import debian_image
from free_ports import free_port
from private_engine import SCRIPTS, PrivateEngine, eventually

pytestmark = [pytest.mark.needs_network, pytest.mark.timeout(1500)]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/multi-container"
BUILD_PATIENCE = 1200
READY_PATIENCE = 60
STOP_PATIENCE = 12.0
"""Seconds: the ten after which the engine kills, which an exit status of 0 excludes, and the client's own."""


@pytest.fixture(scope="module")
def debian(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> PrivateEngine:
    """The engine, with the image that the templates are built on."""
    debian_image.provide(engine, tmp_path_factory.mktemp("debian"))
    return engine


def passed(engine: PrivateEngine, template: str) -> list[str]:
    """Run all checks of a template; their names."""
    rows = json.loads(engine.out("template", "test", "--format", "json", template, timeout=BUILD_PATIENCE))
    assert not [row for row in rows if row["cause"]], rows
    return [row["name"] for row in rows]


class Course:
    """A container of a template, all its services ready."""

    def __init__(self, engine: PrivateEngine, template: str, name: str, *options: str) -> None:
        self.engine, self.template, self.name = engine, template, name
        engine.run("create", "--template", template, *options, name, timeout=BUILD_PATIENCE)
        self.start()

    def start(self) -> None:
        self.engine.run("start", self.name)
        self.wait()

    def wait(self) -> None:
        words = ("exec", self.name, "multios-services", "wait", str(READY_PATIENCE))
        waited = self.engine.run(*words, status=None, timeout=READY_PATIENCE + 30)
        assert waited.returncode == 0, waited.stdout + self.engine.out("logs", "--tail", "100", self.name)

    def stop(self) -> str:
        """Stop it in time and in order; what was said meanwhile."""
        said = len(self.engine.out("logs", self.name).splitlines())
        begun = time.monotonic()
        self.engine.run("stop", self.name)
        took = time.monotonic() - begun
        assert took < STOP_PATIENCE, f"it took {took:.1f} s"
        assert self.engine.inspect(self.name)["State"]["ExitCode"] == 0
        return "\n".join(self.engine.out("logs", self.name).splitlines()[said:])

    def run(self, *command: str, **options: Any) -> str:
        return self.engine.run("exec", self.name, *command, **options).stdout

    def feed(self, text: str, *command: str) -> str:
        return self.engine.run("exec", "-i", self.name, *command, input=text).stdout

    def blocks(self, language: str) -> list[tuple[str, str]]:
        """The lesson's blocks in that language, each with the heading of its section."""
        found = []
        for section in re.split(r"^## ", self.engine.out("template", "show", self.template), flags=re.M):
            for block in re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S):
                found.append((section.splitlines()[0], block))
        assert found, language
        return found


@pytest.fixture
def database(debian: PrivateEngine) -> Iterator[Course]:
    yield Course(debian, "database-learning", "db-course")
    debian.run("delete", "--force", "db-course", status=None)


@pytest.fixture
def web(debian: PrivateEngine) -> Iterator[Course]:
    yield Course(debian, "web-learning", "web-course", "-p", f"127.0.0.1:{free_port()}:80")
    debian.run("delete", "--force", "web-course", status=None)


def test_database_learning(database: Course) -> None:
    """Checks, the lesson's own SQL, a stop with clients that wait, and the data after it."""
    checked = passed(database.engine, "database-learning")
    assert "Redis: SET, GET" in checked and "PostgreSQL: create, insert, select" in checked
    assert "MariaDB" in database.run("mysql", "--version")

    for heading, block in database.blocks("sql"):
        in_mariadb = heading.startswith(("2.", "3.", "4."))
        database.feed(block, *(("mysql", "school") if in_mariadb else ("psql", "--set=ON_ERROR_STOP=1")))
    assert database.run("mysql", "-Ne", "SELECT COUNT(*) FROM mark", "school").strip() == "14"
    assert "Index" in database.run("psql", "-c", "EXPLAIN SELECT * FROM visit WHERE visitor = 4711")
    assert "Emmy" in database.feed(database.blocks("redis")[0][1], "redis-cli")

    database.run("mysql", "-e", "CREATE TABLE kept (word TEXT); INSERT INTO kept VALUES ('maria')", "school")
    database.run("psql", "-c", "CREATE TABLE kept (word TEXT)", "-c", "INSERT INTO kept VALUES ('postgres')")
    database.run("redis-cli", "SET", "kept", "redis")
    idle = database.engine.popen("exec", "db-course", "psql", "--command=SELECT pg_sleep(600)")
    sleeping = "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    eventually(lambda: "1" in database.run("psql", "-tc", sleeping), "a client waits for PostgreSQL")

    said = database.stop()
    idle.wait(10)
    ended = re.findall(r"multios-services: ending (\w+)", said)
    assert ended == ["redis", "postgresql", "mariadb"]
    assert "is killed" not in said
    assert "mariadbd: Shutdown complete" in database.engine.run("logs", "db-course").stderr + said

    database.start()
    assert database.run("mysql", "-Ne", "SELECT word FROM kept", "school").strip() == "maria"
    assert database.run("psql", "-tc", "SELECT word FROM kept").strip() == "postgres"
    assert database.run("redis-cli", "GET", "kept").strip() == "redis"


def test_a_database_server_that_is_killed_comes_back_with_what_was_committed(database: Course) -> None:
    database.run("mysql", "-e", "CREATE TABLE sure (word TEXT); INSERT INTO sure VALUES ('kept')", "school")
    database.run("psql", "-c", "CREATE TABLE sure (word TEXT)", "-c", "INSERT INTO sure VALUES ('kept')")
    database.run("pkill", "-KILL", "mariadbd")
    database.run("pkill", "-KILL", "-o", "-x", "postgres")
    database.wait()
    assert database.run("mysql", "-Ne", "SELECT word FROM sure", "school").strip() == "kept"
    assert database.run("psql", "-tc", "SELECT word FROM sure").strip() == "kept"


def test_web_learning(web: Course) -> None:
    """Checks, the page from outside, what the lesson claims, a restart of one program, and the guests after a stop."""
    assert "a PHP page that asks the database, through Apache" in passed(web.engine, "web-learning")
    [port] = [row["host"] for row in _ports(web)]

    def page(path: str, data: bytes | None = None) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=20) as answer:
            return str(answer.read().decode())

    assert "<b>Ada</b>: 1 &lt; 2" in page("/", b"name=Ada&words=1+%3C+2")
    for path, language in (("/node/", "Node.js v"), ("/python/", "Python 3.")):
        told = json.loads(page(path))
        assert told["from"].startswith(language)
        assert {"name": "Ada", "words": "1 < 2"} in told["guests"]

    assert "already running" in web.run("apache2ctl", "start")
    _do_what_the_lesson_claims(web, page)

    web.run("pkill", "-x", "node")
    eventually(lambda: re.search(r"^node +ready .* 1$", web.run("multios-services", "status", status=None), re.M),
               "Node.js is served again")  # fmt: skip
    assert json.loads(page("/node/"))["guests"]

    said = web.stop()
    assert re.findall(r"multios-services: ending (\w+)", said) == ["apache", "python", "node", "mariadb"]
    assert "is killed" not in said
    web.start()
    assert "<b>Ada</b>" in page("/")

    web.engine.run("kill", web.name)
    web.engine.run("wait", web.name)
    web.start()
    assert "<b>Ada</b>" in page("/")


def _ports(course: Course) -> list[dict[str, Any]]:
    bindings = course.engine.inspect(course.name)["NetworkSettings"]["Ports"]
    return [{"host": int(row["HostPort"])} for rows in bindings.values() for row in rows]


def _do_what_the_lesson_claims(web: Course, page: Any) -> None:
    """Its programs run; the wrong one can be tricked, and the mended one cannot."""
    clock, wrong, mended = (block for _, block in web.blocks("php"))
    for number, program in enumerate((clock, wrong, mended)):
        web.feed(program, "sh", "-c", f"cat > /var/www/html/lesson-{number}.php")
    assert "<h1>Good " in page("/lesson-0.php")
    trick = "?name=%27+OR+%27a%27+%3D+%27a"
    for number, tricked in ((1, True), (2, False)):
        assert "Tim: " in page(f"/lesson-{number}.php?name=Tim")
        assert ("Ada: " in page(f"/lesson-{number}.php{trick}")) is tricked
    for _, block in web.blocks("sql"):
        web.feed(block, "mysql", "web")


@pytest.fixture
def application(debian: PrivateEngine) -> Iterator[tuple[PrivateEngine, int]]:
    """A web server and a database, made and started in the words of the project's first example."""
    port = free_port()
    debian.run("network", "create", "app-network")
    try:
        debian.run(
            "create", "--template", "web-learning", "--network", "app-network", "--name", "web-server",
            "--port", f"{port}:80", "web-learning", timeout=BUILD_PATIENCE,
        )  # fmt: skip
        debian.run(
            "create", "--template", "database-learning", "--network", "app-network", "--name", "database",
            "database-learning", timeout=BUILD_PATIENCE,
        )  # fmt: skip
        debian.run("start", "web-server")
        debian.run("start", "database")
        for name in ("web-server", "database"):
            debian.run(
                "exec", name, "multios-services", "wait", str(READY_PATIENCE), timeout=READY_PATIENCE + 30
            )
        yield debian, port
    finally:
        debian.run("delete", "--force", "web-server", "database", status=None)
        debian.run("network", "rm", "app-network", status=None)


def test_a_web_server_and_a_database_of_two_templates(application: tuple[PrivateEngine, int]) -> None:
    engine, port = application
    typed = _type(
        engine.command("exec", "web-server", "mysql", "-h", "database", "-u", "root", "-p"),
        engine.environment,
        [
            ("Enter password:", "learning"),
            ("]>", "SELECT CONCAT(@@hostname, ' answers');"),
            ("answers", "exit"),
        ],
    )
    assert f"{engine.inspect('database')['Id'][:12]} answers" in typed

    asked = ("-h", "database", "-u", "root", "--connect-timeout=5", "-e", "SELECT 1")
    refused = engine.run("exec", "web-server", "mysql", *asked, "--password=wrong", status=1)
    assert "Access denied" in refused.stderr
    refused = engine.run("exec", "web-server", "mysql", *asked, status=1)
    assert "Access denied" in refused.stderr
    for number, status in ((80, 0), (3306, 1)):  # the web server's own database is its own
        engine.run("exec", "database", "bash", "-c", f"exec 3<> /dev/tcp/web-server/{number}", status=status)

    page = "<?php $d = new mysqli('database', 'root', 'learning', 'school'); " \
           "foreach ($d->query('SELECT name FROM pupil WHERE id = 4') as $row) echo $row['name'];"  # fmt: skip
    engine.run("exec", "-i", "web-server", "sh", "-c", "cat > /var/www/html/school.php", input=page)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/school.php", timeout=20) as answer:
        assert answer.read() == b"Emmy"


def test_a_web_server_and_a_database_of_two_templates_from_one_file(debian: PrivateEngine) -> None:
    """As the example's page has it; the host's port 8080 may be taken, so it is another one."""
    port = str(free_port())
    section = (EXAMPLE / "README.md").read_text().partition("## The same from one file")[2]
    (block,) = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    environment = {**debian.environment, "WEB_PORT": port, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    printed = []
    try:
        for line in block.splitlines():
            done = subprocess.run(
                ["bash", "-c", line.replace("8080", port)],
                cwd=EXAMPLE, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=BUILD_PATIENCE,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            printed.append(done.stdout)
    finally:
        debian.run("app", "--project-name", "multi-container", "down", "--volumes", timeout=120)
    _, listed, pupils, page, _ = printed
    assert listed.count("(healthy)") == 2 and f"{port}->80/tcp" in listed
    assert "Emmy" in pupils and "<" in page
    assert debian.out("network", "ls", "--quiet", "--filter", "name=multi-container") == ""


def test_back_ends_of_somebody_elses_file_are_machines_of_a_template(
    debian: PrivateEngine, tmp_path: Path
) -> None:
    """As the page of examples/apps/nginx-backends has it, at a port that is free."""
    port, example = free_port(), tmp_path / "nginx-backends"
    shutil.copytree(EXAMPLE.parent / "apps/nginx-backends", example)
    file = example / "compose.yaml"
    file.write_text(file.read_text().replace("8080:", f"{port}:"))
    section = (example / "README.md").read_text().partition("## Let a template's machines answer")[2]
    line = re.search(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert line is not None
    environment = {**debian.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        done = subprocess.run(
            ["bash", "-c", line[1]],
            cwd=example, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=BUILD_PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        answers = set()
        for _ in range(60):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                answers.add(answer.read())
        names = [name for name, *_ in (answer.decode().split() for answer in answers)]
        assert sorted(names) == ["api", "api", "news"]
        rows = debian.json("ps", "--filter", "label=org.multios.app=nginx-backends")
        assert [row["template"] for row in rows].count("web-learning") == 3
    finally:
        debian.run("app", "--project-name", "nginx-backends", "down", "--timeout", "0", timeout=120)


def _type(command: list[str], environment: dict[str, str], turns: list[tuple[str, str]]) -> str:
    """What a program shows on a terminal on which each answer is typed once its question is there."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment)
    shown, unread = "", ""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if turns and turns[0][0] in unread:
            os.write(master, turns.pop(0)[1].encode() + b"\n")
            time.sleep(0.3)  # the echo of what was typed is no answer
            unread = ""
        if not select.select([master], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(master, 4096).decode(errors="replace")
        except OSError:  # its end has gone
            break
        shown, unread = shown + data, unread + data
    os.close(master)
    _, status = os.waitpid(pid, 0)
    assert status == 0 and not turns, shown
    return shown
