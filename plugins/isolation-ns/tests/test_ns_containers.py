"""What the driver ``ns`` does beyond the contract's suite."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from multios.errors import InvalidInput, MultiosError, Refused, StepFailed, Unsupported
from multios.model.container import Resources
from multios.supervisor import mounts
from multios.supervisor.client import Supervisor
from multios.testing.isolation_box import Box, IsolationFixtures, eventually
from multios_isolation_ns import device_nodes
from multios_isolation_ns.driver import NamespaceIsolation


def without_user_namespace(box: Box) -> Box:
    names = box.spec["linux"]["namespaces"]
    box.spec["linux"]["namespaces"] = [one for one in names if one["type"] != "user"]
    box.id_map = None
    return box


@pytest.mark.needs_root
class TestContainers(IsolationFixtures):
    driver_type = NamespaceIsolation

    # --- init ---

    def test_init_reaps_orphans_and_passes_the_exit_status_on(self, box: Box) -> None:
        box.spec["annotations"]["org.multios.init"] = "true"
        script = (
            "echo $$; (sleep 0.05 & echo left) ; sleep 0.2; cat /proc/*/stat | busybox grep -c ' Z '; exit 7"
        )
        result = box.shell(script)
        assert (result.lines[0], result.lines[-1], result.exit_code) == ("2", "0", 7)

    def test_init_forwards_signals(self, box: Box) -> None:
        box.spec["annotations"]["org.multios.init"] = "true"
        box.process["args"] = ["sh", "-c", "trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done"]
        box.create()
        box.start()
        eventually(lambda: "ready" in box.output, "the command is ready")
        box.driver.kill(box.id, signal.SIGUSR1)
        assert box.wait().exit_code == 3

    def test_init_tells_of_a_command_killed_by_a_signal(self, box: Box) -> None:
        box.spec["annotations"]["org.multios.init"] = "true"
        assert box.shell("kill -9 $$").exit_code == 137

    def test_init_keeps_nothing_open_and_shows_nothing(self, box: Box) -> None:
        box.spec["annotations"]["org.multios.init"] = "true"
        result = box.shell(
            "ls /proc/1/fd 2>&1; cat /proc/1/environ 2>&1; readlink /proc/1/exe || echo hidden"
        )
        assert "hidden" in result.output and "python" not in result.output

    def test_without_init_the_command_is_the_first_process(self, box: Box) -> None:
        assert box.shell("echo $$").output == "1\n"

    # --- devices ---

    def test_nodes_cannot_be_made_in_a_user_namespace(self, box: Box) -> None:
        sets = box.process["capabilities"]
        for name in sets:
            sets[name].append("CAP_MKNOD")
        assert "not permitted" in box.shell("mknod /tmp/disk b 254 0; cat /tmp/disk").output

    def test_the_cgroup_refuses_devices_that_are_not_allowed(self, box: Box) -> None:
        without_user_namespace(box)
        for name in box.process["capabilities"]:
            box.process["capabilities"][name].append("CAP_MKNOD")
        rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
        rules.append({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"})
        box.spec["linux"]["resources"] = {"devices": rules}
        box.spec["linux"]["devices"] = []
        # The nodes are made by the launcher, inside the cgroup: what may not even be made fails the create.
        with pytest.raises(StepFailed, match="make devices"):
            box.create()

    def test_a_device_of_the_spec_is_there(self, box: Box) -> None:
        entry = {"path": "/dev/kmsg-again", "type": "c", "major": 1, "minor": 3}
        box.spec["linux"]["devices"] = [entry]
        without_user_namespace(box)
        assert box.shell("echo x > /dev/kmsg-again && stat -c %t,%T /dev/kmsg-again").output == "1,3\n"

    # --- without a user namespace ---

    def test_without_a_user_namespace_root_is_the_hosts(self, box: Box) -> None:
        without_user_namespace(box).process["args"] = ["sleep", "100"]
        pid = box.create().pid
        box.start()
        assert os.stat(f"/proc/{pid}").st_uid == 0
        assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")

    def test_devices_work_without_a_user_namespace(self, box: Box) -> None:
        assert without_user_namespace(box).shell("echo x > /dev/null && echo fine").output == "fine\n"

    def test_capabilities_that_the_host_lacks_are_left_out(self, box: Box) -> None:
        without_user_namespace(box)
        for name in ("bounding", "permitted", "effective"):
            box.process["capabilities"][name].append("CAP_SYS_RESOURCE")
        assert box.run().exit_code == 0

    # --- limits ---

    def test_a_limit_above_the_hosts_is_brought_down_and_logged(
        self, box: Box, caplog: pytest.LogCaptureFixture
    ) -> None:
        box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
        assert int(box.shell("ulimit -Hn").output) > 0
        if box.output != f"{1 << 30}\n":
            assert "this host permits" in caplog.text

    def test_the_process_may_be_made_likelier_to_be_killed(self, box: Box) -> None:
        box.process["oomScoreAdj"] = 500
        assert box.shell("cat /proc/self/oom_score_adj").output == "500\n"

    def test_memory_limits_kill(self, box: Box) -> None:
        box.resources = Resources(memory_limit=8 << 20, memory_swap=8 << 20)
        assert box.shell("x=x; while :; do x=$x$x; done").exit_code == 137

    def test_limits_of_the_spec_count_where_the_bundle_has_none(self, box: Box) -> None:
        box.spec["linux"]["resources"] = {"pids": {"limit": 7}}
        box.process["args"] = ["sleep", "100"]
        box.create()
        assert box.driver.stats(box.id).pids_limit == 7

    def test_a_device_has_a_node_of_the_containers_own(self, box: Box) -> None:
        device = {
            "path": "/dev/mine",
            "type": "c",
            "major": 1,
            "minor": 5,
            "fileMode": 0o600,
            "uid": 0,
            "gid": 7,
        }
        box.spec["linux"]["devices"] = [device]
        box.spec["linux"]["resources"] = {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"},
            ]
        }
        shown = box.shell(
            "stat -c '%a %u %g %t %T' /dev/mine; cat </dev/mine | true && echo read; (: >/dev/mine)"
        )
        assert shown.lines[:2] == ["600 0 7 1 5", "read"]
        assert "Operation not permitted" in shown.output

    @pytest.mark.parametrize(("path", "is_the_hosts"), [("/dev/zero", True), ("/dev/mine", False)])
    def test_where_no_node_can_be_made_the_hosts_own_is_taken_or_none(
        self, box: Box, monkeypatch: pytest.MonkeyPatch, path: str, is_the_hosts: bool
    ) -> None:
        def refuse(*what: int) -> int:
            raise PermissionError("mknod")

        monkeypatch.setattr(device_nodes.mounts, "make_device", refuse)
        box.spec["linux"]["devices"] = [{"path": path, "type": "c", "major": 1, "minor": 5}]
        if is_the_hosts:
            assert box.shell(f"test -c {path} && echo there").output == "there\n"
        else:
            with pytest.raises(Unsupported, match=path):
                box.create()

    # --- names and parameters ---

    def test_parameters_of_the_containers_own_namespaces(self, box: Box) -> None:
        box.spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
        assert box.shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").output == "0\n"

    def test_the_domain_name(self, box: Box) -> None:
        box.spec["domainname"] = "example.org"
        assert box.shell("cat /proc/sys/kernel/domainname").output == "example.org\n"

    # --- what is refused ---

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            (lambda spec: spec["linux"].update(sysctl={"kernel.panic": "1"}), "kernel.panic"),
            (lambda spec: spec["linux"].update(sysctl={"net/../kernel.panic": "1"}), "sysctl"),
            (lambda spec: spec["linux"].update(intelRdt={"closID": "x"}), "linux.intelRdt"),
            (lambda spec: spec.update(hooks={"prestart": [{"path": "/x"}]}), "hooks"),
            (lambda spec: spec["process"].update(selinuxLabel="x"), "process.selinuxLabel"),
            (lambda spec: spec["linux"].update(rootfsPropagation="shared"), "rootfsPropagation"),
            (lambda spec: spec["linux"]["namespaces"].append({"type": "moon"}), "moon"),
            (lambda spec: spec["linux"]["namespaces"][1].update(path="/proc/1/ns/net"), "join"),
            (lambda spec: spec["mounts"].append({"destination": "/x", "type": "nfs"}), "nfs"),
            (lambda spec: spec["mounts"].append({"destination": "/proc/x", "type": "tmpfs"}), "/proc/x"),
            (lambda spec: spec["mounts"].append({"destination": "x", "type": "tmpfs"}), "absolute"),
            (lambda spec: spec["mounts"].append({"destination": "/x", "type": "bind"}), "descriptor"),
            (lambda spec: spec["process"].update(args=[]), "no command"),
            (lambda spec: spec["process"].update(env=["NOVALUE"]), "NAME=value"),
            (lambda spec: spec["process"]["user"].update(uid=-1), "user.uid"),
            (lambda spec: spec["process"].update(rlimits=[{"type": "X", "soft": 1, "hard": 1}]), "limit"),
            (lambda spec: spec["process"]["capabilities"]["bounding"].append("CAP_CHWON"), "CHOWN"),
            (lambda spec: spec["linux"].update(resources={"network": {"classID": 1}}), "network"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_anything_is_made(
        self, box: Box, change: Any, cause: str
    ) -> None:
        change(box.spec)
        with pytest.raises((Unsupported, Refused, InvalidInput)) as caught:
            box.create()
        assert cause in f"{caught.value.cause} {caught.value.remedy}"

    def test_an_id_map_without_a_user_namespace_is_refused(self, box: Box) -> None:
        box.id_map = None
        with pytest.raises(InvalidInput, match="id map"):
            box.create()

    # --- mounts ---

    def test_files_of_a_volume_belong_to_root_inside_and_outside(self, box: Box, tmp_path: Path) -> None:
        (tmp_path / "volume").mkdir()
        box.bind(tmp_path / "volume", "/data", "rw")
        assert box.shell("stat -c %u /data; touch /data/file").output == "0\n"
        assert (tmp_path / "volume/file").stat().st_uid == 0

    def test_a_volume_may_be_one_that_forbids_set_user_id_programs(self, box: Box, tmp_path: Path) -> None:
        box.bind(tmp_path, "/data", "rw", "nosuid", "nodev")
        assert "nosuid,nodev" in box.shell("busybox grep ' /data ' /proc/self/mountinfo").output

    def test_a_source_that_cannot_be_mapped_is_named(self, box: Box) -> None:
        box.bind(Path("/proc"), "/data", "ro")
        with pytest.raises(Unsupported, match="cannot show other ids"):
            box.create()

    def test_a_container_on_a_kernel_without_detached_layers(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mounts._Roads, "detached_layers", False)
        assert box.shell("cat /etc/greeting; echo x > /new; stat -c %u /new").lines == ["hello", "0"]
        assert (box.upper / "new").stat().st_uid == 0

    def test_nothing_of_a_container_is_seen_in_the_hosts_mount_table(self, box: Box) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        assert Path("/proc/self/mountinfo").read_text() == before

    def test_a_container_sees_its_own_cgroup(self, box: Box) -> None:
        entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        box.spec["mounts"].append(entry)
        box.resources = Resources(memory_limit=64 << 20)
        script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
        assert box.shell(script).output == f"{64 << 20}\n"

    # --- exec ---

    def test_exec_is_confined_as_the_container_is(self, box: Box, supervisor: Supervisor) -> None:
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
        box.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        assert "not supported" in box.exec(supervisor, "mkdir", "/tmp/new").output

    def test_exec_into_a_paused_container_is_refused(self, box: Box, supervisor: Supervisor) -> None:
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        box.driver.pause(box.id)
        with pytest.raises(MultiosError, match="paused"):
            box.exec(supervisor, "true")
