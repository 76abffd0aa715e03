"""Core's own implementation of every step: the chosen driver does it.

Registered like any plugin's and called last, so that a plugin can take a step over or wrap it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multios.hookspecs import hookimpl

if TYPE_CHECKING:
    from multios.drivers.isolation import Bundle, IsolationDriver, Launched
    from multios.drivers.network import NetworkDriver
    from multios.drivers.security import SecurityDriver
    from multios.drivers.storage import StorageDriver
    from multios.model.container import Container
    from multios.model.mount import Mount
    from multios.model.network import Endpoint, Network


@hookimpl(trylast=True)
def multios_prepare_rootfs(driver: StorageDriver, container: Container, parent: str) -> tuple[Mount, ...]:
    limit = container.config.resources.disk_limit
    if limit is not None:
        return driver.prepare_limited(container.id, parent, limit)
    return driver.prepare(container.id, parent)


@hookimpl(trylast=True)
def multios_release_rootfs(driver: StorageDriver, container: Container) -> bool:
    driver.remove(container.id)
    return True


@hookimpl(trylast=True)
def multios_apply_security(driver: SecurityDriver, spec: dict[str, Any], profile: str) -> dict[str, Any]:
    return driver.apply(spec, profile)


@hookimpl(trylast=True)
def multios_create_container(driver: IsolationDriver, bundle: Bundle) -> Launched:
    return driver.create(bundle)


@hookimpl(trylast=True)
def multios_start_container(driver: IsolationDriver, container: Container) -> bool:
    driver.start(container.id)
    return True


@hookimpl(trylast=True)
def multios_delete_container(driver: IsolationDriver, container: Container) -> bool:
    driver.delete(container.id)
    return True


@hookimpl(trylast=True)
def multios_attach_network(driver: NetworkDriver, network: Network, endpoint: Endpoint, netns: int) -> bool:
    driver.add(network, endpoint, netns)
    return True


@hookimpl(trylast=True)
def multios_detach_network(driver: NetworkDriver, network: Network, endpoint: Endpoint) -> bool:
    driver.delete(network, endpoint)
    return True
