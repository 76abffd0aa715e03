"""What confines a container: its chain of security drivers, each with the profile that it gets.

A profile that nobody asked for is ``default``: a driver that cannot enforce its default on this host does
nothing, and says so. Whatever somebody did ask for and the host or the isolation driver cannot do is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from multios.drivers.isolation import IsolationDriver
from multios.drivers.security import DEFAULT, UNCONFINED, SecurityDriver
from multios.engine.drivers import Drivers
from multios.errors import InvalidInput, MultiosError, Unsupported
from multios.model.container import Container, ContainerConfig, Security
from multios.plugins.hooks import Hooks
from multios.settings import Settings

CAPABILITIES = "capabilities"
"""The driver that the request's ``capabilities`` and ``drop_capabilities`` are for."""
_LARGEST_PROFILE = 1_000_000


class Confinement:
    """The drivers' verbs, called for each driver of a container's chain, in order."""

    def __init__(self, drivers: Drivers, hooks: Hooks, settings: Callable[[], Settings]) -> None:
        self._drivers, self._hooks, self._settings = drivers, hooks, settings

    def check(self, config: ContainerConfig) -> None:
        """Raise what makes the request's confinement impossible here, before anything is made."""
        names = self._drivers.security_chain(config.drivers)
        isolation = self._drivers.isolation_named(config)
        for name, profile in asked(config.security).items():
            if name not in names and not _harmless(name, profile, config.security):
                self._drivers.security_named(name, config)  # not installed: says what to install
                raise InvalidInput(
                    f"a profile for the security driver {name!r}, which is not in the container's chain",
                    f"name it too: --security {','.join((*names, name))}",
                )
        for name in names:
            driver = self._drivers.security_named(name, config)
            profile = self._profile(name, config.security)
            wanted = self._drivers.chain_is_chosen(config.drivers)
            if (wanted and profile != UNCONFINED) or profile not in (DEFAULT, UNCONFINED):
                _refuse_lacking(driver, isolation)
            if wanted and profile == DEFAULT and (reason := driver.unenforced()):
                raise Unsupported(
                    f"security driver {name!r} was asked for, and this host cannot do it: {reason}",
                    f"leave {name} out of the chain",
                )
            if profile not in (DEFAULT, UNCONFINED):
                driver.check(profile)

    def apply(self, container: Container, spec: dict[str, Any], isolation: IsolationDriver) -> dict[str, Any]:
        """The spec with every driver's section."""
        for driver, profile in self._chain(container):
            if driver.needs - isolation.capabilities:
                if profile in (DEFAULT, UNCONFINED):
                    continue
                _refuse_lacking(driver, isolation)
            spec = self._hooks.apply_security(driver=driver, container=container, spec=spec, profile=profile)
        return spec

    def process(self, container: Container, process: dict[str, Any], privileged: bool) -> dict[str, Any]:
        """The section of a further process as another user, or a privileged one."""
        chain = list(self._chain(container))
        if privileged and CAPABILITIES not in [driver.name for driver, _ in chain]:
            raise Unsupported(
                f"container {container.name!r} has no security driver {CAPABILITIES!r}, which grants privileges",
                "leave out --privileged, or create it with that driver in its chain",
            )
        process = {**process, "capabilities": {}}
        for driver, profile in chain:
            process = driver.process(process, UNCONFINED if privileged else profile)
        return process

    def guardians(self, container: Container, call: str) -> tuple[str, ...]:
        """The capabilities of which any one would have the container's profiles allow a system call; with ``CAP_``."""
        found = [driver.capabilities_for(call, profile) for driver, profile in self._chain(container)]
        return tuple(dict.fromkeys(name for names in found for name in names))

    def usual_capabilities(self, container: Container) -> tuple[str, ...]:
        """What root holds in a container with this chain that asks for nothing; with ``CAP_``."""
        process: dict[str, Any] = {"user": {"uid": 0, "gid": 0}, "capabilities": {}}
        for driver, _ in self._chain(container):
            if driver.name == CAPABILITIES:
                process = driver.process(process, DEFAULT)
        return tuple(process["capabilities"].get("bounding") or ())

    @staticmethod
    def held(directory: Path) -> tuple[str, ...]:
        """What the last start in ``directory`` let the container's processes hold; with ``CAP_``."""
        return tuple(_came_to(directory).get("Capabilities") or ())

    def report(self, container: Container, directory: Path) -> dict[str, Any]:
        """For ``inspect``: who confines it, how, and what its last start came to."""
        name = container.config.security.profile
        try:
            rows = self._rows(container)
        except MultiosError as error:  # one is not installed any more
            return {"Profile": name, "Drivers": [], "Error": error.cause, **_came_to(directory)}
        return {"Profile": name, "Drivers": rows, **_came_to(directory)}

    def _rows(self, container: Container) -> list[dict[str, Any]]:
        rows = []
        isolation = self._drivers.isolation(container)
        for driver, profile in self._chain(container):
            reason = "" if profile == UNCONFINED else driver.unenforced()
            if lacking := driver.needs - isolation.capabilities:
                reason = f"isolation driver {isolation.name!r} has no {', '.join(sorted(lacking))}"
            shown = profile if len(profile) <= 200 else f"{profile[:197]}..."
            rows.append(
                {
                    "Driver": driver.name,
                    "Profile": shown,
                    "Enforced": profile != UNCONFINED and not reason,
                    "Reason": reason,
                }
            )
        return rows

    def _chain(self, container: Container) -> Iterator[tuple[SecurityDriver, str]]:
        for driver in self._drivers.securities(container):
            yield driver, self._profile(driver.name, container.config.security)

    def _profile(self, name: str, security: Security) -> str:
        """The text that a driver gets: what was asked, else what the administrator set, else ``default``."""
        if security.privileged:
            return UNCONFINED
        policy = self._settings().security
        configured = {"seccomp": policy.seccomp_profile, "apparmor": policy.apparmor_profile}
        profile = asked(security).get(name) or configured.get(name, "")
        if profile.startswith("/") and name in configured and name not in asked(security):
            profile = _of_file(profile, Path(profile).stat().st_mtime_ns if Path(profile).exists() else 0)
        return profile or DEFAULT


