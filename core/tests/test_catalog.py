"""Which plugins are found, which are imported, and what is said of those that cannot be."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multios.drivers.base import DriverContext
from multios.errors import InvalidInput, MultiosError, NotFound, PluginError
from multios.model.container import DriverIdentity
from multios.plugins import discovery
from multios.plugins.catalog import Catalog
from multios.settings import Settings, load

GOOD = """
from dataclasses import dataclass
from multios.model.health import Health, HealthCheck
from multios.testing.fakes import FakeSecurity

@dataclass(frozen=True, slots=True)
class Settings:
    level: int = 1
    words: tuple[str, ...] = ()

class Good(FakeSecurity):
    name = "good"
    summary = "a good one"
    Settings = Settings

    def __init__(self, settings, context):
        if settings.level > 5:
            raise RuntimeError("too high")
        self.settings, self.context = settings, context

    @classmethod
    def health_checks(cls):
        return (HealthCheck("good", Health.OK, "fine"),)
"""


def test_what_was_installed_editable_meanwhile_can_be_imported_and_no_code_beside_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site-packages")])
    for folder in ("site-packages", "elsewhere/src"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "elsewhere/src/multios_meanwhile.py").write_text("")
    lines = ["# a comment", "", "import os; os.environ['MULTIOS_RAN'] = '1'", "../elsewhere/src", "nowhere"]
    (tmp_path / "site-packages/one.pth").write_text("\n".join(lines))
    (tmp_path / "site-packages/two.pth").write_bytes(b"\xff\xfe")
    before = list(sys.path)
    catalog = Catalog()
    for _ in range(2):
        catalog.rescan()
    assert sys.path[len(before) :] == [str(tmp_path / "elsewhere/src")]
    assert importlib.util.find_spec("multios_meanwhile") and "MULTIOS_RAN" not in os.environ


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a distribution with one module and its entry points where Python finds it, without pip."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def put(
        distribution: str, module: str, source: str, entries: dict[str, str], version: str = "1.0"
    ) -> None:
        information = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        groups = "".join(f"[{group}]\n{line}\n" for group, line in entries.items())
        (information / "entry_points.txt").write_text(groups)
        (tmp_path / f"{module}.py").write_text(source)
        modules.append(module)

    yield put
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def context(tmp_path: Path) -> DriverContext:
    return DriverContext(tmp_path, tmp_path)


def row(name: str, kind: str = "security") -> dict[str, Any]:
    (found,) = [item for item in Catalog().rows(kind) if item["name"] == name]
    return found


def test_an_installed_driver_is_listed_loaded_and_made(
    install: Callable[..., None], context: DriverContext
) -> None:
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    assert row("good") == {
        "kind": "security",
        "name": "good",
        "distribution": "multios-security-good",
        "version": "1.0",
        "status": "ready",
        "summary": "a good one",
        "capabilities": [],
        "error": "",
    }
    catalog = Catalog()
    assert catalog.identity("security", "good") == DriverIdentity(
        "security", "good", "multios-security-good", "1.0"
    )
    driver = catalog.create("security", "good", {"level": 3, "words": ["a"]}, context)
    assert driver.settings.level == 3
    assert driver.settings.words == ("a",)
    assert catalog.create("security", "good", {"level": "4", "words": "a,b"}, context).settings.words == (
        "a",
        "b",
    )


def test_a_catalog_can_be_made_while_a_distribution_is_being_installed(
    install: Callable[..., None], tmp_path: Path
) -> None:
    entries = {"multios.security.v1": "good = good_module:Good"}
    install("multios-security-good", "good_module", GOOD, entries)
    install("multios-security-half", "good_module", GOOD, entries)
    (tmp_path / "multios_security_half-1.0.dist-info/METADATA").unlink()  # as between two files of an upgrade
    assert "good" in Catalog().names("security")


def test_making_a_catalog_imports_no_plugin(install: Callable[..., None]) -> None:
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    assert "good" in Catalog().names("security")
    assert "good_module" not in sys.modules


def test_loading_one_imports_no_other(install: Callable[..., None]) -> None:
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    install(
        "multios-security-exit",
        "exit_module",
        "raise SystemExit(3)",
        {"multios.security.v1": "exit = exit_module:X"},
    )
    Catalog().load("security", "good")
    assert "exit_module" not in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("assert False, 'no'", "AssertionError: no"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("def f(:", "SyntaxError"),
        ("", "AttributeError"),
        ("Broken = 5", "5 is no class"),
        ("class Broken: pass", "Broken is no subclass of multios.drivers.security.SecurityDriver"),
        (
            "from multios.drivers.security import SecurityDriver\nclass Broken(SecurityDriver):\n name = 'broken'",
            "apply() is missing; the contract says apply(spec: 'dict[str, Any]', profile: 'str')",
        ),
        (
            "from multios.testing.fakes import FakeSecurity\nclass Broken(FakeSecurity):\n name = 'broken'\n"
            " def apply(self, spec): ...",
            "apply(spec) lacks the argument 'profile'; the contract says",
        ),
        (
            "from multios.testing.fakes import FakeSecurity\nclass Broken(FakeSecurity):\n name = 'broken'\n"
            " def apply(self, profile, spec): ...",
            "apply(profile, spec) has the argument 'spec' in another place",
        ),
        (
            "from multios.testing.fakes import FakeSecurity\nclass Broken(FakeSecurity):\n name = 'broken'\n"
            " def apply(self, spec, profile, more): ...",
            "asks for 'more', which nobody gives",
        ),
        (
            "from multios.testing.fakes import FakeSecurity as Broken",
            "its class says name = 'fake', its entry point 'broken'",
        ),
        (
            "from multios.testing.fakes import FakeSecurity\nclass Broken(FakeSecurity):\n name = 'broken'\n Settings = dict",
            "Settings is no dataclass",
        ),
        (
            "from multios.testing.fakes import FakeSecurity\nclass Broken(FakeSecurity):\n name = 'broken'\n"
            " capabilities = frozenset({'fly'})",
            "'fly' among its capabilities",
        ),
    ],
)
def test_a_broken_one_is_listed_with_its_reason_and_distribution(
    install: Callable[..., None], source: str, reason: str
) -> None:
    install(
        "multios-security-broken",
        "broken_module",
        source,
        {"multios.security.v1": "broken = broken_module:Broken"},
    )
    found = row("broken")
    assert found["status"] == "broken"
    assert reason in found["error"]
    assert "\n" not in found["error"]
    with pytest.raises(PluginError) as caught:
        Catalog().load("security", "broken")
    assert "multios-security-broken 1.0" in caught.value.cause
    assert caught.value.remedy


def test_an_argument_with_a_default_may_be_added(install: Callable[..., None]) -> None:
    source = GOOD + "\n    def apply(self, spec, profile, extra=None):\n        return dict(spec)\n"
    install(
        "multios-security-good", "good_module", source, {"multios.security.v1": "good = good_module:Good"}
    )
    assert row("good")["status"] == "ready"


def test_one_for_another_contract_version_is_listed_and_never_imported(install: Callable[..., None]) -> None:
    install(
        "multios-security-next",
        "next_module",
        "raise SystemExit",
        {"multios.security.v2": "next = next_module:X"},
    )
    found = row("next")
    assert found["status"] == "incompatible"
    assert "v2" in found["error"] and "v1" in found["error"]
    with pytest.raises(PluginError, match="multios-security-next"):
        Catalog().load("security", "next")
    assert "next_module" not in sys.modules


def test_a_distribution_that_serves_both_versions_counts_by_the_one_that_fits(
    install: Callable[..., None],
) -> None:
    entries = {
        "multios.security.v1": "good = good_module:Good",
        "multios.security.v2": "good = good_module:Better",
    }
    install("multios-security-good", "good_module", GOOD, entries)
    assert row("good")["status"] == "ready"


def test_two_distributions_with_one_name_are_a_conflict_that_names_both(install: Callable[..., None]) -> None:
    install("multios-security-one", "one_module", GOOD, {"multios.security.v1": "good = one_module:Good"})
    install(
        "multios-security-two", "two_module", GOOD, {"multios.security.v1": "good = two_module:Good"}, "2.0"
    )
    rows = [item for item in Catalog().rows("security") if item["name"] == "good"]
    assert [item["status"] for item in rows] == ["conflict", "conflict"]
    for item in rows:
        assert "multios-security-one 1.0 and multios-security-two 2.0" in item["error"]
    with pytest.raises(PluginError, match="multios-security-one 1.0 and multios-security-two 2.0"):
        Catalog().load("security", "good")
    assert "one_module" not in sys.modules and "two_module" not in sys.modules


def test_an_unknown_driver_is_answered_with_the_valid_ones_and_what_would_bring_it() -> None:
    with pytest.raises(NotFound) as caught:
        Catalog().load("network", "sriov_x")
    assert caught.value.cause == "no such network driver: 'sriov_x'"
    assert "fake" in caught.value.remedy and "noop" in caught.value.remedy
    assert "pip install multios-net-sriov-x" in caught.value.remedy
    with pytest.raises(NotFound) as caught:
        Catalog().load("network", "nop")
    assert "did you mean 'noop'?" in caught.value.remedy
    with pytest.raises(NotFound) as caught:
        Catalog().load("network", "x; rm -rf /")
    assert "pip" not in caught.value.remedy


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    for call in (lambda: Catalog().rows("netwrk"), lambda: Catalog().load("netwrk", "fake")):
        with pytest.raises(NotFound) as caught:
            call()
        assert "'network'" in caught.value.remedy


def test_a_recorded_driver_that_was_uninstalled_says_what_to_install() -> None:
    recorded = DriverIdentity("storage", "gone", "multios-storage-gone", "0.3.1")
    with pytest.raises(PluginError) as caught:
        Catalog().load("storage", "gone", recorded)
    assert "multios-storage-gone 0.3.1" in caught.value.cause
    assert caught.value.remedy == "python3 -m pip install multios-storage-gone==0.3.1"


def test_what_is_installed_later_is_seen_and_what_is_uninstalled_is_not(
    install: Callable[..., None], tmp_path: Path
) -> None:
    catalog = Catalog()
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    assert catalog.load("security", "good").distribution == "multios-security-good"
    assert "good" in [item["name"] for item in catalog.rows("security")]
    (tmp_path / "multios_security_good-1.0.dist-info/entry_points.txt").unlink()
    os.utime(tmp_path)
    assert "good" not in [item["name"] for item in catalog.rows("security")]


def test_settings_are_checked_and_named(install: Callable[..., None], context: DriverContext) -> None:
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    catalog = Catalog()
    with pytest.raises(InvalidInput) as caught:
        catalog.create("security", "good", {"levl": 1}, context)
    assert caught.value.cause == "security.good.levl: no such setting"
    assert "'level'" in caught.value.remedy
    with pytest.raises(InvalidInput, match="security.good.level: 'high' is not valid"):
        catalog.create("security", "good", {"level": "high"}, context)
    with pytest.raises(PluginError, match="multios-security-good 1.0 cannot be made: RuntimeError: too high"):
        catalog.create("security", "good", {"level": 9}, context)


def test_one_plugin_is_shown_with_settings_and_health(install: Callable[..., None], tmp_path: Path) -> None:
    install("multios-security-good", "good_module", GOOD, {"multios.security.v1": "good = good_module:Good"})
    file = tmp_path / "conf"
    file.write_text('[defaults]\nsecurity = "good"\n[security.good]\nlevel = 4\n')
    shown = Catalog(load(file, {})).show("good")
    assert shown["status"] == "default"
    level, words = shown["settings"]
    assert level == {"name": "level", "type": "whole number", "default": 1, "value": 4}
    assert words["type"] == "list of text"
    assert shown["health"] == [{"subject": "good", "health": "ok", "detail": "fine", "remedy": ""}]
    with pytest.raises(NotFound) as caught:
        Catalog().show("god")
    assert "'good'" in caught.value.remedy
    with pytest.raises(InvalidInput, match="several plugins"):
        Catalog().show("fake")


def test_health_checks_that_raise_are_a_finding(install: Callable[..., None]) -> None:
    source = GOOD.replace('return (HealthCheck("good", Health.OK, "fine"),)', "raise SystemExit(1)")
    install(
        "multios-security-good", "good_module", source, {"multios.security.v1": "good = good_module:Good"}
    )
    (finding,) = Catalog().show("good")["health"]
    assert finding["health"] == "fail"
    assert "SystemExit" in finding["detail"] and "multios-security-good" in finding["remedy"]


def test_stand_ins_of_every_kind_are_installed_like_any_plugin() -> None:
    rows = Catalog().rows()
    for kind in discovery.KINDS:
        names = [
            item["name"] for item in rows if item["kind"] == kind and item["distribution"] == "multios-core"
        ]
        assert names == ["fake", "noop"]


def test_every_error_is_one_line(install: Callable[..., None]) -> None:
    install(
        "multios-security-bad",
        "bad_module",
        "raise ValueError('a\\n' * 999)",
        {"multios.security.v1": "bad = bad_module:X"},
    )
    with pytest.raises(MultiosError) as caught:
        Catalog().load("security", "bad")
    assert "\n" not in caught.value.cause + caught.value.remedy
    assert len(caught.value.cause) < 500


def test_no_cache_of_stevedore_is_written(tmp_path: Path) -> None:
    code = "from multios.plugins.catalog import Catalog; c = Catalog(); c.rows(); c.load('storage', 'fake')"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True, timeout=60)
    assert not list(tmp_path.rglob("*"))


def test_only_the_catalog_imports_stevedore() -> None:
    package = Path(discovery.__file__).parents[1]
    importers = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if any(
            line.strip().startswith(("import stevedore", "from stevedore"))
            for line in file.read_text().splitlines()
        )
    ]
    assert importers == ["plugins/catalog.py"]


def test_the_default_of_each_kind_is_marked() -> None:
    settings = Settings()
    for item in Catalog(settings).rows():
        is_default = item["name"] in settings.default_drivers(item["kind"])
        assert (item["status"] == "default") == is_default
