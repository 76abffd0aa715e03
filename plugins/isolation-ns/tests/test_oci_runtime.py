"""``multios-oci-runtime`` against the OCI runtime spec: runtime.md, config.md, config-linux.md, by its own command line."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multios.cgroups.hierarchy import Hierarchy
from multios.testing.isolation_box import eventually, stands_still

_found = importlib.util.spec_from_file_location("oci_box", Path(__file__).with_name("oci_box.py"))
assert _found is not None and _found.loader is not None
oci_box = importlib.util.module_from_spec(_found)
_found.loader.exec_module(oci_box)

pytestmark = pytest.mark.needs_root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Any]:
    made = oci_box.RuntimeBox(tmp_path)
    yield made
    made.close()


def hook(path: Path, name: str, script: str, **fields: Any) -> dict[str, Any]:
    """A hook that runs a shell script of the host's."""
    program = path / f"hook-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"path": str(program), "args": [name], "env": [f"NAME={name}", "PATH=/usr/bin:/bin"], **fields}


# --- life ---


def test_a_life_from_create_to_delete(box: Any) -> None:
    box.spec["annotations"] = {"org.example": "yes"}
    box.process["args"] = ["sh", "-c", "echo ran; while [ ! -e /go ]; do sleep 0.01; done; exit 7"]
    box.create()
    created = box.state()
    assert (created["id"], created["status"], created["bundle"]) == (box.id, "created", str(box.bundle))
    assert created["pid"] == int(box.pid_file.read_text()) and created["annotations"] == {
        "org.example": "yes"
    }
    assert created["ociVersion"].startswith("1.") and box.said == ""
    box.call("start", box.id)
    eventually(lambda: box.said == "ran\n", "it runs")
    assert box.state()["status"] == "running"
    (box.bundle / "rootfs/go").touch()
    assert box.ended() == 7
    assert box.state()["status"] == "stopped" and "pid" not in box.state()
    box.call("delete", box.id)
    assert "does not exist" in box.call("state", box.id, status=1).stderr
    assert not list(box.root.glob("[!.]*"))


