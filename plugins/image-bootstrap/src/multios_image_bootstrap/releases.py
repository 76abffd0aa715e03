"""The releases of Debian and Ubuntu that this source knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """``archived`` releases have left the mirrors for archive.debian.org.

    ``merge_usr``: /bin and its like are to be links from the start, or the package that makes them so brings Perl.
    """

    distribution: str
    version: str
    codename: str
    archived: bool = False
    merge_usr: bool = False

    @property
    def reference(self) -> str:
        """The name of its image."""
        return f"{self.distribution}:{self.version}"

    @property
    def title(self) -> str:
        """``Debian 12 (bookworm)``."""
        return f"{self.distribution.capitalize()} {self.version} ({self.codename})"


ALL = (
    Release("debian", "13", "trixie"),
    Release("debian", "12", "bookworm", merge_usr=True),
    Release("debian", "11", "bullseye"),
    Release("debian", "10", "buster", archived=True),
    Release("ubuntu", "24.04", "noble"),
    Release("ubuntu", "22.04", "jammy"),
    Release("ubuntu", "20.04", "focal"),
)
"""Newest first within a distribution: ``latest`` is the first one."""


def find(reference: str) -> Release | None:
    """The release that ``debian:12``, ``debian:bookworm``, ``debian:latest`` or ``debian`` names."""
    distribution, _, tag = (reference if ":" in reference else f"{reference}:latest").partition(":")
    candidates = [release for release in ALL if release.distribution == distribution]
    if tag == "latest":
        return candidates[0] if candidates else None
    return next((release for release in candidates if tag in (release.version, release.codename)), None)
