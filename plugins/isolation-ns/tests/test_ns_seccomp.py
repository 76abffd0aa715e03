"""Filters as the kernel enforces them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from multios.errors import InvalidInput, Unsupported
from multios.testing.isolation_box import Box, IsolationFixtures
from multios_isolation_ns import seccomp
from multios_isolation_ns.driver import NamespaceIsolation

ALLOW = {"defaultAction": "SCMP_ACT_ALLOW"}


def errno_rule(name: str, number: int, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": list(arguments)}


def test_a_program_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = {**ALLOW, "syscalls": [errno_rule("mount", 1)]}
    first = seccomp.program_file(section, tmp_path)
    monkeypatch.setattr(seccomp, "compile_program", lambda _: pytest.fail("compiled again"))
    assert seccomp.program_file(section, tmp_path) == first
    assert len(Path(first).read_bytes()) % 8 == 0


def test_containers_that_start_at_once_have_it_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {**ALLOW, "syscalls": [errno_rule("mount", 2)]}
    built, compile_program = [], seccomp.compile_program

    def slowly(section: Mapping[str, Any]) -> bytes:
        built.append(section)
        time.sleep(0.05)
        return compile_program(section)

    monkeypatch.setattr(seccomp, "compile_program", slowly)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: seccomp.program_file(section, tmp_path), range(8)))
    assert len(paths) == len(built) == 1


def test_names_that_this_machine_does_not_know_are_skipped() -> None:
    rules = [errno_rule("no_such_call", 1), errno_rule("mount", 1)]
    known = seccomp.compile_program({**ALLOW, "syscalls": rules[1:]})
    assert seccomp.compile_program({**ALLOW, "syscalls": rules}) == known


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [errno_rule("mount", 1, {"index": 9, "op": "x", "value": 1})],
        },
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"] * 10_001, "action": "SCMP_ACT_ERRNO"}],
        },
    ],
)
def test_a_malformed_section_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        seccomp.compile_program(section)


@pytest.mark.parametrize("change", [{"listenerPath": "/run/x"}, {"defaultAction": "SCMP_ACT_NOTIFY"}])
def test_what_cannot_be_installed_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        seccomp.compile_program({**ALLOW, **change})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(Unsupported):
        seccomp.installation_flags({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]})


@pytest.mark.needs_root
class TestFilters(IsolationFixtures):
    driver_type = NamespaceIsolation

    @pytest.mark.parametrize("no_new_privileges", [True, False])
    def test_a_rule_holds(self, box: Box, no_new_privileges: bool) -> None:
        box.process["noNewPrivileges"] = no_new_privileges
        box.spec["linux"]["seccomp"] = {**ALLOW, "syscalls": [errno_rule("sethostname", 28)]}
        assert "No space left" in box.shell("hostname other").output

    def test_a_rule_about_an_argument_holds(self, box: Box) -> None:
        ten = {"index": 1, "op": "SCMP_CMP_EQ", "value": 10}
        box.spec["linux"]["seccomp"] = {**ALLOW, "syscalls": [errno_rule("kill", 28, ten)]}
        assert box.shell("kill -10 $$; kill -0 $$ && echo zero").lines[-1] == "zero"
        assert "No space left" in box.output

    def test_the_default_profile_lets_programs_work_and_no_namespace_be_made(self, box: Box) -> None:
        profile = self._default("CAP_CHOWN")
        box.spec["linux"]["seccomp"] = profile
        script = "busybox unshare -m true; busybox unshare -r true; busybox mount -t tmpfs x /tmp; ls / | busybox sort"
        result = box.shell(script)
        assert result.output.count("not permitted") + result.output.count("denied") == 3
        assert "bin" in result.lines and result.exit_code == 0

    def test_with_the_capability_the_default_profile_lets_mounts_be_made(self, box: Box) -> None:
        for name in ("bounding", "permitted", "effective"):
            box.process["capabilities"][name].append("CAP_SYS_ADMIN")
        box.spec["linux"]["seccomp"] = self._default("CAP_SYS_ADMIN")
        assert (
            box.shell("busybox mount -t tmpfs x /tmp && busybox unshare -m true && echo made").output
            == "made\n"
        )

    @staticmethod
    def _default(*capabilities: str) -> dict[str, Any]:
        """The profile of the plugin that a user most likely has with this one."""
        pytest.importorskip("multios_security_seccomp")
        module = importlib.import_module("multios_security_seccomp.default_profile")
        section: dict[str, Any] = module.section(frozenset(capabilities), "x86_64", "6.1.0")
        return section