def asked(security: Security) -> Mapping[str, str]:
    """By a driver's name, the profile that the request has for it; what is left to the default is not in it."""
    found = dict(security.profiles)
    if security.seccomp_profile not in ("", DEFAULT):
        found["seccomp"] = security.seccomp_profile
    if security.apparmor_profile not in ("", DEFAULT):
        found["apparmor"] = security.apparmor_profile
    words = [
        f"{verb}={','.join(names)}"
        for verb, names in (("add", security.capabilities), ("drop", security.drop_capabilities))
        if names
    ]
    if words:
        found[CAPABILITIES] = " ".join(words)
    if security.privileged:
        found[CAPABILITIES] = UNCONFINED
    return {name: profile for name, profile in found.items() if profile not in ("", DEFAULT)}


def _harmless(name: str, profile: str, security: Security) -> bool:
    """Whether a profile is fulfilled where its driver is absent: unconfined is; and nothing to drop is dropped."""
    if name == CAPABILITIES:
        return profile != UNCONFINED and not security.capabilities and name not in security.profiles
    return profile == UNCONFINED


def _refuse_lacking(driver: SecurityDriver, isolation: IsolationDriver) -> None:
    lacking = driver.needs - isolation.capabilities
    if lacking:
        raise Unsupported(
            f"security driver {driver.name!r} needs {', '.join(sorted(lacking))}, "
            f"which isolation driver {isolation.name!r} has not",
            "choose another isolation driver, or leave its profile out",
        )


@lru_cache(maxsize=8)
def _of_file(path: str, _changed: int) -> str:
    """The text of a profile that the settings name by path; read again when the file has changed."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the profile {path} of the settings: {error}", "correct [security]") from error
    if len(text) > _LARGEST_PROFILE:
        raise InvalidInput(f"the profile {path} of the settings is too long", "correct [security]")
    return text


def _came_to(directory: Path) -> dict[str, Any]:
    """What the spec of the last start says; nothing before the first."""
    try:
        spec = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    process, linux = spec["process"], spec["linux"]
    seccomp = linux.get("seccomp")
    return {
        "Capabilities": list((process.get("capabilities") or {}).get("bounding") or ()),
        "EffectiveCapabilities": list((process.get("capabilities") or {}).get("effective") or ()),
        "NoNewPrivileges": bool(process.get("noNewPrivileges")),
        "AppArmorProfile": process.get("apparmorProfile") or "",
        "SeccompDefaultAction": seccomp["defaultAction"] if seccomp else "",
        "SeccompRules": sum(len(rule["names"]) for rule in seccomp.get("syscalls") or ()) if seccomp else 0,
        "Landlock": (spec.get("annotations") or {}).get("org.multios.landlock", ""),
        "ReadonlyRootfs": bool((spec.get("root") or {}).get("readonly")),
        "MaskedPaths": list(linux.get("maskedPaths") or ()),
        "ReadonlyPaths": list(linux.get("readonlyPaths") or ()),
    }


def with_template(security: Security, seccomp_profile: str) -> Security:
    """A request with its template's own system call profile, where nobody asked for another."""
    if seccomp_profile and security.seccomp_profile == DEFAULT and not security.privileged:
        return replace(security, seccomp_profile=seccomp_profile)
    return security
