"""Statements: lines joined by the escape at their end, comments taken out, with the documents that follow them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from multios.dockerfile.syntax import DockerfileError, Heredoc
from multios.dockerfile.words import SPACES, read_json, split_flags, split_words

LARGEST_FILE = 2 * 1024 * 1024
LONGEST_LINE = 64 * 1024
MOST_STATEMENTS = 10_000
MOST_HEREDOCS = 100

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=(.*)")
_FRONTEND = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@][a-zA-Z0-9_.:@-]+)?")
_HEREDOC = re.compile(r"([0-9]{0,4})<<(-?)([^<]+)")
_TAKES_HEREDOCS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction, not yet understood."""

    file_name: str
    line: int
    text: str
    word: str
    """The instruction in capitals."""
    flags: tuple[str, ...]
    rest: str
    escape: str
    heredocs: tuple[Heredoc, ...] = ()

    def error(self, cause: str, remedy: str = "") -> DockerfileError:
        """An error that names this statement's place."""
        return DockerfileError(self.file_name, self.line, cause, remedy)


@dataclass(slots=True)
class Directives:
    """What the parser directives at the top say."""

    escape: str = "\\"
    notes: tuple[str, ...] = ()


def split_statement(text: str, file_name: str, line: int, escape: str) -> Statement:
    """A joined line as a statement, still without its documents."""
    stripped = text.strip(SPACES)
    length = next((index for index, character in enumerate(stripped) if character in SPACES), len(stripped))
    flags, rest = split_flags(stripped[length:])
    return Statement(
        file_name, line, stripped, stripped[:length].upper(), tuple(flags), rest.strip(SPACES), escape
    )


def read_heredoc(word: str) -> tuple[Heredoc, bool] | None:
    """The document that a word such as ``<<-"END"`` announces, empty yet, and whether its tabs are stripped."""
    match = _HEREDOC.fullmatch(word)
    if match is None:
        return None
    descriptor, dash, quoted = match.groups()
    name, quote = [], ""
    for character in quoted:
        if not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
        elif not quote and character in SPACES:
            return None
        else:
            name.append(character)
    if quote or not name:
        return None
    plain = "".join(name)
    return Heredoc(plain, "", expand=plain == quoted, descriptor=int(descriptor or 0)), bool(dash)


