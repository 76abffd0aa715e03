"""JSON for frames, through CPython's C scanner alone: ``import json`` brings ``re`` and costs 6 ms."""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """What the scanner reads its settings from: those of ``json.JSONDecoder()``."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


_scan: Any = make_scanner(_Settings)  # type: ignore[arg-type]  # typeshed wants the decoder; attributes suffice
_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)


def dumps(value: Any) -> str:
    """``value`` as compact ASCII JSON. Raises ``TypeError`` for what JSON has no form for."""
    return "".join(_encode(value, 0))


def loads(text: str) -> Any:
    """The value that ``text`` says. Raises ``ValueError``."""
    text = text.strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if end != len(text):
        raise ValueError("something follows the JSON value")
    return value
