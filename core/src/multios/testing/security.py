"""The conformance suite of security drivers.

A driver's tests subclass :class:`SecurityDriverSuite` and name the driver class and the profiles that it knows::

    class TestSeccomp(SecurityDriverSuite):
        driver_type = SeccompSecurity
        profiles = ("default", "unconfined")
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.security import DEFAULT, UNCONFINED, SecurityDriver
from multios.errors import NotFound, Unsupported
from multios.model.health import HealthCheck
from multios.testing.base import DriverSuite


def make_spec(*capabilities: str) -> dict[str, Any]:
    """A drafted OCI runtime spec, as the engine gives it to a security driver."""
    sets = ("bounding", "permitted", "effective")
    return {
        "ociVersion": "1.2.0",
        "process": {
            "args": ["true"],
            "env": [],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {name: list(capabilities) for name in sets},
            "noNewPrivileges": True,
        },
        "mounts": [],
        "annotations": {"org.example": "kept"},
        "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["/proc/kcore"]},
    }


class SecurityDriverSuite(DriverSuite):
    """What every security driver must do."""

    driver_type: ClassVar[type[SecurityDriver]]
    profiles: ClassVar[tuple[str, ...]] = ("default",)

    @pytest.fixture
    def driver(self, tmp_path: Path) -> SecurityDriver:
        """The driver under test."""
        return self.driver_type(self.driver_type.Settings(), DriverContext(tmp_path, tmp_path))

    @pytest.fixture
    def apply(self, driver: SecurityDriver) -> Callable[[dict[str, Any], str], dict[str, Any]]:
        """The driver's verb; a profile that this host cannot enforce skips the test."""

        def call(spec: dict[str, Any], profile: str) -> dict[str, Any]:
            try:
                return driver.apply(spec, profile)
            except Unsupported as error:
                pytest.skip(f"not on this host: {error.cause}")

        return call

    def test_the_given_spec_is_not_changed(self, apply: Callable[..., dict[str, Any]]) -> None:
        spec = make_spec("CAP_CHOWN")
        before = copy.deepcopy(spec)
        for profile in self.profiles:
            apply(spec, profile)
        assert spec == before

    def test_what_others_wrote_is_kept(self, apply: Callable[..., dict[str, Any]]) -> None:
        for profile in self.profiles:
            made = apply(make_spec(), profile)
            assert made["annotations"]["org.example"] == "kept"
            assert made["process"]["args"] == ["true"]
            assert made["linux"]["namespaces"] == [{"type": "mount"}]
            assert "/proc/kcore" in made["linux"]["maskedPaths"]

    def test_the_spec_stays_json(self, apply: Callable[..., dict[str, Any]]) -> None:
        for profile in self.profiles:
            made = apply(make_spec("CAP_SYS_ADMIN"), profile)
            assert json.loads(json.dumps(made)) == made

    def test_applying_again_changes_nothing(self, apply: Callable[..., dict[str, Any]]) -> None:
        for profile in self.profiles:
            once = apply(make_spec(), profile)
            assert apply(once, profile) == once

    def test_an_unknown_profile_is_not_found(self, driver: SecurityDriver) -> None:
        with pytest.raises(NotFound) as caught:
            driver.apply(make_spec(), "no-such-profile")
        assert "no-such-profile" in caught.value.cause and caught.value.remedy

    def test_what_apply_takes_may_be_asked_for(
        self, driver: SecurityDriver, apply: Callable[..., Any]
    ) -> None:
        for profile in self.profiles:
            apply(make_spec(), profile)
            if profile not in (DEFAULT, UNCONFINED):
                driver.check(profile)

    def test_a_further_process_keeps_what_others_wrote(self, driver: SecurityDriver) -> None:
        process = make_spec()["process"]
        before = copy.deepcopy(process)
        for profile in self.profiles:
            made = driver.process(process, profile)
            assert process == before and made["args"] == ["true"] and made["noNewPrivileges"] is True
            assert json.loads(json.dumps(made)) == made

    def test_a_default_is_enforced_or_the_driver_says_why_not(self, driver: SecurityDriver) -> None:
        said = driver.unenforced()
        assert isinstance(said, str) and "\n" not in said
        if said:  # nobody asked for it, so it must not stop a start
            driver.apply(make_spec(), DEFAULT)

    def test_several_threads_may_call(self, apply: Callable[..., dict[str, Any]]) -> None:
        wanted = apply(make_spec(), self.profiles[0])
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: apply(make_spec(), self.profiles[0]), range(8)))
        assert all(answer == wanted for answer in answers)

    def test_health_checks_tell_and_never_raise(self) -> None:
        assert all(isinstance(check, HealthCheck) for check in self.driver_type.health_checks())
