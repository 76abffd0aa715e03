"""On a kernel without the newer calls the older ways do the same: each call is refused with ENOSYS in turn, and all at once."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from private_engine import IMAGE, PrivateEngine, eventually

WITHOUT = {
    "clone3": ["clone3"],
    "openat2": ["openat2"],
    "setns of a process": ["setns-pidfd"],
    "mount_setattr": ["mount_setattr"],
    "all of these": [
        *("clone3", "openat2", "setns-pidfd", "mount_setattr", "pidfd_getfd", "close_range", "faccessat2"),
        *(
            "landlock_create_ruleset",
            "quotactl_fd",
            "statx",
            "process_madvise",
            "epoll_pwait2",
            "futex_waitv",
        ),
    ],
}


@pytest.fixture(scope="module", params=WITHOUT.values(), ids=WITHOUT)
def older(make_engine: Callable[..., PrivateEngine], request: pytest.FixtureRequest) -> PrivateEngine:
    """An engine on a kernel without some calls. Without mount_setattr nothing can be idmapped: the fallback is allowed."""
    calls: list[str] = request.param
    engine = make_engine(image=False, hidden_calls=calls)
    if "mount_setattr" in calls:
        engine.daemon("stop")
        engine.config.write_text(
            engine.config.read_text() + '\n[security]\nuser_namespace_fallback = "host"\n'
        )
        engine.start()
    engine.import_small_image()
    return engine


@pytest.fixture(scope="module")
def lives(older: PrivateEngine) -> str:
    """A container that sleeps."""
    older.run("run", "-d", "--name", "lives", "--memory-limit", "64M", IMAGE, "sleep", "1000")
    return "lives"


def test_a_container_runs_confined_in_namespaces_of_its_own(older: PrivateEngine) -> None:
    out = older.out("run", "--rm", IMAGE, "sh", "-c", "echo pid $$; cat /proc/self/status")
    assert "pid 1" in out
    assert "NoNewPrivs:\t1" in out
    assert "Seccomp:\t2" in out


def test_exec_enters_the_same_namespaces(older: PrivateEngine, lives: str) -> None:
    kinds = ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup")
    paths = [f"/proc/self/ns/{kind}" for kind in kinds]
    inside = older.out(
        "exec", lives, "sh", "-c", f"for path in {' '.join(paths)}; do readlink $path; done"
    ).split()
    pid = older.inspect(lives)["State"]["Pid"]
    assert inside == [str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in kinds]


def test_files_go_in_and_out_and_no_link_leads_out(older: PrivateEngine, lives: str, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("hello")
    older.run("cp", str(tmp_path / "note"), f"{lives}:/root/note")
    assert older.out("exec", lives, "cat", "/root/note") == "hello"
    older.run("exec", lives, "ln", "-s", "/etc", "/root/out")
    older.run("cp", str(tmp_path / "note"), f"{lives}:/root/out/multios-note")
    assert older.out("exec", lives, "cat", "/etc/multios-note") == "hello"
    assert not Path("/etc/multios-note").exists()
    older.run("cp", f"{lives}:/root/note", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "hello"


def test_a_read_only_volume_is_read_only_also_below_its_top(older: PrivateEngine, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    words = ("run", "--rm", "-v", f"{tmp_path}:/mnt:ro", IMAGE, "sh", "-c")
    assert older.out(*words, "cat /mnt/data") == "x"
    refused = older.run(*words, "echo y > /mnt/data", status=None)
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr
    assert (tmp_path / "data").read_text() == "x"


def test_an_image_is_built(older: PrivateEngine, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("copied")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nCOPY source /place\nRUN cat /place/file > /made && ln -s /made /link\nCOPY source/file /link\n"
    )
    older.run("build", "-t", "built:1", str(tmp_path))
    assert older.out("run", "--rm", "built:1", "cat", "/made") == "copied"


def test_the_rootfs_is_exported_and_diffed(older: PrivateEngine, lives: str, tmp_path: Path) -> None:
    older.run("exec", lives, "sh", "-c", "echo new > /added; rm /bin/ls")
    kinds = older.out("diff", lives).splitlines()
    assert "A /added" in kinds
    assert "D /bin/ls" in kinds
    with (tmp_path / "out.tar").open("wb") as file:
        done = older.popen("export", lives, stdout=file)
        assert done.wait(60) == 0
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "out.tar").read_bytes())) as archive:
        assert "added" in {entry.name.removeprefix("./") for entry in archive}


def test_limits_pause_and_kill_work(older: PrivateEngine, lives: str) -> None:
    older.run("update", lives, "--memory-limit", "32M")
    row = json.loads(older.out("stats", "--no-stream", "--format", "json", lives))[0]
    assert row["memory_limit"] == 32 << 20
    older.run("pause", lives)
    older.run("resume", lives)
    older.run("run", "-d", "--name", "killed", IMAGE, "sleep", "1000")
    older.run("kill", "killed")
    eventually(lambda: older.status_of("killed") == "exited", "it is dead")
    assert older.inspect("killed")["State"]["ExitCode"] == 137
    older.run("delete", "killed")


@pytest.mark.parametrize("call", ["pidfd_open", "open_tree", "move_mount"])
def test_a_kernel_that_lacks_what_has_no_other_way_is_refused_at_the_start(tmp_path: Path, call: str) -> None:
    engine = PrivateEngine(tmp_path, hidden_calls=[call])
    try:
        said = engine.daemon("--foreground", status=125)
        assert f"lacks {call}" in said
        assert "Linux 5.3 or later" in said
        assert "Traceback" not in said
    finally:
        engine.end()
