"""The parts of the template format: lines of keys, files for the root, archives, packages, the init of services."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from multios import toml_lines
from multios.engine.template_builds import image_name
from multios.errors import InvalidInput, MultiosError
from multios.model.template import Service
from multios.template_format import archive, packages, services, tree
from multios.template_format.document import read
from multios.template_format.overlay import Overlay
from multios.template_format.tree import Tree
from multios.testing.isolation_box import eventually

# --- lines ----------------------------------------------------------------------------------------

TEXT = '''\
# a comment with = and [table]
name = "a # b"   # more

list = [
  "x", # ]
  """two
lines""",
  { inner = "}", "quoted key" = 1 },
]
dotted.key = 1
[table."ubuntu:20.04"]
'literal' = 'it]'
[[rows]]
a = """
[[rows]]
"""
[[rows]]
a = true
[rows.below]
b = 1979-05-27T07:32:00Z
[[rows.deep]]
c = [[1, 2], [3]]
'''


def test_every_key_has_the_line_that_it_stands_on() -> None:
    known = toml_lines.lines(TEXT)
    assert {path: known[path] for path in ("name", "list", "list[0]", "list[1]", "list[2]")} == {
        "name": 2, "list": 4, "list[0]": 5, "list[1]": 6, "list[2]": 8
    }  # fmt: skip
    assert known['list[2]."quoted key"'] == 8
    assert known["dotted.key"] == 10
    assert known['table."ubuntu:20.04".literal'] == 12
    assert (known["rows[0]"], known["rows[0].a"], known["rows[1]"], known["rows[1].a"]) == (13, 14, 17, 18)
    assert known["rows[1].below.b"] == 20
    assert known["rows[1].deep[0].c[1][0]"] == 22


def _paths(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.{toml_lines.written(key)}" if path else toml_lines.written(key)
            yield below
            yield from _paths(item, below)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield f"{path}[{number}]"
            yield from _paths(item, f"{path}[{number}]")


def test_every_key_that_tomli_reads_is_found() -> None:
    assert set(_paths(tomli.loads(TEXT))) <= set(toml_lines.lines(TEXT))


@settings(max_examples=200, deadline=2000)
@given(st.text("ab=\"'[]{}#.,\n \\1:", max_size=60))
def test_any_text_ends_in_a_document_or_one_error(text: str) -> None:
    try:
        tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError):
        pass
    else:
        toml_lines.lines(text)
    try:
        read(text, "file")
    except MultiosError as error:
        assert error.cause.startswith("file:")


# --- files for the root ---------------------------------------------------------------------------


def test_the_same_files_have_the_same_fingerprint_whatever_their_times_and_owners(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/motd").write_text("hello")
    os.utime(tmp_path / "two/etc/motd", (1, 1))
    (tmp_path / "two/etc/motd").chmod(0o600)
    one, two = (Overlay(tmp_path / name, name) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint != ""
    assert one.sources == ("etc/motd",)
    (tmp_path / "two/etc/motd").chmod(0o700)
    assert Overlay(tmp_path / "two", "two").fingerprint != one.fingerprint
    assert Overlay(tmp_path / "absent", "absent").fingerprint == ""


def test_a_link_that_appears_after_looking_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("mine")
    (tmp_path / "secret").write_text("not mine")
    overlay = Overlay(tmp_path / "root", "rootfs")
    (tmp_path / "root/file").unlink()
    (tmp_path / "root/file").symlink_to("../secret")
    with pytest.raises(OSError):
        overlay.open("file")


def test_bounds_on_the_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 300 << 20)
    with pytest.raises(InvalidInput, match="256 MiB"):
        Overlay(tmp_path, "rootfs")


# --- archives -------------------------------------------------------------------------------------

LAB = 'schema = 1\nname = "lab"\nversion = "1"\ndescription = "d"\nlicense = "MIT"\nbase = "x"\n[[checks]]\nname = "a"\ncommand = ["true"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "lab"
    (made / "rootfs/srv").mkdir(parents=True)
    (made / "template.toml").write_text(LAB)
    (made / "lesson.md").write_text("# Lab\n")
    (made / "rootfs/srv/file").write_text("x" * 1000)
    (made / "rootfs/srv/link").symlink_to("file")
    return made


def test_an_archive_goes_there_and_back(folder: Path, tmp_path: Path) -> None:
    (folder / ".git").mkdir()
    target = io.BytesIO()
    digest = archive.write(folder, target)
    target.seek(0)
    back = tmp_path / "back"
    back.mkdir()
    top, left_out = archive.unpack(target, back, "lab.tar.gz")
    assert (top, left_out) == (back, [])
    assert archive.digest(back) == digest
    assert Tree(back).check() == Tree(folder).check()
    assert (back / "rootfs/srv/link").readlink() == Path("file")


def test_a_template_in_a_folder_of_the_archive_is_found_and_the_rest_left_out(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "__init__.py").write_text("raise SystemExit\n")
    with tarfile.open(tmp_path / "lab.tar", "w") as file:
        file.add(folder, arcname="lab-1.0")
    back = tmp_path / "back"
    back.mkdir()
    with (tmp_path / "lab.tar").open("rb") as stream:
        top, left_out = archive.unpack(stream, back, "lab.tar")
    assert (top, left_out) == (back / "lab-1.0", ["__init__.py"])
    assert not (top / "__init__.py").exists()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_an_error_or_a_folder_never_more(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("damaged")
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as file:
        for name, content in (("template.toml", LAB), ("lesson.md", "# L\n"), ("rootfs/a", "a")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content.encode()))
    raw = bytearray(plain.getvalue()[:4096])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=8)
    ):
        raw[place] = value
    inside = base / "inside"
    inside.mkdir()
    try:
        top, _ = archive.unpack(io.BytesIO(bytes(raw)), inside, "it")
        Tree(top).check()
    except MultiosError as error:
        assert "\n" not in error.cause
    assert os.listdir(base) == ["inside"]
    shutil.rmtree(base)


def test_a_folder_is_read_again_when_it_is_not_fresh_any_more(folder: Path) -> None:
    first = tree.at(folder, "lab")
    plan = first.render({})
    assert tree.at(folder, "lab").render({}) is plan
    name = image_name(plan)
    (folder / "rootfs/srv/file").write_text("other")
    again = tree.at(folder, "lab", 0.0).render({})
    assert again.rootfs != plan.rootfs
    assert image_name(again) != name
    (folder / "rootfs/srv/file").write_text("x" * 1000)
    assert image_name(Tree(folder, "lab").render({})) == name


# --- packages -------------------------------------------------------------------------------------


def test_the_most_exact_key_counts() -> None:
    lists = {"ubuntu": ["a"], "ubuntu:20.04": ["b"], "registry.example.org/own/base": ["c"]}
    assert packages.for_base(lists, "ubuntu:20.04") == ("b",)
    assert packages.for_base(lists, "ubuntu:22.04") == ("a",)
    assert packages.for_base(lists, "docker.io/library/ubuntu:22.04") == ("a",)
    assert packages.for_base(lists, "registry.example.org/own/base:7") == ("c",)
    assert packages.for_base({}, "anything:1") == ()


# --- the init of services ---------------------------------------------------------------------------


@pytest.fixture(params=["dash", "bash", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param.split()
    if not shutil.which(words[0]):
        pytest.skip(f"this host has no {words[0]}")
    return words


@pytest.fixture
def init(shell: list[str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the init of these services, its state in the test's own directory; ``ask`` asks it."""

    def start(*given: Service) -> subprocess.Popen[str]:
        text = services.script(given).replace("state=/run/multios-services", f"state={tmp_path}/state")
        (tmp_path / "init").write_text(text)
        return subprocess.Popen(
            [*shell, str(tmp_path / "init")], text=True, stdin=subprocess.DEVNULL,
            stdout=(tmp_path / "log").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def asked(shell: list[str], tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(tmp_path / "init"), *words], capture_output=True, text=True, timeout=60, check=False
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, int, int]]:
    found = {}
    for line in done.stdout.splitlines()[1:]:
        name, state, pid, restarts = line.split()
        found[name] = (state, int(pid), int(restarts))
    return found


