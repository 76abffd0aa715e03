"""Every spelling of the command line leads to the right method and parameters."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = {"template": "python-learning"}
REF = {"ref": "my-python"}


def created(line: str, **document: Any) -> tuple[str, str, dict[str, Any]]:
    return line, "containers.create", {"config": document}


RESOURCES = {"cpu_limit": 2.0, "memory_limit": "1G", "disk_limit": "10G"}
LINES: list[tuple[str, str, dict[str, Any]]] = [
    # --- create ---
    created("create --template python-learning my-python", **TEMPLATE, name="my-python"),
    created(
        "create --name my-app --cpu-limit 2 --memory-limit 1G --disk-limit 10G python-learning",
        name="my-app",
        image="python-learning",
        resources=RESOURCES,
    ),
    created("create --image myapp:latest my-app", image="myapp:latest", name="my-app"),
    created(
        "create --template web-learning --network app-network --name web-server --port 8080:80 web-learning",
        template="web-learning",
        name="web-server",
        networking={"networks": ["app-network"], "ports": [{"container": 80, "host": 8080}]},
    ),
    created(
        "create --template database-learning --network app-network --name database database-learning",
        template="database-learning",
        name="database",
        networking={"networks": ["app-network"]},
    ),
    created(
        "create --name dev-environment --cpu-limit 4 --memory-limit 4G --disk-limit 50G "
        "--volume /host/workspace:/workspace --volume /host/.ssh:/root/.ssh:ro python-learning",
        name="dev-environment",
        image="python-learning",
        resources={"cpu_limit": 4.0, "memory_limit": "4G", "disk_limit": "50G"},
        volumes=[
            {"host": "/host/workspace", "container": "/workspace", "mode": "rw"},
            {"host": "/host/.ssh", "container": "/root/.ssh", "mode": "ro"},
        ],
    ),
    *(
        created(f"create --template {name}-learning {name}-course", template=f"{name}-learning", name=f"{name}-course")
        for name in ("python", "nodejs", "java", "cpp", "web", "database", "networking")
    ),
    created("create debian:12", image="debian:12"),
    created(
        "create -v data:/data:ro,nocopy x",
        image="x",
        volumes=[{"volume": "data", "container": "/data", "mode": "ro", "nocopy": True}],
    ),
    created("create debian:12 sleep -1", image="debian:12", command=["sleep", "-1"]),
    created("create --template python-learning t python3 -V", **TEMPLATE, name="t", command=["python3", "-V"]),
    created("create --template=python-learning --name=t python3", **TEMPLATE, name="t", command=["python3"]),
    created(
        "create --cpu-limit 50% --cpu-shares 512 --cpuset 0-1 --memory-swap -1 --pids-limit 64 --io-limit 1000 x",
        image="x",
        resources={
            "cpu_limit": "50%",
            "cpu_shares": 512,
            "cpuset": "0-1",
            "memory_swap": "-1",
            "pids_limit": 64,
            "io_limit": 1000,
        },
    ),
    created(
        "create -it --rm --init --read-only --privileged -u 1000:100 -w /work --hostname box --group-add audio x",
        image="x",
        terminal=True,
        open_stdin=True,
        auto_remove=True,
        init=True,
        security={"read_only": True, "privileged": True},
        user="1000:100",
        working_directory="/work",
        hostname="box",
        groups=["audio"],
    ),
    created(
        "create --cap-add CHOWN --cap-drop ALL --security-opt seccomp=unconfined --security-opt apparmor=none "
        "--security-opt no-new-privileges=false --userns host x",
        image="x",
        security={
            "capabilities": ["CHOWN"],
            "drop_capabilities": ["ALL"],
            "seccomp_profile": "unconfined",
            "apparmor_profile": "none",
            "no_new_privileges": False,
            "user_namespace": "host",
        },
    ),
    created(
        "create -e A=1 -e B= -e CALLERS -e UNSET_ANYWHERE -l course=101 -l plain --entrypoint 'python3 -u' x",
        image="x",
        environment={"A": "1", "B": "", "CALLERS": "mine"},
        labels={"course": "101", "plain": ""},
        entrypoint=["python3", "-u"],
    ),
    created(
        "create --pids-limit 0 --io-bps 5MiB --hugepages 2M=64M --hugepages 1G=1G --device /dev/fuse "
        "--device /dev/kvm:rw --device /dev/loop0:/dev/disk:r x",
        image="x",
        resources={"pids_limit": 0, "io_bytes_limit": "5MiB", "hugepages": {"2M": "64M", "1G": "1G"}},
        devices=[
            {"host": "/dev/fuse", "container": "/dev/fuse", "access": "rwm"},
            {"host": "/dev/kvm", "container": "/dev/kvm", "access": "rw"},
            {"host": "/dev/loop0", "container": "/dev/disk", "access": "r"},
        ],
    ),
    created(
        "create --health-cmd 'curl -f http://localhost' --health-interval 1m30s --health-timeout 5s --health-retries 2 "
        "--health-start-period 10s --health-start-interval 1s x",
        image="x",
        healthcheck={
            "test": ["CMD-SHELL", "curl -f http://localhost"],
            "interval": "1m30s",
            "timeout": "5s",
            "retries": 2,
            "start_period": "10s",
            "start_interval": "1s",
        },
    ),
    created(
        """create --health-cmd '["curl", "-f"]' x""", image="x", healthcheck={"test": ["CMD", "curl", "-f"]}
    ),
    created(
        """create --health-cmd '["CMD-SHELL", "a b"]' x""", image="x", healthcheck={"test": ["CMD-SHELL", "a b"]}
    ),
    created(
        "create --health-cmd '[ -e /ready ]' x", image="x", healthcheck={"test": ["CMD-SHELL", "[ -e /ready ]"]}
    ),
    created("create --health-cmd none x", image="x", healthcheck={"test": ["NONE"]}),
    created("create --no-healthcheck x", image="x", healthcheck={"test": ["NONE"]}),
    created(
        "create --restart on-failure:3 --stop-signal INT --stop-timeout 3 --ulimit nofile=1024:2048 --ulimit core=0 x",
        image="x",
        restart_policy="on-failure:3",
        stop_signal="INT",
        stop_timeout=3,
        rlimits={"nofile": [1024, 2048], "core": [0, 0]},
    ),
    created(
        "create --isolation ns --storage vfs --network-driver bridge --security seccomp "
        "--storage-opt size=1G --network-opt mtu=1400 --template-option jupyter=no --template python-learning n",
        **TEMPLATE,
        name="n",
        drivers={"isolation": "ns", "storage": "vfs", "network": "bridge", "security": "seccomp"},
        driver_options={"storage": {"size": "1G"}, "network": {"mtu": "1400"}},
        template_options={"jupyter": "no"},
    ),
    created(
        "create --network a --network b --network-alias www --ip 10.0.0.2 --dns 1.1.1.1 --dns-search lan "
        "--add-host db:10.0.0.3 x",
        image="x",
        networking={
            "networks": ["a", "b"],
            "aliases": ["www"],
            "address": "10.0.0.2",
            "dns": ["1.1.1.1"],
            "dns_search": ["lan"],
            "extra_hosts": {"db": "10.0.0.3"},
        },
    ),
    created(
        "create -p 80 -p 127.0.0.1:8080:80/udp -p 127.0.0.1::81 -p 9000-9001:90-91 -p [::1]:1:2 x",
        image="x",
        networking={
            "ports": [
                {"container": 80},
                {"container": 80, "host": 8080, "protocol": "udp", "address": "127.0.0.1"},
                {"container": 81, "address": "127.0.0.1"},
                {"container": 90, "host": 9000},
                {"container": 91, "host": 9001},
                {"container": 2, "host": 1, "address": "::1"},
            ]
        },
    ),
    created(
        "create -v homework:/work -v ./here:/there:ro --tmpfs /tmp --tmpfs /run:size=64m --log-opt max-size=1m "
        "--log-opt max-files=2 x",
        image="x",
        volumes=[
            {"volume": "homework", "container": "/work", "mode": "rw"},
            {"host": "CWD/here", "container": "/there", "mode": "ro"},
        ],
        tmpfs=[{"container": "/tmp"}, {"container": "/run", "size": "64m"}],
        log={"max_size": "1m", "max_files": 2},
    ),
    # --- run, in the background ---
    (
        "run -d --name web -p 8080:80 web-learning",
        "containers.run",
        {
            "config": {
                "name": "web",
                "image": "web-learning",
                "networking": {"ports": [{"container": 80, "host": 8080}]},
            },
            "attach": False,
        },
    ),
    # --- life ---
    ("start my-python", "containers.start", REF),
    ("stop my-python", "containers.stop", REF),
    ("stop -t 3 my-python", "containers.stop", {**REF, "timeout": 3}),
    ("stop --time=3 my-python", "containers.stop", {**REF, "timeout": 3}),
    ("restart my-python", "containers.restart", REF),
    ("pause my-python", "containers.pause", REF),
    ("resume my-python", "containers.resume", REF),
    ("unpause my-python", "containers.resume", REF),
    ("delete my-python", "containers.delete", {**REF, "force": False, "volumes": False}),
    ("delete --force my-python", "containers.delete", {**REF, "force": True, "volumes": False}),
    ("rm -f my-python", "containers.delete", {**REF, "force": True, "volumes": False}),
    ("kill my-python", "containers.kill", {**REF, "signal": "KILL"}),
    ("kill -s SIGHUP my-python", "containers.kill", {**REF, "signal": "HUP"}),
    ("rename my-python other", "containers.rename", {**REF, "name": "other"}),
    ("update my-python --cpu-limit 4 --memory-limit 2G", "containers.update", {**REF, "resources": {"cpu_limit": 4.0, "memory_limit": "2G"}}),
    ("update my-python --cpu-shares 512", "containers.update", {**REF, "resources": {"cpu_shares": 512}}),
    ("update my-python --memory-limit 512M", "containers.update", {**REF, "resources": {"memory_limit": "512M"}}),
    ("update my-python --io-limit 1000", "containers.update", {**REF, "resources": {"io_limit": 1000}}),
    ("update container-name --memory-limit 2G", "containers.update", {"ref": "container-name", "resources": {"memory_limit": "2G"}}),
    ("update my-python --io-bps 10M --memory-limit 0 --pids-limit -1 --cpuset all --hugepages 2M=0 --cpu-limit 0", "containers.update",
     {**REF, "resources": {"io_bytes_limit": "10M", "memory_limit": "0", "pids_limit": -1, "cpuset": "all", "hugepages": {"2M": "0"}, "cpu_limit": 0.0}}),
    ("healthcheck run my-python", "containers.health", REF),
    ("update --restart always my-python", "containers.update", {**REF, "resources": {}, "restart_policy": "always"}),
    # --- images, templates, networks, volumes ---
    ("image pull ubuntu:20.04", "images.pull", {"ref": "ubuntu:20.04"}),
    ("template build python-learning -o jupyter=no", "templates.build", {"name": "python-learning", "options": {"jupyter": "no"}, "locked": False}),
    ("network create my-network --subnet 172.20.0.0/16", "networks.create", {"name": "my-network", "subnets": ["172.20.0.0/16"], "labels": {}, "options": {}}),
    ("network create app-network", "networks.create", {"name": "app-network", "labels": {}, "options": {}}),
    ("network rm my-network", "networks.remove", {"name": "my-network"}),
    ("volume create --label a=b homework", "volumes.create", {"name": "homework", "labels": {"a": "b"}}),
    ("volume rm homework", "volumes.remove", {"name": "homework"}),
]  # fmt: skip

LISTINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("ps", "containers.list", {"all": False, "filters": {}}),
    ("ps --all", "containers.list", {"all": True, "filters": {}}),
    ("ps -aq", "containers.list", {"all": True, "filters": {}}),
    ("ps --last 3", "containers.list", {"all": True, "filters": {}, "limit": 3}),
    (
        "ps --filter status=exited -f label=a -f label=b",
        "containers.list",
        {"all": True, "filters": {"status": "exited", "label": ["a", "b"]}},
    ),
    ("images", "images.list", {}),
    ("image ls -q", "images.list", {}),
    ("image list", "images.list", {}),
    ("template list", "templates.list", {}),
    ("template ls", "templates.list", {}),
    ("network list", "networks.list", {}),
    ("network ls", "networks.list", {}),
    ("volume ls", "volumes.list", {}),
    ("plugin list", "plugins.list", {}),
    ("plugin list --kind storage", "plugins.list", {"kind": "storage"}),
    ("doctor", "system.doctor", {}),
]

RECORDS: list[tuple[str, str, dict[str, Any]]] = [
    ("inspect my-python", "containers.inspect", REF),
    ("image inspect debian:12", "images.inspect", {"ref": "debian:12"}),
    ("template inspect python-learning", "templates.inspect", {"name": "python-learning", "options": {}}),
    ("network inspect my-network", "networks.inspect", {"name": "my-network"}),
    ("volume inspect homework", "volumes.inspect", {"name": "homework"}),
    ("info", "system.info", {}),
    ("version", "system.version", {}),
    ("features --format json", "system.features", {}),
    ("stats", "containers.stats", {"refs": [], "stream": True}),
    ("stats my-python", "containers.stats", {"refs": ["my-python"], "stream": True}),
    ("stats --all", "containers.stats", {"refs": [], "stream": True, "all": True}),
    ("stats --no-stream my-python", "containers.stats", {"refs": ["my-python"], "stream": False}),
    (
        "events --since 100 --no-stream --filter type=container",
        "system.events",
        {"since": 100.0, "follow": False, "filters": {"type": "container"}},
    ),
    ("events --no-follow", "system.events", {"follow": False, "filters": {}}),
    ("events --stream=false", "system.events", {"follow": False, "filters": {}}),
    (
        "events --follow --stream true --since 100 --until 200 --filter label=a=b --filter label=c",
        "system.events",
        {"since": 100.0, "until": 200.0, "follow": True, "filters": {"label": ["a=b", "c"]}},
    ),
]


def spelled(document: Any, directory: Path) -> Any:
    """``document`` with the caller's directory where it says ``CWD``."""
    return json.loads(json.dumps(document).replace("CWD", str(directory)))


