"""What ``--format`` says: ``table``, ``json``, or a template of simple fields such as ``{{.Name}}``."""

from __future__ import annotations

import sys

from multios.cli.grammar import TEXT, Option
from multios.errors import InvalidInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Cell = Callable[[dict[str, Any]], str]
    Columns = tuple[tuple[str, str, Cell], ...]

FORMAT = Option("--format", "format", TEXT, "json, table, or a template such as '{{.Name}}'", "FORMAT")
_C1 = {number: f"\\u{number:04x}" for number in range(0x7F, 0xA0)}
"""Control characters that JSON permits in a string and some terminals obey."""
_REMEDY = "write fields as {{.Field}} or {{json .Field}}"


def print_rows(rows: list[dict[str, Any]], columns: Columns, format: str | None, quiet: str = "") -> None:
    """Print ``rows``. ``columns`` are (title, field name, cell text); ``quiet`` names the field to print alone."""
    if quiet:
        text = "".join(f"{row[quiet]}\n" for row in rows)
    elif format == "json":
        text = pretty(rows)
    elif format in (None, "", "table"):
        from multios.cli.tables import table

        text = table(
            [title for title, _, _ in columns], [[cell(row) for _, _, cell in columns] for row in rows]
        )
    else:
        text = _by_template(rows, columns, format or "")
    sys.stdout.write(text)


def print_records(records: Sequence[Any], format: str | None) -> None:
    """Print what ``inspect`` found: a JSON list, or a template a record."""
    if format in (None, "", "json"):
        sys.stdout.write(pretty(list(records)))
        return
    parts = parse_template(_unescape(format or ""))
    for record in records:
        sys.stdout.write(render(parts, record) + "\n")


def pretty(value: Any) -> str:
    """Indented JSON and a newline."""
    from json import dumps  # deferred: the wire's JSON has no indentation

    text = dumps(value, indent=2, ensure_ascii=False).translate(_C1)
    return text.encode("utf-8", "replace").decode() + "\n"


def _by_template(rows: list[dict[str, Any]], columns: Columns, format: str) -> str:
    heading = format.startswith("table ")
    parts = parse_template(_unescape(format.removeprefix("table ")))
    named = [
        {**{_plain(field): cell(row) for _, field, cell in columns}, **_others(row, columns)} for row in rows
    ]
    originals = [dict(row) for row in rows]
    lines = [render(parts, row, original) for row, original in zip(named, originals, strict=True)]
    if heading:
        from multios.cli.tables import table

        titles = {_plain(field): title for title, field, _ in columns}
        first = "".join(titles.get(_plain(word), word.upper()) if kind else word for kind, word in parts)
        return table(first.split("\t"), [line.split("\t") for line in lines])
    return "".join(line + "\n" for line in lines)


def _others(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    shown = {_plain(field) for _, field, _ in columns}
    return {key: value for key, value in row.items() if _plain(key) not in shown}


def parse_template(text: str) -> list[tuple[str, str]]:
    """Pieces ``("", literal)``, ``("field", "A.B")`` or ``("json", "A.B")``; an empty path is the whole record."""
    parts: list[tuple[str, str]] = []
    while text:
        literal, opening, text = text.partition("{{")
        if literal:
            parts.append(("", literal))
        if not opening:
            break
        inside, closing, text = text.partition("}}")
        words = inside.strip(" -").split()
        kind = "json" if words[:1] == ["json"] and len(words) == 2 else "field"
        if not closing or len(words) != (2 if kind == "json" else 1) or words[-1][:1] != ".":
            raise InvalidInput(f"--format: cannot read {'{{' + inside + closing!r}", _REMEDY)
        parts.append((kind, words[-1][1:]))
    if not any(kind for kind, _ in parts):
        raise InvalidInput("--format: the template names no field", _REMEDY + ", or use json or table")
    return parts


def render(parts: list[tuple[str, str]], record: Any, original: Any = None) -> str:
    """``record`` by the template; ``{{json .}}`` shows ``original`` where there is one."""
    from multios.api.wire_json import dumps

    text = ""
    for kind, path in parts:
        if not kind:
            text += path
        elif not path:
            text += dumps(record if original is None else original)
        else:
            source = original if kind == "json" and original is not None else record
            value = _look_up(source, path)
            text += dumps(value) if kind == "json" else _text(value)
    if sys.stdout.isatty():
        from multios.cli.tables import harmless

        text = "\n".join("\t".join(map(harmless, line.split("\t"))) for line in text.split("\n"))
    return text


def _look_up(record: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(record, dict):
            raise InvalidInput(f"--format: {path!r} goes below a plain value", "shorten the path")
        keys = {_plain(key): key for key in record}
        key = name if name in record else keys.get(_plain(name))
        if key is None:
            guess = nearest(name, list(record)) or keys.get(nearest(_plain(name), list(keys)))
            hint = f"did you mean {guess!r}?" if guess else f"fields: {', '.join(record)}"
            raise InvalidInput(f"--format: no such field: {name!r}", hint)
        record = record[key]
    return record


def _plain(name: str) -> str:
    """A field's name without case, underscores and plural: docker's ``.Names`` is our ``name``."""
    return name.replace("_", "").lower().removesuffix("s")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<no value>"
    if isinstance(value, (dict, list)):
        from multios.api.wire_json import dumps

        return dumps(value)
    return str(value)


def _unescape(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n")
