"""What the values of a ``template.toml`` must be, alone and among themselves. Errors begin with the key's path."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from multios.errors import InvalidInput, nearest
from multios.model import reference
from multios.model.container_document import CAPABILITIES
from multios.model.template import SERVICES_PROGRAM, Check, Parameter, Service
from multios.template_format import options
from multios.toml_lines import written

if TYPE_CHECKING:
    from multios.template_format.document import Document, Variant
    from multios.template_format.index import Entry

PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 40
VERSION = re.compile(r"[0-9]+(\.[0-9]+)*[A-Za-z0-9.+-]*")
LICENSE = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")
PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,40}")
SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DISTRIBUTION = re.compile(r"[a-z0-9][a-z0-9._/-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?")
PROTOCOLS = ("tcp", "udp", "sctp")
LONGEST_TIMEOUT = 3600
LONGEST_DESCRIPTION = 200


def check(document: Document) -> None:
    """Raise ``InvalidInput`` for the first value that cannot be."""
    check_head(document)
    _check_parameters(document.parameters)
    _check_placeholders(document)
    _check_packages(document)
    _check_requests(document)
    _check_places(document)
    _check_services(document.services, "services")
    _check_checks(document.checks, "checks")
    _check_variants(document)


def _require(holds: object, path: str, what: str, remedy: str) -> None:
    if not holds:
        raise InvalidInput(f"{path}: {what}", remedy)


def check_head(document: Document | Entry) -> None:
    """Raise ``InvalidInput`` for a name, version, description, license or base that cannot be."""
    check_name(document.name, "name")
    _require(
        VERSION.fullmatch(document.version), "version", f"{document.version!r} is no version", "write 1.0"
    )
    _require(
        document.description.strip()
        and document.description.isprintable()
        and len(document.description) <= LONGEST_DESCRIPTION,
        "description",
        "must be one line",
        f"say in at most {LONGEST_DESCRIPTION} characters what it is for",
    )
    _require(
        LICENSE.fullmatch(document.license),
        "license",
        f"{document.license!r} is not as SPDX writes it",
        "for example MIT, or GPL-3.0-or-later",
    )
    if not PLACEHOLDER.search(document.base):
        try:
            reference.parse(document.base)
        except InvalidInput as error:
            raise InvalidInput(f"base: {error.cause}", error.remedy) from None


def check_name(name: str, path: str) -> None:
    """Raise ``InvalidInput`` for what cannot be a template's name."""
    _require(
        NAME.fullmatch(name) and len(name) <= LONGEST_NAME,
        path,
        f"{name[:80]!r} cannot be a template's name",
        f"lower-case letters, digits and single '-', at most {LONGEST_NAME}: my-template",
    )


def _unique(names: Sequence[str], path: str, others: Sequence[str] = ()) -> None:
    for number, name in enumerate(names):
        _require(
            name not in names[:number] and name not in others,
            f"{path}[{number}].name", f"{name!r} is there twice", "rename one",
        )  # fmt: skip


def _check_parameters(parameters: Sequence[Parameter]) -> None:
    _unique([item.name for item in parameters], "parameters")
    for number, item in enumerate(parameters):
        path = f"parameters[{number}]"
        _require(
            PARAMETER.fullmatch(item.name), f"{path}.name", f"{item.name!r} cannot be an option's name",
            "small letters, digits and '_'",
        )  # fmt: skip
        options.check_declaration(item, path)


def _check_placeholders(document: Document) -> None:
    known = [item.name for item in document.parameters]
    for path, text in _texts(document):
        for name in PLACEHOLDER.findall(text):
            guess = nearest(name, known)
            _require(
                name in known,
                path,
                f"{{{{{name}}}}}: no such parameter",
                f"did you mean {guess!r}?" if guess else f"add [[parameters]] with name = {name!r}",
            )


def _texts(document: Document) -> Iterator[tuple[str, str]]:
    """Every text in which placeholders are filled, with its path."""
    yield "base", document.base
    yield from _numbered("steps", document.steps)
    yield from _numbered("command", document.command)
    for key, names in document.packages.items():
        yield from _numbered(f"packages.{written(key)}", names)
    for table in ("files", "environment"):
        for key, text in getattr(document, table).items():
            yield f"{table}.{written(key)}", text
    yield from _running_texts("", document)
    for number, variant in enumerate(document.variants):
        yield from _numbered(f"variants[{number}].steps", variant.steps)
        yield from _running_texts(f"variants[{number}].", variant)


def _running_texts(place: str, owner: Document | Variant) -> Iterator[tuple[str, str]]:
    for number, service in enumerate(owner.services):
        path = f"{place}services[{number}]"
        yield f"{path}.command", service.command
        yield f"{path}.prepare", service.prepare
        yield from _numbered(f"{path}.ready", service.ready)
    for number, item in enumerate(owner.checks):
        path = f"{place}checks[{number}]"
        yield from _numbered(f"{path}.command", item.command)
        yield f"{path}.expect", item.expect


