"""What a container chose is one word of a shell, whatever is in it."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from multios.explain.shell_words import comment, quoted

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_a_shell_reads_what_was_quoted(texts: list[str]) -> None:
    line = "printf '%s\\0' " + " ".join(map(quoted, texts))
    assert all(letter.isprintable() or letter == "\n" for letter in line)
    done = subprocess.run(["sh"], input=line.encode(), capture_output=True, check=True)
    read = done.stdout.decode().split("\0")[:-1]
    expected = [text if is_plain(text) else text.rstrip("\n") for text in texts]
    assert read == expected


def is_plain(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


@given(TEXTS)
def test_a_comment_is_one_line(text: str) -> None:
    assert comment(text).startswith("# ") and comment(text).isprintable()
