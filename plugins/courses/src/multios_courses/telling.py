"""What a teacher sees while the queue works: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from multios.cli.tables import clip
from multios_courses.starting import News

_PLAIN_SECONDS = 2.0
_BAR = 16


class QueueBar:
    """Shows :class:`News` on ``stream``."""

    def __init__(self, stream: TextIO, verb: str) -> None:
        self._stream, self._verb = stream, verb
        self._is_terminal = stream.isatty()
        self._shown = 0.0 if self._is_terminal else time.monotonic()

    def __call__(self, news: News) -> None:
        """Show how far it is."""
        if self._is_terminal:
            filled = _BAR * news.done // (news.total or 1)
            line = f"[{'█' * filled}{'·' * (_BAR - filled)}] {self._verb}: {_sentence(news)}"
            self._write(f"\r\x1b[K{clip(line, shutil.get_terminal_size().columns - 1)}")
        elif time.monotonic() - self._shown >= _PLAIN_SECONDS:
            self._shown = time.monotonic()
            self._write(f"{self._verb}: {_sentence(news)}\n")

    def end(self) -> None:
        """Take the bar away; what came of it is said by others."""
        if self._is_terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _sentence(news: News) -> str:
    text = f"{news.current} is number {min(news.done + 1, news.total)} of {news.total}"
    if news.waiting_for:
        return f"{text}; waiting for {news.waiting_for}"
    return f"{text}, about {duration(news.seconds)} left" if news.seconds is not None else text


def duration(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"
