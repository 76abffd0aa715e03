"""Which plugins exist, and the chosen ones loaded: the only importer of stevedore.

Nothing here goes through stevedore's ``map`` or its disk cache: the first swallows exceptions, the second
lives under a HOME that a root process must not trust. Its entry-point cache is seeded from one scan instead.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stevedore import DriverManager, ExtensionManager

from multios import typed_table
from multios.drivers.base import KINDS, Driver, DriverContext, group
from multios.errors import InvalidInput, MultiosError, NotFound, PluginError, nearest
from multios.model.container import DriverIdentity
from multios.model.health import Health, HealthCheck
from multios.plugins import contract, discovery
from multios.plugins.discovery import ALL_KINDS, HOOKS, Declared
from multios.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedDriver:
    """An imported driver class that fulfils its contract, and where it came from."""

    driver: type[Driver]
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class LoadedHooks:
    """An imported hook plugin: a module or an object with hook implementations."""

    name: str
    distribution: str
    version: str
    plugin: Any


class Catalog:
    """Knows every installed plugin; imports those that are asked for. Thread-safe."""

    def __init__(
        self, settings: Settings | None = None, scan: Callable[[], tuple[Declared, ...]] = discovery.scan
    ) -> None:
        self._settings = settings or Settings()
        self._scan = scan
        self._declared = scan()
        self._loaded: dict[tuple[str, str], LoadedDriver] = {}
        self._lock = threading.RLock()

    def rescan(self) -> None:
        """See what was installed or uninstalled since; what is loaded stays loaded."""
        with self._lock:
            discovery.follow_editable_installs()
            self._declared = self._scan()

    def names(self, kind: str) -> list[str]:
        """The drivers of a kind that are installed and of this contract's version."""
        return sorted({item.name for item in self._of(kind) if item.compatible})

    def declared(self, distribution: str) -> list[Declared]:
        """What one distribution declares."""
        wanted = _normalized(distribution)
        return [item for item in self._declared if _normalized(item.distribution) == wanted]

    def distributions(self) -> list[str]:
        """Every distribution that declares something."""
        return sorted({item.distribution for item in self._declared})

    # --- loading ---------------------------------------------------------------------------------

    def load(self, kind: str, name: str, recorded: DriverIdentity | None = None) -> LoadedDriver:
        """The driver class ``name``. With ``recorded``, the error for a missing one says what to reinstall.

        Raises ``NotFound`` for an unknown name, ``PluginError`` for one that is broken, of another contract
        version, or offered by two distributions.
        """
        with self._lock:
            if (kind, name) not in self._loaded:
                item = self._the_one(kind, name, recorded)
                try:
                    driver = contract.check(kind, name, _import(item))
                except contract.Mismatch as error:
                    raise _broken(item, str(error)) from error
                self._loaded[kind, name] = LoadedDriver(driver, item.distribution, item.version)
            return self._loaded[kind, name]

    def create(
        self,
        kind: str,
        name: str,
        values: Mapping[str, Any],
        context: DriverContext,
        recorded: DriverIdentity | None = None,
    ) -> Driver:
        """Make the driver with its settings. ``values`` may be text where a field is not: options are.

        Raises what :meth:`load` raises, ``InvalidInput`` for a setting that does not fit and ``PluginError`` for a
        driver that cannot be made; its own ``MultiosError`` passes.
        """
        loaded = self.load(kind, name, recorded)
        settings = self.read_settings(kind, name, values)
        what = f"{kind} driver {name!r} of {loaded.distribution} {loaded.version} cannot be made"
        driver: Driver = _guarded(lambda: loaded.driver(settings, context), what, passing=MultiosError)
        return driver

    def read_settings(self, kind: str, name: str, values: Mapping[str, Any]) -> Any:
        """The driver's ``Settings`` from its table and options, each field checked."""
        return typed_table.read(self.load(kind, name).driver.Settings, values, f"{kind}.{name}.", text=True)

    def identity(self, kind: str, name: str) -> DriverIdentity:
        """What a container records of the driver that serves it."""
        loaded = self.load(kind, name)
        return DriverIdentity(kind, name, loaded.distribution, loaded.version)

    def hook_plugins(self) -> tuple[list[LoadedHooks], list[PluginError]]:
        """Every hook plugin that can be imported, and why the others cannot."""
        plugins: list[LoadedHooks] = []
        errors: list[PluginError] = []
        for name in sorted({item.name for item in self._of(HOOKS) if item.compatible}):
            try:
                item = self._the_one(HOOKS, name, None)
                plugins.append(LoadedHooks(name, item.distribution, item.version, _import(item)))
            except PluginError as error:
                errors.append(error)
        return plugins, errors

    # --- listing ---------------------------------------------------------------------------------

    def rows(self, kind: str | None = None) -> list[dict[str, Any]]:
        """A row a plugin, for ``plugins.list``; sees what was installed or uninstalled since.

        Drivers and hook plugins are imported, each in its own guard, so that a broken one can be said to be.
        Commands are the client's and are not.
        """
        if kind is not None and kind not in ALL_KINDS:
            raise _unknown_kind(kind)
        self.rescan()
        return [self._row(item) for item in self._declared if kind in (None, item.kind)]

    def show(self, name: str, kind: str | None = None) -> dict[str, Any]:
        """One plugin's row with its settings and its findings on this host."""
        found = [row for row in self.rows(kind) if row["name"] == name]
        if not found:
            listed = sorted({row["name"] for row in self.rows(kind)})
            guess = nearest(name, listed)
            hint = f"did you mean {guess!r}?" if guess else f"installed: {', '.join(listed)}"
            raise NotFound(f"no such plugin: {name!r}", hint)
        kinds = sorted({row["kind"] for row in found})
        if len(kinds) > 1:
            raise InvalidInput(
                f"{name!r} is the name of several plugins", f"name its kind: {', '.join(kinds)}"
            )
        row = found[0]
        row["settings"], row["health"] = [], []
        if row["kind"] in KINDS and row["status"] in ("ready", "default"):
            driver = self.load(row["kind"], name).driver
            row["settings"] = self._settings_rows(row["kind"], name, driver)
            row["health"] = [dataclasses.asdict(item) for item in health_of(driver, row["distribution"])]
        return row

    def _row(self, item: Declared) -> dict[str, Any]:
        row: dict[str, Any] = {
            "kind": item.kind,
            "name": item.name,
            "distribution": item.distribution,
            "version": item.version,
            "status": "ready",
            "summary": "",
            "capabilities": [],
            "error": "",
        }
        if not item.compatible:
            return {**row, "status": "incompatible", "error": _incompatible(item).cause}
        if len(rivals := self._rivals(item.kind, item.name)) > 1:
            return {**row, "status": "conflict", "error": _conflict(rivals).cause}
        try:
            if item.kind in KINDS:
                driver = self.load(item.kind, item.name).driver
                row["summary"] = str(driver.summary)
                row["capabilities"] = sorted(str(capability) for capability in driver.capabilities)
            elif item.kind == HOOKS:
                row["summary"] = _first_line(_import(item))
        except PluginError as error:
            return {**row, "status": "broken", "error": error.cause}
        if item.name in self._settings.default_drivers(item.kind):
            row["status"] = "default"
        return row

    def _settings_rows(self, kind: str, name: str, driver: type[Driver]) -> list[dict[str, Any]]:
        types = typed_table.field_types(driver.Settings)
        default = driver.Settings()
        try:
            current = self.read_settings(kind, name, self._settings.driver_values(kind, name))
        except InvalidInput as error:
            log.warning("%s", error.cause)
            current = default
        return [
            {
                "name": key,
                "type": typed_table.type_name(hint),
                "default": _plain(getattr(default, key)),
                "value": _plain(getattr(current, key)),
            }
            for key, hint in types.items()
        ]

    # --- choosing --------------------------------------------------------------------------------

    def _of(self, kind: str) -> list[Declared]:
        if kind not in ALL_KINDS:
            raise _unknown_kind(kind)
        return [item for item in self._declared if item.kind == kind]

    def _rivals(self, kind: str, name: str) -> list[Declared]:
        return [item for item in self._of(kind) if item.name == name and item.compatible]

    def _the_one(self, kind: str, name: str, recorded: DriverIdentity | None) -> Declared:
        if not self._rivals(kind, name):
            self.rescan()
        rivals = self._rivals(kind, name)
        if len(rivals) > 1:
            raise _conflict(rivals)
        if rivals:
            return rivals[0]
        for item in self._of(kind):
            if item.name == name:
                raise _incompatible(item)
        if recorded is not None:
            raise PluginError(
                f"needs the {kind} driver {name!r} of {recorded.distribution} {recorded.version}, which is not installed",
                f"python3 -m pip install {recorded.distribution}=={recorded.version}",
            )
        raise self._unknown(kind, name)

    def _unknown(self, kind: str, name: str) -> NotFound:
        choices = self.names(kind)
        guess = nearest(name, choices)
        hints = [f"did you mean {guess!r}? " if guess else "", f"installed: {', '.join(choices) or 'none'}"]
        if name.replace("-", "").replace("_", "").isalnum() and name.isascii():
            hints.append(f"; or try: python3 -m pip install {discovery.distribution_for(kind, name)}")
        return NotFound(f"no such {kind} driver: {name[:80]!r}", "".join(hints))


