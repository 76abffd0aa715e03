"""The JSON document that describes a container, checked field by field at the door.

The same document comes from a ``create --config`` file and from the command line. Every refusal names the
field by its path (``resources.memory_limit``) and says what was expected.
"""

from __future__ import annotations

import signal
from typing import Any, TypeVar

from multios.errors import InvalidInput, nearest
from multios.model import id_mapping, security_chain, sysctls
from multios.model.container import (
    ContainerConfig,
    HealthRequest,
    RestartPolicy,
    Security,
)
from multios.model.container_names import check_name, invent_name
from multios.model.fields import (
    Reader,
    read_absolute,
    read_boolean,
    read_fields,
    read_integer,
    read_list,
    read_mapping,
    read_option_text,
    read_text,
    wrong,
)
from multios.model.mounts_section import read_device, read_files, read_tmpfs, read_volume
from multios.model.networking_section import read_hostname, read_networking
from multios.model.quantities import parse_duration
from multios.model.resources_section import read_resources, size_reader

DRIVER_KINDS = ("isolation", "storage", "network", "security")
SHORTEST_PROBE, LONGEST_PROBE = 0.001, 86400.0
"""Bounds of the durations of a health probe, in seconds."""
MOST_RETRIES = 1000
_LONGEST_TEST = 65536
Value = TypeVar("Value")


def parse(document: Any) -> ContainerConfig:
    """The checked configuration; ``InvalidInput`` names the field that is wrong. A missing name is invented."""
    fields = read_fields("", document, _TOP)
    fields["volumes"] = fields.get("volumes", ()) + fields.pop("tmpfs", ())
    fields.update({f"log_{key}": value for key, value in fields.pop("log", {}).items()})
    if fields.get("image") and fields.get("template"):
        raise InvalidInput("both 'image' and 'template' are given", "give one of them")
    if not fields.get("image") and not fields.get("template"):
        raise InvalidInput("neither 'image' nor 'template' is given", "name one of them")
    fields["name"] = check_name("container", fields["name"]) if "name" in fields else invent_name()
    if fields.get("auto_remove") and fields.get("restart_policy", RestartPolicy()).name != "no":
        raise InvalidInput("both 'auto_remove' and 'restart_policy' are given", "leave out one of them")
    config = ContainerConfig(**fields)
    _check_mount_points(config)
    sysctls.check_namespaces(config.sysctls, config.networking)
    return config


def _check_mount_points(config: ContainerConfig) -> None:
    targets = [*config.mount_points, *(device.container for device in config.devices)]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidInput(f"volumes: {target!r} is mounted twice", "mount each path once")
    for file in config.files:
        below = next((target for target in targets if target.startswith(f"{file.path}/")), None)
        if below is not None:
            raise InvalidInput(
                f"files: {file.path!r} is a file, and {below!r} would be below it", "choose another path"
            )


def parse_restart_policy(text: Any) -> RestartPolicy:
    """``no``, ``on-failure[:n]``, ``always`` or ``unless-stopped``."""
    return _restart_policy("restart_policy", text)


# --- readers: (path, value) to a checked value ------------------------------------------------------


def _environment(path: str, value: Any) -> dict[str, str]:
    result = read_mapping(read_option_text)(path, value)
    for key in result:
        if not key or "=" in key:
            raise wrong(path, key, "variable names without '='")
    return dict(result)


def _capability(path: str, value: Any) -> str:
    name = read_text(path, value).upper().removeprefix("CAP_")
    if name != "ALL" and name not in CAPABILITIES:
        guess = nearest(name, list(CAPABILITIES))
        raise InvalidInput(
            f"{path}: no such capability: {value!r}",
            f"did you mean {guess!r}?" if guess else "see capabilities(7)",
        )
    return name


def _user_namespace(path: str, value: Any) -> str:
    text = read_text(path, value)
    id_mapping.parse(text, path)
    return text


def _security(path: str, value: Any) -> Security:
    fields = read_fields(path, value, _SECURITY)
    profiles = dict(fields.pop("profiles", {}))
    for name in ("seccomp", "apparmor"):  # which have a field of their own, older than the others
        if name in profiles and f"{name}_profile" in fields:
            raise InvalidInput(
                f"{path}.profiles.{name}: {path}.{name}_profile is given too", "give one of them"
            )
        if name in profiles:
            fields[f"{name}_profile"] = profiles.pop(name)
    if "capabilities" in profiles and (fields.get("capabilities") or fields.get("drop_capabilities")):
        raise InvalidInput(
            f"{path}.profiles.capabilities: capabilities are given one by one too", "give one of them"
        )
    return Security(**fields, profiles=profiles)


def _profiles(path: str, value: Any) -> dict[str, str]:
    profiles: dict[str, str] = read_mapping(read_text)(path, value)
    for name in profiles:
        if security_chain.parse(name, path) != (name,):
            raise wrong(path, name, "the names of security drivers")
    return profiles


def _drivers(path: str, value: Any) -> dict[str, str]:
    fields = read_fields(path, value, dict.fromkeys(DRIVER_KINDS, read_text))
    if "security" in fields:
        names = security_chain.parse(fields["security"], f"{path}.security")
        fields["security"] = security_chain.write(names)
    return fields


def _sysctls(path: str, value: Any) -> dict[str, str]:
    found: dict[str, str] = read_mapping(read_option_text)(path, value)
    for name, text in found.items():
        sysctls.check(name, text, path)
    return found


