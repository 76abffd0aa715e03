"""Each student's own values, derived from a seed: the same seed gives the same values, another nothing to guess from.

A value comes from HMAC-SHA256(seed, lab, parameter, student, attempt). With a roster, values are handed out in the order of the
students' names, and who would get one that is taken gets the next attempt's: no two alike, as long as there are enough.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from multios.errors import InvalidInput, NotFound, nearest
from multios_labs.records import LabParameter


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words(
    "amber azure brave brisk calm clear clever coral crisp dawn dusty eager early fair fern fleet frost gentle glad golden grand "
    "green happy honest ivory jolly keen kind lively lucky merry mild noble olive proud quick quiet rapid rosy royal ruby silver "
    "smart snowy solar spicy steady still sunny swift tidy vivid warm wise young"
)
_SECOND = _words(
    "acorn anchor arrow badger beacon birch bridge brook canyon castle cedar cloud comet coral crane delta eagle ember falcon "
    "field forest garden glacier harbor hawk hill island jaguar lake lantern maple meadow mill moon oak orchard otter panda pine "
    "planet pond quartz raven reef river robin sail spruce stone summit thistle tiger tower valley violin walnut willow"
)
_LETTERS = (
    "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without those that are taken for others
)
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_HEADINGS = ("student", "students", "id", "login", "user", "username", "matriculation")
MOST_STUDENTS = 10_000


def derive(
    parameters: Sequence[LabParameter], lab: str, seed: str, student: str, roster: Sequence[str] = ()
) -> dict[str, str]:
    """The values of one student, by the parameters' names."""
    if roster and student not in roster:
        guess = nearest(student, list(roster))
        raise NotFound(
            f"student {student!r} is not in the roster",
            f"did you mean {guess!r}?" if guess else "add the student",
        )
    return {parameter.name: _value(parameter, lab, seed, student, roster) for parameter in parameters}


def _value(parameter: LabParameter, lab: str, seed: str, student: str, roster: Sequence[str]) -> str:
    room = size(parameter)
    if len(roster) > room or not roster:
        return at(parameter, _number(parameter, lab, seed, student, 0) % room)
    taken: set[int] = set()
    for other in sorted(roster):
        attempt = 0
        while (index := _number(parameter, lab, seed, other, attempt) % room) in taken:
            attempt += 1
            if attempt > 64:  # nearly all are taken: the next free one
                while index in taken:
                    index = (index + 1) % room
                break
        taken.add(index)
        if other == student:
            return at(parameter, index)
    raise AssertionError("a student of the roster has a value")


def _number(parameter: LabParameter, lab: str, seed: str, student: str, attempt: int) -> int:
    parts = (lab, parameter.name, parameter.kind, student, str(attempt))
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return int.from_bytes(hmac.new(seed.encode(), message, hashlib.sha256).digest(), "big")


def size(parameter: LabParameter) -> int:
    """How many values there are."""
    if parameter.kind in ("integer", "port"):
        return parameter.maximum - parameter.minimum + 1
    if parameter.kind == "choice":
        return len(parameter.choices)
    if parameter.kind == "word":
        return len(_FIRST) * len(_SECOND)
    if parameter.kind == "password":
        return int(len(_LETTERS) ** parameter.length)
    return 1 << (parameter.prefix - IPv4Network(parameter.pool).prefixlen)


def at(parameter: LabParameter, index: int) -> str:
    """The value with this number, counted from 0."""
    if parameter.kind in ("integer", "port"):
        return str(parameter.minimum + index)
    if parameter.kind == "choice":
        return parameter.choices[index]
    if parameter.kind == "word":
        return f"{_FIRST[index // len(_SECOND)]}-{_SECOND[index % len(_SECOND)]}"
    if parameter.kind == "password":
        letters = []
        for _ in range(parameter.length):
            index, letter = divmod(index, len(_LETTERS))
            letters.append(_LETTERS[letter])
        return "".join(letters)
    network = int(IPv4Network(parameter.pool).network_address) + (index << (32 - parameter.prefix))
    return f"{IPv4Address(network)}/{parameter.prefix}"


def gives(parameter: LabParameter, value: str) -> bool:
    """Whether the parameter has this value among its own."""
    if parameter.kind in ("integer", "port"):
        return bool(_NUMBER.fullmatch(value)) and parameter.minimum <= int(value) <= parameter.maximum
    if parameter.kind == "choice":
        return value in parameter.choices
    if parameter.kind == "word":
        first, _, second = value.partition("-")
        return first in _FIRST and second in _SECOND
    if parameter.kind == "password":
        return len(value) == parameter.length and set(value) <= set(_LETTERS)
    try:
        network = IPv4Network(value)
    except ValueError:
        return False
    return network.prefixlen == parameter.prefix and network.subnet_of(IPv4Network(parameter.pool))


def read_roster(file: Path) -> tuple[str, ...]:
    """The students of a CSV file: its column ``student`` (or ``id``, ``login``), without a heading its first one."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        rows = list(
            csv.reader(lines, delimiter=";" if lines and lines[0].count(";") > lines[0].count(",") else ",")
        )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{file}: {error}", "name a CSV file with a student in each line") from None
    column, start = 0, 0
    if rows and (headings := [cell.strip().lower() for cell in rows[0]]):
        known = [index for index, heading in enumerate(headings) if heading in _HEADINGS]
        column, start = (known[0], 1) if known else (0, 0)
    seen: dict[str, int] = {}
    for number, row in enumerate(rows[start:], start + 1):
        name = row[column].strip() if len(row) > column else ""
        if not any(cell.strip() for cell in row):
            continue
        check_student(name, f"{file}, line {number}")
        if name in seen:
            raise InvalidInput(
                f"{file}, line {number}: student {name!r} is in line {seen[name]} too", "remove one"
            )
        seen[name] = number
    if not seen or len(seen) > MOST_STUDENTS:
        raise InvalidInput(f"{file}: {len(seen)} students", f"from 1 to {MOST_STUDENTS}")
    return tuple(seen)


def check_student(name: str, where: str) -> None:
    """Raise for what is no student's id."""
    if not name or len(name) > 64 or not name.isprintable() or "/" in name:
        raise InvalidInput(
            f"{where}: {name[:70]!r} is no student's id", "1 to 64 printable characters, no slash"
        )
