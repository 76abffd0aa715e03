"""Educational templates as records: what a template driver renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multios.model.container import Resources
from multios.model.network import PortMapping

SERVICES_PROGRAM = "/usr/local/sbin/multios-services"
"""The small init of templates with services, and what tells inside how they are."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option of a template. Values are text on every way; ``type`` says which text is a value.

    ``text`` is one line of at most 200 characters, ``choice`` one of ``choices``, ``integer`` from ``minimum`` to
    ``maximum`` where there are such, ``boolean`` is ``true`` or ``false``. With ``choices`` it is a ``choice``.
    """

    name: str
    description: str
    default: str
    choices: tuple[str, ...] = ()
    type: str = "text"
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A command that runs inside and must exit 0; its output must contain ``expect``.

    ``hint`` is for whoever sees it fail. It is killed after ``timeout`` seconds, and has failed then. One that is
    ``running`` makes sense only in a started container whose services are ready: a build leaves it out.
    """

    name: str
    command: tuple[str, ...]
    expect: str = ""
    hint: str = ""
    timeout: int = 60
    running: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A program that the template's init keeps running.

    ``command`` and ``prepare``, which runs once before it, are lines for the shell; the command stays in the
    foreground. ``ready`` exits 0 when the service answers; without it a service that runs is ready.
    """

    name: str
    command: str
    prepare: str = ""
    ready: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplatePort:
    """A port that something inside listens on."""

    container: int
    protocol: str = "tcp"
    description: str = ""

    def mapping(self) -> PortMapping:
        """The port without a place on the host."""
        return PortMapping(self.container, protocol=self.protocol)


@dataclass(frozen=True, slots=True)
class Lock:
    """What a build is made of, exactly: the base by its manifest's digest, packages as ``name:architecture=version``.

    ``time``, in seconds since the epoch, is the latest that a file of the image may have.
    """

    base_digest: str
    time: int
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplatePlan:
    """A rendered template: what to build, and what a container of it gets by default.

    The image is ``base``, then one layer of Debian packages, then the tree that the driver's ``rootfs`` gives,
    then ``files`` (absolute paths inside to their text), then ``steps``: shell command lines, run as root.
    """

    name: str
    version: str
    description: str
    base: str
    steps: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ("/bin/bash",)
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/root"
    resources: Resources = Resources()
    """The limits of a container that asks for none, and the least that the template needs."""
    ports: tuple[TemplatePort, ...] = ()
    capabilities: tuple[str, ...] = ()
    seccomp_profile: str = ""
    """A profile's name or text, for containers that ask for none; empty is: the default."""
    labels: Mapping[str, str] = field(default_factory=dict)
    license: str = ""
    """As SPDX writes it."""
    packages: tuple[str, ...] = ()
    rootfs: str = ""
    """What the driver's ``rootfs`` holds, as a digest; empty for none."""
    devices: tuple[str, ...] = ()
    """Paths of the host's devices that a container gets."""
    network: str = ""
    """``none`` for a container without a network; empty is: as asked for."""
    services: tuple[Service, ...] = ()
    checks: tuple[Check, ...] = ()
    """With these options; empty is: the driver's ``checks`` are for all."""
    lock: Lock | None = None
    """What the template's lock says of this base, if it says anything."""
