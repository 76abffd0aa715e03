"""Every hook, a section a subsystem.

*Steps* are firstresult: the first plugin that answers other than ``None`` has handled the step; core's
own implementation (``trylast``) calls the chosen driver, and a plugin may wrap it. *Broadcasts* go to
every plugin, each in its own try. Plugins register under the entry-point group ``multios.hooks.v1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from multios.drivers.isolation import Bundle, IsolationDriver, Launched
    from multios.drivers.network import NetworkDriver
    from multios.drivers.security import SecurityDriver
    from multios.drivers.storage import StorageDriver
    from multios.model.container import Container
    from multios.model.health import HealthCheck
    from multios.model.mount import Mount
    from multios.model.network import Endpoint, Network

PROJECT = "multios"
HOOKS_GROUP = "multios.hooks.v1"
COMMANDS_GROUP = "multios.command.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- storage: the root filesystem --------------------------------------------------------------


@hookspec(firstresult=True)
def multios_prepare_rootfs(
    driver: StorageDriver, container: Container, parent: str
) -> tuple[Mount, ...] | None:
    """Make the container's writable snapshot on the committed snapshot ``parent``.

    Called once at create. With ``resources.disk_limit`` it is to be kept to that size. Returns the snapshot's
    mounts. Since 0.1.
    """


@hookspec(firstresult=True)
def multios_release_rootfs(driver: StorageDriver, container: Container) -> bool | None:
    """Remove the container's snapshot: the inverse of ``multios_prepare_rootfs``.

    Called at delete and when a create fails. Returns ``True``. Since 0.1.
    """


# --- security: the runtime spec ----------------------------------------------------------------


@hookspec(firstresult=True)
def multios_apply_security(
    driver: SecurityDriver, container: Container, spec: dict[str, Any], profile: str
) -> dict[str, Any] | None:
    """Complete the drafted OCI runtime spec with the security driver's section.

    Called at every start, once for each driver of the container's chain, in order: ``spec`` is what the one before
    returned. ``profile`` is ``default`` where nobody asked for another. Before ``multios_amend_spec``. Returns the new
    spec. Since 0.1.
    """


@hookspec
def multios_amend_spec(container: Container, spec: dict[str, Any]) -> None:
    """Change the OCI runtime spec in place, last of all.

    Broadcast at every start. A plugin that raises stops the start: a policy that fails is not skipped.
    Since 0.1.
    """


# --- isolation: the process --------------------------------------------------------------------


@hookspec(firstresult=True)
def multios_create_container(
    driver: IsolationDriver, container: Container, bundle: Bundle
) -> Launched | None:
    """Make the container up to, but not including, exec.

    Called at every start. Returns what was launched. Since 0.1.
    """


@hookspec(firstresult=True)
def multios_start_container(driver: IsolationDriver, container: Container) -> bool | None:
    """Let the created container run. Returns ``True``. Since 0.1."""


@hookspec(firstresult=True)
def multios_delete_container(driver: IsolationDriver, container: Container) -> bool | None:
    """Remove what the isolation driver keeps of a container: the inverse of ``multios_create_container``.

    Called when it has exited, at delete and when a start fails. Returns ``True``. Since 0.1.
    """


# --- networking: the endpoint ------------------------------------------------------------------


@hookspec(firstresult=True)
def multios_attach_network(
    driver: NetworkDriver, container: Container, network: Network, endpoint: Endpoint, netns: int
) -> bool | None:
    """Attach the created container's network namespace to a network, once a network.

    ``netns`` is a descriptor. Returns ``True``. Since 0.1.
    """


@hookspec(firstresult=True)
def multios_detach_network(
    driver: NetworkDriver, container: Container, network: Network, endpoint: Endpoint
) -> bool | None:
    """The inverse of ``multios_attach_network``; the namespace may be gone. Returns ``True``. Since 0.1."""


# --- broadcasts --------------------------------------------------------------------------------


@hookspec
def multios_event(event: dict[str, Any]) -> None:
    """Something happened: ``type`` (``container``, ``network``), ``action``, ``id``, ``name``, ``time``, ``attributes``, ``sequence``.

    Called after the fact, one event after another in a thread of its own, outside every lock; what it raises is logged with the
    plugin's name. Since 0.1.
    """


@hookspec
def multios_health_checks() -> Iterable[HealthCheck] | None:
    """More findings for ``doctor``; ``None`` for none. Since 0.1."""


@hookspec
def multios_authorize(caller: int, method: str, parameters: dict[str, Any]) -> str | None:
    """May the user with uid ``caller`` make this API call?

    Returns ``None`` for yes, else the reason for no; one refusal is enough, and a plugin that raises refuses.
    Since 0.1.
    """
