"""The JSON document that describes a container, checked field by field at the door.

The same document comes from a ``create --config`` file and from the command line. Every refusal names the
field by its path (``resources.memory_limit``) and says what was expected.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import os
import posixpath
import re
import secrets
import signal
from typing import Any, TypeVar

from multios.errors import InvalidInput, nearest
from multios.model import destination, id_mapping, security_chain, sysctls
from multios.model.container import (
    HOST_GATEWAY,
    OF_CONTAINER,
    Attachment,
    ContainerConfig,
    Device,
    GivenFile,
    HealthRequest,
    Networking,
    Resources,
    RestartPolicy,
    Security,
    Volume,
)
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
from multios.model.network import PortMapping
from multios.model.quantities import parse_cpus, parse_duration, parse_rate, parse_size

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
DRIVER_KINDS = ("isolation", "storage", "network", "security")
SHORTEST_PROBE, LONGEST_PROBE = 0.001, 86400.0
"""Bounds of the durations of a health probe, in seconds."""
MOST_RETRIES = 1000
_LONGEST_TEST = 65536
MEMORY_FLOOR = 6 * 1024 * 1024
MOST_FILES = 100
LARGEST_FILE = 1 << 20
LARGEST_FILES = 4 << 20
"""Bytes of all the files given to a container, together."""
Value = TypeVar("Value")


def check_name(kind: str, name: str) -> str:
    """``name`` if it may name a container, network or volume; else ``InvalidInput``."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{kind} name {name!r} is not allowed",
            "use letters, digits, '_', '.' and '-', starting with a letter or digit, at most 128",
        )
    return name


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


def parse_resources(document: Any) -> Resources:
    """The ``resources`` section alone, as ``update`` sends it."""
    return _resources("resources", document)


def parse_restart_policy(text: Any) -> RestartPolicy:
    """``no``, ``on-failure[:n]``, ``always`` or ``unless-stopped``."""
    return _restart_policy("restart_policy", text)


def invent_name() -> str:
    """A name such as ``calm-otter-3f2a``."""
    mood = secrets.choice(
        "brave calm clever eager gentle happy keen kind lively lucky neat proud quick quiet sunny wise".split()  # noqa: SIM905
    )
    animal = secrets.choice(
        "badger crane dolphin falcon finch fox heron ibis koala lynx marten newt otter panda robin seal".split()  # noqa: SIM905
    )
    return f"{mood}-{animal}-{secrets.token_hex(2)}"


# --- readers: (path, value) to a checked value ------------------------------------------------------


