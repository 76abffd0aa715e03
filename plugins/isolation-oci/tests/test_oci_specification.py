"""What the runtime gets of what the engine asks, and what the driver makes of the runtime's words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multios.drivers.base import DriverContext
from multios.drivers.isolation import Bundle, Stdio
from multios.errors import InvalidInput, NotFound, Unsupported
from multios.model.mount import IdMap, Mount
from multios.testing.isolation_box import make_spec
from multios_isolation_oci import launch, specification
from multios_isolation_oci.driver import RuntimeIsolation, Settings
from multios_isolation_oci.records import Files


def bundle(spec: dict[str, Any], **fields: Any) -> Bundle:
    values = {"rootfs": (Mount("bind", "/nowhere"),), "stdio": Stdio(), "id_map": IdMap(500_000), **fields}
    return Bundle("name", spec, **values)


def test_without_device_rules_every_device_is_allowed() -> None:
    assert specification.device_rules({})["devices"] == [{"allow": True, "access": "rwm"}]
    own = [{"allow": False, "access": "rwm"}]
    assert specification.device_rules({"devices": own})["devices"] == own


def test_volumes_are_where_they_are_attached_and_ids_are_mapped() -> None:
    spec = make_spec("true")
    spec["mounts"].append({"destination": "/data", "type": "bind", "source": "/secret", "options": ["rbind"]})
    config, binds = specification.adapted(bundle(spec, volumes={"/data": 5}), "multios/oci-name")
    assert [entry["destination"] for entry in binds] == ["/data"]
    assert config["mounts"][-1]["source"] == f"{launch.PLACE}/volume-0"
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 500_000, "size": 65536}]
    assert config["linux"]["cgroupsPath"] == "/multios/oci-name"
    assert "time" not in {entry["type"] for entry in config["linux"]["namespaces"]}
    json.dumps(config)


def test_a_bind_mount_with_ids_of_its_own_is_refused() -> None:
    """Mapped as a whole it would let root inside reach what only others on the host may."""
    spec = make_spec("true")
    ids = [{"containerID": 1000, "hostID": 500_000, "size": 1}]
    entry = {"destination": "/data", "type": "bind", "source": "/home", "options": ["rbind"]}
    spec["mounts"].append({**entry, "uidMappings": ids, "gidMappings": ids})
    with pytest.raises(Unsupported, match="/data"):
        specification.check(spec)


def test_an_id_map_and_a_user_namespace_come_together() -> None:
    with pytest.raises(InvalidInput):
        specification.adapted(bundle(make_spec("true"), id_map=None), "multios/oci-name")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"annotations": {"org.multios.init": "true"}}, "init"),
        ({"hooks": {"prestart": [{"path": "/x"}]}}, "hooks"),
        ({"vm": {"x": 1}}, "vm"),
    ],
)
def test_what_runtimes_would_leave_out_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        specification.check(make_spec("true") | change)


def test_a_runtime_that_is_not_installed_is_named(tmp_path: Path) -> None:
    driver = RuntimeIsolation(Settings("norunc"), DriverContext(tmp_path, tmp_path))
    with pytest.raises(Unsupported, match="norunc") as caught:
        driver.create(bundle(make_spec("true")))
    assert "install" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_an_id_does_not_become_another_path(tmp_path: Path) -> None:
    for name in ("../up", "a/b", "", "x" * 200):
        with pytest.raises(InvalidInput):
            Files(tmp_path, name)
    with pytest.raises(NotFound):
        Files(tmp_path, "nobody").read()


def test_the_last_error_of_a_log_whatever_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert launch.last_error(str(log)) == ""
    lines = [
        '{"level":"error","msg":"first"}',
        '{"level":"error","msg":"last"}',
        '{"level":"info","msg":"x"}',
        "[1]",
        "no json",
    ]
    log.write_text("\n".join(lines))
    assert launch.last_error(str(log)) == "last"


def test_the_launcher_is_light() -> None:
    program = "import sys; before = set(sys.modules); import multios_isolation_oci.launch; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {
        "dataclasses",
        "pathlib",
        "logging",
        "typing",
        "subprocess",
        "threading",
        "multios_isolation_oci.containers",
    }
    assert not heavy & set(loaded)
