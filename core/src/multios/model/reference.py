"""References: how people name images, ``[registry[:port]/]path[:tag][@sha256:…]``.

The grammar is the distribution project's (``reference`` in its specification). A name without a registry stays
as it is: which source knows ``debian:12`` is not the grammar's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from multios.errors import InvalidInput

DEFAULT_TAG = "latest"

_LONGEST_NAME = 255
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "an image is named like debian:12 or registry.example.org/group/name:tag"


@dataclass(frozen=True, slots=True)
class Reference:
    """``domain`` is the registry's host and port or empty; one of ``tag`` and ``digest`` is always there."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """What is named, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse(text: str) -> Reference:
    """The reference that ``text`` is; the tag is ``latest`` where neither tag nor digest is given.

    Raises ``InvalidInput`` that names the part that is wrong.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _wrong(text, f"{digest!r} is not a digest")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    name = head + slash + last
    if not name:
        raise _wrong(text, "the name is empty")
    if len(name) > _LONGEST_NAME:
        raise _wrong(text[:40] + "…", f"the name is longer than {_LONGEST_NAME} characters")
    domain, path = _split_domain(name)
    if domain and not _DOMAIN.fullmatch(domain):
        raise _wrong(text, f"{domain!r} is not a registry's host")
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise _wrong(text, _about_component(component))
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # ".." is a path, not a host; so is any first part that no host's name could be told from.
    is_domain = slash and (":" in first or first == "localhost" or ("." in first and first.strip(".")))
    return (first, rest) if is_domain else ("", name)


def _about_component(component: str) -> str:
    if not component:
        return "a part of the name is empty"
    if component != component.lower():
        return f"{component!r} has capital letters"
    return f"{component!r} is not a part of an image's name"


def _wrong(text: str, what: str) -> InvalidInput:
    return InvalidInput(f"image {text!r}: {what}", _REMEDY)
