"""The section ``[build]`` of the daemon's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from multios.errors import InvalidInput
from multios.settings import load


def write(directory: Path, text: str) -> Path:
    path = directory / "containers.conf"
    path.write_text(text)
    return path


def test_builds_get_variables_and_a_ca_bundle(tmp_path: Path) -> None:
    text = (
        '[build]\nca_bundle = "/etc/ssl/proxy.pem"\n[build.environment]\nhttps_proxy = "http://proxy:3128"\n'
    )
    build = load(write(tmp_path, text), {}).build
    assert build.environment == {"https_proxy": "http://proxy:3128"}
    assert build.ca_bundle == Path("/etc/ssl/proxy.pem")
    assert load(write(tmp_path, ""), {}).build.environment == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('[build]\nenvironment = "a=b"', "build.environment: must be a table of text"),
        ("[build.environment]\na = 1", "build.environment: must be a table of text"),
        ('[build.environment]\n"a b" = "1"', "build.environment: 'a b' is not a variable's name"),
        ('[build]\nca_bundle = "proxy.pem"', "build.ca_bundle"),
        ('[build]\nca = "/x"', "build.ca: no such setting"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(write(tmp_path, text), {})
    assert cause in caught.value.cause
