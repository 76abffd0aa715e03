"""The daemon's own words: one daemon a root, signals, reload, errors in one line."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from engine_box import Box, FakeSupervisor

from multios import daemon
from multios.engine import engine as engine_module
from multios.errors import MultiosError, Unavailable
from multios.settings import load


def test_a_second_daemon_on_the_same_roots_is_refused(box: Box) -> None:
    held = daemon._lock_pid_file(box.settings)
    with pytest.raises(Unavailable, match=f"process {os.getpid()}"):
        daemon._lock_pid_file(box.settings)
    assert daemon._running_pid(box.settings) == os.getpid()
    os.close(held)
    assert daemon._running_pid(box.settings) is None


def test_someone_who_only_looks_does_not_stop_a_start(box: Box) -> None:
    box.settings.pid_file.touch()
    looking = os.open(box.settings.pid_file, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.1, os.close, (looking,))
    timer.start()
    os.close(daemon._lock_pid_file(box.settings))
    timer.join()


def test_a_daemon_serves_reloads_and_ends_by_signals(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.close()
    monkeypatch.setattr(engine_module, "Supervisor", FakeSupervisor)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    file = tmp_path / "multios.toml"
    made = daemon.Daemon(load(file, {}), file, leave_when_idle=False)
    file.write_text(file.read_text() + "[default_resources]\npids_limit = 77\n")
    monkeypatch.setattr(os, "environ", {})
    seen: list[Any] = []

    def steer() -> None:
        while not daemon._answers(box.settings):
            pass
        os.kill(os.getpid(), signal.SIGHUP)
        box.eventually(lambda: made._engine.settings.default_resources.pids_limit == 77)
        seen.append("reloaded")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=steer)
    thread.start()
    try:
        made.run()
    finally:
        thread.join(30)
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert seen == ["reloaded"]
    assert not (box.settings.exec_root / "api.sock").exists()
    box.engine = engine_module.Engine(box.settings)  # for the fixture to close


def test_a_reload_with_an_unknown_default_driver_changes_nothing(box: Box) -> None:
    from dataclasses import replace

    broken = replace(box.settings, defaults=replace(box.settings.defaults, isolation="absent"))
    with pytest.raises(MultiosError, match="absent"):
        box.engine.reload(broken)
    assert box.engine.settings.defaults.isolation == "fake"
    box.started()


def test_a_reload_gives_new_containers_new_default_drivers(box: Box) -> None:
    from dataclasses import replace

    changed = replace(box.settings, defaults=replace(box.settings.defaults, security="noop"))
    box.engine.reload(changed)
    assert box.create().drivers["security.noop"].name == "noop"


def test_an_error_of_the_host_is_one_line_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plain"
    file.touch()
    config = tmp_path / "multios.toml"
    config.write_text(f'[daemon]\ndata_root = "{file}/data"\nexec_root = "{file}/run"\n')
    monkeypatch.setattr(sys, "argv", ["multios-containerd", "--foreground", "--config", str(config)])
    assert daemon.main() == 125
    said = capsys.readouterr().err
    assert said.startswith("multios-containerd: ") and "Traceback" not in said
