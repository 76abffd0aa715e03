"""The daemon's settings: built-in defaults, then its TOML file, then ``MULTIOS_*`` of its environment."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from multios import quota_settings, typed_table
from multios.errors import InvalidInput
from multios.model import security_chain
from multios.model.container import Resources
from multios.model.quantities import parse_cpus, parse_size
from multios.model.security_profile import BUILT_IN, SecurityProfile, read_capabilities
from multios.model.security_profile import read as read_profile
from multios.quota_settings import QuotaSettings
from multios.rootless import roots
from multios.template_format import index_place

DEFAULT_FILE = Path("/etc/multios/containers.conf")
DRIVER_TABLES = {
    "isolation": "isolation",
    "storage": "storage",
    "network": "network",
    "security": "security",
    "image": "image_source",
    "template": "template",
    "orchestrator": "orchestrator",
}
"""``[network.bridge]`` configures the driver ``bridge`` of the kind ``network``: table to kind."""

_LARGEST_FILE = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_IDS_PER_CONTAINER = 65536


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or (value and not _NAME.fullmatch(value)):
        raise InvalidInput(
            f"{where}: {value!r} is not a driver's name", "see 'multios-container plugin list'"
        )
    return value


def _chain(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: {value!r} is not text", "write driver names with commas between them")
    return security_chain.write(security_chain.parse(value, where)) if value else ""


def _interface(value: Any, where: str) -> str:
    """A network interface's name as the kernel takes it (dev_valid_name)."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", value) or value in (".", ".."):
        raise InvalidInput(
            f"{where}: {value!r} is not an interface name", "at most 15 letters, digits, '-', '_', '.'"
        )
    return value


def _subnet(value: Any, where: str) -> str:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise InvalidInput(
            f"{where}: {value!r} is not an IPv4 subnet", "for example 172.17.0.0/16"
        ) from error
    if network.prefixlen > 29:
        raise InvalidInput(f"{where}: {value!r} has no room for containers", "use a prefix of /29 or shorter")
    return str(network)


