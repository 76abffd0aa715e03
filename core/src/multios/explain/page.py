"""``explain --html``: one page that needs nothing but itself, no script, and says everything in text as well."""

from __future__ import annotations

from multios.explain import drawings
from multios.explain.drawing import escaped
from multios.explain.tables import Table, tables
from multios.explain.text import heading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Whatever slipped through the escaping would still run and fetch nothing."""
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --quiet: #5a6472; --line: #b9c2cd;
  --own: #dcebfb; --host: #eceff2; --shared: #fbe3c8; --upper: #dff3e0; --code: #f2f4f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #14181e; --quiet: #9aa5b3; --line: #46505c;
  --own: #1d3a57; --host: #29313b; --shared: #553b1a; --upper: #1f4426; --code: #1e242c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 0 auto; padding: 12px; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .4em 0; } h2 { font-size: 1.25rem; margin: 2em 0 .4em; }
h3 { font-size: 1rem; margin: 1.2em 0 .3em; }
p { margin: .4em 0; } .quiet { color: var(--quiet); }
svg { display: block; width: 100%; max-width: 540px; height: auto; margin: 1em 0; }
svg text { font: 11px ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: var(--ink); }
svg .first { font-weight: bold; } svg .label { fill: var(--quiet); }
svg rect { fill: var(--host); stroke: var(--line); }
svg .own rect, svg .seen rect, svg .process rect, svg .interface rect { fill: var(--own); }
svg .upper rect { fill: var(--upper); } svg .shared rect { fill: var(--shared); }
svg .arrow { stroke: var(--quiet); fill: none; } svg .head { fill: var(--quiet); }
svg .border { stroke: var(--quiet); stroke-dasharray: 4 4; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
td { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
th { color: var(--quiet); font-weight: normal; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; background: var(--code);
  padding: 1px 4px; border-radius: 3px; }
ul { padding-left: 1.2em; margin: .3em 0; } nav a { margin-right: .8em; color: inherit; }
"""
_PICTURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "namespaces": drawings.namespaces,
    "mounts": drawings.layers,
    "network": drawings.network,
}


def page(document: dict[str, Any]) -> str:
    """The page, to be written as UTF-8."""
    name = escaped(document["name"])
    links = " ".join(f'<a href="#{part["part"]}">{escaped(part["title"])}</a>' for part in document["parts"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>The container {name}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>The container {name}</h1>",
            *(f"<p>{escaped(line)}</p>" for line in heading(document).splitlines()),
            _labels(document["labels"]),
            f'<nav class="quiet">{links}</nav>',
            *map(_section, document["parts"]),
            "</body>",
            "</html>",
            "",
        ]
    )


def _labels(labels: dict[str, str]) -> str:
    items = ", ".join(
        f"<code>{escaped(key)}={escaped(value)}</code>" for key, value in sorted(labels.items())
    )
    return f'<p class="quiet">Labels: {items}</p>' if items else ""


def _section(part: dict[str, Any]) -> str:
    draw = _PICTURES.get(part["part"])
    return "\n".join(
        [
            f'<section id="{part["part"]}">',
            f"<h2>{escaped(part['title'])}</h2>",
            *(f"<p>{escaped(sentence)}</p>" for sentence in part["about"]),
            draw(part) if draw else "",
            *map(_table, tables(part)),
            "<h3>See it yourself</h3>",
            "<ul>",
            *(f"<li>{_command(line)}</li>" for line in part["see"]),
            "</ul>",
            "</section>",
        ]
    )


def _command(line: str) -> str:
    """A command, and what is said of it after three blanks."""
    command, _, remark = line.partition("   ")
    return f"<code>{escaped(command)}</code>" + (f" {escaped(remark)}" if remark else "")


def _table(shown: Table) -> str:
    title = f"<h3>{escaped(shown.title)}</h3>" if shown.title else ""
    if not shown.columns and all(len(row) == 1 for row in shown.rows):
        items = "".join(f"<li><code>{escaped(row[0])}</code></li>" for row in shown.rows)
        return f"{title}<ul>{items}</ul>"
    head = "".join(f"<th>{escaped(column.lower())}</th>" for column in shown.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in shown.rows
    )
    return f'{title}<div class="wide"><table>{f"<tr>{head}</tr>" if head else ""}{body}</table></div>'
