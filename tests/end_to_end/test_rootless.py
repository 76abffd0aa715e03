"""A user who is nobody special, with an engine of his own: with subordinate ids, and with a single id."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from free_ports import free_port
from greeting_server import ASK, SERVER
from private_engine import IMAGE, eventually
from user_engine import SUBORDINATE, UID, UserEngine

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("pasta", "newuidmap", "setpriv", "unshare")),
    reason="this host has no passt, uidmap or util-linux",
)
WAYS = {"subordinate ids": 65536, "a single id": 0}


@pytest.fixture(scope="module", params=list(WAYS))
def user(request: pytest.FixtureRequest) -> Iterator[UserEngine]:
    """The user; tests use container names of their own."""
    engine = UserEngine(WAYS[request.param])
    try:
        engine.import_image()
        yield engine
    finally:
        engine.end()


@pytest.fixture
def many(user: UserEngine) -> UserEngine:
    """Only with subordinate ids."""
    if "65537" not in user.out("info", "--format", "{{.ids}}"):
        pytest.skip("this driver of ids has one only")
    return user


@pytest.fixture
def alone() -> Iterator[UserEngine]:
    """A user whose processes a test may kill."""
    engine = UserEngine()
    try:
        engine.import_image()
        yield engine
    finally:
        engine.end()


# --- who is who ----------------------------------------------------------------------------------------


def test_root_inside_is_the_user_outside(user: UserEngine) -> None:
    pid = int(user_container(user, "who"))
    assert user.out("exec", "who", "id", "-u") == "0"
    assert Path(f"/proc/{pid}").stat().st_uid == UID
    namespaces = [os.readlink(f"/proc/{one}/ns/user") for one in (pid, user.daemon_pid, "self")]
    assert len(set(namespaces)) == 3, "the container's, the engine's and the host's are three"
    user.run("delete", "--force", "who")


def test_other_ids_are_the_users_subordinate_ones(many: UserEngine) -> None:
    pid = int(user_container(many, "others", "--user", "1000"))
    assert Path(f"/proc/{pid}").stat().st_uid == SUBORDINATE + 999
    many.run("delete", "--force", "others")


def test_with_a_single_id_another_user_is_refused_and_files_of_others_are_roots(user: UserEngine) -> None:
    owner = user.out("run", "--rm", "--network", "none", IMAGE, "stat", "-c", "%u", "/home/student")
    if user.out("info", "--format", "{{.ids}}") == "1":
        assert owner == "0"
        refused = user.run("run", "--rm", "--user", "student", IMAGE, "true", status=125)
        assert "1 id" in refused.stderr and "/etc/subuid" in refused.stderr
    else:
        assert owner == "1000"
        assert user.out("run", "--rm", "--user", "student", IMAGE, "id", "-un") == "student"


def test_given_files_shared_memory_and_kernel_parameters(user: UserEngine) -> None:
    secret = {"path": "/run/secrets/key", "content": "aHVudGVyMg==", "mode": "0400", "secret": True}
    document = {
        "image": IMAGE,
        "files": [{"path": "/etc/greeting", "content": "Z2l2ZW4K"}, secret],
        "shm_size": "1M",
        "sysctls": {"net.ipv4.ip_default_ttl": "77", "kernel.shmmni": "99"},
        "command": [
            "sh",
            "-c",
            "cat /etc/greeting; stat -c %a:%u /run/secrets/key; cd /proc/sys; cat net/ipv4/ip_default_ttl kernel/shmmni;"
            "df -k /dev/shm | awk 'END { print $2 }'; cat /run/secrets/key; echo x 2>/dev/null > /etc/greeting",
        ],
    }
    done = user.run("run", "--rm", "--config", "-", input=json.dumps(document).encode(), status=1)
    assert done.stdout.split() == ["given", "400:0", "77", "99", "1024", "hunter2"], done.stderr


def test_a_given_files_owner_is_one_of_the_users_ids(user: UserEngine) -> None:
    document = {"image": IMAGE, "files": [{"path": "/a", "content": "", "uid": 1000}]}
    has_many = user.out("info", "--format", "{{.ids}}") != "1"
    command = ("run", "--rm", "--name", "owned", "--config", "-", "stat", "-c", "%u", "/a")
    done = user.run(*command, input=json.dumps(document).encode(), status=0 if has_many else 125)
    if has_many:
        assert done.stdout == "1000\n"
    else:
        assert "no user or group 1000" in done.stderr


def test_nothing_of_it_is_open_to_others(user: UserEngine) -> None:
    for directory in (user.exec_root, user.data_root):
        status = directory.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (UID, 0o700)


def test_a_place_in_tmp_that_another_made_is_not_used() -> None:
    engine = UserEngine(uid=4712)
    place = Path("/tmp/multios-4712")
    place.mkdir(mode=0o777)
    try:
        runtime = engine.environment.pop("XDG_RUNTIME_DIR")
        refused = engine.run("ps", status=125)
        assert "only you" in refused.stderr
    finally:
        place.rmdir()
        engine.environment["XDG_RUNTIME_DIR"] = runtime
        engine.end()


# --- the life of a container -------------------------------------------------------------------------------


def user_container(user: UserEngine, name: str, *options: str) -> str:
    """A container that sleeps; its first process's id on the host."""
    user.run("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")
    return user.out("inspect", "--format", "{{.State.Pid}}", name)


