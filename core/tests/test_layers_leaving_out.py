"""A layer without some entries is the layer that tar would have written without them."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from multios.layers.leaving_out import leaving_out


def tar(entries: list[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue().rstrip(b"\0")


NAMES = st.text("abé/", min_size=1, max_size=130).map(lambda name: "x" + name.strip("/"))


@settings(deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from([b"", b"1", b"2" * 512, b"3" * 1300])), max_size=6),
    st.sets(st.integers(0, 5)),
    st.integers(1, 3000),
    st.booleans(),
)
def test_every_other_byte_is_as_it_was(
    files: list[tuple[str, bytes]], chosen: set[int], size: int, with_content: bool
) -> None:
    names = {files[number][0].encode() for number in chosen if number < len(files)}
    whole = tar(files) + bytes(-len(tar(files)) % 512 + 1024)
    chunks = (whole[start : start + size] for start in range(0, len(whole), size))
    left = b"".join(leaving_out(chunks, lambda entry: entry.name in names, with_content))
    asked = [(name, content) for name, content in files if with_content or not content]
    kept = [item for item in files if item not in asked or item[0].encode() not in names]
    assert left.rstrip(b"\0") == tar(kept)
    assert len(left) % 512 == 0
