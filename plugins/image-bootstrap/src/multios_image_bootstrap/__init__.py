"""Images of Debian and Ubuntu made on this host, and of root filesystem tarballs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from multios.drivers.image_source import ANYHOW, ContentSink, FetchRequest, ImageSourceDriver, Progress
from multios.model.health import Health, HealthCheck
from multios.model.image import Descriptor, ResolvedImage
from multios_image_bootstrap import releases

if TYPE_CHECKING:
    from multios.drivers.base import DriverContext

__version__ = "0.1.0"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where packages come from, and the key that Ubuntu's are signed with (Debian hosts have Debian's)."""

    debian_mirror: str = "http://deb.debian.org/debian"
    debian_security_mirror: str = "http://deb.debian.org/debian-security"
    ubuntu_mirror: str = "http://archive.ubuntu.com/ubuntu"
    ubuntu_keyring: str = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"

    def __post_init__(self) -> None:
        for name in ("debian_mirror", "debian_security_mirror", "ubuntu_mirror"):
            value = getattr(self, name)
            # It becomes a word of a sources.list line.
            if (
                not value.startswith(("http://", "https://", "file:/"))
                or len(value.split()) != 1
                or "[" in value
            ):
                raise ValueError(f"{name}: {value!r} is not the URL of a mirror")
        if not self.ubuntu_keyring.startswith("/"):
            raise ValueError(f"ubuntu_keyring: {self.ubuntu_keyring!r} is not an absolute path")


class BootstrapSource(ImageSourceDriver):
    """``debian:<release>``, ``ubuntu:<release>`` and ``rootfs:/path/of.tar``."""

    name: ClassVar[str] = "bootstrap"
    summary: ClassVar[str] = "Debian and Ubuntu from their own packages; root filesystem tarballs"
    Settings: ClassVar[type] = Settings

    def __init__(self, settings: Any, context: DriverContext) -> None:
        super().__init__(settings, context)
        self._swept = False

    def offers(self) -> tuple[str, ...]:
        return tuple(release.reference for release in releases.ALL)

    def resolve(self, reference: str) -> ResolvedImage | None:
        from multios_image_bootstrap import rootfs  # deferred: heavy work stands beside

        if reference.startswith(rootfs.PREFIX):
            return rootfs.resolve(reference, self.name)
        release = releases.find(reference)
        if release is None:
            return None
        return ResolvedImage(release.reference, self.name, release.title, {"codename": release.codename})

    def fetch(
        self, image: ResolvedImage, content: ContentSink, progress: Progress, request: FetchRequest = ANYHOW
    ) -> Descriptor:
        from multios_image_bootstrap import bootstrap, rootfs  # deferred: heavy work stands beside

        if "host_path" in image.data:
            return rootfs.fetch(image, content, progress)
        if not self._swept:
            bootstrap.sweep(self.context.state)
            self._swept = True
        release = releases.find(image.reference)
        assert release is not None, "resolve() made this image"
        return bootstrap.fetch(release, self.settings, self.context.state, content, progress)

    @classmethod
    def health_checks(cls) -> Iterable[HealthCheck]:
        tool = shutil.which("mmdebstrap") or shutil.which("debootstrap")
        if tool:
            yield HealthCheck("image bootstrap", Health.OK, f"makes images with {tool}")
        else:
            yield HealthCheck(
                "image bootstrap",
                Health.SKIP,
                "no mmdebstrap: no Debian or Ubuntu images",
                "apt-get install mmdebstrap",
            )
