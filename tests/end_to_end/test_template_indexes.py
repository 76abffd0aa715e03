"""Indexes of templates, by the real programs: a folder, without any network, on a web server with password and TLS."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from document_session import commands, play
from index_server import PASSWORD, USER, IndexServer, serving
from other_users import User, open_to_group
from private_engine import SCRIPTS, PrivateEngine
from registry_server import PROGRAM, certificate, registry

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = """\
schema = 1
name = "{name}"
version = "{version}"
description = "A lab of {name}"
license = "MIT"
base = "{{{{image}}}}"
command = ["/bin/sh"]

[[parameters]]
name = "image"
description = "The base"
default = "small:1"

[[checks]]
name = "it is there"
command = ["cat", "/etc/greeting"]
"""
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine of these tests' own, whose users have a home of their own."""
    directory = tmp_path_factory.mktemp("own")
    engine = PrivateEngine(directory, {"HOME": str(directory)})
    with engine.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
    engine.start()
    open_to_group(engine)
    yield engine
    engine.end()


@pytest.fixture(autouse=True)
def _forgotten(own: PrivateEngine) -> Iterator[None]:
    """Nothing stays imported, and nobody has credentials."""
    yield
    (own.directory / ".netrc").unlink(missing_ok=True)
    names = [row["name"] for row in own.json("template", "list") if row["source"]]
    if names:
        own.run("template", "rm", *names)


@pytest.fixture
def make(tmp_path: Path, own: PrivateEngine) -> Make:
    """Make an index of templates, each ``name==version``, whose archives only stay."""

    def write(*wanted: str, at: str = "index") -> Path:
        directory = tmp_path / at
        directory.mkdir(exist_ok=True)
        for text in wanted:
            name, _, version = text.partition("==")
            folder = directory / name
            folder.mkdir()
            (folder / "template.toml").write_text(TEMPLATE.format(name=name, version=version))
            (folder / "lesson.md").write_text(f"# {name} {version}\n")
            own.run("template", "index", str(directory))
            shutil.rmtree(folder)
        return directory

    return write