def health_of(driver: type[Driver], distribution: str) -> list[HealthCheck]:
    """A driver's own findings; one that raises is a finding itself."""
    try:
        return _findings(_guarded(lambda: list(driver.health_checks()), "its health checks failed"))
    except PluginError as error:
        return [
            HealthCheck(
                f"{driver.kind} {driver.name}", Health.FAIL, error.cause, f"report it to {distribution}"
            )
        ]


def _findings(items: Iterable[Any]) -> list[HealthCheck]:
    odd = [item for item in items if not isinstance(item, HealthCheck)]
    if odd:
        raise PluginError(f"its health checks gave {odd[0]!r}, which is no HealthCheck")
    return list(items)


def _import(item: Declared) -> Any:
    """What the entry point names, by stevedore; whatever its import raises becomes a ``PluginError``."""
    namespace = group(item.kind)

    def manager() -> Any:
        # Just this one: stevedore would import every entry point of that name.
        ExtensionManager.ENTRY_POINT_CACHE[namespace] = [item.entry_point]
        return DriverManager(namespace, item.name, on_load_failure_callback=_reraise).driver

    with _IMPORTING:
        return _guarded(manager, _broken(item, "its import failed").cause)


_IMPORTING = threading.RLock()


def _reraise(_manager: Any, _entry_point: Any, error: BaseException) -> None:
    raise error


