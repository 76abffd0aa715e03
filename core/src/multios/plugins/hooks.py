"""The typed face over pluggy: a method a hook, so that callers see types and plugins see names."""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import pluggy

from multios import hookspecs
from multios.errors import MultiosError, PluginError, StepFailed, nearest
from multios.model.health import Health, HealthCheck
from multios.plugins import steps

if TYPE_CHECKING:
    from multios.drivers.isolation import Bundle, IsolationDriver, Launched
    from multios.drivers.network import NetworkDriver
    from multios.drivers.security import SecurityDriver
    from multios.drivers.storage import StorageDriver
    from multios.model.container import Container
    from multios.model.mount import Mount
    from multios.model.network import Endpoint, Network
    from multios.plugins.catalog import Catalog

log = logging.getLogger(__name__)
CORE = "core"


class Hooks:
    """Every hook of :mod:`multios.hookspecs` as a method; ``refused`` are the plugins that could not take part."""

    def __init__(self, catalog: Catalog | None = None, trace: TextIO | None = None) -> None:
        """Core's steps, and with ``catalog`` every installed hook plugin.

        ``trace`` is where each call is written; standard error when ``MULTIOS_TRACE_PLUGINS=1``.
        """
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[str, str] = {}
        self.refused: list[PluginError] = []
        self.register(steps, CORE)
        if trace or os.environ.get("MULTIOS_TRACE_PLUGINS") == "1":
            _Tracer(trace or sys.stderr).watch(self._manager)
        if catalog is not None:
            self._register_installed(catalog)

    def register(self, plugin: Any, name: str, origin: str = "") -> None:
        """Let ``plugin`` take part; ``origin`` is its distribution.

        Raises ``PluginError`` for a hook that does not exist or an argument it does not have; then nothing
        of the plugin is registered.
        """
        title = f"hooks plugin {name!r}" + (f" of {origin}" if origin else "")
        try:
            self._manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(
                f"{title}: {_one_line(error)}", "see multios.hookspecs for the signature"
            ) from error
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(name=name)
            raise self._unknown_hook(title, plugin) from error
        self._origins[name] = origin

    def names(self) -> list[str]:
        """The plugins that take part, core's own included."""
        return [name for name, _ in self._manager.list_name_plugin()]

    # --- steps -----------------------------------------------------------------------------------

    def prepare_rootfs(self, driver: StorageDriver, container: Container, parent: str) -> tuple[Mount, ...]:
        """The container's snapshot, and its mounts."""
        mounts: tuple[Mount, ...] = self._step(
            "multios_prepare_rootfs", driver=driver, container=container, parent=parent
        )
        return mounts

    def release_rootfs(self, driver: StorageDriver, container: Container) -> None:
        """The inverse of :meth:`prepare_rootfs`."""
        self._step("multios_release_rootfs", driver=driver, container=container)

    def apply_security(
        self, driver: SecurityDriver, container: Container, spec: dict[str, Any], profile: str
    ) -> dict[str, Any]:
        """The runtime spec with the driver's section."""
        complete: dict[str, Any] = self._step(
            "multios_apply_security", driver=driver, container=container, spec=spec, profile=profile
        )
        return complete

    def create_container(self, driver: IsolationDriver, container: Container, bundle: Bundle) -> Launched:
        """The container up to exec."""
        launched: Launched = self._step(
            "multios_create_container", driver=driver, container=container, bundle=bundle
        )
        return launched

    def start_container(self, driver: IsolationDriver, container: Container) -> None:
        """Let it run."""
        self._step("multios_start_container", driver=driver, container=container)

    def delete_container(self, driver: IsolationDriver, container: Container) -> None:
        """The inverse of :meth:`create_container`."""
        self._step("multios_delete_container", driver=driver, container=container)

    def attach_network(
        self, driver: NetworkDriver, container: Container, network: Network, endpoint: Endpoint, netns: int
    ) -> None:
        """Its place on one network."""
        words = {"driver": driver, "container": container, "network": network, "endpoint": endpoint}
        self._step("multios_attach_network", **words, netns=netns)

    def detach_network(
        self, driver: NetworkDriver, container: Container, network: Network, endpoint: Endpoint
    ) -> None:
        """The inverse of :meth:`attach_network`."""
        words = {"driver": driver, "container": container, "network": network, "endpoint": endpoint}
        self._step("multios_detach_network", **words)

    # --- broadcasts ------------------------------------------------------------------------------

    def amend_spec(self, container: Container, spec: dict[str, Any]) -> None:
        """Let every plugin change ``spec`` in place; the first that raises stops the start."""
        for name, call in self._each("multios_amend_spec"):
            try:
                call(container=container, spec=spec)
            except (KeyboardInterrupt, MultiosError):
                raise
            except BaseException as error:
                raise StepFailed("amend spec", f"{self._title(name)}: {_reason(error)}", _REMEDY) from error

    def event(self, event: Mapping[str, Any]) -> None:
        """Tell every plugin; one that raises is logged."""
        for name, call in self._each("multios_event"):
            try:
                call(event=copy.deepcopy(dict(event)))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                log.warning("multios_event: %s: %s", self._title(name), _reason(error))

    def health_checks(self) -> list[tuple[str, HealthCheck]]:
        """Every plugin's findings with its name; one that raises is a finding itself."""
        findings: list[tuple[str, HealthCheck]] = []
        for name, call in self._each("multios_health_checks"):
            try:
                given = [check for answer in call() for check in answer]
                odd = [check for check in given if not isinstance(check, HealthCheck)]
                if odd:
                    raise TypeError(f"{odd[0]!r} is no HealthCheck")
                findings += [(self._title(name), check) for check in given]
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failed = HealthCheck(
                    f"hooks {name}", Health.FAIL, f"its checks failed: {_reason(error)}", _REMEDY
                )
                findings.append((self._title(name), failed))
        return findings

    def authorize(self, caller: int, method: str, parameters: Mapping[str, Any]) -> str | None:
        """Why ``caller`` may not call ``method``, or ``None``. A plugin that raises refuses."""
        for name, call in self._each("multios_authorize"):
            try:
                # A copy: what was judged is what will be done.
                answers = call(caller=caller, method=method, parameters=copy.deepcopy(dict(parameters)))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return f"{self._title(name)} could not decide: {_reason(error)}"
            if answers:
                return str(answers[0]) or f"{self._title(name)} refuses"
        return None

    # --- within ----------------------------------------------------------------------------------

    def _step(self, name: str, **arguments: Any) -> Any:
        answer = getattr(self._manager.hook, name)(**arguments)
        if answer is None:
            raise StepFailed(name, "a plugin that wraps this step returned nothing", _REMEDY)
        return answer

    def _each(self, hook: str) -> Iterable[tuple[str, Callable[..., list[Any]]]]:
        """A caller for each plugin that implements ``hook``, which calls that plugin alone."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        if not implementations:
            return
        everyone = self._manager.get_plugins()
        # pluggy keeps them in the reverse of its order of calling.
        for name, plugin in {item.plugin_name: item.plugin for item in reversed(implementations)}.items():
            others = [item for item in everyone if item is not plugin]
            yield name, self._manager.subset_hook_caller(hook, others)

    def _register_installed(self, catalog: Catalog) -> None:
        plugins, self.refused = catalog.hook_plugins()
        for found in plugins:
            try:
                self.register(found.plugin, found.name, f"{found.distribution} {found.version}".strip())
            except PluginError as error:
                self.refused.append(error)
        for refusal in self.refused:
            log.warning("%s", refusal.cause)

    def _title(self, name: str) -> str:
        origin = self._origins.get(name)
        return f"{name} ({origin})" if origin else name

    def _unknown_hook(self, title: str, plugin: Any) -> PluginError:
        known = [name for name in dir(hookspecs) if name.startswith("multios_")]
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                continue
            name = options.get("specname") or attribute
            if name not in known:
                guess = nearest(name, known)
                hint = (
                    f"did you mean {guess!r}?" if guess else "see multios.hookspecs for the hooks there are"
                )
                return PluginError(f"{title}: no such hook: {name!r}", hint)
        return PluginError(f"{title}: implements a hook that does not exist", "see multios.hookspecs")


class _Tracer:
    """Writes who was called for each hook, how long it took and how it ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def watch(self, manager: pluggy.PluginManager) -> None:
        began = threading.local()

        def before(_hook: str, _implementations: Sequence[Any], _arguments: Mapping[str, Any]) -> None:
            began.times = [*getattr(began, "times", ()), time.monotonic()]

        def after(
            outcome: pluggy.Result[Any],
            hook: str,
            implementations: Sequence[Any],
            _arguments: Mapping[str, Any],
        ) -> None:
            spent = (time.monotonic() - began.times.pop()) * 1000
            who = ", ".join(item.plugin_name for item in reversed(implementations)) or "nobody"
            end = f"raised {type(outcome.exception).__name__}" if outcome.exception else "done"
            print(f"multios: {hook}: {who}: {end} in {spent:.1f} ms", file=self._stream, flush=True)

        manager.add_hookcall_monitoring(before, after)


_REMEDY = "ask the plugin's author, or uninstall it and restart the daemon"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