def test_run_gives_output_and_exit_status(user: UserEngine) -> None:
    done = user.run("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; exit 7", input=b"hello", status=7)
    assert done.stdout == "hello"
    assert user.out("run", "--rm", "-it", IMAGE, "tty").startswith("/dev/pts/")


def test_create_start_exec_logs_copy_stop_delete(user: UserEngine) -> None:
    user.run("create", "--name", "life", IMAGE, "sh", "-c", "echo begun; sleep 1000")
    user.run("start", "life")
    assert user.out("exec", "life", "sh", "-c", "echo kept >/root/note; cat /etc/greeting") == "hello"
    eventually(lambda: user.out("logs", "life") == "begun", "the log has its line")
    assert "life" in user.out("ps")
    target = user.home / "note"
    user.run("cp", "life:/root/note", str(target))
    assert target.read_text() == "kept\n" and target.stat().st_uid == UID
    assert "sleep 1000" in user.out("top", "life")
    user.run("stop", "--timeout", "1", "life")
    user.run("start", "life")
    assert user.out("exec", "life", "cat", "/root/note") == "kept"
    rows = json.loads(user.out("stats", "--no-stream", "--format", "json", "life"))
    assert rows[0]["pids"] >= 1 and rows[0]["memory_bytes"] > 0
    user.run("delete", "--force", "life")
    assert "life" not in user.out("ps", "--all")


def test_killing_it_takes_every_process_along(user: UserEngine) -> None:
    user.run("run", "-d", "--name", "tree", IMAGE, "sh", "-c", "setsid sleep 4321 & sleep 4321 & wait")
    eventually(lambda: _count(user, "sleep 4321") == 2, "both run")
    user.run("kill", "tree")
    eventually(lambda: _count(user, "sleep 4321") == 0, "both are gone")
    user.run("delete", "tree")


def _count(user: UserEngine, words: str) -> int:
    return sum(words == line for line in user.processes().values())


def test_volumes_and_the_users_own_files(user: UserEngine) -> None:
    shared = user.home / "shared"
    shared.mkdir()
    os.chown(shared, UID, UID)
    user.run("run", "--rm", "-v", f"{shared}:/mnt", IMAGE, "sh", "-c", "echo mine >/mnt/file")
    assert (shared / "file").stat().st_uid == UID
    user.run("run", "--rm", "-v", "data:/data", IMAGE, "sh", "-c", "echo stays >/data/file")
    assert user.out("run", "--rm", "-v", "data:/data", IMAGE, "cat", "/data/file") == "stays"
    shutil.rmtree(shared)


def test_a_new_volume_gets_the_files_of_the_image(user: UserEngine) -> None:
    """With a single id all of them are root's."""
    words = ("run", "--rm", "-v", "homes:/home", IMAGE)
    owner = "0" if user.out("info", "--format", "{{.ids}}") == "1" else "1000"
    assert user.out(*words, "sh", "-c", "stat -c %u /home/student; touch /home/mine") == owner
    assert user.out(*words, "ls", "/home").split() == ["mine", "student"]
    user.run("volume", "rm", "homes")