def _guarded(call: Callable[[], Any], what: str, passing: type[BaseException] = KeyboardInterrupt) -> Any:
    """Call a plugin's code; what it raises becomes a ``PluginError``, but for ``passing`` and the user's interrupt."""
    try:
        return call()
    except (KeyboardInterrupt, passing):
        raise
    except BaseException as error:  # SystemExit too: a plugin may call sys.exit() when it is imported
        log.debug("%s", what, exc_info=True)
        reason = " ".join(str(error).split())[:300]
        raise PluginError(
            f"{what}: {type(error).__name__}{': ' + reason if reason else ''}",
            "reinstall or remove it; the daemon's log at level debug has the traceback",
        ) from error


def _broken(item: Declared, reason: str) -> PluginError:
    return PluginError(
        f"{_described(item)} is broken: {reason}",
        f"reinstall or remove it: python3 -m pip install --force-reinstall {item.distribution}",
    )


def _incompatible(item: Declared) -> PluginError:
    return PluginError(
        f"{_described(item)} is for contract {item.contract}, this core has {group(item.kind).rsplit('.')[-1]}",
        f"install a version of {item.distribution} that fits, or upgrade multios-core",
    )


def _conflict(rivals: list[Declared]) -> PluginError:
    names = " and ".join(f"{item.distribution} {item.version}" for item in rivals)
    return PluginError(
        f"{names} both bring a plugin of kind {rivals[0].kind} named {rivals[0].name!r}",
        f"uninstall one of them: python3 -m pip uninstall {rivals[-1].distribution}",
    )


def _described(item: Declared) -> str:
    noun = "driver" if item.kind in KINDS else "plugin"
    return f"{item.kind} {noun} {item.name!r} of {item.distribution} {item.version}"


def _unknown_kind(kind: str) -> NotFound:
    guess = nearest(kind, list(ALL_KINDS))
    hint = f"did you mean {guess!r}?" if guess else f"kinds: {', '.join(ALL_KINDS)}"
    return NotFound(f"no such kind of plugin: {kind[:80]!r}", hint)


def _normalized(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def _first_line(plugin: Any) -> str:
    return (getattr(plugin, "__doc__", None) or "").strip().partition("\n")[0]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