class Reader:
    """Reads a file's statements one after another."""

    def __init__(self, text: str, file_name: str) -> None:
        self._file_name = file_name
        self._lines = text.removeprefix("\ufeff").split("\n")
        self._next = 0
        self._check(text)
        self.directives = self._read_directives()

    def statements(self) -> Iterator[Statement]:
        """Every statement of the file in order."""
        count = 0
        while self._next < len(self._lines):
            first = self._next + 1
            line = self._take().lstrip(SPACES)
            if not line or line.startswith("#"):
                continue
            text = self._join(line)
            if not text.strip(SPACES):
                continue
            count += 1
            if count > MOST_STATEMENTS:
                raise DockerfileError(
                    self._file_name, first, f"more than {MOST_STATEMENTS} instructions", "split the file"
                )
            yield self._with_heredocs(split_statement(text, self._file_name, first, self.directives.escape))

    def _check(self, text: str) -> None:
        if len(text) > LARGEST_FILE:
            raise DockerfileError(
                self._file_name, 1, f"longer than {LARGEST_FILE} characters", "is this a Dockerfile?"
            )
        for number, line in enumerate(self._lines, 1):
            if len(line) > LONGEST_LINE:
                raise DockerfileError(
                    self._file_name,
                    number,
                    f"a line of {len(line)} characters; at most {LONGEST_LINE} are allowed",
                    "break it with the escape character, or COPY the data from a file",
                )
            if "\0" in line:
                raise DockerfileError(self._file_name, number, "a NUL byte", "is this a Dockerfile?")

    def _take(self) -> str:
        """The next line without its end, be it a newline or a carriage return and a newline."""
        line = self._lines[self._next]
        self._next += 1
        return line.removesuffix("\r")

    def _read_directives(self) -> Directives:
        """The ``# name=value`` lines before anything else (Dockerfile reference, "Parser directives")."""
        directives = Directives()
        seen: set[str] = set()
        for number, line in enumerate(self._lines, 1):
            match = _DIRECTIVE.fullmatch(line.strip(SPACES))
            if match is None:
                break
            name, value = match[1].lower(), match[2].strip(SPACES)
            if name not in ("escape", "syntax", "check") or not value:
                break
            if name in seen:
                raise DockerfileError(
                    self._file_name, number, f"a second directive {name!r}", "only one is allowed"
                )
            seen.add(name)
            self._apply_directive(directives, name, value, number)
        return directives

    def _apply_directive(self, directives: Directives, name: str, value: str, number: int) -> None:
        if name == "escape":
            if value not in ("\\", "`"):
                raise DockerfileError(
                    self._file_name, number, f"escape={value!r}", "expected escape=\\ or escape=`"
                )
            directives.escape = value
        elif name == "check":
            directives.notes += (f"line {number}: check={value} is ignored: there is no linter here",)
        elif _FRONTEND.fullmatch(value):
            directives.notes += (f"line {number}: syntax={value} is ignored: the language is built in",)
        else:
            raise DockerfileError(
                self._file_name,
                number,
                f"syntax={value!r}: external frontends are not run",
                "expected docker/dockerfile or no syntax directive",
            )

    def _continues(self, line: str) -> str | None:
        """The line without its escape if it goes on in the next, else None; a doubled escape is no escape."""
        escape, bare = self.directives.escape, line.rstrip(" \t")
        if not bare.endswith(escape) or bare.endswith(escape * 2):
            return None
        return bare[:-1]

    def _join(self, line: str) -> str:
        """A line with those that continue it; comments and empty lines between them are skipped."""
        parts = []
        while (head := self._continues(line)) is not None:
            parts.append(head)
            line = ""
            while self._next < len(self._lines):
                line = self._take()
                bare = line.lstrip(SPACES)
                if bare and not bare.startswith("#"):
                    break
                line = ""
        return "".join([*parts, line])

    def _with_heredocs(self, statement: Statement) -> Statement:
        announced = announced_heredocs(statement)
        if len(announced) > MOST_HEREDOCS:
            raise statement.error(f"more than {MOST_HEREDOCS} documents in one instruction", "split it")
        if not announced:
            return statement
        documents = tuple(self._read_document(statement, *one) for one in announced)
        return Statement(
            statement.file_name,
            statement.line,
            statement.text,
            statement.word,
            statement.flags,
            statement.rest,
            statement.escape,
            documents,
        )

    def _read_document(self, statement: Statement, heredoc: Heredoc, strip_tabs: bool) -> Heredoc:
        text: list[str] = []
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if strip_tabs:
                line = line.lstrip("\t")
            if line.removesuffix("\r") == heredoc.name:
                return Heredoc(heredoc.name, "".join(text), heredoc.expand, heredoc.descriptor)
            text.append(line + "\n")
        raise statement.error(
            f"the document <<{heredoc.name} has no end", f"expected a line with nothing but {heredoc.name}"
        )


def announced_heredocs(statement: Statement) -> list[tuple[Heredoc, bool]]:
    """The documents that a statement announces, in the order in which they follow it."""
    if statement.word == "ONBUILD":
        return announced_heredocs(
            split_statement(statement.rest, statement.file_name, statement.line, statement.escape)
        )
    if statement.word not in _TAKES_HEREDOCS or "<<" not in statement.rest:
        return []
    try:
        if read_json(statement.rest) is not None:
            return []
    except ValueError:
        return []
    found = (read_heredoc(word) for word in split_words(statement.rest, statement.escape))
    return [one for one in found if one is not None]