def test_what_the_user_may_not_read_is_not_readable_inside(user: UserEngine) -> None:
    secret = user.directory / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    done = user.run("run", "--rm", "-v", f"{user.directory}:/mnt", IMAGE, "cat", "/mnt/secret", status=1)
    assert "ermission denied" in done.stderr


def test_build_and_commit(user: UserEngine) -> None:
    context = user.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN mkdir /made && rm /etc/greeting && rm -r /home && mkdir /home\nCOPY Dockerfile /copied\n"
    )
    os.chown(context, UID, UID)
    user.run("build", "--network", "none", "-t", "built:1", str(context))
    listing = "ls -d /made /copied /etc/greeting /home/*"
    assert user.run("run", "--rm", "built:1", "sh", "-c", listing, status=1).stdout.split() == [
        "/copied",
        "/made",
    ]
    user.run("run", "--name", "changed", "built:1", "rm", "/copied")
    user.run("commit", "changed", "changed:1")
    user.run("run", "--rm", "changed:1", "ls", "/copied", status=1)
    user.run("delete", "changed")
    shutil.rmtree(context)


def test_the_vfs_storage_driver(user: UserEngine) -> None:
    done = user.run("run", "--rm", "--storage", "vfs", IMAGE, "sh", "-c", "echo x >/new; cat /new")
    assert done.stdout == "x\n"


# --- what is not there ---------------------------------------------------------------------------------------


def test_devices_cannot_be_made_and_the_hosts_mounts_cannot_be_changed(user: UserEngine) -> None:
    user.run("run", "--rm", "--cap-add", "ALL", IMAGE, "mknod", "/dev/sda", "b", "8", "0", status=1)
    attempt = "umount /proc; mount -o remount,rw /sys || exit 3"
    user.run("run", "--rm", "--cap-add", "ALL", IMAGE, "sh", "-c", attempt, status=3)


def test_limits_are_enforced_where_a_cgroup_is_delegated_and_refused_elsewhere(user: UserEngine) -> None:
    if user.out("info", "--format", "{{.cgroup}}") == "none":
        refused = user.run("run", "--rm", "-m", "64m", IMAGE, "true", status=125)
        assert "memory_limit" in refused.stderr and "delegate" in refused.stderr
        user_container(user, "limits")
        refused = user.run("pause", "limits", status=125)
        assert "cgroup" in refused.stderr and "delegate" in refused.stderr
        assert user.run("update", "--pids-limit", "10", "limits", status=125).stderr
        assert user.out("exec", "limits", "echo", "on") == "on"
        user.run("delete", "--force", "limits")
        return
    file = "/sys/fs/cgroup/memory.max"
    assert user.out("run", "--rm", "-m", "64m", IMAGE, "cat", file) == str(64 << 20)


def test_doctor_says_what_is_missing_and_does_not_fail(user: UserEngine) -> None:
    done = user.run("doctor")
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("fail")], done.stdout
    found = next(line for line in lines if "subordinate ids" in line)
    if user.out("info", "--format", "{{.ids}}") == "1":
        assert found.startswith("warn") and "/etc/subuid" in found and "usermod" in done.stdout
    else:
        assert found.startswith("ok")
    assert any("pasta" in line and line.startswith("ok") for line in lines)


# --- the network ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(address: str, answer: bytes) -> Iterator[int]:
    """A server of the host's; its port."""
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            thread.join()


