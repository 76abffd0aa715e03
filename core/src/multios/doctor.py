"""Is this host fit? Core's findings and every plugin's, each plugin in its own guard."""

from __future__ import annotations

import grp
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from multios import features
from multios.cgroups.hierarchy import Hierarchy
from multios.drivers.base import KINDS
from multios.engine.caller import GROUP
from multios.errors import PluginError, Unsupported
from multios.filesystems import bounds, sized
from multios.model.health import Health, HealthCheck
from multios.model.quantities import format_size
from multios.plugins.catalog import Catalog, health_of
from multios.plugins.discovery import distribution_for
from multios.plugins.hooks import Hooks
from multios.rootless import roots
from multios.rootless.health import no_cgroups, own_engine_checks
from multios.settings import Settings

OLDEST_KERNEL = (4, 14)
LOW_SPACE = 2 * 2**30
"""Bytes: less free than this and an image may not fit."""
COSTLY = ("user_namespace", "seccomp", "idmapped_mounts", "idmapped_overlay", "overlay", "nftables")
"""Features whose absence is a warning; the rest are conveniences."""

SUBORDINATE_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))

_HOST_INTERFACE = re.compile(r"mv[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Finding:
    """A :class:`HealthCheck` and who found it: ``core`` or a plugin."""

    subject: str
    health: Health
    detail: str
    remedy: str = ""
    source: str = "core"


def run(
    settings: Settings, catalog: Catalog, hooks: Hooks, known: Mapping[str, Iterable[str]]
) -> list[Finding]:
    """Everything there is to say of this host; changes nothing.

    ``known`` is what the engine has on record, to tell what is left over: ``containers`` (ids) and, where given,
    ``snapshots`` and ``held_snapshots`` (keys wanted and there), ``interfaces`` (the host's ends), ``cgroups`` (names).
    """
    own = roots.own()
    core = [
        *kernel_checks(),
        *cgroup_checks(settings),
        *directory_checks(settings),
        *disk_limit_checks(settings),
        *(own_engine_checks(own.uid) if own else [*id_range_checks(settings), *group_checks()]),
        *leftover_checks(settings, {kind: set(names) for kind, names in known.items()}),
        *default_driver_checks(settings, catalog),
    ]
    findings = [_finding(check, "core") for check in core]
    findings += _plugin_findings(catalog)
    findings += [
        _finding(HealthCheck("hooks", Health.FAIL, e.cause, e.remedy), "core") for e in hooks.refused
    ]
    findings += [_finding(check, source) for source, check in hooks.health_checks()]
    return findings


def worst(findings: Iterable[Finding]) -> Health:
    """What the exit status goes by; a skip colours nothing."""
    seen = {finding.health for finding in findings}
    return next((health for health in (Health.FAIL, Health.WARN) if health in seen), Health.OK)


def kernel_checks() -> Iterator[HealthCheck]:
    """The kernel's age and what it can do."""
    version = features.kernel_version()
    release = os.uname().release
    if version < OLDEST_KERNEL:
        yield HealthCheck("kernel", Health.FAIL, f"Linux {release} is older than 4.14", "upgrade the kernel")
    else:
        yield HealthCheck("kernel", Health.OK, f"Linux {release}")
    for name, present in features.probe().items():
        if present:
            yield HealthCheck(f"kernel {name}", Health.OK, "present")
        else:
            is_asked = roots.own() is None or name != "nftables"  # only the host's root may ask for it
            health = Health.WARN if name in COSTLY and is_asked else Health.SKIP
            yield HealthCheck(f"kernel {name}", health, f"absent: {features.cost(name)}")


def cgroup_checks(settings: Settings) -> Iterator[HealthCheck]:
    """Which hierarchies limits are written to."""
    try:
        hierarchy = Hierarchy.find(settings.daemon.cgroup_parent)
    except (OSError, ValueError) as error:
        yield HealthCheck("cgroups", Health.FAIL, str(error), "mount cgroup2 at /sys/fs/cgroup")
        return
    if hierarchy.mode == "none" and roots.own():
        yield no_cgroups()
        return
    if hierarchy.mode == "none":
        yield HealthCheck(
            "cgroups",
            Health.FAIL,
            "none that may be written",
            "run as root, or delegate a cgroup to this user",
        )
        return
    missing = [name for name in ("cpu", "memory", "pids") if name not in hierarchy.controllers]
    if missing:
        detail = f"{hierarchy.mode}, without {', '.join(missing)}: such limits are refused"
        yield HealthCheck(
            "cgroups", Health.WARN, detail, "enable the controllers on the kernel's command line"
        )
    else:
        yield HealthCheck(
            "cgroups", Health.OK, f"{hierarchy.mode}: {', '.join(sorted(hierarchy.controllers))}"
        )


def directory_checks(settings: Settings) -> Iterator[HealthCheck]:
    """Space, ownership and rights of the two roots."""
    for subject, path in (("data_root", settings.data_root), ("exec_root", settings.exec_root)):
        if not path.is_dir():
            yield HealthCheck(subject, Health.SKIP, f"{path} is not there yet")
            continue
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            detail = f"{path} belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}"
            remedy = f"chown {os.geteuid()} {path} && chmod go-w {path}"
            yield HealthCheck(
                subject, Health.FAIL, f"{detail}: others can change what containers are", remedy
            )
            continue
        free = shutil.disk_usage(path).free
        low = subject == "data_root" and free < LOW_SPACE
        yield HealthCheck(
            subject,
            Health.WARN if low else Health.OK,
            f"{path}: {format_size(free)} free",
            "remove images and containers that are not needed: multios-container prune" if low else "",
        )


def disk_limit_checks(settings: Settings) -> Iterator[HealthCheck]:
    """What keeps ``--disk-limit`` on the data root."""
    path = next(path for path in (settings.data_root, *settings.data_root.parents) if path.is_dir())
    try:
        means = bounds.found(str(path))
    except Unsupported as error:
        needed = settings.default_resources.disk_limit is not None
        health = Health.FAIL if needed else Health.SKIP
        yield HealthCheck("disk limits", health, error.cause, error.remedy)
        return
    detail = f"kept by a {means} each"
    if means == bounds.SIZED_FILESYSTEM and not sized.may_enlarge():
        detail += ", which without CAP_SYS_RESOURCE grows to four times its first size while in use, and further when stopped"
    yield HealthCheck("disk limits", Health.OK, detail)


def id_range_checks(settings: Settings) -> Iterator[HealthCheck]:
    """Whether the containers' id range is somebody's in subuid(5) or subgid(5)."""
    first = settings.id_ranges.start
    last = first + settings.id_ranges.count
    owners = [
        f"{owner} ({file})"
        for file in SUBORDINATE_FILES
        for owner, start, count in _subordinate(file)
        if start < last and first < start + count and owner != "multios"
    ]
    if owners:
        detail = f"{first} to {last - 1} overlaps with ids of {', '.join(owners[:5])}"
        yield HealthCheck("id_ranges", Health.WARN, detail, "choose [id_ranges] that are nobody's")
    else:
        yield HealthCheck("id_ranges", Health.OK, f"{first} to {last - 1}, nobody else's")


def group_checks() -> Iterator[HealthCheck]:
    """Whether ordinary users can be let in."""
    try:
        members = grp.getgrnam(GROUP).gr_mem
    except KeyError:
        yield HealthCheck(
            f"group {GROUP}",
            Health.SKIP,
            "there is none, so only root can use this daemon",
            f"groupadd --system {GROUP}, restart the daemon, then for each user: usermod -aG {GROUP} USER",
        )
        return
    shown = ", ".join(members[:5]) + (f" and {len(members) - 5} more" if len(members) > 5 else "")
    yield HealthCheck(f"group {GROUP}", Health.OK, f"may use this daemon: {shown or 'nobody yet'}")


def leftover_checks(settings: Settings, known: Mapping[str, set[str]]) -> Iterator[HealthCheck]:
    """What exists and belongs to no container on record."""
    containers = known.get("containers", set())
    found = {
        "directories": [
            path.name for path in _entries(settings.data_root / "containers") if path.name not in containers
        ],
        "mounts": _mounts_below(settings.data_root / "containers", settings.exec_root),
        "cgroups": _idle_cgroups(settings, containers | known.get("cgroups", set())),
    }
    if "held_snapshots" in known:
        found["snapshots"] = sorted(known["held_snapshots"] - containers - known.get("snapshots", set()))
    if "interfaces" in known:
        ends = [
            path.name for path in _entries(Path("/sys/class/net")) if _HOST_INTERFACE.fullmatch(path.name)
        ]
        found["interfaces"] = [name for name in ends if name not in known["interfaces"]]
    for what, names in found.items():
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            remedy = "restart the daemon, which cleans up; what stays may be removed by hand"
            yield HealthCheck(f"leftover {what}", Health.WARN, f"of no container: {shown}", remedy)
    if not any(found.values()):
        yield HealthCheck("leftovers", Health.OK, f"none ({', '.join(found)})")


def default_driver_checks(settings: Settings, catalog: Catalog) -> Iterator[HealthCheck]:
    """Whether each default can be used with the settings it has."""
    for kind in KINDS:
        for name in settings.default_drivers(kind):
            subject = f"default {kind} {name}" if kind == "security" else f"default {kind}"
            is_left_out = kind == "security" and not settings.defaults.security
            if is_left_out and name not in catalog.names(kind):
                detail, remedy = (
                    f"{name} is not installed",
                    f"python3 -m pip install {distribution_for(kind, name)}",
                )
                yield HealthCheck(subject, Health.SKIP, detail, remedy)
                continue
            yield _default_driver_check(subject, kind, name, settings, catalog)


def _default_driver_check(
    subject: str, kind: str, name: str, settings: Settings, catalog: Catalog
) -> HealthCheck:
    try:
        loaded = catalog.load(kind, name)
        catalog.read_settings(kind, name, settings.driver_values(kind, name))
        return HealthCheck(subject, Health.OK, f"{name} of {loaded.distribution} {loaded.version}")
    except Exception as error:
        cause, remedy = getattr(error, "cause", str(error)), getattr(error, "remedy", "")
        return HealthCheck(subject, Health.FAIL, cause, remedy)


def _plugin_findings(catalog: Catalog) -> Iterator[Finding]:
    for row in catalog.rows():
        subject, source = f"{row['kind']} {row['name']}", f"{row['distribution']} {row['version']}".strip()
        if row["error"]:
            yield Finding(
                subject, Health.WARN, row["error"], f"python3 -m pip uninstall {row['distribution']}", source
            )
        elif row["kind"] in KINDS:
            try:
                driver = catalog.load(row["kind"], row["name"]).driver
            except PluginError as error:
                yield Finding(subject, Health.WARN, error.cause, error.remedy, source)
                continue
            for check in health_of(driver, row["distribution"]):
                yield _finding(check, source)


def _finding(check: HealthCheck, source: str) -> Finding:
    return Finding(check.subject, check.health, check.detail, check.remedy, source)


def _subordinate(file: Path) -> Iterator[tuple[str, int, int]]:
    """Owner, first id and count of each valid line of subuid(5)."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        owner, _, numbers = line.partition(":")
        start, _, count = numbers.partition(":")
        if start.isascii() and start.isdigit() and count.isascii() and count.isdigit():
            yield owner, int(start), int(count)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _mounts_below(*directories: Path) -> list[str]:
    prefixes = tuple(f"{directory.resolve()}/" for directory in directories)
    points = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(prefixes)]


def _idle_cgroups(settings: Settings, known: set[str]) -> list[str]:
    """Groups below our parent that no process is in and no container owns."""
    try:
        hierarchy = Hierarchy.find(settings.daemon.cgroup_parent)
        return [name for name in hierarchy.names() if name not in known and not hierarchy.processes(name)]
    except (OSError, ValueError):
        return []
