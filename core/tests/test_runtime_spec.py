"""The drafted spec: confined unless an administrator says otherwise."""

from __future__ import annotations

from typing import Any

from multios.engine import runtime_spec
from multios.engine.users import Account
from multios.model.container import Container
from multios.model.container_document import parse
from multios.model.image import ImageConfig
from multios.model.mount import IdMap


def drafted(account: Account | None = None, id_map: IdMap | None = None, **document: Any) -> dict[str, Any]:
    config = parse({"name": "web", "image": "i", **document})
    container = Container("a" * 64, "web", 0, config, "1" * 64, {}, 0.0, id_map=id_map)
    image = ImageConfig(command=("run",), entrypoint=("enter",), environment=("A=image", "B=image"))
    return runtime_spec.draft(container, image, account or Account(), {"/etc/hosts": "/h"})


def namespaces(spec: dict[str, Any]) -> set[str]:
    return {item["type"] for item in spec["linux"]["namespaces"]}


def test_the_default_is_confined() -> None:
    spec = drafted(id_map=IdMap(65536 * 20000))
    assert namespaces(spec) == {"pid", "network", "mount", "ipc", "uts", "user", "cgroup"}
    assert spec["process"]["noNewPrivileges"] is True
    assert "CAP_SYS_ADMIN" not in spec["process"]["capabilities"]["bounding"]
    assert "/proc/kcore" in spec["linux"]["maskedPaths"]
    assert spec["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert spec["linux"]["uidMappings"][0]["hostID"] == 65536 * 20000


def test_command_and_entrypoint_follow_the_images_unless_given() -> None:
    assert drafted()["process"]["args"] == ["enter", "run"]
    assert drafted(command=["ls"])["process"]["args"] == ["enter", "ls"]
    assert drafted(entrypoint=[], command=["ls"])["process"]["args"] == ["ls"]
    assert drafted(entrypoint=["other"])["process"]["args"] == ["other"]


def test_the_request_s_environment_goes_before_the_images() -> None:
    environment = drafted(environment={"B": "mine"})["process"]["env"]
    assert "A=image" in environment and "B=mine" in environment and "B=image" not in environment


def test_privileged_is_unmasked_and_may_all() -> None:
    spec = drafted(security={"privileged": True})
    assert spec["linux"]["maskedPaths"] == [] and spec["process"]["noNewPrivileges"] is False
    assert "user" not in namespaces(spec)


def test_the_draft_grants_no_capability_because_a_security_driver_does() -> None:
    for account in (Account(), Account(uid=1000, gid=1000)):
        sets = drafted(account, security={"capabilities": ["NET_RAW"]})["process"]["capabilities"]
        assert set(sets) == {"bounding", "permitted", "effective", "inheritable", "ambient"}
        assert not any(sets.values())


def test_a_read_only_root_has_places_to_write_in_memory_unless_that_is_not_wanted() -> None:
    def scratch(**security: Any) -> set[str]:
        spec = drafted(security=security, tmpfs=[{"container": "/tmp", "size": "1M"}])
        found = [entry["destination"] for entry in spec["mounts"] if entry["type"] == "tmpfs"]
        assert found.count("/tmp") == 1
        return set(found) & {"/run", "/var/tmp"}

    assert scratch(read_only=True) == {"/run", "/var/tmp"}
    assert scratch(read_only=True, read_only_tmpfs=False) == scratch() == set()


def test_the_hosts_network_shares_only_that() -> None:
    assert "network" not in namespaces(drafted(networking={"network": "host"}))
    assert "network" in namespaces(drafted(networking={"network": "none"}))


def test_shared_memory_has_the_size_that_was_asked_for() -> None:
    def size(**document: Any) -> list[str]:
        (mount,) = (item for item in drafted(**document)["mounts"] if item["destination"] == "/dev/shm")
        return [word for word in mount["options"] if word.startswith("size=")]

    assert size() == ["size=67108864"] and size(shm_size="1M") == ["size=1048576"]


def test_kernel_parameters_are_in_the_spec_only_when_asked_for() -> None:
    assert "sysctl" not in drafted()["linux"]
    assert drafted(sysctls={"kernel.shmmni": 7})["linux"]["sysctl"] == {"kernel.shmmni": "7"}
