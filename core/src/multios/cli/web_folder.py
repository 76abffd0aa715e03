"""A folder that a web server has: fetched within bounds of size, time and redirects, with the caller's ``~/.netrc``.

Credentials go to the index's own origin only, and over plain http to loopback only; nothing goes from https to http.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import netrc
import os
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from multios.cli.index_places import copy_bounded
from multios.errors import InvalidInput, MultiosError, NotFound, Refused, StepFailed
from multios.template_format import index_place

STALL_SECONDS = 30.0
LONGEST_SECONDS = 600.0
"""Of one file, from the request to its last byte."""
MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


class WebFolder:
    """The folder at an address."""

    def __init__(self, address: str) -> None:
        parts = index_place.parts_of(address)
        self.where = address.rstrip("/") + "/"
        self._origin, self._host = _origin(parts), parts.hostname or ""
        self._is_here = _is_loopback(self._host)

    def copy(self, name: str, target: IO[bytes], largest: int) -> None:
        """See :class:`multios.cli.index_places.Place`."""
        shown = self.where + name
        try:
            with _deadline(LONGEST_SECONDS), self._response(self.where + quote(name), shown) as response:
                copy_bounded(response.read1, target, largest, shown)
                if response.length:
                    raise ValueError(f"cut off: {response.length} bytes are missing")
        except MultiosError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StepFailed(
                f"fetch {shown}", _reason(error), "check the address, the network and SSL_CERT_FILE"
            ) from None

    def _response(self, address: str, shown: str) -> Any:
        """What the server answers at last; redirects are followed here, because urllib would read their bodies whole."""
        is_ours = True
        for _ in range(MOST_REDIRECTS + 1):
            try:
                return self._opener().open(self._request(address, is_ours), timeout=STALL_SECONDS)
            except urllib.error.HTTPError as error:
                with error:
                    target = error.headers.get("Location")
                    if error.code not in _REDIRECTS or not target:
                        raise self._refusal(error.code, shown, is_ours) from None
                following = urljoin(address, target)
                self._check_redirect(address, following, shown)
                address = following
                is_ours = is_ours and _origin(urlsplit(address)) == self._origin
        raise ValueError(f"more than {MOST_REDIRECTS} redirects")

    def _check_redirect(self, address: str, following: str, shown: str) -> None:
        parts = urlsplit(following)
        if parts.scheme not in _PORTS or not parts.hostname or not following.isprintable():
            raise Refused(f"{shown}: leads to something that is not the web", "tell who keeps the index")
        if address.startswith("https:") and parts.scheme != "https":
            raise Refused(f"{shown}: leads from https to http://{parts.hostname}", "tell who keeps the index")

    def _opener(self) -> urllib.request.OpenerDirector:
        # No other handlers: nothing leads to files or ftp. A proxy would learn what is meant for this host.
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler({} if self._is_here else None),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        return opener

    def _request(self, address: str, is_ours: bool) -> urllib.request.Request:
        headers = {"User-Agent": "multios-container", "Accept-Encoding": "identity"}
        request = urllib.request.Request(address, headers=headers)
        if is_ours and self._secret:
            request.add_unredirected_header("Authorization", f"Basic {self._secret}")
        return request

    @cached_property
    def _secret(self) -> str:
        """Login and password as a header has them, empty where there are none or where they would be seen on the way."""
        return _from_netrc(self._host) if self._origin[0] == "https" or self._is_here else ""

    def _refusal(self, status: int, shown: str, is_ours: bool) -> MultiosError:
        if status == 404:
            return NotFound(f"{shown}: the server has no such file", "check the address of the index")
        if status not in (401, 403):
            return StepFailed(f"fetch {shown}", f"the server answers {status}", "try again later")
        if not is_ours:
            remedy = "it leads to another server, which gets no credentials: name that one as the index"
        elif self._origin[0] == "http" and not self._is_here:
            remedy = "credentials go over https only: write https:// for it"
        else:
            remedy = f"write into ~/.netrc: machine {self._host} login USER password PASSWORD"
        return Refused(f"{shown}: the server answers {status}: it wants to know who you are", remedy)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End the block after so long by ``TimeoutError``, also one that waits for a server's headers byte by byte."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:.0f} s")

    handler = signal.signal(signal.SIGALRM, late)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: RFC 6454."""
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_netrc(host: str) -> str:
    """The host's line of ``~/.netrc``; ``default`` is for nobody in particular and is not used."""
    file = os.path.join(os.path.expanduser("~"), ".netrc")
    try:
        found = netrc.netrc().hosts.get(host)  # without a name it checks whose the file is
    except FileNotFoundError:
        return ""
    except netrc.NetrcParseError as error:  # its text may have a password in it
        raise InvalidInput(
            f"{file}:{error.lineno or 1}: cannot be used",
            "it must be as netrc(5) says, and yours alone: chmod 600",
        ) from None
    except (OSError, ValueError):
        raise InvalidInput(
            f"{file}: cannot be read", "it must be a text file of yours, see netrc(5)"
        ) from None
    if found is None:
        return ""
    return base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


def _reason(error: Exception) -> str:
    """What went wrong, without the layers around it."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)[:300]
