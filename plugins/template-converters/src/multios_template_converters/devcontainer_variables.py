"""What stands in ``${…}`` in a dev container: options of its template, which become ours, and names of places."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from multios.model.template import Parameter
from multios.template_format import options, rules
from multios_template_converters import taken
from multios_template_converters.template_folder import one_line
from multios_template_converters.values import Account, Value, below

METADATA = "devcontainer-template.json"
_VARIABLE = re.compile(
    r"\$\{(templateOption|localEnv|env|containerEnv|localWorkspaceFolder|localWorkspaceFolderBasename"
    r"|containerWorkspaceFolder|containerWorkspaceFolderBasename|devcontainerId)(?::([^}:]*)(?::([^}]*))?)?\}"
)
_KNOWN = ("type", "description", "default", "enum", "proposals")


class Variables:
    """``project`` is the folder's name; ``workspace`` the path inside where its files are."""

    def __init__(self, project: str) -> None:
        self._project = project
        self.workspace = posixpath.join("/workspaces", re.sub(r"[^A-Za-z0-9._-]", "-", project))
        self._options: dict[str, str] = {}

    # --- options --------------------------------------------------------------------------------------

    def declare(self, account: Account, value: Value) -> list[dict[str, Any]]:
        """The template's options as rows of ``[[parameters]]``: ``imageVariant`` becomes ``image_variant``."""
        found = []
        for name, item in account.table("options", value).items():
            key = below("options", name)
            ours = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
            if not rules.PARAMETER.fullmatch(ours) or ours in self._options.values():
                raise account.wrong(
                    key, item, f"{name!r} cannot be an option's name", "letters, digits and '_'"
                )
            self._options[name] = ours
            found.append(_row(account, key, item, ours))
        return found

    # --- filling --------------------------------------------------------------------------------------

    def fill(self, account: Account, key: str, value: Value, text: str) -> str | None:
        """The text with its variables in our words; ``None`` where it cannot be had, which is said."""
        if not taken.is_plain(account, key, value, text):
            return None
        unknown: list[str] = []

        def known(match: re.Match[str]) -> str:
            kind, name, default = match[1], match[2] or "", match[3]
            if kind == "templateOption":
                if name not in self._options:
                    raise account.wrong(
                        key, value, f"{match[0]}: there is no such option", f"add it to {METADATA}"
                    )
                return f"{{{{{self._options[name]}}}}}"
            if kind in ("localWorkspaceFolderBasename", "containerWorkspaceFolderBasename"):
                return self._project
            if kind == "containerWorkspaceFolder":
                return self.workspace
            if default is None:
                unknown.append(match[0])
            return default or ""

        filled = _VARIABLE.sub(known, text)
        if unknown:
            account.leave(key, value, f"{unknown[0]} is not known before a machine runs")
            return None
        return filled


def _row(account: Account, key: str, value: Value, name: str) -> dict[str, Any]:
    table = account.table(key, value)

    def texts(field: str) -> tuple[str, ...]:
        items = account.items(below(key, field), table[field]) if field in table else []
        return tuple(account.scalar(below(key, field), item) for item in items)

    choices, proposals = texts("enum"), texts("proposals")
    about = account.text(below(key, "description"), table["description"]) if "description" in table else name
    if proposals:
        about += f" (for example {', '.join(proposals)})"
    is_switch = "type" in table and table["type"].data == "boolean"
    default = "false" if is_switch else choices[0] if choices else ""
    if "default" in table:
        default = account.scalar(below(key, "default"), table["default"])
    for field, item in table.items():
        if field not in _KNOWN:
            account.leave(below(key, field), item, "our options have no such thing")
    kind = "boolean" if is_switch else "choice" if choices else "text"
    parameter = Parameter(
        name, one_line(about, rules.LONGEST_DESCRIPTION), default, () if is_switch else choices, kind
    )
    account.checked(key, value, lambda: options.check_declaration(parameter, name))
    row = {"name": name, "description": parameter.description, "default": default, "type": kind}
    return {**row, "choices": list(parameter.choices)} if parameter.choices else row