@pytest.mark.parametrize(("line", "method", "params"), LINES, ids=[line for line, _, _ in LINES])
def test_a_spelling_leads_to_its_request(
    line: str,
    method: str,
    params: dict[str, Any],
    daemon: Any,
    cli: Any,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    daemon.answers.update({"templates.build": {"image": "x"}, "containers.health": {"exit_code": 0}})
    done = cli(*shlex.split(line), env={**environment, "CALLERS": "mine"})
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.asked == [(method, spelled(params, tmp_path))]


@pytest.mark.parametrize(("line", "method", "params"), LISTINGS, ids=[line for line, _, _ in LISTINGS])
def test_a_listing_leads_to_its_request(
    line: str, method: str, params: dict[str, Any], daemon: Any, cli: Any
) -> None:
    daemon.answers[method] = []
    done = cli(*shlex.split(line))
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.asked == [(method, params)]


@pytest.mark.parametrize(("line", "method", "params"), RECORDS, ids=[line for line, _, _ in RECORDS])
def test_a_look_leads_to_its_request(
    line: str, method: str, params: dict[str, Any], daemon: Any, cli: Any
) -> None:
    daemon.answers[method] = {"version": "0.1.0"}
    done = cli(*shlex.split(line))
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.asked == [(method, params)]


EXEC = {
    "ref": "my-python",
    "terminal": False,
    "stdin": False,
    "environment": {},
    "user": "",
    "working_directory": "",
    "privileged": False,
    "detach": False,
}


@pytest.mark.parametrize(
    ("line", "params"),
    [
        ("exec my-python python3 --version", {"command": ["python3", "--version"]}),
        ("exec my-python bash", {"command": ["bash"]}),
        ("exec my-python ping 8.8.8.8", {"command": ["ping", "8.8.8.8"]}),
        ("exec my-python mysql -h database -u root -p", {"command": ["mysql", *["-h", "database", "-u", "root", "-p"]]}),
        ("exec -i my-python cat", {"command": ["cat"], "stdin": True}),
        ("exec -e A=1 --user nobody -w / --privileged my-python env", {
            "command": ["env"], "environment": {"A": "1"}, "user": "nobody", "working_directory": "/", "privileged": True,
        }),
        ("exec -d my-python sleep 1", {"command": ["sleep", "1"], "detach": True}),
    ],
)  # fmt: skip
def test_exec_leads_to_its_request(line: str, params: dict[str, Any], daemon: Any, cli: Any) -> None:
    daemon.answers["containers.exec"] = {"exit_code": 0, "exec_id": "abc"}
    done = cli(*shlex.split(line))
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.asked == [("containers.exec", {**EXEC, **params})]


CONFIG = {
    "name": "my-app",
    "image": "python-learning",
    "resources": {"cpu_limit": 2.0, "memory_limit": "1GB"},
    "networking": {"network": "default", "ports": [{"container": 8080, "host": 8080}]},
    "volumes": [{"host": "/host/data", "container": "/data", "mode": "rw"}],
    "environment": {"PYTHONPATH": "/app", "DEBUG": "true"},
    "restart_policy": "unless-stopped",
}


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("create --config F", {}),
        ("create --config F --name other", {"name": "other"}),
        ("create --config F python3 -V", {"command": ["python3", "-V"]}),
        ("create --config F --memory-limit 2G", {"resources": {"cpu_limit": 2.0, "memory_limit": "2G"}}),
        ("create --config F -e DEBUG=no", {"environment": {"PYTHONPATH": "/app", "DEBUG": "no"}}),
        ("create --config F --template t", {"image": None, "template": "t"}),
        ("create --config F --network lab", {"networking": {"networks": ["lab"], "ports": CONFIG["networking"]["ports"]}}),  # type: ignore[index]
    ],
)  # fmt: skip
def test_options_override_a_configuration_file(
    line: str, changes: dict[str, Any], daemon: Any, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "F").write_text(json.dumps(CONFIG))
    assert cli(*shlex.split(line)).returncode == 0
    wanted = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    assert daemon.asked == [("containers.create", {"config": wanted})]