def _cgroup(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise InvalidInput(
            f"{where}: {value!r} is not a cgroup's name", "one path element: letters, digits, '-', '_'"
        )
    return value


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """``[daemon]``. ``pid_file`` unset is ``exec_root/daemon.pid``.

    ``idle_seconds`` is how long a daemon that was started on demand stays without requests and running containers.
    """

    data_root: Path = Path("/var/lib/multios/containers")
    exec_root: Path = Path("/run/multios/containers")
    pid_file: Path | None = None
    cgroup_parent: str = field(default="multios", metadata={"parse": _cgroup})
    idle_seconds: int = 300

    def __post_init__(self) -> None:
        if self.idle_seconds < 1:
            raise ValueError("idle_seconds must be at least 1")


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """``[logging]``: the daemon's own log, and who did what."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    file: Path = Path("/var/log/multios/containers.log")
    audit_file: Path | None = None
    """Unset: ``audit.log`` beside ``file``."""

    @property
    def audit(self) -> Path:
        """Where the audit log is."""
        return self.audit_file or self.file.with_name("audit.log")


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """``[security]``: what containers get that do not ask.

    ``seccomp_profile`` is a profile's name or an absolute path to one. ``user_namespace`` is ``auto`` (own id
    range) or ``host``; ``user_namespace_fallback`` is what happens where the kernel cannot idmap a container's layers:
    ``refuse`` to start it, or start it in the ``host`` user namespace with a warning. ``profile`` is the bundle of
    containers that name none; ordinary users may then name no other.
    """

    seccomp_profile: str = "default"
    apparmor_profile: str = ""
    profile: str = ""
    user_namespace: Literal["auto", "host"] = "auto"
    user_namespace_fallback: Literal["refuse", "host"] = "refuse"


@dataclass(frozen=True, slots=True)
class NetworkingSettings:
    """``[networking]``: the default network."""

    bridge: str = field(default="multios0", metadata={"parse": _interface})
    subnet: str = field(default="172.17.0.0/16", metadata={"parse": _subnet})


@dataclass(frozen=True, slots=True)
class DriverDefaults:
    """``[defaults]``: the driver of each kind for containers that do not ask. Empty ``image_source``: ask every one."""

    isolation: str = field(default="ns", metadata={"parse": _name})
    storage: str = field(default="overlay", metadata={"parse": _name})
    network: str = field(default="bridge", metadata={"parse": _name})
    security: str = field(default="", metadata={"parse": _chain})
    """A chain, as :mod:`multios.model.security_chain` has it. Empty: the built-in one, as far as it is installed."""
    image_source: str = field(default="", metadata={"parse": _name})
    orchestrator: str = field(default="local", metadata={"parse": _name})


@dataclass(frozen=True, slots=True)
class IdRanges:
    """``[id_ranges]``: host ids for user namespaces, 65536 a running container.

    The default lies above what subuid(5) gives to users and what systemd gives to nspawn, where systemd's
    UIDS-GIDS.md says "unused".
    """

    start: int = 0x7000_0000
    count: int = 0x0FFE_0000

    def __post_init__(self) -> None:
        if self.start < _IDS_PER_CONTAINER or self.start % _IDS_PER_CONTAINER:
            raise ValueError("start must be a multiple of 65536 and not 0")
        if self.count < _IDS_PER_CONTAINER or self.start + self.count > 2**32 - _IDS_PER_CONTAINER:
            raise ValueError("count must hold at least one range of 65536 and end below 4294901760")


def _variables(value: Any, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInput(
            f"{where}: must be a table of text", 'for example { http_proxy = "http://proxy:3128" }'
        )
    for name in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidInput(f"{where}: {name!r} is not a variable's name", "letters, digits and '_'")
    return value


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """``[build]``: what the commands of builds see, and no image keeps.

    ``environment`` adds variables, such as a proxy's; ``ca_bundle`` is a file of certificates that their TLS
    clients trust, for hosts behind a proxy that opens TLS.
    """

    environment: Mapping[str, str] = field(default_factory=dict, metadata={"parse": _variables})
    ca_bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class ImagesSettings:
    """``[images]``: what a layer may grow to where it is unpacked; more is taken for a bomb.

    ``largest_layer`` is of one layer, uncompressed. ``largest_ratio`` is how many times its compressed size it may
    have, unless it has less than 1 GiB: gzip reaches 1032.
    """

    largest_layer: int = field(default=64 << 30, metadata={"parse": parse_size})
    largest_ratio: int = 1100

    def __post_init__(self) -> None:
        if self.largest_ratio < 1:
            raise ValueError("largest_ratio must be at least 1")


def _capabilities(value: Any, where: str) -> tuple[str, ...]:
    names = read_capabilities(value, where)
    if "ALL" in names:
        raise InvalidInput(f"{where}: ALL would be root's own", "name them one by one")
    return names


def _devices(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(path, str) and path.startswith("/dev/") and os.path.normpath(path) == path
        for path in value
    ):
        raise InvalidInput(f"{where}: must be a list of devices", 'for example ["/dev/net/tun"]')
    return tuple(value)


def _indexes(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(place, str) for place in value):
        raise InvalidInput(
            f"{where}: must be a list of folders and addresses", 'for example ["/srv/templates"]'
        )
    for number, place in enumerate(value):
        if index_place.is_web(place):
            try:
                index_place.parts_of(place)
            except InvalidInput as error:
                raise InvalidInput(f"{where}[{number}]: {error.cause}", error.remedy) from None
        elif not place.startswith("/") or not place.isprintable():
            raise InvalidInput(f"{where}[{number}]: {place!r} is no absolute path", "write /srv/templates")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class TemplatesSettings:
    """``[templates]``: what containers of installed templates may get beyond the default where ordinary users make them.

    The capabilities are those of a container's own user and network namespaces; ``allowed_devices`` are paths of the
    host's devices. Administrators are not bound by it. ``users_may_import`` is whether ordinary users may bring templates
    of their own, whose steps are run to build images. ``indexes`` are the folders and addresses in which clients look for
    templates by name, the first before the second.
    """

    allowed_capabilities: tuple[str, ...] = field(
        default=("NET_RAW", "NET_ADMIN", "SYS_PTRACE"), metadata={"parse": _capabilities}
    )
    allowed_devices: tuple[str, ...] = field(default=(), metadata={"parse": _devices})
    users_may_import: bool = True
    indexes: tuple[str, ...] = field(default=(), metadata={"parse": _indexes})


@dataclass(frozen=True, slots=True)
class _ResourceTable:
    """``[default_resources]`` as written; :class:`Resources` once read."""

    cpu_limit: float | None = field(default=None, metadata={"parse": parse_cpus})
    cpu_shares: int | None = None
    cpuset: str | None = None
    memory_limit: int | None = field(default=None, metadata={"parse": parse_size})
    memory_swap: int | None = field(default=None, metadata={"parse": parse_size})
    pids_limit: int = 2048
    disk_limit: int | None = field(default=None, metadata={"parse": parse_size})
    io_limit: int | None = None
    io_bytes_limit: int | None = field(default=None, metadata={"parse": parse_size})

    def __post_init__(self) -> None:
        if not 0 <= self.pids_limit <= 2**22:
            raise ValueError("pids_limit must be 0 (not limited) to 4194304")
        if self.cpu_shares is not None and not 2 <= self.cpu_shares <= 262144:
            raise ValueError("cpu_shares must be 2 to 262144")
        if self.disk_limit is not None and self.disk_limit < 2**20:
            raise ValueError("disk_limit must be at least 1M")
        if self.io_limit is not None and self.io_limit < 1:
            raise ValueError("io_limit must be at least 1")
        if self.cpuset is not None and not re.fullmatch(r"[0-9]{1,5}([,-][0-9]{1,5}){0,127}", self.cpuset):
            raise ValueError("cpuset must be like 0-3,8")

    def resources(self) -> Resources:
        values = {name: getattr(self, name) for name in _ResourceTable.__slots__}
        return Resources(**{**values, "pids_limit": self.pids_limit or None})


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. ``drivers`` is kind to driver name to that driver's own table, which the catalog checks.

    ``file`` is what was read, ``None`` for built-in defaults only.
    """

    daemon: DaemonSettings = DaemonSettings()
    logging: LoggingSettings = LoggingSettings()
    security: SecuritySettings = SecuritySettings()
    default_resources: Resources = Resources(pids_limit=2048)
    networking: NetworkingSettings = NetworkingSettings()
    defaults: DriverDefaults = DriverDefaults()
    id_ranges: IdRanges = IdRanges()
    build: BuildSettings = BuildSettings()
    images: ImagesSettings = ImagesSettings()
    templates: TemplatesSettings = TemplatesSettings()
    quotas: QuotaSettings = QuotaSettings()
    drivers: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    security_profiles: Mapping[str, SecurityProfile] = field(default_factory=lambda: dict(BUILT_IN))
    """Bundles by name: the built-in ones, and ``[security_profiles.NAME]``, which may replace those."""
    file: Path | None = None

    @property
    def data_root(self) -> Path:
        """Where everything that survives a reboot is kept."""
        return self.daemon.data_root

    @property
    def exec_root(self) -> Path:
        """Sockets, pid file and exit records."""
        return self.daemon.exec_root

    @property
    def pid_file(self) -> Path:
        """Where the daemon writes its process id."""
        return self.daemon.pid_file or self.exec_root / "daemon.pid"

    def default_driver(self, kind: str) -> str:
        """The default driver's name, empty where the kind has none; of security, the whole chain as text."""
        if kind == "security":
            return self.defaults.security or security_chain.write(security_chain.BUILT_IN)
        return str(getattr(self.defaults, kind, ""))

    def default_drivers(self, kind: str) -> tuple[str, ...]:
        """The names of the default drivers: several of security, at most one of any other kind."""
        name = self.default_driver(kind)
        if kind == "security":
            return security_chain.parse(name, "defaults.security")
        return (name,) if name else ()

    def driver_values(self, kind: str, name: str) -> Mapping[str, Any]:
        """The driver's own table, unchecked."""
        return self.drivers.get(kind, {}).get(name, {})


