"""``ADD https://…``: a file fetched within bounds of size, time and redirects."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from multios.errors import InvalidInput, MultiosError, StepFailed

LARGEST = 16 << 30
MOST_REDIRECTS = 10
STALL_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
_CHUNK = 1 << 20
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_GIT = re.compile(r"(git@|git://|ssh://)|\.git(#|$)")


def is_url(source: str) -> bool:
    """Whether an ADD's source is fetched, rather than found in the context."""
    return source.startswith(("http://", "https://", "git@", "git://", "ssh://", "ftp://"))


def check_url(url: str, checksum: str) -> None:
    """Raise ``InvalidInput`` for what cannot be fetched, before anything is."""
    if _GIT.search(url):
        raise InvalidInput(
            f"ADD {url}: git repositories are not fetched", "clone it into the context, and COPY it"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"ADD {url}: only http and https are fetched", "download it into the context, and COPY it"
        )
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise InvalidInput(
            f"--checksum={checksum}: it must be sha256: and 64 hexadecimal digits", "see sha256sum(1)"
        )


@dataclass(frozen=True, slots=True)
class Download:
    """A fetched file: its temporary path, the name it has at its server, digest and time of last change (0: unknown)."""

    path: Path
    name: str
    digest: str
    modified: float


def fetch(url: str, checksum: str, directory: Path, cancelled: Callable[[], bool]) -> Download:
    """Fetch ``url`` into a new file in ``directory``, which is removed again when anything goes wrong.

    Raises ``InvalidInput`` for content of another digest than ``checksum`` and ``StepFailed`` where the network fails.
    """
    check_url(url, checksum)
    descriptor, name = tempfile.mkstemp(prefix="download-", dir=directory)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target:
            digest, served_as, modified = _fetch(url, target, cancelled)
        if checksum and digest != checksum:
            raise InvalidInput(
                f"ADD {url}: the content is {digest}, not {checksum}", "correct --checksum, or the URL"
            )
        return Download(path, served_as, digest, modified)
    except MultiosError:
        path.unlink(missing_ok=True)
        raise
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        said = f"{getattr(error, 'code', '')} {getattr(error, 'reason', error)}".strip()
        raise StepFailed(f"ADD {url}", said, "check the URL and the network") from error


def _fetch(url: str, target: BinaryIO, cancelled: Callable[[], bool]) -> tuple[str, str, float]:
    import urllib.request  # deferred: it brings a hundred modules, and few builds fetch

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = MOST_REDIRECTS

        def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
            fp.close()  # or its body would be read whole, however long it is
            return super().http_error_302(req, fp, code, msg, headers)

        http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    deadline, size = time.monotonic() + LONGEST_SECONDS, 0
    digest = hashlib.sha256()
    # Only these handlers: neither files nor ftp can be redirected to. The daemon's proxy variables hold.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(
        url, headers={"User-Agent": "multios-container", "Accept-Encoding": "identity"}
    )
    response: Any = opener.open(request, timeout=STALL_SECONDS)
    with response:
        while chunk := response.read(_CHUNK):
            size += len(chunk)
            if size > LARGEST:
                raise ValueError(f"more than {LARGEST >> 30} GiB")
            if time.monotonic() > deadline:
                raise ValueError(f"it takes longer than {LONGEST_SECONDS:.0f} s")
            if cancelled():
                raise ValueError("cancelled")
            digest.update(chunk)
            target.write(chunk)
        announced = response.headers.get("Content-Length")
        if announced is not None and announced.isdecimal() and int(announced) != size:
            raise ValueError(f"cut off after {size} of {announced} bytes")
        return f"sha256:{digest.hexdigest()}", _name(url), _modified(response.headers.get("Last-Modified"))


def _name(url: str) -> str:
    """The last element of the URL's path; ``InvalidInput`` where there is none."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError("its path has no file's name")
    return name


def _modified(text: str | None) -> float:
    try:
        return parsedate_to_datetime(text).timestamp() if text else 0.0
    except (TypeError, ValueError):
        return 0.0
