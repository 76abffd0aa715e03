"""``explain`` says of a container what the kernel says of it, and where one can look oneself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multios.explain import PARTS
from other_users import User, open_to_group
from private_engine import IMAGE, PrivateEngine, eventually

Parts = dict[str, dict[str, Any]]


def explained(engine: PrivateEngine, name: str, *options: str) -> Parts:
    document = json.loads(engine.out("explain", "--format", "json", *options, name))
    return {part["part"]: part for part in document["parts"]}


def status_of(pid: int) -> dict[str, str]:
    rows = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in rows}


def pid_of(engine: PrivateEngine, name: str) -> int:
    return int(engine.inspect(name)["State"]["Pid"])


def inside(engine: PrivateEngine, name: str, command: str) -> str:
    return engine.out("exec", name, "sh", "-c", command)


def test_every_part_has_two_sentences_and_a_place_to_look(engine: PrivateEngine, running: str) -> None:
    parts = explained(engine, running)
    assert tuple(parts) == PARTS
    for part in parts.values():
        assert len(part["about"]) == 2 and all(sentence.endswith(".") for sentence in part["about"])
        assert part["see"]


def test_the_files_to_look_at_are_there(engine: PrivateEngine, running: str) -> None:
    looked = 0
    for part in explained(engine, running).values():
        for line in part["see"]:
            for path in re.findall(r"(?<=\s)/(?:proc|sys)/\S+", line.partition("   ")[0]):
                if "attr/current" not in path and "/lsm" not in path and path != "/proc/net/route":
                    assert os.path.exists(path), line
                    looked += 1
    assert looked > 8


def test_namespaces_have_the_kernels_numbers(engine: PrivateEngine, running: str) -> None:
    pid = pid_of(engine, running)
    rows = explained(engine, running, "--part", "namespaces")["namespaces"]["rows"]
    assert {row["kind"] for row in rows} >= {"user", "pid", "mnt", "net", "uts", "ipc", "cgroup"}
    for row in rows:
        assert row["inode"] == os.stat(f"/proc/{pid}/ns/{row['kind']}").st_ino
        assert row["host_inode"] == os.stat(f"/proc/self/ns/{row['kind']}").st_ino
        assert not row["shared"]


def test_what_is_shared_with_the_host_is_said(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", "host", IMAGE, "sleep", "1000")
    parts = explained(engine, name)
    shared = [row["kind"] for row in parts["namespaces"]["rows"] if row["shared"]]
    assert shared == ["net"]
    assert parts["network"]["mode"] == "host" and parts["network"]["path"] == []
    assert "the host's own network" in engine.out("explain", name)


def test_the_id_map_is_the_kernels(engine: PrivateEngine, running: str) -> None:
    pid = pid_of(engine, running)
    ids = explained(engine, running)["ids"]
    row = ids["users"][0]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == [
        str(row[key]) for key in ("inside", "outside", "count")
    ]
    assert ids["uid"] == 0 and ids["host_uid"] == os.stat(f"/proc/{pid}").st_uid


def test_the_layers_are_directories_of_the_host(engine: PrivateEngine, running: str) -> None:
    inside(engine, running, "echo mine > /root/written")
    mounts = explained(engine, running)["mounts"]
    root = mounts["root"]
    assert root["type"] == "overlay" and root["id_mapped"]
    assert Path(root["upper"], "root/written").read_text() == "mine\n"
    assert any(Path(layer, "bin/sh").exists() for layer in root["lower"])
    table = inside(engine, running, "cat /proc/self/mountinfo").splitlines()
    targets = {line.split(" ")[4] for line in table}
    assert {row["target"] for row in mounts["mounts"]} <= targets
    assert "/proc/keys" in mounts["masked"] and "/proc/sys" in mounts["read_only"]
    assert set(mounts["masked"]) | set(mounts["read_only"]) <= targets


def test_limits_are_what_stands_in_the_files(engine: PrivateEngine, name: str) -> None:
    limits = ["--memory-limit", "64M", "--pids-limit", "77", "--cpu-limit", "0.5"]
    engine.run("run", "-d", "--name", name, *limits, IMAGE, "sleep", "1000")
    rows = explained(engine, name)["cgroups"]["limits"]
    values = {row["what"]: row["value"] for row in rows}
    assert values["memory"] == "64 MiB" and values["processes and threads"] == "77"
    for row in rows:
        if row["raw"]:
            assert Path(row["file"]).read_text().strip() == row["raw"]
            assert engine.cgroup_parent in row["file"]
    engine.run("update", name, "--memory-limit", "96M")
    changed = explained(engine, name)["cgroups"]["limits"]
    assert {row["what"]: row["value"] for row in changed}["memory"] == "96 MiB"


def test_capabilities_are_the_kernels_sets(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--cap-drop", "CHOWN", IMAGE, "sleep", "1000")
    part = explained(engine, name)["capabilities"]
    status = status_of(pid_of(engine, name))
    assert part["sets"] == {key: status[key] for key in part["sets"]} and len(part["sets"]) == 5
    kept, dropped = ([row["name"] for row in part[key]] for key in ("kept", "dropped"))
    assert len(kept) == int(status["CapBnd"], 16).bit_count()
    assert "CAP_CHOWN" in dropped and "CAP_SYS_ADMIN" in dropped and "CAP_KILL" in kept
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(kept) + len(dropped) == last + 1
    assert all(row["means"] for key in ("kept", "dropped") for row in part[key])
    assert part["no_new_privileges"] is (status["NoNewPrivs"] == "1")


def test_what_the_seccomp_list_says_is_so(engine: PrivateEngine, running: str) -> None:
    part = explained(engine, running)["seccomp"]
    assert part["mode"] == "filter" and part["filters"] >= 1
    by_action = {row["action"]: row["names"] for row in part["calls"]}
    assert "read" in by_action["allowed"] and "mount" in by_action["refused with EPERM"]
    assert any(row["call"] == "unshare" for row in part["conditions"])
    refused = engine.run("exec", running, "mount", "-t", "tmpfs", "none", "/mnt", status=None)
    assert refused.returncode != 0 and "permission denied" in refused.stderr


def test_a_container_without_a_filter_has_none(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--security-opt", "seccomp=unconfined", IMAGE, "sleep", "1000")
    part = explained(engine, name)["seccomp"]
    assert part["mode"] == "none" and part["calls"] == []


def test_the_way_out_is_made_of_what_the_host_has(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "-p", "127.0.0.1:0:80", IMAGE, "sleep", "1000")
    part = explained(engine, name)["network"]
    way = {step["kind"]: step for step in part["path"]}
    kinds = [step["kind"] for step in part["path"]]
    assert kinds[:4] == ["process", "interface", "veth", "bridge"]
    peer, bridge = way["veth"]["name"], way["bridge"]["name"]
    assert bridge == engine.bridge and os.path.exists(f"/sys/class/net/{bridge}/brif/{peer}")
    index = Path(f"/sys/class/net/{peer}/ifindex").read_text().strip()
    assert inside(engine, name, "cat /sys/class/net/eth0/iflink") == index
    address = engine.inspect(name)["NetworkSettings"]["IPAddress"]
    own = next(link for link in part["interfaces"] if link["name"] == "eth0")
    assert own["addresses"] == [f"{address}/24"]
    assert {"to": "default", "via": engine.gateway, "interface": "eth0"} in part["routes"]
    default = subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True).stdout
    last = part["path"][-1]
    assert f"dev {last['name']}" in default if default else last["kind"] == "end"
    assert part["name_servers"] == [engine.gateway]
    (port,) = part["ports"]
    rules = [step for step in part["path"] if step["kind"] == "rule"]
    assert any(f"dport {port['host']} dnat to {address}:80" in step["detail"] for step in rules)
    for step in rules:
        shown = subprocess.run(step["see"].split(), capture_output=True, text=True)
        assert shown.returncode == 0, step
        if "masquerade" in step["detail"]:
            assert "masquerade" in shown.stdout and "@outgoing" in shown.stdout
        if "dnat" in step["detail"]:
            assert f"{port['host']}" in shown.stdout and f"{address} . 80" in shown.stdout


def test_a_network_of_another_kind_is_said(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    part = explained(engine, name)["network"]
    assert part["mode"] == "none" and [link["name"] for link in part["interfaces"]] == ["lo"]


def test_the_process_has_two_numbers_and_the_supervisor_for_its_parent(
    engine: PrivateEngine, name: str
) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo hello; sleep 1000")
    part = explained(engine, name)["process"]
    pid = pid_of(engine, name)
    assert part["pid"] == pid and part["pid_inside"] == 1
    assert part["parent"]["pid"] == int(status_of(pid)["PPid"])
    assert "multios.supervisor" in part["parent"]["command"]
    eventually(lambda: "hello" in Path(part["log"]).read_text(), "the log has its output")


def test_a_container_that_does_not_run_is_what_it_would_be(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "--name", name, "--memory-limit", "64M", IMAGE, "sleep", "1000")
    parts = explained(engine, name)
    assert all(row["inode"] is None and not row["shared"] for row in parts["namespaces"]["rows"])
    assert parts["cgroups"]["limits"] == []
    assert {"what": "memory, bytes", "value": str(64 * 1024**2)} in parts["cgroups"]["asked"]
    assert "CAP_SYS_ADMIN" in [row["name"] for row in parts["capabilities"]["dropped"]]
    assert parts["process"]["command"] == ["sleep", "1000"] and parts["process"]["pid"] is None
    assert "what it would be if it were started" in engine.out("explain", name)
    promised = parts["capabilities"]["kept"]
    engine.run("start", name)
    assert explained(engine, name)["capabilities"]["kept"] == promised
    engine.run("kill", name)
    engine.run("wait", name)
    assert "it would be" in engine.out("explain", name)


def test_an_unknown_part_is_named_with_the_nearest(engine: PrivateEngine, running: str) -> None:
    failed = engine.run("explain", "--part", "mount", running, status=125)
    assert "no part 'mount'" in failed.stderr and "'mounts'" in failed.stderr


def test_one_form_at_a_time(engine: PrivateEngine, running: str) -> None:
    failed = engine.run("explain", "--html", "--format", "json", running, status=125)
    assert failed.stderr.count("\n") == 2 and "one thing" in failed.stderr


def test_what_a_container_chose_has_no_power_over_the_terminal(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "-e", "X=\x1b[31mred\x07", IMAGE, "sleep", "1000")
    text = engine.out("explain", name)
    assert "\x1b" not in text and "\x07" not in text and "red" in text


@pytest.mark.skipif(shutil.which("runc") is None, reason="this host has no runc")
def test_the_oci_runtimes_containers_are_explained_too(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--isolation", "oci", IMAGE, "sleep", "1000")
    parts = explained(engine, name)
    pid = pid_of(engine, name)
    assert parts["namespaces"]["rows"][0]["inode"] == os.stat(f"/proc/{pid}/ns/user").st_ino
    assert parts["capabilities"]["sets"]["CapBnd"] == status_of(pid)["CapBnd"]
    assert parts["process"]["pid_inside"] == 1


def test_a_user_explains_his_own_and_nobody_elses(make_engine: Callable[..., PrivateEngine]) -> None:
    engine = make_engine()
    open_to_group(engine)
    engine.directory.chmod(0o711)
    ada, bob = User(engine, "games"), User(engine, "news")
    ada.run("run", "-d", "--name", "hers", IMAGE, "sleep", "1000")
    document = json.loads(ada.out("explain", "--format", "json", "hers"))
    assert document["running"] and [part["part"] for part in document["parts"]] == list(PARTS)
    refused = bob.run("explain", "hers", status=125)
    assert "no such container" in refused.stderr
