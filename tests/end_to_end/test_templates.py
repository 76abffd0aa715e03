"""Templates without a wheel, by the real programs: written, validated, imported, tested, packaged, published, removed."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import debian_image
from multios.errors import MultiosError
from multios.settings import load
from other_users import User, open_to_group
from private_engine import SCRIPTS, PrivateEngine, eventually
from registry_server import PROGRAM, registry

ROOT = Path(__file__).resolve().parents[2]
LAB = """\
schema = 1
name = "{name}"
version = "1.0"
description = "A lab"
license = "MIT"
base = "small:1"
command = ["/bin/sh"]
"""
CHECK = '[[checks]]\nname = "it is there"\ncommand = ["cat", "/etc/greeting"]\nexpect = "hello"\n'
SERVICES = """
[[services]]
name = "keeper"
prepare = "mkdir -p /srv/keeper && date > /srv/keeper/prepared"
command = "sleep 1; touch /srv/keeper/ready; exec sleep 1000"
ready = ["test", "-e", "/srv/keeper/ready"]

[[services]]
name = "flaky"
prepare = "mkdir -p /srv"
command = "echo once more >> /srv/tries; sleep 0.2; [ $(wc -l < /srv/tries) -lt 2 ] && exit 3; exec sleep 1000"

[[checks]]
name = "the keeper keeps"
command = ["cat", "/srv/keeper/prepared"]
running = true

[[checks]]
name = "flaky was started again"
command = ["sh", "-c", "while [ $(wc -l < /srv/tries) -lt 2 ]; do sleep 0.1; done; wc -l < /srv/tries"]
expect = "2"
timeout = 20
running = true
"""
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine of these tests' own, which may speak plain HTTP on loopback and is open to other users."""
    directory = tmp_path_factory.mktemp("own")
    engine = PrivateEngine(directory, {"HOME": str(directory)})
    with engine.config.open("a") as file:
        file.write('[image.registry]\ninsecure = ["127.0.0.0/8"]\n')
    engine.start()
    engine.import_small_image()
    open_to_group(engine)
    yield engine
    engine.end()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a template's folder; ``more`` follows the head, ``files`` are relative to it."""

    def make(name: str, more: str = CHECK, files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "template.toml").write_text(LAB.format(name=name) + more)
        (folder / "lesson.md").write_text(f"# {name}\n\nLook around.\n")
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return make


def left(engine: PrivateEngine) -> list[str]:
    return [row["name"] for row in engine.json("ps", "--all") if row["name"].startswith("test-")]


# --- template test --------------------------------------------------------------------------------


def test_services_are_started_awaited_and_restarted_and_every_check_runs(
    own: PrivateEngine, write: Write
) -> None:
    folder = write("served", CHECK + SERVICES.replace('command = ["/bin/sh"]\n', ""))
    text = (folder / "template.toml").read_text().replace('command = ["/bin/sh"]\n', "", 1)
    (folder / "template.toml").write_text(text)
    own.run("template", "import", str(folder))
    done = own.run("template", "test", "served")
    lines = [line.split("  (")[0] for line in done.stdout.splitlines()]
    assert lines == [
        "ok    services are ready",
        "ok    it is there",
        "ok    the keeper keeps",
        "ok    flaky was started again",
        "4 of 4 checks hold",
    ]
    assert left(own) == []


def test_a_stopped_container_ends_its_services_in_reverse_order_with_status_0(
    own: PrivateEngine, write: Write
) -> None:
    services = "".join(
        f'[[services]]\nname = "{name}"\n'
        f"command = \"trap 'echo {name} ends; exit 0' TERM; while :; do sleep 0.1; done\"\n"
        for name in ("first", "second")
    )
    orphan = '[[services]]\nname = "orphans"\ncommand = "(sleep 0.3 &); exec sleep 1000"\n'
    folder = write("ending", CHECK + services + orphan)
    text = (folder / "template.toml").read_text().replace('command = ["/bin/sh"]\n', "", 1)
    (folder / "template.toml").write_text(text)
    own.run("template", "import", str(folder))
    own.run("create", "--template", "ending", "e1")
    try:
        own.run("start", "e1")
        eventually(
            lambda: own.run("exec", "e1", "multios-services", "status", status=None).returncode == 0,
            "services are ready",
        )
        listed = own.out("exec", "e1", "/usr/local/sbin/multios-services", "status").splitlines()
        assert [line.split()[:2] for line in listed[1:]] == [
            ["first", "ready"], ["second", "ready"], ["orphans", "ready"]
        ]  # fmt: skip
        time.sleep(0.5)
        # One that has just ended may be seen; what nobody reaps would stay.
        count = "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
        eventually(lambda: own.out("exec", "e1", "sh", "-c", count) == "0", "all are reaped")
        began = time.monotonic()
        own.run("stop", "e1")
        assert time.monotonic() - began < 8
        assert own.inspect("e1")["State"]["ExitCode"] == 0
        log = own.out("logs", "e1")
        assert log.index("second ends") < log.index("first ends")
    finally:
        own.run("delete", "--force", "e1")


