"""A minimal Debian or Ubuntu, from the distribution's packages to a stored image."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multios.drivers.image_source import ContentSink, Progress
from multios.errors import InvalidInput, MultiosError, StepFailed, Unsupported
from multios.model.image import Descriptor, ImageConfig
from multios.store.layer_stream import GZIP_LAYER_TYPE, CompressedLayer, chunks_of
from multios.store.manifest import DEFAULT_PATH, Layer, architecture, write_image
from multios_image_bootstrap import messages
from multios_image_bootstrap.process import CONFINED, Followed, followed
from multios_image_bootstrap.releases import Release

if TYPE_CHECKING:
    from multios_image_bootstrap import Settings

log = logging.getLogger(__name__)

_ARCHIVE = "http://archive.debian.org"
_UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"
_KEYRINGS = Path("/usr/share/keyrings")
_HOOKS = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")
_WORK_PREFIX = "work-"
_APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "2"', 'Acquire::http::Timeout "20"')

# What belongs to this host or to this moment stays out; the engine mounts its own files over the three in /etc.
_TIDY = """set -eu
rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap
for name in resolv.conf hostname hosts; do rm -f "$1/etc/$name"; : > "$1/etc/$name"; done
find "$1/var/log" -type f -delete
find "$1/var/cache/apt" "$1/var/lib/apt/lists" -type f -delete
rm -f "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/cache/ldconfig/aux-cache
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a release's packages come from: the mirror, the apt sources on it, and the key they are signed with."""

    mirror: str
    sources: tuple[str, ...]
    keyring: Path
    components: tuple[str, ...]


def origin(release: Release, settings: Settings) -> Origin:
    """The origin of a release with these settings."""
    name = release.codename
    if release.distribution == "ubuntu":
        mirror = settings.ubuntu_mirror
        if architecture() not in ("amd64", "386") and mirror == type(settings)().ubuntu_mirror:
            mirror = _UBUNTU_PORTS
        suites = (name, f"{name}-updates", f"{name}-security")
        sources = tuple(f"deb {mirror} {suite} main universe" for suite in suites)
        return Origin(mirror, sources, Path(settings.ubuntu_keyring), ("main", "universe"))
    if release.archived:
        mirror = f"{_ARCHIVE}/debian"
        words = "[check-valid-until=no]"
        security = f"deb {words} {_ARCHIVE}/debian-security {name}/updates main"
        sources = (f"deb {words} {mirror} {name} main", security)
        return Origin(mirror, sources, _KEYRINGS / "debian-archive-removed-keys.gpg", ("main",))
    mirror = settings.debian_mirror
    security = f"deb {settings.debian_security_mirror} {name}-security main"
    sources = (f"deb {mirror} {name} main", f"deb {mirror} {name}-updates main", security)
    return Origin(mirror, sources, _KEYRINGS / "debian-archive-keyring.gpg", ("main",))


def fetch(
    release: Release, settings: Settings, state: Path, content: ContentSink, progress: Progress
) -> Descriptor:
    """Make the release's image; ``Unsupported`` without a tool or a keyring, ``StepFailed`` when the tool fails."""
    where = origin(release, settings)
    make = _tool()
    _check_keyring(release, where)
    meter = messages.Meter(release.title, progress)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=state, ignore_cleanup_errors=True) as work:
        os.chmod(work, 0o711)  # apt downloads as its own user
        layer = make(release, where, Path(work), content, meter)
    config = ImageConfig(
        command=("/bin/bash",),
        environment=(DEFAULT_PATH,),
        labels={"org.opencontainers.image.title": release.title},
    )
    return write_image(content, config, [layer], f"bootstrap {release.title} from {where.mirror}")