def test_validate_sends_the_file_and_says_that_it_is_valid(daemon: Any, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my-python-config.json").write_text(json.dumps(CONFIG))
    daemon.answers["containers.validate"] = {"valid": True, "warnings": ["a port below 1024"]}
    done = cli("validate", "my-python-config.json")
    assert (done.returncode, done.stdout) == (0, "my-python-config.json: valid\n")
    assert done.stderr == "Warning: a port below 1024\n"
    assert daemon.asked == [("containers.validate", {"config": CONFIG})]


def test_environment_files_and_seccomp_profiles_are_read_by_the_client(
    daemon: Any, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("# comment\nA=file\nB=2 with blank\n\nCALLERS\n")
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    line = "create --env-file env -e A=option --security-opt seccomp=./profile.json x"
    assert cli(*line.split()).returncode == 0
    config = daemon.asked[0][1]["config"]
    assert config["environment"] == {"A": "option", "B": "2 with blank"}
    assert config["security"] == {"seccomp_profile": '{"defaultAction": "SCMP_ACT_ALLOW"}'}


@pytest.mark.parametrize(
    ("line", "name", "rootfs_name"),
    [
        ("image import myapp:latest", "myapp:latest", "imported:latest"),
        ("image import", "", "imported:latest"),
        ("import -", "", "imported:latest"),
        ("image import rootfs.tar.gz", "", "rootfs:latest"),
        ("image import rootfs.tar.gz lab:1", "lab:1", "imported:latest"),
        ("load", "", ""),
        ("load --input rootfs.tar.gz", "", ""),
        ("image load rootfs.tar.gz", "", ""),
    ],
)
def test_import_and_load_hand_over_the_archive(
    line: str, name: str, rootfs_name: str, daemon: Any, cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "rootfs.tar.gz").write_text("archive")
    read: list[bytes] = []

    def take(request: Any) -> dict[str, Any]:
        read.append(os.read(request.fds[0], 100))
        return {"images": [{"id": "1234", "references": ["docker.io/lab:1"]}]}

    daemon.answers["images.import"] = take
    with open(tmp_path / "rootfs.tar.gz") as archive:
        done = cli(*line.split(), stdin=archive)
    shown = "Loaded image: docker.io/lab:1\n" if "load" in line else "1234\n"
    assert (done.returncode, done.stdout) == (0, shown)
    assert daemon.asked == [("images.import", {"reference": name, "rootfs_name": rootfs_name, "changes": []})]
    assert read == [b"archive"]


def test_several_names_at_once_are_all_tried_and_the_first_failure_is_the_exit_status(
    daemon: Any, cli: Any
) -> None:
    def stop(request: Any) -> dict[str, str]:
        from multios.errors import NotFound

        if request.params["ref"] == "b":
            raise NotFound("no such container: 'b'", "see ps --all")
        return {"id": request.params["ref"]}

    daemon.answers["containers.stop"] = stop
    done = cli("stop", "a", "b", "c")
    assert (done.returncode, done.stdout) == (125, "a\nc\n")
    assert done.stderr == "Error: no such container: 'b'\nsee ps --all\n"


def test_the_template_program_is_the_template_group(
    daemon: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    import subprocess
    import sys

    daemon.answers["templates.list"] = []
    program = Path(sys.executable).with_name("multios-container-template")
    for words in (["list"], ["--socket", str(tmp_path / "api.sock"), "list"]):
        subprocess.run([program, *words], env=environment, check=True, capture_output=True)
    shown = subprocess.run([program, "--help"], env=environment, check=True, capture_output=True, text=True)
    assert daemon.asked == [("templates.list", {})] * 2
    assert "inspect" in shown.stdout and "build" in shown.stdout
