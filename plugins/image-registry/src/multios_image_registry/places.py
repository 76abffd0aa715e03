"""Where a name leads: which registry, which repository, and over which addresses it is reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from multios.model.reference import Reference, parse

DOCKER_HUB = "docker.io"
_DOCKER_HUB_HOST = "registry-1.docker.io"
_DOCKER_HUB_NAMES = (DOCKER_HUB, "index.docker.io", _DOCKER_HUB_HOST)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a registry. ``base`` is its URL without ``/v2``; ``mirror`` is one that gets no credentials.

    ``insecure`` allows plain HTTP and TLS that nobody vouches for; then ``base`` says ``https`` until that fails.
    """

    registry: str
    base: str
    insecure: bool = False
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A repository of a registry, and what is meant there: a tag or a digest."""

    registry: str
    repository: str
    target: str


def locate(reference: str) -> Place:
    """The place that a reference names; a digest says more than a tag. Raises ``InvalidInput``."""
    name: Reference = parse(reference)
    registry = registry_of(name.domain)
    path = name.path
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return Place(registry, path, name.digest or name.tag)


def registry_of(domain: str) -> str:
    """The registry's one name; the empty domain is Docker Hub's, as are its aliases."""
    return DOCKER_HUB if not domain or domain in _DOCKER_HUB_NAMES else domain


def endpoints(
    registry: str, mirrors: Mapping[str, Iterable[str]], insecure: Iterable[str]
) -> tuple[Endpoint, ...]:
    """The addresses of a registry in the order in which they are asked: mirrors, then itself."""
    allowed = tuple(insecure)
    found = [
        Endpoint(registry, url, is_insecure(_host_of(url), allowed), mirror=True)
        for url in mirrors.get(registry, ())
    ]
    host = _DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
    return (*found, Endpoint(registry, f"https://{host}", is_insecure(registry, allowed)))


def _host_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def is_insecure(registry: str, allowed: Iterable[str]) -> bool:
    """Whether a host, with or without a port, is among those allowed to be."""
    host = registry.rpartition(":")[0] if ":" in registry else registry
    return any(entry in (registry, host) or _is_in_network(host, entry) for entry in allowed)


def _is_in_network(host: str, entry: str) -> bool:
    if "/" not in entry:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry)
    except ValueError:
        return False
