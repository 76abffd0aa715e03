"""Requests to one address of a registry: authorized, redirected without credentials, repeated with patience."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import HTTPError

from multios.drivers.image_source import Credentials
from multios.errors import MultiosError, NotFound, Refused, StepFailed
from multios_image_registry.authorization import Authorization
from multios_image_registry.places import Endpoint
from multios_image_registry.transport import Failure, NoTls, Response, Transport, failure

BACK_OFF_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
DOCUMENT_SECONDS = 120.0
_COMPLAINT_SECONDS = 5.0
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (429, 500, 502, 503, 504)
_MOST_REDIRECTS = 5
_LARGEST_COMPLAINT = 64 << 10
_CHUNK = 64 << 10

Body = Callable[[], "IO[bytes] | bytes | None"]


def _no_body() -> None:
    return None


class Interrupted(StepFailed):
    """It may work another time: the registry gave no answer, or said that it cannot for now."""


class Session:
    """``step`` begins every error (``pull alpine:3``); ``cancelled``, once set, ends waiting.

    The credentials go to ``endpoint`` and to the token server it names, and nowhere else. Thread-safe.
    """

    def __init__(
        self,
        step: str,
        endpoint: Endpoint,
        transport: Transport,
        credentials: Credentials | None,
        retries: int,
        is_insecure: Callable[[str], bool],
    ) -> None:
        self.step, self.endpoint, self.retries = step, endpoint, retries
        self.cancelled = threading.Event()
        self._transport = transport
        self._is_insecure = is_insecure
        self._base = endpoint.base
        self._authorization = Authorization(self, None if endpoint.mirror else credentials)

    # --- asking -----------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str] | None = None,
        body: Body = _no_body,
        *,
        scopes: Sequence[str] = (),
        accept: Sequence[int] = (200,),
        patient: bool = False,
    ) -> Response:
        """The answer with one of the statuses of ``accept``, its body not read.

        ``address`` is a path below ``/v2/`` or a whole URL. What fails for now is asked again, with ``patient`` a
        registry that cannot be reached too; an upload that broke off is not, for nobody knows how much arrived.
        Raises ``NotFound``, ``Refused`` and ``StepFailed``.
        """
        attempt = 0
        while True:
            self.pause(0)
            try:
                response = self._authorized(method, address, headers or {}, body, scopes)
            except Failure as error:
                again = (error.reached and not error.stalled) or patient
                if not again or attempt >= self.retries or method not in ("GET", "HEAD"):
                    raise self.told(error) from error
                wait = BACK_OFF_SECONDS * 2**attempt
            else:
                if response.status in accept:
                    return response
                wait = _retry_after(response, BACK_OFF_SECONDS * 2**attempt)
                if (
                    response.status not in _TRANSIENT
                    or attempt >= self.retries
                    or wait > LONGEST_WAIT_SECONDS
                ):
                    raise self._complaint(response)
                response.close()
            attempt += 1
            self.pause(wait)

    def document(self, response: Response, limit: int) -> bytes:
        """The body, of at most ``limit`` bytes, in bounded time. Raises ``StepFailed``."""
        try:
            data = _read(response, limit, DOCUMENT_SECONDS)
        except Failure as error:
            response.close()
            raise self.told(error) from error
        if len(data) > limit:
            response.close()
            raise self.failed(f"sent a document of more than {limit} bytes", "it is not an image's")
        finish(response)
        return data

    def back_off(self, attempt: int) -> None:
        """Wait before another attempt, counted from 0: twice as long each time."""
        self.pause(BACK_OFF_SECONDS * 2**attempt)

    def pause(self, seconds: float) -> None:
        """Wait, unless the transfer is cancelled meanwhile. Raises ``StepFailed`` then."""
        if self.cancelled.wait(seconds):
            raise StepFailed(self.step, "cancelled", "")

    # --- one attempt ------------------------------------------------------------------------------

    def _authorized(
        self, method: str, address: str, headers: Mapping[str, str], body: Body, scopes: Sequence[str]
    ) -> Response:
        used = self._authorization.headers(scopes)
        response = self._redirected(method, address, headers, body, scopes)
        if response.status == 401 and self._authorization.take(response, scopes, used):
            finish(response)
            response = self._redirected(method, address, headers, body, scopes)
        return response

    def _redirected(
        self, method: str, address: str, headers: Mapping[str, str], body: Body, scopes: Sequence[str]
    ) -> Response:
        url = self._url(address)
        for _ in range(_MOST_REDIRECTS + 1):
            # Who the caller is, is for the registry itself: not for where it sends us.
            own = {**headers, **self._authorization.headers(scopes)} if self._is_own(url) else headers
            response, url = self._send_own(method, url, own, body)
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            response.close()
            url = self._joined(url, response.headers["Location"])
        raise self.failed("redirects without end", "ask who runs it")

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: IO[bytes] | bytes | None = None
    ) -> Response:
        """One request, as it is. Raises :class:`Failure`."""
        host = urlsplit(url).netloc
        insecure = self.endpoint.insecure if self._is_own(url) else self._is_insecure(host)
        return self._transport.send(method, url, headers, body, verify=not insecure)

    def _send_own(
        self, method: str, url: str, headers: Mapping[str, str], body: Body
    ) -> tuple[Response, str]:
        """As :meth:`send`, and the address that answered: an insecure registry without TLS is asked in plain."""
        try:
            return self.send(method, url, headers, body()), url
        except NoTls:
            if not (self.endpoint.insecure and self._is_own(url) and url.startswith("https:")):
                raise
        self._base = f"http://{self._base.partition('://')[2]}"
        plain = f"http://{url.partition('://')[2]}"
        return self.send(method, plain, headers, body()), plain

    def _url(self, address: str) -> str:
        return self.checked(address) if "://" in address else f"{self._base}/v2/{address}"

    def location(self, response: Response, asked: str) -> str:
        """The ``Location`` of an answer to ``asked`` as a whole URL."""
        if not response.headers.get("Location"):
            raise self.failed("does not say where to upload to", "it speaks no OCI distribution protocol")
        return self._joined(self._url(asked), response.headers["Location"])

    def _joined(self, url: str, location: str) -> str:
        try:
            return self.checked(urljoin(url, location))
        except ValueError:
            raise self.failed(
                f"leads to {_printable(location)}, which is no address", "ask who runs it"
            ) from None

    def checked(self, url: str) -> str:
        """``url``, unless it is in plain without anyone having allowed that. Raises ``StepFailed``."""
        try:
            parts = urlsplit(url)
            allowed = parts.scheme == "https" or (
                parts.scheme == "http" and (self._is_own(url) or self._is_insecure(parts.netloc))
            )
        except ValueError:
            allowed = False
        if not allowed or not parts.hostname:
            raise self.failed(
                f"leads to {_printable(url)}, which is not secure",
                "name that host under insecure in [image.registry] if that is right",
            )
        return url

    def _is_own(self, url: str) -> bool:
        """Whether an address is the registry's; whether in plain or not is no matter where plain is allowed."""
        if self.endpoint.insecure and url.startswith(("http://", "https://")):
            return urlsplit(url).netloc == urlsplit(self._base).netloc
        return _origin(url) == _origin(self._base)

    # --- telling ----------------------------------------------------------------------------------

    def failed(self, cause: str, remedy: str) -> StepFailed:
        """The error that says what the registry did."""
        return StepFailed(self.step, f"{self._who()} {cause}", remedy)

    def told(self, error: Failure) -> Interrupted:
        """The error for a registry that gave no answer."""
        what = "stopped answering" if error.reached else "cannot be reached"
        return Interrupted(self.step, f"{self._who()} {what} ({error.cause})", error.remedy)

    def _who(self) -> str:
        mirror = f"'s mirror {self._base}" if self.endpoint.mirror else ""
        return f"{self.endpoint.registry}{mirror}"

    def _complaint(self, response: Response) -> MultiosError:
        status, who = response.status, self._who()
        words = _words_of(response)
        response.close()
        said = f": {words}" if words else ""
        login = f"multios-container login {self.endpoint.registry}"
        if status in (401, 403):
            if self._authorization.has_credentials:
                return Refused(f"{self.step}: {who} refuses it to this user{said}", f"another user: {login}")
            return Refused(
                f"{self.step}: {who} refuses it without a login{said}", f"check the name, or: {login}"
            )
        if status == 404:
            return NotFound(f"{self.step}: {who} has no such image{said}", "check its name and tag")
        if status == 429:
            return self.failed(f"limits how often it may be asked{said}", f"try again later, or: {login}")
        if status >= 500:
            return Interrupted(self.step, f"{who} answered {status}{said}", "try again later")
        return self.failed(f"answered {status}{said}", "ask who runs it")


