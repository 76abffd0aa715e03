"""JSON Schemas of ``template.toml`` and ``index.json``, for editors and other programs, made of the records that readers fill.

It says what can be said of each value alone. What values must be among themselves is :mod:`multios.template_format.rules`'s.
"""

from __future__ import annotations

import typing
from dataclasses import MISSING, fields
from typing import Any

from multios import typed_table
from multios.model.container import Resources
from multios.model.container_document import CAPABILITIES
from multios.model.template import Check, Service, TemplatePort
from multios.template_format import document, index, options, rules
from multios.template_format.document import Document, ParameterTable, Requests, Variant
from multios.template_format.index import Entry, Index

IDENTIFIER = "urn:multios:template:1"
INDEX_IDENTIFIER = "urn:multios:template-index:1"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_SIZE = {"type": ["string", "integer"]}
_VALUE = {"type": ["string", "integer", "boolean"]}
_PLAIN: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}

_MEANINGS: dict[type, dict[str, str]] = {
    Document: {
        "schema": "The version of this format.",
        "name": "What the template is called.",
        "version": "The template's own version.",
        "description": "One line: what it is for.",
        "license": "What others may do with it, as SPDX writes it: MIT.",
        "base": "The image it is built on. As everywhere, {{option}} stands for an option's value.",
        "steps": "Lines for /bin/sh -e, run as root after the packages and the files; each is a layer. Values are quoted.",
        "command": "What a container runs; without it the init of the services, or /bin/bash.",
        "working_directory": "Where a container's command starts.",
        "packages": "Debian packages, one layer. The key is a base or its distribution; the most exact one counts.",
        "requests": "What a container needs beyond the default; given as the host's policy allows.",
        "files": "Small text files, by their absolute path inside; those that begin with #! can be executed.",
        "environment": "Variables of every process.",
        "labels": "Labels of the image.",
        "resources": "The limits of a container that asks for none, and the least that the template needs.",
        "ports": "What something inside listens on.",
        "parameters": "Options: --option name=value.",
        "services": "Programs that an init in the container keeps running.",
        "checks": "What must hold inside: run when it is built, and by template test.",
        "variants": "Other steps for some values of options; the first that fits counts.",
    },
    ParameterTable: {
        "name": "What stands before the = of --option.",
        "description": "One line for whoever chooses.",
        "default": "The value where none is given.",
        "type": "Which values there are; with choices it is a choice.",
        "choices": "The only values of a choice.",
        "minimum": "The least that an integer may be.",
        "maximum": "The most that an integer may be.",
    },
    Requests: {
        "capabilities": "Capabilities without CAP_, see capabilities(7).",
        "devices": "Devices of the host, by their paths.",
        "network": "none: a container has no network unless one is asked for.",
        "seccomp_profile": "A profile of system calls for containers that ask for none.",
    },
    Check: {
        "name": "What holds when it is right.",
        "command": "A program and its arguments; it must exit 0.",
        "expect": "What its output must contain.",
        "hint": "What to do when it does not hold.",
        "timeout": "After so many seconds it is killed, and does not hold.",
        "running": "Only in a started container, when its services are ready.",
    },
    Service: {
        "name": "What status and log call it.",
        "command": "A line for the shell that stays in the foreground; restarted when it ends, with a growing pause.",
        "prepare": "A line for the shell that is run once before.",
        "ready": "A program and its arguments that exits 0 when the service answers.",
    },
    TemplatePort: {
        "container": "The port inside.",
        "protocol": "tcp, udp or sctp.",
        "description": "What is there.",
    },
    Variant: {
        "steps": "The steps instead of the usual ones.",
        "when": "By an option's name, the values that it is for.",
        "services": "Services besides the usual ones.",
        "checks": "Checks besides the usual ones.",
    },
    Resources: {
        "cpu_limit": "Cores, or a percentage of one.",
        "cpu_shares": "Priority against others; 1024 is usual.",
        "cpuset": "Only these processors: 0-3 or 0,2.",
        "memory_limit": "Memory: 512M or 1GB.",
        "memory_swap": "Memory and swap together, in bytes.",
        "pids_limit": "At most so many processes.",
        "disk_limit": "Disk space of the root file system.",
        "io_limit": "Disk operations a second, each way.",
        "io_bytes_limit": "Bytes to and from disk a second, each way.",
    },
    Index: {
        "schema": "The version of this format.",
        "templates": "A version of a template each; no name and version is there twice.",
    },
    Entry: {
        "name": "As in its template.toml, and so are the next three; name and version are compared when it is imported.",
        "version": "The template's own version.",
        "description": "One line: what it is for.",
        "license": "What others may do with it, as SPDX writes it: MIT.",
        "base": "The image it is built on where no option chooses another.",
        "file": "Its archive, relative to the index: plain names with / between them.",
        "sha256": "Of the archive, in hexadecimal digits.",
        "size": "Of the archive, in bytes.",
        "reference": "Instead of these three: an artifact at a registry, with its digest.",
    },
}

