"""Durations, sizes and words of command lines, as Compose files write them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.compose.field import Field

_SECONDS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
    "d": 86400.0,
}
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DIGITS = "0123456789."
LONGEST = 86400.0
_LARGEST = 2**63 - 1
_LONGEST_COMMAND = 1 << 17


def seconds(field: Field, least: float = 0.0) -> float:
    """Seconds of ``1m30s``, ``500ms`` or ``90``, from ``least`` to a day."""
    text, total = field.text(), 0.0
    parts = _parts(text)
    if len(parts) == 1 and not parts[0][1]:
        parts = [(parts[0][0], "s")]
    for number, unit in parts:
        if unit not in _SECONDS:
            parts = []
            break
        total += number * _SECONDS[unit]
    if not parts:
        raise field.error(f"{text[:80]!r} is not a duration", "write it as 30s, 1m30s or 500ms")
    if not least <= total <= LONGEST:
        raise field.error(f"{text[:80]!r} is out of bounds", f"from {least:g}s to 24h")
    return total if total % 1 else int(total)


def _parts(text: str) -> list[tuple[float, str]]:
    """Numbers and the letters behind each; empty for anything else."""
    parts: list[tuple[float, str]] = []
    at = 0
    while at < len(text) <= 100:
        start = at
        while at < len(text) and text[at] in _DIGITS:
            at += 1
        middle = at
        while at < len(text) and text[at] not in _DIGITS:
            at += 1
        try:
            parts.append((float(text[start:middle]), text[middle:at]))
        except ValueError:
            return []
    return parts


def size(field: Field, least: int = 1) -> int:
    """Bytes of ``512m``, ``1.5gb`` or ``4096``; units are powers of 1024."""
    text = field.text().strip().lower()
    parts = _parts(text)
    unit = parts[0][1].strip() if len(parts) == 1 else "?"
    unit = unit.removesuffix("ib") if len(unit) == 3 else unit.removesuffix("b") if len(unit) == 2 else unit
    if unit not in _BYTES:
        raise field.error(f"{text[:80]!r} is not a size", "write it as 512m or 2g")
    number = parts[0][0] * _BYTES[unit]
    if not least <= number <= _LARGEST:
        raise field.error(f"{text[:80]!r} is out of bounds", f"at least {least} bytes")
    return int(number)


def words(field: Field) -> list[str]:
    """A list of words, or text that is split as a shell would."""
    if not isinstance(field.value, (str, int, float)):
        return [item.scalar() for item in field.items()]
    text = field.text()
    if len(text) > _LONGEST_COMMAND:
        raise field.error(f"it is longer than {_LONGEST_COMMAND} characters", "put it into a script")
    import shlex  # deferred: most commands are lists

    try:
        return shlex.split(text)
    except ValueError as error:
        raise field.error(
            f"it cannot be split into words: {error}", "close the quotes, or write a list"
        ) from None
