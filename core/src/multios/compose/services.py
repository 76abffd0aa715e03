"""Services as the app document has them: one container document each, and what is around it."""

from __future__ import annotations

from multios.compose import capabilities, environment, hooks, limits, mounts, networks, ports, quantities
from multios.compose.addresses import alias, checked_name, hostname
from multios.compose.builds import build
from multios.compose.deployment import Deployment
from multios.compose.health import healthcheck
from multios.compose.mounts import Mounts
from multios.compose.networks import Places
from multios.compose.sources import read_text
from multios.compose.tree import Items, Table
from multios.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.compose.field import Field
    from multios.compose.files import Files
    from multios.compose.mounts import Volumes
    from multios.compose.networks import Networks

_CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}
_PULLS = {
    "always": "always",
    "never": "never",
    "missing": "missing",
    "if_not_present": "missing",
    "build": "build",
}
_AGED_PULLS = ("daily", "weekly", "refresh")
_LOG_DRIVERS = ("json-file", "local", "")
_LOG_OPTIONS = ("max-size", "max-file")
_LARGEST_STOP = 86400


class Shared:
    """What services have in common."""

    def __init__(
        self, app: str, networks: Networks, volumes: Volumes, files: Files, variables: Mapping[str, str]
    ) -> None:
        self.app, self.variables = app, variables
        self.networks, self.volumes, self.files = networks, volumes, files


