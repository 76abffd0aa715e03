"""``index.json`` of templates: what is read, what is refused, and which version is the newest."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.cli import web_folder
from multios.cli.index_places import Folder, Indexes, copy_bounded, fetched
from multios.errors import InvalidInput, MultiosError, NotFound
from multios.settings import load
from multios.template_format import archive, index, index_place
from multios.template_format.index import Entry

ROW: dict[str, Any] = {
    "name": "shell-basics",
    "version": "1.0",
    "description": "The first steps",
    "license": "MIT",
    "base": "debian:12",
    "file": "shell-basics-1.0.tar.gz",
    "sha256": "0" * 64,
    "size": 5,
}
REFERENCE = "registry.example.org/templates/shell-basics@sha256:" + "0" * 64


def document(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"schema": 1, "templates": list(rows), **more}).encode()


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {**{key: value for key, value in ROW.items() if key not in keys}, **more}


BY_REFERENCE = without("file", "sha256", "size", reference=REFERENCE)


def test_an_index_is_what_it_was_written_from() -> None:
    entries = index.read(document(ROW, without(version="1.1"), {**BY_REFERENCE, "version": "2"}), "x")
    assert index.read(index.text(entries).encode(), "x") == tuple(
        sorted(entries, key=lambda entry: entry.order)
    )
    assert [entry.version for entry in entries] == ["1.0", "1.1", "2"]


def test_the_same_templates_give_the_same_bytes_in_any_order() -> None:
    entries = [Entry(**without(version=f"1.{number}")) for number in range(12)]
    shuffled = random.sample(entries, len(entries))
    assert index.text(shuffled) == index.text(entries)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "i:1: not JSON"),
        (b"{", "i:1: not JSON"),
        (b'{"schema": 1,\n"templates": [}', "i:2: not JSON"),
        (b"\xff", "i: not JSON"),
        (b"[" * 100_000, "i: not JSON"),
        (b'{"schema": 1, "schema": 1, "templates": []}', "i: not JSON: an object has a key twice"),
        (b"9" * 5000, "i: not JSON"),
        (b"[]", "i: index.json: must be an object"),
        (b" " * (index.LARGEST + 1), "i: larger than 4 MiB"),
        (document(), ""),
        (document(extra=1), "i: extra: no such key"),
        (b'{"schema": 2, "templates": []}', "i: schema: not known here"),
        (b'{"schema": true, "templates": []}', "i: schema: True is not valid"),
        (b'{"templates": []}', "i: schema: is missing"),
        (b'{"schema": 1}', "i: templates: is missing"),
        (b'{"schema": 1, "templates": {}}', "i: templates: must be a list"),
        (document(*[1] * (index.MOST_TEMPLATES + 1)), "i: templates: more than 5000"),
        (document(1), "i: templates[0]: must be an object"),
        (document(ROW, without("license")), "i: templates[1].license: is missing"),
        (document(without(colour="red")), "i: templates[0].colour: no such key"),
        (document(without(**{"\x1b[31m": 1})), "i: templates[0].\\x1b[31m: no such key"),
        (document(without(name="../up")), "i: templates[0].name: '../up' cannot be"),
        (document(without(name=1)), "i: templates[0].name: 1 is not valid"),
        (document(without(version="new")), "i: templates[0].version: 'new' is no version"),
        (document(without(version="1" * 501)), "i: templates[0].version: is longer than 500"),
        (document(without(description="a\x1bb")), "i: templates[0].description: must be one line"),
        (document(without(description="\ud800")), "i: templates[0].description: must be one line"),
        (document(without(license="a b")), "i: templates[0].license:"),
        (document(without(base="A B")), "i: templates[0].base:"),
        (document(without(size=0)), "i: templates[0].size: must be 1 to"),
        (document(without(size=True)), "i: templates[0].size: True is not valid"),
        (document(without(size=1 << 60)), "i: templates[0].size: must be 1 to"),
        (document(without("size")), "i: templates[0].size: must be 1 to"),
        (document(without(sha256="A" * 64)), "i: templates[0].sha256: must be 64"),
        (document(without("sha256")), "i: templates[0].sha256: must be 64"),
        (document(without("file")), "i: templates[0].file: '' is no plain path"),
        (document(without(reference=REFERENCE)), "i: templates[0].reference: goes with neither"),
        (document({**BY_REFERENCE, "reference": "x/y:1"}), "i: templates[0].reference: 'x/y:1' does not say"),
        (document({**BY_REFERENCE, "reference": "lab:5000/y:1"}), "i: templates[0].reference: "),
        (document({**BY_REFERENCE, "reference": "a.b/C@sha256:1"}), "i: templates[0].reference: "),
        (document(ROW, ROW), "i: templates[1].version: shell-basics 1.0 is there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_entry_and_key(data: bytes, cause: str) -> None:
    if not cause:
        assert index.read(data, "i") == ()
        return
    with pytest.raises(InvalidInput) as caught:
        index.read(data, "i")
    assert caught.value.cause.startswith(cause)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a b", ".a", "a?b", "a#b", "a%2e", "é", "a\n"]
)  # fmt: skip
def test_a_file_is_a_plain_path_below_the_index(file: str) -> None:
    with pytest.raises(InvalidInput, match=r"templates\[0\]\.file: .* is no plain path"):
        index.read(document(without(file=file)), "i")
    assert index.read(document(without(file="b/C-1.0+x_y.tar.gz")), "i")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUES = st.sampled_from([*ROW.values(), REFERENCE, "", "1.0rc1", "../x", 0, 1 << 70]) | JSON
ROWS = st.dictionaries(st.sampled_from([*ROW, "reference", "more"]), VALUES) | st.fixed_dictionaries(
    {key: st.just(value) | VALUES for key, value in ROW.items()}
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | st.lists(ROWS | JSON, max_size=3).map(lambda rows: document(*rows)))
def test_whatever_an_index_has_is_read_or_refused(data: bytes) -> None:
    try:
        entries = index.read(data, "i")
    except MultiosError as error:
        assert error.cause.startswith("i:")
        assert "\n" not in error.cause
        return
    assert index.read(index.text(entries).encode(), "i") == tuple(sorted(entries, key=lambda one: one.order))


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_broken_index_is_read_or_refused(place: int, data: bytes) -> None:
    whole = document(ROW, without(version="1.1"))
    try:
        index.read(whole[:place] + data + whole[place + len(data) :], "i")
        index.read(whole[:place], "i")
    except MultiosError as error:
        assert error.cause.startswith("i:")


# --- versions -------------------------------------------------------------------------------------


def test_versions_are_ordered_by_their_numbers_and_early_ones_come_before() -> None:
    ordered = [
        "0.9", "1.0a1", "1-alpha", "1.0b2", "1.0rc1", "1.0rc2", "1.0rc10", "1.0", "1.0+local", "1.0.1", "1.2", "1.10",
        "2", "10.0",
    ]  # fmt: skip
    shuffled = random.sample(ordered, len(ordered))
    assert sorted(shuffled, key=index.version_key) == ordered
    assert index.version_key("1.0.post1") > index.version_key("1.0")
    assert index.version_key("1.0-2") > index.version_key("1.0")
    assert index.version_key("1.0.0")[:3] == index.version_key("1")[:3]


@given(st.lists(st.from_regex(index.rules.VERSION, fullmatch=True).filter(lambda text: len(text) < 100)))
def test_any_versions_can_be_ordered(versions: list[str]) -> None:
    sorted(versions, key=index.version_key)


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4)
)
def test_dotted_numbers_are_ordered_as_their_numbers(first: list[int], second: list[int]) -> None:
    left, right = (index.version_key(".".join(map(str, numbers))) for numbers in (first, second))
    padded = [numbers + [0] * (4 - len(numbers)) for numbers in (first, second)]
    assert (left[0] < right[0]) == (padded[0] < padded[1])


def test_the_newest_version_is_chosen_or_the_one_asked_for() -> None:
    entries = [Entry(**without(version=version)) for version in ("1.9", "1.10", "1.2")]
    newest = index.choose(entries, "shell-basics", "", "w/")
    assert newest is not None and newest.version == "1.10"
    asked = index.choose(entries, "shell-basics", "1.2", "w/")
    assert asked is not None and asked.version == "1.2"
    assert index.choose(entries, "other", "", "w/") is None
    assert [entry.version for entry in index.newest(entries)] == ["1.10"]
    with pytest.raises(NotFound, match="w/ has no version 1.20 of shell-basics") as caught:
        index.choose(entries, "shell-basics", "1.20", "w/")
    assert caught.value.remedy == "it has 1.2, 1.9, 1.10"


@pytest.mark.parametrize("wanted", ["", "A", "a==", "a==x y", "a==1==2", "a=1", "a>=1", "-a", "a/b"])
def test_what_is_no_name_and_version_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidInput):
        index.parse_wanted(wanted)


def test_an_index_lists_any_archive_that_a_template_can_have() -> None:
    assert index.LARGEST_ARCHIVE > archive.LARGEST + archive.MOST_MEMBERS * 1024


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "ftp://a/", "https://", "https:///x", "http://a:99999/", "http://a:b/", "http://[::1/", "https://u:p@a/",
        "https://u@a/", "https://a/?x=1", "https://a/#x", "https://a/ b", "https://a/\n", "file:///etc/",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_and_no_password_is_shown(where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        index_place.parts_of(where)
    assert "u:p" not in caught.value.cause + caught.value.remedy
    assert "\n" not in caught.value.cause


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ('"x"', "templates.indexes: must be a list"),
        ("[1]", "templates.indexes: must be a list"),
        ('["/srv", "srv"]', r"templates.indexes\[1\]: 'srv' is no absolute path"),
        ('["https://u:p@host/"]', r"templates.indexes\[0\]: an index's address has no user and password"),
    ],
)
def test_the_settings_name_places_that_can_be(tmp_path: Path, value: str, cause: str) -> None:
    file = tmp_path / "conf"
    file.write_text(f"[templates]\nindexes = {value}\n")
    with pytest.raises(InvalidInput, match=cause):
        load(file, {})
    file.write_text('[templates]\nindexes = ["/srv/templates", "https://school.example.org/templates/"]\n')
    assert load(file, {}).templates.indexes == ("/srv/templates", "https://school.example.org/templates/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index with one file."""
    made = tmp_path / "index"
    made.mkdir()
    (made / "shell-basics-1.0.tar.gz").write_bytes(b"12345")
    (made / "index.json").write_bytes(
        document(without(sha256="5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"))
    )
    return made