_TIGHTER: dict[tuple[type, str], dict[str, Any]] = {
    (Document, "schema"): {"const": document.SCHEMA},
    (Document, "name"): {"pattern": f"^{rules.NAME.pattern}$", "maxLength": rules.LONGEST_NAME},
    (Document, "version"): {"pattern": f"^{rules.VERSION.pattern}$"},
    (Document, "description"): {"minLength": 1, "maxLength": rules.LONGEST_DESCRIPTION},
    (Document, "license"): {"pattern": f"^{rules.LICENSE.pattern}$"},
    (Document, "working_directory"): {"pattern": "^/"},
    (ParameterTable, "name"): {"pattern": f"^{rules.PARAMETER.pattern}$"},
    (ParameterTable, "type"): {"enum": list(options.TYPES)},
    (Requests, "capabilities"): {"items": {"enum": list(CAPABILITIES)}},
    (Requests, "devices"): {"items": {"type": "string", "pattern": "^/dev/"}},
    (Requests, "network"): {"enum": ["none"]},
    (Check, "name"): {"minLength": 1},
    (Check, "command"): {"minItems": 1},
    (Check, "timeout"): {"minimum": 1, "maximum": rules.LONGEST_TIMEOUT},
    (Service, "name"): {"pattern": f"^{rules.SERVICE.pattern}$"},
    (Service, "command"): {"minLength": 1},
    (Index, "schema"): {"const": index.SCHEMA},
    (Index, "templates"): {"maxItems": index.MOST_TEMPLATES},
    (Entry, "name"): {"pattern": f"^{rules.NAME.pattern}$", "maxLength": rules.LONGEST_NAME},
    (Entry, "version"): {"pattern": f"^{rules.VERSION.pattern}$", "maxLength": index.LONGEST_TEXT},
    (Entry, "description"): {"minLength": 1, "maxLength": rules.LONGEST_DESCRIPTION},
    (Entry, "license"): {"pattern": f"^{rules.LICENSE.pattern}$", "maxLength": index.LONGEST_TEXT},
    (Entry, "file"): {"pattern": f"^{index.PATH.pattern}$", "maxLength": index.LONGEST_TEXT},
    (Entry, "sha256"): {"pattern": f"^{index.SHA256.pattern}$"},
    (Entry, "size"): {"minimum": 1, "maximum": index.LARGEST_ARCHIVE},
    (Entry, "reference"): {"pattern": "^.+/.+@sha256:[0-9a-f]{64}$", "maxLength": index.LONGEST_TEXT},
    (TemplatePort, "container"): {"minimum": 1, "maximum": 65535},
    (TemplatePort, "protocol"): {"enum": list(rules.PROTOCOLS)},
}


def _text_table(**names: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string"}, **names}


def _lists(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "array", "items": item}}


def _array(kind: type) -> dict[str, Any]:
    return {"type": "array", "items": record(kind)}


def _of_parsed(kind: type, name: str) -> dict[str, Any]:
    """The shape of a field that has a reader of its own."""
    shapes: dict[tuple[type, str], Any] = {
        (Document, "packages"): lambda: _lists({"type": "string", "minLength": 1}),
        (Document, "requests"): lambda: record(Requests),
        (Document, "files"): lambda: _text_table(propertyNames={"pattern": "^/"}),
        (Document, "environment"): lambda: _text_table(
            propertyNames={"pattern": f"^{rules.VARIABLE.pattern}$"}
        ),
        (Document, "labels"): _text_table,
        (Document, "resources"): lambda: record(Resources),
        (Document, "ports"): lambda: _array(TemplatePort),
        (Document, "parameters"): lambda: _array(ParameterTable),
        (Document, "services"): lambda: _array(Service),
        (Document, "checks"): lambda: _array(Check),
        (Document, "variants"): lambda: _array(Variant),
        (ParameterTable, "default"): lambda: dict(_VALUE),
        (Index, "templates"): lambda: _array(Entry),
        (Variant, "services"): lambda: _array(Service),
        (Variant, "checks"): lambda: _array(Check),
        (Variant, "when"): lambda: _lists(dict(_VALUE)),
    }
    found: dict[str, Any] = shapes[(kind, name)]()
    return found


