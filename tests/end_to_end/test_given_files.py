"""Files that a container is given, the size of its /dev/shm and its own kernel parameters, with each isolation driver."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaks import assert_nothing_leaked, settled
from other_users import User, open_to_group
from private_engine import IMAGE, PrivateEngine

SECRET = "hunter2-of-the-test"
Started = Callable[..., str]


@pytest.fixture(params=["ns", "oci"])
def isolation(request: pytest.FixtureRequest) -> str:
    if request.param == "oci" and shutil.which("runc") is None:
        pytest.skip("this host has no runc")
    return str(request.param)


def file(path: str, text: str = "given\n", **more: Any) -> dict[str, Any]:
    return {"path": path, "content": base64.b64encode(text.encode()).decode(), **more}


def secret() -> dict[str, Any]:
    return file("/run/secrets/password", SECRET, mode="0400", uid=1000, gid=1000, secret=True)


def written(tmp_path: Path, **document: Any) -> str:
    """The container document as a file."""
    place = tmp_path / "container.json"
    place.write_text(json.dumps({"image": IMAGE, **document}))
    return str(place)


@pytest.fixture
def started(engine: PrivateEngine, name: str, isolation: str, tmp_path: Path) -> Started:
    """Start a container that sleeps, with these fields of its document; its name."""

    def start(**document: Any) -> str:
        document = {"drivers": {"isolation": isolation}, "command": ["sleep", "1000"], **document}
        engine.run("run", "-d", "--config", written(tmp_path, name=name, **document))
        return name

    return start


def sh(engine: PrivateEngine, name: str, command: str, *options: str) -> str:
    return engine.out("exec", *options, name, "sh", "-c", command)


# --- files --------------------------------------------------------------------------------------------


def test_a_file_is_there_with_its_mode_and_owner(engine: PrivateEngine, started: Started) -> None:
    name = started(
        files=[file("/etc/greeting", "over\n"), file("/opt/app/app.conf", mode="0640", gid=50), secret()]
    )
    assert sh(engine, name, "cat /etc/greeting /opt/app/app.conf") == "over\ngiven"
    assert sh(engine, name, "stat -c '%a %u %g' /opt/app/app.conf /run/secrets/password").split("\n") == [
        "640 0 50",
        "400 1000 1000",
    ]
    assert sh(engine, name, "cat /run/secrets/password", "--user", "student") == SECRET
    assert sh(engine, name, "cat /run/secrets/password 2>&1; true", "--user", "12:12").endswith(
        "Permission denied"
    )


def test_nobody_inside_can_change_it(engine: PrivateEngine, started: Started) -> None:
    name = started(files=[file("/etc/app.conf", mode="0666"), secret()])
    for attempt in (
        "echo x > /etc/app.conf", "rm /etc/app.conf", "chmod 777 /etc/app.conf", "mv /etc/app.conf /etc/other",
        "umount /etc/app.conf", "mount -o remount,rw /etc/app.conf", "echo x > /run/secrets/password",
    ):  # fmt: skip
        assert sh(engine, name, f"{attempt} 2>/dev/null; echo $?") != "0", attempt
    assert sh(engine, name, "cat /etc/app.conf") == "given"


def test_it_is_there_again_after_a_restart_and_a_reset(engine: PrivateEngine, started: Started) -> None:
    name = started(files=[file("/etc/app.conf"), secret()])
    engine.run("restart", "-t", "0", name)
    assert sh(engine, name, "cat /etc/app.conf /run/secrets/password") == f"given\n{SECRET}"
    engine.run("reset", name)
    assert sh(engine, name, "cat /etc/app.conf /run/secrets/password") == f"given\n{SECRET}"


def test_it_lies_over_a_volume_and_under_a_read_only_root(engine: PrivateEngine, started: Started) -> None:
    name = started(
        tmpfs=[{"container": "/data"}],
        security={"read_only": True},
        files=[file("/data/app.conf"), file("/tmp/x"), secret()],
    )
    assert sh(engine, name, "cat /data/app.conf /tmp/x /run/secrets/password") == f"given\ngiven\n{SECRET}"


def test_it_takes_the_place_of_the_engines_own(engine: PrivateEngine, started: Started) -> None:
    assert sh(engine, started(files=[file("/etc/hosts", "own\n")]), "cat /etc/hosts") == "own"


def test_a_limit_on_disk_does_not_count_it(engine: PrivateEngine, started: Started) -> None:
    name = started(resources={"disk_limit": "2M"}, files=[file(f"/given/{n}", "x" * 900_000) for n in "abcd"])
    assert sh(engine, name, "cat /given/* | wc -c") == "3600000"


def test_images_exports_and_diff_are_without_it(
    engine: PrivateEngine, started: Started, tmp_path: Path
) -> None:
    name = started(files=[file("/etc/app.conf", SECRET), secret()])
    image = f"{name}:committed".lower()
    assert "app.conf" not in engine.out("diff", name) and "password" not in engine.out("diff", name)
    engine.run("commit", name, image)
    for text in ("/etc/app.conf", "/run/secrets/password"):
        assert engine.out("run", "--rm", image, "sh", "-c", f"cat {text} 2>/dev/null; true") == ""
    engine.run("stop", "-t", "0", name)
    for status in ("stopped", "running"):
        archive = tmp_path / f"{status}.tar"
        engine.run("export", "-o", str(archive), name)
        assert SECRET.encode() not in archive.read_bytes()
        engine.run("start", name)
    engine.run("image", "rm", "--force", image)


def test_a_secret_is_shown_nowhere(engine: PrivateEngine, started: Started) -> None:
    name = started(files=[file("/etc/app.conf", SECRET), secret()])
    engine.run("restart", "-t", "0", name)
    shown = "".join(
        engine.run(*words).stdout
        for words in (
            ("inspect", name), ("ps", "--all", "--format", "json"), ("explain", name), ("explain", "--as-shell", name),
            ("explain", "--format", "json", name), ("events", "--since", "1h", "--no-stream"), ("audit",), ("logs", name),
        )
    )  # fmt: skip
    assert name in shown
    log = engine.log.read_text()
    with sqlite3.connect(engine.data_root / "state.db") as database:
        rows = str(database.execute("SELECT record FROM container").fetchall())
    bundle = (engine.data_root / "containers" / engine.inspect(name)["Id"] / "config.json").read_text()
    for text in (SECRET, base64.b64encode(SECRET.encode()).decode()):
        assert all(text not in place for place in (shown, log, rows, bundle))
    given, hidden = engine.inspect(name)["Files"]
    assert (given["Destination"], given["Size"], hidden["Size"]) == ("/etc/app.conf", len(SECRET), None)


def test_it_is_roots_alone_on_the_host_and_gone_with_the_container(
    engine: PrivateEngine, started: Started
) -> None:
    before = settled(engine)
    name = started(files=[file("/etc/app.conf", SECRET), secret()])
    directory = engine.data_root / "containers" / engine.inspect(name)["Id"]
    for place in (directory, directory / "files"):
        assert (place.stat().st_mode & 0o777, place.stat().st_uid) == (0o700, 0)
    engine.run("delete", "--force", name)
    assert_nothing_leaked(engine, before)
    assert not [path for path in engine.exec_root.rglob("*") if path.is_file() and "password" in path.name]


@pytest.mark.parametrize(
    ("link", "target"), [("/etc/app.conf", "/../../victim/file"), ("/opt", "../../../../victim")]
)
def test_a_link_in_the_image_does_not_lead_out(
    engine: PrivateEngine, name: str, isolation: str, tmp_path: Path, link: str, target: str
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("precious")
    target = target.replace("victim", str(tmp_path / "victim").strip("/"))
    image = f"{name}:links".lower()
    engine.run("run", "--name", name, IMAGE, "ln", "-s", target, link)
    engine.run("commit", name, image)
    engine.run("delete", name)
    path = "/opt/file" if link == "/opt" else link
    words = {
        "image": image,
        "drivers": {"isolation": isolation},
        "files": [file(path)],
        "command": ["cat", path],
    }
    done = engine.run("run", "--rm", "--config", written(tmp_path, **words), status=None)
    assert done.stdout == "given\n", done.stderr
    assert (tmp_path / "victim/file").read_text() == "precious"
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["file"]
    engine.run("image", "rm", "--force", image)


@pytest.mark.parametrize("path", ["/etc", "/bin/sh/x"])
def test_a_path_that_cannot_be_a_file_fails_the_start_and_leaves_nothing(
    engine: PrivateEngine, isolation: str, tmp_path: Path, path: str
) -> None:
    before = settled(engine)
    config = written(tmp_path, drivers={"isolation": isolation}, files=[file(path)], command=["true"])
    done = engine.run("run", "--rm", "--config", config, status=125)
    assert path.removesuffix("/x") in done.stderr and "Traceback" not in done.stderr
    assert_nothing_leaked(engine, before)


@pytest.mark.parametrize("path", ["/", "/proc/x", "/sys/fs/x", "/dev/x", "/a/../../b", "relative", "/etc/"])
def test_a_path_that_is_no_place_for_a_file_is_refused(
    engine: PrivateEngine, tmp_path: Path, path: str
) -> None:
    config = written(tmp_path, files=[file(path)])
    assert "files[0].path" in engine.run("run", "--rm", "--config", config, "true", status=125).stderr


def test_an_owner_that_the_container_does_not_have_is_refused(engine: PrivateEngine, tmp_path: Path) -> None:
    config = written(tmp_path, files=[file("/a", uid=70_000)])
    assert "70000" in engine.run("run", "--rm", "--config", config, "true", status=125).stderr


def test_as_much_as_is_allowed_arrives(engine: PrivateEngine, tmp_path: Path) -> None:
    files = [file(f"/given/{number}", "x" * (4 << 20 >> 2)) for number in range(4)]
    files += [file(f"/given/empty-{number}", "") for number in range(96)]
    config = written(tmp_path, files=files, command=["sh", "-c", "ls /given | wc -l; cat /given/* | wc -c"])
    assert engine.out("run", "--rm", "--config", config).split() == ["100", str(4 << 20)]


def test_an_ordinary_user_has_them_too(engine: PrivateEngine, tmp_path: Path) -> None:
    open_to_group(engine)
    user = User(engine, "games")
    place = written(
        user.directory(Path("/tmp") / f"given-{tmp_path.name}"),
        name="of-games",
        files=[file("/etc/app.conf"), secret()],
        sysctls={"net.ipv4.ip_default_ttl": 77},
        shm_size="1M",
        command=["sh", "-c", "cat /etc/app.conf /run/secrets/password /proc/sys/net/ipv4/ip_default_ttl"],
    )
    try:
        assert user.out("run", "--rm", "--config", place) == f"given\n{SECRET}77"
        written(Path(place).parent, files=[file(f"/{number}", "x" * 900_000) for number in range(2)])
        refused = user.run("run", "--rm", "--config", place, "true", status=125)
        assert "at most 1048576" in refused.stderr
        for setting in ("net.ipv4.conf.default.proxy_arp_pvlan=1", "net.core.optmem_max=2147483647"):
            refused = user.run("run", "--rm", "--sysctl", setting, IMAGE, "true", status=125)
            assert "administrators" in refused.stderr
    finally:
        shutil.rmtree(Path(place).parent)


# --- /dev/shm and kernel parameters -----------------------------------------------------------------------


def test_the_size_of_shared_memory_is_as_asked(engine: PrivateEngine, isolation: str) -> None:
    words = ("run", "--rm", "--isolation", isolation)
    size = "df -k /dev/shm | awk 'END { print $2 }'"
    assert engine.out(*words, IMAGE, "sh", "-c", size) == "65536"
    assert engine.out(*words, "--shm-size", "3M", IMAGE, "sh", "-c", size) == "3072"
    assert "shm_size" in engine.run(*words, "--shm-size", "1", IMAGE, "true", status=125).stderr


def test_kernel_parameters_are_the_containers_own(engine: PrivateEngine, isolation: str) -> None:
    wanted = {"net.ipv4.ip_default_ttl": "77", "kernel.shmmni": "99", "kernel.sem": "1\t2\t3\t4"}
    wanted["fs.mqueue.msg_max"] = "11"
    files = [f"/proc/sys/{name.replace('.', '/')}" for name in wanted]
    before = [Path(path).read_text() for path in files]
    options = [word for name, value in wanted.items() for word in ("--sysctl", f"{name}={value}")]
    out = engine.out("run", "--rm", "--isolation", isolation, *options, IMAGE, "cat", *files)
    assert out.splitlines() == list(wanted.values())
    assert [Path(path).read_text() for path in files] == before


def test_a_parameter_of_the_default_interface_counts_for_a_later_one(
    engine: PrivateEngine, isolation: str
) -> None:
    words = ("--isolation", isolation, "--sysctl", "net.ipv4.conf.default.rp_filter=2")
    assert engine.out("run", "--rm", *words, IMAGE, "cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter") == "2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sysctl", "kernel.panic=1"), "the whole host's"),
        (("--sysctl", "vm.swappiness=1"), "the whole host's"),
        (("--sysctl", "kernel.hostname=x"), "--hostname"),
        (("--sysctl", "net.ipv4/../../kernel/panic=1"), "no kernel parameter"),
        (("--sysctl", "net...kernel.panic=1"), "no kernel parameter"),
        (("--network", "host", "--sysctl", "net.ipv4.ip_forward=0"), "the host's network"),
        (("--sysctl", "net.ipv4.ip_default_ttl=1\n2"), "one line"),
    ],
)
def test_parameters_that_are_not_its_own_are_refused(
    engine: PrivateEngine, words: tuple[str, ...], said: str
) -> None:
    assert said in engine.run("run", "--rm", *words, IMAGE, "true", status=125).stderr


@pytest.mark.parametrize("setting", ["net.ipv4.no_such_thing=1", "net.ipv4.ip_default_ttl=many"])
def test_what_the_kernel_refuses_fails_the_start_and_is_named(
    engine: PrivateEngine, isolation: str, setting: str
) -> None:
    before = settled(engine)
    done = engine.run("run", "--rm", "--isolation", isolation, "--sysctl", setting, IMAGE, "true", status=125)
    assert f"/proc/sys/{setting.partition('=')[0].replace('.', '/')}" in done.stderr
    assert_nothing_leaked(engine, before)
