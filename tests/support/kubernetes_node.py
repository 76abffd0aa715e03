"""A node of a real cluster on which nothing runs: it tells of every pod what a kubelet would of one that does.

A pod whose command is ``true`` or ``false`` has ended at once; every volume that is claimed is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException

NAME = "node-of-tests"
_PERIOD = 0.1


@contextmanager
def running(kubeconfig: str) -> Iterator[None]:
    """While the node is part of the cluster."""
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(kubeconfig))
    stopped = threading.Event()
    api.create_node({"metadata": {"name": NAME, "labels": {"kubernetes.io/hostname": NAME}}})
    capacity = {"cpu": "1000", "memory": "4000Gi", "pods": "10000"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    api.patch_node_status(
        NAME, {"status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}}
    )
    thread = threading.Thread(target=_work, args=(api, stopped), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _work(api: Any, stopped: threading.Event) -> None:
    while not stopped.wait(_PERIOD):
        for pod in api.list_pod_for_all_namespaces().items:
            _unless_changed(_serve_pod, api, pod)
        for claim in api.list_persistent_volume_claim_for_all_namespaces().items:
            if claim.status.phase == "Pending" and not claim.spec.volume_name:
                _unless_changed(_provide, api, claim)


def _unless_changed(do: Callable[[Any, Any], None], api: Any, item: Any) -> None:
    """What was changed or removed meanwhile has its turn in the next round."""
    try:
        do(api, item)
    except ApiException as error:
        if error.status not in (404, 409):
            raise


def _serve_pod(api: Any, pod: Any) -> None:
    name, namespace = pod.metadata.name, pod.metadata.namespace
    if pod.metadata.deletion_timestamp:
        api.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    elif not pod.spec.node_name:
        target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
        binding = {"metadata": {"name": name}, "target": target}
        api.create_namespaced_pod_binding(name, namespace, binding, _preload_content=False)
    elif pod.status.phase == "Pending":
        api.patch_namespaced_pod_status(name, namespace, {"status": _status(pod)})


def _status(pod: Any) -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    command = (pod.spec.containers[0].command or pod.spec.containers[0].args or [""])[0]
    has_ended = command in ("true", "false")
    phase = {"true": "Succeeded", "false": "Failed"}.get(command, "Running")
    ended = {"terminated": {"exitCode": int(command == "false"), "startedAt": now, "finishedAt": now}}
    return {
        "phase": phase,
        "podIP": "192.0.2.1",
        "podIPs": [{"ip": "192.0.2.1"}],
        "startTime": now,
        "conditions": [
            {"type": condition, "status": str(not has_ended), "lastTransitionTime": now}
            for condition in ("Ready", "ContainersReady")
        ],
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": container.image,
                "ready": not has_ended,
                "started": not has_ended,
                "restartCount": 0,
                "state": ended if has_ended else {"running": {"startedAt": now}},
            }
            for container in pod.spec.containers
        ],
    }


def _provide(api: Any, claim: Any) -> None:
    api.create_persistent_volume(
        {
            "metadata": {"name": claim.metadata.uid},
            "spec": {
                "accessModes": claim.spec.access_modes,
                "capacity": claim.spec.resources.requests,
                "claimRef": {"namespace": claim.metadata.namespace, "name": claim.metadata.name},
                "hostPath": {"path": f"/{claim.metadata.uid}"},
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": claim.spec.storage_class_name or "",
            },
        }
    )