def _restart_policy(path: str, value: Any) -> RestartPolicy:
    name, _, count = read_text(path, value).partition(":")
    if name not in ("no", "on-failure", "always", "unless-stopped") or (count and name != "on-failure"):
        raise wrong(path, value, "no, on-failure[:n], always or unless-stopped")
    if count and not (count.isdecimal() and len(count) <= 9):
        raise wrong(path, value, "a number behind on-failure:")
    return RestartPolicy(name, int(count or 0))


def _healthcheck(path: str, value: Any) -> HealthRequest:
    fields = read_fields(path, value, _HEALTHCHECK)
    if fields.get("test") == ("NONE",) and len(fields) > 1:
        raise InvalidInput(f"{path}: the test is NONE, and more is given", "leave out one of them")
    return HealthRequest(**fields)


def _test(path: str, value: Any) -> tuple[str, ...]:
    """``NONE``, ``CMD`` and words, or ``CMD-SHELL`` and a line; a text alone is a line."""
    words = (
        ("CMD-SHELL", read_text(path, value)) if isinstance(value, str) else read_list(read_text)(path, value)
    )
    if not is_test(words):
        raise wrong(path, value, '["CMD", "PROGRAM", …], ["CMD-SHELL", "LINE"] or ["NONE"]')
    if sum(map(len, words)) > _LONGEST_TEST:
        raise wrong(path, value, f"at most {_LONGEST_TEST} letters")
    return words


def is_test(words: tuple[str, ...]) -> bool:
    """Whether words are the test of a health probe."""
    kind, rest = words[:1], words[1:]
    return (
        words == ("NONE",)
        or (kind == ("CMD",) and bool(rest) and bool(rest[0]))
        or (kind == ("CMD-SHELL",) and len(rest) == 1 and bool(rest[0].strip()))
    )


def _duration(least: float) -> Reader:
    def read(path: str, value: Any) -> float:
        return parse_duration(value, path, least, LONGEST_PROBE)

    return read


def _signal(path: str, value: Any) -> str:
    return signal_name(str(read_option_text(path, value)), path)


def signal_name(text: str, field: str = "signal") -> str:
    """``SIGTERM`` for ``TERM``, ``sigterm`` or ``15``; ``InvalidInput`` for no signal."""
    if text.isdecimal():
        try:
            return signal.Signals(int(text)).name
        except ValueError:
            pass
    name = "SIG" + text.upper().removeprefix("SIG")
    if name not in signal.Signals.__members__:
        raise InvalidInput(
            f"{field}: no such signal: {text!r}", "use a name such as TERM or a number: see signal(7)"
        )
    return name


def _rlimit(path: str, value: Any) -> tuple[int, int]:
    if path.rsplit(".", 1)[-1] not in RLIMITS:
        raise InvalidInput(f"{path}: no such limit", f"valid limits: {', '.join(RLIMITS)}")
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise wrong(path, value, "a number or a pair [soft, hard]")
    soft, hard = (read_integer(-1, 2**63 - 1)(path, item) for item in pair)
    if hard != -1 and (soft == -1 or soft > hard):
        raise wrong(path, value, "a soft limit not above the hard one")
    return soft, hard


CAPABILITIES = tuple(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "  # noqa: SIM905
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
    "CHECKPOINT_RESTORE".split()
)
RLIMITS = tuple(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()  # noqa: SIM905
)


def _explanation(path: str, value: Any) -> str:
    if value == "all" or isinstance(value, bool):
        return {True: "on", False: "off"}.get(value, "all")
    raise InvalidInput(f"{path}: {value!r} is not known", 'use true, false or "all"')


_SECURITY: dict[str, Reader] = {
    "capabilities": read_list(_capability),
    "drop_capabilities": read_list(_capability),
    "seccomp_profile": read_text,
    "apparmor_profile": read_text,
    "profiles": _profiles,
    "profile": read_text,
    "read_only": read_boolean,
    "read_only_tmpfs": read_boolean,
    "no_new_privileges": read_boolean,
    "privileged": read_boolean,
    "user_namespace": _user_namespace,
    "explain": _explanation,
}
_HEALTHCHECK: dict[str, Reader] = {
    "test": _test,
    "interval": _duration(SHORTEST_PROBE),
    "timeout": _duration(SHORTEST_PROBE),
    "retries": read_integer(1, MOST_RETRIES),
    "start_period": _duration(0.0),
    "start_interval": _duration(SHORTEST_PROBE),
}
_TOP: dict[str, Reader] = {
    "name": read_text,
    "image": read_text,
    "template": read_text,
    "template_options": read_mapping(read_option_text),
    "command": read_list(read_text),
    "entrypoint": read_list(read_text),
    "environment": _environment,
    "working_directory": read_absolute,
    "user": read_text,
    "groups": read_list(read_text),
    "hostname": read_hostname,
    "terminal": read_boolean,
    "open_stdin": read_boolean,
    "init": read_boolean,
    "resources": read_resources,
    "networking": read_networking,
    "security": _security,
    "volumes": read_list(read_volume),
    "tmpfs": read_list(read_tmpfs),
    "files": read_files,
    "shm_size": size_reader(4096),
    "sysctls": _sysctls,
    "devices": read_list(read_device),
    "rlimits": read_mapping(_rlimit),
    "labels": read_mapping(read_option_text),
    "restart_policy": _restart_policy,
    "healthcheck": _healthcheck,
    "stop_signal": _signal,
    "stop_timeout": read_integer(0, 86400),
    "auto_remove": read_boolean,
    "log": lambda path, value: read_fields(
        path, value, {"max_size": size_reader(4096), "max_files": read_integer(1, 100)}
    ),
    "drivers": _drivers,
    "driver_options": lambda path, value: read_fields(
        path, value, dict.fromkeys(DRIVER_KINDS, read_mapping(read_option_text))
    ),
}