def own_address() -> str:
    """The host's address towards the outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no default route")
        return str(probe.getsockname()[0])


def test_the_way_out_leads_to_the_hosts_address_but_not_to_its_loopback(user: UserEngine) -> None:
    address = own_address()
    asking = (
        "sleep 1 | nc -w 2 $0 $1"  # Debian 12's pasta loses the answer's end once the asking side is closed
    )
    with serving("0.0.0.0", b"open\n") as port:
        words = ("run", "--rm", IMAGE, "sh", "-c", asking, address, str(port))
        eventually(lambda: user.run(*words).stdout == "open\n", "the host answers")
    gateway = user.out("run", "--rm", IMAGE, "sh", "-c", "ip route | awk '/default/ {print $3}'")
    with serving("127.0.0.1", b"secret\n") as port:
        for place in ("127.0.0.1", gateway):
            done = user.run("run", "--rm", IMAGE, "sh", "-c", asking, place, str(port), status=None)
            assert "secret" not in done.stdout


def test_a_published_port_leads_in_until_it_is_withdrawn_or_the_container_stops(user: UserEngine) -> None:
    first, second = free_port(), free_port()
    script = "while true; do echo inside | nc -l -p 80; done"
    user.run("run", "-d", "--name", "web", "-p", f"{first}:80", IMAGE, "sh", "-c", script)
    eventually(lambda: fetched(first) == b"inside\n", "the published port answers")
    user.run("port-forward", "web", f"127.0.0.1:{second}:80")
    eventually(lambda: fetched(second) == b"inside\n", "the other one too")
    user.run("port-forward", "--remove", "web", f"127.0.0.1:{second}:80")
    assert fetched(second) == b""
    user.run("stop", "--timeout", "0", "web")
    eventually(lambda: fetched(first) == b"", "nothing answers any more")
    eventually(lambda: not [line for line in user.processes().values() if "pasta" in line], "pasta has gone")
    user.run("delete", "web")


def fetched(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(64)
    except OSError:
        return b""


def test_an_app_of_several_containers_whose_names_are_known(user: UserEngine) -> None:
    directory = user.directory / "shop"
    directory.mkdir()
    (directory / "compose.yaml").write_text(
        """services:
  web: {image: "small:1", command: sleep 1000, depends_on: [db]}
  db: {image: "small:1", command: sleep 1000, volumes: ["data:/data"]}
volumes: {data: {}}
"""
    )
    app = ("app", "--project-directory", str(directory))
    user.run(*app, "up", "--detach")
    try:
        assert "Address: " in user.out(*app, "exec", "-T", "web", "nslookup", "db")
        assert user.run(*app, "up", "--detach").stderr == ""
    finally:
        user.run(*app, "down", "--volumes", "--timeout", "0")
    assert user.out(*app, "ps", "--all", "--quiet") == ""


def test_containers_share_a_network_but_not_the_hosts_address(user: UserEngine) -> None:
    user.run("run", "-d", "--name", "server", IMAGE, *SERVER)
    try:
        words = (
            "run",
            "--rm",
            "--network",
            "container:server",
            IMAGE,
            "sh",
            "-c",
            ASK.format("127.0.0.1", 80),
        )
        eventually(lambda: "hello" in user.run(*words, status=None).stdout, "the server answers")
        refused = user.run("run", "--rm", "--add-host", "a:host-gateway", IMAGE, "true", status=125).stderr
        assert "the host has no address on network 'default' (pasta)" in refused
    finally:
        user.run("delete", "--force", "server")


def test_a_low_port_is_refused_with_its_reason(user: UserEngine) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("this host gives low ports to everyone")
    refused = user.run("run", "--rm", "-p", "81:80", IMAGE, "true", status=125)
    assert "81" in refused.stderr


def test_without_the_tun_device_a_start_says_who_can_help_and_none_works() -> None:
    if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
        pytest.skip("this host lets everyone open /dev/net/tun")
    engine = UserEngine(tun=False)
    try:
        engine.import_image()
        refused = engine.run("run", "--rm", IMAGE, "true", status=125)
        assert "chmod 0666 /dev/net/tun" in refused.stderr
        engine.run("run", "--rm", "--network", "none", IMAGE, "true")
    finally:
        engine.end()


def test_containers_have_a_name_server_and_know_themselves(user: UserEngine) -> None:
    done = user.out("run", "--rm", "--name", "namely", IMAGE, "cat", "/etc/resolv.conf")
    assert "nameserver 127.0.0.11" in done


# --- limits, where a cgroup is delegated ---------------------------------------------------------------------


@pytest.fixture
def delegated() -> Iterator[UserEngine]:
    """A user who is logged in below a cgroup of version 2 that is his (kernel: cgroup-v2, "Delegation")."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    top = next((Path(fields[4]) for fields in lines if fields[fields.index("-") + 1] == "cgroup2"), None)
    if top is None:
        pytest.skip("this host delegates no cgroups: it has no cgroup v2")
    group = top / f"multios-user-{os.getpid()}"
    group.mkdir()
    available = (top / "cgroup.controllers").read_text().split()
    for name in ("memory", "pids", "cpu"):
        if name in available:
            for path in (top, group):
                (path / "cgroup.subtree_control").write_text(f"+{name}")
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(group / name, UID, UID)
    engine = UserEngine(cgroup=group)
    try:
        engine.import_image()
        yield engine
    finally:
        engine.end()
        for directory, _, _ in sorted(os.walk(group), key=lambda row: -len(row[0])):
            os.rmdir(directory)


