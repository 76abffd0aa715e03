"""Who the caller is at registries: docker's ``config.json``, read and written as the caller, and its helpers.

``$REGISTRY_AUTH_FILE`` names the file, else it is ``config.json`` in ``$DOCKER_CONFIG`` or ``~/.docker``. A helper is a
program ``docker-credential-NAME`` (docker's documentation, "Credential helper protocol").
"""

from __future__ import annotations

import os

from multios.api.wire_json import dumps, loads
from multios.errors import InvalidInput, MultiosError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_LARGEST_FILE = 1 << 20
_HELPER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_TOKEN_USER = "<token>"


def registry_of(reference: str) -> str:
    """The registry that an image's name leads to."""
    first, slash, _ = reference.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return registry_name(first) if is_host else DOCKER_HUB


def registry_name(text: str) -> str:
    """A registry as its user writes it, a URL perhaps, as host and port."""
    host = text.partition("://")[2] if "://" in text else text
    host = host.partition("/")[0]
    return DOCKER_HUB if host in _DOCKER_HUB_NAMES else host


def handed_over(credentials: dict[str, dict[str, str]]) -> list[int]:
    """A descriptor for the daemon to read them from, none if there are none; the caller closes it."""
    if not credentials:
        return []
    descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    os.write(descriptor, dumps(credentials).encode())
    return [descriptor]


def find(registry: str) -> dict[str, dict[str, str]]:
    """The caller's credentials at a registry, by its name; empty if there are none."""
    config = _read()
    helper = _helper(config, registry)
    if helper:
        found = _from_helper(helper, registry)
    else:
        auths = _table(config, "auths")
        entry: dict[str, Any] = next(
            (auths[key] for key in _keys(registry) if isinstance(auths.get(key), dict)), {}
        )
        found = _from_entry(entry, registry)
    return {registry: found} if found else {}


def save(registry: str, username: str, password: str) -> None:
    """Keep them where docker would: with the configured helper, else in the file."""
    config = _read()
    helper = _helper(config, registry)
    if helper:
        given = {"ServerURL": _server(registry), "Username": username, "Secret": password}
        _ask_helper(helper, "store", dumps(given))
        return
    import base64

    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    auths = {key: value for key, value in _table(config, "auths").items() if key not in _keys(registry)}
    _write({**config, "auths": {**auths, _server(registry): {"auth": pair}}})


def forget(registry: str) -> bool:
    """Remove them; whether there were any."""
    config = _read()
    helper = _helper(config, registry)
    known = bool(helper and find(registry))
    if known:
        _ask_helper(helper, "erase", _server(registry))
    auths = _table(config, "auths")
    kept = {key: value for key, value in auths.items() if key not in _keys(registry)}
    if len(kept) < len(auths):
        _write({**config, "auths": kept})
        known = True
    return known


def path() -> str:
    """The file."""
    named = os.environ.get("REGISTRY_AUTH_FILE")
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return named or os.path.join(directory, "config.json")


# --- the file -------------------------------------------------------------------------------------


def _read() -> dict[str, Any]:
    file = path()
    try:
        with open(file, "rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
        config = loads(data.decode()) if data.strip() and len(data) <= _LARGEST_FILE else {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(
            f"{file}: {error.strerror}", "it keeps your registry logins: make it yours"
        ) from None
    except ValueError:
        config = None
    if not isinstance(config, dict) or len(data) > _LARGEST_FILE:
        raise InvalidInput(f"{file} is not a JSON object", "correct it, or remove it and log in again")
    return config


def _write(config: dict[str, Any]) -> None:
    import json

    file = os.path.realpath(path())
    temporary = f"{file}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w") as stream:
                json.dump(config, stream, indent="\t")
            os.rename(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise InvalidInput(
            f"{file}: {error.strerror}", "it keeps your registry logins: make it yours"
        ) from None


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    table = config.get(name)
    return table if isinstance(table, dict) else {}


def _server(registry: str) -> str:
    return _DOCKER_HUB_KEY if registry == DOCKER_HUB else registry


def _keys(registry: str) -> list[str]:
    """Under what docker and others have kept a registry's login."""
    names = _DOCKER_HUB_NAMES if registry == DOCKER_HUB else (registry,)
    forms = ("{}", "https://{}", "https://{}/", "https://{}/v1/", "https://{}/v2/", "http://{}")
    return [_server(registry), *(form.format(name) for name in names for form in forms)]


def _from_entry(entry: dict[str, Any], registry: str) -> dict[str, str]:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        import binascii

        try:
            pair = binascii.a2b_base64(str(entry["auth"])).decode()
        except ValueError:  # binascii.Error and UnicodeDecodeError are
            raise InvalidInput(
                f"{path()}: the login to {registry} cannot be read",
                f"log in again: multios-container login {registry}",
            ) from None
        username, _, password = pair.partition(":")
        password = password.rstrip("\0")
    found = {"username": username, "password": password}
    if entry.get("identitytoken"):
        found["identity_token"] = str(entry["identitytoken"])
    return found if any(found.values()) else {}


# --- helpers --------------------------------------------------------------------------------------


def _helper(config: dict[str, Any], registry: str) -> str:
    helpers = _table(config, "credHelpers")
    name = str(
        next((helpers[key] for key in _keys(registry) if key in helpers), config.get("credsStore") or "")
    )
    if name and not _HELPER_CHARACTERS.issuperset(name):
        raise InvalidInput(f"{path()}: {name!r} is no credential helper's name", "correct credsStore")
    return name


def _from_helper(helper: str, registry: str) -> dict[str, str]:
    answer = _ask_helper(helper, "get", _server(registry))
    if answer is None:
        return {}
    try:
        entry = loads(answer)
        username, secret = str(entry["Username"]), str(entry["Secret"])
    except (ValueError, KeyError, TypeError):
        raise MultiosError(f"docker-credential-{helper} gave no credentials", "log in again") from None
    return (
        {"identity_token": secret} if username == _TOKEN_USER else {"username": username, "password": secret}
    )


def _ask_helper(helper: str, verb: str, text: str) -> str | None:
    """What a helper answers, ``None`` when it has no such credentials."""
    import subprocess  # deferred: few have helpers

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=text.encode(), capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MultiosError(f"{program}: {error}", f"install it, or remove it from {path()}") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0:
        return said
    if "not found" in said:
        return None
    raise MultiosError(
        f"{program} {verb}: {said[:200]}", f"see its own documentation, or remove it from {path()}"
    )