def test_a_check_that_does_not_hold_is_shown_with_its_hint_and_output_and_nothing_stays(
    own: PrivateEngine, write: Write
) -> None:
    checks = (
        '[[checks]]\nname = "rust"\ncommand = ["sh", "-c", "echo no rust here; exit 4"]\n'
        'hint = "install rust"\nrunning = true\n'
        '[[checks]]\nname = "slow"\ncommand = ["sh", "-c", "echo waiting; sleep 100"]\ntimeout = 4\nrunning = true\n'
    )
    own.run("template", "import", str(write("failing", CHECK + checks)))
    done = own.run("template", "test", "failing", status=1)
    assert 'FAIL  rust: "sh -c echo no rust here; exit 4" ended with status 4' in done.stdout.replace(
        "'", '"'
    )
    assert "      install rust\n      | no rust here\n" in done.stdout
    assert "did not end within 4 s\n      | waiting\n" in done.stdout
    assert done.stdout.endswith("1 of 3 checks hold\n")
    assert left(own) == []
    rows = own.run("template", "test", "failing", "--format", "json", status=1)
    assert [bool(row["cause"]) for row in json.loads(rows.stdout)] == [False, True, True]


def test_a_test_whose_client_is_gone_leaves_no_container(own: PrivateEngine, write: Write) -> None:
    check = '[[checks]]\nname = "slow"\ncommand = ["sleep", "100"]\nrunning = true\n'
    own.run("template", "import", str(write("abandoned", CHECK + check)))
    process = own.popen("template", "test", "abandoned", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # the first check holds, the second has begun
    process.kill()
    process.wait()
    process.stdout.close()
    eventually(lambda: left(own) == [], "the container is removed")


def test_an_option_of_the_base_may_be_given_for_short(own: PrivateEngine, write: Write) -> None:
    base = '[[parameters]]\nname = "base"\ndescription = "b"\ndefault = "nowhere:1"\nchoices = ["nowhere:1", "small:1"]\n'
    folder = write("based", base + CHECK)
    text = (folder / "template.toml").read_text().replace('base = "small:1"', 'base = "{{base}}"')
    (folder / "template.toml").write_text(text)
    own.run("template", "import", str(folder))
    own.run("template", "test", "based", "--base", "small:1")
    error = own.run("template", "test", "based", "--base", "smal:1", status=125).stderr
    assert "did you mean 'small:1'?" in error


# --- writing, validating ----------------------------------------------------------------------------


def test_what_template_create_writes_validates_builds_and_holds(own: PrivateEngine, tmp_path: Path) -> None:
    own.run("template", "create", "fresh", "--base", "small:1", "--directory", str(tmp_path))
    own.run("template", "validate", str(tmp_path / "fresh"))
    own.run("template", "import", str(tmp_path / "fresh"))
    assert "2 of 2 checks hold" in own.out("template", "test", "fresh")
    error = own.run("template", "create", "fresh", "--directory", str(tmp_path), status=125).stderr
    assert "is there already" in error
    debian = ["template", "create", "my-template", "--base", "ubuntu:20.04", "-C", str(tmp_path)]
    own.run(*debian)
    assert "my-template 0.1.0 is valid" in own.out("template", "validate", str(tmp_path / "my-template"))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (('license = "MIT"', 'licence = "MIT"'), "template.toml:5: licence: no such setting"),
        (('command = ["cat"', 'comand = ["cat"'), "template.toml:10: checks[0].comand: no such setting"),
        (('version = "1.0"', "version = 1.0"), "template.toml:3: version: 1.0 is not valid"),
        (('base = "small:1"', 'base = "Small"'), "template.toml:6: base: image 'Small'"),
        (("schema = 1", "schema ="), "template.toml:1: not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(
    own: PrivateEngine, write: Write, change: tuple[str, str], cause: str
) -> None:
    folder = write("wrong")
    text = (folder / "template.toml").read_text().replace(*change)
    (folder / "template.toml").write_text(text)
    for command in ("validate", "import"):
        error = own.run("template", command, str(folder), status=125).stderr
        assert f"Error: {folder}/{cause}" in error
    assert "wrong" not in own.out("template", "list")


def test_a_folder_of_files_with_a_link_out_or_a_device_is_refused(own: PrivateEngine, write: Write) -> None:
    folder = write("linked", files={"rootfs/etc/motd": "hi\n"})
    link = folder / "rootfs/etc/shadow"
    for target in ("/etc/shadow", "../../../../etc/shadow"):
        link.symlink_to(target)
        error = own.run("template", "import", str(folder), status=125).stderr
        assert f"{folder}/rootfs/etc/shadow: is a link out of rootfs/" in error
        link.unlink()
    subprocess.run(["mkfifo", link], check=True)
    error = own.run("template", "validate", str(folder), status=125).stderr
    assert "etc/shadow: is neither file, folder nor link" in error


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, len(data)
    return entry, data


HOSTILE = {
    "leads out of the archive": [member("../../escape", data=b"x")],
    "leads out of the archive ": [member("/etc/passwd", data=b"x")],
    "is a link out of rootfs/": [member("rootfs/l", tarfile.SYMTYPE, "../../..")],
    "File exists": [member("rootfs/d", tarfile.SYMTYPE, "/"), member("rootfs/d/x", data=b"x")],
    "is neither file, folder nor link": [member("rootfs/null", tarfile.CHRTYPE)],
    "is there twice": [member("rootfs/a", data=b"1"), member("rootfs/a", data=b"2")],
    "which is not there": [member("rootfs/a", tarfile.LNKTYPE, "etc/shadow")],
    "more than": [member(f"rootfs/{number}") for number in range(10_200)],
    "nested deeper": [member("rootfs/" + "d/" * 60 + "x", data=b"x")],
}


@pytest.mark.parametrize("cause", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    own: PrivateEngine, write: Write, tmp_path: Path, cause: str
) -> None:
    archive = tmp_path / "hostile.tar"
    with tarfile.open(archive, "w") as file:
        file.add(write("hostile"), arcname=".")
        for entry, data in HOSTILE[cause]:
            file.addfile(entry, io.BytesIO(data))
    error = own.run("template", "import", str(archive), status=125).stderr
    assert f"Error: {archive}" in error
    assert cause.strip() in error
    assert "hostile" not in own.out("template", "list")
    assert list((own.data_root / "templates/work").iterdir()) == []
    assert not list(own.data_root.glob("**/escape"))


@pytest.mark.parametrize("data", [b"", b"not an archive at all", b"\x1f\x8b\x08\0broken"])
def test_what_is_no_archive_is_refused_by_name(own: PrivateEngine, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "junk.tar.gz"
    file.write_bytes(data)
    assert "Error:" in own.run("template", "import", str(file), status=125).stderr


def test_an_archive_that_was_cut_is_refused(own: PrivateEngine, write: Write, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    own.run("template", "package", str(write("whole", files={"rootfs/x": "y" * 5000})), "-o", str(whole))
    cut = tmp_path / "cut.tar.gz"
    for length in (10, 200, len(whole.read_bytes()) - 12):
        cut.write_bytes(whole.read_bytes()[:length])
        assert "Error:" in own.run("template", "import", str(cut), status=125).stderr


# --- imported templates -----------------------------------------------------------------------------


def test_an_imported_template_works_as_an_installed_one(own: PrivateEngine, write: Write) -> None:
    option = (
        '[[parameters]]\nname = "word"\ndescription = "w"\ndefault = "hi"\n[environment]\nWORD = "{{word}}"\n'
    )
    folder = write("lab-one", option + CHECK, {"rootfs/srv/page": "a page\n", "notes.txt": "mine"})
    done = own.run("template", "import", str(folder))
    assert "left out" not in done.stderr  # only what is a template's is packed
    assert own.out("template", "show", "lab-one").startswith("# lab-one")
    assert any(row["name"] == "lab-one" for row in own.json("template", "list"))
    plan = json.loads(own.out("template", "inspect", "lab-one", "-o", "word=ho"))[0]
    assert (plan["environment"], plan["imported"]["name"]) == ({"WORD": "ho"}, "lab-one")
    words = ["cat", "/srv/page"]
    assert own.out("run", "--rm", "--template", "lab-one", "l0", *words) == "a page"
    assert own.out("run", "--rm", "lab-one", "sh", "-c", "echo $WORD") == "hi"
    own.run("create", "--template", "lab-one", "l1")
    try:
        own.run("start", "l1")
        assert own.out("exec", "l1", *words) == "a page"
    finally:
        own.run("delete", "--force", "l1")
    own.run("template", "rm", "lab-one")
    error = own.run("create", "--template", "lab-one", "l2", status=125).stderr
    assert "no such template: 'lab-one'" in error
    assert "no imported template" in own.run("template", "rm", "lab-one", status=125).stderr


def test_its_images_go_with_it_but_for_those_of_containers(own: PrivateEngine, write: Write) -> None:
    def images() -> list[str]:
        return [name for row in own.json("image", "list") for name in row["references"] if "-imaged:" in name]

    folder = write("imaged")
    own.run("template", "import", str(folder))
    own.run("template", "build", "imaged")
    assert len(images()) == 2
    (folder / "template.toml").write_text((folder / "template.toml").read_text().replace("A lab", "Another"))
    own.run("template", "import", str(folder))
    assert images() == []
    own.run("create", "--template", "imaged", "i1")
    own.run("template", "rm", "imaged")
    assert images()
    own.run("start", "i1")
    own.run("delete", "--force", "i1")


def test_what_a_killed_import_left_is_swept(own: PrivateEngine) -> None:
    left_behind = own.data_root / "templates/trees" / ("0" * 64)
    left_behind.mkdir()
    (own.data_root / "templates/work/half").mkdir()
    own.daemon("stop")
    own.start()
    open_to_group(own)
    assert not left_behind.exists()
    assert list((own.data_root / "templates/work").iterdir()) == []


def test_it_may_not_be_called_like_an_installed_one(own: PrivateEngine, write: Write) -> None:
    folder = write("python-learning")
    error = own.run("template", "import", str(folder), status=125).stderr
    assert "a template 'python-learning' is installed" in error


def test_it_survives_the_daemon_and_a_new_version_replaces_it(own: PrivateEngine, write: Write) -> None:
    folder = write("kept")
    own.run("template", "import", str(folder))
    (folder / "lesson.md").write_text("# Another\n")
    own.run("template", "import", str(folder))
    own.daemon("stop")
    own.start()
    open_to_group(own)
    assert own.out("template", "show", "kept") == "# Another"
    digests = {
        json.loads(path.read_text())["digest"] for path in own.data_root.glob("templates/owners/*/*.json")
    }
    assert {path.name for path in (own.data_root / "templates/trees").iterdir()} == digests


def test_a_package_has_the_same_bytes_whoever_packs_it(
    own: PrivateEngine, write: Write, tmp_path: Path
) -> None:
    folder = write("packed", files={"rootfs/srv/a/b": "text", "rootfs/bin/run": "#!/bin/sh\n"})
    (folder / "rootfs/bin/run").chmod(0o700)
    first, second = tmp_path / "first.tar.gz", tmp_path / "second.tar.gz"
    own.run("template", "package", str(folder), "-o", str(first))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "rootfs/bin/run").chmod(0o755)
    (other / "rootfs/srv/a/b").chmod(0o600)
    own.run("template", "package", str(other), "-o", str(second))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert {item.uid for item in archive} == {0}
    own.run("template", "import", str(first))
    assert own.out("run", "--rm", "packed", "stat", "-c", "%a", "/bin/run") == "755"
    third = tmp_path / "third.tar.gz"
    own.run("template", "package", str(first), "-o", str(third))
    assert third.read_bytes() == first.read_bytes()


@pytest.mark.skipif(
    not shutil.which(PROGRAM), reason="needs docker-registry: scripts/install-system-packages test"
)
def test_a_template_goes_to_a_registry_and_back(own: PrivateEngine, write: Write, tmp_path: Path) -> None:
    folder = write("published", files={"rootfs/srv/page": "from afar\n"})
    with registry(tmp_path) as there:
        name = f"{there.host}/templates/published:1.0"
        digest = own.out("template", "publish", str(folder), name)
        assert digest.startswith("sha256:")
        assert own.out("template", "publish", str(folder), name) == digest
        assert own.out("template", "import", f"{name.rpartition(':')[0]}@{digest}") == "published"
        assert own.out("run", "--rm", "published", "cat", "/srv/page") == "from afar"
        image = f"{there.host}/images/small:1"
        own.run("image", "push", "small:1", image)
        assert (
            "not application/vnd.multios.template" in own.run("template", "import", image, status=125).stderr
        )
        assert "no container image" in own.run("image", "pull", name, status=125).stderr
        assert (
            "Error:" in own.run("template", "import", f"{there.host}/templates/absent:1", status=125).stderr
        )


# --- other users ------------------------------------------------------------------------------------


def test_another_user_does_not_see_it(own: PrivateEngine, write: Write, tmp_path: Path) -> None:
    alice, bob = User(own, "games"), User(own, "lp")
    tmp_path.chmod(0o755)
    folder = write("hers")
    archive = tmp_path / "hers.tar.gz"
    own.run("template", "package", str(folder), "-o", str(archive))
    archive.chmod(0o644)
    for parent in archive.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    alice.run("template", "import", str(archive))
    assert "hers" in alice.out("template", "list")
    assert alice.out("run", "--rm", "hers", "cat", "/etc/greeting") == "hello"
    assert "2 of 2" in alice.out("template", "test", "hers") or "1 of 1" in alice.out(
        "template", "test", "hers"
    )
    assert "hers" not in bob.out("template", "list")
    nobodys = bob.run("template", "show", "nobodys", status=125).stderr
    for words in (("show",), ("inspect",), ("build",), ("test",)):
        error = bob.run("template", *words, "hers", status=125).stderr
        assert error.splitlines()[0] == nobodys.replace("nobodys", "hers").splitlines()[0]
    assert "no such" in bob.run("create", "--template", "hers", "x", status=125).stderr
    assert "no such" in own.run("template", "show", "hers", status=125).stderr
    bob.run("template", "rm", "hers", status=125)
    alice.run("template", "rm", "hers")


def test_what_an_administrator_shares_is_everyones(own: PrivateEngine, write: Write) -> None:
    alice = User(own, "games")
    folder = write("for-all", '[requests]\ncapabilities = ["NET_ADMIN"]\n' + CHECK)
    own.run("template", "import", "--shared", str(folder))
    assert "for-all" in alice.out("template", "list")
    assert alice.out("run", "--rm", "for-all", "cat", "/etc/greeting") == "hello"
    assert "no imported template" in alice.run("template", "rm", "for-all", status=125).stderr
    archive = folder.parent / "for-all.tar.gz"
    own.run("template", "package", str(folder), "-o", str(archive))
    with archive.open("rb") as file, pytest.raises(MultiosError, match="for administrators"):
        alice.client().call("templates.import", {"where": "it", "shared": True}, [file.fileno()])
    own.run("template", "rm", "for-all")
    assert "for-all" not in alice.out("template", "list")


def test_a_users_template_gets_no_more_than_the_user(
    own: PrivateEngine, write: Write, tmp_path: Path
) -> None:
    alice = User(own, "games")
    for name, requests, refused in (
        ("greedy-a", 'capabilities = ["SYS_ADMIN"]', "capability SYS_ADMIN"),
        ("greedy-b", 'devices = ["/dev/null"]', "device /dev/null"),
        ("greedy-c", 'seccomp_profile = "unconfined"', "seccomp profile"),
        ("greedy-d", 'capabilities = ["NET_ADMIN"]', "capability NET_ADMIN"),
    ):
        archive = tmp_path / f"{name}.tar"
        own.run(
            "template", "package", str(write(name, f"[requests]\n{requests}\n" + CHECK)), "-o", str(archive)
        )
        descriptor = archive.open("rb")
        with descriptor:
            alice.client().call("templates.import", {"where": "it"}, [descriptor.fileno()])
        error = alice.run("create", "--template", name, "g", status=125).stderr
        assert refused in error
        assert "not granted" in error
        # What root brought is root's word.
        own.run("template", "import", str(archive))
        own.run("run", "--rm", name, "true")
        alice.run("template", "rm", name)
    # As by hand: the profile lab would give it to anyone.
    own.run(
        "template",
        "package",
        str(write("ping", '[requests]\ncapabilities = ["NET_RAW"]\n' + CHECK)),
        "-o",
        str(archive),
    )
    with archive.open("rb") as file:
        alice.client().call("templates.import", {"where": "it"}, [file.fileno()])
    assert alice.run("run", "--rm", "ping", "true").returncode == 0


# --- steps that fail ----------------------------------------------------------------------------------


def test_a_step_that_fails_half_way_leaves_nothing_and_the_next_try_goes_on(
    own: PrivateEngine, write: Write
) -> None:
    steps = 'steps = ["date +%N > /one", "echo half > /half; echo the disk is full; exit 3"]\n'
    folder = write("halfway", "")
    text = (folder / "template.toml").read_text()
    (folder / "template.toml").write_text(text + steps + CHECK)
    own.run("template", "import", str(folder))
    error = own.run("template", "build", "halfway", status=125).stderr
    assert (
        "step 2 of 2: 'echo half > /half; echo the disk is full; exit 3' ended with status 3: the disk is full"
        in error
    )
    assert not any("halfway" in name for row in own.json("image", "list") for name in row["references"])
    assert left(own) == []
    again = 'steps = ["date +%N > /one", "cp /one /two"]\n'
    (folder / "template.toml").write_text(text + again + CHECK)
    own.run("template", "import", str(folder))
    own.run("template", "build", "halfway")
    first = own.out("run", "--rm", "halfway", "cat", "/one", "/two").split()
    assert first[0] == first[1]
    more = 'steps = ["date +%N > /one", "cp /one /three"]\n'
    (folder / "template.toml").write_text(text + more + CHECK)
    own.run("template", "import", str(folder))
    # /one is a step of before, so it was not run again.
    assert own.out("run", "--rm", "halfway", "cat", "/three") == first[0]
    assert "No such file" in own.run("run", "--rm", "halfway", "cat", "/half", status=1).stderr


# --- locks ----------------------------------------------------------------------------------------------


def image_id(engine: PrivateEngine, name: str) -> str:
    plan = json.loads(engine.out("template", "inspect", name))[0]
    return str(plan["image_id"])


def rebuilt(engine: PrivateEngine, name: str) -> str:
    """The id of a template's image, built anew from nothing."""
    plan = json.loads(engine.out("template", "inspect", name))[0]
    if plan["built"]:
        engine.run("image", "rm", "--force", plan["image"])
    engine.run("builder", "prune")
    engine.run("image", "prune", status=None)
    engine.run("template", "build", "--locked", name, timeout=300)
    return image_id(engine, name)


def test_two_builds_with_a_lock_are_the_same_image(own: PrivateEngine, write: Write) -> None:
    folder = write("locked", CHECK, {"rootfs/srv/page": "a page\n"})
    own.run("template", "import", str(folder))
    error = own.run("template", "build", "--locked", "locked", status=125).stderr
    assert "template 'locked' has no lock for the base 'small:1'" in error
    assert own.out("template", "lock", str(folder)) == f"{folder}/template.lock"
    own.run("template", "validate", str(folder))
    own.run("template", "import", str(folder))
    first = rebuilt(own, "locked")
    time.sleep(1.1)
    assert rebuilt(own, "locked") == first
    assert own.out("run", "--rm", "locked", "cat", "/srv/page") == "a page"
    assert "1 of 1 checks hold" in own.out("template", "test", "--locked", "locked")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (("sha256:", "sha256:0"), 'template.lock:8: bases."small:1".base_digest: is no digest'),
        (("time = ", "tiem = "), 'template.lock:9: bases."small:1".tiem: no such setting'),
        (("schema = 1", "schema = 9"), "template.lock:4: schema: this version reads 1"),
        (("packages = [", 'packages = ["nano"'), "packages[0]: has no version"),
    ],
)
def test_a_lock_that_is_wrong_is_refused_by_file_line_and_key(
    own: PrivateEngine, write: Write, change: tuple[str, str], cause: str
) -> None:
    folder = write("mislocked")
    own.run("template", "lock", str(folder))
    lock = folder / "template.lock"
    lock.write_text(lock.read_text().replace(*change))
    assert cause in own.run("template", "validate", str(folder), status=125).stderr


