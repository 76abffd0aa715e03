"""The life of a container, by the words that users type."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine, eventually


def test_a_container_goes_from_created_to_running_to_exited_to_gone(engine: PrivateEngine, name: str) -> None:
    created = engine.out("create", "--name", name, IMAGE, "sleep", "1000")
    assert re.fullmatch("[0-9a-f]{64}", created)
    assert engine.status_of(name) == "created"
    assert engine.out("start", name) == name
    assert engine.status_of(name) == "running"
    assert engine.out("stop", "-t", "0", name) == name
    assert engine.status_of(name) == "exited"
    assert engine.out("delete", name) == name
    assert "no such container" in engine.run("inspect", name, status=None).stderr


@pytest.mark.parametrize("form", ["name option", "image option", "config"])
def test_create_takes_the_name_and_the_image_in_every_form(
    engine: PrivateEngine, name: str, form: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"name": name, "image": IMAGE, "command": ["true"]}))
    words = {
        "name option": ["--name", name, IMAGE, "true"],
        "image option": ["--image", IMAGE, name, "true"],
        "config": ["--config", str(config)],
    }[form]
    engine.run("create", *words)
    record = engine.inspect(name)
    assert record["Name"].lstrip("/") == name
    assert engine.out("start", "--attach", name) == ""


def test_a_container_is_found_by_name_id_and_short_id(engine: PrivateEngine, name: str) -> None:
    container_id = engine.out("create", "--name", name, IMAGE)
    for ref in (name, container_id, container_id[:12], container_id[:6]):
        assert engine.inspect(ref)["Id"] == container_id


def test_start_of_a_running_and_stop_of_a_stopped_container_are_no_errors(
    engine: PrivateEngine, running: str
) -> None:
    engine.run("start", running)
    engine.run("stop", "-t", "0", running)
    engine.run("stop", running)


def test_restart_gives_it_another_process(engine: PrivateEngine, running: str) -> None:
    before = engine.inspect(running)["State"]["Pid"]
    engine.run("restart", "-t", "0", running)
    after = engine.inspect(running)["State"]["Pid"]
    assert before != after and after > 0


def test_a_paused_container_stands_still_until_it_is_resumed(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "while :; do date +%s%N; sleep 0.02; done")
    eventually(lambda: engine.out("logs", name), "it writes")
    engine.run("pause", name)
    assert engine.status_of(name) == "paused"
    still = engine.out("logs", name)
    assert engine.out("logs", name) == still
    assert engine.run("exec", name, "true", status=125).stderr.count("\n") == 2
    engine.run("resume", name)
    assert engine.status_of(name) == "running"
    eventually(lambda: engine.out("logs", name) != still, "it writes on")


def test_a_running_container_is_deleted_only_by_force(engine: PrivateEngine, running: str) -> None:
    refused = engine.run("delete", running, status=125)
    assert "delete --force" in refused.stderr
    engine.run("delete", "--force", running)
    assert running not in engine.out("ps", "--all", "--format", "{{.Names}}").split()


def test_stop_sends_the_stop_signal_and_kills_when_the_time_is_over(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--name", name, IMAGE,
        "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    )  # fmt: skip
    eventually(lambda: "ready" in engine.out("logs", name), "the trap is set")
    engine.run("stop", name)
    assert engine.inspect(name)["State"]["ExitCode"] == 7
    engine.run("delete", name)
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    engine.run("stop", "-t", "1", name)
    assert engine.inspect(name)["State"]["ExitCode"] == 137


def test_kill_sends_any_signal(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--name", name, IMAGE,
        "sh", "-c", "trap 'echo hangup' HUP; echo ready; while :; do sleep 0.05; done",
    )  # fmt: skip
    eventually(lambda: "ready" in engine.out("logs", name), "the trap is set")
    engine.run("kill", "-s", "HUP", name)
    eventually(lambda: "hangup" in engine.out("logs", name), "the signal arrived")
    engine.run("kill", name)
    assert engine.out("wait", name) == "137"


def test_wait_prints_the_exit_code_also_of_a_container_that_has_ended(
    engine: PrivateEngine, name: str
) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", "sleep 0.2; exit 9")
    assert engine.out("wait", name) == "9"
    assert engine.out("wait", name) == "9"


def test_ps_shows_running_ones_and_with_all_the_others_too(engine: PrivateEngine, running: str) -> None:
    def names(*words: str) -> list[str]:
        return engine.out("ps", "--format", "{{.Names}}", *words).split()

    assert running in names()
    engine.run("stop", "-t", "0", running)
    assert running not in names()
    assert running in names("--all")
    assert running in names("--filter", "status=exited")
    row = next(
        row for row in json.loads(engine.out("ps", "--all", "--format", "json")) if row["name"] == running
    )
    assert row["exit_code"] == 137 and row["image"] == IMAGE


def test_rename_frees_the_old_name(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "--name", f"{name}-old", IMAGE)
    engine.run("rename", f"{name}-old", name)
    assert engine.status_of(name) == "created"
    engine.run("inspect", f"{name}-old", status=125)


def test_rm_deletes_the_container_when_it_ends(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "--rm", "--name", name, IMAGE, "true")
    engine.run("inspect", name, status=125)


def test_top_lists_the_processes_inside(engine: PrivateEngine, running: str) -> None:
    assert "sleep 1000" in engine.out("top", running)


def test_environment_user_directory_and_hostname_are_what_was_asked_for(engine: PrivateEngine) -> None:
    out = engine.out(
        "run", "--rm", "-e", "COLOUR=green", "-u", "student", "-w", "/home/student", "--hostname", "desk",
        IMAGE, "sh", "-c", "echo $COLOUR $(id -u) $(pwd) $(hostname) $HOME",
    )  # fmt: skip
    assert out == "green 1000 /home/student desk /home/student"


def test_exec_runs_in_the_container_with_its_own_streams_and_status(
    engine: PrivateEngine, running: str
) -> None:
    done = engine.run(
        "exec", "-i", running, "sh", "-c", "cat; echo oops >&2; exit 5", input="from outside\n", status=5
    )
    assert done.stdout == "from outside\n"
    assert done.stderr == "oops\n"
    out = engine.out(
        "exec", "-u", "student", "-w", "/tmp", "-e", "A=b", running, "sh", "-c", "echo $(id -un) $(pwd) $A"
    )
    assert out == "student /tmp b"


def test_exec_detached_goes_on_after_its_client(engine: PrivateEngine, running: str) -> None:
    engine.run("exec", "-d", running, "sh", "-c", "sleep 0.2; echo there > /tmp/mark")
    eventually(
        lambda: engine.run("exec", running, "cat", "/tmp/mark", status=None).stdout == "there\n", "it ran"
    )


def test_root_inside_is_not_root_outside(engine: PrivateEngine, running: str) -> None:
    assert engine.out("exec", running, "id", "-u") == "0"
    pid = engine.inspect(running)["State"]["Pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1]) >= 0x7000_0000  # type: ignore[index]
    assert re.search(r"^NoNewPrivs:\s+1", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2", status, re.MULTILINE)


def test_info_version_features_and_doctor_answer(engine: PrivateEngine) -> None:
    assert json.loads(engine.out("version", "--format", "json"))
    assert json.loads(engine.out("info", "--format", "json"))
    features = json.loads(engine.out("features", "--format", "json"))
    assert {"overlay", "vfs"} <= set(features["drivers"]["storage"])
    assert engine.run("doctor", status=None).stdout


def test_an_init_tells_nothing_of_the_host(engine: PrivateEngine) -> None:
    shown = engine.run("run", "--rm", "--init", IMAGE, "cat", "/proc/1/cmdline", "/proc/1/comm").stdout
    assert set(shown.replace("\0", "\n").split()) == {"multios-init"}


def test_init_reaps_what_it_did_not_start(engine: PrivateEngine, name: str) -> None:
    engine.run(
        "run", "-d", "--init", "--name", name, IMAGE, "sh", "-c", "(sh -c 'true &' &); exec sleep 1000"
    )
    eventually(lambda: "sleep 1000" in engine.out("top", name), "it runs")
    eventually(
        lambda: (
            engine.out("exec", name, "sh", "-c", "grep -ls 'State:.Z' /proc/[0-9]*/status | wc -l") == "0"
        ),
        "no zombies",
    )