def test_the_containers_parent_is_the_callers_shim(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    shim = box.create()
    status = Path(f"/proc/{box.state()['pid']}/status").read_text()
    assert f"PPid:\t{shim.pid}\n" in status


def test_starting_twice_is_refused(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    box.call("start", box.id)
    assert "running" in box.call("start", box.id, status=1).stderr
    assert "running" in box.last_error()


def test_starting_what_has_ended_is_refused(box: Any) -> None:
    assert box.run() == 0
    assert "stopped" in box.call("start", box.id, status=1).stderr


def test_of_many_starts_at_once_one_wins(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    starts = [subprocess.Popen(box.words("start", box.id), stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(start.wait(30) for start in starts) == [0, 1, 1, 1]
    assert box.state()["status"] == "running"


def test_an_id_in_use_is_refused_and_its_container_lives_on(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    done = box.call("create", "--bundle", str(box.bundle), box.id, status=1)
    assert "exists already" in done.stderr
    assert box.state()["status"] == "created"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 300, "ü"])
def test_bad_ids_are_refused(box: Any, name: str) -> None:
    box.write()
    done = box.call("create", "--bundle", str(box.bundle), name, status=1)
    assert "container id" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("operation", ["start", "state", "kill", "delete", "pause", "resume", "update", "ps"])
def test_an_unknown_container_is_said_not_to_exist(box: Any, operation: str) -> None:
    assert "does not exist" in box.call(operation, "nobody", status=1).stderr


def test_deleting_what_runs_is_refused_unless_forced(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    assert "not stopped" in box.call("delete", box.id, status=1).stderr
    box.call("start", box.id)
    assert "not stopped" in box.call("delete", box.id, status=1).stderr
    box.call("delete", "--force", box.id)
    assert box.ended() == -9


def test_forced_deletion_of_nobody_is_no_error(box: Any) -> None:
    box.call("delete", "--force", "nobody")


def test_killing_what_has_ended_is_an_error(box: Any) -> None:
    assert box.run() == 0
    assert "stopped" in box.call("kill", box.id, "KILL", status=1).stderr


@pytest.mark.parametrize("name", ["SIGUSR1", "USR1", "usr1", str(int(signal.SIGUSR1))])
def test_signals_by_any_of_their_names(box: Any, name: str) -> None:
    box.process["args"] = ["sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done"]
    box.create()
    box.call("start", box.id)
    eventually(lambda: box.said == "ready\n", "it is ready")
    box.call("kill", box.id, name)
    assert box.ended() == 5


def test_an_unknown_signal_is_refused(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    for name in ("SIGNOTHING", "999", "-1"):
        assert box.call("kill", "--", box.id, name, status=1).stderr
    assert box.state()["status"] == "created"


def test_killing_all_and_ps_know_every_process(box: Any) -> None:
    box.process["args"] = ["sh", "-c", "sleep 100 & sleep 100 & echo ready; wait"]
    box.create()
    box.call("start", box.id)
    eventually(lambda: len(json.loads(box.call("ps", "--format", "json", box.id).stdout)) == 3, "all run")
    box.call("kill", "--all", box.id, "KILL")
    assert box.ended() == -9


def test_pause_and_resume(box: Any) -> None:
    box.process["args"] = ["sh", "-c", "while :; do echo x; sleep 0.01; done"]
    box.create()
    box.call("start", box.id)
    eventually(lambda: len(box.said) > 4, "it runs")
    box.call("pause", box.id)
    assert box.state()["status"] == "paused"
    eventually(lambda: stands_still(lambda: len(box.said)), "nothing more is said")  # a reader may be behind
    size = len(box.said)
    box.call("resume", box.id)
    assert box.state()["status"] == "running"
    eventually(lambda: len(box.said) > size, "it goes on")
    box.call("pause", box.id)
    box.call("delete", "--force", box.id)  # a frozen one dies too


def test_list_shows_all(box: Any) -> None:
    box.process["args"] = ["sleep", "100"]
    box.create()
    assert box.call("list", "-q").stdout.split() == [box.id]
    row = json.loads(box.call("list", "--format", "json").stdout)[0]
    assert (row["id"], row["status"], row["bundle"]) == (box.id, "created", str(box.bundle))


def test_run_does_it_all(box: Any) -> None:
    box.process["args"] = ["sh", "-c", "echo here; exit 3"]
    box.write()
    done = box.call("run", "--bundle", str(box.bundle), box.id, status=3)
    assert done.stdout == "here\n" and not list(box.root.glob("[!.]*"))


# --- failures ---


def test_a_command_that_is_not_there_is_known_at_create(box: Any) -> None:
    box.process["args"] = ["nosuch"]
    box.create(status=1)
    assert box.last_error() == 'exec: "nosuch": executable file not found in $PATH'
    assert not list(box.root.glob("[!.]*"))


def test_a_command_that_cannot_run(box: Any) -> None:
    box.process["args"] = ["/bin/data"]
    box.create(status=1)
    assert "permission denied" in box.last_error()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda spec: spec.pop("process"), "process"),
        (lambda spec: spec.update(ociVersion="9.0"), "ociVersion"),
        (lambda spec: spec["root"].update(path="nowhere"), "nowhere"),
        (lambda spec: spec["process"].update(scheduler={"policy": "SCHED_FIFO"}), "scheduler"),
        (lambda spec: spec["linux"].update(intelRdt={"closID": "x"}), "intelRdt"),
        (lambda spec: spec["linux"].update(resources={"rdma": {"x": {}}}), "rdma"),
        (lambda spec: spec["linux"].update(cgroupsPath="/../up"), "cgroupsPath"),
        (lambda spec: spec["linux"].update(rootfsPropagation="odd"), "rootfsPropagation"),
        (lambda spec: spec["linux"].update(sysctl={"kernel.panic": "1"}), "kernel.panic"),
        (lambda spec: spec["linux"]["namespaces"].append({"type": "user"}), "uidMappings"),
        (lambda spec: spec["linux"]["namespaces"].append({"type": "pid"}), "twice"),
        (lambda spec: spec["linux"].update(namespaces=[]), "mount namespace"),
        (lambda spec: spec.update(hooks={"prestart": [{"path": "relative"}]}), "relative"),
        (lambda spec: spec["linux"].update(namespaces="many"), "malformed"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    box: Any, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    change(box.spec)
    box.create(status=1)
    assert told in box.last_error() and "Traceback" not in box.said
    assert not list(box.root.glob("[!.]*"))


def test_a_profile_is_refused_where_there_is_no_apparmor(box: Any) -> None:
    if os.path.exists("/sys/kernel/security/apparmor"):
        pytest.skip("this host has AppArmor")
    box.process["apparmorProfile"] = "docker-default"
    box.create(status=1)
    assert "no AppArmor" in box.last_error()


def test_a_systemd_cgroup_is_refused_with_the_way_out(box: Any) -> None:
    box.write()
    done = box.call("--systemd-cgroup", "create", "--bundle", str(box.bundle), box.id, status=1)
    assert "cgroupfs" in done.stderr


def test_a_limit_that_this_host_does_not_permit_is_an_error(box: Any) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    status = Path("/proc/self/status").read_text()
    if int(status.split("CapEff:")[1].split()[0], 16) >> 24 & 1:
        pytest.skip("this host has CAP_SYS_RESOURCE")
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]
    box.create(status=1)
    assert "operation not permitted" in box.last_error()


def test_no_bundle_and_unknown_words(box: Any) -> None:
    assert "config.json" in box.call("create", "--bundle", str(box.directory), box.id, status=1).stderr
    assert "create" in box.call("crate", box.id, status=1).stderr
    assert "--bundle" in box.call("create", "--bundel", "x", box.id, status=1).stderr


@pytest.mark.parametrize("kind", ["link", "script", "script of a script"])
def test_the_runtimes_own_program_does_not_become_the_command(box: Any, kind: str) -> None:
    """As CVE-2019-5736 did it: the image's command leads to /proc/self/exe."""
    binaries = box.bundle / "rootfs/bin"
    (binaries / "link").symlink_to("/proc/self/exe")
    for name, interpreter in (("script", "/proc/self/exe"), ("script of a script", "/bin/script -x")):
        (binaries / name).write_text(f"#! {interpreter}\n")
        (binaries / name).chmod(0o755)
    box.process["args"] = [f"/bin/{kind}", "-c", "print('inside')"]
    box.create()
    assert "permission denied" in box.call("start", box.id, status=1).stderr
    box.ended()
    assert box.said == ""


# --- hooks ---


def test_hooks_run_in_the_specs_order_and_hear_the_state(box: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    script = f'printf "%s " "$NAME" >> {journal}; cat | tr -d "\\n" >> {journal}; echo >> {journal}'
    outside = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    box.spec["hooks"] = {kind: [hook(tmp_path, kind, script)] for kind in outside}
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /heard; echo startContainer"]}
    box.spec["hooks"]["startContainer"] = [inside]
    box.process["args"] = ["sh", "-c", "echo command; cat /heard"]
    assert box.run() == 0
    box.call("delete", box.id)
    lines = [line.split(" ", 1) for line in journal.read_text().splitlines()]
    assert [name for name, _ in lines] == list(outside)
    states = {name: json.loads(text) for name, text in lines}
    assert [states[name]["status"] for name in outside[:3]] == ["creating"] * 3
    assert states["poststart"]["status"] == "running" and states["poststop"]["status"] == "stopped"
    assert all(one["id"] == box.id and one["bundle"] == str(box.bundle) for one in states.values())
    assert states["prestart"]["pid"] == int(box.pid_file.read_text())
    assert box.said.splitlines()[0] == "command" and '"status": "created"' in box.said


def test_create_container_hooks_are_in_the_containers_mount_namespace(box: Any, tmp_path: Path) -> None:
    script = "readlink /proc/self/ns/mnt > rootfs/where; mount -t tmpfs tmpfs rootfs/srv; echo there > rootfs/srv/file"
    (box.bundle / "rootfs/srv").mkdir()
    script = f"cd {box.bundle}; {script}"
    box.spec["hooks"] = {"createContainer": [hook(tmp_path, "createContainer", script)]}
    assert box.shell("cat /where; readlink /proc/self/ns/mnt; cat /srv/file")[2] == "there"
    assert box.said.splitlines()[0] == box.said.splitlines()[1]
    assert not list((box.bundle / "rootfs/srv").iterdir())


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_undoes_the_create(box: Any, tmp_path: Path, kind: str) -> None:
    box.spec["hooks"] = {kind: [hook(tmp_path, kind, "echo it hurts >&2; exit 3")]}
    box.create(status=1)
    assert kind in box.last_error() and "it hurts" in box.last_error()
    assert not list(box.root.glob("[!.]*"))


def test_a_hook_that_takes_too_long_is_ended(box: Any, tmp_path: Path) -> None:
    box.spec["hooks"] = {"prestart": [hook(tmp_path, "prestart", "exec sleep 100", timeout=1)]}
    started = time.monotonic()
    box.create(status=1)
    assert "timeout" in box.last_error() and time.monotonic() - started < 60


def test_a_failing_start_container_hook_ends_the_start(box: Any) -> None:
    box.spec["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 4"]}]}
    box.process["args"] = ["sh", "-c", "echo ran"]
    box.create()
    assert "startContainer" in box.call("start", box.id, status=1).stderr
    box.ended()
    assert box.said == "" and box.state()["status"] == "stopped"


def test_a_failing_poststop_hook_is_warned_of_only(box: Any, tmp_path: Path) -> None:
    box.spec["hooks"] = {"poststop": [hook(tmp_path, "poststop", "exit 1")]}
    assert box.run() == 0
    assert "poststop" in box.call("delete", box.id).stderr


# --- what is inside ---


def test_namespaces_by_path_are_joined(box: Any, tmp_path: Path) -> None:
    holder = subprocess.Popen(["unshare", "--net", "--uts", "--ipc", "sleep", "100"])
    try:
        eventually(
            lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"),
            "it is there",
        )
        for entry in box.spec["linux"]["namespaces"]:
            if entry["type"] in ("network", "ipc"):
                name = {"network": "net"}.get(entry["type"], entry["type"])
                entry["path"] = f"/proc/{holder.pid}/ns/{name}"
        lines = box.shell(
            "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts"
        )
        assert lines[:2] == [os.readlink(f"/proc/{holder.pid}/ns/{name}") for name in ("net", "ipc")]
        assert lines[2] != os.readlink(f"/proc/{holder.pid}/ns/uts")
    finally:
        holder.kill()
        holder.wait()


def test_a_pid_namespace_of_another_container_is_shared(box: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = oci_box.RuntimeBox(tmp_path / "other")
    try:
        other.process["args"] = ["sleep", "100"]
        other.create()
        for entry in box.spec["linux"]["namespaces"]:
            if entry["type"] == "pid":
                entry["path"] = f"/proc/{other.state()['pid']}/ns/pid"
        assert int(box.shell("echo $$")[0]) > 1
    finally:
        other.close()


def test_the_hosts_namespaces_when_none_are_asked_for(box: Any) -> None:
    kept = ("mount", "uts")
    box.spec["linux"]["namespaces"] = [{"type": kind} for kind in kept]
    lines = box.shell("for name in pid net ipc cgroup; do readlink /proc/self/ns/$name; done")
    assert lines == [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "ipc", "cgroup")]


def test_a_user_namespace_with_the_specs_map(box: Any) -> None:
    box.spec["linux"]["namespaces"].append({"type": "user"})
    mapping = [
        {"containerID": 0, "hostID": 700_000, "size": 1000},
        {"containerID": 5000, "hostID": 800_000, "size": 9},
    ]
    box.spec["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
    lines = box.shell(
        "cat /proc/self/uid_map; id -u; echo x > /dev/null && echo devices; mkdir /run 2>&1 | grep -c denied"
    )
    assert [line.split() for line in lines[:2]] == [["0", "700000", "1000"], ["5000", "800000", "9"]]
    assert lines[2:] == ["0", "devices", "1"]  # the bundle's files are the host's root's


def test_limits_are_the_groups_and_can_be_updated(box: Any) -> None:
    box.spec["linux"]["resources"] = {
        "pids": {"limit": 33},
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512},
    }
    box.process["args"] = ["sleep", "100"]
    box.create()
    hierarchy = Hierarchy.find(box.cgroup_parent)
    pids = Path(hierarchy.path("pids", box.id)) / "pids.max"
    memory = Path(hierarchy.path("memory", box.id))
    limit = memory / ("memory.limit_in_bytes" if "memory" in hierarchy.v1 else "memory.max")
    assert pids.read_text() == "33\n" and limit.read_text() == f"{64 << 20}\n"
    assert str(box.state()["pid"]) in (pids.parent / "cgroup.procs").read_text().split()
    box.call("update", "--pids-limit", "44", "--memory", str(128 << 20), box.id)
    assert pids.read_text() == "44\n" and limit.read_text() == f"{128 << 20}\n"
    box.call("update", "--resources", "-", box.id, status=1)  # standard input is empty


def test_a_group_with_processes_is_not_taken(box: Any) -> None:
    hierarchy = Hierarchy.find(box.cgroup_parent)
    hierarchy.create(box.id)
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        hierarchy.join(box.id, sleeper.pid)
        box.create(status=1)
        assert "holds processes" in box.last_error()
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
        hierarchy.remove(box.id)


def test_devices_are_those_of_every_container_and_no_others(box: Any) -> None:
    box.process["capabilities"] = {key: ["CAP_MKNOD"] for key in ("bounding", "permitted", "effective")}
    lines = box.shell(
        "echo x > /dev/null && echo null; mknod /mem c 1 1 && cat /mem 2>&1 | grep -c 'not permitted'"
    )
    assert lines == ["null", "1"]


def test_the_hosts_dev_is_left_alone_where_it_is_mounted(box: Any) -> None:
    before = os.stat("/dev/null")
    box.spec["mounts"] = [
        mount for mount in box.spec["mounts"] if not mount["destination"].startswith("/dev")
    ]
    box.spec["mounts"].append(
        {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate"]}
    )
    box.shell("echo x > /dev/null")
    after = os.stat("/dev/null")
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode) and stat.S_ISCHR(after.st_mode)


def test_binds_relative_to_the_bundle_and_copied_up_tmpfs(box: Any) -> None:
    (box.bundle / "data").mkdir()
    (box.bundle / "data/file").write_text("bound\n")
    box.spec["mounts"] += [
        {"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "ro", "rprivate"]},
        {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64k"]},
    ]
    lines = box.shell(
        "cat /data/file; touch /data/x 2>&1 | grep -c Read-only; cat /etc/greeting; touch /etc/new && echo ok"
    )
    assert lines == ["bound", "1", "hello", "ok"]
    assert not (box.bundle / "rootfs/etc/new").exists()


def test_a_seccomp_filter_holds_and_is_compiled_once(box: Any) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    box.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert "denied" in "".join(box.shell("mkdir /new 2>&1 | cat"))
    assert len(list((box.root / ".seccomp").glob("*.bpf"))) == 1


def test_home_is_set_and_descriptors_do_not_leak(box: Any) -> None:
    box.process["env"] = ["PATH=/bin"]
    (box.bundle / "rootfs/etc/passwd").write_text("root:x:0:0::/the/home:/bin/sh\n")
    lines = box.shell("echo $HOME; echo /proc/self/fd/*")
    assert lines[0] == "/the/home" and "/proc/self/fd/4" not in lines[1]


def test_preserved_descriptors_are_there(box: Any) -> None:
    box.process["args"] = ["sh", "-c", "cat <&3"]
    box.write()
    reader, writer = os.pipe()
    os.write(writer, b"through\n")
    os.close(writer)
    words = [
        "bash",  # dash knows descriptors up to 9 only
        "-c",
        f'exec "$@" 3<&{reader}',
        "sh",
        *box.words("run", "--preserve-fds", "1", "--bundle", str(box.bundle), box.id),
    ]
    done = subprocess.run(words, pass_fds=[reader], capture_output=True, text=True)
    os.close(reader)
    assert done.stdout == "through\n", done.stderr


# --- terminals and exec ---


def test_a_terminal_comes_by_the_console_socket(box: Any, tmp_path: Path) -> None:
    catcher = oci_box.ConsoleCatcher(tmp_path / "c")
    box.process.update(terminal=True, args=["sh", "-c", "tty; test -t 0 && echo terminal; read line"])
    box.create("--console-socket", str(catcher.path))
    master = catcher.master()
    assert os.get_blocking(master)
    box.call("start", box.id)
    text = b""
    while b"terminal" not in text:
        text += os.read(master, 4096)
    os.write(master, b"\n")
    assert box.ended() == 0
    assert b"/dev/pts/0" in text
    os.close(master)


def test_a_terminal_and_its_socket_come_together(box: Any) -> None:
    box.process["terminal"] = True
    box.create(status=1)
    assert "--console-socket" in box.last_error()


@pytest.fixture
def running(box: Any) -> Any:
    box.process["args"] = ["sleep", "100"]
    box.create()
    box.call("start", box.id)
    return box


def test_exec_runs_in_the_containers_namespaces_and_group(running: Any) -> None:
    script = "hostname; for n in pid net mnt ipc uts cgroup; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done"
    lines = running.call("exec", running.id, "sh", "-c", script).stdout.splitlines()
    assert lines[0] == "conformance" and lines[1::2] == lines[2::2]


def test_execs_exit_status_and_options(running: Any) -> None:
    assert running.call("exec", running.id, "sh", "-c", "exit 9", status=9)
    done = running.call(
        "exec",
        "--user",
        "7:8",
        "--cwd",
        "/etc",
        "-e",
        "A=b",
        running.id,
        "sh",
        "-c",
        "id -u; id -g; pwd; echo $A",
    )
    assert done.stdout.split() == ["7", "8", "/etc", "b"]


def test_exec_of_a_command_that_is_not_there(running: Any) -> None:
    running.call("exec", running.id, "nosuch", status=255)
    assert "executable file not found" in running.last_error()


def test_a_detached_exec_of_a_process_file_leaves_its_pid(running: Any, tmp_path: Path) -> None:
    section = {**running.process, "args": ["sleep", "50"]}
    (tmp_path / "process.json").write_text(json.dumps(section))
    words = (
        "--detach",
        "--process",
        str(tmp_path / "process.json"),
        "--pid-file",
        str(tmp_path / "exec.pid"),
    )
    with open(os.devnull, "r+b") as null:
        done = subprocess.run(running.words("exec", *words, running.id), stdin=null, stdout=null, stderr=null)
    assert done.returncode == 0
    pid = int((tmp_path / "exec.pid").read_text())
    assert "sleep\0" in Path(f"/proc/{pid}/cmdline").read_text()
    assert pid in json.loads(running.call("ps", "--format", "json", running.id).stdout)


def test_exec_with_a_terminal(running: Any, tmp_path: Path) -> None:
    catcher = oci_box.ConsoleCatcher(tmp_path / "c")
    words = running.words("exec", "--tty", "--console-socket", str(catcher.path), running.id, "tty")
    called = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    master = catcher.master()
    assert called.wait(60) == 0
    assert b"/dev/pts/" in os.read(master, 4096)
    os.close(master)


def test_exec_in_what_does_not_run_is_refused(box: Any) -> None:
    assert box.run() == 0
    assert "stopped" in box.call("exec", box.id, "true", status=255).stderr


def test_version_and_features(box: Any) -> None:
    assert "spec: 1." in box.call("--version").stdout
    features = json.loads(box.call("features").stdout)
    assert set(features["hooks"]) >= {"prestart", "createContainer", "poststop"}
    assert (
        "user" in features["linux"]["namespaces"]
        and "SCMP_ACT_ERRNO" in features["linux"]["seccomp"]["actions"]
    )
