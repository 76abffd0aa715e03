"""The application of examples/multi-container, done as its page says: a web server and a database that it knows by name."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import debian_image
from free_ports import free_port
from private_engine import SCRIPTS, PrivateEngine

pytestmark = [
    pytest.mark.needs_network,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="this host has no mmdebstrap"),
]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/multi-container"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
SQL = ("mysql", "--host=database", "--user=root", "--password=learning", "--batch", "--skip-column-names")


@dataclass
class Application:
    """The example's sessions, section by section, in an engine of the tests' own."""

    engine: PrivateEngine
    port: int

    def do(self, section: str) -> list[str]:
        """What each line of a section prints; the host's port 8080 may be taken, so it is another one."""
        sections = dict(SECTION.findall((EXAMPLE / "README.md").read_text()))
        environment = {**self.engine.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
        printed = []
        for line in "".join(BLOCK.findall(sections[section])).splitlines():
            done = subprocess.run(
                ["bash", "-c", line.replace("8080", str(self.port))],
                cwd=EXAMPLE, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            printed.append(done.stdout.strip())
        return printed

    def sql(self, query: str) -> str:
        """What a query, asked by the web server's container, answers."""
        return self.engine.out("exec", "web-server", *SQL, f"--execute={query}")

    def address(self, name: str) -> str:
        found: str = self.engine.inspect(name)["NetworkSettings"]["Networks"]["app-network"]["IPAddress"]
        return found


@pytest.fixture(scope="module")
def application(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Built and started as the page says, and cleaned up as it says."""
    debian_image.provide(engine, tmp_path_factory.mktemp("debian"))
    made = Application(engine, free_port())
    try:
        made.do("Build")
        made.do("Start")
        yield made
        made.do("Clean up")
    finally:
        engine.run("delete", "--force", "web-server", "database", status=None)
        engine.run("network", "rm", "app-network", status=None)


def test_the_web_server_asks_the_database_by_name(application: Application) -> None:
    alive, told = application.do("Ask the database from the web server")
    assert alive == "mysqld is alive"
    assert "root@%" in told and application.engine.inspect("database")["Id"][:12] in told
    application.sql("CREATE TABLE school.pupil (name VARCHAR(20))")
    application.sql("INSERT INTO school.pupil VALUES ('Ada'), ('Grace')")
    assert application.sql("SELECT name FROM school.pupil ORDER BY name").split() == ["Ada", "Grace"]


def test_a_wrong_password_is_refused(application: Application) -> None:
    application.do("Ask the database from the web server")
    words = ("exec", "web-server", "mysql", "--host=database", "--user=root", "--password=wrong")
    assert "Access denied" in application.engine.run(*words, "--execute=SELECT 1", status=1).stderr


def test_the_host_sees_the_page_through_the_published_port(application: Application) -> None:
    application.do("Ask the database from the web server")
    first, second, drawn = application.do("See the page")
    count = int(first.removeprefix("visit "))
    assert second == f"visit {count + 1}"
    assert f"web-server  {application.address('web-server')}  {application.port}->80/tcp" in drawn
    assert application.sql("SELECT MAX(number) FROM school.visit") == str(count + 1)


def test_a_restarted_database_is_found_by_the_same_name_at_another_address(application: Application) -> None:
    application.do("Ask the database from the web server")
    before, visits = application.address("database"), application.sql("SELECT COUNT(*) FROM school.visit")
    name, alive, found, page = application.do("Restart the database")
    assert (name, alive) == ("database", "mysqld is alive")
    assert found.split() == [application.address("database"), "database"] and found.split()[0] != before
    assert page == f"visit {int(visits) + 1}", "what was stored is still there"


def test_the_database_runs_as_its_own_user_without_privileges(application: Application) -> None:
    application.do("Ask the database from the web server")
    security = application.engine.inspect("database")["HostConfig"]["Security"]
    assert not security["privileged"] and not security["capabilities"] and security["no_new_privileges"]
    status = application.engine.out("exec", "database", "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapEff"], 16) == 0
