"""What an app becomes on a cluster, each object judged by Kubernetes' published schema."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kubernetes_schema
from multios.errors import InvalidInput, MultiosError, Unsupported
from multios.model import app_document
from multios_orchestrator_kubernetes import pods, render
from multios_orchestrator_kubernetes.settings import KubernetesSettings

SHOP: dict[str, Any] = {
    "name": "shop",
    "services": {
        "web": {
            "container": {
                "image": "docker.io/library/nginx@sha256:" + "a" * 64,
                "command": ["serve", "$(HOST)"],
                "environment": {"PRICE": "5$", "MODE": "fast"},
                "user": "101:101",
                "networking": {
                    "networks": ["shop_front", "shop_back"],
                    "aliases": ["www"],
                    "ports": [{"container": 80, "host": 8080}],
                },
                "resources": {"cpu_limit": 0.5, "memory_limit": "64M", "cpu_shares": 256},
                "security": {"read_only": True, "capabilities": ["NET_BIND_SERVICE"]},
                "tmpfs": [{"container": "/cache", "size": "8M"}],
                "labels": {"com.example.owner": "The shop's team"},
                "stop_timeout": 7,
            },
            "replicas": 2,
            "depends_on": {"db": {"condition": "healthy"}, "prepare": {"condition": "completed"}},
            "update": {"parallelism": 1, "order": "start-first", "monitor": 2.5},
            "files": [
                {"source": "site", "target": "/etc/site.conf"},
                {"source": "key", "target": "/run/secrets/key", "mode": 0o400},
            ],
        },
        "db": {
            "container": {
                "image": "postgres:16",
                "networking": {"network": "shop_back"},
                "volumes": [{"volume": "shop_data", "container": "/var/lib/postgresql"}],
            }
        },
        "prepare": {"container": {"image": "busybox:1", "networking": {"network": "shop_back"}}},
    },
    "networks": {
        "front": {"name": "shop_front"},
        "back": {"name": "shop_back", "request": {"internal": True}},
    },
    "volumes": {"data": {"name": "shop_data"}},
    "files": {
        "site": {"content": base64.b64encode(b"listen 80;").decode()},
        "key": {"content": base64.b64encode(b"\xff\x00").decode(), "secret": True},
    },
}


def rendered(document: dict[str, Any], version: tuple[int, int] = (1, 37), **settings: Any) -> dict[Any, Any]:
    app = app_document.parse(document)
    rendering = pods.Rendering(app, KubernetesSettings(**settings), "shop", version)
    return {item.key: item.manifest for item in render.objects(rendering, True, {})}


def one(container: dict[str, Any], **service: Any) -> dict[str, Any]:
    return {"name": "shop", "services": {"web": {"container": {"image": "a:1", **container}, **service}}}


def container_of(objects: dict[Any, Any], kind: str = "Deployment", name: str = "web") -> dict[str, Any]:
    pod: dict[str, Any] = objects[(kind, name)]["spec"]["template"]["spec"]
    container: dict[str, Any] = pod["containers"][0]
    return container


def test_every_object_is_what_the_published_schema_says_and_no_field_more() -> None:
    objects = rendered(SHOP, runtime_class="gvisor", image_pull_secrets=("school",), storage_class="fast")
    assert {key: kubernetes_schema.problems(item) for key, item in objects.items()} == dict.fromkeys(
        objects, []
    )


def test_the_schema_finds_a_field_that_does_not_exist() -> None:
    objects = rendered(SHOP)
    objects[("Deployment", "web")]["spec"]["template"]["spec"]["hostUser"] = False
    assert kubernetes_schema.problems(objects[("Deployment", "web")])


def test_an_app_becomes_these_objects() -> None:
    assert set(rendered(SHOP)) == {
        ("Namespace", "shop"), ("ConfigMap", "shop-site"), ("Secret", "shop-key"),
        ("PersistentVolumeClaim", "shop-data"), ("NetworkPolicy", "shop-deny"),
        ("NetworkPolicy", "shop-network-front"), ("NetworkPolicy", "shop-network-back"),
        ("NetworkPolicy", "shop-published-web"), ("NetworkPolicy", "shop-egress-db"),
        ("NetworkPolicy", "shop-egress-prepare"), ("Service", "web"), ("Service", "www"), ("Service", "db"),
        ("Service", "prepare"), ("Service", "web-published"), ("Deployment", "web"), ("Deployment", "db"),
        ("Job", "prepare"),
    }  # fmt: skip


def test_pods_have_as_few_rights_as_can_be() -> None:
    objects = rendered(SHOP)
    pod = objects[("Deployment", "web")]["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "runAsUser": 101,
        "runAsGroup": 101,
        "runAsNonRoot": True,
    }
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["hostUsers"] is False


@pytest.mark.parametrize(
    ("version", "setting", "expected"),
    [
        ((1, 37), "auto", False),
        ((1, 33), "auto", False),
        ((1, 32), "auto", None),
        ((1, 32), "false", False),
        ((1, 37), "true", True),
    ],
)
def test_pods_get_a_user_namespace_where_the_cluster_has_them(
    version: tuple[int, int], setting: Any, expected: bool | None
) -> None:
    objects = rendered(SHOP, version, host_users=setting)
    assert objects[("Deployment", "web")]["spec"]["template"]["spec"].get("hostUsers") is expected


def test_what_kubernetes_would_replace_stays_as_it_was_written() -> None:
    container = container_of(rendered(SHOP))
    assert container["args"] == ["serve", "$$(HOST)"]
    assert {"name": "PRICE", "value": "5$$"} in container["env"]


@given(st.text(alphabet="$()A", max_size=12))
def test_an_escaped_text_is_what_it_was_after_kubernetes_expansion(text: str) -> None:
    assert _expanded(pods.literal(text)) == text


def _expanded(text: str) -> str:
    """As Kubernetes documents it: ``$$`` is ``$``, ``$(NAME)`` a variable, another ``$`` itself."""
    result, place = "", 0
    while place < len(text):
        if text[place : place + 2] == "$$":
            result, place = result + "$", place + 2
        elif text[place : place + 2] == "$(" and ")" in text[place:]:
            result, place = result + "REPLACED", text.index(")", place) + 1
        else:
            result, place = result + text[place], place + 1
    return result


def test_limits_and_shares_become_limits_and_requests() -> None:
    assert container_of(rendered(SHOP))["resources"] == {
        "limits": {"cpu": "500m", "memory": str(64 << 20)},
        "requests": {"cpu": "250m"},
    }


def test_a_service_that_is_waited_for_to_complete_is_a_job() -> None:
    job = rendered(SHOP)[("Job", "prepare")]["spec"]
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_updates_go_as_the_update_policy_says() -> None:
    web = rendered(SHOP)[("Deployment", "web")]["spec"]
    assert web["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert web["minReadySeconds"] == 3
    assert rendered(SHOP)[("Deployment", "db")]["spec"]["strategy"] == {"type": "Recreate"}


def test_pods_of_one_network_reach_each_other_and_nobody_else_reaches_them() -> None:
    objects = rendered(SHOP)
    deny = objects[("NetworkPolicy", "shop-deny")]["spec"]
    assert deny["policyTypes"] == ["Ingress"]
    assert "ingress" not in deny
    labels = objects[("Deployment", "web")]["spec"]["template"]["metadata"]["labels"]
    for name in ("deny", "network-front", "network-back", "published-web"):
        chosen = objects[("NetworkPolicy", f"shop-{name}")]["spec"]["podSelector"]["matchLabels"]
        assert chosen.items() <= labels.items(), name
    database = objects[("Deployment", "db")]["spec"]["template"]["metadata"]["labels"]
    assert (
        not objects[("NetworkPolicy", "shop-network-front")]["spec"]["podSelector"]["matchLabels"].items()
        <= database.items()
    )


def test_every_name_leads_to_the_pods_with_all_their_ports() -> None:
    objects = rendered(SHOP)
    labels = objects[("Deployment", "web")]["spec"]["template"]["metadata"]["labels"]
    for name in ("web", "www"):
        service = objects[("Service", name)]["spec"]
        assert service["clusterIP"] == "None"
        assert service["selector"].items() <= labels.items()
    assert objects[("Service", "web-published")]["spec"]["ports"] == [
        {"name": "p0", "port": 8080, "targetPort": 80, "protocol": "TCP"}
    ]


def test_a_containers_own_name_leads_to_it_too_and_a_shared_alias_to_all() -> None:
    document = one({"networking": {"aliases": ["web", "all"]}}, container_name="shop-web")
    document["services"]["db"] = {"container": {"image": "a:1", "networking": {"aliases": ["all"]}}}
    objects = rendered(document)
    assert {name for kind, name in objects if kind == "Service"} == {"web", "db", "shop-web", "all"}
    chosen = objects[("Service", "all")]["spec"]["selector"]
    for name in ("web", "db"):
        labels = objects[("Deployment", name)]["spec"]["template"]["metadata"]["labels"]
        assert chosen.items() <= labels.items()


def test_files_are_mounted_where_they_are_used_and_new_content_makes_new_pods() -> None:
    changed = {**SHOP, "files": {**SHOP["files"], "key": {"content": "eA==", "secret": True}}}
    before, after = (
        rendered(document)[("Deployment", "web")]["spec"]["template"] for document in (SHOP, changed)
    )
    mounts = {item["mountPath"]: item for item in before["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/etc/site.conf"]["readOnly"]
    assert mounts["/run/secrets/key"]["subPath"] == "content"
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def test_shared_memory_and_safe_kernel_parameters_are_the_pods() -> None:
    objects = rendered(one({"shm_size": "1M", "sysctls": {"net.ipv4.ip_unprivileged_port_start": "80"}}))
    pod = objects[("Deployment", "web")]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "v0", "emptyDir": {"medium": "Memory", "sizeLimit": str(1 << 20)}}]
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/dev/shm"
    assert pod["securityContext"]["sysctls"] == [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}
    ]
    assert kubernetes_schema.problems(objects[("Deployment", "web")]) == []


def test_limits_that_are_taken_away_ask_for_nothing() -> None:
    none = {"cpu_limit": -1, "memory_limit": -1, "pids_limit": -1, "io_limit": -1, "memory_swap": -1}
    assert container_of(rendered(one({"resources": none})))["resources"] == {}


def test_a_probe_is_one_of_readiness() -> None:
    check = {"test": ["CMD-SHELL", "curl -f localhost"], "interval": 1.5, "retries": 5, "start_period": 3}
    objects = rendered(one({"healthcheck": check}))
    assert container_of(objects)["readinessProbe"] == {
        "exec": {"command": ["/bin/sh", "-c", "curl -f localhost"]},
        "periodSeconds": 2,
        "timeoutSeconds": 30,
        "failureThreshold": 5,
    }
    assert kubernetes_schema.problems(objects[("Deployment", "web")]) == []
    assert "readinessProbe" not in container_of(rendered(one({"healthcheck": {"test": ["NONE"]}})))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (one({"volumes": [{"host": "/srv", "container": "/srv"}]}), "services.web.container.volumes[0].host"),
        (one({"devices": [{"host": "/dev/kvm"}]}), "services.web.container.devices"),
        (one({"networking": {"network": "host"}}), "services.web.container.networking.networks"),
        (one({"networking": {"extra_hosts": {"a": "host-gateway"}}}), "services.web.container.networking.extra_hosts"),
        (one({"networking": {"network": "container:shop-db-1"}}), "services.web.container.networking.networks"),
        (one({"networking": {"network": "other"}}), "services.web.container.networking.networks"),
        (one({"networking": {"mac": "02:00:00:00:00:01"}}), "services.web.container.networking.mac"),
        (one({"networking": {"egress_allow": ["example.org"]}}), "services.web.container.networking.egress_allow"),
        (one({"security": {"privileged": True}}), "services.web.container.security.privileged"),
        (one({"security": {"user_namespace": "host"}}), "services.web.container.security.user_namespace"),
        (one({"security": {"seccomp_profile": "mine"}}), "services.web.container.security.seccomp_profile"),
        (one({"resources": {"pids_limit": 5}}), "services.web.container.resources.pids_limit"),
        (one({"resources": {"cpu_limit": 0.1, "cpu_shares": 1024}}), "services.web.container.resources.cpu_shares"),
        (one({"sysctls": {"net.core.somaxconn": "9"}}), "services.web.container.sysctls"),
        (one({"files": [{"path": "/a", "content": "eA=="}]}), "services.web.container.files"),
        (one({"resources": {"io_limit": 100}}), "services.web.container.resources.io_limit"),
        (one({"healthcheck": {"interval": 5}}), "services.web.container.healthcheck"),
        (one({"healthcheck": {"test": "a", "start_interval": 5}}), "services.web.container.healthcheck.start_interval"),
        (one({"rlimits": {"nofile": 10}}), "services.web.container.rlimits"),
        (
            {"name": "shop", "services": {"web": {"container": {"image": "a:1"}, "depends_on": {"db": {"restart": True}}}, "db": {"container": {"image": "a:1"}}}},
            "services.web.depends_on.db.restart",
        ),
        (one({"user": "ada"}), "services.web.container.user"),
        (one({"stop_signal": "INT"}), "services.web.container.stop_signal"),
        (one({"volumes": [{"volume": "gone", "container": "/srv"}]}), "services.web.container.volumes[0].volume"),
        (one({}, post_start=[{"command": ["true"]}]), "services.web.post_start"),
        (one({}, pre_stop=[{"command": ["true"]}]), "services.web.pre_stop"),
        (one({}, update={"failure_action": "rollback"}), "services.web.update.failure_action"),
        ({"name": "shop", "services": {"My_web": {"container": {"image": "a:1"}}}}, "services.My_web"),
        ({"name": "shop", "services": {"web": {"container": {"template": "python"}}}}, "services.web.container.template"),
        ({"name": "shop", "networks": {"a": {"external": True}}}, "networks.a.external"),
        ({"name": "shop", "networks": {"a": {"request": {"subnets": ["10.0.0.0/8"]}}}}, "networks.a.request.subnets"),
    ],
)  # fmt: skip
def test_what_a_cluster_cannot_have_is_refused_by_its_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises((Unsupported, InvalidInput)) as refused:
        rendered(document)
    assert refused.value.cause.startswith(field)
    assert refused.value.remedy


def test_two_services_that_would_have_one_name_are_refused() -> None:
    document = one({"networking": {"ports": [80]}})
    document["services"]["web-published"] = {"container": {"image": "a:1"}}
    with pytest.raises(InvalidInput, match="web-published"):
        rendered(document)


names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    services=st.dictionaries(
        names,
        st.fixed_dictionaries(
            {"image": st.just("a:1")},
            optional={
                "command": st.lists(st.text(max_size=8), max_size=3),
                "environment": st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(max_size=8)),
                "hostname": names,
                "resources": st.fixed_dictionaries(
                    {}, optional={"cpu_limit": st.floats(0.01, 64), "memory_limit": st.integers(6 << 20, 1 << 40)}
                ),
                "networking": st.fixed_dictionaries(
                    {}, optional={"ports": st.lists(st.integers(1, 65535), max_size=3, unique=True), "aliases": st.lists(names, max_size=2)}
                ),
            },
        ),
        min_size=1,
        max_size=3,
    )
)  # fmt: skip
def test_whatever_is_asked_for_is_refused_or_fits_the_schema(services: dict[str, Any]) -> None:
    document = {"name": "shop", "services": {name: {"container": item} for name, item in services.items()}}
    try:
        objects = rendered(document)
    except MultiosError as error:
        assert error.remedy
        return
    for item in objects.values():
        assert kubernetes_schema.problems(item) == []
