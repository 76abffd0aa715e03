"""Profiles as JSON text: docker's format (with ``includes``, ``excludes``, ``archMap``) or the OCI's own.

The OCI's is docker's without conditions, so one reader serves both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multios.errors import InvalidInput
from multios_security_seccomp.kernel_version import at_least

_MAX_CHARACTERS = 1_000_000
_REMEDY = "see docker's default profile or the runtime spec, config-linux.md, Seccomp"
_NATIVE = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}
_COPIED = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
_KNOWN = {*_COPIED, "architectures", "archMap", "syscalls"}
_KNOWN_IN_RULE = {"names", "name", "action", "errnoRet", "args", "includes", "excludes", "comment"}


def read(text: str, capabilities: frozenset[str], machine: str, release: str) -> dict[str, Any]:
    """The spec's ``linux.seccomp``; ``InvalidInput`` says what is wrong with the profile."""
    if len(text) > _MAX_CHARACTERS:
        raise InvalidInput(f"the seccomp profile is longer than {_MAX_CHARACTERS} characters", "shorten it")
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the seccomp profile is not JSON: {error}", _REMEDY) from None
    _check(profile)
    architecture = _NATIVE.get(machine, (machine, ""))
    section: dict[str, Any] = {key: profile[key] for key in _COPIED if profile.get(key) not in (None, "", [])}
    section["architectures"] = _architectures(profile, architecture[1])
    section["syscalls"] = [
        _rule(rule)
        for rule in profile.get("syscalls") or ()
        if _holds(rule.get("includes") or {}, capabilities, architecture[0], release, True)
        and _holds(rule.get("excludes") or {}, capabilities, architecture[0], release, False)
    ]
    return section


def guardians(text: str, call: str) -> tuple[str, ...]:
    """The capabilities with any of which a checked profile would allow ``call``, by its rules' ``includes``."""
    found: dict[str, None] = {}
    for rule in json.loads(text).get("syscalls") or ():
        held = (rule.get("includes") or {}).get("caps") or []
        if (
            len(held) == 1
            and rule["action"] == "SCMP_ACT_ALLOW"
            and call in (rule.get("names") or [rule.get("name")])
        ):
            found[held[0]] = None
    return tuple(sorted(found, key=lambda capability: capability == "CAP_SYS_ADMIN"))


def _check(profile: Any) -> None:
    if not isinstance(profile, Mapping) or not isinstance(profile.get("defaultAction"), str):
        raise InvalidInput("the seccomp profile has no defaultAction", _REMEDY)
    unknown = sorted(set(profile) - _KNOWN)
    if unknown:
        raise InvalidInput(f"the seccomp profile has an unknown key {unknown[0]!r}", _REMEDY)
    rules = profile.get("syscalls") or []
    if not isinstance(rules, list):
        raise InvalidInput("the seccomp profile's syscalls are no list", _REMEDY)
    for number, rule in enumerate(rules):
        if not isinstance(rule, Mapping) or not isinstance(rule.get("action"), str):
            raise InvalidInput(f"syscalls[{number}] of the seccomp profile has no action", _REMEDY)
        if set(rule) - _KNOWN_IN_RULE or not (rule.get("names") or rule.get("name")):
            raise InvalidInput(f"syscalls[{number}] of the seccomp profile is malformed", _REMEDY)
        names = rule.get("names") or [rule["name"]]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidInput(
                f"syscalls[{number}].names of the seccomp profile is no list of names", _REMEDY
            )
        for key in ("includes", "excludes"):
            _check_condition(f"syscalls[{number}].{key}", rule.get(key) or {})
    for key in ("architectures", "archMap", "flags"):
        if not isinstance(profile.get(key) or [], list):
            raise InvalidInput(f"{key} of the seccomp profile is no list", _REMEDY)


def _check_condition(place: str, condition: Any) -> None:
    if not isinstance(condition, Mapping):
        raise InvalidInput(f"{place} of the seccomp profile is no object", _REMEDY)
    for key in ("caps", "arches"):
        names = condition.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidInput(f"{place}.{key} of the seccomp profile is no list of names", _REMEDY)


def _architectures(profile: Mapping[str, Any], native: str) -> list[str]:
    for entry in profile.get("archMap") or ():
        if isinstance(entry, Mapping) and entry.get("architecture") == native:
            further = entry.get("subArchitectures") or []
            return [native, *further] if isinstance(further, list) else [native]
    return list(profile.get("architectures") or ())


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
    for key in ("errnoRet", "args"):
        if rule.get(key) is not None:
            made[key] = rule[key]
    return made


def _holds(
    condition: Mapping[str, Any],
    capabilities: frozenset[str],
    architecture: str,
    release: str,
    included: bool,
) -> bool:
    """Whether a rule applies: all of ``includes`` must be so, none of ``excludes``."""
    answers = []
    if condition.get("caps"):
        held = [name in capabilities for name in condition["caps"]]
        answers.append(all(held) if included else any(held))
    if condition.get("arches"):
        answers.append(architecture in condition["arches"])
    if condition.get("minKernel"):
        answers.append(at_least(release, str(condition["minKernel"])))
    return all(answers) if included else not any(answers)
