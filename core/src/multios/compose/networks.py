"""The app's networks, and the places of services on them."""

from __future__ import annotations

from multios.compose.addresses import address, alias, checked_name, hostname, mac, subnet
from multios.compose.tree import Items, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.compose.field import Field

DEFAULT = "default"
_BUILT_IN = ("host", "none")
_HOST_GATEWAY = "host-gateway"
_OF_CONTAINER = "container:"
_OF_A_NETWORK = ("ports", "dns", "dns_search", "extra_hosts", "mac_address", "links", "domainname")
"""What a service has not that uses another's network."""
_BRIDGE_NAME = "com.docker.network.bridge.name"
_MTU, _AMONG_EACH_OTHER = "com.docker.network.driver.mtu", "com.docker.network.bridge.enable_icc"


def external_name(field: Field, keys: dict[str, Field]) -> str:
    """The name of what is ``external``; empty for what is the app's own."""
    external = keys.get("external")
    if external is None:
        return ""
    if isinstance(external.value, Table):
        named = external.entries().get("name")  # the form of before 2018
        return named.text() if named else field.path.partition(".")[2]
    if not external.flag():
        return ""
    return keys["name"].text() if "name" in keys else field.path.partition(".")[2]


class Networks:
    """The networks of the file; those that a service uses are made."""

    def __init__(self, field: Field | None, app: str) -> None:
        self._fields, self._app = field.named() if field else {}, app
        self._used: dict[str, dict[str, Any]] = {}

    def document(self) -> dict[str, Any]:
        """``networks`` of the app document."""
        return {key: value for key, value in self._used.items() if value["name"] not in _BUILT_IN}

    def use(self, key: str, asker: Field) -> str:
        """The name that the engine knows network ``key`` by."""
        if key not in self._used:
            if key not in self._fields and key != DEFAULT:
                raise asker.error(
                    f"there is no network {key[:80]!r}",
                    f"define it: networks: {{{key[:80]}: {{}}}}, or correct the name",
                )
            self._used[key] = self._read(key)
        return str(self._used[key]["name"])

    def _read(self, key: str) -> dict[str, Any]:
        field = self._fields.get(key)
        if field is None:
            return {"name": f"{self._app}_{key}"}
        keys = field.table("networks")
        if external := external_name(field, keys):
            for other in keys.keys() - {"external", "name"}:
                raise keys[other].error("an external network is not the app's to define", "leave it out")
            return {"name": checked_name(field, external), "external": True}
        name = keys["name"].text() if "name" in keys else f"{self._app}_{key}"
        if name in _BUILT_IN:
            raise field.error(f"{name!r} is the engine's own", "give it external: true, or use network_mode")
        document: dict[str, Any] = {"name": checked_name(keys.get("name", field), name)}
        if request := _request(keys):
            document["request"] = request
        return document


def _request(keys: dict[str, Field]) -> dict[str, Any]:
    """Parameters of ``networks.create``."""
    request: dict[str, Any] = {}
    if "driver" in keys and keys["driver"].text() != "default":
        request["driver"] = keys["driver"].text()
        if request["driver"] == "overlay":
            raise keys["driver"].error("networks do not reach over several hosts", "use bridge")
    if "enable_ipv4" in keys and not keys["enable_ipv4"].flag():
        raise keys["enable_ipv4"].error("every network has IPv4", "leave it out")
    for key, name in (("enable_ipv6", "ipv6"), ("internal", "internal")):
        if key in keys and keys[key].flag():
            request[name] = True
    if "attachable" in keys:
        keys["attachable"].flag()
    if "driver_opts" in keys:
        _options(keys["driver_opts"], request)
    if "ipam" in keys:
        _addresses(keys["ipam"].table("networks, ipam"), request)
    if "labels" in keys and (labels := keys["labels"].texts()):
        request["labels"] = labels
    return request


def _options(field: Field, request: dict[str, Any]) -> None:
    options = {}
    for name, option in field.entries().items():
        if name == _AMONG_EACH_OTHER:
            request |= {} if option.flag() else {"isolate": True}
        elif name == _MTU:
            options["mtu"] = option.text()
        elif name == _BRIDGE_NAME:
            option.warn("it is left out: the engine gives its bridges names itself")
        elif name.startswith("com.docker."):
            raise option.error(
                "an option of docker's that has no counterpart", f"there are {_MTU} and {_AMONG_EACH_OTHER}"
            )
        else:
            options[name] = option.scalar()
    if options:
        request["options"] = options


def _addresses(ipam: dict[str, Field], request: dict[str, Any]) -> None:
    if "driver" in ipam and ipam["driver"].text() not in ("default", ""):
        raise ipam["driver"].error("there is one way to choose addresses", "leave it out")
    families: set[bool] = set()
    for field in ipam["config"].items() if "config" in ipam else []:
        keys = field.table("networks, ipam, config")
        if "subnet" in keys:
            request.setdefault("subnets", []).append(subnet(keys["subnet"]))
        if "gateway" in keys:
            request.setdefault("gateways", []).append(address(keys["gateway"]))
        if "ip_range" in keys:
            if "ip_range" in request or ":" in keys["ip_range"].text():
                raise keys["ip_range"].error("a network has one range, of IPv4", "leave it out")
            request["ip_range"] = subnet(keys["ip_range"])
        family = any(":" in item.text() for item in keys.values())
        if family in families:
            raise field.error(
                "a network has one subnet of each family", "leave one out, or make two networks"
            )
        families.add(family)


