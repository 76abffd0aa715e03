"""A blob on its way here: never more than it should be, and taken up again where the connection broke."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from urllib3.exceptions import HTTPError

from multios.errors import InvalidInput
from multios.model.image import Descriptor
from multios_image_registry.session import Session, finish
from multios_image_registry.transport import Failure, Response, failure

_CHUNK = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)")
_NUMBER = re.compile(r"\d{1,19}")
SLOWEST_BYTES_A_SECOND = 512
_WINDOW_SECONDS = 60.0
_WORTHWHILE = 1 << 20
"""Bytes after which a cut is the first one again."""


class BlobStream:
    """To be read to its end; the digest is for the reader to check. ``meter`` is told how much has come."""

    def __init__(
        self, session: Session, repository: str, blob: Descriptor, meter: Callable[[int], None]
    ) -> None:
        self._session, self._repository, self._blob, self._meter = session, repository, blob, meter
        self._response: Response | None = None
        self._validator = f'"{blob.digest}"'
        self._position = 0
        self._cut_at = 0
        self._cuts = 0
        self._stalls = 0
        self._window = (0.0, 0)

    def read(self, size: int = -1) -> bytes:
        """Some of what follows, or all of it; empty at the end. Raises ``StepFailed`` when it cannot be had whole."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        while self._position < self._blob.size:
            try:
                chunk = self._chunk(size)
            except Failure as error:
                self._cut(error)
                continue
            self._position += len(chunk)
            self._meter(self._position)
            return chunk
        self.close()
        return b""

    def close(self) -> None:
        """Let go of the connection; it is kept for others if nothing is left in it."""
        if self._response is not None:
            if self._response.length_remaining == 0:
                finish(self._response)
            else:
                self._response.close()
            self._response = None

    def _chunk(self, size: int) -> bytes:
        if self._response is None:
            self._response = self._open()
            self._window = (time.monotonic(), self._position)
        left = self._blob.size - self._position
        chunk = _read(self._response, min(left, size, _CHUNK))
        self._check_speed()
        return chunk

    def _check_speed(self) -> None:
        since, position = self._window
        if (passed := time.monotonic() - since) > _WINDOW_SECONDS:
            if self._position - position < passed * SLOWEST_BYTES_A_SECOND:
                raise Failure("it is too slow", "try again later", reached=True, stalled=True)
            self._window = (time.monotonic(), self._position)

    def _cut(self, error: Failure) -> None:
        self.close()
        if self._position - self._cut_at >= _WORTHWHILE:
            self._cuts = self._stalls = 0
        self._cut_at = self._position
        self._cuts += 1
        self._stalls += error.stalled
        if self._cuts > self._session.retries or self._stalls > 1:
            raise self._session.told(error) from error
        self._session.back_off(self._cuts - 1)

    def _open(self) -> Response:
        session, start = self._session, self._position
        headers = {"Range": f"bytes={start}-", "If-Range": self._validator} if start else {}
        response = session.request(
            "GET",
            f"{self._repository}/blobs/{self._blob.digest}",
            {"Accept-Encoding": "identity", **headers},
            scopes=(f"repository:{self._repository}:pull",),
            accept=(200, 206),
            patient=start > 0,
        )
        try:
            if response.status == 206:
                self._check_range(response)
            else:
                self._check_length(response)
                _skip(response, start)
        except BaseException:
            response.close()
            raise
        tag = response.headers.get("ETag", "")
        self._validator = tag if tag.startswith('"') else self._validator
        return response

    def _check_range(self, response: Response) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != self._position:
            raise self._session.failed("sent another part of a layer than was asked for", "ask who runs it")

    def _check_length(self, response: Response) -> None:
        stated = response.headers.get("Content-Length", "")
        if _NUMBER.fullmatch(stated) and int(stated) != self._blob.size:
            raise InvalidInput(
                f"{self._session.step}: {self._blob.digest[:19]}… has {stated} bytes,"
                f" its manifest says {self._blob.size}",
                "ask who pushed it",
            )


def _skip(response: Response, count: int) -> None:
    """Read over what is here already: the registry knows no ranges."""
    while count:
        count -= len(_read(response, min(count, _CHUNK)))


def _read(response: Response, most: int) -> bytes:
    """Some bytes, never none. Raises :class:`Failure`."""
    try:
        chunk = response.read1(most)
    except (HTTPError, OSError) as error:
        raise failure(error) from error
    if not chunk:
        raise Failure("it ended too early", "try again", reached=True)
    return chunk
