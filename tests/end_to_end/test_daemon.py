"""The daemon's own words."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from private_engine import DAEMON, IMAGE, PrivateEngine, eventually


@pytest.fixture(scope="module")
def own(make_engine: object) -> PrivateEngine:
    engine: PrivateEngine = make_engine()  # type: ignore[operator]
    return engine


def test_status_stop_and_start_again(own: PrivateEngine) -> None:
    assert f"process {own.daemon_pid}" in own.daemon("status")
    own.daemon("stop")
    assert "not running" in own.daemon("status", status=3)
    own.daemon("--daemon")
    assert IMAGE.split(":")[0] in own.out("images")


def test_a_second_daemon_on_the_same_roots_is_refused(own: PrivateEngine) -> None:
    assert str(own.daemon_pid) in own.daemon("--foreground", status=125)


def test_a_client_starts_the_daemon_on_demand(own: PrivateEngine) -> None:
    own.daemon("stop")
    assert own.out("run", "--rm", IMAGE, "echo", "there") == "there"


def test_containers_outlive_a_stop(own: PrivateEngine) -> None:
    own.run("run", "-d", "--name", "lasting", IMAGE, "sleep", "1000")
    pid = own.inspect("lasting")["State"]["Pid"]
    own.daemon("stop")
    own.daemon("--daemon")
    assert own.inspect("lasting")["State"]["Pid"] == pid
    own.run("delete", "--force", "lasting")


def test_reload_takes_new_settings(own: PrivateEngine) -> None:
    pid = own.daemon_pid
    text = own.config.read_text()
    own.config.write_text(text + '[default_resources]\nmemory_limit = "77M"\n')
    own.daemon("reload")

    def limited() -> bool:
        own.run("create", "--name", "limited", IMAGE, "sleep", "100")
        own.run("start", "limited")
        row = json.loads(own.out("stats", "--no-stream", "--format", "json", "limited"))[0]
        own.run("delete", "--force", "limited")
        return bool(row["memory_limit"] == 77 * 2**20)

    eventually(limited, "the new default holds")
    own.config.write_text(text)
    own.daemon("reload")
    assert own.daemon_pid == pid


def test_a_wrong_settings_file_names_file_and_key(own: PrivateEngine, tmp_path: object) -> None:
    file = own.directory / "wrong.conf"
    file.write_text('[networking]\nsubnett = "10.0.0.0/8"\n')
    done = subprocess.run(
        [str(DAEMON), "--config", str(file), "--foreground"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=own.environment, timeout=30,
    )  # fmt: skip
    assert done.returncode == 125
    assert "subnett" in done.stderr and "'subnet'" in done.stderr


def test_foreground_logs_to_the_terminal_and_ends_on_a_signal(own: PrivateEngine) -> None:
    own.daemon("stop")
    daemon = subprocess.Popen(
        [str(DAEMON), "--config", str(own.config), "--foreground", "--log-level", "debug"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=own.environment,
    )  # fmt: skip
    eventually(lambda: (own.exec_root / "api.sock").is_socket(), "it serves")
    own.run("version")
    daemon.send_signal(signal.SIGTERM)
    out, _ = daemon.communicate(timeout=20)
    assert daemon.returncode == 0
    assert b"serving" in out
