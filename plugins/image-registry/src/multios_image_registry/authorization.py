"""Who is asking: basic authentication and tokens (distribution's token and OAuth2 specifications)."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from multios.drivers.image_source import Credentials
from multios.errors import Refused
from multios_image_registry import challenge
from multios_image_registry.transport import Response

if TYPE_CHECKING:
    from multios_image_registry.session import Session

_LARGEST_TOKEN = 256 << 10
_CLIENT = "multios-container"


class Authorization:
    """The headers that let one session's requests through, learned from the registry's challenges."""

    def __init__(self, session: Session, credentials: Credentials | None) -> None:
        self._session = session
        self._credentials = credentials
        self._lock = threading.Lock()
        self._basic = ""
        self._tokens: dict[tuple[str, ...], str] = {}

    @property
    def has_credentials(self) -> bool:
        """Whether the caller gave any."""
        return self._credentials is not None

    def headers(self, scopes: Sequence[str]) -> Mapping[str, str]:
        """What is known to be asked for; nothing before the first challenge."""
        value = self._tokens.get(tuple(scopes)) or self._basic
        return {"Authorization": value} if value else {}

    def take(self, response: Response, scopes: Sequence[str], used: Mapping[str, str]) -> bool:
        """Meet the challenge of a 401 to a request with the headers ``used``; whether there is something new to try.

        Raises ``Refused`` and ``StepFailed``.
        """
        header = ", ".join(response.headers.getlist("WWW-Authenticate"))
        found = {item.scheme: item.parameters for item in reversed(challenge.parse(header))}
        with self._lock:
            if self.headers(scopes) != used:  # another thread has met it meanwhile
                return True
            if "bearer" in found:
                self._tokens[tuple(scopes)] = f"Bearer {self._token(found['bearer'], scopes)}"
                return True
            if "basic" in found and self._credentials and not self._basic:
                self._basic = _basic(self._credentials)
                return True
        return False

    def _token(self, parameters: Mapping[str, str], scopes: Sequence[str]) -> str:
        session, credentials = self._session, self._credentials
        realm = session.checked(parameters.get("realm", ""))
        query = [("service", parameters["service"])] if parameters.get("service") else []
        headers, body, method, url = {}, None, "GET", realm
        if credentials and credentials.identity_token:
            form = [*query, ("client_id", _CLIENT), ("grant_type", "refresh_token")]
            form += [("refresh_token", credentials.identity_token), ("scope", " ".join(scopes))]
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, body = "POST", urlencode(form).encode()
        else:
            if credentials:
                query.append(("account", credentials.username))
                headers["Authorization"] = _basic(credentials)
            query += [("scope", scope) for scope in scopes]
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        response = session.send(method, url, headers, body)
        if response.status in (400, 401, 403):
            response.close()
            registry = session.endpoint.registry
            who = "this user" if credentials else "anybody without a login"
            raise Refused(
                f"{session.step}: {registry} gives no token to {who}", f"multios-container login {registry}"
            )
        if response.status != 200:
            status = response.status
            response.close()
            raise session.failed(f"gives no token (its token server answered {status})", "try again later")
        return self._read(session.document(response, _LARGEST_TOKEN))

    def _read(self, body: bytes) -> str:
        try:
            document = json.loads(body)
            token = document.get("token") or document["access_token"]
            if isinstance(token, str) and token.isascii() and token.isprintable():
                return token
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise self._session.failed("gives a token that cannot be read", "ask who runs it")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
