"""The page of ``explain --html`` in a real browser: it fits, nothing overlaps, nothing is fetched, nothing runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser
from private_engine import IMAGE, PrivateEngine

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="this host has no chromium")

EVIL = "\"'></title></svg></style><script>document.title='hacked'</script><img src=//evil.example/x onerror=alert(1)>"
BOXES = """
(() => {
  const edges = (shape) => { const b = shape.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
  return [...document.querySelectorAll('svg')].map((svg) => ({
    frame: edges(svg),
    boxes: [...svg.querySelectorAll('g.box')].map((box) => ({
      rect: edges(box.querySelector('rect')),
      texts: [...box.querySelectorAll('text')].map((text) => [edges(text), text.textContent]),
    })),
    labels: [...svg.querySelectorAll('text.label')].map((text) => [edges(text), text.textContent]),
    size: parseFloat(getComputedStyle(svg.querySelector('text')).fontSize) * svg.getBoundingClientRect().width / 360,
  }));
})()
"""
Edges = list[float]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def page(engine: PrivateEngine, name: str, tmp_path: Path) -> Path:
    """Of a container that chose everything it may choose in order to break the page."""
    engine.run("network", "create", f"{name[:20]}-net")
    engine.run(
        "run", "-d", "--name", name, "-e", f"EVIL={EVIL}", "--label", f"evil={EVIL}",
        "--label", "long=" + "x" * 500, "-p", "127.0.0.1:0:80", "--network", "default",
        IMAGE, "sh", "-c", "sleep 1000; true", EVIL,
    )  # fmt: skip
    engine.run("network", "connect", f"{name[:20]}-net", name)
    file = tmp_path / "page.html"
    engine.run("explain", "--html", "-o", str(file), name)
    engine.run("delete", "--force", name)
    engine.run("network", "rm", f"{name[:20]}-net")
    return file


def holds(outer: Edges, inner: Edges) -> bool:
    slack = 0.75  # of a pixel
    return (
        inner[0] >= outer[0] - slack
        and inner[1] >= outer[1] - slack
        and inner[2] <= outer[2] + slack
        and inner[3] <= outer[3] + slack
    )


def overlap(one: Edges, other: Edges) -> bool:
    return min(one[2], other[2]) - max(one[0], other[0]) > 0.5 and (
        min(one[3], other[3]) - max(one[1], other[1]) > 0.5
    )


@pytest.mark.parametrize("width", [400, 1200])
def test_the_drawings_hold_their_labels(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    pictures = browser.evaluate(BOXES)
    assert len(pictures) == 3
    for picture in pictures:
        assert picture["size"] >= 10, "too small to read"
        boxes = picture["boxes"]
        assert len(boxes) >= 3
        for box in boxes:
            left, top, right, bottom = box["rect"]
            assert right - left > 20 and bottom - top > 10 and holds(picture["frame"], box["rect"])
            assert all(text and holds(box["rect"], edges) for edges, text in box["texts"]), box
        shapes = [box["rect"] for box in boxes]
        shapes += [edges for edges, _ in picture["labels"]]
        pairs = [(one, other) for place, one in enumerate(shapes) for other in shapes[place + 1 :]]
        assert not [pair for pair in pairs if overlap(*pair)]
        texts = [edges for box in boxes for edges, _ in box["texts"]]
        assert not [
            (one, other)
            for place, one in enumerate(texts)
            for other in texts[place + 1 :]
            if overlap(one, other)
        ]


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = browser.evaluate(
        "[...document.querySelectorAll('p, td, li')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert len(sizes) > 100 and min(sizes) >= 12


def test_nothing_is_fetched_and_nothing_runs(browser: Browser, page: Path) -> None:
    browser.open(page, 800)
    asked = {request["request"]["url"] for request in browser.told("Network.requestWillBeSent")}
    assert asked == {page.as_uri()}
    for kind in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        assert browser.told(kind) == []
    assert browser.told("Page.javascriptDialogOpening") == []
    elements = "document.querySelectorAll('script, img, iframe, object, link, form, [onerror], [onload]')"
    assert browser.evaluate(f"{elements}.length") == 0
    assert browser.evaluate("document.title").startswith("The container ")


def test_what_the_container_chose_is_there_to_read(browser: Browser, page: Path) -> None:
    browser.open(page, 800)
    text = browser.evaluate("document.body.textContent")
    assert text.count(EVIL) >= 3  # label, environment, command
    assert "NoNewPrivs" in text and "masquerade" in text


def test_the_page_would_run_no_script_if_there_were_one(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The page's own policy stands behind the escaping: the browser refuses, and says so."""
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("<body>", "<body><script>document.title = 'hacked'</script>"))
    browser.open(broken, 800)
    assert browser.evaluate("document.title") != "hacked"
    assert any(
        "Content Security Policy" in entry["entry"]["text"] for entry in browser.told("Log.entryAdded")
    )


def test_a_container_that_does_not_run_has_a_page_too(
    browser: Browser, engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    engine.run("create", "--name", name, IMAGE, "sleep", "1000")
    file = tmp_path / "page.html"
    engine.run("explain", "--html", "-o", str(file), name)
    browser.open(file, 400)
    assert len(browser.evaluate(BOXES)) == 2  # nothing to draw of its network yet
    assert "it would be" in browser.evaluate("document.body.textContent")
