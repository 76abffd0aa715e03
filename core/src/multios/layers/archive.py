"""Reading tar archives from a stream, once through: ustar, pax and GNU's long names (tar(5)).

Written for untrusted input: every number and length is checked, and memory does not grow with the archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from multios.errors import InvalidInput

BLOCK = 512
_ZERO = bytes(BLOCK)
_EXTENDED_MOST = 8 << 20
"""Bytes of one extended header: extended attributes can be large, names cannot."""
_HAS_CONTENT = b"07"
_KNOWN = b"01234567"


@dataclass(slots=True)
class Entry:
    """One member. ``mtime`` is in nanoseconds; ``xattrs`` come from ``SCHILY.xattr.*`` records."""

    name: bytes
    type_flag: bytes
    mode: int
    owner: int
    group: int
    size: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


class Source:
    """The plain bytes of an archive, counted, bounded and, if it is ``digested``, digested as they pass."""

    def __init__(self, chunks: Iterable[bytes], most: int, digested: bool = True) -> None:
        self._chunks = iter(chunks)
        self._buffer = memoryview(b"")
        self._hash = hashlib.sha256() if digested else None
        self._most = most
        self.size = 0

    @property
    def digest(self) -> str:
        """``sha256:…`` of what has passed; empty where it was not to be digested."""
        return "sha256:" + self._hash.hexdigest() if self._hash else ""

    def some(self, most: int) -> memoryview:
        """Between 1 and ``most`` bytes; none at the end."""
        while not self._buffer:
            data = next(self._chunks, None)
            if data is None:
                return memoryview(b"")
            self.size += len(data)
            if self.size > self._most:
                raise InvalidInput(
                    f"the layer is larger than {self._most} bytes",
                    "if you trust it, raise largest_layer or largest_ratio of [images] in the daemon's settings",
                )
            if self._hash:
                self._hash.update(data)
            self._buffer = memoryview(data)
        part, self._buffer = self._buffer[:most], self._buffer[most:]
        return part

    def exactly(self, count: int) -> bytes:
        """``count`` bytes; ``InvalidInput`` when the archive ends before."""
        part = self.some(count)
        if len(part) == count:
            return bytes(part)
        parts = [bytes(part)]
        left = count - len(part)
        while left:
            part = self.some(left)
            if not part:
                raise InvalidInput("the archive is cut short")
            parts.append(bytes(part))
            left -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        while count:
            part = self.some(count)
            if not part:
                raise InvalidInput("the archive is cut short")
            count -= len(part)

    def drain(self) -> None:
        """Pass over the rest, so that the digest is of the whole."""
        while self.some(1 << 20):
            pass


def entries(source: Source) -> Iterator[Entry]:
    """The members in order. For one with content the caller takes exactly ``size`` bytes of ``source``."""
    defaults: dict[bytes, bytes] = {}
    records: dict[bytes, bytes] = {}
    first = True
    while True:
        header = _next_header(source, first)
        if header is None:
            return
        first = False
        type_flag = header[156:157]
        if type_flag in (b"x", b"X", b"g", b"L", b"K"):
            _extend(source, header, type_flag, records, defaults)
            continue
        entry = _entry(header, {**defaults, **records} if defaults else records)
        records = {}
        yield entry
        if entry.size:
            source.skip(-entry.size % BLOCK)


def _next_header(source: Source, first: bool) -> bytes | None:
    start = source.some(BLOCK)
    if not start:
        if first:
            raise InvalidInput("the archive is empty, not even a tar's end")
        return None  # some writers leave the two zero blocks out
    header = bytes(start) + (source.exactly(BLOCK - len(start)) if len(start) < BLOCK else b"")
    if header == _ZERO:
        return None
    expected = _number(header[148:156], "checksum")
    if sum(header) - sum(header[148:156]) + 8 * 32 != expected:
        raise InvalidInput("this is no tar archive, or a corrupt one: a header's checksum is wrong")
    return header


def _extend(
    source: Source, header: bytes, type_flag: bytes, records: dict[bytes, bytes], defaults: dict[bytes, bytes]
) -> None:
    """Take in an extended header: pax records, or GNU's long name or link."""
    size = _number(header[124:136], "size")
    if size > _EXTENDED_MOST:
        raise InvalidInput(f"the archive has an extended header of {size} bytes")
    body = source.exactly(size)
    source.skip(-size % BLOCK)
    if type_flag in b"LK":
        records[b"path" if type_flag == b"L" else b"linkpath"] = body.split(b"\0", 1)[0]
    else:
        _read_records(body, defaults if type_flag == b"g" else records)
    if (
        sum(len(key) + len(value) for known in (records, defaults) for key, value in known.items())
        > _EXTENDED_MOST
    ):
        raise InvalidInput(
            f"the archive has more than {_EXTENDED_MOST} bytes of extended headers for one entry"
        )


