"""The driver against the suite that third parties use, and what its profiles say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from multios.drivers.base import DriverContext
from multios.errors import InvalidInput, MultiosError
from multios.testing.security import SecurityDriverSuite, make_spec
from multios_security_seccomp import SeccompSecurity
from multios_security_seccomp.default_profile import section
from multios_security_seccomp.docker_format import read

DANGEROUS = [
    "acct",
    "add_key",
    "bpf",
    "delete_module",
    "finit_module",
    "fsmount",
    "init_module",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapon",
    "swapoff",
    "syslog",
    "umount2",
    "userfaultfd",
    "clock_settime",
]


class TestSeccompConformance(SecurityDriverSuite):
    driver_type = SeccompSecurity
    profiles = ("default", "strict", "unconfined", '{"defaultAction": "SCMP_ACT_ALLOW"}')


@pytest.fixture
def driver(tmp_path: Path) -> SeccompSecurity:
    return SeccompSecurity(SeccompSecurity.Settings(), DriverContext(tmp_path, tmp_path))


def allowed(rules: dict[str, Any]) -> set[str]:
    """The system calls that are allowed whatever their arguments."""
    return {
        name
        for rule in rules["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


def default(*capabilities: str, machine: str = "x86_64", release: str = "6.1.0") -> dict[str, Any]:
    return section(frozenset(capabilities), machine, release)


@pytest.mark.parametrize("name", DANGEROUS)
def test_without_capabilities_dangerous_calls_are_refused(name: str) -> None:
    refused = {
        one
        for rule in default()["syscalls"]
        if rule["action"] == "SCMP_ACT_ERRNO" and rule["errnoRet"] == 1 and not rule.get("args")
        for one in rule["names"]
    }
    assert name in refused and name not in allowed(default())


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "setns"),
        ("CAP_SYS_ADMIN", "unshare"),
        ("CAP_BPF", "bpf"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_CHROOT", "chroot"),
    ],
)
def test_a_capability_brings_its_calls_and_no_others(capability: str, name: str) -> None:
    assert name in allowed(default(capability))
    assert name not in allowed(default("CAP_CHOWN"))


def test_keyrings_io_uring_and_userfaultfd_are_refused_even_with_all_capabilities() -> None:
    everything = allowed(default("CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE", "CAP_SYS_MODULE"))
    assert not everything & {"keyctl", "add_key", "io_uring_setup", "userfaultfd"}


def test_tracing_needs_a_capability_on_kernels_before_4_8() -> None:
    assert "ptrace" in allowed(default(release="4.8.0"))
    assert "ptrace" not in allowed(default(release="4.4.0"))
    assert "ptrace" in allowed(default("CAP_SYS_PTRACE", release="4.4.0"))


def test_what_ordinary_programs_do_is_allowed() -> None:
    needed = "read write openat execve mmap futex clone3 socket connect fork wait4 epoll_wait getrandom prctl"
    missing = set(needed.split()) - allowed(default()) - {"clone3", "socket"}
    assert not missing


def test_no_name_is_both_allowed_and_refused_unconditionally() -> None:
    for capabilities in ((), ("CAP_SYS_ADMIN",)):
        rules = default(*capabilities)
        refused = {
            name
            for rule in rules["syscalls"]
            if rule["action"] != "SCMP_ACT_ALLOW" and not rule.get("args")
            for name in rule["names"]
        }
        assert not refused & allowed(rules)


def test_unconfined_removes_a_filter(driver: SeccompSecurity) -> None:
    confined = driver.apply(make_spec(), "")
    assert "seccomp" in confined["linux"]
    assert "seccomp" not in driver.apply(confined, "unconfined")["linux"]


def test_dockers_conditions() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arm_thing"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ],
    }
    plain = read(json.dumps(profile), frozenset(), "x86_64", "6.1")
    privileged = read(json.dumps(profile), frozenset({"CAP_SYS_ADMIN"}), "x86_64", "4.4")
    assert allowed(plain) == {"read", "clone", "ptrace"}
    assert allowed(privileged) == {"read", "mount"}
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "not JSON"),
        ("[]", "defaultAction"),
        ("{}", "defaultAction"),
        ('{"defaultAction": 5}', "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}', "'syscall'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}', "no action"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "read", "action": "A"}]}', "list"),
        ("{" + " " * 1_000_001 + "}", "longer"),
        ('{"a":' * 100_000, "not JSON"),
    ],
)
def test_a_malformed_profile_is_answered_with_what_is_wrong(text: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, frozenset(), "x86_64", "6.1")
    assert cause in caught.value.cause and "\n" not in caught.value.cause and caught.value.remedy


_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_CONDITION = _JSON | some.fixed_dictionaries(
    {}, optional=dict.fromkeys(("caps", "arches", "minKernel"), _JSON)
)
_RULE = some.fixed_dictionaries(
    {"names": some.just(["read"]) | _JSON, "action": some.just("SCMP_ACT_ALLOW") | _JSON},
    optional={"args": _JSON, "includes": _CONDITION, "excludes": _CONDITION, "errnoRet": _JSON},
)
_PROFILE = some.fixed_dictionaries(
    {"defaultAction": some.just("SCMP_ACT_ALLOW")},
    optional={
        "syscalls": some.lists(_RULE, max_size=3),
        "archMap": _JSON,
        "architectures": _JSON,
        "flags": _JSON,
    },
)


@given(_PROFILE)
def test_no_profile_makes_the_reader_fail_otherwise_than_with_an_error_for_its_author(profile: Any) -> None:
    try:
        read(json.dumps(profile), frozenset({"CAP_KILL"}), "x86_64", "6.1")
    except MultiosError:
        pass


def test_strict_forbids_tracing_whatever_the_container_holds(tmp_path: Path) -> None:
    driver = SeccompSecurity(SeccompSecurity.Settings(), DriverContext(tmp_path, tmp_path))
    for profile, is_allowed in (("default", True), ("strict", False)):
        rules = driver.apply(make_spec("CAP_SYS_PTRACE"), profile)["linux"]["seccomp"]["syscalls"]
        actions = {name: rule["action"] for rule in rules for name in rule["names"]}
        assert (actions["process_vm_readv"] == "SCMP_ACT_ALLOW") == is_allowed
        assert actions["read"] == actions["landlock_restrict_self"] == "SCMP_ACT_ALLOW"


def test_a_hook_that_changes_a_spec_in_place_changes_no_other_start(tmp_path: Path) -> None:
    driver = SeccompSecurity(SeccompSecurity.Settings(), DriverContext(tmp_path, tmp_path))
    own = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {
                    "names": ["kill"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}],
                }
            ],
        }
    )
    for profile in ("default", own):
        first = driver.apply(make_spec(), profile)["linux"]["seccomp"]
        before = json.dumps(first)
        first["syscalls"][0]["names"].clear()
        first["syscalls"][0].get("args", [{}])[0]["value"] = 0
        first["syscalls"].clear()
        assert json.dumps(driver.apply(make_spec(), profile)["linux"]["seccomp"]) == before
