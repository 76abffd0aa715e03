"""Where names lead, what a challenge says, what is remembered."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios import typed_table
from multios.errors import InvalidInput
from multios.model import platform
from multios_image_registry import Settings, challenge, journal, places
from multios_image_registry.journal import Journal


@pytest.mark.parametrize(
    ("reference", "registry", "repository", "target"),
    [
        ("ubuntu:20.04", "docker.io", "library/ubuntu", "20.04"),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest"),
        ("index.docker.io/library/ubuntu:1", "docker.io", "library/ubuntu", "1"),
        ("someone/tool", "docker.io", "someone/tool", "latest"),
        ("localhost/tool", "localhost", "tool", "latest"),
        ("registry.lab:5000/a/b/c:1", "registry.lab:5000", "a/b/c", "1"),
        ("quay.io/a/b:1@sha256:" + "0" * 64, "quay.io", "a/b", "sha256:" + "0" * 64),
    ],
)
def test_a_name_leads_to_a_place(reference: str, registry: str, repository: str, target: str) -> None:
    assert places.locate(reference) == places.Place(registry, repository, target)


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("registry.lab:5000", ("registry.lab:5000",), True),
        ("registry.lab:5000", ("registry.lab",), True),
        ("registry.lab:5000", ("registry.lab:5001",), False),
        ("registry.lab", ("registry.lab:5000",), False),
        ("127.0.0.1:5000", ("127.0.0.0/8",), True),
        ("localhost:5000", ("127.0.0.0/8",), False),
        ("10.0.0.1", ("127.0.0.0/8", "nonsense/8"), False),
        ("127.0.0.1:5000", (), False),
    ],
)
def test_only_what_is_named_may_be_insecure(host: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert places.is_insecure(host, allowed) is expected


def test_mirrors_come_before_the_registry_itself() -> None:
    found = places.endpoints("docker.io", {"docker.io": ("https://one", "http://two:5000")}, ("two",))
    assert [(item.base, item.mirror, item.insecure) for item in found] == [
        ("https://one", True, False),
        ("http://two:5000", True, True),
        ("https://registry-1.docker.io", False, False),
    ]


@pytest.mark.parametrize(
    "table",
    [
        {"mirrors": {"docker.io": ["ftp://x"]}},
        {"mirrors": {"docker.io": ["https://user:secret@x"]}},
        {"mirrors": {"docker.io": "https://x"}},
        {"mirrors": []},
        {"parallel_downloads": 0},
        {"retries": -1},
        {"stall_timeout": 0.0},
        {"insecure": "everything"},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        typed_table.read(Settings, table, "image.registry.")


def test_challenges_are_read_as_registries_write_them() -> None:
    header = (
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
        'scope="repository:library/ubuntu:pull,push", Basic realm="a \\"quoted\\" one"'
    )
    bearer, basic = challenge.parse(header)
    assert (bearer.scheme, basic.scheme) == ("bearer", "basic")
    assert bearer.parameters["realm"] == "https://auth.docker.io/token"
    assert bearer.parameters["scope"] == "repository:library/ubuntu:pull,push"
    assert basic.parameters == {"realm": 'a "quoted" one'}
    assert [item.scheme for item in challenge.parse("Negotiate, Basic realm=x")] == ["negotiate", "basic"]


@given(st.text(max_size=200))
def test_any_header_is_read_without_a_fault(header: str) -> None:
    began = time.thread_time()
    challenge.parse(header)
    assert time.thread_time() - began < 1


def test_a_hostile_header_takes_no_time() -> None:
    began = time.thread_time()
    for header in ('Bearer a="' * 5000, "a " * 50_000, 'B x="' + "\\" * 100_000, "," * 100_000):
        challenge.parse(header)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("machine", "image", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/amd64/v1", "linux/amd64", True),
        ("arm64", "linux/arm64", True),
        ("x86_64", "linux/amd64", True),
    ],
)
def test_a_platform_runs_what_is_made_for_it(machine: str, image: str, runs: bool) -> None:
    assert (platform.parse(machine).preference(platform.parse(image)) is not None) is runs


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/amd 64", "LINUX/\0", "x" * 200])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        platform.parse(text)


def test_the_journal_forgets_what_is_old_and_bears_being_damaged(tmp_path: Path) -> None:
    notes = Journal(tmp_path)
    digest = "sha256:" + "a" * 64
    notes.note("old:1", digest)
    (file,) = (tmp_path / "pulls").iterdir()
    file.write_bytes(file.read_bytes() + b"\xff\n../../etc/passwd\n")
    assert Journal(tmp_path).kept_digests() == []
    file.write_text(f"{digest}\n../../etc/passwd\n")
    assert Journal(tmp_path).kept_digests() == [digest]
    long_ago = time.time() - journal.KEPT_SECONDS - 1
    os.utime(file, (long_ago, long_ago))
    assert Journal(tmp_path).kept_digests() == []
    assert not file.exists()


def test_the_journal_knows_where_blobs_came_from(tmp_path: Path) -> None:
    notes = Journal(tmp_path)
    for repository in ("a/one", "a/two", "a/two"):
        notes.came_from("reg", repository, ["sha256:1", "sha256:2"])
    assert Journal(tmp_path).repositories("reg", "sha256:1") == ["a/two", "a/one"]
    assert Journal(tmp_path).repositories("other", "sha256:1") == []
