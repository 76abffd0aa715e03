"""What a container gets of what its template asks for.

A template of an installed distribution is as trusted as the administrator who installed it, and no more than
``[templates]`` of the settings says for ordinary users: capabilities of a container's own user and network
namespaces. A template that somebody imported is that user's word, so it gets what the user could ask for by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from multios.engine import security_profiles
from multios.engine.caller import Caller
from multios.engine.confinement import with_template
from multios.errors import InvalidInput, Refused
from multios.model.container import ContainerConfig, Device, Resources, merged
from multios.model.quantities import format_size
from multios.model.template import SERVICES_PROGRAM, TemplatePlan
from multios.settings import Settings


def granted(
    config: ContainerConfig, plan: TemplatePlan, caller: Caller, settings: Settings, is_own: bool = False
) -> ContainerConfig:
    """The request with what its template wants of it; what the user said goes first.

    ``is_own`` says that an ordinary user brought the template. Raises ``Refused`` for what the policy does not grant.
    """
    if is_own or not caller.is_administrator:
        _refuse_beyond(plan, settings, is_own)
    wanted = security_profiles.template_capabilities(config.security, plan.capabilities)
    wanted = tuple(name for name in wanted if name not in config.security.drop_capabilities)
    security = replace(
        with_template(config.security, plan.seccomp_profile),
        capabilities=tuple(dict.fromkeys([*config.security.capabilities, *wanted])),
    )
    config = replace(config, resources=merged(config.resources, plan.resources), security=security)
    return _as_machine(_with_devices(_with_network(config, plan), plan), plan)


def warnings(resources: Resources, plan: TemplatePlan) -> list[str]:
    """A line for each limit below what the template says it needs."""
    shown: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("cpu_limit", "CPU cores", lambda value: f"{value:g}"),
        ("memory_limit", "memory", format_size),
        ("disk_limit", "disk", format_size),
        ("pids_limit", "processes", str),
    )
    found = []
    for name, what, write in shown:
        asked, least = getattr(resources, name), getattr(plan.resources, name)
        if asked is not None and least is not None and 0 < asked < least:
            found.append(
                f"template {plan.name!r} needs {write(least)} of {what}, and the limit is {write(asked)}"
            )
    return found


def _refuse_beyond(plan: TemplatePlan, settings: Settings, is_own: bool) -> None:
    policy = settings.templates
    capabilities = _by_hand(settings) if is_own else set(policy.allowed_capabilities)
    devices = () if is_own else policy.allowed_devices
    for name in plan.capabilities:
        if name not in capabilities:
            raise _refusal(plan, f"capability {name}", "allowed_capabilities", name, is_own)
    for path in plan.devices:
        if path not in devices:
            raise _refusal(plan, f"device {path}", "allowed_devices", path, is_own)
    if is_own and plan.seccomp_profile not in ("", "default"):
        raise _refusal(plan, "another seccomp profile", "", "", is_own)


def _by_hand(settings: Settings) -> set[str]:
    """The capabilities that any user has by the bundles there are to choose from."""
    only = settings.security.profile
    return {
        name
        for title, bundle in settings.security_profiles.items()
        if (title == only if only else not bundle.administrators_only)
        for name in bundle.capabilities
        if "ALL" not in bundle.drop_capabilities
    }


def _refusal(plan: TemplatePlan, what: str, key: str, value: str, is_own: bool) -> Refused:
    remedy = (
        "ask the administrator to install it as a distribution, or take it out of [requests]"
        if is_own
        else f'ask the administrator to add "{value}" to {key} of [templates] in the settings'
    )
    return Refused(f"template {plan.name!r} asks for {what}, which is not granted to users here", remedy)


def _with_network(config: ContainerConfig, plan: TemplatePlan) -> ContainerConfig:
    networking = config.networking
    if plan.network != "none" or networking.networks != ("default",):
        return config
    if networking.ports or networking.egress_allow:
        raise InvalidInput(
            f"networking.ports: template {plan.name!r} has no network",
            "name one with --network to give it one",
        )
    return replace(config, networking=replace(networking, networks=("none",)))


def _with_devices(config: ContainerConfig, plan: TemplatePlan) -> ContainerConfig:
    asked = {device.container for device in config.devices}
    added = tuple(Device(path, path) for path in plan.devices if path not in asked)
    return replace(config, devices=(*config.devices, *added))


def _as_machine(config: ContainerConfig, plan: TemplatePlan) -> ContainerConfig:
    """A template's container is a machine: its shell has a terminal, so it stays up to be worked in.

    It ends on a hangup, because an interactive shell ignores SIGTERM (bash(1), SIGNALS). The init of services stays
    up by itself and ends them on SIGTERM.
    """
    if config.command or config.entrypoint is not None or plan.command == (SERVICES_PROGRAM,):
        return config
    return replace(config, terminal=True, open_stdin=True, stop_signal=config.stop_signal or "SIGHUP")
