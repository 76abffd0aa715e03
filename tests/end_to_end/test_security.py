"""What confines a container, read from the kernel inside it: the first process's and exec's, by drivers and bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multios.supervisor.syscalls import kernel
from private_engine import IMAGE, PrivateEngine

ELEVEN = 0x800405FB
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, SETFCAP."""
SIX = 0xEB
"""Of the bundle ``strict``: CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID."""
needs_landlock = pytest.mark.skipif(kernel.landlock_version() < 6, reason="this kernel lacks Landlock ABI 6")
has_apparmor = Path("/sys/kernel/security/apparmor/profiles").exists()
needs_apparmor = pytest.mark.skipif(not has_apparmor, reason="this kernel lacks AppArmor")


def status_of(text: str) -> dict[str, str]:
    """``/proc/PID/status`` by field."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def confined(engine: PrivateEngine, *options: str) -> dict[str, str]:
    """The status of the first process of a container with these options."""
    return status_of(engine.out("run", "--rm", *options, IMAGE, "cat", "/proc/self/status"))


def shell(engine: PrivateEngine, command: str, *options: str) -> str:
    """What a command says in a container with these options, complaints with it; the last line is its exit status."""
    return engine.out("run", "--rm", *options, IMAGE, "sh", "-c", f"{{ {command}; }} 2>&1; echo $?")


def bits(found: dict[str, str], name: str) -> int:
    return int(found[name], 16)


# --- capabilities, seccomp, no_new_privs ------------------------------------------------------------


def test_by_default_root_holds_eleven_capabilities_under_a_filter_and_can_gain_none(
    engine: PrivateEngine,
) -> None:
    found = confined(engine)
    assert bits(found, "CapEff") == bits(found, "CapPrm") == bits(found, "CapBnd") == ELEVEN
    assert bits(found, "CapInh") == bits(found, "CapAmb") == 0
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")


def test_another_user_holds_none_but_what_was_added_for_it(engine: PrivateEngine) -> None:
    assert bits(confined(engine, "--user", "1000"), "CapEff") == 0
    found = confined(engine, "--user", "1000", "--cap-add", "net_raw")
    assert bits(found, "CapEff") == bits(found, "CapAmb") == 1 << 13


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "ALL", "--cap-add", "CAP_CHOWN"), 1),
        (("--cap-add", "SYS_PTRACE"), ELEVEN | 1 << 19),
        (("--cap-drop", "chown"), ELEVEN & ~1),
        (("--security", "none"), 0),
        (("--security", "seccomp"), 0),
        (("--security-opt", "capabilities=drop=ALL add=KILL"), 1 << 5),
    ],
)
def test_options_come_to_exactly_this_set(
    engine: PrivateEngine, options: tuple[str, ...], expected: int
) -> None:
    found = confined(engine, *options)
    assert bits(found, "CapEff") == bits(found, "CapBnd") == expected


def test_a_process_of_exec_is_confined_as_the_first(engine: PrivateEngine, name: str) -> None:
    engine.run("run", "-d", "--name", name, "--cap-drop", "KILL", IMAGE, "sleep", "1000")
    first = status_of(engine.out("exec", name, "cat", "/proc/1/status"))
    later = status_of(engine.out("exec", name, "cat", "/proc/self/status"))
    for field in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb", "Seccomp", "NoNewPrivs"):
        assert later[field] == first[field]
    assert bits(first, "CapEff") == ELEVEN & ~(1 << 5)


def test_exec_as_another_user_holds_nothing_and_a_privileged_one_everything(
    engine: PrivateEngine, running: str
) -> None:
    user = status_of(engine.out("exec", "--user", "1000", running, "cat", "/proc/self/status"))
    assert bits(user, "CapEff") == 0 and bits(user, "CapBnd") == ELEVEN
    privileged = status_of(engine.out("exec", "--privileged", running, "cat", "/proc/self/status"))
    assert bits(privileged, "CapEff") & 1 << 21


def test_a_container_without_the_driver_cannot_be_given_capabilities(engine: PrivateEngine) -> None:
    done = engine.run("run", "--rm", "--security", "seccomp", "--cap-add", "KILL", IMAGE, "true", status=125)
    assert "'capabilities'" in done.stderr and "--security seccomp,capabilities" in done.stderr


@pytest.mark.parametrize("command", ["mount -t tmpfs none /mnt", "unshare -m true", "chroot / swapoff /x"])
def test_what_the_filter_forbids_is_refused_to_root(engine: PrivateEngine, command: str) -> None:
    said = shell(engine, f"mkdir -p /mnt; {command}")
    assert any(words in said for words in ("not permitted", "not implemented", "permission denied"))
    assert said.splitlines()[-1] != "0"


# --- profiles of one's own ---------------------------------------------------------------------------


def conditional_profile(path: Path) -> str:
    """Docker's format: no directory may be made, unless the container may hold NET_RAW."""
    rules = [
        {
            "names": ["mkdir", "mkdirat"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 28,
            "excludes": {"caps": ["CAP_NET_RAW"]},
        },
        {
            "names": ["sethostname"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 28,
            "includes": {"minKernel": "99.0"},
        },
        {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["s390"]}},
    ]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    return f"seccomp={path}"


def test_a_profile_in_dockers_format_holds_under_its_conditions(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    option = conditional_profile(tmp_path / "own.json")
    assert "No space left" in shell(engine, "mkdir /d", "--security-opt", option)
    assert shell(engine, "mkdir /d && ln -s a /b", "--cap-add", "NET_RAW", "--security-opt", option) == "0"
    assert shell(engine, "ln -s a /b", "--security-opt", option) == "0"


def test_the_strict_profile_forbids_tracing_and_the_default_one_does_not(
    engine: PrivateEngine, name: str
) -> None:
    for profile, rules in (("default", "ptrace"), ("strict", "")):
        engine.run("run", "--name", name, "--security-opt", f"seccomp={profile}", IMAGE, "true")
        spec = json.loads(
            (engine.data_root / "containers" / engine.inspect(name)["Id"] / "config.json").read_text()
        )
        allowed = {
            call
            for rule in spec["linux"]["seccomp"]["syscalls"]
            if rule["action"] == "SCMP_ACT_ALLOW"
            for call in rule["names"]
        }
        assert ("ptrace" in allowed) == bool(rules)
        engine.run("delete", name)


@needs_landlock
def test_landlock_words_confine_the_first_process_and_those_of_exec(engine: PrivateEngine, name: str) -> None:
    option = "landlock=read=/bin,/lib,/usr write=/tmp"
    command = "cat /etc/passwd; echo kept > /tmp/a; echo no > /bin/b; cat /tmp/a"
    said = shell(engine, command, "--security-opt", option)
    assert said.count("Permission denied") == 2 and "kept" in said and "root:" not in said
    engine.run("run", "-d", "--name", name, "--security-opt", option, IMAGE, "sleep", "1000")
    later = engine.run("exec", name, "sh", "-c", command)
    assert later.stderr.count("Permission denied") == 2 and later.stdout.strip() == "kept"


@needs_landlock
def test_landlock_words_confine_whoever_runs_it_and_without_no_new_privs(engine: PrivateEngine) -> None:
    option = ("--security-opt", "landlock=read=/bin,/lib,/usr")
    assert "Permission denied" in shell(engine, "cat /etc/passwd", *option, "--user", "1000")
    assert "Permission denied" in shell(engine, "cat /etc/passwd", *option, "--init")
    assert "Permission denied" in shell(
        engine, "cat /etc/passwd", *option, "--security-opt", "no-new-privileges=false"
    )


@needs_landlock
def test_a_port_that_is_not_on_the_list_cannot_be_served(engine: PrivateEngine) -> None:
    serve = "httpd -p 8081 -h /tmp; echo other $?; httpd -p 8080 -h /tmp; echo listed $?"
    said = shell(engine, f"mkdir -p /tmp; {serve}", "--security-opt", "landlock=bind=8080")
    assert "Permission denied" in said and "other 1" in said and "listed 0" in said


@needs_landlock
def test_on_the_hosts_network_the_hosts_abstract_sockets_are_out_of_reach_by_default(
    engine: PrivateEngine, name: str
) -> None:
    engine.run("run", "--name", name, "--network", "host", IMAGE, "true")
    assert json.loads(engine.inspect(name)["Confinement"]["Landlock"]) == {"scope": 1}
    assert engine.out("run", "--rm", IMAGE, "true") == ""


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("landlock=raed=/usr", "read="),
        ("landlock=bind=http", "TCP port"),
        ("seccomp=defualt", "default"),
        ("capabilities=add=NETRAW", "NET_RAW"),
        ("nosuch=thing", "no such security driver"),
        ("fake=default-not", "not in the container's chain"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_at_create(
    engine: PrivateEngine, name: str, option: str, says: str
) -> None:
    done = engine.run("create", "--name", name, "--security-opt", option, IMAGE, status=125)
    assert says in done.stderr
    assert name not in engine.out("ps", "-a")


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("seccomp,seccomp", "twice"),
        ("secomp", "did you mean 'seccomp'"),
        ("seccomp,", "not a driver's name"),
        ("none,seccomp", "not a driver's name"),
    ],
)
def test_a_chain_is_checked_name_by_name(engine: PrivateEngine, chain: str, says: str) -> None:
    assert says in engine.run("create", "--security", chain, IMAGE, status=125).stderr


def test_the_chain_is_recorded_in_its_order(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "--name", name, "--security", "seccomp,capabilities", IMAGE)
    drivers = engine.inspect(name)["Drivers"]
    chain = [key for key in drivers if key.startswith("security")]
    assert chain == ["security.seccomp", "security.capabilities"]
    assert drivers["security.seccomp"]["distribution"] == "multios-security-seccomp"


# --- AppArmor -----------------------------------------------------------------------------------------


@pytest.mark.skipif(has_apparmor, reason="this host has AppArmor")
def test_without_apparmor_the_default_goes_without_and_says_so_and_what_is_asked_for_is_refused(
    engine: PrivateEngine, name: str
) -> None:
    engine.run("run", "--name", name, IMAGE, "true")
    rows = {row["Driver"]: row for row in engine.inspect(name)["Confinement"]["Drivers"]}
    assert rows["apparmor"]["Enforced"] is False and "AppArmor" in rows["apparmor"]["Reason"]
    assert rows["seccomp"]["Enforced"] is True
    for options in (("--security-opt", "apparmor=course"), ("--security", "capabilities,apparmor")):
        assert "AppArmor" in engine.run("create", *options, IMAGE, status=125).stderr


@needs_apparmor
def test_the_first_process_and_exec_run_under_the_default_profile(
    engine: PrivateEngine, running: str
) -> None:
    for process in ("1", "self"):
        label = engine.out("exec", running, "cat", f"/proc/{process}/attr/current")
        assert label == "multios-default (enforce)"
    privileged = engine.out("exec", "--privileged", running, "cat", "/proc/self/attr/current")
    assert privileged == "unconfined"


@needs_apparmor
def test_the_default_profile_forbids_mounts_even_where_the_filter_does_not(engine: PrivateEngine) -> None:
    options = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert "ermission denied" in shell(engine, "mkdir -p /m; mount -t tmpfs none /m", *options)
    unconfined = (*options, "--security-opt", "apparmor=unconfined")
    assert shell(engine, "mkdir -p /m; mount -t tmpfs none /m", *unconfined) == "0"


@needs_apparmor
def test_the_engine_ends_a_container_under_the_default_profile(engine: PrivateEngine, running: str) -> None:
    engine.run("stop", "--timeout", "1", running)
    assert engine.status_of(running) == "exited"


@needs_apparmor
def test_a_profile_that_is_not_loaded_is_refused(engine: PrivateEngine) -> None:
    done = engine.run("create", "--security-opt", "apparmor=no-such-one", IMAGE, status=125)
    assert "no-such-one" in done.stderr and "apparmor_parser" in done.stderr


# --- bundles -------------------------------------------------------------------------------------------


def test_lab_adds_what_debuggers_and_ping_need(engine: PrivateEngine) -> None:
    assert bits(confined(engine, "--security-profile", "lab"), "CapEff") == ELEVEN | 1 << 13 | 1 << 19


def test_strict_leaves_six_capabilities_and_a_root_that_cannot_be_written(engine: PrivateEngine) -> None:
    assert bits(confined(engine, "--security-profile", "strict"), "CapBnd") == SIX
    said = shell(
        engine, "touch /x; touch /tmp/x /run/x /var/tmp/x && echo memory", "--security-profile", "strict"
    )
    assert "/x: Read-only" in said and "memory" in said


def test_exam_has_no_network_but_what_is_allowed(engine: PrivateEngine, name: str) -> None:
    assert shell(engine, "ls /sys/class/net", "--security-profile", "exam").split() == ["lo", "0"]
    allowed = ("--security-profile", "exam", "--egress-allow", "192.0.2.1")
    assert "eth0" in shell(engine, "ls /sys/class/net", *allowed)
    done = engine.run("create", "--security-profile", "exam", "-p", "8080:80", IMAGE, status=125)
    assert "--egress-allow" in done.stderr


def test_options_go_before_the_bundle_and_inspect_tells_what_it_came_to(
    engine: PrivateEngine, name: str
) -> None:
    words = (
        "--security-profile",
        "strict",
        "--cap-add",
        "NET_RAW",
        "--cap-drop",
        "KILL",
        "--pids-limit",
        "300",
    )
    engine.run("run", "--name", name, *words, IMAGE, "true")
    record = engine.inspect(name)
    held = set(record["Confinement"]["EffectiveCapabilities"])
    assert "CAP_NET_RAW" in held and "CAP_KILL" not in held and len(held) == 6
    assert record["Confinement"]["Profile"] == "strict" and record["Confinement"]["ReadonlyRootfs"] is True
    assert record["HostConfig"]["Resources"]["pids_limit"] == 300
    seccomp = {row["Driver"]: row["Profile"] for row in record["Confinement"]["Drivers"]}["seccomp"]
    assert seccomp == "strict"


def test_an_unknown_bundle_is_answered_with_the_nearest(engine: PrivateEngine) -> None:
    done = engine.run("create", "--security-profile", "strickt", IMAGE, status=125)
    assert "did you mean 'strict'" in done.stderr


# --- root and ids --------------------------------------------------------------------------------------


def test_a_read_only_root_without_memory_cannot_be_written_anywhere(engine: PrivateEngine) -> None:
    options = ("--read-only", "--read-only-tmpfs", "false")
    assert "Read-only" in shell(engine, "mkdir /tmp/x || mkdir /tmp", *options)


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("auto:size=4096", (None, 4096)),
        ("map=0:3100000000:5000", (3100000000, 5000)),
        ("host", (0, 2**32 - 1)),
    ],
)
def test_the_user_namespace_is_as_asked(
    engine: PrivateEngine, mode: str, line: tuple[int | None, int]
) -> None:
    start, size = line
    inside, outside, count = map(
        int, engine.out("run", "--rm", "--userns", mode, IMAGE, "cat", "/proc/self/uid_map").split()
    )
    assert (inside, count) == (0, size) and (start is None or outside == start)