def templates(directory: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((directory / "index.json").read_text())["templates"]
    return listed


def change(directory: Path, **values: Any) -> None:
    """Change the first entry of an index."""
    rows = templates(directory)
    rows[0] |= values
    (directory / "index.json").write_text(json.dumps({"schema": 1, "templates": rows}))


def imported(own: PrivateEngine) -> list[tuple[str, str]]:
    return [(row["name"], row["version"]) for row in own.json("template", "list") if row["source"]]


def refused(own: PrivateEngine, where: object, name: str = "lab-a") -> str:
    """What an import that must fail says; nothing is imported."""
    done = own.run("template", "import", "--index", str(where), name, status=125)
    assert imported(own) == []
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Asking ")]
    assert lines[0].startswith("Error: ") and len(lines) <= 2, done.stderr
    return done.stderr


# --- a folder -------------------------------------------------------------------------------------


def test_folders_are_packed_and_listed_and_the_same_content_gives_the_same_bytes(
    own: PrivateEngine, make: Make
) -> None:
    directory = make("lab-a==1.0", "lab-b==0.1")
    folder = directory / "lab-a"
    folder.mkdir()
    (folder / "template.toml").write_text(TEMPLATE.format(name="lab-a", version="1.10"))
    (folder / "lesson.md").write_text("# A\n")
    assert own.out("template", "index", str(directory)) == f"{directory}/index.json: 3 templates"
    rows = templates(directory)
    assert [(row["name"], row["version"]) for row in rows] == [
        ("lab-a", "1.0"), ("lab-a", "1.10"), ("lab-b", "0.1")
    ]  # fmt: skip
    data = (directory / "lab-a-1.10.tar.gz").read_bytes()
    assert rows[1] == {
        "name": "lab-a",
        "version": "1.10",
        "description": "A lab of lab-a",
        "license": "MIT",
        "base": "small:1",
        "file": "lab-a-1.10.tar.gz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    before = (directory / "index.json").read_bytes()
    own.run("template", "index", str(directory))
    assert (directory / "index.json").read_bytes() == before
    copied = shutil.copytree(directory, directory.parent / "copied")
    own.run("template", "index", f"{copied}/")
    assert (copied / "index.json").read_bytes() == before
    assert sorted(path.name for path in directory.iterdir()) == [
        "index.json", "lab-a", "lab-a-1.0.tar.gz", "lab-a-1.10.tar.gz", "lab-b-0.1.tar.gz"
    ]  # fmt: skip


def test_one_wrong_archive_is_named_and_the_index_stays_as_it_was(own: PrivateEngine, make: Make) -> None:
    directory = make("lab-a==1.0")
    before = (directory / "index.json").read_bytes()
    shutil.copy(directory / "lab-a-1.0.tar.gz", directory / "twice.tar.gz")
    error = own.run("template", "index", str(directory), status=125).stderr
    assert "lab-a-1.0.tar.gz and twice.tar.gz are both lab-a 1.0" in error
    (directory / "twice.tar.gz").write_bytes(b"junk")
    assert (
        f"Error: {directory}/twice.tar.gz" in own.run("template", "index", str(directory), status=125).stderr
    )
    (directory / "twice.tar.gz").unlink()
    (directory / "twice.tar.gz").symlink_to("/etc/passwd")
    error = own.run("template", "index", str(directory), status=125).stderr
    assert "twice.tar.gz: leads out of the index" in error
    (directory / "twice.tar.gz").rename(directory / "a b.tar.gz")
    assert "a b.tar.gz: cannot be listed" in own.run("template", "index", str(directory), status=125).stderr
    (directory / "a b.tar.gz").unlink()
    (directory / "broken").mkdir()
    (directory / "broken/template.toml").write_text("schema = 1\n")
    error = own.run("template", "index", str(directory), status=125).stderr
    assert f"{directory}/broken/template.toml:1: name: is missing" in error
    shutil.rmtree(directory / "broken")
    for name in ("one", "two"):
        (directory / name).mkdir()
        (directory / name / "template.toml").write_text(TEMPLATE.format(name="lab-b", version="1"))
        (directory / name / "lesson.md").write_text(f"# {name}\n")
    error = own.run("template", "index", str(directory), status=125).stderr
    assert "one and two are both lab-b 1" in error
    error = own.run("template", "index", str(directory / "one"), status=125).stderr
    assert f"{directory}/one/ is a template itself" in error
    assert (directory / "index.json").read_bytes() == before
    assert not list(directory.glob(".*"))
    assert "Error:" in own.run("template", "index", f"{directory}/absent", status=125).stderr


def test_a_name_is_imported_in_its_newest_version_or_the_one_asked_for(
    own: PrivateEngine, make: Make
) -> None:
    directory = make("lab-a==1.9", "lab-a==1.10", "lab-b==2.0rc1", "lab-b==2.0")
    done = own.run("template", "import", "--index", str(directory), "lab-a", "lab-b==2.0rc1")
    assert done.stdout == "lab-a\nlab-b\n"
    assert f"lab-a 1.10 from {directory}/\n" in done.stderr
    assert imported(own) == [("lab-a", "1.10"), ("lab-b", "2.0rc1")]
    assert own.out("template", "show", "lab-a") == "# lab-a 1.10"
    row = next(row for row in own.json("template", "list") if row["name"] == "lab-a")
    assert row["source"] == f"{directory}/lab-a-1.10.tar.gz"
    own.run("template", "import", "--index", str(directory), "lab-b")
    assert imported(own) == [("lab-a", "1.10"), ("lab-b", "2.0")]


def test_one_name_of_several_that_cannot_be_had_is_told_and_the_others_are_imported(
    own: PrivateEngine, make: Make
) -> None:
    directory = make("lab-a==1", "lab-b==1")
    words = ("lab-a==7", "lab-c", "lab-b")
    done = own.run("template", "import", "--index", str(directory), *words, status=125)
    assert done.stdout == "lab-b\n"
    assert f"Error: {directory}/ has no version 7 of lab-a\nit has 1\n" in done.stderr
    assert f"Error: no such template in {directory}/: 'lab-c'" in done.stderr
    assert imported(own) == [("lab-b", "1")]


def test_search_lists_what_an_import_would_give(own: PrivateEngine, make: Make) -> None:
    first, second = make("lab-a==1.0", "lab-a==2.0"), make("lab-a==9", "lab-c==3", at="second")
    words = ("template", "search", "--index", str(first), "--index", str(second))
    shown = own.out(*words).splitlines()
    assert shown[0].split() == ["NAME", "VERSION", "BASE", "SUMMARY", "INDEX"]
    assert [line.split()[:3] for line in shown[1:]] == [
        ["lab-a", "2.0", "small:1"],
        ["lab-c", "3", "small:1"],
    ]
    assert (
        own.out(*words, "--format", "{{.Name}} {{.Version}} {{.Index}}", "LAB", "of lab-c")
        == f"lab-c 3 {second}/"
    )
    assert own.out(*words, "nothing", "--format", "{{.Name}}") == ""
    every = own.json(*words, "--all")
    assert [(row["name"], row["version"]) for row in every] == [
        ("lab-a", "1.0"), ("lab-a", "2.0"), ("lab-a", "9"), ("lab-c", "3")
    ]  # fmt: skip
    assert every[0]["source"] == f"{first}/lab-a-1.0.tar.gz"
    (first / "index.json").write_text('{"schema": 1')
    done = own.run(*words, "--format", "{{.Name}}", status=125)
    assert done.stdout == "lab-a\nlab-c\n"
    assert f"Error: {first}/index.json:1: not JSON" in done.stderr


def test_the_settings_name_the_indexes_that_are_asked_in_their_order(own: PrivateEngine, make: Make) -> None:
    first, second = make("lab-a==1"), make("lab-a==2", "lab-b==2", at="second")
    settings = own.config.read_text()
    none = own.run("template", "import", "lab-a", status=125).stderr
    assert "no index of templates is known" in none and "[templates] indexes" in none
    assert "no index of templates is known" in own.run("template", "search", status=125).stderr
    try:
        own.config.write_text(f'{settings}[templates]\nindexes = ["{first}", "{second}/"]\n')
        own.daemon("reload")
        assert json.loads(own.out("info", "--format", "json"))["template_indexes"] == [
            str(first),
            f"{second}/",
        ]
        done = own.run("template", "import", "lab-a", "lab-b")
        assert done.stderr == f"lab-a 1 from {first}/\nlab-b 2 from {second}/\n"
        assert own.out("template", "search", "--format", "{{.Name}} {{.Version}}") == "lab-a 1\nlab-b 2"
        own.run("template", "import", "--index", str(second), "lab-a")
        assert ("lab-a", "2") in imported(own)
        own.run("template", "rm", "lab-a", "lab-b")
        assert f"{first}/ has no version 2" in own.run("template", "import", "lab-a==2", status=125).stderr
        shutil.rmtree(first)
        # Another index is no substitute for one that is away.
        assert f"{first}/index.json" in own.run("template", "import", "lab-b", status=125).stderr
        assert imported(own) == []
    finally:
        own.config.write_text(settings)
        own.daemon("reload")


def test_a_folder_of_the_same_name_is_imported_as_a_folder_unless_an_index_is_named(
    own: PrivateEngine, make: Make, tmp_path: Path
) -> None:
    directory = make("lab-a==2")
    folder = tmp_path / "lab-a"
    folder.mkdir()
    (folder / "template.toml").write_text(TEMPLATE.format(name="lab-a", version="1"))
    (folder / "lesson.md").write_text("# Mine\n")
    for words, version in ((("lab-a",), "1"), (("--index", str(directory), "lab-a"), "2")):
        command = own.command("template", "import", *words)
        subprocess.run(command, cwd=tmp_path, env=own.environment, check=True, capture_output=True)
        assert imported(own) == [("lab-a", version)]


def test_the_index_is_read_with_the_rights_of_its_user(
    own: PrivateEngine, make: Make, tmp_path: Path
) -> None:
    alice = User(own, "games")
    directory = make("lab-a==1")
    directory.chmod(0o700)
    for parent in directory.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    error = alice.run("template", "import", "--index", str(directory), "lab-a", status=125).stderr
    assert f"Error: {directory}/index.json: Permission denied" in error
    directory.chmod(0o755)
    assert alice.out("template", "import", "--index", str(directory), "lab-a") == "lab-a"
    assert imported(own) == []
    alice.run("template", "rm", "lab-a")


def test_it_works_where_there_is_no_network_at_all(own: PrivateEngine, make: Make) -> None:
    directory = make("lab-a==1")
    for words in (("search", "--index", str(directory)), ("import", "--index", str(directory), "lab-a")):
        alone = ["unshare", "--net", *own.command("template", *words)]
        done = subprocess.run(alone, env=own.environment, capture_output=True, text=True, check=True)
        assert "lab-a" in done.stdout
    assert imported(own) == [("lab-a", "1")]


def test_the_guides_sessions_go_as_written(own: PrivateEngine, tmp_path: Path) -> None:
    guide = (ROOT / "docs/how-to/templates.md").read_text()
    section = tmp_path / "section.md"
    section.write_text(guide[guide.index("## Keep a school's templates in one place") :])
    (tmp_path / "t").mkdir()
    own.run("template", "create", "shell-basics", "-C", str(tmp_path))
    file = tmp_path / "shell-basics/template.toml"
    lines = file.read_text().splitlines()
    said = next(line for line in guide.splitlines() if line.startswith("description = "))
    file.write_text("\n".join(said if line.startswith("description = ") else line for line in lines) + "\n")
    environment = {**own.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    with serving(tmp_path / "t") as server:
        replaced = {
            "/srv/templates": f"{tmp_path}/t",
            "https://school.example.org/templates/": server.address,
        }
        found = commands(section, replaced)
        for command in found:
            play(command, tmp_path, environment)
        assert server.seen
    assert len(found) == 6
    assert imported(own) == [("shell-basics", "0.1.0")]


# --- indexes and archives that lie ----------------------------------------------------------------


def test_an_archive_that_was_changed_or_cut_is_refused(own: PrivateEngine, make: Make) -> None:
    directory = make("lab-a==1")
    archive = directory / "lab-a-1.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{archive}: it has sha256 " in refused(own, directory)
    archive.write_bytes(whole[:-1])
    assert f"it has {len(whole) - 1} bytes, the index says {len(whole)}" in refused(own, directory)
    archive.write_bytes(whole + b"more")
    assert f"has more than {len(whole)} bytes" in refused(own, directory)
    archive.unlink()
    assert f"{archive}: there is no such file" in refused(own, directory)


@pytest.mark.parametrize("key", ["name", "version"])
def test_an_archive_of_another_name_or_version_is_refused(own: PrivateEngine, make: Make, key: str) -> None:
    directory = make("lab-z==1")
    wrong = {"name": "lab-a", "version": "2"}[key]
    change(directory, **{key: wrong})
    error = refused(own, directory, "lab-a" if key == "name" else "lab-z")
    has = {"name": "lab-z", "version": "1"}[key]
    assert f"lab-z-1.tar.gz: template.toml: {key}: '{has}', but '{wrong}' was promised" in error


def test_a_path_out_of_the_index_is_refused(own: PrivateEngine, make: Make, tmp_path: Path) -> None:
    directory = make("lab-a==1")
    (directory / "lab-a-1.tar.gz").rename(tmp_path / "lab-a-1.tar.gz")
    change(directory, file="../lab-a-1.tar.gz")
    assert f"{directory}/index.json: templates[0].file: '../lab-a-1.tar.gz' is no plain" in refused(
        own, directory
    )
    change(directory, file="lab-a-1.tar.gz")
    (directory / "lab-a-1.tar.gz").symlink_to("../lab-a-1.tar.gz")
    assert "lab-a-1.tar.gz: leads out of the index" in refused(own, directory)


def test_an_archive_that_is_none_is_refused_though_its_sha256_is_right(
    own: PrivateEngine, make: Make
) -> None:
    directory = make("lab-a==1")
    archive = directory / "lab-a-1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        entry = tarfile.TarInfo("../../escape")
        file.addfile(entry)
    data = archive.read_bytes()
    change(directory, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    assert f"{archive}: ../../escape: leads out of the archive" in refused(own, directory)


# --- a web server ---------------------------------------------------------------------------------


def netrc(own: PrivateEngine, text: str = f"machine 127.0.0.1 login {USER} password {PASSWORD}\n") -> Path:
    file = own.directory / ".netrc"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture
def web(make: Make) -> Iterator[IndexServer]:
    """A server without a password, whose index has one template."""
    with serving(make("lab-a==1")) as server:
        yield server


def test_a_web_servers_index_is_searched_and_imported_from(own: PrivateEngine, web: IndexServer) -> None:
    shown = own.out("template", "search", "--index", web.address, "--format", "{{.Name}} {{.Index}}")
    assert shown == f"lab-a {web.address}"
    done = own.run("template", "import", "--index", web.address.rstrip("/"), "lab-a")
    assert done.stderr == f"lab-a 1 from {web.address}\n"
    assert [path for path, _ in web.seen] == ["/index.json", "/index.json", "/lab-a-1.tar.gz"]
    assert {given for _, given in web.seen} == {""}


def test_a_password_comes_from_netrc_and_from_nowhere_else(own: PrivateEngine, make: Make) -> None:
    with serving(make("lab-a==1"), has_password=True) as server:
        error = refused(own, server.address)
        assert f"{server.address}index.json: the server answers 401" in error
        assert "~/.netrc: machine 127.0.0.1 login USER password PASSWORD" in error
        netrc(own, f"default login {USER} password {PASSWORD}\n")
        assert "401" in refused(own, server.address)
        assert {given for _, given in server.seen} == {""}
        error = refused(own, server.address.replace("//", f"//{USER}:{PASSWORD}@"))
        assert "~/.netrc" in error and PASSWORD not in error
        netrc(own)
        assert own.out("template", "import", "--index", server.address, "lab-a") == "lab-a"


def test_a_netrc_that_others_may_read_or_that_is_wrong_is_refused_without_its_words(
    own: PrivateEngine, web: IndexServer
) -> None:
    netrc(own).chmod(0o644)
    assert ".netrc:1: cannot be used" in refused(own, web.address)
    netrc(own, f"machine 127.0.0.1\nlogin x {PASSWORD} y\n")
    error = refused(own, web.address)
    assert ".netrc:2: cannot be used" in error and PASSWORD not in error
    netrc(own).write_bytes(b"\xff\xfe\0")
    refused(own, web.address)
    assert web.seen == []


def test_tls_is_checked_and_a_schools_own_authority_is_named_by_ssl_cert_file(
    own: PrivateEngine, make: Make, tmp_path: Path
) -> None:
    netrc(own)
    pair = certificate(tmp_path)
    with serving(make("lab-a==1"), has_password=True, certificate=pair) as server:
        error = refused(own, server.address)
        assert "certificate verify failed" in error and "SSL_CERT_FILE" in error
        assert server.seen == []
        own.environment["SSL_CERT_FILE"] = str(pair[0])
        try:
            assert own.out("template", "import", "--index", server.address, "lab-a") == "lab-a"
        finally:
            del own.environment["SSL_CERT_FILE"]


def test_a_redirect_at_the_same_server_is_followed_with_credentials_and_to_another_without(
    own: PrivateEngine, make: Make, web: IndexServer
) -> None:
    netrc(own)
    with serving(make("lab-a==1"), has_password=True) as server:
        server.redirects["/old/index.json"] = "/index.json"
        server.redirects["/old/lab-a-1.tar.gz"] = f"{web.address}lab-a-1.tar.gz"
        own.run("template", "import", "--index", f"{server.address}old", "lab-a")
        assert all(given.startswith("Basic ") for _, given in server.seen)
        assert web.seen == [("/lab-a-1.tar.gz", "")]
        # Who comes back from elsewhere comes without credentials too.
        web.redirects["/lab-a-1.tar.gz"] = f"{server.address}lab-a-1.tar.gz"
        own.run("template", "rm", "lab-a")
        error = refused(own, f"{server.address}old")
        assert "401" in error and "it leads to another server, which gets no credentials" in error
        assert server.seen[-1] == ("/lab-a-1.tar.gz", "")


def test_a_redirect_from_https_to_http_or_out_of_the_web_or_without_end_is_refused(
    own: PrivateEngine, make: Make, web: IndexServer, tmp_path: Path
) -> None:
    pair = certificate(tmp_path)
    own.environment["SSL_CERT_FILE"] = str(pair[0])
    try:
        with serving(make(), certificate=pair) as server:
            server.redirects["/index.json"] = f"{web.address}index.json"
            assert "leads from https to http://127.0.0.1" in refused(own, server.address)
            assert web.seen == []
    finally:
        del own.environment["SSL_CERT_FILE"]
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        web.redirects["/index.json"] = target
        assert "not the web" in refused(own, web.address)
    web.redirects["/index.json"] = "/index.json"
    assert "more than 5 redirects" in refused(own, web.address)


def test_what_a_web_server_cuts_changes_or_has_not_is_refused(
    own: PrivateEngine, make: Make, web: IndexServer
) -> None:
    web.cut.add("/index.json")
    assert "cut off: 999 bytes are missing" in refused(own, web.address)
    web.cut = {"/lab-a-1.tar.gz"}
    assert f"{web.address}lab-a-1.tar.gz" in refused(own, web.address)
    web.cut.clear()
    directory = make()
    archive = directory / "lab-a-1.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert f"{web.address}lab-a-1.tar.gz: it has sha256" in refused(own, web.address)
    archive.unlink()
    assert "the server has no such file" in refused(own, web.address)
    (directory / "index.json").write_text("<html>")
    assert f"{web.address}index.json:1: not JSON" in refused(own, web.address)
    with (directory / "index.json").open("ab") as file:
        file.truncate(5 << 20)
    assert "index.json: has more than 4194304 bytes" in refused(own, web.address)
    assert "Error: fetch http://127.0.0.1:1/index.json" in refused(own, "http://127.0.0.1:1")


def test_a_proxy_sees_nothing_of_what_is_meant_for_this_host(
    own: PrivateEngine, make: Make, web: IndexServer
) -> None:
    netrc(own)
    own.environment |= {"http_proxy": web.address, "https_proxy": web.address}
    try:
        with serving(make("lab-a==1"), has_password=True) as server:
            own.run("template", "import", "--index", server.address, "lab-a")
    finally:
        del own.environment["http_proxy"], own.environment["https_proxy"]
    assert web.seen == []


def test_plain_http_to_another_host_gets_no_credentials(
    own: PrivateEngine, make: Make, web: IndexServer
) -> None:
    netrc(own, f"machine school.example.org login {USER} password {PASSWORD}\n")
    own.environment["http_proxy"] = web.address  # stands for the school's server
    try:
        refused(own, "http://school.example.org/")
    finally:
        del own.environment["http_proxy"]
    assert web.seen == [("http://school.example.org/index.json", "")]


# --- a registry -----------------------------------------------------------------------------------


@pytest.mark.skipif(
    not shutil.which(PROGRAM), reason="needs docker-registry: scripts/install-system-packages test"
)
def test_an_index_lists_what_a_registry_has_by_its_digest(
    own: PrivateEngine, make: Make, tmp_path: Path
) -> None:
    directory = make("lab-a==1")
    with registry(tmp_path / "registry") as there:
        name = f"{there.host}/templates/lab-a"
        digest = own.out("template", "publish", str(directory / "lab-a-1.tar.gz"), f"{name}:1")
        row = templates(directory)[0]
        entry = {key: row[key] for key in ("name", "version", "description", "license", "base")}
        entry["reference"] = f"{name}@{digest}"
        (directory / "index.json").write_text(json.dumps({"schema": 1, "templates": [entry]}))
        own.run("template", "import", "--index", str(directory), "lab-a")
        assert imported(own) == [("lab-a", "1")]
        own.run("template", "rm", "lab-a")
        (directory / "lab-a-1.tar.gz").unlink()
        own.run("template", "index", str(directory))
        assert templates(directory) == [entry]  # what was written by hand stays
        change(directory, version="2")
        assert "version: '1', but '2' was promised" in refused(own, directory)
