"""What users see: tables, formats, errors, exit codes; never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import no_such_container

from multios.testing.isolation_box import eventually

SCRIPT = str(Path(sys.executable).with_name("multios-container"))
PORTS = [{"container": 80, "host": 8080, "protocol": "tcp", "address": ""}]


def container(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "0123456789abcdef" * 4,
        "name": "my-python",
        "image": "python-learning",
        "command": ["python3", "-m", "http.server", "--bind", "0.0.0.0"],
        "created": time.time() - 185,
        "status": "running",
        "status_text": "Up 3 minutes",
        "ports": PORTS,
        "pid": 42,
        "owner": 0,
        "exit_code": None,
        "labels": {"course": "101"},
        "template": "python-learning",
    }
    return {**row, **changes}


# --- formats -----------------------------------------------------------------------------------------


def test_ps_prints_a_table(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.list"] = [
        container(),
        container(name="b", ports=[], created=time.time() - 7200),
    ]
    title, first, second = cli("ps").stdout.splitlines()
    assert title.split("   ")[0] == "CONTAINER ID"
    assert "python3 -m http.server …" in first
    assert "3 minutes ago" in first and "0.0.0.0:8080->80/tcp" in first and first.endswith("my-python")
    assert "2 hours ago" in second and first.index("Up") == second.index("Up") == title.index("STATUS")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Names}}", "my-python"),
        ("{{.ID}} {{ .Image }}", "0123456789ab python-learning"),
        ("{{.Name}}\\t{{.Status}}", "my-python\tUp 3 minutes"),
        ("{{.Labels.course}}", "101"),
        ("{{json .Labels}}", '{"course":"101"}'),
        ("{{.Pid}}|{{.exit_code}}|{{.Ports}}", "42|<no value>|0.0.0.0:8080->80/tcp"),
        ("{{json .ports}}", json.dumps(PORTS, separators=(",", ":"))),
        ("table {{.Names}}\\t{{.ID}}", "NAMES       CONTAINER ID\nmy-python   0123456789ab"),
    ],
)
def test_ps_prints_by_template(template: str, expected: str, daemon: Any, cli: Any) -> None:
    daemon.answers["containers.list"] = [container()]
    done = cli("ps", "--format", template)
    assert (done.stderr, done.stdout) == ("", expected + "\n")


def test_ps_prints_json_and_ids(daemon: Any, cli: Any) -> None:
    rows = [container()]
    daemon.answers["containers.list"] = rows
    assert json.loads(cli("ps", "--format", "json").stdout) == rows
    assert json.loads(cli("ps", "--format", "{{json .}}").stdout) == rows[0]
    assert cli("ps", "-q").stdout == "0123456789ab\n"
    assert cli("ps", "-q", "--no-trunc").stdout == rows[0]["id"] + "\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nmae}}", "no such field: 'Nmae'"),
        ("{{range .}}", "cannot read '{{range .}}'"),
        ("{{.Name", "cannot read '{{.Name'"),
        ("jsn", "the template names no field"),
        ("{{.Name.x}}", "goes below a plain value"),
    ],
)
def test_a_wrong_template_is_explained(template: str, message: str, daemon: Any, cli: Any) -> None:
    daemon.answers["containers.list"] = [container()]
    done = cli("ps", "--format", template)
    assert done.returncode == 125
    assert message in done.stderr and done.stderr.count("\n") == 2


def test_inspect_prints_json_and_nested_fields(daemon: Any, cli: Any) -> None:
    record = {"Id": "0123", "State": {"Status": "running", "Running": True, "ExitCode": None}, "Args": ["a"]}
    daemon.answers["containers.inspect"] = record
    assert json.loads(cli("inspect", "a", "b").stdout) == [record, record]
    assert cli("inspect", "--format", "{{.State.Status}} {{.State.Running}}", "a").stdout == "running true\n"
    assert cli("inspect", "--format", "{{.Args}}", "a").stdout == '["a"]\n'


def test_inspect_shows_what_it_found_and_fails_for_the_rest(daemon: Any, cli: Any) -> None:
    def inspect(request: Any) -> Any:
        return {"Id": "1"} if request.params["ref"] == "a" else no_such_container(request)

    daemon.answers["containers.inspect"] = inspect
    done = cli("inspect", "a", "b")
    assert (done.returncode, json.loads(done.stdout)) == (125, [{"Id": "1"}])
    assert done.stderr == "Error: no such container: 'b'\nsee ps --all\n"


def test_images_are_listed_by_name(daemon: Any, cli: Any) -> None:
    image = {
        "id": "sha256:" + "ab" * 32,
        "references": ["debian:12", "deb:x"],
        "created": 0,
        "size": 123456789,
    }
    daemon.answers["images.list"] = [image, {**image, "references": []}]
    done = cli("images")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["debian", "12"],
        ["deb", "x"],
        ["<none>", "<none>"],
    ]
    assert "123 MB" in done.stdout and "abababababab" in done.stdout
    assert cli("images", "-q").stdout == "abababababab\n" * 2


def test_stats_top_doctor_features_info_version_and_events_print(daemon: Any, cli: Any) -> None:
    reading = {
        "id": "0123456789abcdef",
        "name": "a",
        "cpu_percent": 12.345,
        "memory_bytes": 5 * 2**20,
        "memory_limit": 2**30,
        "memory_percent": 0.488,
        "pids": 3,
        "pids_limit": None,
        "read_bytes": None,
        "write_bytes": 10,
        "received_bytes": 1500,
        "sent_bytes": 0,
    }

    def stats(request: Any) -> dict[str, Any]:
        request.send({"item": [reading]})
        return {}

    def events(request: Any) -> dict[str, Any]:
        request.send(
            {
                "item": {
                    "sequence": 1,
                    "type": "container",
                    "action": "start",
                    "id": "0123",
                    "name": "a",
                    "time": 1.5,
                    "attributes": {},
                }
            }
        )
        return {}

    finding = {
        "subject": "cgroups",
        "health": "fail",
        "detail": "none",
        "remedy": "mount them",
        "source": "core",
    }
    daemon.answers.update(
        {
            "containers.stats": stats,
            "containers.top": {"titles": ["PID", "CMD"], "processes": [["1", "sh"], ["22", "cat"]]},
            "system.doctor": [finding, {**finding, "health": "ok", "subject": "kernel"}],
            "system.features": {"kernel": {"pidfd": True}, "cgroup": "hybrid"},
            "system.info": {"containers": {"running": 1}, "cgroup": "hybrid"},
            "system.version": {"version": "0.1.0", "kernel": "6.18"},
            "system.events": events,
        }
    )
    shown = cli("stats", "--no-stream").stdout
    assert "a 12.35% 5 MiB / 1 GiB 0.49% 1.5 kB / 0 B -- / 10 B 3" in " ".join(shown.split())
    assert cli("top", "a", "-o", "pid,user", "--format", "args").stdout == cli("top", "a").stdout
    assert daemon.asked[-2][1] == {"ref": "a", "columns": ["pid", "user", "args"]}
    assert cli("top", "a").stdout == "PID   CMD\n1     sh\n22    cat\n"
    done = cli("doctor")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "fail  cgroups: none")
    assert "→ mount them" in done.stdout
    assert cli("features").stdout == "kernel:\n  pidfd: yes\ncgroup: hybrid\n"
    assert json.loads(cli("features", "--format", "json").stdout)["kernel"] == {"pidfd": True}
    assert cli("info", "--format", "{{.Containers.Running}}").stdout == "1\n"
    assert "Server:\n  version: 0.1.0" in cli("version").stdout
    assert "container start 0123 (name=a)" in cli("events", "--no-stream").stdout
    assert json.loads(cli("events", "--format", "json").stdout)["action"] == "start"


def test_plugins_are_listed_shown_and_checked(daemon: Any, cli: Any) -> None:
    good = {
        "kind": "storage",
        "name": "overlay",
        "distribution": "multios-storage-overlay",
        "version": "0.1.0",
        "status": "default",
        "summary": "layers",
        "capabilities": ["QUOTA"],
        "error": "",
    }
    bad = {**good, "name": "zfs", "status": "broken", "error": "no module named zfs"}
    health = [{"subject": "overlayfs", "health": "skip", "detail": "not on this kernel"}]
    settings = [{"name": "redirect", "type": "bool", "default": False, "value": False}]
    daemon.answers["plugins.list"] = [good, bad]
    daemon.answers["plugins.show"] = {**good, "settings": settings, "health": health}
    assert "no module named zfs" in cli("plugin", "list").stdout
    shown = cli("plugin", "show", "overlay").stdout
    assert "QUOTA" in shown and "redirect" in shown and "not on this kernel" in shown
    assert cli("plugin", "doctor").returncode == 1
    daemon.answers["plugins.list"] = [good]
    assert cli("plugin", "doctor").returncode == 0


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "cause", "remedy"),
    [
        ("creat", "no such command: 'creat'", "did you mean 'create'? see multios-container --help"),
        ("network lst", "no such command: 'network lst'", "did you mean 'list'? see multios-container network --help"),
        ("ps --al", "no such option: --al", "did you mean '--all'? see multios-container ps --help"),
        ("ps extra", "got unexpected extra argument (extra)", "see multios-container ps --help"),
        ("start", "missing CONTAINER", "see multios-container start --help"),
        ("create --cpu-shares many x", "--cpu-shares: 'many' is not a whole number", "see multios-container create --help"),
        ("create --cpu-limit 1x x", "--cpu-limit: '1x' is neither a number of cores nor a percentage", "see multios-container create --help"),
        ("create --template-option jupyter x", "--template-option: 'jupyter' is not KEY=VALUE", "see multios-container create --help"),
        ("create --read-only-tmpfs maybe x", "--read-only-tmpfs: 'maybe' is not one of true, false", "see multios-container create --help"),
        ("create", "no image or template is given", "name one: multios-container create IMAGE [COMMAND]"),
        ("create -p eighty x", "--publish: 'eighty' cannot be read", "write it as [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"),
        ("create -p 1-2:1-3 x", "--publish: '1-2:1-3' cannot be read", "write it as [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"),
        ("create -v /only x", "--volume: '/only' has no source", "write --volume SOURCE:CONTAINER"),
        ("create -v a:/b:rx x", "--volume: 'a:/b:rx' cannot be read", "write it as SOURCE:CONTAINER[:ro|:rw|:nocopy]"),
        ("create --ulimit nofile x", "--ulimit: 'nofile' cannot be read", "write it as NAME=SOFT[:HARD]"),
        ("create --config none.json", "none.json: No such file or directory", "give a file that you may read"),
        ("create --env-file none x", "none: No such file or directory", "give a file that you may read"),
        ("template validate nothere", "nothere: No such file or directory", "check the path"),
        ("ps --filter status", "--filter: 'status' is not KEY=VALUE", "write it as --filter status=running"),
        ("update my-python", "nothing to update", "give a limit, such as --memory-limit 2G"),
        ("cp a b", "cp is between one container and this host", "write one side as CONTAINER:/PATH and the other as a path on this host, or - for a tar stream"),
        ("completion csh", "no such shell: 'csh'", "did you mean 'zsh'? there are bash, zsh, fish"),
        ("--sokcet x ps", "no such option: --sokcet", "did you mean '--socket'? see multios-container --help"),
        ("plugin new star", "what kind of plugin?", "give --kind, one of isolation, storage, network, security, template, template_converter, image_source, orchestrator, hooks, command"),
        ("start -a a b", "only one container can be attached to", "start the others without --attach"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line_of_cause_and_one_of_what_to_do(
    line: str, cause: str, remedy: str, daemon: Any, cli: Any
) -> None:
    done = cli(*line.split())
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"Error: {cause}\n{remedy}\n"
    assert daemon.asked == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{} x", '{"image": "x", "networking": []}', "\xff\xfe", "[" * 100_000]
)
def test_a_broken_configuration_file_is_refused(content: str, daemon: Any, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "F").write_bytes(content.encode("latin-1"))
    done = cli("create", "--config", "F", "--network", "lab", "x")
    assert done.returncode == 125
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 2


def test_help_is_on_stdout_and_no_failure(cli: Any) -> None:
    for words in (["--help"], [], ["network"], ["network", "--help"], ["run", "--help"], ["ps", "-h"]):
        done = cli(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout.startswith("Usage: multios-container")


def test_the_version_needs_no_daemon(cli: Any) -> None:
    from multios import __version__

    for words in (["--version"], ["-v"], ["--debug", "--version"], ["version", "--client"]):
        assert cli(*words).stdout == f"multios-container {__version__}\n"


def test_no_traceback_reaches_a_user_unless_asked_for(daemon: Any, cli: Any) -> None:
    daemon.answers["containers.list"] = [{"id": "an incomplete row"}]
    done = cli("ps")
    assert done.returncode == 125
    assert (
        done.stderr
        == "Error: unexpected KeyError: 'image'\nrun again with --debug before the command to see where\n"
    )
    assert "Traceback" in cli("--debug", "ps").stderr


def test_what_the_daemon_says_is_one_line_each(daemon: Any, cli: Any) -> None:
    def fail(request: Any) -> Any:
        from multios.errors import StepFailed

        raise StepFailed("mount", "two\nlines", "and\na remedy")

    daemon.answers["containers.start"] = fail
    done = cli("start", "a")
    assert (done.returncode, done.stderr) == (125, "Error: mount: two lines\nand a remedy\n")


def test_a_listing_whose_reader_leaves_ends_quietly(daemon: Any, environment: dict[str, str]) -> None:
    daemon.answers["containers.list"] = [container(name=f"container-{number}") for number in range(5000)]
    environment.pop("PYTHONUNBUFFERED", None)  # with it, Python itself drops the rest of a partial write
    line = f"{SCRIPT} ps | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("141", "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_what_goes_to_a_closed_stream_is_lost_quietly(
    closed: str, daemon: Any, environment: dict[str, str]
) -> None:
    daemon.answers["containers.list"] = [container(name="web")]
    done = subprocess.run(
        ["bash", "-c", f"{SCRIPT} ps {closed}; echo $?"],
        env=environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_colour_is_for_terminals_only(daemon: Any, environment: dict[str, str]) -> None:
    import pty

    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        master, slave = pty.openpty()
        subprocess.run(
            [SCRIPT, "creat"], env={**environment, "TERM": "xterm", **extra}, stderr=slave, check=False
        )
        os.close(slave)
        shown = os.read(master, 1000)
        os.close(master)
        assert (b"\x1b[31m" in shown) is coloured


# --- finding the daemon --------------------------------------------------------------------------------


def test_no_daemon_at_a_named_socket_is_an_error_and_starts_none(cli: Any, tmp_path: Path) -> None:
    for words in (
        ["ps"],
        ["--socket", str(tmp_path / "api.sock"), "ps"],
        ["--host", f"unix://{tmp_path}/api.sock", "ps"],
    ):
        done = cli(*words)
        assert done.returncode == 125
        expected = (
            f"Error: no daemon answers at {tmp_path}/api.sock\nstart it: sudo multios-containerd --daemon\n"
        )
        assert done.stderr == expected
    assert list(tmp_path.iterdir()) == []


def test_the_socket_option_comes_before_the_environment(
    daemon: Any, cli: Any, environment: dict[str, str]
) -> None:
    daemon.answers["containers.list"] = []
    elsewhere = {**environment, "MULTIOS_SOCKET": "/nowhere/api.sock"}
    assert cli("ps", env=elsewhere).returncode == 125
    assert cli(f"--socket={daemon.path}", "ps", env=elsewhere).returncode == 0


@pytest.mark.needs_root
def test_who_may_not_start_or_use_the_daemon_is_told_what_to_ask_for(
    daemon: Any, environment: dict[str, str]
) -> None:
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        "from multios.api.client import connect; from multios.errors import MultiosError\n"
        "try: connect(**eval(sys.argv[1]))\n"
        "except MultiosError as error: print(type(error).__name__, '|', error.remedy)"
    )
    os.chmod(daemon.path.parent, 0o755)
    os.chmod(daemon.path, 0o600)
    settings = {key: value for key, value in environment.items() if key != "MULTIOS_SOCKET"}
    settings["MULTIOS_EXEC_ROOT"] = "/nowhere"
    if os.stat(daemon.path.parents[1]).st_mode & 0o005 == 0:
        target = "/etc/shadow/x"
    else:
        target = str(daemon.path)
    for arguments, expected in (
        ({"socket": target}, "Refused | ask the administrator to add you to its group"),
        ({}, "Unavailable | ask the administrator to start it: sudo multios-containerd --daemon"),
    ):
        command = [sys.executable, "-c", code, repr(arguments)]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(expected) or "/etc/shadow" in target


@pytest.mark.needs_root
def test_a_daemon_is_started_on_demand_or_its_last_words_are_shown(
    environment: dict[str, str], tmp_path: Path
) -> None:
    settings = {key: value for key, value in environment.items() if key != "MULTIOS_SOCKET"}
    settings.update({"MULTIOS_EXEC_ROOT": str(tmp_path / "run"), "PYTHONPATH": str(tmp_path / "stand-in")})
    stand_in = tmp_path / "stand-in" / "sitecustomize.py"
    stand_in.parent.mkdir()
    stand_in.write_text(
        "import sys, os\n"
        "if 'multios.daemon' in ' '.join(sys.orig_argv):\n"
        "    assert sys.orig_argv[-1] == '--on-demand'\n"
        "    if os.path.exists(os.environ['MULTIOS_EXEC_ROOT'] + '/fail'):\n"
        "        print('first'); print('the disk is full'); sys.stdout.flush(); os._exit(3)\n"
        f"    sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "    import time; from pathlib import Path; from fake_daemon import FakeDaemon\n"
        "    daemon = FakeDaemon(Path(os.environ['MULTIOS_EXEC_ROOT']) / 'api.sock')\n"
        "    daemon.answers['containers.list'] = []\n"
        "    until = time.monotonic() + 60\n"
        "    while not os.path.exists(os.environ['MULTIOS_EXEC_ROOT'] + '/fail') and time.monotonic() < until:\n"
        "        time.sleep(0.01)\n"
        "    os._exit(0)\n"
    )
    done = subprocess.run(
        [SCRIPT, "ps"], env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "run" / "fail").touch()
    eventually(lambda: not _listens(tmp_path / "run" / "api.sock"), "the daemon has ended")
    done = subprocess.run(
        [SCRIPT, "ps"], env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 125
    assert done.stderr == (
        "Error: the daemon did not start: the disk is full\n"
        "see why with: sudo multios-containerd --foreground --log-level debug\n"
    )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


# --- plugins' commands -----------------------------------------------------------------------------------


@pytest.fixture
def plugins(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment with a distribution that brings a good and a broken command."""
    site = tmp_path / "site"
    information = site / "multios_course-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: multios-course\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[multios.command.v1]\ncourse = multios_course:course\nbroken = multios_nothing:command\n"
    )
    (site / "multios_course.py").write_text(
        "import click\n@click.command()\n@click.argument('name')\n@click.pass_obj\n"
        "def course(context, name):\n    click.echo(f'{name} {context.call(\"system.version\")}')\n"
    )
    return {**environment, "PYTHONPATH": str(site)}


def test_a_plugin_adds_a_command(daemon: Any, cli: Any, plugins: dict[str, str]) -> None:
    daemon.answers["system.version"] = 1
    done = cli("course", "algebra", env=plugins)
    assert (done.returncode, done.stdout, done.stderr) == (0, "algebra 1\n", "")
    assert "by multios-course" in cli("--help", env=plugins).stdout
    assert "did you mean 'course'?" in cli("coarse", env=plugins).stderr


def test_a_broken_command_of_a_plugin_names_its_distribution_and_breaks_nothing_else(
    daemon: Any, cli: Any, plugins: dict[str, str]
) -> None:
    daemon.answers["containers.list"] = []
    done = cli("broken", env=plugins)
    assert done.returncode == 125
    assert "'broken' of multios-course is broken" in done.stderr and "Traceback" not in done.stderr
    assert cli("--help", env=plugins).returncode == 0
    assert cli("ps", env=plugins).returncode == 0