class Places:
    """``networking`` of one service: which networks, by which names and addresses."""

    def __init__(self, name: str, service: dict[str, Field], networks: Networks, whole: Field) -> None:
        self._name, self._service, self._networks, self._whole = name, service, networks, whole
        self._attachments: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        """The networks by their names in the file, the first one first; empty for ``none``, ``host`` and ``bridge``."""
        self.shared = self._shared()

    def document(self, replicas: int) -> dict[str, Any]:
        """What the container document has of networks."""
        if mode := self._mode():
            return {"networks": [mode]}
        if self.shared:
            return of_container(self.shared[0])
        fields = self._ordered()
        self.keys = [key for key, _, _ in fields]
        for key, asker, keys in fields:
            name = self._networks.use(key, asker)
            if name in self._attachments:
                raise asker.error(f"network {name!r} is named twice", "name it once")
            self._attachments[name] = self._place(keys, replicas)
        names = list(self._attachments)
        if set(names) & set(_BUILT_IN):
            if len(names) > 1:
                raise self._service["networks"].error("'host' and 'none' stand alone", "leave the others out")
            return {"networks": names}
        if "mac_address" in self._service:
            self._attachments[names[0]]["mac"] = mac(_single(self._service["mac_address"], replicas))
        return {"networks": names, "attachments": self._attachments}

    def _mode(self) -> str:
        if "network_mode" not in self._service:
            return ""
        field = self._service["network_mode"]
        if self._service.get("networks"):
            raise field.error("networks are given too", "leave one of them out")
        mode = field.text()
        if mode in (*_BUILT_IN, "bridge", "default"):
            return mode if mode in _BUILT_IN else "default"
        if self.shared:
            return ""
        raise field.error(
            f"mode {mode[:80]!r} is not known",
            "use none, host, bridge, service:NAME or container:NAME, or networks",
        )

    def _shared(self) -> tuple[str, Field] | None:
        """The container whose network is used, or for ``service:`` the service, and the field that says so."""
        field = self._service.get("network_mode")
        kind, _, name = field.text().partition(":") if field else ("", "", "")
        if not field or kind not in ("service", "container") or not name:
            return None
        for key in _OF_A_NETWORK:
            if other := self._service.get(key):
                raise other.error(
                    f"the network is that of {kind} {name[:80]!r}", "leave it out here, and say it there"
                )
        return name if kind == "service" else checked_name(field, name), field

    def _ordered(self) -> list[tuple[str, Field, dict[str, Field]]]:
        """Key, the field that names it, and what is said of it, the highest priority first."""
        field = self._service.get("networks")
        if not field:
            return [(DEFAULT, field or self._whole, {})]
        if isinstance(field.value, Items):
            return [(item.text(), item, {}) for item in field.items()]
        found = []
        for key, item in field.entries().items():
            keys = item.table("networks of a service")
            ranks = [
                keys[name].number(-1e9, 1e9) if name in keys else 0.0 for name in ("gw_priority", "priority")
            ]
            found.append((ranks, key, item, keys))
        found.sort(key=lambda entry: entry[0], reverse=True)
        return [(key, item, keys) for _, key, item, keys in found]

    def _place(self, keys: dict[str, Field], replicas: int) -> dict[str, Any]:
        place: dict[str, Any] = {"aliases": [alias(self._whole, self._name)]}
        for item in keys["aliases"].items() if "aliases" in keys else []:
            if alias(item) not in place["aliases"]:
                place["aliases"].append(item.text())
        for key, name, version in (("ipv4_address", "address", 4), ("ipv6_address", "address6", 6)):
            if key in keys:
                place[name] = address(_single(keys[key], replicas), version)
        if "mac_address" in keys:
            place["mac"] = mac(_single(keys["mac_address"], replicas))
        return place


def of_container(name: str) -> dict[str, Any]:
    """``networking`` of a service that uses the network of a container."""
    return {"networks": [f"{_OF_CONTAINER}{name}"]}


def _single(field: Field, replicas: int) -> Field:
    """``field``, which only one container can have."""
    if replicas > 1:
        raise field.error(f"{replicas} containers cannot have one address", "leave it out")
    return field


def naming(service: dict[str, Field]) -> dict[str, Any]:
    """``dns``, ``dns_search`` and ``extra_hosts`` of the container document."""
    found: dict[str, Any] = {}
    for key in ("dns", "dns_search"):
        if service.get(key):
            found[key] = [address(item) if key == "dns" else hostname(item) for item in service[key].some()]
    hosts: dict[str, str] = {}
    for name, field in service["extra_hosts"].pairs("=:").items() if "extra_hosts" in service else []:
        values = field.some()
        if len(values) != 1:
            raise field.error("a name has one address here", "leave the others out")
        is_host = values[0].text() == _HOST_GATEWAY
        if is_host and "network_mode" in service and service["network_mode"].text() == "none":
            raise field.error("with network_mode none the host has no address", "leave it out")
        hosts[hostname(field, name)] = _HOST_GATEWAY if is_host else address(values[0])
    if hosts:
        found["extra_hosts"] = hosts
    return found