def test_in_a_delegated_cgroup_containers_can_be_paused_and_counted(delegated: UserEngine) -> None:
    assert delegated.out("info", "--format", "{{.cgroup}}") == "v2"
    user_container(delegated, "frozen", "--network", "none")
    delegated.run("pause", "frozen")
    assert "Paused" in delegated.out("ps", "--filter", "name=frozen")
    delegated.run("resume", "frozen")
    assert delegated.out("exec", "frozen", "echo", "thawed") == "thawed"
    assert delegated.out("exec", "frozen", "cat", "/proc/self/cgroup").endswith("::/"), "it sees its own only"
    os.kill(delegated.daemon_pid, signal.SIGKILL)
    assert delegated.out("exec", "frozen", "echo", "again") == "again"
    os.kill(delegated.supervisor_pid, signal.SIGKILL)
    eventually(
        lambda: delegated.run("exec", "frozen", "true", status=None).returncode == 0, "exec works again"
    )
    delegated.run("pause", "frozen")
    delegated.run("delete", "--force", "frozen")


def test_in_a_delegated_cgroup_limits_hold(delegated: UserEngine) -> None:
    doctor = delegated.run("doctor").stdout
    group = next(line for line in doctor.splitlines() if " cgroups: " in line)
    if "memory" not in group.partition("without")[0]:
        refused = delegated.run("run", "--rm", "-m", "64m", IMAGE, "true", status=125)
        assert "memory" in refused.stderr
        pytest.skip("this host delegates no cgroups with controllers")
    read = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    limits = ("--network", "none", "-m", "64m", "--pids-limit", "20")
    assert delegated.out("run", "--rm", *limits, IMAGE, "sh", "-c", read).split() == [str(64 << 20), "20"]
    eat = "head -c 200m /dev/zero | tail -c 200m | wc -c"
    done = delegated.run("run", "--rm", *limits, IMAGE, "sh", "-c", eat, status=None)
    assert done.stdout.strip() != str(200 << 20), "memory beyond the limit was given"


# --- deaths ------------------------------------------------------------------------------------------------


def test_health_is_probed_and_a_probe_killed_at_its_time(user: UserEngine) -> None:
    check = ("--health-cmd", "test -e /tmp/works || sleep 98765", "--health-timeout", "3s")
    options = ("--health-interval", "200ms", "--health-retries", "1", "--network", "none")
    user.run("run", "-d", "--name", "probed", *check, *options, IMAGE, "sleep", "1000")
    user.out("wait", "--condition", "unhealthy", "probed")
    user.run("exec", "probed", "touch", "/tmp/works")
    user.out("wait", "--condition", "healthy", "probed")
    assert "98765" not in user.out("top", "probed")
    user.run("delete", "--force", "probed")


