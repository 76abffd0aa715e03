"""The default profile, how it is compiled and loaded, and which name comes into the spec; on a kernel of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.errors import NotFound, Unsupported
from multios.testing.security import SecurityDriverSuite, make_spec
from multios_security_apparmor import DEFAULT_PROFILE, AppArmorSecurity, default_profile, loading
from multios_security_apparmor.host import Host

FEATURES = "/etc/apparmor.d/abi/3.0"
"""What a kernel mediates, as the package apparmor has it; so a policy compiles without that kernel."""
COMPILER = Host().parser()
needs_compiler = pytest.mark.skipif(not COMPILER, reason="this host has no apparmor_parser")
needs_kernel = pytest.mark.skipif(bool(Host().absence()), reason="this kernel lacks AppArmor")


class TestAppArmor(SecurityDriverSuite):
    driver_type = AppArmorSecurity
    profiles = ("default", "unconfined")

    def test_an_unknown_profile_is_not_found(self, driver: AppArmorSecurity) -> None:  # type: ignore[override]
        """Where there is no AppArmor, the kernel is what is missing."""
        with pytest.raises((NotFound, Unsupported)) as caught:
            driver.apply(make_spec(), "no-such-profile")
        assert "no-such-profile" in caught.value.cause and caught.value.remedy


class Kernel:
    """securityfs and the module's parameter, as files."""

    def __init__(self, directory: Path, enabled: str = "Y\n") -> None:
        self.files = directory / "apparmor"
        (self.files / "features/domain").mkdir(parents=True)
        (self.files / "features/domain/version").write_text("1.2\n")
        (self.files / "profiles").write_text("course (enforce)\nname with (parens) (complain)\n")
        (self.files / ".replace").touch()
        self.parameter = directory / "enabled"
        self.parameter.write_text(enabled)

    def host(self) -> Host:
        return Host(self.files, self.parameter)


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel that takes any policy, and a compiler that counts."""
    kernel = Kernel(tmp_path)
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(loading, "compile_text", lambda parser, source, *options: source.encode())
    monkeypatch.setattr(Host, "parser", lambda self: "/sbin/apparmor_parser")
    return kernel


def made(kernel: Kernel, tmp_path: Path) -> AppArmorSecurity:
    context = DriverContext(tmp_path / "state", tmp_path / "state")
    return AppArmorSecurity(AppArmorSecurity.Settings(), context, kernel.host())


@needs_compiler
def test_the_default_profile_compiles_for_a_kernel_that_mediates_all() -> None:
    policy = loading.compile_text(
        COMPILER, default_profile.text(DEFAULT_PROFILE, False), f"--features-file={FEATURES}"
    )
    assert DEFAULT_PROFILE.encode() in policy


@needs_compiler
def test_what_the_compiler_refuses_is_told_in_its_words() -> None:
    with pytest.raises(loading.CompileError, match="syntax error"):
        loading.compile_text(COMPILER, "profile x { no such rule }")


def test_the_default_profile_is_loaded_when_the_driver_is_made_and_named_in_the_spec(
    simulated: Kernel, tmp_path: Path
) -> None:
    driver = made(simulated, tmp_path)
    assert b"profile multios-default" in (simulated.files / ".replace").read_bytes()
    assert driver.apply(make_spec(), "default")["process"]["apparmorProfile"] == DEFAULT_PROFILE
    assert driver.unenforced() == ""


def test_a_policy_is_compiled_once_for_a_kernel_and_again_for_another(
    simulated: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(simulated, tmp_path)
    compiled: list[str] = []
    monkeypatch.setattr(loading, "compile_text", lambda *words: compiled.append("x") or b"policy")
    made(simulated, tmp_path)
    assert compiled == []
    (simulated.files / "features/domain/version").write_text("1.3\n")
    made(simulated, tmp_path)
    assert compiled == ["x"]


def test_a_compiler_that_knows_no_message_queues_is_given_a_profile_without(
    simulated: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (simulated.files / "features/ipc").mkdir()
    (simulated.files / "features/ipc/posix_mqueue").write_text("create read\n")

    def older(parser: str, source: str) -> bytes:
        if "mqueue" in source:
            raise loading.CompileError("syntax error")
        return source.encode()

    monkeypatch.setattr(loading, "compile_text", older)
    assert made(simulated, tmp_path).unenforced() == ""


def test_a_default_that_cannot_be_loaded_is_left_out_and_told(
    simulated: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Host, "parser", lambda self: "")
    driver = made(simulated, tmp_path)
    assert "apparmorProfile" not in driver.apply(make_spec(), "default")["process"]
    assert "apparmor_parser" in driver.unenforced()


def test_a_loaded_profile_may_be_named_and_another_one_not(simulated: Kernel, tmp_path: Path) -> None:
    driver = made(simulated, tmp_path)
    assert driver.apply(make_spec(), "course")["process"]["apparmorProfile"] == "course"
    driver.check("name with (parens)")
    with pytest.raises(NotFound) as caught:
        driver.check("cours")
    assert "'course'" in caught.value.remedy


@pytest.mark.parametrize("enabled", ["N\n", None])
def test_without_apparmor_the_default_does_nothing_and_a_named_profile_is_refused(
    tmp_path: Path, enabled: str | None
) -> None:
    kernel = Kernel(tmp_path, enabled or "")
    (tmp_path / "state").mkdir()
    if enabled is None:
        kernel.parameter.unlink()
    driver = made(kernel, tmp_path)
    assert driver.apply(make_spec(), "default") == make_spec()
    assert "AppArmor" in driver.unenforced()
    with pytest.raises(Unsupported):
        driver.check("course")


@needs_kernel
@needs_compiler
def test_the_kernel_takes_the_profile(tmp_path: Path) -> None:
    driver = AppArmorSecurity(AppArmorSecurity.Settings(), DriverContext(tmp_path, tmp_path))
    assert driver.unenforced() == ""
    assert Host().profiles()[DEFAULT_PROFILE] == "enforce"