def test_services_are_prepared_started_restarted_and_told(
    shell: list[str], init: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    flag, count = tmp_path / "flag", tmp_path / "count"
    process = init(
        Service("one", f"test -e {tmp_path}/prepared && exec sleep 100", f"touch {tmp_path}/prepared"),
        Service("two", "exec sleep 100", ready=("test", "-e", str(flag))),
        Service("brief", f"echo x >> {count}; exit 3"),
    )
    seen: dict[str, tuple[str, int, int]] = {}
    try:
        assert asked(shell, tmp_path, "wait", "1").returncode == 1

        def states(**wanted: str) -> bool:
            seen.update(rows(asked(shell, tmp_path, "status")))
            return all(seen[name][0] == state for name, state in wanted.items())

        eventually(lambda: states(one="ready", two="running"), "one ready, and two not")
        flag.touch()
        eventually(lambda: states(two="ready"), "two ready")
        eventually(lambda: states(brief="waiting") and seen["brief"][2] == 2, "brief ended twice")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    told = [line for line in (tmp_path / "log").read_text().splitlines() if "brief ended" in line]
    assert told[:2] == [
        f"multios-services: brief ended with status 3; again in {pause} s" for pause in (1, 2)
    ]
    # One that began again meanwhile may have been ended with the others.
    assert 0 <= len(count.read_text().split()) - len(told) <= 1
    assert not any(_is_running(state[1]) for state in seen.values() if state[1])


def test_a_wait_for_services_gives_them_all_the_time_it_was_told(
    shell: list[str], init: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = init(Service("never", "exec sleep 100", ready=("false",)))
    try:
        for fraction in (0.0, 0.5, 0.9):
            time.sleep((fraction - time.time()) % 1)
            began = time.monotonic()
            assert asked(shell, tmp_path, "wait", "1").returncode == 1
            assert time.monotonic() - began >= 1
    finally:
        process.terminate()
        process.wait(20)


def test_services_end_in_reverse_order_those_that_do_not_are_killed(
    shell: list[str], init: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    def heeding(name: str, trap: str) -> Service:
        """Ready when it has set its trap: what ends before would not do as the trap says."""
        return Service(
            name,
            f"{trap}; touch {tmp_path}/{name}; while :; do sleep 0.1; done",
            ready=("test", "-e", f"{tmp_path}/{name}"),
        )

    process = init(
        heeding("first", "trap 'echo first ends; exit' TERM"),
        heeding("deaf", "trap '' TERM"),
        heeding("last", "trap 'echo last ends; sleep 0.5; echo last is gone; exit' TERM"),
    )
    assert asked(shell, tmp_path, "wait", "10").returncode == 0
    pids = [state[1] for state in rows(asked(shell, tmp_path, "status")).values()]
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "Killed" not in line]
    told = ("first ends", "last ends", "last is gone", "multios-services: deaf does not end, and is killed")
    assert [line for line in lines if line in told] == [told[1], told[2], told[3], told[0]]
    assert not any(map(_is_running, pids))


def test_a_service_has_ended_when_the_last_of_its_processes_has(
    shell: list[str], init: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """As of a server that a wrapper in shell starts and waits for."""
    trapping = tmp_path / "trapping"
    server = f"trap 'sleep 1; echo saved; exit' TERM; touch {trapping}; while :; do sleep 0.1; done"
    process = init(Service("wrapped", f"( {server} ); true", ready=("test", "-e", str(trapping))))
    assert asked(shell, tmp_path, "wait", "10").returncode == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "saved" in (tmp_path / "log").read_text().splitlines()


def test_what_a_service_says_of_marks_and_quotes_means_itself(
    shell: list[str], init: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = init(
        Service("odd", f"printf '%s' \"@names@ @ready@ it's \\$HOME\" > {tmp_path}/said; exec sleep 100")
    )
    try:
        assert asked(shell, tmp_path, "wait", "10").returncode == 0
        said, wanted = tmp_path / "said", "@names@ @ready@ it's $HOME"
        eventually(lambda: said.exists() and len(said.read_text()) >= len(wanted), "it has said all")
        assert said.read_text() == wanted
        assert asked(shell, tmp_path, "stauts").returncode == 2
    finally:
        process.terminate()
        process.wait(20)


def _is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
