"""Logins as docker keeps them: read, written, asked of helpers; and what pull and push hand over."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multios.cli import credentials
from multios.errors import InvalidInput, MultiosError

SCRIPT = Path(sys.executable).with_name("multios-container")


def pair(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's file, not there yet."""
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker/config.json"


def write(config: Path, **content: Any) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("ubuntu:20.04", "docker.io"),
        ("someone/tool", "docker.io"),
        ("index.docker.io/library/ubuntu", "docker.io"),
        ("registry.example.org/a:1", "registry.example.org"),
        ("localhost/a", "localhost"),
        ("lab:5000/a/b", "lab:5000"),
    ],
)
def test_a_name_tells_its_registry(reference: str, registry: str) -> None:
    assert credentials.registry_of(reference) == registry


def test_a_registry_may_be_written_as_a_url() -> None:
    assert credentials.registry_name("https://registry.example.org/v2/") == "registry.example.org"
    assert credentials.registry_name("https://index.docker.io/v1/") == "docker.io"


def test_where_no_login_is_kept_none_is_found(config: Path) -> None:
    assert credentials.find("lab:5000") == {}
    config.parent.mkdir()
    config.write_text("")
    assert credentials.find("lab:5000") == {}


@pytest.mark.parametrize("key", ["lab:5000", "https://lab:5000", "https://lab:5000/v2/", "http://lab:5000"])
def test_a_login_is_found_under_every_key_that_docker_uses(config: Path, key: str) -> None:
    write(config, auths={"other": pair("x:y"), key: pair("alice:pass:word")})
    assert credentials.find("lab:5000") == {"lab:5000": {"username": "alice", "password": "pass:word"}}


def test_docker_hubs_login_and_an_identity_token_are_found(config: Path) -> None:
    entry = {**pair("alice:"), "identitytoken": "token"}
    write(config, auths={"https://index.docker.io/v1/": entry})
    found = credentials.find("docker.io")["docker.io"]
    assert (found["username"], found["identity_token"]) == ("alice", "token")


def test_another_file_may_be_named(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    credentials.save("lab:5000", "bob", "secret")
    assert json.loads((tmp_path / "auth.json").read_text())["auths"] == {"lab:5000": pair("bob:secret")}
    assert not config.exists()


def test_a_login_is_written_for_its_owner_alone_and_the_rest_stays(config: Path) -> None:
    write(config, auths={"other": pair("x:y"), "https://lab:5000": pair("old:old")}, psFormat="{{.ID}}")
    config.chmod(0o644)
    credentials.save("lab:5000", "alice", "sécret:1")
    assert json.loads(config.read_text()) == {
        "auths": {"other": pair("x:y"), "lab:5000": pair("alice:sécret:1")},
        "psFormat": "{{.ID}}",
    }
    assert config.stat().st_mode & 0o777 == 0o600
    assert os.listdir(config.parent) == ["config.json"]
    assert credentials.find("lab:5000")["lab:5000"]["password"] == "sécret:1"


def test_a_file_that_is_a_link_stays_one(config: Path, tmp_path: Path) -> None:
    config.parent.mkdir()
    (tmp_path / "real.json").write_text("{}")
    config.symlink_to(tmp_path / "real.json")
    credentials.save("lab:5000", "a", "b")
    assert config.is_symlink()
    assert "lab:5000" in (tmp_path / "real.json").read_text()


def test_a_logout_removes_this_login_only(config: Path) -> None:
    write(config, auths={"other": pair("x:y"), "https://lab:5000": pair("a:b")})
    assert credentials.forget("lab:5000")
    assert not credentials.forget("lab:5000")
    assert json.loads(config.read_text())["auths"] == {"other": pair("x:y")}


def test_a_login_that_cannot_be_read_can_be_removed(config: Path) -> None:
    write(config, auths={"lab:5000": {"auth": "§"}})
    assert credentials.forget("lab:5000")
    assert credentials.find("lab:5000") == {}


def test_a_login_that_cannot_be_written_leaves_no_copy(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    write(config, auths={})
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(InvalidInput, match="No space left"):
        credentials.save("lab:5000", "a", "b")
    assert os.listdir(config.parent) == ["config.json"]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "nonsense",
        '{"auths": {"lab:5000": {"auth": "§"}}}',
        '{"credsStore": "../../bin/sh"}',
        "[" * 100_000,
    ],
)
def test_a_file_that_makes_no_sense_is_named(config: Path, content: str) -> None:
    config.parent.mkdir()
    config.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        credentials.find("lab:5000")
    assert str(config) in caught.value.cause