def take(folder: Path) -> bytes:
    place, entry = Indexes([str(folder)]).find("shell-basics")
    with fetched(place, entry) as descriptor:
        return os.read(descriptor, 100)


def test_what_a_folder_has_is_given_as_it_was_measured(folder: Path) -> None:
    assert take(folder) == b"12345"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"12346", "it has sha256 [0-9a-f]{64}, the index says 5994471a"),
        (b"123", "it has 3 bytes, the index says 5"),
        (b"", "it has 0 bytes, the index says 5"),
        (b"123456", "has more than 5 bytes"),
    ],
)
def test_a_file_that_was_changed_or_cut_is_refused(folder: Path, content: bytes, cause: str) -> None:
    (folder / "shell-basics-1.0.tar.gz").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"index/shell-basics-1.0.tar.gz: {cause}"):
        take(folder)


@pytest.mark.parametrize("name", ["shell-basics-1.0.tar.gz", "index.json"])
def test_no_link_leads_out_of_the_folder(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(f"../{name}")
    with pytest.raises(InvalidInput, match=f"{name}: leads out of the index"):
        take(folder)


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "shell-basics-1.0.tar.gz").rename(folder / "kept")
    (folder / "shell-basics-1.0.tar.gz").symlink_to("kept")
    assert take(folder) == b"12345"


