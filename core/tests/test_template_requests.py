"""What containers get of what their templates ask for: as the policy, the caller and the template's origin allow."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from multios.engine import template_requests
from multios.engine.caller import Caller
from multios.errors import InvalidInput, Refused
from multios.model.container import ContainerConfig, Device, Networking, Resources, Security
from multios.model.network import PortMapping
from multios.model.template import SERVICES_PROGRAM, TemplatePlan
from multios.settings import SecuritySettings, Settings, TemplatesSettings

ROOT, ALICE = Caller(os.geteuid(), 0), Caller(54321, 54321)
PLAN = TemplatePlan("net-lab", "1", "d", "debian:12", capabilities=("NET_RAW", "NET_ADMIN"))
CONFIG = ContainerConfig("c", template="net-lab")


def granted(
    plan: TemplatePlan = PLAN,
    caller: Caller = ALICE,
    config: ContainerConfig = CONFIG,
    is_own: bool = False,
    **policy: Any,
) -> ContainerConfig:
    settings = replace(Settings(), templates=TemplatesSettings(**policy))
    return template_requests.granted(config, plan, caller, settings, is_own)


def test_an_installed_template_gives_users_what_the_policy_names() -> None:
    assert granted().security.capabilities == ("NET_RAW", "NET_ADMIN")
    with pytest.raises(Refused) as caught:
        granted(allowed_capabilities=("NET_RAW",))
    assert "capability NET_ADMIN" in caught.value.cause
    assert 'add "NET_ADMIN" to allowed_capabilities of [templates]' in caught.value.remedy
    assert granted(caller=ROOT, allowed_capabilities=()).security.capabilities == ("NET_RAW", "NET_ADMIN")


@pytest.mark.parametrize("name", ["SYS_ADMIN", "SYS_MODULE", "DAC_READ_SEARCH", "MKNOD", "SYS_RAWIO", "BPF"])
def test_what_is_the_hosts_is_not_granted_unless_it_is_named(name: str) -> None:
    with pytest.raises(Refused, match=f"capability {name}"):
        granted(replace(PLAN, capabilities=(name,)))


def test_devices_are_for_whom_the_policy_names_them() -> None:
    plan = replace(PLAN, devices=("/dev/net/tun",))
    with pytest.raises(Refused, match="device /dev/net/tun"):
        granted(plan)
    assert granted(plan, allowed_devices=("/dev/net/tun",)).devices == (
        Device("/dev/net/tun", "/dev/net/tun"),
    )
    own = replace(CONFIG, devices=(Device("/dev/null", "/dev/net/tun"),))
    assert granted(plan, ROOT, own).devices == own.devices


def test_a_users_own_template_gets_what_the_user_has_by_hand() -> None:
    plan = replace(PLAN, capabilities=("NET_RAW",))  # the bundle lab has it
    assert granted(plan, is_own=True).security.capabilities == ("NET_RAW",)
    with pytest.raises(Refused, match="NET_ADMIN"):
        granted(is_own=True)
    with pytest.raises(Refused, match="NET_ADMIN"):
        granted(caller=ROOT, is_own=True)  # nor by way of an administrator
    with pytest.raises(Refused, match="device"):
        granted(replace(plan, devices=("/dev/null",)), is_own=True, allowed_devices=("/dev/null",))
    with pytest.raises(Refused, match="seccomp"):
        granted(replace(plan, seccomp_profile="unconfined"), is_own=True)
    bound = replace(Settings(), security=SecuritySettings(profile="strict"))
    with pytest.raises(Refused, match="NET_RAW"):
        template_requests.granted(CONFIG, plan, ALICE, bound, True)


def test_what_the_user_drops_stays_dropped() -> None:
    config = replace(CONFIG, security=Security(drop_capabilities=("NET_ADMIN",)))
    assert granted(config=config).security.capabilities == ("NET_RAW",)
    exam = replace(CONFIG, security=Security(profile="exam", drop_capabilities=("ALL",)))
    assert granted(config=exam).security.capabilities == ()


def test_a_template_without_a_network_has_none_unless_one_is_named() -> None:
    plan = replace(PLAN, network="none")
    assert granted(plan).networking.networks == ("none",)
    named = replace(CONFIG, networking=Networking(networks=("lab",)))
    assert granted(plan, config=named).networking.networks == ("lab",)
    published = replace(CONFIG, networking=Networking(ports=(PortMapping(80),)))
    with pytest.raises(InvalidInput, match="has no network"):
        granted(plan, config=published)


def test_a_shell_has_a_terminal_and_an_init_ends_on_sigterm() -> None:
    shell = granted()
    assert (shell.terminal, shell.open_stdin, shell.stop_signal) == (True, True, "SIGHUP")
    services = granted(replace(PLAN, command=(SERVICES_PROGRAM,)))
    assert (services.terminal, services.stop_signal) == (False, "")
    assert not granted(config=replace(CONFIG, command=("true",))).terminal


def test_less_than_a_template_needs_is_said() -> None:
    plan = replace(PLAN, resources=Resources(cpu_limit=2.0, memory_limit=1 << 30))
    assert template_requests.warnings(Resources(cpu_limit=2.0, memory_limit=2 << 30), plan) == []
    assert template_requests.warnings(Resources(cpu_limit=-1, memory_limit=-1), plan) == []
    assert template_requests.warnings(Resources(cpu_limit=0.5, memory_limit=512 << 20), plan) == [
        "template 'net-lab' needs 2 of CPU cores, and the limit is 0.5",
        "template 'net-lab' needs 1G of memory, and the limit is 512M",
    ]


def test_the_settings_of_the_policy_are_checked(tmp_path: Any) -> None:
    from multios.settings import load

    file = tmp_path / "containers.conf"
    for text, cause in (
        ('allowed_capabilities = ["ALL"]', "ALL"),
        ('allowed_capabilities = ["NET_ROW"]', "NET_ROW"),
        ('allowed_devices = ["/etc/shadow"]', "allowed_devices"),
        ("alowed_devices = []", "alowed_devices"),
    ):
        file.write_text(f"[templates]\n{text}\n")
        with pytest.raises(InvalidInput, match=cause):
            load(file, {})
    file.write_text('[templates]\nallowed_capabilities = ["cap_net_raw"]\nusers_may_import = false\n')
    assert load(file, {}).templates == TemplatesSettings(("NET_RAW",), (), False)
