"""Rows survive; names and addresses are given once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from multios.engine.id_ranges import SIZE, IdRanges
from multios.errors import Conflict, Unavailable, Unsupported
from multios.model.container import Container, DriverIdentity, Status
from multios.model.container_document import parse
from multios.model.mount import IdMap
from multios.model.network import Endpoint, Network
from multios.model.volume import NamedVolume
from multios.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db")


def container(number: int = 1, name: str = "a") -> Container:
    config = parse(
        {
            "name": name,
            "image": "debian:12",
            "resources": {"memory_limit": "64M"},
            "networking": {"ports": [{"container": 80}]},
            "volumes": [{"volume": "v", "container": "/data"}],
            "rlimits": {"nofile": [10, 20]},
        }
    )
    return Container(
        id=f"{number:064x}",
        name=name,
        owner=0,
        config=config,
        image_id="0" * 64,
        drivers={"storage": DriverIdentity("storage", "overlay", "multios-storage-overlay", "0.1.0")},
        created=1.5,
        id_map=IdMap(65536),
    )


def endpoint(number: int, address: str) -> Endpoint:
    return Endpoint(f"e{number}", f"c{number}", "n", address, "10.0.0.1", "02:00:00:00:00:01")


def test_a_container_is_read_back_as_it_was_written(database: Database) -> None:
    row = container()
    database.save(row)
    assert database.all(Container) == [row]
    changed = replace(row, status=Status.EXITED, exit_code=3)
    database.save(changed)
    assert database.all(Container) == [changed]


def test_rows_survive_a_new_connection(database: Database, tmp_path: Path) -> None:
    database.save(container())
    assert Database(tmp_path / "state.db").all(Container) == [container()]


def test_a_name_is_given_once(database: Database) -> None:
    database.save(container(1))
    with pytest.raises(Conflict, match="'a' is in use"):
        database.save(container(2))
    database.delete(Container, container(1).id)
    database.save(container(2))


def test_an_address_is_given_once_and_again_after_it_was_freed(database: Database) -> None:
    database.add_endpoint(endpoint(1, "10.0.0.2/24"))
    with pytest.raises(Conflict):
        database.add_endpoint(endpoint(2, "10.0.0.2/24"))
    database.delete_endpoint("e1")
    database.add_endpoint(endpoint(2, "10.0.0.2/24"))
    assert database.endpoints(container_id="c2") == [endpoint(2, "10.0.0.2/24")]


def test_no_host_id_serves_two_containers(database: Database) -> None:
    ranges = IdRanges(database, first=SIZE, count=8)
    with ThreadPoolExecutor(8) as threads:
        starts = [found.start for found in threads.map(lambda n: ranges.take(f"c{n}"), range(8))]
    assert sorted(starts) == [SIZE * number for number in range(1, 9)]
    with pytest.raises(Unsupported):
        ranges.take("one-more")
    ranges.free("c3")
    assert ranges.take("one-more").start in starts


def test_ranges_of_containers_that_never_were_are_freed(database: Database) -> None:
    ranges = IdRanges(database, first=SIZE, count=2)
    ranges.take("kept")
    ranges.take("lost")
    ranges.keep_only({"kept"})
    ranges.take("new")
    assert database.id_range_holders() == {"kept", "new"}


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Unavailable, match="state.db"):
        Database(tmp_path / "state.db")


def test_a_transaction_that_fails_does_not_block_the_next(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database._transaction():
        raise ZeroDivisionError
    assert database.take_id_range("c", SIZE, SIZE, 1) == SIZE


def test_what_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    """A real file of schema 1: a container with a limit, a volume and a network of its own, by an engine of then."""
    path = tmp_path / "state.db"
    earlier = sqlite3.connect(path)
    earlier.executescript((Path(__file__).parent / "data/state-version-1.sql").read_text())
    earlier.close()
    for _ in range(2):  # and again, now that it is of this version
        database = Database(path)
        (old,) = database.all(Container)
        assert (old.name, old.config.resources.memory_limit) == ("old", 64 << 20)
        assert old.config.security.drop_capabilities == ("CHOWN",)
        assert old.config.security.explain == "on"
        assert [volume.name for volume in database.all(NamedVolume)] == ["homework"]
        assert {network.name for network in database.all(Network)} == {"default", "lab"}
        with pytest.raises(Conflict):
            database.save(replace(old, id="f" * 64))
        database.close()