@pytest.mark.parametrize(
    "mode", ["map=1:3000000:5000", "map=0:0:5000", "map=0:4294967000:5000", "auto:size=1", "x"]
)
def test_a_map_that_cannot_be_is_refused(engine: PrivateEngine, mode: str) -> None:
    assert "security.user_namespace" in engine.run("create", "--userns", mode, IMAGE, status=125).stderr


def test_ids_of_another_container_or_of_the_engine_are_refused(engine: PrivateEngine, name: str) -> None:
    engine.run("create", "--name", name, "--userns", "map=0:3200000000:5000", IMAGE)
    done = engine.run("create", "--userns", "map=0:3200004999:5000", IMAGE, status=125)
    assert name in done.stderr
    taken = str(0x7000_0000 + int(engine.bridge.removeprefix("mtest")) * 0x20_0000)
    assert "id_ranges" in engine.run("create", "--userns", f"map=0:{taken}:5000", IMAGE, status=125).stderr
    engine.run("delete", name)
    engine.run("create", "--name", name, "--userns", "map=0:3200004999:5000", IMAGE)


def test_a_set_user_id_program_gains_nothing_unless_that_is_allowed(engine: PrivateEngine) -> None:
    command = "cp /bin/busybox /bin/su2 2>/dev/null; grep NoNewPrivs /proc/self/status"
    assert shell(engine, command).splitlines()[0].split() == ["NoNewPrivs:", "1"]
    said = shell(engine, command, "--security-opt", "no-new-privileges=false")
    assert said.splitlines()[0].split() == ["NoNewPrivs:", "0"]


