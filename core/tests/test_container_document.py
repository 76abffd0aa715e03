"""The door: container documents are read field by field, and every refusal names the field."""

from __future__ import annotations

import base64
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput, Refused
from multios.model.container import GivenFile, HealthRequest, RestartPolicy, Volume
from multios.model.container_document import parse, signal_name
from multios.model.container_names import check_name
from multios.model.network import PortMapping
from multios.model.resources_section import page_name, parse_resources

REQUESTED = {
    "name": "my-app",
    "image": "python-learning",
    "resources": {
        "cpu_limit": 2.0,
        "memory_limit": "1GB",
        "disk_limit": "10GB",
        "cpu_shares": 512,
        "io_limit": 1000,
    },
    "networking": {
        "network": "default",
        "ports": [{"container": 8080, "host": 8080}, {"container": 3000, "host": 3000}],
    },
    "security": {
        "capabilities": ["CHOWN", "SETGID", "SETUID"],
        "seccomp_profile": "default",
        "read_only": False,
    },
    "volumes": [
        {"host": "/host/data", "container": "/data", "mode": "rw"},
        {"host": "/host/config", "container": "/config", "mode": "ro"},
    ],
    "environment": {"PYTHONPATH": "/app", "DEBUG": "true"},
    "restart_policy": "unless-stopped",
}


