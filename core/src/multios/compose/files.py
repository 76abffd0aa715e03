"""Configs and secrets: small files that services have inside."""

from __future__ import annotations

import os

from multios.compose.sources import read_bytes
from multios.compose.tree import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from multios.compose.field import Field

_LARGEST_ID, _LARGEST_MODE = 2**31, 0o777
_SOURCES = ("file", "environment", "content")


class Files:
    """The configs and secrets of the file; of those that a service uses the content is read."""

    def __init__(self, configs: Field | None, secrets: Field | None, variables: Mapping[str, str]) -> None:
        self._fields = {
            "configs": configs.named() if configs else {},
            "secrets": secrets.named() if secrets else {},
        }
        self._variables = variables
        self._used: dict[str, dict[str, Any]] = {}

    def document(self) -> dict[str, Any]:
        """``files`` of the app document."""
        return self._used

    def secret_source(self, name: str, asker: Field) -> dict[str, str]:
        """Where a build's secret comes from: ``file`` or ``environment``."""
        keys = self._keys("secrets", name, asker)
        return {key: keys[key].text() for key in ("file", "environment") if key in keys}

    def uses(self, section: str, field: Field) -> list[dict[str, Any]]:
        """``files`` of a service: its ``configs`` or ``secrets``."""
        return [self._use(section, item) for item in field.items()]

    def _use(self, section: str, item: Field) -> dict[str, Any]:
        keys = (
            item.table("configs and secrets of a service")
            if isinstance(item.value, Table)
            else {"source": item}
        )
        if "source" not in keys:
            raise item.error("source is missing", f"name one of the {section}")
        name = keys["source"].text()
        directory = "/run/secrets/" if section == "secrets" else "/"
        target = keys["target"].text() if "target" in keys else name
        if {"", ".", ".."} & set(target.removeprefix("/").split("/")):
            raise keys.get("target", item).error(
                f"{target[:80]!r} is no place inside", "write a path without .."
            )
        use: dict[str, Any] = {
            "source": self._content(section, name, item),
            "target": target if target.startswith("/") else directory + target,
        }
        for key in ("uid", "gid"):
            if key in keys:
                use[key] = keys[key].whole(0, _LARGEST_ID)
        if "mode" in keys:
            use["mode"] = _mode(keys["mode"])
        return use

    def _keys(self, section: str, name: str, asker: Field) -> dict[str, Field]:
        fields = self._fields[section]
        if name not in fields:
            raise asker.error(f"{section} has no {name[:80]!r}", f"define it in {section}: at the top level")
        keys = fields[name].table(section)
        given = [key for key in _SOURCES if key in keys]
        if len(given) != 1:
            allowed = _SOURCES if section == "configs" else _SOURCES[:2]
            raise fields[name].error("it must come from one place", f"give one of {', '.join(allowed)}")
        return keys

    def _content(self, section: str, name: str, asker: Field) -> str:
        """The key in ``files`` of the app document."""
        is_twice = name in self._fields["configs"] and name in self._fields["secrets"]
        key = f"{name[:56]}.secret" if is_twice and section == "secrets" else name
        if key not in self._used:
            import base64  # deferred: few apps have configs or secrets

            content = self._read(self._keys(section, name, asker))
            self._used[key] = {"content": base64.b64encode(content).decode()}
            if section == "secrets":
                self._used[key]["secret"] = True
        return key

    def _read(self, keys: dict[str, Field]) -> bytes:
        if "content" in keys:
            return keys["content"].text().encode("utf-8", "surrogateescape")
        if "file" in keys:
            path = keys["file"].text()
            return read_bytes(path, path, keys["file"].place, keys["file"].path)
        field = keys["environment"]
        if field.text() not in self._variables:
            raise field.error(f"variable {field.text()[:80]} is not set", "set it")
        return os.fsencode(self._variables[field.text()])


def _mode(field: Field) -> int:
    if isinstance(field.value, str):  # "0440", as it is written in quotes, is octal too
        try:
            mode = int(field.value, 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= _LARGEST_MODE:
            raise field.expected("a mode such as 0440")
        return mode
    return field.whole(0, _LARGEST_MODE)
