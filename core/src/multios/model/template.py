"""Educational templates as records: what a template driver renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multios.model.container import Resources
from multios.model.network import PortMapping


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option of a template. ``choices`` empty means any text."""

    name: str
    description: str
    default: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A command that runs inside and must exit 0; its output must contain ``expect``."""

    name: str
    command: tuple[str, ...]
    expect: str = ""


@dataclass(frozen=True, slots=True)
class TemplatePlan:
    """A rendered template: what to build, and what a container of it gets by default.

    ``steps`` are shell command lines run as root in a container on ``base``, in order; the result is
    the template's image. ``files`` maps absolute paths inside to their text.
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
    ports: tuple[PortMapping, ...] = ()
    capabilities: tuple[str, ...] = ()
    seccomp_profile: str = ""
    """A profile's name or text, for containers that ask for none; empty is: the default."""
    labels: Mapping[str, str] = field(default_factory=dict)
