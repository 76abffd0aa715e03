"""Blobs on their way to a registry: not at all where it has them, else mounted, else sent (distribution-spec, "Push")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, BinaryIO, cast
from urllib.parse import urlencode

from multios.drivers.image_source import ContentReader
from multios.errors import NotFound, Refused
from multios.model.image import Descriptor
from multios_image_registry.session import Interrupted, Session, finish

CHUNK = 32 << 20
"""Bytes of one request: proxies before registries have limits."""
_OCTETS = {"Content-Type": "application/octet-stream"}


def push_scope(repository: str) -> str:
    """What a token must allow for a push."""
    return f"repository:{repository}:pull,push"


def upload(
    session: Session,
    repository: str,
    blob: Descriptor,
    content: ContentReader,
    elsewhere: Sequence[str],
    meter: Callable[[int], None],
) -> None:
    """Have the blob in the repository; ``elsewhere`` are repositories of this registry that may have it."""
    address = f"{repository}/blobs/{blob.digest}"
    there = session.request("HEAD", address, scopes=(push_scope(repository),), accept=(200, 404))
    finish(there)
    if there.status == 404:
        mounted, location = _mount(session, repository, blob, elsewhere)
        if not mounted:
            _send_with_patience(session, repository, blob, content, location, meter)
    meter(blob.size)


def _mount(session: Session, repository: str, blob: Descriptor, elsewhere: Sequence[str]) -> tuple[bool, str]:
    """Whether the registry gave its blob to this repository; if not, where it wants it to be sent, or empty."""
    for source in elsewhere:
        address = f"{repository}/blobs/uploads/?" + urlencode({"mount": blob.digest, "from": source})
        scopes = (push_scope(repository), f"repository:{source}:pull")
        try:
            response = session.request(
                "POST", address, {"Content-Length": "0"}, scopes=scopes, accept=(201, 202)
            )
        except (Refused, NotFound):  # a repository that this user may not read, or that is gone
            continue
        finish(response)
        return response.status == 201, "" if response.status == 201 else session.location(response, address)
    return False, ""


def _send_with_patience(
    session: Session,
    repository: str,
    blob: Descriptor,
    content: ContentReader,
    location: str,
    meter: Callable[[int], None],
) -> None:
    """Send a blob, from its beginning again when an upload breaks off."""
    for attempt in range(session.retries + 1):
        try:
            return _send(session, repository, blob, content, location, meter)
        except Interrupted:
            if attempt == session.retries:
                raise
        session.back_off(attempt)
        location = ""


def _send(
    session: Session,
    repository: str,
    blob: Descriptor,
    content: ContentReader,
    location: str,
    meter: Callable[[int], None],
) -> None:
    scopes = (push_scope(repository),)
    if not location:
        address = f"{repository}/blobs/uploads/"
        begun = session.request("POST", address, {"Content-Length": "0"}, scopes=scopes, accept=(202,))
        finish(begun)
        location = session.location(begun, address)
    start = 0
    while blob.size - start > CHUNK:
        headers = {**_OCTETS, "Content-Length": str(CHUNK), "Content-Range": f"{start}-{start + CHUNK - 1}"}
        with content.open(blob.digest) as file:
            sent = session.request(
                "PATCH",
                location,
                headers,
                _part(file, start, CHUNK, meter),
                scopes=scopes,
                accept=(202,),
            )
        finish(sent)
        location, start = session.location(sent, location), start + CHUNK
    last = blob.size - start
    address = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': blob.digest})}"
    headers = {**_OCTETS, "Content-Length": str(last)}
    if start:
        headers["Content-Range"] = f"{start}-{blob.size - 1}"
    with content.open(blob.digest) as file:
        done = session.request(
            "PUT", address, headers, _part(file, start, last, meter), scopes=scopes, accept=(201, 204)
        )
    finish(done)


def _part(
    file: BinaryIO, start: int, length: int, meter: Callable[[int], None]
) -> Callable[[], IO[bytes] | None]:
    def begin() -> IO[bytes]:
        file.seek(start)
        return cast(IO[bytes], Part(file, length, lambda done: meter(start + done)))

    return begin if length else lambda: None


class Part:
    """The next ``length`` bytes of a file, to read."""

    def __init__(self, file: BinaryIO, length: int, meter: Callable[[int], None]) -> None:
        self._file, self._length, self._meter = file, length, meter
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        """Some of them, empty at the end."""
        left = self._length - self._done
        data = self._file.read(left if size < 0 else min(size, left))
        self._done += len(data)
        self._meter(self._done)
        return data