@pytest.mark.parametrize("name", ["shell-basics-1.0.tar.gz", "index.json"])
def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InvalidInput, match=f"{name}: is no file"):
        take(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(InvalidInput, match=name):
        take(folder)
    (folder / name).rmdir()
    with pytest.raises(NotFound, match=name):
        take(folder)
    (folder / name).symlink_to(name)
    with pytest.raises(InvalidInput, match=name):
        take(folder)


def test_the_first_index_that_has_the_name_gives_it_and_a_broken_one_is_no_reason_to_take_the_next(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.json").write_bytes(document(without(version="9.0"), without(name="more")))
    indexes = Indexes([str(folder), str(other)])
    assert indexes.find("shell-basics")[1].version == "1.0"
    assert indexes.find("more")[0].where == f"{other}/"
    with pytest.raises(NotFound, match=f"{folder}/ has no version 9.0"):
        indexes.find("shell-basics==9.0")
    with pytest.raises(NotFound, match=f"no such template in {folder}/, {other}/: 'shell-basic'") as caught:
        indexes.find("shell-basic")
    assert "did you mean 'shell-basics'?" in caught.value.remedy
    (folder / "index.json").write_text("{")
    with pytest.raises(InvalidInput, match="not JSON"):
        Indexes([str(folder), str(other)]).find("more")


def test_a_folder_may_be_written_with_and_without_a_slash(folder: Path) -> None:
    assert Folder(str(folder)).where == Folder(f"{folder}//").where == f"{folder}/"
    assert Folder("/").where == "/"


def test_a_full_disk_is_told() -> None:
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(MultiosError, match="cannot be kept: No space"),
    ):
        copy_bounded(lambda size: b"x", full, 10, "place/file")


# --- web servers that do not behave ---------------------------------------------------------------


@contextmanager
def answering(head: bytes, drip: bytes, pause: float) -> Iterator[str]:
    """The address of a server that answers with ``head``, then with ``drip`` again and again until it is left."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while not ended.wait(pause):
                connection.sendall(drip)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    finally:
        ended.set()
        thread.join()
        server.close()


OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "drip", "pause", "cause"),
    [
        (OK, b" ", 0.05, "it takes longer than 1 s"),
        (OK, b"", 0.05, "timed out"),
        (b"", b"", 0.05, "timed out"),
        (OK, b" " * 65536, 0.0, "has more than 4194304 bytes"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", b" " * 65536, 0.0, "leads to something that is not the web"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", b" ", 0.01, "fetch http"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", b" " * 65536, 0.0, "the server answers 500"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"z", 0.01, "it takes longer than 1 s"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.0, "got more than 100 headers"),
        (b"", b"not http", 0.01, "it takes longer than 1 s"),
        (b"not http\r\n\r\n", b"", 0.01, "not http"),
    ],
)  # fmt: skip
def test_a_server_that_is_slow_endless_or_none_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, head: bytes, drip: bytes, pause: float, cause: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    # Only the bound that a case is about is near: a busy machine may take long for the others.
    monkeypatch.setattr(web_folder, "STALL_SECONDS", 0.7 if cause == "timed out" else 60.0)
    monkeypatch.setattr(web_folder, "LONGEST_SECONDS", 1.0 if cause.endswith("1 s") else 60.0)
    with answering(head, drip, pause) as address:
        indexes = Indexes([address])
        with pytest.raises(MultiosError) as caught:
            indexes.entries(indexes.places[0])
    assert cause in caught.value.cause
    assert f"{address}index.json" in caught.value.cause


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
    ],
)
def test_which_hosts_are_this_one(host: str, is_loopback: bool) -> None:
    assert web_folder._is_loopback(host) is is_loopback