def finish(response: Response) -> None:
    """Be done with an answer; the connection is kept for others if nothing much is left in it."""
    try:
        _read(response, _LARGEST_COMPLAINT, _COMPLAINT_SECONDS)
    except Failure:
        response.close()
        return
    if response.length_remaining == 0:
        response.read(1)  # only now does http.client see the end
        response.release_conn()
    else:
        response.close()


def _read(response: Response, limit: int, seconds: float) -> bytes:
    """The body, cut soon after ``limit`` bytes. Raises :class:`Failure`, also when it takes longer."""
    parts: list[bytes] = []
    size, deadline = 0, time.monotonic() + seconds
    try:
        while size <= limit and (chunk := response.read1(_CHUNK)):
            size += len(chunk)
            parts.append(chunk)
            if time.monotonic() > deadline:
                raise Failure("it is too slow", "try again later", reached=True, stalled=True)
    except (HTTPError, OSError) as error:
        raise failure(error) from error
    return b"".join(parts)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _retry_after(response: Response, default: float) -> float:
    """Seconds that the registry asks to wait (RFC 9110, section 10.2.3), at least ``default``."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit() and len(text) < 9:
        return max(default, float(text))
    try:
        return max(default, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return default


def _words_of(response: Response) -> str:
    """What the registry says is wrong (distribution-spec, "Error Codes"), in one printable line."""
    try:
        document: Any = json.loads(_read(response, _LARGEST_COMPLAINT, _COMPLAINT_SECONDS))
        first = document["errors"][0]
        return _printable(str(first.get("message") or first.get("code") or ""))
    except (Failure, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""  # the error stands without it


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
