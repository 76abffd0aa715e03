"""DNS messages, as far as a name server of a few hosts needs them (RFC 1035, section 4; RFC 6891 for EDNS)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

A, PTR, AAAA, OPT = 1, 12, 28, 41
INTERNET = 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED, REFUSED = range(6)

PLAIN_SIZE = 512
LARGEST_UDP = 1232
"""Bytes of an answer over UDP: what passes every path unfragmented (dnsflagday.net/2020)."""

_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_ANSWER, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
_AUTHORITATIVE, _OPCODE = 0x0400, 0x7800
_POINTER = 0xC0
_TO_QUESTION = b"\xc0\x0c"
_LONGEST_NAME = 255
_MOST_RECORDS = 256


class Malformed(Exception):
    """What came is no DNS message that can be answered."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question. ``name`` is lower-case text without the last dot; ``question`` its bytes as they came."""

    id: int
    flags: int
    name: str
    kind: int
    klass: int
    question: bytes
    size: int
    has_options: bool

    @property
    def is_standard(self) -> bool:
        """Whether it is a plain look-up (opcode QUERY)."""
        return not self.flags & _OPCODE


def read_query(data: bytes) -> Query:
    """The query in ``data``. Raises ``Malformed``."""
    if len(data) < _HEADER.size:
        raise Malformed
    number, flags, questions, answers, authorities, extras = _HEADER.unpack_from(data)
    if flags & _ANSWER or questions != 1:
        raise Malformed
    name, offset = _read_plain_name(data)
    if offset + 4 > len(data):
        raise Malformed
    kind, klass = struct.unpack_from(">HH", data, offset)
    end = offset + 4
    size, has_options = PLAIN_SIZE, False
    if extras and not answers and not authorities and data[end : end + 3] == b"\0\0\x29":
        if end + 5 > len(data):
            raise Malformed
        (size,) = struct.unpack_from(">H", data, end + 3)
        size, has_options = max(PLAIN_SIZE, min(size, LARGEST_UDP)), True
    return Query(number, flags, name, kind, klass, data[_HEADER.size : end], size, has_options)


def _read_plain_name(data: bytes) -> tuple[str, int]:
    offset, parts = _HEADER.size, []
    while True:
        if offset >= len(data):
            raise Malformed
        length = data[offset]
        offset += 1
        if not length:
            break
        if length > 63 or offset + length > len(data) or offset - _HEADER.size > _LONGEST_NAME:
            raise Malformed
        parts.append(data[offset : offset + length])
        offset += length
    # A dot within a label stays apart from one between labels: such a name is nobody's.
    return ".".join(part.decode("latin-1").replace(".", "\\.") for part in parts).lower(), offset


def answer(query: Query, code: int, records: list[tuple[int, bytes]], ttl: int, size: int) -> bytes:
    """The answer of at most ``size`` bytes; without room for its records it says that it is truncated."""
    flags = (
        _ANSWER | _AUTHORITATIVE | _RECURSION_AVAILABLE | query.flags & (_RECURSION_DESIRED | _OPCODE) | code
    )
    options = b"\0" + _RECORD.pack(OPT, LARGEST_UDP, 0, 0) if query.has_options else b""
    body = b"".join(
        _TO_QUESTION + _RECORD.pack(kind, INTERNET, ttl, len(data)) + data for kind, data in records
    )
    if _HEADER.size + len(query.question) + len(body) + len(options) > size:
        flags, body, records = flags | _TRUNCATED, b"", []
    header = _HEADER.pack(query.id, flags, 1, len(records), 0, 1 if options else 0)
    return header + query.question + body + options


def format_error(data: bytes) -> bytes:
    """What is answered to bytes that begin like a query but are none; empty when there is nobody to answer."""
    if len(data) < _HEADER.size or data[2] & 0x80:
        return b""
    return data[:2] + struct.pack(">HHHHH", _ANSWER | FORMAT_ERROR, 0, 0, 0, 0)


def host_record(address: str) -> tuple[int, bytes]:
    """The A or AAAA record of an address."""
    packed = ipaddress.ip_address(address).packed
    return (A if len(packed) == 4 else AAAA), packed


def name_data(name: str) -> bytes:
    """A name as a record's data; its labels are at most 63 bytes."""
    return b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\0"


def reversed_address(name: str) -> str | None:
    """The address that a name below in-addr.arpa or ip6.arpa asks for; ``None`` for any other (RFC 3596, 2.5)."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:4]))))
        if name.endswith(".ip6.arpa") and len(labels) == 34:
            return str(ipaddress.IPv6Address(int("".join(reversed(labels[:32])), 16).to_bytes(16, "big")))
    except ValueError:
        pass
    return None


def is_answer_to(data: bytes, number: int, question: bytes) -> bool:
    """Whether ``data`` answers the question that was sent with that id."""
    return (
        len(data) >= _HEADER.size + len(question)
        and data[:2] == number.to_bytes(2, "big")
        and bool(data[2] & 0x80)
        and data[4:6] == b"\0\1"
        and data[_HEADER.size : _HEADER.size + len(question)].lower() == question.lower()
    )


def read_addresses(data: bytes, question: bytes) -> tuple[tuple[str, ...], int]:
    """The addresses in an answer's answer section, aliases aside, and the smallest of their TTLs.

    Raises ``Malformed``.
    """
    count = struct.unpack_from(">H", data, 6)[0]
    if count > _MOST_RECORDS:
        raise Malformed
    offset = _HEADER.size + len(question)
    found: list[str] = []
    seconds = 0x7FFFFFFF
    for _ in range(count):
        offset = _skip_name(data, offset)
        if offset + _RECORD.size > len(data):
            raise Malformed
        kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        if offset + length > len(data):
            raise Malformed
        if klass == INTERNET and (kind, length) in ((A, 4), (AAAA, 16)):
            found.append(str(ipaddress.ip_address(data[offset : offset + length])))
            seconds = min(seconds, ttl)
        offset += length
    return tuple(found), seconds if found else 0


def _skip_name(data: bytes, offset: int) -> int:
    while offset < len(data):
        length = data[offset]
        if length & _POINTER == _POINTER:
            return offset + 2
        if length & _POINTER:
            break
        offset += 1 + length
        if not length:
            return offset
    raise Malformed
