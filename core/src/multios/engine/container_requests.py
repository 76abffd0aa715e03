"""What is asked for, as it will be made: images and templates found, and what policy, networks and drivers refuse."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from multios.engine import disk_limits, limit_changes, security_profiles, template_requests
from multios.engine.caller import Caller, check_request
from multios.engine.confinement import Confinement
from multios.engine.container_parts import Parts
from multios.engine.host_paths import open_source
from multios.engine.network_sharing import NetworkSharing
from multios.errors import InvalidInput, Refused
from multios.model.container import ContainerConfig, Resources
from multios.model.image import Image
from multios.settings import Settings

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]


class ContainerRequests:
    """Requests for containers, before anything is made of them."""

    def __init__(self, parts: Parts, confinement: Confinement, sharing: NetworkSharing) -> None:
        self._parts = parts
        self._confinement = confinement
        self._sharing = sharing

    def check(self, config: ContainerConfig, caller: Caller) -> ContainerConfig:
        """Raise what a creation would refuse, without making anything: policy, networks, drivers, template.

        Returns the request with its security profile's values.
        """
        check_request(config, caller)
        config = security_profiles.joined(config, caller, self._parts.settings())
        for volume in config.volumes:
            if volume.kind == "bind":
                os.close(open_source(volume, caller))
        self._parts.networks.resolved(config.networking, caller)
        self._sharing.resolved(config, caller, self.wants_own_ids)
        self._parts.drivers.identities(config)
        if driver := config.drivers.get("network"):
            self._parts.networks.check_driver(driver, config.networking, caller)
        if config.driver_options.get("network"):
            raise InvalidInput(
                "options of a network driver belong to a network, and not to a container on it",
                "multios-container network create --network-opt KEY=VALUE NAME, and use --network NAME",
            )
        self._confinement.check(config)
        wanted = limit_changes.together(config.resources, self.default_resources())
        disk_limits.check(self._parts.drivers.storage_named(config), wanted)
        if config.template:
            self._with_requests(config, caller)
        return config

    def resolve_image(
        self, config: ContainerConfig, caller: Caller, progress: Progress
    ) -> tuple[ContainerConfig, Image]:
        """The image, pulled or built if absent, and the request with what a template wants of its container."""
        templates, images = self._parts.templates, self._parts.images
        if not config.template and not images.find(config.image) and config.image in templates.names(caller):
            config = replace(config, template=config.image, image="")
        if not config.template:
            return config, images.ensure(config.image, progress)
        config = self._with_requests(config, caller)  # refused before anything is built
        image = templates.image_for(config.template, config.template_options, progress, caller)
        return replace(config, image=image.references[0]), image

    def _with_requests(self, config: ContainerConfig, caller: Caller) -> ContainerConfig:
        """The request of a template's container with what the template wants of it, as far as that is granted."""
        found = self._parts.templates.find(config.template, caller)
        plan = found.driver.render(config.template_options)
        config = template_requests.granted(config, plan, caller, self._parts.settings(), found.is_of_a_user)
        if plan.capabilities and not caller.is_administrator and not self.wants_own_ids(config):
            raise Refused(
                f"template {plan.name!r} asks for capabilities, and containers here have no user namespace",
                "ask the administrator",
            )
        return config

    def template_warnings(self, config: ContainerConfig, caller: Caller) -> list[str]:
        """What of a template's container is below what the template needs."""
        if not config.template:
            return []
        plan = self._parts.templates.plan(config.template, config.template_options, caller)
        return template_requests.warnings(config.resources, plan)

    def default_resources(self) -> Resources:
        """What the settings give to everyone: without the built-in limit where no controller could enforce it."""
        defaults = self._parts.settings().default_resources
        if defaults == Settings().default_resources and not self._parts.limits_pids():
            return replace(defaults, pids_limit=None)
        return defaults

    def wants_own_ids(self, config: ContainerConfig) -> bool:
        """Whether it gets a user namespace of its own: by default; never silently none."""
        policy = self._parts.settings().security
        if config.security.user_namespace not in ("auto", "host") and not config.security.privileged:
            return True
        if config.security.privileged or "host" in (config.security.user_namespace, policy.user_namespace):
            return False
        if self._parts.features.get("idmapped_overlay", True) or policy.user_namespace_fallback == "refuse":
            return True
        log.warning("container %s runs without a user namespace: the kernel cannot idmap layers", config.name)
        return False
