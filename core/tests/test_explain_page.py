"""The page and the text, whatever a container is called, has written and was given."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from multios.explain import PARTS
from multios.explain.drawing import SIZE, columns, fitted
from multios.explain.page import page
from multios.explain.text import text

TEXTS = st.text(max_size=80) | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        '" onload="alert(1)',
        "<!--",
        "]]>",
        "&lt;",
        "\x1b[2J",
        "\u202eevil",
        "日本語" * 20,
    ]
)
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "p",
        "nav",
        "a",
        "section",
        "ul",
        "li",
    ),
    *("code", "div", "table", "tr", "th", "td", "svg", "g", "rect", "text", "path"),
}
ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "href",
        "id",
        "viewbox",
        "role",
        "aria-label",
    ),
    *("x", "y", "width", "height", "rx", "d"),
}


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href"}

    def handle_data(self, data: str) -> None:
        self.text += data


def document(word: str) -> dict[str, Any]:
    """A document with ``word`` in every place that somebody else fills."""
    common = {
        name: {"part": name, "title": "T", "about": ["A.", "B."], "see": [f"cat {word}"]} for name in PARTS
    }
    mount = {"target": word, "type": word, "source": word, "options": [word], "id_mapped": True}
    root = {
        "type": word, "copy": word, "lower": [word, word], "upper": word, "work": word, "limited_file": "",
        "id_mapped": True, "read_only": False,
    }  # fmt: skip
    step = {"network": word, "kind": "bridge", "name": word, "detail": word, "see": word}
    facts: dict[str, dict[str, Any]] = {
        "namespaces": {"rows": [{"kind": "pid", "inode": 1, "host_inode": 2, "shared": False, "joined": False, "keeps": "k"}]},
        "ids": {"users": [], "groups": [], "uid": 0, "host_uid": 1},
        "mounts": {"root": root, "mounts": [mount], "masked": [word], "read_only": [word]},
        "cgroups": {
            "mode": "v2", "asked": [], "limits": [{"what": word, "value": word, "file": word}],
            "groups": [{"version": 2, "controllers": "", "directory": word}],
        },
        "capabilities": {"kept": [], "dropped": [], "sets": {}, "no_new_privileges": True},
        "seccomp": {
            "mode": "filter", "filters": 1, "default": word,
            "calls": [{"action": word, "count": 1, "names": [word]}],
            "conditions": [{"call": word, "condition": word, "action": word}],
        },
        "confinement": {"drivers": [{"driver": word, "profile": word, "enforced": True, "detail": word}]},
        "network": {
            "mode": "private", "path": [{**step, "kind": "process"}, step], "name_servers": [word],
            "interfaces": [{"name": word, "kind": word, "mac": word, "addresses": [word], "up": True}],
            "routes": [{"to": word, "via": word, "interface": word}],
            "ports": [{"address": word, "host": 1, "container": 2, "protocol": word}],
        },
        "process": {
            "command": [word], "pid": 1, "pid_inside": 1, "parent": {"pid": 2, "command": word},
            "hostname": word, "working_directory": word, "log": word, "environment": [word],
        },
    }  # fmt: skip
    return {
        "name": word, "id": "0" * 64, "image": word, "template": "", "labels": {word: word}, "status": "running",
        "running": True, "rootless": False, "parts": [common[name] | facts[name] for name in PARTS],
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_a_page_is_made_of_our_elements_alone(word: str) -> None:
    read = Reader(page(document(word)))
    assert read.tags <= TAGS and read.attributes <= ATTRIBUTES
    assert read.links == {f"#{name}" for name in PARTS}


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40))
def test_a_page_says_what_was_given(word: str) -> None:
    assert f"command{word}" in Reader(page(document(word))).text


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_a_terminal_obeys_nothing(word: str) -> None:
    shown = text(document(word))
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


@given(TEXTS, st.floats(min_value=20, max_value=400), st.booleans())
def test_a_label_never_exceeds_its_room(word: str, width: float, end: bool) -> None:
    shown = fitted(word, width, end=end)
    assert columns(shown) * SIZE * 0.62 <= width
    assert shown.isprintable()