def _size(least: int) -> Reader:
    def read(path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise wrong(path, value, "a size such as 512M or 1GB")
        if isinstance(value, float) and not math.isfinite(value):
            raise wrong(path, value, "a size such as 512M or 1GB")
        size = parse_size(value if not isinstance(value, float) else int(value), field=path)
        if size < least:
            raise wrong(path, value, f"at least {least} bytes")
        return size

    return read


def _cpus(path: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong(path, value, "cores such as 1.5 or a share such as '50%'")
    return parse_cpus(value, field=path)


def _or_unlimited(limit: Reader) -> Reader:
    """−1 for 0 and −1, which take a limit away as podman and docker have it; else ``limit``."""

    def read(path: str, value: Any) -> Any:
        is_none = not isinstance(value, bool) and value in (0, -1, "0", "-1")
        return -1 if is_none else limit(path, value)

    return read


def _shares(path: str, value: Any) -> int:
    return int(_or_unlimited(read_integer(2, 262144))(path, value))


def _hugepages(path: str, value: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for size, limit in read_mapping(lambda path, value: value)(path, value).items():
        page = parse_size(size, field=f"{path}: page size")
        bytes_ = int(_or_unlimited(_size(1))(f"{path}.{size}", limit))
        if bytes_ != -1 and bytes_ % page:
            raise wrong(f"{path}.{size}", limit, f"whole pages of {size}")
        found[page_name(page)] = bytes_
    return found


def page_name(size: int) -> str:
    """A huge page's size as the kernel writes it in its control files: ``2MB`` (hugetlb_cgroup.c, mem_fmt)."""
    unit, name = next(pair for pair in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")) if size >= pair[0])
    return f"{size // unit}{name}"


def _device(path: str, value: Any) -> Device:
    fields = read_fields(path, value, {"host": read_absolute, "container": read_absolute, "access": _access})
    if "host" not in fields:
        raise InvalidInput(f"{path}.host is missing", "say which device of the host is meant")
    inside = _target(f"{path}.container", fields.get("container", fields["host"]))
    if os.path.dirname(inside).split("/")[1] != "dev":
        raise wrong(f"{path}.container", inside, "a path below /dev")
    return Device(fields["host"], inside, fields.get("access", "rwm"))


def _access(path: str, value: Any) -> str:
    text = read_text(path, value)
    if not text or set(text) - set("rwm") or len(set(text)) != len(text):
        raise wrong(path, value, "some of r (read), w (write) and m (make nodes)")
    return text


def _cpuset(path: str, value: Any) -> str:
    text = read_text(path, value)
    if text in ("", "all", "-1"):
        return ""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise wrong(path, value, "processors such as 0-3 or 0,2")
    return text


def _hostname(path: str, value: Any) -> str:
    text = read_text(path, value)
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", text) or len(text) > 64:
        raise wrong(path, value, "a host name of at most 64 letters, digits and '-'")
    return text


def _alias(path: str, value: Any) -> str:
    """A host name in which ``_`` is allowed too, as containers' own names have it."""
    text = read_text(path, value)
    _hostname(path, text.replace("_", "-"))
    return text


def _address(path: str, value: Any) -> str:
    try:
        address = ipaddress.ip_address(read_text(path, value))
        if "%" in str(address):  # a scope is an interface of the host's, and may be any text
            raise ValueError
        return str(address)
    except ValueError:
        raise wrong(path, value, "an IP address") from None


def _extra_host(path: str, value: Any) -> str:
    return HOST_GATEWAY if value == HOST_GATEWAY else _address(path, value)


def _environment(path: str, value: Any) -> dict[str, str]:
    result = read_mapping(read_option_text)(path, value)
    for key in result:
        if not key or "=" in key:
            raise wrong(path, key, "variable names without '='")
    return dict(result)


def _resources(path: str, value: Any) -> Resources:
    return Resources(**read_fields(path, value, _RESOURCES))


def _port(path: str, value: Any) -> PortMapping:
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"container": value}
    fields = read_fields(path, value, _PORT)
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say which port inside is meant")
    return PortMapping(**fields)


def _protocol(path: str, value: Any) -> str:
    if value not in ("tcp", "udp", "sctp"):
        raise wrong(path, value, "tcp, udp or sctp")
    return str(value)


def _mac(path: str, value: Any) -> str:
    text = read_text(path, value).lower()
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", text) or text == "00:00:00:00:00:00":
        raise wrong(path, value, "a MAC of one interface such as 02:6d:ac:14:00:02")
    return text


def _host_address(path: str, value: Any) -> str:
    """An address that a port of the host can be published on."""
    address = ipaddress.ip_address(_address(path, value))
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if is_mapped or address.is_multicast or str(address) == "255.255.255.255":
        raise wrong(path, value, "an address of this host")
    return str(address)


def _address_of(version: int) -> Reader:
    def read(path: str, value: Any) -> str:
        address = _address(path, value)
        if ipaddress.ip_address(address).version != version:
            raise wrong(path, value, f"an IPv{version} address")
        return address

    return read


def _bandwidth(path: str, value: Any) -> dict[str, int]:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        value = {"in": value, "out": value}
    return read_fields(path, value, {"in": _rate, "out": _rate})


def _rate(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise wrong(path, value, "a rate such as 10mbit")
    return parse_rate(value, field=path)


def parse_attachment(document: Any) -> Attachment:
    """What ``network connect`` asks for, as ``networking.attachments`` has it for one network."""
    return _attachment("attachment", document)


def parse_ports(document: Any) -> tuple[PortMapping, ...]:
    """The ``networking.ports`` section alone, as ``port-forward`` sends it."""
    ports: tuple[PortMapping, ...] = read_list(_port)("ports", document)
    return ports


def _attachment(path: str, value: Any) -> Attachment:
    return Attachment(**read_fields(path, value, _ATTACHMENT))


def _networking(path: str, value: Any) -> Networking:
    fields = read_fields(path, value, _NETWORKING)
    for direction, rate in fields.pop("bandwidth", {}).items():
        fields[f"bandwidth_{direction}"] = rate
    single = fields.pop("network", None)
    names = fields.get("networks", ()) or ((single,) if single else ("default",))
    alone = [name for name in names if name in ("none", "host") or name.startswith(OF_CONTAINER)]
    if len(names) > 1 and alone:
        raise InvalidInput(f"{path}.networks: {alone[0]!r} stands alone", "name only one of them")
    if names[0].startswith(OF_CONTAINER):
        for field in _OF_A_NAMESPACE:
            if fields.get(field):
                raise InvalidInput(
                    f"{path}.{field}: the network is that of container {names[0].removeprefix(OF_CONTAINER)!r}",
                    f"leave out {field!r} here, and say it of that container",
                )
    if {"none", "host"} & set(names):
        for field in _OF_A_NETWORK:
            if fields.get(field):
                raise InvalidInput(f"{path}.{field}: network {names[0]!r} has none", f"leave out {field!r}")
    if "none" in names and HOST_GATEWAY in fields.get("extra_hosts", {}).values():
        raise InvalidInput(
            f"{path}.extra_hosts: on network 'none' the host has no address", f"leave out {HOST_GATEWAY!r}"
        )
    for name in fields.get("attachments", {}):
        if name not in names:
            raise InvalidInput(f"{path}.attachments: {name!r} is not among the networks", "add it there")
    return Networking(**{**fields, "networks": tuple(dict.fromkeys(names))})


def _network_name(path: str, value: Any) -> str:
    name = read_text(path, value)
    if name.startswith(OF_CONTAINER):
        return OF_CONTAINER + check_name("container", name.removeprefix(OF_CONTAINER))
    return check_name("network", name)


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


def _mode(path: str, value: Any) -> str:
    if value not in ("rw", "ro"):
        raise wrong(path, value, "rw or ro")
    return str(value)


def _volume(path: str, value: Any) -> Volume:
    fields = read_fields(path, value, _VOLUME)
    if ("host" in fields) == ("volume" in fields):
        raise InvalidInput(f"{path}: give either 'host' or 'volume'", "a host path or a volume's name")
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say where it is mounted inside")
    kind = "bind" if "host" in fields else "volume"
    source = fields.get("host") or fields.get("volume") or ""
    if kind == "bind" and fields.get("nocopy"):
        raise InvalidInput(f"{path}.nocopy: a path of the host is never filled", "leave it out")
    target = _target(f"{path}.container", fields["container"])
    return Volume(kind, source, target, fields.get("mode", "rw"), fields.get("nocopy", False))


def _target(path: str, value: str) -> str:
    if value.rstrip("/") == "":
        raise wrong(path, value, "a path below /")
    return value.rstrip("/")


def _tmpfs(path: str, value: Any) -> Volume:
    fields = read_fields(path, value, {"container": read_absolute, "size": _size(4096)})
    if "container" not in fields:
        raise InvalidInput(f"{path}.container is missing", "say where it is mounted inside")
    return Volume("tmpfs", str(fields.get("size", "")), _target(path, fields["container"]))


def _files(path: str, value: Any) -> tuple[GivenFile, ...]:
    if isinstance(value, (list, tuple)) and len(value) > MOST_FILES:
        raise InvalidInput(f"{path}: {len(value)} files; at most {MOST_FILES} can be given", "use a volume")
    files: tuple[GivenFile, ...] = read_list(_file)(path, value)
    size = sum(file.size for file in files)
    if size > LARGEST_FILES:
        raise InvalidInput(f"{path}: {size} bytes; at most {LARGEST_FILES} can be given", "use a volume")
    return files


def _file(path: str, value: Any) -> GivenFile:
    fields = read_fields(path, value, _FILE)
    for key in ("path", "content"):
        if key not in fields:
            raise InvalidInput(f"{path}.{key} is missing", "a file needs a path and a content")
    content = fields.pop("content")
    return GivenFile(**fields, size=len(content), content=base64.b64encode(content).decode())


def _file_path(path: str, value: Any) -> str:
    place = "/" + posixpath.normpath(read_absolute(path, value)).lstrip("/")
    if str(value).endswith("/") or place.split("/")[1] in ("", "dev", "proc", "sys"):
        raise wrong(path, value, "a file's path outside /dev, /proc and /sys")
    return place


def _file_content(path: str, value: Any) -> bytes:
    """The bytes; no refusal shows them, because they may be a secret."""
    if isinstance(value, str) and len(value) > 4 * (LARGEST_FILE // 3 + 1):
        raise InvalidInput(f"{path}: more than {LARGEST_FILE} bytes", "use a volume")
    try:
        content = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidInput(f"{path}: not base64 text", "encode it, as with `base64 -w0 FILE`") from None
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"{path}: more than {LARGEST_FILE} bytes", "use a volume")
    return content


def _file_mode(path: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-7]{3,4}", value):
        value = int(value, 8)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise wrong(path, value, 'permissions such as "0440" or the number 288')
    return value


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
_RESOURCES: dict[str, Reader] = {
    "cpu_limit": _or_unlimited(_cpus),
    "cpu_shares": _shares,
    "cpuset": _cpuset,
    "memory_limit": _or_unlimited(_size(MEMORY_FLOOR)),
    "memory_swap": _or_unlimited(_size(0)),
    "pids_limit": _or_unlimited(read_integer(1, 4194304)),
    "disk_limit": _size(1024 * 1024),
    "io_limit": _or_unlimited(read_integer(1, 10**9)),
    "io_bytes_limit": _or_unlimited(_size(1024)),
    "hugepages": _hugepages,
}
_PORT: dict[str, Reader] = {
    "container": read_integer(1, 65535),
    "host": read_integer(0, 65535),
    "protocol": _protocol,
    "address": _host_address,
}
_ATTACHMENT: dict[str, Reader] = {
    "address": _address_of(4),
    "address6": _address_of(6),
    "mac": _mac,
    "aliases": read_list(_alias),
}
_OF_A_NETWORK = ("ports", "address", "address6", "mac", "egress_allow", "bandwidth_in", "bandwidth_out")
_OF_A_NAMESPACE = (*_OF_A_NETWORK, "attachments", "aliases", "dns", "dns_search", "extra_hosts")
_NETWORKING: dict[str, Reader] = {
    "network": _network_name,
    "networks": read_list(_network_name),
    "attachments": read_mapping(_attachment),
    "aliases": read_list(_alias),
    "address": _address_of(4),
    "address6": _address_of(6),
    "mac": _mac,
    "egress_allow": read_list(lambda path, value: destination.parse(read_text(path, value), path)),
    "bandwidth": _bandwidth,
    "ports": read_list(_port),
    "dns": read_list(_address),
    "dns_search": read_list(_hostname),
    "extra_hosts": lambda path, value: {
        _hostname(path, name): address for name, address in read_mapping(_extra_host)(path, value).items()
    },
}


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
_VOLUME: dict[str, Reader] = {
    "host": read_absolute,
    "volume": lambda path, value: check_name("volume", read_text(path, value)),
    "container": read_absolute,
    "mode": _mode,
    "nocopy": read_boolean,
}
_FILE: dict[str, Reader] = {
    "path": _file_path,
    "content": _file_content,
    "mode": _file_mode,
    "uid": read_integer(0, 2**32 - 2),
    "gid": read_integer(0, 2**32 - 2),
    "secret": read_boolean,
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
    "hostname": _hostname,
    "terminal": read_boolean,
    "open_stdin": read_boolean,
    "init": read_boolean,
    "resources": _resources,
    "networking": _networking,
    "security": _security,
    "volumes": read_list(_volume),
    "tmpfs": read_list(_tmpfs),
    "files": _files,
    "shm_size": _size(4096),
    "sysctls": _sysctls,
    "devices": read_list(_device),
    "rlimits": read_mapping(_rlimit),
    "labels": read_mapping(read_option_text),
    "restart_policy": _restart_policy,
    "healthcheck": _healthcheck,
    "stop_signal": _signal,
    "stop_timeout": read_integer(0, 86400),
    "auto_remove": read_boolean,
    "log": lambda path, value: read_fields(
        path, value, {"max_size": _size(4096), "max_files": read_integer(1, 100)}
    ),
    "drivers": _drivers,
    "driver_options": lambda path, value: read_fields(
        path, value, dict.fromkeys(DRIVER_KINDS, read_mapping(read_option_text))
    ),
}
