"""What a request and its security profile come to together (:mod:`multios.model.security_profile`).

What the user said goes before what the bundle says. An ordinary user may only be stricter than it.
"""

from __future__ import annotations

from dataclasses import replace

from multios.engine.caller import Caller
from multios.errors import InvalidInput, Refused, unknown
from multios.model.container import ContainerConfig, Networking, Resources, Security
from multios.model.security_profile import SecurityProfile
from multios.settings import Settings

_NEEDS_A_NETWORK = ("ports", "attachments", "aliases", "address", "address6", "mac")


def joined(config: ContainerConfig, caller: Caller, settings: Settings) -> ContainerConfig:
    """The request with its bundle's values where it says nothing itself; without a bundle, as it is.

    Raises ``NotFound`` for an unknown bundle, ``Refused`` where an ordinary user would be less confined than it
    says, ``InvalidInput`` where request and bundle contradict each other.
    """
    name = config.security.profile or settings.security.profile
    if config.security.privileged and not config.security.profile:
        return config  # an administrator's, who says with it that nothing shall confine
    if not name:
        return config
    bundle = settings.security_profiles.get(name)
    if bundle is None:
        known = sorted(settings.security_profiles)
        raise unknown("security profile", name, known, f"there are {', '.join(known)}")
    if config.security.privileged:
        raise InvalidInput(f"privileged and the security profile {name!r} exclude each other", "give one")
    if not caller.is_administrator:
        _refuse_weaker(config, name, bundle, settings)
    resources = config.resources
    if resources.pids_limit is None and bundle.pids_limit is not None:
        resources = replace(resources, pids_limit=bundle.pids_limit)
    return replace(
        config,
        resources=resources,
        security=_security(config.security, name, bundle),
        networking=_networking(config.networking, name, bundle),
    )


def refuse_more_processes(
    security: Security, resources: Resources, caller: Caller, settings: Settings
) -> None:
    """Raise ``Refused`` where an ordinary user would change the limit of a container to more than its bundle allows."""
    bundle = settings.security_profiles.get(security.profile)
    if bundle is None or caller.is_administrator or not _more_processes(resources, bundle):
        return
    raise _weaker(security.profile, f"more than {bundle.pids_limit} processes")


def refuse_network(config: ContainerConfig, caller: Caller, settings: Settings) -> None:
    """Raise ``Refused`` where an ordinary user would connect a container whose bundle gives it no network."""
    bundle = settings.security_profiles.get(config.security.profile)
    if bundle is None or caller.is_administrator or bundle.network == "any":
        return
    if not config.networking.egress_allow:
        raise _weaker(config.security.profile, "a network without a list of what may be reached")


def template_capabilities(security: Security, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a template's capabilities that a container gets: none where its bundle takes all away."""
    if security.profile and "ALL" in security.drop_capabilities:
        return ()
    return wanted


def _refuse_weaker(config: ContainerConfig, name: str, bundle: SecurityProfile, settings: Settings) -> None:
    policy = settings.security.profile
    if policy and name != policy:
        raise Refused(
            f"another security profile than {policy!r} is for administrators", "leave out the profile"
        )
    if bundle.administrators_only and name != policy:
        raise Refused(f"the security profile {name!r} is for administrators", "choose another one")
    if bundle.read_only and config.security.read_only is False:
        raise _weaker(name, "a root that can be written")
    if _more_processes(config.resources, bundle):
        raise _weaker(name, f"more than {bundle.pids_limit} processes")
    if bundle.network == "allow-list":
        for destination in config.networking.egress_allow:
            if destination not in bundle.egress_allow:
                raise _weaker(name, f"to reach {destination}")


def _more_processes(resources: Resources, bundle: SecurityProfile) -> bool:
    asked = resources.pids_limit
    return asked is not None and bundle.pids_limit is not None and not 0 < asked <= bundle.pids_limit


def _weaker(name: str, what: str) -> Refused:
    return Refused(f"the security profile {name!r} does not allow {what}", "ask the administrator")


def _security(asked: Security, name: str, bundle: SecurityProfile) -> Security:
    added, dropped = bundle.capabilities, bundle.drop_capabilities
    if "ALL" in asked.capabilities:
        dropped = ()
    if "ALL" in asked.drop_capabilities:
        added = ()
    added = tuple(one for one in added if one not in asked.drop_capabilities)
    dropped = tuple(one for one in dropped if one not in asked.capabilities)
    if "capabilities" in asked.profiles:
        added = dropped = ()
    profiles = {**bundle.profiles, **asked.profiles}
    seccomp, apparmor = profiles.pop("seccomp", "default"), profiles.pop("apparmor", "")
    return replace(
        asked,
        profile=name,
        capabilities=tuple(dict.fromkeys([*added, *asked.capabilities])),
        drop_capabilities=tuple(dict.fromkeys([*dropped, *asked.drop_capabilities])),
        seccomp_profile=seccomp if asked.seccomp_profile == "default" else asked.seccomp_profile,
        apparmor_profile=asked.apparmor_profile or apparmor,
        profiles=profiles,
        read_only=bundle.read_only if asked.read_only is None else asked.read_only,
        no_new_privileges=asked.no_new_privileges and bundle.no_new_privileges,
    )


def _networking(asked: Networking, name: str, bundle: SecurityProfile) -> Networking:
    if bundle.network == "any" or asked.networks == ("none",):
        return asked
    if asked.shared_with:
        raise InvalidInput(
            f"the security profile {name!r} allows what is on a list, and another container's network has its own",
            "use another network",
        )
    if asked.networks == ("host",):
        raise InvalidInput(
            f"the security profile {name!r} allows what is on a list, and the host's network has none",
            "use another network",
        )
    allowed = asked.egress_allow or bundle.egress_allow
    if allowed:
        return replace(asked, egress_allow=allowed)
    for field in _NEEDS_A_NETWORK:
        if getattr(asked, field):
            raise InvalidInput(
                f"networking.{field}: the security profile {name!r} gives no network without a list",
                "say with --egress-allow what it may reach",
            )
    return replace(asked, networks=("none",))