@pytest.mark.needs_network
def test_a_lock_keeps_the_versions_of_packages_and_says_which_is_gone(
    own: PrivateEngine, write: Write, tmp_path: Path
) -> None:
    debian_image.provide(own, tmp_path)
    folder = write(
        "apt-lab",
        '[packages]\ndebian = ["tree"]\n[[checks]]\nname = "tree"\ncommand = ["tree", "--version"]\n',
    )
    text = (folder / "template.toml").read_text().replace("small:1", "debian:12")
    (folder / "template.toml").write_text(text)
    own.run("template", "lock", str(folder), timeout=300)
    lock = folder / "template.lock"
    locked = next(line for line in lock.read_text().splitlines() if '"tree:' in line)
    own.run("template", "import", str(folder))
    rebuilt(own, "apt-lab")
    version = locked.strip(' ",').partition("=")[2]
    asked = own.out("run", "--rm", "apt-lab", "dpkg-query", "-W", "-f", "${Version}", "tree")
    assert asked == version
    good = lock.read_text()
    lock.write_text(good.replace(f"={version}", "=9999.1-1"))
    own.run("template", "import", str(folder))
    error = own.run("template", "build", "apt-lab", status=125, timeout=300).stderr
    assert "the lock cannot be met: package tree=9999.1-1" in error or "package tree:" in error
    assert "no archive has it any more" in error
    assert "multios-container template lock" in error
    digest = json.loads(own.out("template", "inspect", "apt-lab"))[0]["lock"]["base_digest"]
    lock.write_text(good.replace(digest, "sha256:" + "0" * 64))
    own.run("template", "import", str(folder))
    error = own.run("template", "build", "apt-lab", status=125).stderr
    assert "the lock wants the base 'debian:12' as sha256:000000000000" in error
    lock.write_text(good)
    (folder / "template.toml").write_text(text.replace('["tree"]', '["tree", "less"]'))
    own.run("template", "import", str(folder))
    error = own.run("template", "build", "apt-lab", status=125).stderr
    assert "does not know the package 'less'" in error


