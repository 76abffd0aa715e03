"""A course's lock: what differs is named with its line, and an image of something else is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multios.errors import Conflict, InvalidInput, Unsupported
from multios_courses.course_file import Template
from multios_courses.locks import build

LOCK = """\
schema = 1
template = "t"

[bases."debian:12"]
base_digest = "sha256:aa"
time = 5
packages = [
    "gcc:amd64=12.2",
    "make:amd64=4.3",
]
"""


class Daemon:
    """Answers as the daemon does; ``lock`` is what the image was built of, nothing for a daemon that cannot tell."""

    def __init__(self, lock: str, built: bool = False) -> None:
        self.lock, self.built = lock, built
        self.called: list[str] = []

    def call(self, method: str, params: dict[str, Any]) -> Any:
        self.called.append(method)
        if method == "templates.lock" and not self.lock:
            raise InvalidInput("no such method: 'templates.lock'", "")
        return {
            "templates.inspect": {"base": "debian:12", "built": self.built},
            "templates.build": {"image": "t:1", "id": "1"},
            "templates.lock": {"lock": self.lock},
            "images.remove": {},
        }[method]


@pytest.fixture
def template(tmp_path: Path) -> Template:
    (tmp_path / "t.lock").write_text(LOCK)
    return Template("t", lock=tmp_path / "t.lock")


def test_what_is_as_locked_is_taken_whenever_it_was_built(template: Template) -> None:
    daemon = Daemon(LOCK.replace("time = 5", "time = 6"))
    assert build(daemon, template)["image"] == "t:1"  # type: ignore[arg-type]
    assert "templates.lock" in daemon.called and "images.remove" not in daemon.called


def test_without_a_lock_nothing_is_compared() -> None:
    daemon = Daemon("")
    build(daemon, Template("t"))  # type: ignore[arg-type]
    assert daemon.called == ["templates.build"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sha256:aa", "sha256:bb", ":5: the lock of t cannot be met: the base sha256:aa is locked"),
        (
            "make:amd64=4.3",
            "make:amd64=4.4",
            ":9: the lock of t cannot be met: package make:amd64=4.3 is locked",
        ),
        ('    "make:amd64=4.3",\n', "", ":9: the lock of t cannot be met: package make:amd64=4.3"),
        ("packages = [", 'packages = [\n    "vim:amd64=9",', "package vim:amd64=9 is in the image, and not"),
    ],
)
def test_what_differs_is_named_with_its_line_and_the_image_is_not_kept(
    template: Template, old: str, new: str, words: str
) -> None:
    daemon = Daemon(LOCK.replace(old, new))
    with pytest.raises(Conflict) as refused:
        build(daemon, template)  # type: ignore[arg-type]
    assert words in refused.value.cause and daemon.called[-1] == "images.remove"


def test_what_was_there_before_stays_and_is_compared_only_for_a_bundle(template: Template) -> None:
    daemon = Daemon(LOCK.replace("sha256:aa", "sha256:bb"), built=True)
    build(daemon, template)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        build(daemon, template, verify=True)  # type: ignore[arg-type]
    assert "images.remove" not in daemon.called


def test_a_daemon_that_cannot_tell_and_a_file_that_is_no_lock_are_named(template: Template) -> None:
    with pytest.raises(Unsupported, match="cannot tell"):
        build(Daemon(""), template)  # type: ignore[arg-type]
    assert template.lock is not None
    for text in ("", "bases = 1", '[bases."debian:12"]\n', "[bases]\nx = 1", "\x00"):
        template.lock.write_text(text)
        with pytest.raises(InvalidInput, match="no template's lock"):
            build(Daemon(LOCK), template)  # type: ignore[arg-type]
    template.lock.write_text(LOCK.replace("debian:12", "debian:13"))
    with pytest.raises(InvalidInput, match="there is no lock for the base"):
        build(Daemon(LOCK), template)  # type: ignore[arg-type]