def _numbered(path: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield f"{path}[{number}]", text


def _check_packages(document: Document) -> None:
    for key, names in document.packages.items():
        path = f"packages.{written(key)}"
        if ":" in key or "/" in key:
            try:
                reference.parse(key)
            except InvalidInput as error:
                raise InvalidInput(f"{path}: {error.cause}", error.remedy) from None
        else:
            _require(
                _DISTRIBUTION.fullmatch(key), path, "is neither a base nor a distribution",
                'for example debian, or "ubuntu:20.04"',
            )  # fmt: skip
        for number, name in enumerate(names):
            if not PLACEHOLDER.search(name):
                check_package(name, f"{path}[{number}]")


def check_package(name: str, path: str) -> None:
    """Raise ``InvalidInput`` for what apt-get would take for something else than a package's name."""
    _require(
        _PACKAGE.fullmatch(name) and not name.startswith("-"),
        path,
        f"{name!r} is not a package's name",
        "as apt writes it: python3, libc6:amd64 or bash=5.2.15-2",
    )


def _check_requests(document: Document) -> None:
    for number, name in enumerate(document.requests.capabilities):
        path = f"requests.capabilities[{number}]"
        _require(not name.startswith("CAP_"), path, f"{name!r}: without CAP_", f"write {name[4:]!r}")
        guess = nearest(name, list(CAPABILITIES))
        _require(
            name in CAPABILITIES,
            path,
            f"no such capability: {name!r}",
            f"did you mean {guess!r}?" if guess else "see capabilities(7)",
        )
    for number, device in enumerate(document.requests.devices):
        _require(
            device.startswith("/dev/") and posixpath.normpath(device) == device,
            f"requests.devices[{number}]",
            f"{device!r} is not a device's path",
            "for example /dev/net/tun",
        )
    _require(
        document.requests.network in ("", "none"),
        "requests.network",
        f"{document.requests.network!r} is not known",
        'write "none", or leave it out',
    )


def _check_places(document: Document) -> None:
    for path in document.files:
        _require(
            path.startswith("/") and posixpath.normpath(path) == path and path != "/",
            f"files.{written(path)}",
            "is not an absolute path without detours",
            "write where the file is inside: /etc/motd",
        )
    if document.services or any(variant.services for variant in document.variants):
        _require(
            SERVICES_PROGRAM not in document.files, f"files.{written(SERVICES_PROGRAM)}",
            "is written for the services", "choose another path",
        )  # fmt: skip
    for name in document.environment:
        _require(
            VARIABLE.fullmatch(name), f"environment.{written(name)}", "is not a variable's name",
            "letters, digits and '_'",
        )  # fmt: skip
    _require(
        document.working_directory.startswith("/") and ".." not in document.working_directory.split("/"),
        "working_directory",
        f"{document.working_directory!r} is not an absolute path",
        "for example /root",
    )
    seen = set()
    for number, port in enumerate(document.ports):
        path = f"ports[{number}]"
        _require(
            1 <= port.container <= 65535, f"{path}.container", f"{port.container} is no port", "1 to 65535"
        )
        _require(
            port.protocol in PROTOCOLS, f"{path}.protocol", f"{port.protocol!r} is not known",
            f"one of {', '.join(PROTOCOLS)}",
        )  # fmt: skip
        pair = (port.container, port.protocol)
        _require(pair not in seen, path, f"{port.container}/{port.protocol} is there twice", "leave one out")
        seen.add(pair)


def _check_services(services: Sequence[Service], where: str, others: Sequence[Service] = ()) -> None:
    _unique([item.name for item in services], where, [item.name for item in others])
    for number, service in enumerate(services):
        path = f"{where}[{number}]"
        _require(
            SERVICE.fullmatch(service.name), f"{path}.name", f"{service.name!r} cannot be a service's name",
            "small letters, digits, '_' and '-'",
        )  # fmt: skip
        _require(service.command.strip(), f"{path}.command", "is empty", "write what stays in the foreground")


def _check_checks(checks: Sequence[Check], where: str, others: Sequence[Check] = ()) -> None:
    _unique([item.name for item in checks], where, [item.name for item in others])
    for number, item in enumerate(checks):
        path = f"{where}[{number}]"
        _require(
            item.name.strip() and item.name.isprintable(), f"{path}.name", "must be one line",
            "say what holds when it is right",
        )  # fmt: skip
        _require(item.command, f"{path}.command", "is empty", "write a program and its arguments")
        _require(
            1 <= item.timeout <= LONGEST_TIMEOUT, f"{path}.timeout", f"{item.timeout} is out of bounds",
            f"1 to {LONGEST_TIMEOUT} seconds",
        )  # fmt: skip


def _check_variants(document: Document) -> None:
    parameters = {item.name: item for item in document.parameters}
    for number, variant in enumerate(document.variants):
        _check_services(variant.services, f"variants[{number}].services", document.services)
        _check_checks(variant.checks, f"variants[{number}].checks", document.checks)
        for name, values in variant.when.items():
            path = f"variants[{number}].when.{name}"
            guess = nearest(name, list(parameters))
            _require(
                name in parameters,
                path,
                f"{name}: no such parameter",
                f"did you mean {guess!r}?" if guess else "add it to [[parameters]]",
            )
            for value in values:
                try:
                    options.checked(parameters[name], value)
                except InvalidInput as error:
                    raise InvalidInput(f"{path}: {error.cause}", error.remedy) from None
