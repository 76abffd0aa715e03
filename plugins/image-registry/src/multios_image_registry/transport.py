"""HTTP, by urllib3: connections kept and shared, TLS checked, every failure told in words."""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from multios.errors import InvalidInput

POOLS = 16
_AGENT = "multios-container"
_BLOCK = 128 << 10

# Who allows a registry to be insecure has said so in the settings.
urllib3.disable_warnings(InsecureRequestWarning)

Response = urllib3.BaseHTTPResponse


class Failure(Exception):
    """No answer came. ``reached`` tells that somebody was there, ``stalled`` that he fell silent."""

    def __init__(self, cause: str, remedy: str, *, reached: bool, stalled: bool = False) -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.reached, self.stalled = cause, remedy, reached, stalled


class NoTls(Failure):
    """The other side does not speak TLS, or shows a certificate that nobody vouches for."""


class Transport:
    """The connections of one driver. Its answers are read by who asked; it follows no redirect and repeats nothing."""

    def __init__(
        self, ca_bundle: Path | None, connect_timeout: float, stall_timeout: float, size: int
    ) -> None:
        self._ca_bundle = ca_bundle
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=stall_timeout)
        # A registry that has taken a large blob checks it before it answers.
        self._upload_timeout = urllib3.Timeout(connect=connect_timeout, read=4 * stall_timeout)
        self._size = size
        self._lock = threading.Lock()
        self._managers: dict[tuple[bool, str], urllib3.PoolManager] = {}

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: IO[bytes] | bytes | None, verify: bool
    ) -> Response:
        """The answer to one request, its body not read yet. Raises :class:`Failure`."""
        try:
            return self._manager(url, verify).request(
                method,
                url,
                headers={"User-Agent": _AGENT, **headers},
                body=body,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=self._upload_timeout if method in ("PUT", "PATCH") else self._timeout,
            )
        except (HTTPError, OSError, UnicodeError) as error:
            raise failure(error) from error

    def _manager(self, url: str, verify: bool) -> urllib3.PoolManager:
        proxy = _proxy_for(url)
        with self._lock:
            if (verify, proxy) not in self._managers:
                options: dict[str, Any] = {
                    "num_pools": POOLS,
                    "maxsize": self._size,
                    "blocksize": _BLOCK,
                    "ssl_context": self._context(verify),
                }
                self._managers[verify, proxy] = (
                    urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **options)
                    if proxy
                    else urllib3.PoolManager(**options)
                )
            return self._managers[verify, proxy]

    def _context(self, verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca_bundle:
            try:
                context.load_verify_locations(cafile=self._ca_bundle)
            except OSError as error:  # ssl.SSLError is one
                raise InvalidInput(
                    f"ca_bundle {self._ca_bundle} cannot be used: {error.strerror or error}",
                    "name a file of PEM certificates in [image.registry]",
                ) from error
        return context


def failure(error: Exception) -> Failure:
    """What an exception of the connection means."""
    text = _innermost(error)
    if isinstance(error, NameResolutionError):
        return Failure("its name is not known", "check the name and the network", reached=False)
    if isinstance(error, ProxyError):
        return Failure(f"the proxy does not let through: {text}", "check https_proxy", reached=False)
    if isinstance(error, (NewConnectionError, ConnectTimeoutError)):
        silent = isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError)
        cause = "it does not answer" if silent else text
        return Failure(cause, "check the name and the network", reached=False)
    if isinstance(error, ReadTimeoutError):
        return Failure("it fell silent", "try again later", reached=True, stalled=True)
    if isinstance(error, SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = "name its authority with ca_bundle in [image.registry]"
            return NoTls(f"its certificate is not trusted: {text}", remedy, reached=False)
        remedy = "if it speaks plain HTTP, name it under insecure in [image.registry]"
        return NoTls(f"it does not speak TLS: {text}", remedy, reached=False)
    if isinstance(error, (LocationValueError, UnicodeError)):
        return Failure(f"its address is not valid: {text}", "check the name", reached=False)
    return Failure(f"the connection broke: {text}", "try again", reached=True)


def _innermost(error: BaseException) -> str:
    """The system's own words in one line."""
    while True:
        inner = next((item for item in reversed(error.args) if isinstance(item, BaseException)), None)
        inner = inner or error.__cause__
        if inner is None:
            break
        error = inner
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", "") or error.reason or error)
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return " ".join(text.split())[:200]


def _proxy_for(url: str) -> str:
    """The proxy that the environment names for an address, or empty."""
    parts = urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass_environment(parts.netloc):  # type: ignore[attr-defined]
        return ""
    return urllib.request.getproxies_environment().get(parts.scheme, "")


def _proxy_headers(proxy: str) -> Mapping[str, str]:
    """The user and password that a proxy's address may have in it."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return urllib3.make_headers(proxy_basic_auth=pair)