def _read_records(body: bytes, records: dict[bytes, bytes]) -> None:
    position = 0
    while position < len(body):
        blank = body.find(b" ", position, position + 20)
        digits = body[position:blank] if blank > 0 else b""
        end = position + int(digits) if digits.isdigit() else -1
        key, equals, value = (
            body[blank + 1 : end - 1].partition(b"=") if blank < end <= len(body) else (b"",) * 3
        )
        if not equals or body[end - 1 : end] != b"\n":
            raise InvalidInput("the archive has a corrupt pax header")
        if value:
            records[key] = value
        else:  # an empty value takes the record back (pax(1)); an attribute may be empty
            records.pop(key, None)
            if key.startswith(b"SCHILY.xattr."):
                records[key] = b""
        position = end


def _entry(header: bytes, records: dict[bytes, bytes]) -> Entry:
    type_flag = header[156:157].replace(b"\0", b"0")
    if type_flag == b"S" or any(key.startswith(b"GNU.sparse.") for key in records):
        raise InvalidInput("the archive has sparse entries", "make it without tar's --sparse")
    if type_flag not in _KNOWN:
        raise InvalidInput(f"the archive has an entry of unknown type {type_flag!r}")
    name = records.get(b"path") or _name(header)
    if type_flag in _HAS_CONTENT and name.endswith(b"/"):
        type_flag = b"5"  # tars from before ustar
    size = _record_number(records, b"size", header[124:136])
    mtime = (
        _nanoseconds(records[b"mtime"]) if b"mtime" in records else _number(header[136:148], "mtime") * 10**9
    )
    return Entry(
        name=name,
        type_flag=b"0" if type_flag == b"7" else type_flag,
        mode=_number(header[100:108], "mode") & 0o7777,
        owner=_record_number(records, b"uid", header[108:116]),
        group=_record_number(records, b"gid", header[116:124]),
        size=size if type_flag in _HAS_CONTENT else 0,
        mtime=mtime,
        link=records.get(b"linkpath") or header[157:257].split(b"\0", 1)[0],
        device=(_number(header[329:337], "device"), _number(header[337:345], "device"))
        if type_flag in (b"3", b"4")
        else (0, 0),
        xattrs={key[13:]: value for key, value in records.items() if key.startswith(b"SCHILY.xattr.")},
    )


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _record_number(records: dict[bytes, bytes], key: bytes, raw: bytes) -> int:
    if key not in records:
        number = _number(raw, key.decode())
    else:
        value = records[key]
        number = int(value) if value.isdigit() and len(value) <= 20 else -1
    if number < 0:
        raise InvalidInput(f"the archive has an entry with a wrong {key.decode()}")
    return number


def _number(raw: bytes, what: str) -> int:
    """Octal digits, or GNU's base 256 marked by the top bit."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=False) - (0x80 << 8 * (len(raw) - 1))
        return value - (1 << 8 * len(raw) - 1) if raw[0] & 0x40 else value
    text = raw.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise InvalidInput(f"the archive has a header with a wrong {what}") from None


def _nanoseconds(text: bytes) -> int:
    sign = -1 if text.startswith(b"-") else 1
    whole, _, part = text.lstrip(b"-").partition(b".")
    if not whole.isdigit() or len(whole) > 20 or (part and not part.isdigit()):
        raise InvalidInput("the archive has an entry with a wrong mtime")
    return sign * (int(whole) * 10**9 + int(part[:9].ljust(9, b"0")))