class Service:
    """One service that is enabled, read from its field; :meth:`document` when all are."""

    def __init__(self, name: str, field: Field, shared: Shared) -> None:
        self.name, self._whole, self._shared = name, field, shared
        self._keys = field.table("service")
        self._deployment = Deployment(self._keys)
        self.replicas = self._deployment.replicas()
        self.image = self._image()
        self._places = Places(name, self._keys, shared.networks, field)
        self._networking = self._places.document(self.replicas)
        self.mounts = Mounts(name, shared.volumes, self.replicas)
        self._read_mounts()

    @property
    def line(self) -> str:
        """Where it is defined, as errors begin: ``compose.yaml:12``."""
        return f"{self._whole.place[0]}:{self._whole.place[1]}"

    def _image(self) -> str:
        if "template" in self._keys:
            for other in ("image", "build"):
                if other in self._keys:
                    raise self._keys[other].error("there is a template too", "leave one of them out")
            return ""
        if "image" in self._keys:
            if image := self._keys["image"].text():
                return image
            raise self._keys["image"].expected("the name of an image")
        if "build" not in self._keys:
            raise self._whole.error("it has neither image, build nor template", "name one of them")
        return _image_name(f"{self._shared.app}-{self.name}")

    def _read_mounts(self) -> None:
        if "volumes" in self._keys:
            self.mounts.add_volumes(self._keys["volumes"])
        if "tmpfs" in self._keys:
            self.mounts.add_tmpfs(self._keys["tmpfs"])

    # --- beside the container -------------------------------------------------------------------------------

    def build(self) -> dict[str, Any]:
        """What is to be built; empty for nothing."""
        if "build" not in self._keys:
            return {}
        return build(self._keys["build"], self.image, self._shared.files, self._shared.variables)

    def pull_policy(self) -> str:
        """``always``, ``never``, ``missing`` or ``build``; empty where nothing is said."""
        if "pull_policy" not in self._keys:
            return ""
        field = self._keys["pull_policy"]
        policy = field.text()
        if policy in _AGED_PULLS or policy.startswith("every_"):
            field.warn(f"{policy[:40]} is taken as missing: the age of an image is not looked at")
            return "missing"
        if policy == "build" and "build" not in self._keys:
            raise field.error("there is nothing to build", "give it a build, or another policy")
        return _PULLS[field.one_of(*_PULLS)]

    def platform(self) -> str:
        """Which platform's image is wanted; empty for this host's."""
        return self._keys["platform"].text() if "platform" in self._keys else ""

    def is_attached(self) -> bool:
        """Whether its log is followed."""
        return self._keys["attach"].flag() if "attach" in self._keys else True

    def document(self, services: dict[str, Service], disabled: dict[str, Any]) -> dict[str, Any]:
        """``services.NAME`` of the app document."""
        found: dict[str, Any] = {"container": {}}
        if self.replicas != 1:
            found["replicas"] = self.replicas
        if "container_name" in self._keys:
            found["container_name"] = self._container_name(self._keys["container_name"])
        if dependencies := self._dependencies(services, disabled):
            found["depends_on"] = dependencies
        if update := self._deployment.update():
            found["update"] = update
        for kind in hooks.KINDS:
            if kind in self._keys and (asked := hooks.hooks(self._keys[kind], self._shared.variables)):
                found[kind] = asked
        uses: list[dict[str, Any]] = []
        for section in ("configs", "secrets"):
            if section in self._keys:
                uses += self._shared.files.uses(section, self._keys[section])
        if uses:
            found["files"] = uses
        self._link(services)
        if other := self._network_service(services, disabled):
            self._networking = networks.of_container(other.first_container())
        if "volumes_from" in self._keys:
            self._share_mounts(self._keys["volumes_from"], services)
        found["container"] = self._container()
        return found

    def container_name(self) -> tuple[str, Field] | None:
        """``container_name`` and its field; ``None`` without one."""
        field = self._keys.get("container_name")
        return (self._container_name(field), field) if field is not None else None

    def _container_name(self, field: Field) -> str:
        if self.replicas > 1:
            raise field.error(f"{self.replicas} containers cannot have one name", "leave it out")
        return checked_name(field, field.text())

    # --- other services ---------------------------------------------------------------------------------------

    def _other(
        self, name: str, services: dict[str, Service], disabled: dict[str, Any], field: Field
    ) -> Service:
        if name in services:
            return services[name]
        if name in disabled:
            profiles = ", ".join(disabled[name])
            raise field.error(
                f"service {name!r} is not enabled", f"enable one of its profiles: --profile {profiles}"
            )
        guess = nearest(name, list(services))
        raise field.error(
            f"there is no service {name[:80]!r}",
            f"did you mean {guess!r}?" if guess else f"there are: {', '.join(services)[:200]}",
        )

    def _dependencies(self, services: dict[str, Service], disabled: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if other := self._network_service(services, disabled):
            found[other.name] = {"condition": "started"}
        for key in ("links", "volumes_from"):
            for item in self._keys[key].items() if key in self._keys else []:
                other = self._other(item.text().partition(":")[0], services, disabled, item)
                found[other.name] = {"condition": "started"}
        field = self._keys.get("depends_on")
        if field is None:
            return found
        if isinstance(field.value, Items):
            for item in field.items():
                found[self._other(item.text(), services, disabled, item).name] = {"condition": "started"}
            return found
        for name, item in field.entries().items():
            keys = item.table("depends_on")
            is_required = keys["required"].flag() if "required" in keys else True
            if not is_required and name not in services:
                continue
            found[self._other(name, services, disabled, item).name] = _dependency(keys, is_required)
        return found

    def _network_service(self, services: dict[str, Service], disabled: dict[str, Any]) -> Service | None:
        """The service whose first container's network this one uses."""
        if self._places.shared is None or not self._keys["network_mode"].text().startswith("service:"):
            return None
        name, field = self._places.shared
        other = self._other(name, services, disabled, field)
        if other is self:
            raise field.error("it is the service itself", "name another one")
        if other._places.shared is not None:
            raise field.error(f"service {name!r} uses the network of another one itself", "name that one")
        if other._is_on_host():
            raise field.error(f"service {name!r} has the host's network", "use network_mode host")
        return other

    def first_container(self) -> str:
        """What the engine knows the first of its containers by."""
        if "container_name" in self._keys:
            return self._container_name(self._keys["container_name"])
        return f"{self._shared.app}-{self.name}-1"

    def _link(self, services: dict[str, Service]) -> None:
        for item in self._keys["links"].items() if "links" in self._keys else []:
            name, colon, other_name = item.text().partition(":")
            if not colon:
                continue
            target = services[name]._networking.get("attachments", {})
            shared = target.keys() & self._networking.get("attachments", {}).keys()
            if not shared:
                raise item.error(f"{name!r} is on none of this service's networks", "let both join one")
            for network in shared:
                if alias(item, other_name) not in target[network]["aliases"]:
                    target[network]["aliases"].append(other_name)

    def _share_mounts(self, field: Field, services: dict[str, Service]) -> None:
        for item in field.items():
            name, _, mode = item.text().partition(":")
            if mode not in ("", "ro", "rw"):
                raise item.expected("SERVICE or SERVICE:ro")
            self.mounts.add_from(services[name].mounts, mode == "ro")

    # --- the container ------------------------------------------------------------------------------------------

    def _container(self) -> dict[str, Any]:
        keys = self._keys
        found: dict[str, Any] = (
            {"template": self._template()} if "template" in keys else {"image": self.image}
        )
        if "template" in keys and isinstance(keys["template"].value, Table):
            options = keys["template"].table("template").get("options")
            if options:
                found["template_options"] = {name: item.scalar() for name, item in options.entries().items()}
        for key in ("command", "entrypoint"):
            if key in keys:
                found[key] = quantities.words(keys[key])
        found |= self._process()
        sections = {
            "environment": environment.environment(keys, self._shared.variables),
            "labels": environment.labels(keys, self._shared.variables),
            "resources": limits.resources(keys, self._deployment.limits),
            "sysctls": limits.sysctls(keys["sysctls"], self._whose_network()) if "sysctls" in keys else {},
            "rlimits": limits.rlimits(keys["ulimits"]) if "ulimits" in keys else {},
            "security": self._security(),
            "log": self._log(),
            "healthcheck": healthcheck(keys["healthcheck"]) if "healthcheck" in keys else {},
            "devices": mounts.devices(keys["devices"]) if "devices" in keys else [],
            "restart_policy": self._deployment.restart_policy(),
        }
        found |= {name: value for name, value in sections.items() if value}
        found["networking"] = self._finished_networking()
        return found | self.mounts.document()

    def _template(self) -> str:
        field = self._keys["template"]
        if not isinstance(field.value, Table):
            return field.text()
        keys = field.table("template")
        if "name" not in keys:
            raise field.error("name is missing", "name the template")
        return keys["name"].text()

    def _process(self) -> dict[str, Any]:
        """What concerns the first process."""
        keys = self._keys
        found: dict[str, Any] = {}
        if "working_dir" in keys:
            found["working_directory"] = keys["working_dir"].text()
            if not found["working_directory"].startswith("/"):
                raise keys["working_dir"].expected("an absolute path")
        if "user" in keys:
            found["user"] = keys["user"].text()
        if keys.get("group_add"):
            found["groups"] = [item.text() for item in keys["group_add"].items()]
        if "hostname" in keys:
            found["hostname"] = hostname(keys["hostname"])
        for key, name in (("tty", "terminal"), ("stdin_open", "open_stdin"), ("init", "init")):
            if key in keys and keys[key].flag():
                found[name] = True
        if "stop_signal" in keys:
            found["stop_signal"] = _signal(keys["stop_signal"])
        if "stop_grace_period" in keys:
            period = quantities.seconds(keys["stop_grace_period"])
            found["stop_timeout"] = min(int(period) + (period % 1 > 0), _LARGEST_STOP)
        if "shm_size" in keys:
            found["shm_size"] = quantities.size(keys["shm_size"], 4096)
        if "isolation" in keys and keys["isolation"].text() not in ("default", ""):
            found["drivers"] = {"isolation": keys["isolation"].text()}
        return found

    def _security(self) -> dict[str, Any]:
        keys = self._keys
        found: dict[str, Any] = {}
        for key, name in (("cap_add", "capabilities"), ("cap_drop", "drop_capabilities")):
            if keys.get(key):
                found[name] = [capabilities.checked(item) for item in keys[key].items()]
        if "privileged" in keys and keys["privileged"].flag():
            found["privileged"] = True
        if "read_only" in keys and keys["read_only"].flag():
            found |= {"read_only": True, "read_only_tmpfs": False}  # /tmp too, as Compose has it
        if "userns_mode" in keys and keys["userns_mode"].text() not in ("", "private"):
            found["user_namespace"] = keys["userns_mode"].text()
        for key in ("cgroup", "ipc"):
            if key in keys and keys[key].text() not in ("private", ""):
                raise keys[key].error(
                    f"{keys[key].text()[:40]!r} is not supported", f"every container has its own {key}"
                )
        if "blkio_config" in keys:
            keys["blkio_config"].table("blkio_config")  # warns of each key, or refuses it
        if "expose" in keys:
            ports.check_exposed(keys["expose"])
        for item in keys["security_opt"].items() if "security_opt" in keys else []:
            found |= _security_option(item)
        return found

    def _is_on_host(self) -> bool:
        return "host" in self._networking["networks"]

    def _whose_network(self) -> str:
        """Whose the network is where it is not the container's own; else empty."""
        if self._is_on_host():
            return "the host's"
        return f"that of {self._keys['network_mode'].text()}" if self._places.shared else ""

    def _log(self) -> dict[str, Any]:
        if "logging" not in self._keys:
            return {}
        keys, found = self._keys["logging"].table("logging"), {}
        if "driver" in keys and keys["driver"].text() not in _LOG_DRIVERS:
            keys["driver"].warn(f"{keys['driver'].text()[:40]!r} is left out: the log is the engine's own")
            return {}
        for name, field in keys["options"].entries().items() if "options" in keys else []:
            if name not in _LOG_OPTIONS:
                field.warn("the option is left out: the engine has max-size and max-file")
            elif name == "max-size" and field and field.text() != "-1":
                found["max_size"] = quantities.size(field, 4096)
            elif name == "max-file" and field:
                found["max_files"] = field.whole(1, 100)
        return found

    def _finished_networking(self) -> dict[str, Any]:
        keys, networking = self._keys, self._networking
        alone = set(networking["networks"]) & {"host", "none"}
        if "ports" in keys and (published := ports.published(keys["ports"])):
            if alone:
                keys["ports"].warn(f"they are left out: network {alone.pop()!r} publishes none")
            else:
                networking["ports"] = published
        if "domainname" in keys and (domain := keys["domainname"].text()):
            self._add_domain(keys["domainname"], domain)
        return networking | networks.naming(keys)

    def _add_domain(self, field: Field, domain: str) -> None:
        if "hostname" not in self._keys:
            raise field.error("there is no hostname before it", "give a hostname")
        for place in self._networking.get("attachments", {}).values():
            place["aliases"].append(alias(field, f"{self._keys['hostname'].text()}.{domain}"))


def _dependency(keys: dict[str, Field], is_required: bool) -> dict[str, Any]:
    condition = keys["condition"].one_of(*_CONDITIONS) if "condition" in keys else "service_started"
    found: dict[str, Any] = {"condition": _CONDITIONS[condition]}
    if "restart" in keys and keys["restart"].flag():
        found["restart"] = True
    if not is_required:
        found["required"] = False
    return found


def _signal(field: Field) -> str:
    import signal  # deferred: few services have one

    text = field.text()
    if text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) in set(signal.Signals):
        return signal.Signals(int(text)).name
    name = "SIG" + text.upper().removeprefix("SIG")
    if name not in signal.Signals.__members__:
        raise field.error(f"there is no signal {text[:40]!r}", "use a name such as SIGTERM: see signal(7)")
    return name


def _security_option(item: Field) -> dict[str, Any]:
    text = item.text()
    name, mark, value = text.partition("=" if "=" in text else ":")
    if name == "no-new-privileges" and value in ("", "true", "false"):
        return {"no_new_privileges": value != "false"}
    if name == "seccomp" and value:
        is_file = value.startswith("/")
        return {"seccomp_profile": read_text(value, value, item.place, item.path) if is_file else value}
    if name == "apparmor" and value:
        return {"apparmor_profile": value}
    raise item.error(
        f"{text[:80]!r} is not supported", "use no-new-privileges, seccomp=PROFILE or apparmor=PROFILE"
    )


def _image_name(text: str) -> str:
    """``text`` as a part of a reference: small letters, no two separators in a row, none at the ends."""
    name = ""
    for letter in text.lower():
        is_separator = not letter.isalnum()
        if is_separator and (not name or not name[-1].isalnum()):
            continue
        name += letter
    return name.rstrip("._-")