# --- the guide ------------------------------------------------------------------------------------------


@pytest.mark.needs_network
@pytest.mark.timeout(600)
def test_the_guide_goes_as_written(own: PrivateEngine, tmp_path: Path) -> None:
    debian_image.provide(own, tmp_path)
    page = (ROOT / "docs/how-to/templates.md").read_text()
    environment = {**own.environment, "PATH": f"{SCRIPTS}:/usr/sbin:/usr/bin:/sbin:/bin"}
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.strip().splitlines()
    ]
    assert len(lines) > 10
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if line.endswith("template test shell-basics"):
            shown = re.sub(r"[0-9.]+ s", "0.0 s", done.stdout)
            assert shown in page


@pytest.mark.needs_network
def test_the_guides_own_template_is_a_template_and_its_settings_are_read(
    own: PrivateEngine, write: Write, tmp_path: Path
) -> None:
    page = (ROOT / "docs/how-to/templates.md").read_text()
    tables = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    settings = [block for block in tables if block.startswith("[templates]")]
    assert len(settings) == 2
    for block in settings:
        (tmp_path / "containers.conf").write_text(block)
        load(tmp_path / "containers.conf", {})
    folder = write("guide")
    (folder / "template.toml").write_text("".join(block for block in tables if block not in settings))
    assert "template shell-basics 0.1.0 is valid" in own.out("template", "validate", str(folder))
    mistaken = (folder / "template.toml").read_text().replace("{{login}}", "{{logn}}")
    (folder / "template.toml").write_text(mistaken)
    assert "did you mean 'login'?" in own.run("template", "validate", str(folder), status=125).stderr
