"""Submissions: signed twice, verified, and of no use when anything in them was altered."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from private_engine import PrivateEngine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/labs/first-steps"


@pytest.fixture(scope="module")
def engine(
    make_engine: Callable[..., PrivateEngine], tmp_path_factory: pytest.TempPathFactory
) -> PrivateEngine:
    return make_engine({"XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))})


@pytest.fixture(scope="module")
def submitted(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A submission of ada's, whose machine is still there."""
    place = tmp_path_factory.mktemp("submitted")
    shutil.copytree(EXAMPLE, place / "lab")
    document = place / "lab/lab.toml"
    document.write_text(document.read_text().replace('"debian:12"', '"small:1"'))
    engine.run(
        "lab", "start", str(place / "lab"), "--name", "ada-lab", "--student", "ada", "--seed", "autumn"
    )
    script = "echo work > /root/work/mine; echo secret > /root/elsewhere; echo ls > /root/.ash_history; rm /etc/greeting"
    engine.run("exec", "ada-lab", "sh", "-c", script)
    engine.run("lab", "check", status=1)
    engine.run("lab", "submit", "-o", str(place / "ada.submission"))
    yield place / "ada.submission"
    engine.run("lab", "rm", "ada-lab", status=None)


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def rewritten(file: Path, target: Path, parts: dict[str, bytes]) -> Path:
    with tarfile.open(target, "w") as archive:
        for name, content in {**members(file), **parts}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target


def test_a_submission_is_valid_and_says_what_the_machine_looked_like(
    engine: PrivateEngine, submitted: Path
) -> None:
    said = engine.out("lab", "verify", str(submitted))
    assert ": valid" in said and "student    ada" in said
    (row,) = json.loads(engine.out("lab", "verify", "--format", "json", str(submitted)))
    assert (row["valid"], row["student"], row["owner"]["uid"], row["problems"]) == (True, "ada", 0, [])
    parts = members(submitted)
    manifest, statement = json.loads(parts["manifest.json"]), json.loads(parts["statement.json"])
    assert manifest["history"] == {"/root/.ash_history": "ls\n"}
    assert manifest["steps"]["files"]["attempts"] == 1
    changes = {row["path"]: row for row in statement["changes"]}
    assert changes["/root/work/mine"]["size"] == 5 and changes["/root/work/mine"]["digest"].startswith(
        "sha256:"
    )
    assert changes["/etc/greeting"]["kind"] == "D" and "/root/elsewhere" in changes
    with tarfile.open(fileobj=io.BytesIO(parts["layer.tar"])) as layer:
        names = {name.strip("/") for name in layer.getnames()}
    assert "root/work/mine" in names and "root/elsewhere" not in names and "etc/greeting" not in names
    assert b"autumn" not in b"".join(parts.values())  # the course's secret is not handed out


def altered_work(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {"layer.tar": parts["layer.tar"].replace(b"work\n", b"WORK\n")}


def altered_claims(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {"manifest.json": parts["manifest.json"].replace(b'"student":"ada"', b'"student":"eve"')}


def altered_statement(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {"statement.json": parts["statement.json"].replace(b"/root/elsewhere", b"/root/nowhere12")}


def another_key(parts: dict[str, bytes]) -> dict[str, bytes]:
    signatures = json.loads(parts["signatures.json"])
    signatures["submitter"]["public"] = "00" * 32
    return {"signatures.json": json.dumps(signatures).encode()}


def another_engine(parts: dict[str, bytes]) -> dict[str, bytes]:
    signatures = json.loads(parts["signatures.json"])
    signatures["engine"] |= {"key": "0" * 16, "signature": "0" * 64}
    return {"signatures.json": json.dumps(signatures).encode()}


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (altered_work, "the work is not what the engine saw"),
        (altered_claims, "the machine is another student's"),
        (altered_statement, "the engine's signature is wrong"),
        (another_key, "the submitter's signature is wrong"),
        (another_engine, "this engine has not attested it"),
    ],
)
def test_what_was_altered_is_not_valid(
    engine: PrivateEngine,
    submitted: Path,
    tmp_path: Path,
    alter: Callable[[dict[str, bytes]], dict[str, bytes]],
    says: str,
) -> None:
    parts = alter(members(submitted))
    assert all(parts[name] != members(submitted)[name] for name in parts)
    forged = rewritten(submitted, tmp_path / "forged", parts)
    said = engine.run("lab", "verify", str(forged), status=1).stdout
    assert "NOT VALID" in said and says in said


@pytest.mark.parametrize("content", [b"", b"x" * 2000, bytes(10240)])
def test_what_is_no_submission_is_refused(engine: PrivateEngine, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "no.submission"
    file.write_bytes(content)
    said = engine.run("lab", "verify", str(file), status=125).stderr
    assert "is no whole submission" in said and "Traceback" not in said


def test_a_submission_that_was_cut_is_refused(engine: PrivateEngine, submitted: Path, tmp_path: Path) -> None:
    whole = submitted.read_bytes()
    with tarfile.open(submitted) as archive:
        last = archive.getmembers()[-1]
    for length in [*range(0, last.offset_data + last.size, 1499), last.offset_data + last.size - 1]:
        (tmp_path / "cut").write_bytes(whole[:length])
        assert engine.run("lab", "verify", str(tmp_path / "cut"), status=None).returncode in (1, 125)
    assert engine.run("lab", "verify", str(tmp_path / "nothing"), status=125).stderr.startswith("Error: ")


def test_others_cannot_read_the_submitters_key(engine: PrivateEngine, submitted: Path) -> None:
    key = Path(engine.environment["XDG_DATA_HOME"]) / "multios/labs/submitter.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    try:
        said = engine.run("lab", "submit", "-o", str(submitted.parent / "x"), status=125).stderr
        assert "can be read by others" in said
    finally:
        key.chmod(0o600)


def test_nothing_is_taken_in_where_the_engine_would_have_to_wait(
    engine: PrivateEngine, submitted: Path
) -> None:
    import os

    from multios.api.client import Client
    from multios.errors import InvalidInput

    reading, writing = os.pipe()
    try:
        with (
            Client(str(engine.exec_root / "api.sock")) as client,
            pytest.raises(InvalidInput, match="file only"),
        ):
            client.call("containers.attest", {"ref": "ada-lab", "paths": []}, [writing])
    finally:
        os.close(reading)
        os.close(writing)
