"""The build cache: found by key, bounded, and a keeper of what it found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.build import cache as cache_module
from multios.build.cache import BuildCache, CachedStep, key_of
from multios.model.image import Descriptor
from multios.store.manifest import Layer


def layer(number: int, size: int = 10) -> Layer:
    digest = f"sha256:{number:064x}"
    return Layer(Descriptor("tar", digest, size), f"sha256:{number + 1000:064x}")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[BuildCache]:
    made = BuildCache(tmp_path / "cache.db")
    yield made
    made.close()


def test_a_step_is_found_by_its_key_and_by_no_other(cache: BuildCache) -> None:
    cache.remember("key", CachedStep(layer(1), 12.5), ["one"])
    cache.remember("config", CachedStep(None, 7.0), [])
    assert cache.find("key") == CachedStep(layer(1), 12.5)
    assert cache.find("config") == CachedStep(None, 7.0)
    assert cache.find("other") is None
    cache.forget("key")
    assert cache.find("key") is None


def test_keys_differ_where_anything_does() -> None:
    keys = {key_of("a", "b"), key_of("ab"), key_of("a", ["b"]), key_of(["a", "b"]), key_of("a", "b", None)}
    assert len(keys) == 5
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})


def test_it_keeps_blobs_and_every_chain_below_a_step(cache: BuildCache) -> None:
    cache.remember("second", CachedStep(layer(2), 0), ["base", "one", "two"])
    assert set(cache.kept_digests()) == {layer(2).blob.digest}
    assert set(cache.kept_chains()) == {"base", "one", "two"}
    assert cache.empty() == 1
    assert not list(cache.kept_chains()) and not list(cache.kept_digests())


def test_what_was_used_least_lately_goes_first(cache: BuildCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MOST_STEPS", 2)
    for number in (1, 2):
        cache.remember(str(number), CachedStep(layer(number), 0), [f"chain-{number}"])
    cache.find("1")
    cache.remember("3", CachedStep(layer(3), 0), ["chain-3"])
    assert cache.find("2") is None
    assert set(cache.kept_chains()) == {"chain-1", "chain-3"}
    monkeypatch.setattr(cache_module, "LARGEST_LAYERS", 100)
    cache.remember("4", CachedStep(layer(4, 95), 0), ["chain-4"])
    assert set(cache.kept_chains()) == {"chain-4"}


def test_notes_are_kept_and_bounded(cache: BuildCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MOST_STEPS", 2)
    for name in "abc":
        cache.write_note(name, name * 2)
    assert [cache.note(name) for name in "abc"] == ["", "bb", "cc"]


def test_it_outlives_its_process_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    first = BuildCache(path)
    first.remember("key", CachedStep(layer(1), 1), ["one"])
    first.close()
    second = BuildCache(path)
    assert second.find("key") is not None
    second.close()
    path.write_bytes(b"no database" * 500)
    third = BuildCache(path)
    assert third.find("key") is None
    third.remember("key", CachedStep(layer(1), 1), ["one"])
    third.close()
