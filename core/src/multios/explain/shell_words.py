"""Text of others in a shell script: quoted so that it is one word, and so that a terminal shows it and obeys nothing."""

from __future__ import annotations


def quoted(text: str) -> str:
    """One word of a POSIX shell that stands for ``text``, in printable characters and line ends alone.

    A quote is closed and opened again around each ``'``; what cannot be shown goes through printf(1), whose ``%b``
    reads octal numbers. Such a text loses line ends at its very end.
    """
    if text and all(letter.isalnum() and letter.isascii() or letter in "_@%+=:,./-" for letter in text):
        return text
    if all(letter.isprintable() or letter == "\n" for letter in text):
        return "'" + text.replace("'", "'\"'\"'") + "'"
    shown = "".join(
        letter.replace("\\", "\\\\") if letter.isprintable() or letter == "\n" else _octal(letter)
        for letter in text
    )
    return '"$(printf %b ' + "'" + shown.replace("'", "\\0047") + "'" + ')"'


def _octal(letter: str) -> str:
    return "".join(f"\\0{byte:03o}" for byte in letter.encode("utf-8", "surrogatepass"))


def comment(text: str) -> str:
    """``text`` on one line, after a ``#``."""
    return "# " + "".join(letter if letter.isprintable() else "?" for letter in text)
