"""``image pull``, ``image push``, ``login`` and ``logout``."""

from __future__ import annotations

import os
import sys

from multios.cli import credentials
from multios.cli.grammar import FLAG, TEXT, Argument, Command, Option
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_LONGEST_PASSWORD = 64 << 10


def _pull(values: Values, context: Context) -> int:
    def pull(ref: str) -> None:
        params = {"ref": ref}
        if values["platform"]:
            params["platform"] = values["platform"]
        answer = transfer(context, "images.pull", params, ref, values["quiet"])
        sys.stdout.write(f"{answer['id']}\n")

    return context.each(values["refs"], pull)


def _push(values: Values, context: Context) -> int:
    params = {"ref": values["ref"]}
    if values["destination"]:
        params["destination"] = values["destination"]
    name = values["destination"] or values["ref"]
    answer = transfer(context, "images.push", params, name, values["quiet"])
    sys.stdout.write(f"{answer['digest']}\n")
    return 0


def transfer(context: Context, method: str, params: dict[str, str], name: str, quiet: bool) -> Any:
    """Call ``method`` with the caller's credentials for the registry of the image ``name``."""
    descriptors = credentials.handed_over(credentials.find(credentials.registry_of(name)))
    try:
        return (context.client if quiet else context).call(method, params, descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def pull_with_login(image: str, context: Context) -> bool:
    """Pull an image as the caller; false if the caller has no login at its registry."""
    if not credentials.find(credentials.registry_of(image)):
        return False
    transfer(context, "images.pull", {"ref": image}, image, quiet=False)
    return True


def _login(values: Values, context: Context) -> int:
    registry = credentials.registry_name(values["registry"] or credentials.DOCKER_HUB)
    username, password = values["username"], values["password"]
    if values["password_stdin"]:
        if not username or password is not None:
            raise InvalidInput("--password-stdin needs --username and no --password", "leave out the other")
        given = sys.stdin.buffer.read(_LONGEST_PASSWORD)
        password = given.decode(errors="surrogateescape").rstrip("\r\n")
    elif not (username and password) and not os.isatty(0):
        raise InvalidInput("there is no terminal to ask on", "write login --username NAME --password-stdin")
    if not username:
        username = input(f"Username for {registry}: ").strip()
    if not password:
        import getpass  # deferred: only a person is asked

        password = getpass.getpass(f"Password of {username}: ")
    if not username or not password or ":" in username or not _is_text(username + password):
        raise InvalidInput("the name or the password is empty or not valid", "a name has no ':'")
    descriptors = credentials.handed_over({registry: {"username": username, "password": password}})
    try:
        context.call("registries.login", {"registry": registry}, descriptors)
    finally:
        os.close(descriptors[0])
    credentials.save(registry, username, password)
    sys.stdout.write(f"logged in to {registry} as {username}\n")
    return 0


def _is_text(text: str) -> bool:
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
        return False


def _logout(values: Values, context: Context) -> int:
    registry = credentials.registry_name(values["registry"] or credentials.DOCKER_HUB)
    known = credentials.forget(registry)
    sys.stdout.write(f"logged out of {registry}\n" if known else f"not logged in to {registry}\n")
    return 0


_QUIET = Option("--quiet -q", "quiet", FLAG, "Show no progress")
_REGISTRY = Argument("registry", "[REGISTRY]", 0, 1)

COMMANDS = {
    "image pull": Command(
        _pull,
        (
            Option(
                "--platform",
                "platform",
                TEXT,
                "The machine it is for, instead of this one",
                "OS/ARCH[/VARIANT]",
            ),
            _QUIET,
        ),
        (Argument("refs", "IMAGE", 1, 0, completes="images"),),
        "An image that is stored already is looked up again: its name may mean another one today. "
        "A name without a registry that no other source knows is docker.io's.",
        ("image pull ubuntu:20.04", "image pull --platform linux/arm64 registry.example.org/lab/tools:1"),
    ),
    "image push": Command(
        _push,
        (_QUIET,),
        (
            Argument("ref", "IMAGE", completes="images"),
            Argument("destination", "[DESTINATION]", 0, 1),
        ),
        "Without DESTINATION it goes where its name says. Its digest is printed.",
        (
            "image push registry.example.org/lab/tools:1",
            "image push tools:1 registry.example.org/lab/tools:1",
        ),
    ),
    "login": Command(
        _login,
        (
            Option("--username -u", "username", TEXT, "Who you are there", "NAME"),
            Option(
                "--password -p", "password", TEXT, "Seen by others in the process list: better not", "TEXT"
            ),
            Option("--password-stdin", "password_stdin", FLAG, "Read the password from stdin"),
        ),
        (_REGISTRY,),
        "The registry is asked whether it knows you. Logins are kept where docker keeps them: in ~/.docker/config.json, "
        "or with the credential helper that this file names. Without REGISTRY it is docker.io.",
        ("login registry.example.org", "login -u alice --password-stdin registry.example.org < password"),
    ),
    "logout": Command(_logout, (), (_REGISTRY,), "", ("logout registry.example.org",)),
}
