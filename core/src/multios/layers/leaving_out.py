"""A layer's tar without some of its entries, every other byte as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from multios.layers.archive import BLOCK, Entry, Source, entries

_LARGEST = 1 << 50


def leaving_out(
    tar: Iterable[bytes], unwanted: Callable[[Entry], bool], with_content: bool = False
) -> Iterator[bytes]:
    """The chunks of ``tar`` without the entries that are ``unwanted``; only empty ones are asked about, or all."""
    source = _Recorded(tar)
    padding, kept = 0, True
    for entry in entries(source):
        read = source.taken()
        if kept:
            yield read[:padding]  # of the entry before
        kept = (bool(entry.size) and not with_content) or not unwanted(entry)
        if kept:
            yield read[padding:]
        left, padding = entry.size, -entry.size % BLOCK
        while left:
            part = source.some(left)
            left -= len(part)
            content = source.taken()
            if kept:
                yield content
            if not part:
                return
    source.drain()
    rest = source.taken()
    yield rest if kept else rest[padding:]


class _Recorded(Source):
    """Remembers what was read since it was last asked."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__(chunks, _LARGEST, digested=False)
        self._taken: list[bytes] = []

    def some(self, most: int) -> memoryview:
        """See :class:`Source`."""
        part = super().some(most)
        self._taken.append(bytes(part))
        return part

    def taken(self) -> bytes:
        """All bytes since the last call."""
        data, self._taken = b"".join(self._taken), []
        return data
