"""The conformance suite of isolation drivers.

A driver's tests subclass :class:`IsolationDriverSuite` and name the driver class::

    class TestNamespaces(IsolationDriverSuite):
        driver_type = NamespaceIsolation

Every test makes real containers, through a supervisor of its own, on a small root file system of busybox. What a
driver does not declare as a capability is skipped. A driver that takes its root by another road overrides the fixture
``rootfs``; one with settings of its own overrides ``driver``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from multios.drivers.base import Capability
from multios.drivers.isolation import IsolationDriver, Stdio
from multios.errors import CommandNotExecutable, CommandNotFound, MultiosError, NotFound
from multios.model.container import Resources
from multios.model.mount import Mount
from multios.supervisor.client import Supervisor
from multios.supervisor.syscalls import kernel
from multios.testing.base import DriverSuite
from multios.testing.isolation_box import (
    Box,
    Died,
    DyingDaemon,
    IsolationFixtures,
    eventually,
    stands_still,
    traces,
)

METHODS = {
    Capability.EXEC: ("exec",),
    Capability.PAUSE: ("pause", "resume"),
    Capability.UPDATE: ("update",),
    Capability.STATS: ("stats",),
}


@pytest.mark.needs_root
class IsolationDriverSuite(IsolationFixtures, DriverSuite):
    """What every isolation driver must do."""

    def require(self, capability: Capability) -> None:
        """Skip unless the driver declares ``capability``."""
        if capability not in self.driver_type.capabilities:
            pytest.skip(f"this driver does not declare {capability}")

    # --- the declaration ---

    @pytest.mark.parametrize("capability", METHODS)
    def test_declares_exactly_what_it_implements(self, capability: Capability) -> None:
        for name in METHODS[capability]:
            implemented = getattr(self.driver_type, name) is not getattr(IsolationDriver, name)
            assert implemented == (capability in self.driver_type.capabilities)

    # --- life ---

    def test_create_stops_before_the_command_runs(self, box: Box) -> None:
        box.process["args"] = ["echo", "ran"]
        assert box.create().pid > 0
        assert box.driver.state(box.id).status == "created"
        assert box.output == ""
        box.start()
        assert box.wait().output == "ran\n"

    @pytest.mark.parametrize("code", [0, 1, 42, 255])
    def test_the_exit_code_is_the_commands(self, box: Box, code: int) -> None:
        assert box.shell(f"exit {code}").exit_code == code

    def test_the_command_that_is_not_there(self, box: Box) -> None:
        box.process["args"] = ["no-such-command"]
        with pytest.raises(CommandNotFound):
            box.create()
            box.start()

    @pytest.mark.parametrize("path", ["/bin/data", "/etc"])
    def test_the_command_that_cannot_run(self, box: Box, path: str) -> None:
        box.process["args"] = [path]
        with pytest.raises(CommandNotExecutable):
            box.create()
            box.start()

    def test_a_signal_reaches_the_first_process(self, box: Box) -> None:
        box.process["args"] = ["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"]
        box.create()
        box.start()
        eventually(lambda: "ready" in box.output, "the container is ready")
        box.driver.kill(box.id, signal.SIGTERM)
        assert box.wait().exit_code == 9

    def test_killing_everything_ends_all_processes(self, box: Box) -> None:
        box.process["args"] = ["sh", "-c", "sleep 100 & echo ready; wait"]
        box.create()
        box.start()
        eventually(lambda: len(box.driver.processes(box.id)) == 2, "both processes run")
        box.driver.kill(box.id, signal.SIGKILL, everything=True)
        box.wait()
        eventually(lambda: not box.driver.processes(box.id), "all processes are gone")

    def test_killing_the_dead_is_no_error(self, box: Box) -> None:
        box.run()
        box.driver.kill(box.id, signal.SIGTERM)

    def test_deleting_a_running_container_kills_it(self, box: Box) -> None:
        box.process["args"] = ["sleep", "100"]
        pid = box.create().pid
        box.start()
        box.driver.delete(box.id)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the process is gone")

    def test_deleting_twice_is_no_error(self, box: Box) -> None:
        box.run()
        box.driver.delete(box.id)
        box.driver.delete(box.id)

    def test_deleting_a_created_container_leaves_nothing(self, box: Box) -> None:
        box.create()
        box.driver.delete(box.id)
        with pytest.raises(NotFound):
            box.driver.state(box.id)

    def test_deleting_what_a_dead_daemon_had_only_reserved_frees_the_name(
        self, box: Box, supervisor: Supervisor
    ) -> None:
        if not self.driver_type.launcher:
            pytest.skip("this driver has no launcher")
        os.close(supervisor.reserve(box.id, self.driver_type.launcher, (), None).pidfd)
        box.driver.delete(box.id)
        assert box.run().exit_code == 0

    @pytest.mark.parametrize("verb", ["launch", "start"])
    def test_what_a_dead_daemon_had_begun_to_make_is_deleted_whole(
        self, box: Box, supervisor: Supervisor, tmp_path: Path, verb: str
    ) -> None:
        if not self.driver_type.launcher:
            pytest.skip("this driver has no launcher")
        driver, kept = box.driver, tmp_path / "kept"
        dying = DyingDaemon(supervisor, verb, driver.context.runtime, kept)
        box.driver = type(driver)(driver.settings, replace(driver.context, supervisor=dying))
        with pytest.raises(Died):
            box.create()
            box.start()
        shutil.rmtree(driver.context.runtime)
        kept.rename(driver.context.runtime)
        box.driver = driver
        driver.delete(box.id)
        assert box.run().exit_code == 0

    def test_an_unknown_container_is_not_found(self, driver: IsolationDriver) -> None:
        with pytest.raises(NotFound):
            driver.state("nobody")
        with pytest.raises(NotFound):
            driver.kill("nobody", signal.SIGTERM)

    def test_a_failed_create_leaves_nothing(self, box: Box, cgroup_parent: str) -> None:
        before = traces(cgroup_parent)
        box.rootfs = (Mount("bind", "/no/such/directory"),)
        with pytest.raises(MultiosError):
            box.create()
        eventually(lambda: traces(cgroup_parent) == before, "mounts and cgroups are gone")
        with pytest.raises(NotFound):
            box.driver.state(box.id)

    def test_what_the_spec_asks_in_vain_is_refused(self, box: Box) -> None:
        box.process["scheduler"] = {"policy": "SCHED_OTHER"}
        with pytest.raises(MultiosError, match="scheduler"):
            box.create()

    # --- the process ---

    def test_arguments_environment_and_directory(self, box: Box) -> None:
        box.process["env"] += ["A=1", "B=two words"]
        box.process["cwd"] = "/tmp"
        box.process["args"] = ["sh", "-c", 'echo "$A|$B|$1"; pwd', "sh", "three"]
        assert box.run().lines == ["1|two words|three", "/tmp"]

    def test_a_missing_working_directory_is_made(self, box: Box) -> None:
        box.process["cwd"] = "/srv/new"
        assert box.shell("pwd").output == "/srv/new\n"

    def test_user_group_further_groups_and_umask(self, box: Box) -> None:
        box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 50], "umask": 0o027}
        assert box.shell("id -u; id -g; id -G; umask").lines == ["1000", "1001", "1001 5 50", "0027"]

    def test_capabilities_are_as_asked(self, box: Box) -> None:
        sets = box.process["capabilities"]
        sets["bounding"] = ["CAP_CHOWN", "CAP_KILL"]
        sets["permitted"] = sets["effective"] = ["CAP_KILL"]
        found = status_of(box.shell("cat /proc/self/status").lines)
        assert (found["CapBnd"], found["CapPrm"], found["CapEff"]) == ("21", "20", "20")

    def test_an_ordinary_user_gets_ambient_capabilities(self, box: Box) -> None:
        box.process["user"] = {"uid": 1000, "gid": 1000}
        sets = ("bounding", "permitted", "effective", "inheritable", "ambient")
        box.process["capabilities"] = {name: ["CAP_KILL"] for name in sets}
        found = status_of(box.shell("cat /proc/self/status").lines)
        assert {found[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"20"}

    @pytest.mark.parametrize("wanted", [True, False])
    def test_no_new_privileges(self, box: Box, wanted: bool) -> None:
        box.process["noNewPrivileges"] = wanted
        assert status_of(box.shell("cat /proc/self/status").lines)["NoNewPrivs"] == str(int(wanted))

    def test_resource_limits(self, box: Box) -> None:
        box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]
        assert box.shell("ulimit -Sn; ulimit -Hn").lines == ["64", "128"]

    def test_no_descriptor_leaks_into_the_container(self, box: Box) -> None:
        assert box.shell("echo /proc/self/fd/*").output.split()[:3] == [
            f"/proc/self/fd/{n}" for n in range(3)
        ]
        assert "/proc/self/fd/4" not in box.output  # 3 is the shell's own, for the listing

    # --- namespaces and the file system ---

    @pytest.mark.parametrize("name", ["pid", "net", "mnt", "ipc", "uts", "cgroup"])
    def test_each_namespace_is_its_own(self, box: Box, name: str) -> None:
        assert box.shell(f"readlink /proc/self/ns/{name}").output.strip() != os.readlink(
            f"/proc/self/ns/{name}"
        )

    def test_the_first_process_is_number_one(self, box: Box) -> None:
        assert box.shell("echo $$").output == "1\n"

    def test_the_hostname(self, box: Box) -> None:
        assert box.shell("hostname").output == "conformance\n"

    def test_loopback_is_up(self, box: Box) -> None:
        assert box.shell("cat /sys/class/net/lo/flags").output == "0x9\n"

    def test_the_root_is_the_layers(self, box: Box) -> None:
        assert box.shell("cat /etc/greeting; ls -d /usr /home").lines[0] == "hello"
        assert "No such file" in box.output

    def test_a_read_only_root(self, box: Box) -> None:
        box.spec["root"]["readonly"] = True
        assert box.shell("touch /file; touch /dev/shm/file && echo shm").lines[-1] == "shm"
        assert "Read-only" in box.output

    def test_masked_paths_show_nothing(self, box: Box) -> None:
        assert box.shell("cat /proc/timer_list; ls /sys/firmware").output == ""

    def test_read_only_paths_refuse_writing(self, box: Box) -> None:
        assert "Read-only" in box.shell("echo 1 > /proc/sys/net/ipv4/ip_forward").output

    def test_the_usual_devices_work(self, box: Box) -> None:
        script = "echo x > /dev/null && cat /dev/null && head -c 2 /dev/zero /dev/urandom | wc -c"
        script = script.replace("head", "busybox head").replace("wc", "busybox wc")
        assert int(box.shell(script).output) >= 4

    def test_binds_are_writable_or_not_as_asked(self, box: Box, tmp_path: Path) -> None:
        for name in ("open", "closed"):
            (tmp_path / name).mkdir()
        (tmp_path / "single").write_text("one file\n")
        box.bind(tmp_path / "open", "/data/open", "rw")
        box.bind(tmp_path / "closed", "/data/closed", "ro")
        box.bind(tmp_path / "single", "/etc/single", "ro")
        result = box.shell("echo in > /data/open/file; cat /etc/single; touch /data/closed/file")
        assert result.lines[0] == "one file" and "Read-only" in result.output
        assert (tmp_path / "open/file").read_text() == "in\n"
        assert not list((tmp_path / "closed").iterdir())

    def test_a_tmpfs_has_its_size(self, box: Box) -> None:
        entry = {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=65536"]}
        box.spec["mounts"].append(entry)
        assert "No space" in box.shell("busybox dd if=/dev/zero of=/scratch/file bs=1k count=100").output

    @pytest.mark.parametrize("link", ["/", "/../../../../..", "//proc/self/root"])
    def test_a_symlink_at_a_mount_point_does_not_lead_out(
        self, box: Box, tmp_path: Path, upper: Path, link: str
    ) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source/inside").touch()
        (upper / "way").symlink_to(link + str(tmp_path))
        box.bind(tmp_path / "source", "/way/out", "rw")
        assert box.run().exit_code == 0
        assert not (tmp_path / "out").exists()

    # --- what some can ---

    def test_root_inside_is_nobody_outside(self, box: Box) -> None:
        self.require(Capability.USER_NAMESPACE)
        box.process["args"] = ["sh", "-c", "id -u; touch /made; sleep 100"]
        pid = box.create().pid
        box.start()
        eventually(lambda: (box.upper / "made").exists(), "the file is made")
        assert os.stat(f"/proc/{pid}").st_uid == 500_000
        assert box.output == "0\n"
        assert ((box.upper / "made").stat().st_uid, (box.upper / "made").stat().st_gid) == (0, 0)

    def test_a_container_is_made_in_the_network_namespace_of_another(
        self, make_box: Callable[..., Box], supervisor: Supervisor, tmp_path: Path, layer: Path
    ) -> None:
        self.require(Capability.SHARED_NETWORK)
        first, second = make_box("sleep", "100"), make_box("sleep", "100")
        for name in ("upper", "work"):
            (tmp_path / "second" / name).mkdir(parents=True)
        paths = (f"{name}dir={tmp_path}/second/{name}" for name in ("upper", "work"))
        second.rootfs = (Mount("overlay", "overlay", (f"lowerdir={layer}", *paths)),)
        first.create()
        second.join_network(first)
        assert second.create().netns == -1, "it has none of its own"
        for box in (first, second):
            box.start()
        numbers = [
            {
                kind: os.stat(f"/proc/{box.launched.pid}/ns/{kind}").st_ino
                for kind in ("net", "user", "pid", "mnt")
            }
            for box in (first, second)
            if box.launched
        ]
        assert {kind for kind in numbers[0] if numbers[0][kind] == numbers[1][kind]} == {"net", "user"}
        if Capability.EXEC in self.driver_type.capabilities:
            shown = second.exec(
                supervisor, "sh", "-c", "readlink /proc/self/ns/net; id -u; ls /sys/class/net"
            )
            assert shown.lines == [f"net:[{numbers[0]['net']}]", "0", "lo"]
        first.driver.delete(first.id)
        assert second.driver.state(second.id).status == "running", "whoever shares ends when he is told to"

    def test_exec_enters_the_container(self, box: Box, supervisor: Supervisor) -> None:
        self.require(Capability.EXEC)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        shown = "hostname; readlink /proc/self/ns/pid; readlink /proc/1/ns/pid; cat /proc/self/cgroup /proc/1/cgroup; exit 5"
        result = box.exec(supervisor, "sh", "-c", shown)
        groups = [line for line in result.lines if line.count(":") >= 2 and not line.startswith("pid:")]
        half = len(groups) // 2
        assert result.exit_code == 5
        assert result.lines[0] == "conformance" and result.lines[1] == result.lines[2]
        assert groups[:half] == groups[half:]

    def test_exec_takes_its_own_user_and_directory(self, box: Box, supervisor: Supervisor) -> None:
        self.require(Capability.EXEC)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        user = {"uid": 7, "gid": 8}
        assert box.exec(supervisor, "sh", "-c", "id -u; id -g; pwd", user=user, cwd="/etc").lines == [
            *("7", "8", "/etc")
        ]

    def test_exec_of_a_command_that_is_not_there(self, box: Box, supervisor: Supervisor) -> None:
        self.require(Capability.EXEC)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        with pytest.raises(CommandNotFound):
            box.exec(supervisor, "no-such-command")

    def test_a_landlock_ruleset_holds_for_the_first_process_and_for_exec(
        self, box: Box, supervisor: Supervisor
    ) -> None:
        self.require(Capability.LANDLOCK)
        if kernel.landlock_version() < 3:
            pytest.skip("this kernel lacks Landlock ABI 3")
        reading, everything = 0b1101, (1 << 15) - 1
        rules = {"fs": everything, "paths": [["/bin", reading], ["/dev", everything], ["/proc", everything]]}
        box.spec["annotations"] = {"org.multios.landlock": json.dumps(rules)}
        box.process["args"] = ["sh", "-c", "ls /root; ls -d /bin; sleep 1000"]
        box.create()
        box.start()
        eventually(lambda: "/bin\n" in box.output, "the first process has looked")
        assert "denied" in box.output
        assert "denied" in box.exec(supervisor, "sh", "-c", "ls /root").output

    def test_a_terminal(self, box: Box) -> None:
        self.require(Capability.TERMINAL)
        box.process["terminal"] = True
        box.process["args"] = ["sh", "-c", "tty; test -t 0 && echo terminal"]
        with tempfile.TemporaryDirectory() as directory:
            launched = box.create(Stdio(terminal=True, log_path=f"{directory}/log", attach=True))
            master, output, _ = launched.attached
            box.start()
            box.wait()
            text = os.read(output, 4096).decode()
            os.close(master)
            os.close(output)
        assert "terminal" in text and "not a tty" not in text

    def test_pausing_stands_still_and_resuming_goes_on(self, box: Box) -> None:
        self.require(Capability.PAUSE)
        box.process["args"] = ["sh", "-c", "while :; do echo x; sleep 0.01; done"]
        box.create()
        box.start()
        eventually(lambda: len(box.output) > 4, "it runs")
        box.driver.pause(box.id)
        assert box.driver.state(box.id).status == "paused"
        eventually(lambda: stands_still(lambda: len(box.output)), "nothing more is written")
        size = len(box.output)
        box.driver.resume(box.id)
        assert box.driver.state(box.id).status == "running"
        eventually(lambda: len(box.output) > size, "it goes on")

    def test_a_paused_container_can_be_deleted(self, box: Box) -> None:
        self.require(Capability.PAUSE)
        box.process["args"] = ["sleep", "100"]
        pid = box.create().pid
        box.start()
        box.driver.pause(box.id)
        box.driver.delete(box.id)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the process is gone")

    def test_limits_hold_from_the_start_and_can_be_changed(self, box: Box) -> None:
        self.require(Capability.STATS)
        box.resources = Resources(pids_limit=64)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        assert box.driver.stats(box.id).pids_limit == 64
        if Capability.UPDATE in self.driver_type.capabilities:
            box.driver.update(box.id, Resources(pids_limit=32))
            assert box.driver.stats(box.id).pids_limit == 32

    def test_a_limit_can_be_taken_away(self, box: Box) -> None:
        self.require(Capability.STATS)
        self.require(Capability.UPDATE)
        box.resources = Resources(pids_limit=64)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        box.driver.update(box.id, Resources(pids_limit=-1))
        assert box.driver.stats(box.id).pids_limit is None

    def test_an_update_that_fails_changes_nothing(self, box: Box) -> None:
        self.require(Capability.STATS)
        self.require(Capability.UPDATE)
        box.resources = Resources(memory_limit=64 << 20, pids_limit=64)
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        with pytest.raises(MultiosError):
            box.driver.update(box.id, Resources(memory_limit=32 << 20, pids_limit=9, hugepages={"3KB": 3072}))
        stats = box.driver.stats(box.id)
        assert (stats.memory_limit, stats.pids_limit) == (64 << 20, 64)

    def test_counters_grow_and_are_known_at_the_end(self, box: Box) -> None:
        self.require(Capability.STATS)
        box.resources = Resources(pids_limit=4)
        forks = "i=0; while [ $i -lt 9 ]; do i=$((i+1)); sleep 1 & done"
        box.process["args"] = ["sh", "-c", f"({forks}; true); while :; do :; done"]
        box.create()
        box.start()
        first = box.driver.counters(box.id)
        eventually(
            lambda: (box.driver.counters(box.id).cpu_nanoseconds or 0) > (first.cpu_nanoseconds or 0),
            "CPU time grows",
        )
        if first.pids_refused is not None:
            eventually(lambda: (box.driver.counters(box.id).pids_refused or 0) > 0, "a process is refused")
        box.driver.kill(box.id, signal.SIGKILL, everything=True)
        box.wait()
        last = box.driver.state(box.id).counters
        assert last is None or (last.cpu_nanoseconds or 0) >= (first.cpu_nanoseconds or 0)

    def test_stats_grow_with_use(self, box: Box) -> None:
        self.require(Capability.STATS)
        box.process["args"] = ["sh", "-c", "while :; do :; done"]
        box.create()
        box.start()
        # runc's start ends before its threads have become the command.
        eventually(lambda: box.driver.stats(box.id).pids == 1, "it is one process")
        first = box.driver.stats(box.id)
        eventually(
            lambda: (box.driver.stats(box.id).cpu_nanoseconds or 0) > (first.cpu_nanoseconds or 0),
            "CPU time grows",
        )


def status_of(lines: list[str]) -> Mapping[str, str]:
    """/proc/PID/status, numbers without leading zeros."""
    return {
        key: value.strip().lstrip("0") or "0" for key, _, value in (line.partition(":") for line in lines)
    }
