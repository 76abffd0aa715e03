"""Requests to a cluster's API, over the connection of the official client library.

With :mod:`multios_orchestrator_kubernetes.websockets` the only module that imports ``kubernetes``: it reads the
kubeconfig, runs the plugin that gets tokens and speaks TLS.
"""

from __future__ import annotations

import itertools
import json
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import urllib3
from kubernetes import client as library
from kubernetes import config as kubeconfig

from multios.errors import InvalidInput, MultiosError, Unavailable
from multios.pace import Pace
from multios_orchestrator_kubernetes import faults, websockets
from multios_orchestrator_kubernetes.kinds import BY_NAME, POD, Kind, Manifest

PAGE = 500
"""Objects a page of a list."""
_LARGEST_ANSWER = 64 << 20
_LARGEST_EVENT = 4 << 20
_LONGEST_LINE = 1 << 20
_ATTEMPTS, _ATTEMPTS_INSIDE = 8, 3
"""For what is asked of the server, and of a pod, which may just have ended."""
_CONNECTIONS = 16
"""That are kept open."""
_FIRST_DELAY, _LONGEST_DELAY, _LONGEST_RETRY_AFTER = 0.2, 10.0, 120.0
_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to the next byte."""
_T = TypeVar("_T")
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class Failed(Exception):
    """An answer that is no success and will not be one."""

    def __init__(self, fault: faults.Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Cluster:
    """One cluster as one user. May be used from several threads; ``pace`` is for all of them."""

    def __init__(self, path: str, context: str, pace: Pace) -> None:
        self._path, self._asked_context = path or None, context or None
        self._pace = pace
        self._lock = threading.Lock()
        self._logins = 0
        self.context, self.namespace = self._read_context()
        self._client = self._log_in()

    # --- what there is ------------------------------------------------------------------------------

    def version(self) -> tuple[int, int]:
        """The API server's."""
        try:
            answer = self._json("GET", "/version")
        except Failed as failed:
            raise self._told(failed, "version") from failed
        digits = ["".join(filter(str.isdigit, str(answer.get(key, "")))) for key in ("major", "minor")]
        return int(digits[0] or 0), int(digits[1] or 0)

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The object, or ``None``."""
        try:
            found = self._json("GET", kind.path(namespace, name))
        except Failed as failed:
            if failed.fault.status == 404:
                return None
            raise self._told(failed, f"{kind.name} {name}") from failed
        _check_object(found)
        return found

    def each(
        self, kind: Kind, namespace: str, selector: str, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The objects with these labels, page by page; in all namespaces where ``namespace`` is empty."""
        accept = _METADATA_ONLY if metadata_only else "application/json"
        query = {"labelSelector": selector, "limit": str(PAGE)}
        try:
            while True:
                page = self._json("GET", kind.path(namespace), query, accept=accept)
                yield from _items(page)
                following = _part(page, "metadata").get("continue")
                if not following:
                    return
                query["continue"] = following
        except Failed as failed:
            raise self._told(failed, f"list of {kind.plural}") from failed

    def listed(self, kind: Kind, namespace: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """All of one short list, and the version that a watch goes on from."""
        try:
            page = self._json("GET", kind.path(namespace), {"labelSelector": selector})
        except Failed as failed:
            raise self._told(failed, f"list of {kind.plural}") from failed
        return _items(page), str(_part(page, "metadata").get("resourceVersion", ""))

    def events(self, kind: Kind, namespace: str, selector: str, version: str) -> Iterator[dict[str, Any]]:
        """One watch from ``version`` on, until the server ends it. Raises ``Failed``, with 410 where it is too old."""
        query = {
            "labelSelector": selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": "300",
        }
        response = self._request("GET", kind.path(namespace), query, timeout=(10.0, 330.0))
        try:
            for line in _lines(response):
                event = _decoded(line)
                item = _part(event, "object")
                if event.get("type") == "ERROR":
                    code = item.get("code")
                    raise Failed(faults.read(code if isinstance(code, int) else 500, "", item, ""))
                if event.get("type") != "BOOKMARK":
                    _check_object(item)
                yield {**event, "object": item}
        except (urllib3.exceptions.HTTPError, OSError):
            return  # the connection is gone: whoever watches goes on from the last version
        finally:
            response.close()

    # --- inside pods --------------------------------------------------------------------------------

    def lines(self, namespace: str, pod: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """The lines of a pod's log, as they come; of one beyond 1 MB the beginning.

        Raises ``Failed``, and ``Unavailable`` when it breaks off or nothing comes for a minute.
        """
        response = self._request("GET", f"{POD.path(namespace, pod)}/log", query, accept="*/*")
        rest, is_cut = b"", False
        try:
            for chunk in response.stream(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if not is_cut:
                        yield line[:_LONGEST_LINE]
                    is_cut = False
                if len(rest) > _LONGEST_LINE:
                    if not is_cut:
                        yield rest[:_LONGEST_LINE]
                    rest, is_cut = b"", True
            if rest and not is_cut:
                yield rest
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(
                f"the log of {pod} broke off: {faults.one_line(str(error))}", "try again"
            ) from error
        finally:
            response.close()

    def channels(
        self,
        namespace: str,
        pod: str,
        verb: str,
        query: Sequence[tuple[str, str]],
        protocols: tuple[str, ...],
    ) -> websockets.Channels:
        """A connection into a pod: ``verb`` is ``exec`` or ``portforward``."""
        path = f"{POD.path(namespace, pod)}/{verb}"

        def connect() -> websockets.Channels:
            client, headers = self._client, self._credentials()
            url = f"{client.configuration.host}{urllib.parse.quote(path)}?{urllib.parse.urlencode(query)}"
            try:
                return websockets.connect(client, url, headers, protocols)
            except websockets.Refusal as refusal:
                raise Failed(refusal.fault) from None

        try:
            return self._until_answered(connect, _ATTEMPTS_INSIDE)
        except Failed as failed:
            raise self._told(failed, f"Pod {pod}") from failed

    # --- changes ------------------------------------------------------------------------------------

    def apply(self, manifest: Manifest, manager: str, force: bool = False) -> dict[str, Any]:
        """Server-side apply: the object is made, or the fields that it names are set."""
        kind, metadata = BY_NAME[manifest["kind"]], manifest["metadata"]
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        try:
            return self._json("PATCH", path, query, manifest, "application/apply-patch+yaml")
        except Failed as failed:
            raise self._told(failed, f"{kind.name} {metadata['name']}") from failed

    def delete(self, kind: Kind, namespace: str, name: str, grace: int | None = None) -> bool:
        """Ask for its removal, and of what depends on it. ``False``: there is none.

        ``grace`` is how many seconds a pod has to end (``None``: its own).
        """
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self._json("DELETE", kind.path(namespace, name), body=options)
        except Failed as failed:
            if failed.fault.status == 404:
                return False
            raise self._told(failed, f"{kind.name} {name}") from failed
        return True

    # --- requests -----------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        response = self._request(method, path, query or {}, body, content_type, accept)
        try:
            data = response.read(_LARGEST_ANSWER + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{method} {path}: the answer broke off: {error}", "try again") from error
        finally:
            response.release_conn()
        if len(data) > _LARGEST_ANSWER:
            raise Unavailable(f"{method} {path}: the answer is larger than 64 MB", "is this an API server?")
        return _decoded(data)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Manifest | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: tuple[float, float] = _TIMEOUT,
    ) -> urllib3.BaseHTTPResponse:
        """The open answer to a request that succeeds, now or when it is repeated. Raises ``Failed``."""
        headers = {"Accept": accept, "Content-Type": content_type}

        def send() -> urllib3.BaseHTTPResponse:
            response = self._send(method, path, query, headers, body, timeout)
            if not 200 <= response.status < 300:
                raise Failed(_fault(response))
            return response

        return self._until_answered(send, _ATTEMPTS)

    def _until_answered(self, attempt: Callable[[], _T], attempts: int) -> _T:
        """What ``attempt`` gives, now or when it is repeated. Raises ``Failed``."""
        may_log_in = True
        for number in itertools.count(1):
            self._pace.wait()
            logins = self._logins
            try:
                return attempt()
            except Failed as failed:
                fault = failed.fault
                if fault.status == 401 and may_log_in:
                    may_log_in = False
                    self._log_in_again(logins)
                elif fault.is_transient and number < attempts:
                    time.sleep(_delay(number, fault.retry_after))
                else:
                    raise
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if number >= attempts or isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
                    reason = faults.one_line(str(error))
                    raise Unavailable(
                        f"the cluster of context {self.context!r} cannot be reached: {reason}",
                        "check the network, and the server's address in the kubeconfig",
                    ) from error
                time.sleep(_delay(number, None))
        raise AssertionError("a count has no end")

    def _credentials(self) -> dict[str, str]:
        """The headers that say who asks."""
        known = {item["key"]: item["value"] for item in self._client.configuration.auth_settings().values()}
        return {**known, "User-Agent": "multios"}

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        body: Manifest | None,
        timeout: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        client = self._client
        url = f"{client.configuration.host}{urllib.parse.quote(path)}"
        response = client.rest_client.pool_manager.request(
            method,
            f"{url}?{urllib.parse.urlencode(query)}" if query else url,
            headers={**headers, **self._credentials()},
            body=json.dumps(body) if body is not None else None,
            timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
            retries=False,
            preload_content=False,
        )
        assert isinstance(response, urllib3.BaseHTTPResponse)
        return response

    def _told(self, failed: Failed, what: str) -> MultiosError:
        return faults.error(failed.fault, what, self.context)

    # --- who asks -----------------------------------------------------------------------------------

    def _read_context(self) -> tuple[str, str]:
        """The name of the context, and its namespace or an empty text."""
        try:
            contexts, current = kubeconfig.list_kube_config_contexts(self._path)
        except Exception as error:  # the library raises whatever its parsers do
            raise self._unreadable(error) from error
        names = [item["name"] for item in contexts]
        wanted = self._asked_context or (current or {}).get("name")
        if wanted not in names:
            raise InvalidInput(
                f"context: the kubeconfig has none called {wanted!r}", f"there are: {', '.join(names)}"
            )
        chosen = next(item for item in contexts if item["name"] == wanted)
        return str(wanted), str((chosen.get("context") or {}).get("namespace") or "")

    def _log_in(self) -> library.ApiClient:
        settings = library.Configuration()
        try:
            kubeconfig.load_kube_config(
                self._path, self.context, client_configuration=settings, persist_config=False
            )
        except Exception as error:  # the library raises whatever its parsers do
            raise self._unreadable(error) from error
        settings.connection_pool_maxsize = _CONNECTIONS
        return library.ApiClient(settings)

    def _log_in_again(self, logins: int) -> None:
        """Read the kubeconfig anew, unless another thread did since ``logins``: tokens end while an apply runs."""
        with self._lock:
            if self._logins == logins:
                self._client = self._log_in()
                self._logins += 1

    def _unreadable(self, error: Exception) -> InvalidInput:
        where = self._path or "~/.kube/config, or what KUBECONFIG names"
        return InvalidInput(
            f"the kubeconfig cannot be used: {faults.one_line(str(error))}", f"correct or name it: {where}"
        )


def _delay(attempt: int, retry_after: float | None) -> float:
    """Seconds to the next attempt: what the server asks for, else twice as long each time, with chance against herds."""
    if retry_after is not None:
        return min(retry_after, _LONGEST_RETRY_AFTER)
    return float(min(_FIRST_DELAY * 2 ** (attempt - 1), _LONGEST_DELAY) * random.uniform(0.5, 1.0))


def _fault(response: urllib3.BaseHTTPResponse) -> faults.Fault:
    try:
        data = response.read(1 << 20)
    except (urllib3.exceptions.HTTPError, OSError):
        data = b""
    finally:
        response.release_conn()
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    return faults.read(
        response.status, response.reason or "", body, response.headers.get("Retry-After") or ""
    )


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Unavailable("the answer is no JSON", "is this an API server?") from error
    if not isinstance(value, dict):
        raise Unavailable("the answer is no object", "is this an API server?")
    return value


def _part(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object inside an answer; an empty one where it has none."""
    part = answer.get(name) or {}
    if not isinstance(part, dict):
        raise Unavailable(f"the answer's {name} is no object", "is this an API server?")
    return part


def _items(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = page.get("items") or []
    if not isinstance(items, list):
        raise Unavailable("the answer's items are no list", "is this an API server?")
    for item in items:
        _check_object(item)
    return items


def _check_object(item: Any) -> None:
    """``Unavailable`` for what is no object with a name and labels, as everything in a cluster is."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Unavailable("the answer has something in it that is no object", "is this an API server?")
    for name in ("labels", "annotations"):
        if not isinstance(metadata.get(name) or {}, dict):
            raise Unavailable(f"the answer has an object whose {name} are none", "is this an API server?")


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines of an answer, as they come."""
    rest = b""
    for chunk in response.stream(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > _LARGEST_EVENT:
            raise Unavailable("an event is larger than 4 MB", "is this an API server?")