_SECTIONS: dict[str, type] = {
    "daemon": DaemonSettings,
    "logging": LoggingSettings,
    "security": SecuritySettings,
    "default_resources": _ResourceTable,
    "networking": NetworkingSettings,
    "defaults": DriverDefaults,
    "id_ranges": IdRanges,
    "build": BuildSettings,
    "images": ImagesSettings,
    "templates": TemplatesSettings,
}


_PROFILES = "security_profiles"


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``path``, else the file that ``MULTIOS_CONFIG`` names, else the default one if it exists.

    Raises ``InvalidInput`` that names file and key.
    """
    file = path or (Path(environ["MULTIOS_CONFIG"]) if environ.get("MULTIOS_CONFIG") else None)
    places = roots.own()
    default_file = Path(places.config_file) if places else DEFAULT_FILE
    if file is None and default_file.exists():
        file = default_file
    document = _parse(file) if file else {}
    settings = _from_table(_for_user(document, places) if places else document, file)
    return _with_environment(settings, environ)


def _for_user(document: Mapping[str, Any], places: roots.Places) -> dict[str, Any]:
    """A file's tables, completed with what differs by default in a user's own engine."""
    completed = dict(document)
    for section, defaults in (
        ("daemon", {"data_root": places.data_root, "exec_root": places.exec_root}),
        ("logging", {"file": places.log_file}),
        ("defaults", {"network": "pasta"}),
    ):
        table = completed.get(section, {})
        if isinstance(table, dict):  # else the reader refuses it
            completed[section] = {**defaults, **table}
    return completed


def _parse(file: Path) -> dict[str, Any]:
    import tomli  # deferred: many daemons have no file

    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInput(
            f"{file}: {error.strerror}", "name a readable file, or none for the defaults"
        ) from error
    if len(data) > _LARGEST_FILE:
        raise InvalidInput(f"{file}: larger than 1 MiB", "this is not a settings file")
    try:
        return tomli.loads(data.decode())
    except (tomli.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"{file}: not TOML: {error}", "see docs/configuration.md for an example"
        ) from error


def _from_table(document: Mapping[str, Any], file: Path | None) -> Settings:
    values: dict[str, Any] = {"file": file}
    drivers: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for section, table in document.items():
        known = {*_SECTIONS, *DRIVER_TABLES, "quotas", _PROFILES}
        if section not in known:
            raise typed_table.unknown_key(section, sorted(known), f"{file}: ")
        if not isinstance(table, dict):
            raise InvalidInput(
                f"{file}: {section}: {table!r} is not a table", f"write [{section}] and keys below it"
            )
        if section == "quotas":
            values[section] = quota_settings.read(table, f"{file}: quotas.")
            continue
        if section == _PROFILES:
            values[section] = BUILT_IN | {
                name: read_profile(name, body, f"{file}: {section}.") for name, body in table.items()
            }
            continue
        own, named = _split(section, table, file)
        if named:
            drivers[DRIVER_TABLES[section]] = named
        if section in _SECTIONS:
            values[section] = typed_table.read(_SECTIONS[section], own, f"{file}: {section}.")
    if "default_resources" in values:
        values["default_resources"] = values["default_resources"].resources()
    return Settings(**values, drivers=drivers)


def _split(
    section: str, table: dict[str, Any], file: Path | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A section's own keys and its drivers' tables (``[security]`` has both)."""
    if section not in DRIVER_TABLES:
        return table, {}
    named = {
        _name(key, f"{file}: {section}"): value for key, value in table.items() if isinstance(value, dict)
    }
    own = {key: value for key, value in table.items() if key not in named}
    if own and section not in _SECTIONS:
        key = next(iter(own))
        raise InvalidInput(
            f"{file}: {section}.{key}: no such setting", f"write [{section}.DRIVER] and the key below it"
        )
    return own, named


def _with_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    daemon: dict[str, Any] = {}
    for key in ("data_root", "exec_root", "cgroup_parent"):
        if value := environ.get(f"MULTIOS_{key.upper()}"):
            read = typed_table.read(
                DaemonSettings, {key: value}, f"MULTIOS_{key.upper()} in the environment: "
            )
            daemon[key] = getattr(read, key)
    chosen: dict[str, Any] = {}
    for kind in DriverDefaults.__slots__:
        if value := environ.get(f"MULTIOS_{kind.upper()}"):
            read_name = _chain if kind == "security" else _name
            chosen[kind] = read_name(value, f"MULTIOS_{kind.upper()} in the environment")
    return replace(
        settings, daemon=replace(settings.daemon, **daemon), defaults=replace(settings.defaults, **chosen)
    )
