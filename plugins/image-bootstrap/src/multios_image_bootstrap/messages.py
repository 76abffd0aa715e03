"""What mmdebstrap, debootstrap and apt say, as progress and as causes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from multios.drivers.image_source import Progress

_NEW = re.compile(r"\d+ upgraded, (\d+) newly installed")
_FETCHED = re.compile(r"Get:\d+ \S+ \S+ \S+ \S+ \S+ \S+ \[")
_STEPS = {
    "I: running apt-get update": "Reading package lists",
    "I: downloading packages": "Downloading packages",
    "I: Retrieving": "Downloading packages",
    "I: extracting archives": "Extracting packages",
    "I: Extracting": "Extracting packages",
    "I: installing": "Installing packages",
    "I: Unpacking": "Installing packages",
    "I: cleaning": "Cleaning up",
    "I: creating tarball": "Packing the root filesystem",
}
_UNREACHABLE = re.compile(
    r"((?:Could not|Temporary failure) resolv(?:e|ing) '[^']*'|Could not connect to \S+|Unable to connect to \S+"
    r"|Connection (?:failed|refused|timed out)|Network is unreachable|Couldn't download [^!]*)"
)
_CAUSES = (
    (
        re.compile(r"NO_PUBKEY|not signed|couldn't be verified"),
        "its packages are not signed by a key this host trusts",
    ),
    (re.compile(r"does not have a Release file|404 +Not Found"), "the mirror does not have this release"),
    (re.compile(r"No space left on device"), "the disk is full"),
)


class Meter:
    """Turns messages, a line at a time, into steps with counts."""

    def __init__(self, title: str, progress: Progress) -> None:
        self._title = title
        self._progress = progress
        self._step = "Reading package lists"
        self._done = 0
        self._packages = 0
        self._report()

    def line(self, text: str) -> None:
        """One line of the tool's messages."""
        step = next((step for start, step in _STEPS.items() if text.startswith(start)), "")
        if step and step != self._step:
            self._step, self._done = step, 0
            self._report()
        elif match := _NEW.match(text):
            self._packages += int(match[1])
        elif _FETCHED.match(text) or text.startswith(
            ("Unpacking ", "Setting up ", "I: Retrieving", "I: Unpacking")
        ):
            self._done += 1
            self._report()

    def _report(self) -> None:
        # A package is unpacked, then set up.
        total = {"Downloading packages": self._packages, "Installing packages": 2 * self._packages}.get(
            self._step, 0
        )
        self._progress(f"{self._title}: {self._step}", min(self._done, total) if total else self._done, total)


def unreachable(messages: Sequence[str]) -> str:
    """What kept the tool from the mirror, or empty if something else went wrong."""
    found = (_UNREACHABLE.search(line) for line in messages)
    return next((match[1].strip() for match in found if match), "")


def cause(messages: Sequence[str]) -> str:
    """Why the tool failed, in a line."""
    text = "\n".join(messages)
    for pattern, words in _CAUSES:
        if pattern.search(text):
            return words
    errors = [line for line in messages if line.startswith("E:")]
    return (errors or list(messages) or ["it gave no reason"])[0].removeprefix("E: ")