# --- settings ------------------------------------------------------------------------------------------


def test_a_teachers_own_bundle_and_chain_come_from_the_settings(tmp_path: Path) -> None:
    engine = PrivateEngine(tmp_path / "engine")
    engine.config.write_text(
        engine.config.read_text()
        + '[defaults]\nsecurity = "capabilities,seccomp"\n[security]\nprofile = "quiz"\n'
        + '[security_profiles.quiz]\nsummary = "no more than eight processes"\npids_limit = 8\n'
        + 'drop_capabilities = ["ALL"]\n'
    )
    try:
        engine.start()
        engine.import_small_image()
        engine.run("run", "--name", "one", IMAGE, "true")
        record = engine.inspect("one")
        assert [row["Driver"] for row in record["Confinement"]["Drivers"]] == ["capabilities", "seccomp"]
        assert record["Confinement"]["Profile"] == "quiz" and record["Confinement"]["Capabilities"] == []
        assert record["HostConfig"]["Resources"]["pids_limit"] == 8
        assert "8" in engine.out(
            "run",
            "--rm",
            IMAGE,
            "sh",
            "-c",
            "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max",
        )
    finally:
        engine.end()


def test_a_default_driver_that_is_not_installed_is_named_with_what_brings_it(tmp_path: Path) -> None:
    engine = PrivateEngine(tmp_path / "engine", {"MULTIOS_SECURITY": "capabilities,absent"})
    try:
        engine.start()
        created = engine.run("create", IMAGE, status=125)
        assert "'absent'" in created.stderr and "pip install multios-security-absent" in created.stderr
        assert "fail  default security absent" in engine.run("doctor", status=1).stdout
    finally:
        engine.end()
