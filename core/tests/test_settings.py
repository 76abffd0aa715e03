from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios.settings import Settings, load

REQUESTED = """
[daemon]
data_root = "/var/lib/multios/containers"
exec_root = "/var/run/multios/containers"
pid_file = "/var/run/multios/containers.pid"

[logging]
level = "info"
file = "/var/log/multios/containers.log"

[security]
seccomp_profile = "/etc/multios/seccomp.json"
apparmor_profile = "multios-default"

[default_resources]
cpu_limit = 2.0
memory_limit = "1GB"
disk_limit = "10GB"

[networking]
bridge = "multios0"
subnet = "172.17.0.0/16"
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "containers.conf"
    path.write_text(text)
    return path


def refusal(directory: Path, text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        load(write(directory, text), {})
    assert "\n" not in caught.value.cause
    assert str(directory / "containers.conf") in caught.value.cause
    return caught.value


def test_without_a_file_the_built_in_defaults_hold() -> None:
    settings = Settings()
    assert settings.data_root == Path("/var/lib/multios/containers")
    assert settings.exec_root == Path("/run/multios/containers")
    assert settings.pid_file == Path("/run/multios/containers/daemon.pid")
    assert settings.default_resources.pids_limit == 2048
    assert settings.default_resources.memory_limit is None
    assert settings.default_driver("storage") == "overlay"
    assert settings.default_driver("template") == ""


def test_the_documented_file_is_read(tmp_path: Path) -> None:
    settings = load(write(tmp_path, REQUESTED), {})
    assert settings.pid_file == Path("/var/run/multios/containers.pid")
    assert settings.security.seccomp_profile == "/etc/multios/seccomp.json"
    assert settings.default_resources.cpu_limit == 2.0
    assert settings.default_resources.memory_limit == 2**30
    assert settings.default_resources.disk_limit == 10 * 2**30
    assert settings.file == tmp_path / "containers.conf"


def test_driver_tables_are_kept_by_kind_and_name(tmp_path: Path) -> None:
    text = '[security]\nuser_namespace = "host"\n[security.seccomp]\nlog = true\n[image.bootstrap]\nmirror = "x"\n'
    settings = load(write(tmp_path, text), {})
    assert settings.security.user_namespace == "host"
    assert settings.driver_values("security", "seccomp") == {"log": True}
    assert settings.driver_values("image_source", "bootstrap") == {"mirror": "x"}
    assert settings.driver_values("network", "bridge") == {}


def test_the_environment_comes_last(tmp_path: Path) -> None:
    path = write(tmp_path, '[daemon]\ndata_root = "/a"\n[defaults]\nstorage = "overlay"\n')
    environ = {"MULTIOS_CONFIG": str(path), "MULTIOS_DATA_ROOT": "/b", "MULTIOS_STORAGE": "vfs"}
    settings = load(None, {**environ, "MULTIOS_CGROUP_PARENT": "course", "MULTIOS_NETWORK": ""})
    assert settings.data_root == Path("/b")
    assert settings.defaults.storage == "vfs"
    assert settings.defaults.network == "bridge"
    assert settings.daemon.cgroup_parent == "course"


def test_an_explicit_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        load(tmp_path / "absent.conf", {})


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("[deamon]\nx = 1\n", "deamon: no such setting", "'daemon'"),
        ('[daemon]\ndata_rot = "/a"\n', "daemon.data_rot: no such setting", "'data_root'"),
        ('[daemon]\ndata_root = "a"\n', "daemon.data_root: 'a'", "absolute path"),
        ("daemon = 1\n", "daemon: 1 is not a table", "[daemon]"),
        ('[logging]\nlevel = "loud"\n', "logging.level: 'loud'", "debug"),
        ("[logging]\nfile = 5\n", "logging.file: 5", "absolute path"),
        ('[default_resources]\nmemory_limit = "much"\n', "default_resources.memory_limit: 'much'", "512M"),
        ("[default_resources]\npids_limit = true\n", "default_resources.pids_limit: True", "whole number"),
        ("[default_resources]\npids_limit = -1\n", "default_resources: pids_limit", ""),
        ('[networking]\nsubnet = "172.17.0.1/16"\n', "networking.subnet", "172.17.0.0/16"),
        ('[networking]\nbridge = "a/b"\n', "networking.bridge", "15"),
        ("[id_ranges]\nstart = 0\n", "id_ranges: start", ""),
        ("[network]\nmtu = 1\n", "network.mtu: no such setting", "[network.DRIVER]"),
        ('[network."../x"]\nmtu = 1\n', "network: '../x'", "plugin list"),
        ('[defaults]\nstorage = "../x"\n', "defaults.storage: '../x'", "plugin list"),
        ("[daemon\n", "not TOML", ""),
        ("x" * (2**20 + 1), "larger than 1 MiB", ""),
    ],
)
def test_a_wrong_setting_names_the_file_and_the_key(
    tmp_path: Path, text: str, cause: str, remedy: str
) -> None:
    error = refusal(tmp_path, text)
    assert cause in error.cause
    assert remedy in error.remedy


def test_a_pids_limit_of_zero_is_no_limit(tmp_path: Path) -> None:
    assert (
        load(write(tmp_path, "[default_resources]\npids_limit = 0\n"), {}).default_resources.pids_limit
        is None
    )


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(InvalidInput, match="^MULTIOS_DATA_ROOT in the environment"):
        load(None, {"MULTIOS_DATA_ROOT": "relative"})
    with pytest.raises(InvalidInput, match="^MULTIOS_STORAGE in the environment"):
        load(None, {"MULTIOS_STORAGE": "a b"})


@given(data=st.binary(max_size=200))
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
def test_any_bytes_give_settings_or_a_clear_refusal(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.conf"
    path.write_bytes(data)
    try:
        load(path, {})
    except InvalidInput as error:
        assert str(path) in error.cause