def record(kind: type) -> dict[str, Any]:
    """The schema of the table that is read into ``kind``."""
    hints = typed_table.field_types(kind)
    properties, required = {}, []
    for item in fields(kind):
        if item.name not in _MEANINGS[kind]:
            if kind is Resources and item.name == "hugepages":
                continue  # the reader of templates does not take it
            raise KeyError(f"{kind.__name__}.{item.name} has no meaning in the schema")
        shape = _of_parsed(kind, item.name) if "parse" in item.metadata else _shape(kind, item.name, hints)
        shape = {**shape, **_TIGHTER.get((kind, item.name), {})}
        properties[item.name] = {"description": _MEANINGS[kind][item.name], **shape}
        if item.default is MISSING and item.default_factory is MISSING:
            required.append(item.name)
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def _shape(kind: type, name: str, hints: dict[str, Any]) -> dict[str, Any]:
    if kind is Resources and name in ("cpu_limit", "memory_limit", "disk_limit"):
        return {"type": ["string", "number"]} if name == "cpu_limit" else dict(_SIZE)
    hint = hints[name]
    arguments = [item for item in typing.get_args(hint) if item is not type(None)]
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": dict(_PLAIN[arguments[0]])}
    return dict(_PLAIN[arguments[0] if arguments else hint])


def schema() -> dict[str, Any]:
    """The whole."""
    return {
        "$schema": _DRAFT,
        "$id": IDENTIFIER,
        "title": "template.toml",
        "description": "A template of the MultiOS Container System, schema 1.",
        **record(Document),
    }


def index_schema() -> dict[str, Any]:
    """The whole of an index: an entry has an archive's keys or a registry's."""
    found = record(Index)
    archive, by_reference = ["file", "sha256", "size"], ["reference"]
    found["properties"]["templates"]["items"]["oneOf"] = [
        {"required": archive, "not": {"required": by_reference}},
        {"required": by_reference, "not": {"anyOf": [{"required": [key]} for key in archive]}},
    ]
    return {
        "$schema": _DRAFT,
        "$id": INDEX_IDENTIFIER,
        "title": index.FILE,
        "description": "An index of templates of the MultiOS Container System, schema 1.",
        **found,
    }


# --- for people -----------------------------------------------------------------------------------

_SECTIONS: tuple[tuple[str, type], ...] = (
    ("At the top", Document),
    ("`[requests]`", Requests),
    ("`[resources]`", Resources),
    ("`[[ports]]`", TemplatePort),
    ("`[[parameters]]`", ParameterTable),
    ("`[[services]]`", Service),
    ("`[[checks]]`", Check),
    ("`[[variants]]`", Variant),
)


_INDEX_SECTIONS: tuple[tuple[str, type], ...] = (("At the top", Index), ("Of each of `templates`", Entry))


def tables() -> str:
    """Every key of a template with its type and meaning, as Markdown."""
    return _tables(_SECTIONS)


def index_tables() -> str:
    """Every key of an index."""
    return _tables(_INDEX_SECTIONS)


def _tables(sections: tuple[tuple[str, type], ...]) -> str:
    lines = []
    for title, kind in sections:
        shape = record(kind)
        lines.append(f"## {title}\n\n| key | type | |\n|---|---|---|")
        for name, said in shape["properties"].items():
            needed = " (required)" if name in shape.get("required", ()) else ""
            lines.append(f"| `{name}`{needed} | {_word(said)} | {said['description']} |")
        lines.append("")
    return "\n".join(lines)


def _word(shape: dict[str, Any]) -> str:
    if "const" in shape:
        return f"`{shape['const']}`"
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    kind = shape["type"]
    if kind == "array":
        return "tables" if shape["items"].get("type") == "object" else "list of text"
    if kind == "object":
        return "table"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return " or ".join(names[one] for one in ([kind] if isinstance(kind, str) else kind))
