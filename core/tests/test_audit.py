"""The audit log: what is in it, what never is, and that it holds nobody up."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from multios.api.audit import KEPT, AuditLog
from multios.engine.caller import Caller

ADA = Caller(4101, 4101, 99)


def test_a_line_names_who_what_and_the_result(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "deep" / "audit.log")
    document = {"name": "web", "image": "debian:12", "command": ["s3cret"], "environment": {"KEY": "s3cret"}}
    log.write(ADA, "containers.create", {"config": document}, "ok")
    log.write(ADA, "containers.delete", {"ref": "web"}, "not_found", "no such container: 'web'")
    log.write(ADA, "containers.create", {"config": "s3cret"}, "invalid", "config: 's3cret' is no object")
    log.write(ADA, "containers.list", {}, "ok")
    created, deleted, wrong = log.read()
    assert (created["uid"], created["pid"], created["object"], created["result"]) == (
        4101,
        99,
        "web debian:12",
        "ok",
    )
    assert deleted["cause"] == "no such container: 'web'" and "cause" not in wrong
    assert "s3cret" not in log.path.read_text()
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_line_says_for_whom_a_container_was_made(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.write(
        ADA, "containers.create", {"config": {"name": "web", "image": "debian:12"}, "owner": "games"}, "ok"
    )
    assert next(iter(log.read()))["object"] == "web debian:12 for games"


def test_a_name_cannot_look_like_another_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    for name in ('x"}\n{"user": "root"', "\x1b[2J\u2028\x85", "x" * 10_000, ["a", 5], None, {"a": 1}):
        log.write(ADA, "containers.delete", {"ref": name}, "not_found")
    lines = log.path.read_bytes().split(b"\n")
    assert lines.pop() == b"" and len(lines) == 6
    assert all(json.loads(line)["uid"] == 4101 and len(line) < 2000 for line in lines)


def test_it_is_rotated_and_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", largest=500)
    for number in range(100):
        log.write(ADA, "volumes.create", {"name": f"v{number}"}, "ok")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.log", *(f"audit.log.{number}" for number in range(1, KEPT))]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    kept = [entry["object"] for entry in log.read()]
    assert kept == [f"v{number}" for number in range(100 - len(kept), 100)]


def test_entries_are_read_without_a_gap_while_it_is_rotated(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", largest=500)
    for number in range(20):
        log.write(ADA, "volumes.create", {"name": f"v{number}"}, "ok")
    reading = log.read()
    kept = [next(reading)["object"]]
    for number in range(20, 60):
        log.write(ADA, "volumes.create", {"name": f"v{number}"}, "ok")
    kept += [entry["object"] for entry in reading]
    first = int(kept[0][1:])
    assert kept == [f"v{number}" for number in range(first, first + len(kept))] and len(kept) >= 20 - first


@pytest.mark.needs_root
def test_a_disk_that_fails_costs_lines_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(Path("/dev/full"))
    for _ in range(5):
        log.write(ADA, "volumes.create", {"name": "v"}, "ok")
    assert [record.message for record in caplog.records if "cannot be written" in record.message] != []
    assert len(caplog.records) == 1
    log.path = tmp_path / "audit.log"
    log.write(ADA, "volumes.create", {"name": "v"}, "ok")
    assert "5 lines were lost" in caplog.records[-1].message


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to(tmp_path / "elsewhere")
    AuditLog(tmp_path / "audit.log").write(ADA, "volumes.create", {"name": "v"}, "ok")
    assert not (tmp_path / "elsewhere").exists()


def test_entries_are_chosen_by_user_and_time(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.write(ADA, "volumes.create", {"name": "hers"}, "ok")
    log.write(Caller(0, 0, 1), "volumes.create", {"name": "roots"}, "ok")
    log.path.open("a").write("{torn")
    assert [entry["object"] for entry in log.read(user="4101")] == ["hers"]
    assert [entry["object"] for entry in log.read(user="root")] == ["roots"]
    assert list(log.read(since=1e12)) == []