def test_the_documented_configuration_is_read_whole() -> None:
    config = parse(REQUESTED)
    assert config.name == "my-app"
    assert config.resources.memory_limit == 1024**3
    assert config.networking.ports[0] == PortMapping(8080, 8080)
    assert config.security.capabilities == ("CHOWN", "SETGID", "SETUID")
    assert config.volumes[1] == Volume("bind", "/host/config", "/config", "ro")
    assert config.environment["DEBUG"] == "true"
    assert config.restart_policy == RestartPolicy("unless-stopped")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"resources": {"memory_limit": "lots"}}, "resources.memory_limit"),
        ({"resources": {"memory_limit": 1}}, "resources.memory_limit"),
        ({"resources": {"memory_limit": -2}}, "resources.memory_limit"),
        ({"resources": {"pids_limit": False}}, "resources.pids_limit"),
        ({"resources": {"io_bytes_limit": 100}}, "resources.io_bytes_limit"),
        ({"resources": {"hugepages": "2M"}}, "resources.hugepages"),
        ({"resources": {"hugepages": {"two": "8M"}}}, "resources.hugepages: page size"),
        ({"resources": {"hugepages": {"2M": "3M"}}}, "whole pages"),
        ({"devices": [{"container": "/dev/x"}]}, "devices[0].host"),
        ({"devices": [{"host": "/dev/x", "access": "rx"}]}, "devices[0].access"),
        ({"devices": [{"host": "/dev/x", "container": "/proc/x"}]}, "devices[0].container"),
        ({"resources": {"cpu_limit": True}}, "resources.cpu_limit"),
        ({"resources": {"memori_limit": "1G"}}, "resources.memori_limit"),
        ({"networking": {"ports": [{"container": 0}]}}, "networking.ports[0].container"),
        ({"networking": {"ports": [{"host": 80}]}}, "networking.ports[0].container"),
        ({"networking": {"networks": ["none", "default"]}}, "networking.networks"),
        ({"security": {"capabilities": ["CHOWM"]}}, "security.capabilities[0]"),
        ({"security": {"read_only": "yes"}}, "security.read_only"),
        ({"volumes": [{"host": "relative", "container": "/data"}]}, "volumes[0].host"),
        ({"volumes": [{"host": "/a", "container": "/../b"}]}, "volumes[0].container"),
        ({"volumes": [{"host": "/a", "container": "/"}]}, "volumes[0].container"),
        ({"files": [{"content": ""}]}, "files[0].path"),
        ({"files": [{"path": "/a"}]}, "files[0].content"),
        ({"files": [{"path": "/proc/1/x", "content": ""}]}, "files[0].path"),
        ({"files": [{"path": "//sys/x", "content": ""}]}, "files[0].path"),
        ({"files": [{"path": "/./.", "content": ""}]}, "files[0].path"),
        ({"files": [{"path": "/a", "content": "", "mode": "4755"}]}, "files[0].mode"),
        ({"files": [{"path": "/a", "content": "", "mode": 0o1777}]}, "files[0].mode"),
        ({"files": [{"path": "/a", "content": "", "uid": -1}]}, "files[0].uid"),
        ({"files": [{"path": "/a", "content": "", "secret": 1}]}, "files[0].secret"),
        ({"files": [{"path": f"/{n}", "content": ""} for n in range(101)]}, "at most 100"),
        ({"files": [{"path": "/a", "content": ""}, {"path": "/a//.", "content": ""}]}, "mounted twice"),
        ({"files": [{"path": "/a", "content": ""}], "tmpfs": [{"container": "/a/b"}]}, "below it"),
        ({"shm_size": 1}, "shm_size"),
        ({"sysctls": {"net.ipv4.ip_forward": [1]}}, "sysctls.net.ipv4.ip_forward"),
        ({"sysctls": {"net.ipv4.conf.../x": "1"}}, "sysctls"),
        ({"sysctls": {"net": "1"}}, "sysctls"),
        ({"sysctls": {"net.core.somaxconn": ""}}, "sysctls.net.core.somaxconn"),
        ({"restart_policy": "sometimes"}, "restart_policy"),
        ({"healthcheck": "true"}, "healthcheck"),
        ({"healthcheck": {"test": []}}, "healthcheck.test"),
        ({"healthcheck": {"test": " "}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["true"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["CMD"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["CMD", ""]}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["CMD", 1]}}, "healthcheck.test[1]"),
        ({"healthcheck": {"test": ["CMD", "a\0b"]}}, "healthcheck.test[1]"),
        ({"healthcheck": {"test": ["CMD-SHELL", "a", "b"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["NONE", "a"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": ["NONE"], "retries": 2}}, "healthcheck"),
        ({"healthcheck": {"test": "x" * 70000}}, "healthcheck.test"),
        ({"healthcheck": {"interval": "0.5ms"}}, "healthcheck.interval"),
        ({"healthcheck": {"interval": -1}}, "healthcheck.interval"),
        ({"healthcheck": {"timeout": "25h"}}, "healthcheck.timeout"),
        ({"healthcheck": {"retries": 0}}, "healthcheck.retries"),
        ({"healthcheck": {"retries": 1001}}, "healthcheck.retries"),
        ({"healthcheck": {"retries": "3"}}, "healthcheck.retries"),
        ({"healthcheck": {"start_period": "-1s"}}, "healthcheck.start_period"),
        ({"healthcheck": {"start_interval": "0s"}}, "healthcheck.start_interval"),
        ({"healthcheck": {"intervall": "1s"}}, "healthcheck.intervall"),
        ({"restart_policy": "always:3"}, "restart_policy"),
        ({"name": "../../x"}, "../../x"),
        ({"hostname": "-a"}, "hostname"),
        ({"environment": ["A=1"]}, "environment"),
        ({"rlimits": {"nofiles": 1}}, "rlimits.nofiles"),
        ({"rlimits": {"nofile": [10, 5]}}, "rlimits.nofile"),
        ({"stop_signal": "SIGNONE"}, "stop_signal"),
        ({"command": [1]}, "command[0]"),
        ({"drivers": {"storag": "vfs"}}, "drivers.storag"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse({"name": "a", "image": "b", **change})
    assert named in refusal.value.cause
    assert refusal.value.remedy


def test_an_unknown_field_gets_the_nearest_valid_one() -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse({"image": "a", "enviroment": {}})
    assert "environment" in refusal.value.remedy


def test_one_of_image_and_template_is_needed() -> None:
    with pytest.raises(InvalidInput):
        parse({"name": "a"})
    with pytest.raises(InvalidInput):
        parse({"name": "a", "image": "b", "template": "c"})


def test_a_path_is_mounted_once() -> None:
    volumes = [{"volume": "a", "container": "/data"}, {"volume": "b", "container": "/data/"}]
    with pytest.raises(InvalidInput, match="twice"):
        parse({"image": "a", "volumes": volumes})


def test_a_missing_name_is_invented_and_allowed() -> None:
    names = {parse({"image": "a"}).name for _ in range(20)}
    assert len(names) == 20
    assert all(check_name("container", name) for name in names)


@given(st.text(max_size=200))
def test_a_name_never_leaves_its_directory(name: str) -> None:
    try:
        check_name("container", name)
    except InvalidInput:
        return
    assert "/" not in name and name not in (".", "..") and "\0" not in name and 0 < len(name) <= 128


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(string.printable, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*REQUESTED, "command", "rlimits", "tmpfs", "log", "user"]), JSON))
def test_any_document_is_read_or_refused_with_a_cause(document: dict[str, Any]) -> None:
    try:
        parse(document)
    except InvalidInput as refusal:
        assert refusal.cause


@pytest.mark.parametrize("text", ["TERM", "term", "SIGTERM", "15"])
def test_a_signal_has_one_name(text: str) -> None:
    assert signal_name(text) == "SIGTERM"


UNLIMITED = [0, -1, "0", "-1"]
LIMITS = [
    "cpu_limit",
    "cpu_shares",
    "memory_limit",
    "memory_swap",
    "pids_limit",
    "io_limit",
    "io_bytes_limit",
]


@pytest.mark.parametrize("value", UNLIMITED)
@pytest.mark.parametrize("field", LIMITS)
def test_nought_and_minus_one_take_a_limit_away(field: str, value: Any) -> None:
    assert getattr(parse_resources({field: value}), field) == -1


def test_all_processors_and_pages_without_a_limit_can_be_asked_for() -> None:
    assert parse_resources({"cpuset": "all"}).cpuset == parse_resources({"cpuset": ""}).cpuset == ""
    assert parse_resources({"hugepages": {"2M": 0, "1G": "1GiB"}}).hugepages == {"2MB": -1, "1GB": 1 << 30}


@pytest.mark.parametrize("text", ["64M", "64m", "64MB", "64mb", "64MiB", "65536K", "64 MiB", "0.0625G"])
def test_sizes_are_read_as_people_write_them(text: str) -> None:
    assert parse_resources({"memory_limit": text, "io_bytes_limit": text}).memory_limit == 64 << 20


@pytest.mark.parametrize(("size", "name"), [(64 << 10, "64KB"), (2 << 20, "2MB"), (16 << 30, "16GB")])
def test_page_sizes_have_the_kernels_names(size: int, name: str) -> None:
    assert page_name(size) == name


def test_a_given_file_has_the_modes_and_the_owner_that_are_usual_for_it() -> None:
    content = base64.b64encode(b"abc").decode()
    files = [
        {"path": "/a//b/./c", "content": content},
        {"path": "/d", "content": "", "mode": "0600", "gid": 5},
    ]
    first, second = parse({"image": "i", "files": files}).files
    assert first == GivenFile("/a/b/c", 3, 0o444, content=content)
    assert (second.size, second.mode, second.gid) == (0, 0o600, 5)


@pytest.mark.parametrize("content", ["aHVudGVyMg", "hunter2!", 7, ["hunter2"], None, "é", "A" * (4 << 20)])
def test_what_is_wrong_with_a_content_does_not_show_it(content: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse({"image": "i", "files": [{"path": "/a", "content": content}]})
    assert "files[0].content" in refused.value.cause
    assert str(content) not in refused.value.cause + refused.value.remedy


def test_files_are_bounded_alone_and_together() -> None:
    def sized(*sizes: int) -> dict[str, Any]:
        contents = [base64.b64encode(b"x" * size).decode() for size in sizes]
        files = [{"path": f"/{number}", "content": content} for number, content in enumerate(contents)]
        return {"image": "i", "files": files}

    assert len(parse(sized(*[1 << 20] * 4)).files) == 4
    with pytest.raises(InvalidInput, match=r"files\[0\].content"):
        parse(sized((1 << 20) + 1))
    with pytest.raises(InvalidInput, match="at most 4194304"):
        parse(sized(*[1 << 20] * 4, 1))


def test_a_content_is_not_in_what_a_record_looks_like() -> None:
    content = base64.b64encode(b"hunter2").decode()
    assert content not in repr(parse({"image": "i", "files": [{"path": "/a", "content": content}]}))


@given(st.text("/.abdeprocsyv\0", max_size=20))
def test_a_given_files_path_stays_where_it_may_be(path: str) -> None:
    try:
        (file,) = parse({"image": "i", "files": [{"path": path, "content": ""}]}).files
    except InvalidInput:
        return
    parts = file.path.split("/")
    assert parts[0] == "" and not {"", ".", ".."} & set(parts[1:])
    assert parts[1] not in ("dev", "proc", "sys")


@pytest.mark.parametrize(
    "name",
    ["kernel.panic", "vm.overcommit_memory", "kernel.shmmaxx", "fs.file-max", "user.max_user_namespaces"],
)
def test_a_kernel_parameter_of_the_hosts_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="whole host"):
        parse({"image": "i", "sysctls": {name: 1}})


def test_net_parameters_need_a_network_namespace() -> None:
    asked = {"sysctls": {"net.core.somaxconn": 512}}
    assert parse({"image": "i", **asked}).sysctls == {"net.core.somaxconn": "512"}
    assert parse({"image": "i", **asked, "networking": {"network": "none"}}).sysctls
    with pytest.raises(Refused, match="host's network"):
        parse({"image": "i", **asked, "networking": {"network": "host"}})


def test_a_health_check_is_read_with_its_durations() -> None:
    check = {
        "test": "curl -f http://localhost",
        "interval": "1m30s",
        "timeout": 5,
        "start_period": "0s",
        "retries": 2,
    }
    assert parse({"image": "x", "healthcheck": check}).healthcheck == HealthRequest(
        ("CMD-SHELL", "curl -f http://localhost"), 90.0, 5.0, 2, 0.0
    )
    assert parse({"image": "x", "healthcheck": {"test": ["NONE"]}}).healthcheck == HealthRequest(("NONE",))
    assert parse({"image": "x"}).healthcheck is None