def sweep(state: Path) -> None:
    """Remove what a killed process was making."""
    for leftover in state.glob(f"{_WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def mmdebstrap_command(release: Release, where: Origin) -> list[str]:
    """The command that writes the root filesystem as a tar to its standard output."""
    hooks = [f"--hook-dir={_HOOKS}"] if release.merge_usr and _HOOKS.exists() else []
    return [
        *CONFINED,
        "mmdebstrap",
        "--verbose",
        "--variant=minbase",
        "--format=tar",
        "--skip=output/dev",
        "--include=apt",  # which Ubuntu does not count among the required packages
        f"--keyring={where.keyring}",
        *hooks,
        *(f"--aptopt={option}" for option in _APT_OPTIONS),
        f"--customize-hook={_TIDY}",
        release.codename,
        "-",
        *where.sources,
    ]


def debootstrap_command(release: Release, where: Origin, target: Path) -> list[str]:
    """The command that makes the root filesystem in ``target``."""
    return [
        *CONFINED,
        *("debootstrap", "--variant=minbase"),
        f"--keyring={where.keyring}",
        f"--components={','.join(where.components)}",
        *(release.codename, str(target), where.mirror),
    ]


def _tool() -> Callable[[Release, Origin, Path, ContentSink, messages.Meter], Layer]:
    if shutil.which("mmdebstrap"):
        return _by_mmdebstrap
    if shutil.which("debootstrap"):
        return _by_debootstrap
    raise Unsupported("neither mmdebstrap nor debootstrap is installed", "apt-get install mmdebstrap")


def _check_keyring(release: Release, where: Origin) -> None:
    if where.keyring.is_file():
        return
    if release.distribution == "ubuntu":
        remedy = (
            f"put Ubuntu's {where.keyring.name} (in its package ubuntu-keyring) there, or name another with"
            " ubuntu_keyring in [image.bootstrap]"
        )
    else:
        remedy = "apt-get install debian-archive-keyring"
    raise Unsupported(f"{release.title} cannot be verified: {where.keyring} is missing", remedy)


def _by_mmdebstrap(
    release: Release, where: Origin, work: Path, content: ContentSink, meter: messages.Meter
) -> Layer:
    with followed(mmdebstrap_command(release, where), _environment(work), meter.line) as tool:
        return _stored(release, where, tool, content, _directory("./dev"))


def _by_debootstrap(
    release: Release, where: Origin, work: Path, content: ContentSink, meter: messages.Meter
) -> Layer:
    target = work / "root"
    environment = _environment(work)
    steps = (debootstrap_command(release, where, target), ["sh", "-c", _TIDY, "tidy", str(target)])
    for command in steps:
        with followed(command, environment, meter.line, with_output=False) as tool:
            if tool.finish():
                raise _failure(release, where, tool)
    (target / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in where.sources))
    with followed(_tar_command(target), environment, meter.line) as tool:
        return _stored(release, where, tool, content)


def _tar_command(target: Path) -> list[str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    clamp = [f"--mtime=@{epoch}", "--clamp-mtime"] if epoch else []
    exclude = [f"--exclude=./{name}/*" for name in ("dev", "proc", "sys")]
    words = [
        "tar",
        "--create",
        "--numeric-owner",
        "--sort=name",
        "--xattrs",
        "--xattrs-include=*",
        "--anchored",
    ]
    return [*words, *clamp, *exclude, f"--directory={target}", "."]


def _directory(name: str) -> bytes:
    """A tar entry, to go before others: mmdebstrap leaves out /dev itself along with its device nodes."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry.tobuf()


def _stored(
    release: Release, where: Origin, tool: Followed, content: ContentSink, first: bytes = b""
) -> Layer:
    """The tool's output, after ``first``, as a layer, if the tool says that it is whole."""
    layer = CompressedLayer(itertools.chain([first], chunks_of(tool.output)))
    blob = content.put(GZIP_LAYER_TYPE, layer)  # type: ignore[arg-type]
    if tool.finish():
        raise _failure(release, where, tool)
    return Layer(blob, layer.diff_id)


def _failure(release: Release, where: Origin, tool: Followed) -> MultiosError:
    step = f"bootstrap {release.reference}"
    log.warning("%s failed:\n%s", step, "\n".join(tool.messages))
    if reason := messages.unreachable(tool.messages):
        setting = "" if release.archived else f", or set {release.distribution}_mirror in [image.bootstrap]"
        return StepFailed(step, f"{where.mirror} cannot be reached ({reason})", f"check the network{setting}")
    return StepFailed(step, messages.cause(tool.messages), "the daemon's log has the tool's messages")


def _environment(work: Path) -> Mapping[str, str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (epoch.isascii() and epoch.isdigit()):
        raise InvalidInput(f"SOURCE_DATE_EPOCH: {epoch!r} is not seconds since the epoch", "unset it")
    own = {"TMPDIR": str(work), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
    return {**os.environ, **own}