# --- helpers ----------------------------------------------------------------------------------------

HELPER = """#!/bin/sh
case $1 in
get) read -r server
     [ -f "$STORE/$server" ] || { echo "credentials not found in native keychain"; exit 1; }
     cat "$STORE/$server" ;;
store) cat > "$STORE/stored" ;;
erase) read -r server; rm -f "$STORE/$server" ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A helper named ``test`` and the directory in which it keeps what it is given."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STORE", str(tmp_path))
    yield tmp_path


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"lab:5000": "test"}}])
def test_a_helper_is_asked(config: Path, helper: Path, setting: dict[str, Any]) -> None:
    write(config, **setting)
    assert credentials.find("lab:5000") == {}
    answer = {"ServerURL": "lab:5000", "Username": "alice", "Secret": "hidden"}
    (helper / "lab:5000").write_text(json.dumps(answer))
    assert credentials.find("lab:5000") == {"lab:5000": {"username": "alice", "password": "hidden"}}
    (helper / "lab:5000").write_text(json.dumps({**answer, "Username": "<token>"}))
    assert credentials.find("lab:5000") == {"lab:5000": {"identity_token": "hidden"}}
    credentials.save("lab:5000", "bob", "secret")
    stored = json.loads((helper / "stored").read_text())
    assert stored == {"ServerURL": "lab:5000", "Username": "bob", "Secret": "secret"}
    assert "secret" not in config.read_text()
    assert credentials.forget("lab:5000")
    assert not (helper / "lab:5000").exists()


def test_a_helper_that_is_missing_or_broken_is_named(config: Path, helper: Path) -> None:
    write(config, credsStore="absent")
    with pytest.raises(MultiosError, match="docker-credential-absent"):
        credentials.find("lab:5000")
    write(config, credsStore="test")
    (helper / "lab:5000").write_text("nonsense")
    with pytest.raises(MultiosError, match="docker-credential-test gave no credentials"):
        credentials.find("lab:5000")


# --- commands ---------------------------------------------------------------------------------------


def test_credentials_go_in_a_descriptor_and_not_among_the_parameters(
    daemon: Any, cli: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "docker/config.json", auths={"lab:5000": pair("alice:hidden")})
    environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    handed: list[Any] = []

    def take(request: Any) -> dict[str, str]:
        handed.append([json.loads(os.pread(fd, 1000, 0)) for fd in request.fds])
        return {"id": "0123", "digest": "sha256:1"}

    daemon.answers |= {"images.pull": take, "images.push": take}
    assert cli("image", "pull", "lab:5000/a:1", "debian:12").returncode == 0
    assert cli("image", "push", "debian:12", "lab:5000/b:1").stdout == "sha256:1\n"
    own = {"lab:5000": {"username": "alice", "password": "hidden"}}
    assert handed == [[own], [], [own]]
    assert "hidden" not in str(daemon.asked)
    assert daemon.asked[-1] == ("images.push", {"ref": "debian:12", "destination": "lab:5000/b:1"})


def test_a_login_that_is_refused_is_not_kept(
    daemon: Any, cli: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    daemon.answers["registries.login"] = lambda request: request.send(
        {"error": {"code": "refused", "cause": "no", "remedy": "", "exit_status": 125}}
    )
    done = cli("login", "-u", "alice", "--password-stdin", "lab:5000", input="x\n")
    assert (done.returncode, done.stderr) == (125, "Error: no\n")
    assert not (tmp_path / "docker").exists()


def test_a_password_that_is_no_text_is_refused(daemon: Any, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [SCRIPT, "login", "-u", "alice", "--password-stdin", "lab:5000"],
        input=b"\xff\xfe\n", env=environment, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert b"not valid" in done.stderr
    assert daemon.asked == []


@pytest.mark.parametrize(
    "words", [("login", "--password-stdin"), ("login", "lab:5000"), ("login", "-u", "a:b", "-p", "x")]
)
def test_a_login_without_what_it_needs_says_so(daemon: Any, cli: Any, words: tuple[str, ...]) -> None:
    done = cli(*words, input="")
    assert done.returncode == 125
    assert daemon.asked == []
