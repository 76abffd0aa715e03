"""Sizes, CPU shares and durations as people write them: ``512M``, ``1GB``, ``1.5``, ``50%``, ``1m30s``."""

from __future__ import annotations

import math
import re

from multios.errors import InvalidInput

_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
# ASCII only: int() and \d would also take other scripts' digits.
_SIZE = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?\s?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_CPUS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(%?)")
_RATE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s?((?:[kmg]bit)?)(?:/s|ps)?", re.IGNORECASE)
_RATE_FACTORS = {"": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SMALLEST_RATE, _LARGEST_RATE = 8000, 10**12
_DURATION_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PLAIN_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_LARGEST_SIZE = 2**63 - 1
_LARGEST_CPUS = 65536.0
_SMALLEST_CPUS = 0.01  # the kernel's shortest quota, 1 ms, in a period of 100 ms


def parse_size(value: str | int, field: str = "size") -> int:
    """Bytes. ``K``, ``M``, ``G``, ``T`` and ``P``, alone or with ``B`` or ``iB``, are powers of 1024, as docker's.

    Raises ``InvalidInput`` that names ``field`` for anything else, for 0 and below, and for what 63 bits cannot hold.
    """
    bytes_: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        bytes_ = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        whole, fraction, unit = match.groups()
        factor = _FACTORS[unit.lower()]
        bytes_ = int(whole) * factor
        if fraction:
            bytes_ += int(fraction) * factor // 10 ** len(fraction)
    if bytes_ is None:
        raise InvalidInput(
            f"{field}: {value!r} is not a size", "write bytes, or a number with K, M, G or T: 512M"
        )
    if not 0 < bytes_ <= _LARGEST_SIZE:
        raise InvalidInput(
            f"{field}: {value!r} is out of bounds", "a size is at least 1 byte and below 8 EiB"
        )
    return bytes_


def parse_rate(value: str | int, field: str = "bandwidth") -> int:
    """Bits a second: a number, or one with ``kbit``, ``mbit`` or ``gbit``, which are powers of 1000 (tc(8)).

    Raises ``InvalidInput`` that names ``field`` for anything else, below 8 kbit and above 1 Tbit.
    """
    rate: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        rate = value
    elif isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        rate = int(float(match[1]) * _RATE_FACTORS[match[2].lower()])
    if rate is None:
        raise InvalidInput(f"{field}: {value!r} is not a rate", "write it as 10mbit, 500kbit or 1gbit")
    if not _SMALLEST_RATE <= rate <= _LARGEST_RATE:
        raise InvalidInput(f"{field}: {value!r} is out of bounds", "at least 8kbit, at most 1000gbit")
    return rate


def parse_cpus(value: str | float, field: str = "cpu_limit") -> float:
    """Cores: ``1.5`` is one and a half, ``50%`` is half of one core (as systemd's ``CPUQuota=``).

    Raises ``InvalidInput`` that names ``field`` for anything else and below one hundredth of a core.
    """
    cores: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        cores = float(value) if abs(value) <= _LARGEST_CPUS else _LARGEST_CPUS * 2
    elif isinstance(value, str) and (match := _CPUS.fullmatch(value.strip())):
        cores = float(match[1]) / (100 if match[2] else 1)
    if cores is None or math.isnan(cores):
        raise InvalidInput(
            f"{field}: {value!r} is not a number of cores", "write cores or a percentage: 1.5 or 50%"
        )
    if not _SMALLEST_CPUS <= cores <= _LARGEST_CPUS:
        raise InvalidInput(f"{field}: {value!r} is out of bounds", "at least 0.01 cores (1%), at most 65536")
    return cores


def seconds_of(text: str) -> float | None:
    """Seconds of a duration as Go and Compose write it: ``1m30s``, ``500ms``, ``1.5h``; ``None`` for anything else."""
    seconds, position = 0.0, 0
    while match := _DURATION_PART.match(text, position):
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    return seconds if text and position == len(text) else None


def parse_duration(value: str | float, field: str, least: float, most: float) -> float:
    """Seconds: a number of them, or a duration such as ``1m30s`` or ``500ms``.

    Raises ``InvalidInput`` that names ``field`` for anything else, and outside of ``least`` to ``most`` seconds.
    """
    seconds: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= 2**53 else math.inf
    elif isinstance(value, str):
        text = value.strip()
        seconds = float(text) if _PLAIN_SECONDS.fullmatch(text) else seconds_of(text)
    if seconds is None:
        raise InvalidInput(f"{field}: {value!r} is not a duration", "write it as 30s, 1m30s or 500ms")
    if not least <= seconds <= most:
        raise InvalidInput(
            f"{field}: {value!r} is out of bounds",
            f"at least {format_duration(least)}, at most {format_duration(most)}",
        )
    return seconds


def format_duration(seconds: float) -> str:
    """``seconds`` as :func:`parse_duration` reads it, to the millisecond: ``1h30m``, ``1.5s``, ``500ms``, ``0s``."""
    milliseconds = round(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else ""]
    if rest or not (hours or minutes):
        parts.append(f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def format_size(size: int) -> str:
    """``size`` bytes with the largest unit that leaves at least 1: ``1.5G``; one decimal, none where it is 0."""
    amount = float(size)
    for unit in ("B", "K", "M", "G", "T", "P"):
        # 1023.95 and above would be printed as 1024 of the smaller unit.
        if abs(amount) < 1023.95 or unit == "P":
            break
        amount /= 1024
    text = f"{amount:.1f}".removesuffix(".0")
    return text + unit