def test_containers_survive_the_daemon_and_the_supervisor(alone: UserEngine) -> None:
    script = "echo x >/f; while sleep 0.1; do echo tick; done"
    port = free_port()
    alone.run("run", "-d", "--name", "lives", "-p", f"{port}:80", IMAGE, "sh", "-c", script)
    pid = alone.out("inspect", "--format", "{{.State.Pid}}", "lives")
    os.kill(alone.daemon_pid, signal.SIGKILL)
    assert alone.out("exec", "lives", "cat", "/f") == "x", "a new daemon joins the namespace of the old one"
    os.kill(alone.supervisor_pid, signal.SIGKILL)
    eventually(
        lambda: alone.run("exec", "lives", "cat", "/f", status=None).stdout == "x\n", "exec works again"
    )
    before = len(alone.out("logs", "lives").split())
    eventually(lambda: len(alone.out("logs", "lives").split()) > before, "the log goes on")
    assert alone.out("inspect", "--format", "{{.State.Pid}}", "lives") == pid
    alone.run("port-forward", "lives", f"{free_port()}:80")
    alone.run("delete", "--force", "lives")
    eventually(lambda: not [line for line in alone.processes().values() if "pasta" in line], "pasta has gone")


def test_after_the_death_of_both_the_next_daemon_ends_what_is_left(alone: UserEngine) -> None:
    pid = int(user_container(alone, "orphan"))
    for victim, words in alone.processes().items():
        if "multios.daemon" in words or "multios.supervisor.main" in words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    eventually(lambda: not [w for w in alone.processes().values() if "multios.daemon" in w], "it is dead")
    alone.out("ps")
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the orphan is ended")
    assert "unknown" in alone.out("ps", "--all")
    alone.run("start", "orphan")
    assert alone.out("exec", "orphan", "echo", "again") == "again"


def test_the_daemon_leaves_when_idle_and_nothing_stays(alone: UserEngine) -> None:
    config = alone.home / ".config/multios/containers.conf"
    config.parent.mkdir(parents=True)
    config.write_text("[daemon]\nidle_seconds = 3\n")
    os.chown(config.parent.parent, UID, UID)
    os.kill(alone.daemon_pid, signal.SIGTERM)
    eventually(lambda: not alone.processes(), "the daemon has ended")
    alone.out("run", "--rm", IMAGE, "true")
    assert alone.processes()
    eventually(lambda: not alone.processes(), "all of it has left")
    assert alone.out("image", "ls", "--quiet"), "what was imported is still there"


def test_fewer_ids_than_the_files_have_are_refused(alone: UserEngine) -> None:
    os.kill(alone.daemon_pid, signal.SIGTERM)
    eventually(lambda: not alone.processes(), "the daemon has ended")
    (alone.directory / "host/subuid").write_text("")
    time.sleep(0.1)
    refused = alone.run("ps", status=125)
    assert "65537 ids" in refused.stderr
    (alone.directory / "host/subuid").write_text(f"{UID}:{SUBORDINATE}:65536\n")
    alone.run("ps")


# --- whose daemon ----------------------------------------------------------------------------------------------


def test_root_of_the_host_is_no_user_of_it(alone: UserEngine) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(alone.exec_root / "api.sock"))
        request = json.dumps({"method": "images.remove", "params": {"ref": IMAGE}}).encode()
        client.sendall(len(request).to_bytes(4, "big") + request)
        assert b"error" in client.recv(4096)


def test_a_disk_limit_that_a_user_cannot_have_is_refused(user: UserEngine) -> None:
    done = user.run("create", "--disk-limit", "64M", IMAGE, "true", status=None)
    assert done.returncode == 125
    assert "disk" in done.stderr
    assert "root" in done.stderr


def test_what_was_refused_is_explained_here_too(user: UserEngine) -> None:
    user_container(user, "asked")
    user.run("exec", "asked", "mount", "-t", "tmpfs", "tmpfs", "/tmp", status=None)
    assert "CAP_SYS_ADMIN" in user.out("why", "asked")
    user.run("delete", "--force", "asked")


def test_a_bundle_of_confinement_holds(user: UserEngine) -> None:
    """Its limit on processes needs a cgroup: without one it is refused, unless taken away."""
    out = user.out(
        "run",
        "--rm",
        "--security-profile",
        "strict",
        "--pids-limit",
        "-1",
        "--network",
        "none",
        IMAGE,
        "cat",
        "/proc/self/status",
    )
    assert "Seccomp:\t2" in out
    assert "NoNewPrivs:\t1" in out
