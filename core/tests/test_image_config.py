"""What an image says of its containers survives being written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multios.errors import InvalidInput
from multios.model.image import Descriptor, Healthcheck, ImageConfig
from multios.store.content import ContentStore
from multios.store.manifest import CONFIG_TYPE, MANIFEST_TYPE, Layer, config_json, read_image, write_image

_LAYER = Layer(
    Descriptor("application/vnd.oci.image.layer.v1.tar", "sha256:" + "1" * 64, 1), "sha256:" + "2" * 64
)


def test_shell_triggers_and_health_check_are_read_as_they_were_written(tmp_path: Path) -> None:
    check = Healthcheck(("CMD", "/bin/true"), 1.5, 2.0, 0.25, 0.5, 3)
    config = ImageConfig(shell=("/bin/ash", "-c"), on_build=("RUN true",), healthcheck=check)
    content = ContentStore(tmp_path)
    assert read_image(content, write_image(content, config, [_LAYER], "test")).config == config


def test_health_check_times_are_nanoseconds_and_inherited_parts_are_left_out() -> None:
    written = config_json(ImageConfig(healthcheck=Healthcheck(("NONE",), interval=1.5)))
    assert written["Healthcheck"] == {"Test": ["NONE"], "Interval": 1_500_000_000}


def test_a_config_without_them_has_none_of_their_keys() -> None:
    assert not {"Shell", "OnBuild", "Healthcheck"} & config_json(ImageConfig()).keys()


@pytest.mark.parametrize("section", [{"Interval": -1}, {"Retries": "many"}, {"Timeout": 0.5}, ["NONE"]])
def test_a_health_check_that_is_none_is_one_clear_error(tmp_path: Path, section: Any) -> None:
    content = ContentStore(tmp_path)
    details = {"config": {"Healthcheck": section}, "rootfs": {"diff_ids": [_LAYER.diff_id]}}
    stored = content.put_bytes(CONFIG_TYPE, json.dumps(details).encode())
    document = {
        "config": {"mediaType": CONFIG_TYPE, "digest": stored.digest, "size": stored.size},
        "layers": [{"mediaType": _LAYER.blob.media_type, "digest": _LAYER.blob.digest, "size": 1}],
    }
    manifest = content.put_bytes(MANIFEST_TYPE, json.dumps(document).encode())
    with pytest.raises(InvalidInput, match="no usable image"):
        read_image(content, manifest)
