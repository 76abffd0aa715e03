"""``EXPOSE``: ports, ranges of them and their protocols."""

from __future__ import annotations

from multios.errors import InvalidInput

_PROTOCOLS = ("tcp", "udp", "sctp")


def expand_ports(word: str) -> list[str]:
    """``8000-8002/udp`` as ``8000/udp``, ``8001/udp``, ``8002/udp``; the protocol is tcp where none is given.

    A host's part before a colon says nothing to an image and is left out, as docker does. Raises ``InvalidInput``.
    """
    number, _, protocol = word.rpartition(":")[2].partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidInput(
            f"EXPOSE: {word[:80]!r} has no known protocol", f"expected PORT/{'|'.join(_PROTOCOLS)}"
        )
    first, dash, last = number.partition("-")
    low = _port(first, word)
    high = _port(last, word) if dash else low
    if high < low:
        raise InvalidInput(f"EXPOSE: {word[:80]!r} ends before it begins", "expected LOW-HIGH")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def _port(text: str, word: str) -> int:
    if not text or len(text) > 5 or text.strip("0123456789") or int(text) > 65535:
        raise InvalidInput(f"EXPOSE: {word[:80]!r} is not a port", "expected a number from 0 to 65535")
    return int(text)
