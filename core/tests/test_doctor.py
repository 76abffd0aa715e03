"""What doctor and the probes say of a host."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import open_descriptors
import pytest

from multios import doctor, features
from multios.cgroups.hierarchy import Hierarchy
from multios.errors import PluginError
from multios.hookspecs import hookimpl
from multios.model.health import Health, HealthCheck
from multios.model.json import to_json
from multios.plugins.catalog import Catalog
from multios.plugins.hooks import Hooks
from multios.settings import IdRanges, Settings, load


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Everything in a directory of the test's own, with core's stand-ins as defaults."""
    file = tmp_path / "conf"
    names = "\n".join(f'{kind} = "fake"' for kind in ("isolation", "storage", "network", "security"))
    parent = f"multios-test-doctor-{os.getpid()}"
    file.write_text(
        f'[daemon]\ndata_root = "{tmp_path}/data"\nexec_root = "{tmp_path}/run"\ncgroup_parent = "{parent}"\n'
        f"[defaults]\n{names}\n"
    )
    for name in ("data", "run"):
        (tmp_path / name).mkdir(mode=0o755)
    return load(file, {})


def by_subject(checks: Iterable[HealthCheck]) -> dict[str, HealthCheck]:
    return {check.subject: check for check in checks}


def test_probes_are_quick_repeatable_and_leave_nothing() -> None:
    def state() -> tuple[str, list[str]]:
        return (
            Path("/proc/self/mountinfo").read_text(),
            os.listdir("/sys/class/net"),
        )

    before, opened, seconds = state(), open_descriptors.number(), []
    for _ in range(5):  # the quickest counts: on a busy machine others take their turns too
        features._probed.cache_clear()
        begun = time.monotonic()
        found = features.probe()
        seconds.append(time.monotonic() - begun)
    assert min(seconds) < 0.5
    assert state() == before
    open_descriptors.assert_no_more_than(opened)
    assert found == features.probe()
    assert set(found) == set(features.FEATURES)
    assert all(isinstance(present, bool) for present in found.values())
    assert all(features.cost(name) for name in found)


def test_probes_agree_with_the_kernel() -> None:
    found = features.probe()
    assert found["time_namespace"] == os.path.exists("/proc/self/ns/time")
    assert found["pidfd"] == (features.kernel_version() >= (5, 3))
    assert found["idmapped_mounts"] == (features.kernel_version() >= (5, 12))


def test_a_skip_does_not_colour_the_exit_status() -> None:
    def findings(*healths: Health) -> list[doctor.Finding]:
        return [doctor.Finding("x", health, "y") for health in healths]

    assert doctor.worst(findings(Health.OK, Health.SKIP)) == Health.OK
    assert doctor.worst(findings(Health.OK, Health.WARN, Health.SKIP)) == Health.WARN
    assert doctor.worst(findings(Health.WARN, Health.FAIL)) == Health.FAIL


def test_everything_together_is_plain_data_with_a_source(settings: Settings) -> None:
    findings = doctor.run(settings, Catalog(settings), Hooks(), {"containers": set()})
    for row in to_json(findings):
        assert set(row) == {"subject", "health", "detail", "remedy", "source"}
        assert row["detail"] and "\n" not in row["detail"]
    found = {finding.subject: finding for finding in findings}
    assert found["default storage"].health == Health.OK
    assert found["leftovers"].health == Health.OK
    assert found["data_root"].health in (Health.OK, Health.WARN)


def test_plugins_have_their_say_each_in_its_own_guard(settings: Settings) -> None:
    class Good:
        @hookimpl
        def multios_health_checks(self) -> list[HealthCheck]:
            return [HealthCheck("mine", Health.WARN, "so so")]

    class Bad:
        @hookimpl
        def multios_health_checks(self) -> list[HealthCheck]:
            raise SystemExit(1)

    hooks = Hooks()
    hooks.register(Bad(), "bad", "multios-bad 1.0")
    hooks.register(Good(), "good", "multios-good 1.0")
    hooks.refused.append(PluginError("hooks plugin 'x' of multios-x is broken", "reinstall it"))
    findings = doctor.run(settings, Catalog(settings), hooks, {})
    told = {finding.source: finding for finding in findings}
    assert told["good (multios-good 1.0)"].detail == "so so"
    assert told["bad (multios-bad 1.0)"].health == Health.FAIL
    assert any(
        "multios-x is broken" in finding.detail and finding.health == Health.FAIL for finding in findings
    )


def test_a_default_that_is_not_installed_says_what_to_install(settings: Settings) -> None:
    bad = load(None, {"MULTIOS_STORAGE": "nowhere"})
    check = by_subject(doctor.default_driver_checks(bad, Catalog(bad)))["default storage"]
    assert check.health == Health.FAIL
    assert "pip install multios-storage-nowhere" in check.remedy


def test_a_root_that_others_may_write_is_a_failure(settings: Settings) -> None:
    settings.data_root.chmod(0o777)
    check = by_subject(doctor.directory_checks(settings))["data_root"]
    assert check.health == Health.FAIL
    assert "0777" in check.detail and "chmod go-w" in check.remedy


def test_a_root_that_is_not_there_yet_is_skipped(settings: Settings) -> None:
    settings.exec_root.rmdir()
    assert by_subject(doctor.directory_checks(settings))["exec_root"].health == Health.SKIP


def test_an_id_range_that_is_somebodys_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subuid = tmp_path / "subuid"
    subuid.write_text("# comment\nada:100000:65536\nbroken:x:y\nmultios:1879048192:65536\n")
    monkeypatch.setattr(doctor, "SUBORDINATE_FILES", (subuid,))
    clash = replace(Settings(), id_ranges=IdRanges(start=65536, count=65536))
    (check,) = doctor.id_range_checks(clash)
    assert check.health == Health.WARN and "ada" in check.detail
    (check,) = doctor.id_range_checks(Settings())
    assert check.health == Health.OK


def test_what_belongs_to_no_container_is_left_over(settings: Settings) -> None:
    for name in ("known", "forgotten"):
        (settings.data_root / "containers" / name).mkdir(parents=True)
    known = {"containers": {"known"}, "held_snapshots": {"known", "orphan", "build"}, "snapshots": {"build"}}
    checks = by_subject(doctor.leftover_checks(settings, known))
    assert checks["leftover directories"].detail == "of no container: forgotten"
    assert checks["leftover snapshots"].detail == "of no container: orphan"
    assert set(checks) == {"leftover directories", "leftover snapshots"}


@pytest.mark.needs_root
def test_an_empty_cgroup_of_no_container_is_left_over(settings: Settings) -> None:
    cgroups = Hierarchy.find(settings.daemon.cgroup_parent)
    cgroups.create("orphan")
    try:
        checks = by_subject(doctor.leftover_checks(settings, {"containers": set()}))
        assert checks["leftover cgroups"].detail == "of no container: orphan"
        assert "leftover cgroups" not in by_subject(doctor.leftover_checks(settings, {"cgroups": {"orphan"}}))
    finally:
        cgroups.remove("orphan")
        cgroups.dissolve()
