"""Many users of one daemon: names, quotas, the audit log, and bind mounts with the caller's rights."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multios.errors import MultiosError
from other_users import GROUP, User, open_to_group
from private_engine import PrivateEngine, eventually

QUOTAS = """
[default_resources]
memory_limit = "16MB"
[quotas.default]
networks = 2
volumes = 2
[quotas.user.news]
containers = 3
running = 2
memory = "40MB"
[quotas.user.list]
disk = "1GB"
cpus = 2
[quotas.course.irc]
running = 1
"""


@pytest.fixture(scope="module")
def engine(make_engine: Callable[..., PrivateEngine]) -> PrivateEngine:
    made = make_engine()
    made.config.write_text(made.config.read_text() + QUOTAS)
    made.daemon("reload")
    open_to_group(made)
    made.directory.chmod(0o711)
    # The settings are read again when the next request is answered, at the latest.
    eventually(lambda: made.json("quota", "--all"), "the quotas are known")
    return made


@pytest.fixture
def ada(engine: PrivateEngine) -> Iterator[User]:
    user = User(engine, "games")
    yield user
    _remove_all(user)


@pytest.fixture
def bob(engine: PrivateEngine) -> Iterator[User]:
    user = User(engine, "news")
    yield user
    _remove_all(user)


def _remove_all(user: User) -> None:
    if names := user.out("ps", "--all", "--quiet").split():
        user.run("delete", "--force", *names)
    for kind in ("volume", "network"):
        user.run(kind, "prune")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that users may pass through."""
    path = Path(tempfile.mkdtemp(prefix="multios-users-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def inside(user: User, source: Path, command: str, mode: str = "rw") -> subprocess.CompletedProcess[str]:
    """Run a shell command in a new container of the user's with ``source`` at /w."""
    return user.run(
        "run", "--rm", "--network", "none", "-v", f"{source}:/w:{mode}", "small:1", "sh", "-c", command, status=None
    )  # fmt: skip


# --- the door ---------------------------------------------------------------------------------------------


def test_who_is_not_in_the_group_is_told_how_to_get_in(engine: PrivateEngine) -> None:
    refused = User(engine, "games", groups=()).run("ps", status=125)
    assert "usermod -aG multios" in refused.stderr and "Traceback" not in refused.stderr


def test_the_socket_is_for_root_and_its_group_only(engine: PrivateEngine) -> None:
    found = (engine.exec_root / "api.sock").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o660, 0, GROUP)


# --- names ------------------------------------------------------------------------------------------------


def test_every_user_may_call_his_container_my_python(engine: PrivateEngine, ada: User, bob: User) -> None:
    ids = {
        user.name: user.out("create", "--name", "my-python", "small:1", "sleep", "60") for user in (ada, bob)
    }
    for user in (ada, bob):
        assert user.out("inspect", "--format", "{{.Id}}", "my-python") == ids[user.name]
        assert "is in use" in user.run("create", "--name", "my-python", "small:1", status=125).stderr
    assert "2 users have a container" in engine.run("inspect", "my-python", status=None).stderr
    ada.run("delete", "my-python")
    assert engine.out("inspect", "--format", "{{.Id}}", "my-python") == ids["news"]


def test_names_of_networks_and_volumes_are_a_users_own(ada: User, bob: User) -> None:
    for user in (ada, bob):
        user.run("network", "create", "lab")
        user.run("volume", "create", "homework")
    ada.run("run", "--rm", "-v", "homework:/h", "--network", "none", "small:1", "sh", "-c", "echo ada > /h/x")
    assert "No such file" in bob.run(
        "run", "--rm", "-v", "homework:/h", "--network", "none", "small:1", "cat", "/h/x", status=None
    ).stderr  # fmt: skip
    ada.run("network", "rm", "lab")
    assert "lab" in bob.out("network", "ls", "--quiet").split()


def test_a_new_volume_of_a_user_gets_the_files_of_the_image_and_is_the_users_alone(
    ada: User, bob: User
) -> None:
    words = ("run", "--rm", "--network", "none", "-v", "homes:/home", "small:1")
    assert ada.out(*words, "sh", "-c", "stat -c %u /home/student; touch /home/hers") == "1000"
    assert ada.out(*words, "ls", "/home").split() == ["hers", "student"]
    assert bob.out(*words, "ls", "/home") == "student"


def test_names_of_others_containers_are_not_resolved_on_the_shared_default_network(
    ada: User, bob: User
) -> None:
    ada.run("run", "-d", "--name", "secret-server", "small:1", "sleep", "60")
    asked = bob.run("run", "--rm", "small:1", "nslookup", "secret-server", status=None)
    assert asked.returncode != 0 and "10.211." not in asked.stdout.partition("secret-server")[2]


def test_a_network_is_shared_with_ones_own_containers_only(
    engine: PrivateEngine, ada: User, bob: User
) -> None:
    made = ada.out("run", "-d", "--name", "my-server", "small:1", "sleep", "60")
    words = ("--network", f"container:{made}", "small:1", "readlink", "/proc/self/ns/net")
    assert ada.out("run", "--rm", *words) == ada.out("exec", "my-server", "readlink", "/proc/self/ns/net")
    assert "no such container" in bob.run("run", "--rm", *words, status=125).stderr
    assert "is another user's" in engine.run("run", "--rm", *words, status=125).stderr


# --- bind mounts ------------------------------------------------------------------------------------------


def test_root_inside_writes_as_the_caller_outside(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    assert inside(ada, own, "echo hello > /w/new && mkdir /w/d").returncode == 0
    for name in ("new", "d"):
        found = (own / name).stat()
        assert (found.st_uid, found.st_gid) == (ada.uid, ada.gid)


def test_a_containers_user_writes_as_the_caller_too(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    ada.run("run", "--rm", "--user", "1000:1000", "-v", f"{own}:/w", "small:1", "touch", "/w/new")
    assert (own / "new").stat().st_uid == ada.uid


def test_a_caller_may_use_his_own_read_only_file_and_nobody_elses(ada: User, bob: User, place: Path) -> None:
    own = ada.directory(place / "own")
    for name, owner, mode in (
        ("mine", ada.uid, 0o400),
        ("bobs", bob.uid, 0o600),
        ("roots", 0, 0o600),
        ("open", 0, 0o666),
    ):
        (own / name).write_text("before")
        os.chown(own / name, owner, ada.gid if owner == ada.uid else owner)
        (own / name).chmod(mode)
    inside(
        ada,
        own,
        "for f in mine bobs roots open; do echo after > /w/$f; cat /w/$f > /w/read-$f; rm -f /w/$f; done",
    )
    assert not (own / "mine").exists()
    for name in ("bobs", "roots", "open"):
        assert (own / name).read_text() == "before"
    assert (own / "read-bobs").read_text() == (own / "read-roots").read_text() == ""


def test_ids_set_by_files_do_nothing_inside_and_belong_to_the_caller_outside(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    shutil.copy("/bin/sh", own / "root-shell")
    (own / "root-shell").chmod(0o4755)
    told = inside(
        ada,
        own,
        "grep ' /w ' /proc/self/mountinfo; cp /bin/busybox /w/mine; chmod 6755 /w/mine; chown 1:1 /w/mine",
    )
    assert "nosuid,nodev" in told.stdout
    assert (own / "mine").stat().st_uid == ada.uid and (own / "mine").stat().st_gid == ada.gid
    assert (own / "root-shell").stat().st_uid == 0


def test_files_of_a_group_can_be_read_by_its_members_only(ada: User, bob: User, place: Path) -> None:
    """``backup`` the group stands for a course: in no account but its own."""
    shared = place / "shared"
    shared.mkdir(mode=0o750)
    (shared / "task").write_text("the task")
    for path in (shared, shared / "task"):
        os.chown(path, 0, bob.gid)
    (shared / "task").chmod(0o640)
    assert "you may not" in inside(ada, shared, "cat /w/task", "ro").stderr
    assert inside(bob, shared, "cat /w/task", "ro").stdout == "the task"
    assert "you may not write" in inside(bob, shared, "true", "rw").stderr


def test_hard_links_and_sockets_of_others_stay_closed(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    secret = place / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    os.link(secret, own / "link")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(own / "root.sock"))
        (own / "root.sock").chmod(0o666)
        server.listen()
        told = inside(
            ada,
            own,
            "cat /w/link; chmod 666 /w/link; ln /w/link /w/two; nc local:/w/root.sock </dev/null; nc -U /w/root.sock </dev/null",
        )
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert "secret" not in told.stdout and stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert not (own / "two").exists()


def test_links_in_a_source_lead_inside_the_container(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    (own / "out").symlink_to(place / "outside")
    (place / "outside").write_text("of the host")
    told = inside(ada, own, "cat /w/out; cat /w/../w/out")
    assert "of the host" not in told.stdout and told.returncode != 0


@pytest.mark.parametrize(
    "path", ["/root", "/etc/shadow", "/proc/self/fd/3", "/proc/1/root", "/proc/self/environ", "/proc", "/dev/null", "/", "/no/such"]
)  # fmt: skip
def test_what_the_caller_may_not_use_cannot_be_mounted(ada: User, path: str) -> None:
    refused = ada.run("run", "--rm", "-v", f"{path}:/w:ro", "small:1", "cat", "/w", status=125)
    assert "Traceback" not in refused.stderr and len(refused.stderr.strip().splitlines()) == 2


def test_what_is_mounted_below_a_source_is_mapped_too(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    below = own / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", below], check=True)
    try:
        (below / "roots").write_text("secret")
        (below / "roots").chmod(0o600)
        told = inside(
            ada, own, "cat /w/below/roots; echo x > /w/below/roots; grep /w/below /proc/self/mountinfo"
        )
        assert "secret" not in told.stdout and (below / "roots").read_text() == "secret"
        assert "nosuid,nodev" in told.stdout
    finally:
        subprocess.run(["umount", below], check=True)


def test_a_filesystem_that_cannot_show_other_ids_is_refused_with_its_cause(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    (own / "below").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", own / "below"], check=True)
    try:
        refused = inside(ada, own, "true")
        assert refused.returncode == 125 and "mounted below" in refused.stderr
    finally:
        subprocess.run(["umount", own / "below"], check=True)


def test_a_link_that_is_flipped_while_it_is_mounted_never_shows_anothers_file(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    (own / "mine").write_text("mine")
    os.chown(own / "mine", ada.uid, ada.gid)
    (place / "secret").write_text("secret")
    (place / "secret").chmod(0o600)
    link, ended = own / "link", threading.Event()
    link.symlink_to("mine")

    def flip() -> None:
        targets = [str(place / "secret"), "mine", "/etc/shadow", "mine"]
        number = 0
        while not ended.is_set():
            number += 1
            (own / "next").unlink(missing_ok=True)
            (own / "next").symlink_to(targets[number % 4])
            (own / "next").rename(link)

    thread = threading.Thread(target=flip)
    thread.start()
    seen: set[str] = set()
    try:
        with ada.client() as client:
            for number in range(500):
                document = {"image": "small:1", "name": f"race-{number}", "auto_remove": True, "command": ["cat", "/w"],
                            "volumes": [{"host": str(link), "container": "/w", "mode": "ro"}], "networking": {"network": "none"}}  # fmt: skip
                try:
                    if number % 10:
                        client.call("containers.validate", {"config": document})
                    else:
                        seen.add(client.run(document).stdout.decode().strip())
                except MultiosError as error:
                    seen.add(error.code)
    finally:
        ended.set()
        thread.join()
    assert seen <= {"mine", "refused", "invalid", "conflict"} and "mine" in seen and "refused" in seen


def test_a_later_start_goes_by_the_rights_of_that_moment(ada: User, place: Path) -> None:
    own = ada.directory(place / "own")
    ada.run("create", "--name", "later", "--network", "none", "-v", f"{own}:/w", "small:1", "touch", "/w/x")
    ada.run("start", "later")
    eventually((own / "x").exists, "the first start writes")
    eventually(lambda: "exited" in ada.out("inspect", "--format", "{{.State.Status}}", "later"), "it ends")
    os.chown(own, 0, 0)
    assert "you may not" in ada.run("start", "later", status=125).stderr


# --- quotas -----------------------------------------------------------------------------------------------


def test_creates_at_once_cannot_exceed_a_quota(bob: User) -> None:
    codes: list[str] = []

    def create(number: int) -> None:
        try:
            with bob.client() as client:
                client.call("containers.create", {"config": {"name": f"race-{number}", "image": "small:1"}})
            codes.append("ok")
        except MultiosError as error:
            codes.append(error.code)

    clients = [threading.Thread(target=create, args=(number,)) for number in range(20)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert sorted(codes) == ["ok"] * 3 + ["refused"] * 17
    refused = bob.run("create", "small:1", status=125).stderr
    assert "may have 3 containers and has 3" in refused and "multios-container quota" in refused


def test_starts_and_updates_keep_to_the_sums(bob: User) -> None:
    first = bob.out("run", "-d", "--network", "none", "small:1", "sleep", "60")
    bob.run("update", "--memory-limit", "30MB", first)
    assert "of memory" in bob.run("update", "--memory-limit", "50MB", first, status=125).stderr
    assert "of memory" in bob.run("run", "--rm", "--network", "none", "small:1", "true", status=125).stderr
    bob.run("update", "--memory-limit", "16MB", first)
    bob.run("run", "-d", "--network", "none", "small:1", "sleep", "60")
    third = bob.run("run", "-d", "--network", "none", "small:1", "sleep", "60", status=125)
    assert "running containers" in third.stderr


def test_a_quota_of_a_resource_needs_containers_with_that_limit(engine: PrivateEngine) -> None:
    user = User(engine, "list")
    assert "--disk-limit" in user.run("create", "small:1", status=125).stderr


def test_networks_and_volumes_have_quotas(ada: User) -> None:
    for kind in ("network", "volume"):
        ada.run(kind, "create", "one")
        ada.run(kind, "create", "two")
        assert f"2 {kind}s and has 2" in ada.run(kind, "create", "three", status=125).stderr


def test_a_course_has_a_quota_of_all_its_members(engine: PrivateEngine) -> None:
    member = User(engine, "irc")
    member.out("run", "-d", "--network", "none", "small:1", "sleep", "60")
    try:
        refused = member.run("run", "-d", "--network", "none", "small:1", "sleep", "60", status=125)
        assert "course irc may have 1 running containers" in refused.stderr
    finally:
        _remove_all(member)


def test_quota_shows_use_and_limits(engine: PrivateEngine, bob: User, ada: User) -> None:
    bob.run("create", "small:1")
    rows = {row["quota"]: row for row in json.loads(bob.out("quota", "--format", "json"))}
    assert (rows["containers"]["used"], rows["containers"]["limit"]) == (1, 3)
    assert (rows["memory"]["used"], rows["memory"]["limit"]) == (0, 40 << 20)
    assert "administrators" in ada.run("quota", "--all", status=125).stderr
    assert {"user news", "course irc"} & {row["for"] for row in engine.json("quota", "--all")}


# --- the audit log ----------------------------------------------------------------------------------------


def test_the_audit_log_says_who_did_what_and_no_secret(engine: PrivateEngine, ada: User) -> None:
    ada.run("create", "--name", "logged", "-e", "PASSWORD=hunter2", "small:1", "echo", "hunter2")
    ada.run("exec", "logged", "true", status=None)
    ada.run("delete", "no\nsuch\x1b[2J", status=125)
    lines = [json.loads(line) for line in (engine.directory / "audit.log").read_text().splitlines()]
    mine = [line for line in lines if line["user"] == ada.name]
    assert {"containers.create", "containers.exec", "containers.delete"} <= {line["method"] for line in mine}
    created = next(line for line in mine if line["object"].startswith("logged"))
    assert created["result"] == "ok" and created["uid"] == ada.uid and created["pid"] > 0
    assert mine[-1]["object"] == "no\nsuch\x1b[2J" and mine[-1]["result"] == "not_found"
    assert "hunter2" not in (engine.directory / "audit.log").read_text()
    assert stat.S_IMODE((engine.directory / "audit.log").stat().st_mode) == 0o600
    shown = engine.out("audit", "--user", ada.name, "--since", "1h")
    assert "logged small:1" in shown and "\x1b" not in shown
    assert "administrators" in ada.run("audit", status=125).stderr
