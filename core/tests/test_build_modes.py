"""``--chmod``, octal and symbolic."""

from __future__ import annotations

import pytest

from multios.build.modes import parse_mode
from multios.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "before", "is_directory", "after"),
    [
        ("644", 0o777, False, 0o644),
        ("4755", 0o600, False, 0o4755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("go=", 0o777, False, 0o700),
        ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("u-s", 0o4755, False, 0o755),
        ("o=w+r", 0o770, False, 0o776),
    ],
)
def test_a_mode_is_changed_as_chmod_would(text: str, before: int, is_directory: bool, after: int) -> None:
    assert oct(parse_mode(text)(before, is_directory)) == oct(after)


@pytest.mark.parametrize("text", ["", "999", "77777", "u=q", "u", "rw", "u=rw,", "0x1ff", "u=g"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no mode"):
        parse_mode(text)
