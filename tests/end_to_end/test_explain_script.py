"""The script of ``explain --as-shell``, run: what is inside is what is inside the real container, and nothing stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from private_engine import IMAGE, PrivateEngine, eventually

PROBE = r"""
echo "== hostname"; hostname
echo "== uid_map"; cat /proc/self/uid_map
echo "== gid_map"; cat /proc/self/gid_map
echo "== namespaces"; for kind in user pid mnt net uts ipc cgroup time; do echo $kind $(readlink /proc/self/ns/$kind); done
echo "== mounts"; cat /proc/self/mountinfo
echo "== status"; grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status
echo "== first"; cat /proc/1/cmdline | tr '\0' ' '; echo
echo "== files"; find / -xdev -exec stat -c '%n %a %u %g %F %s' {} + 2>/dev/null | sort
echo "== sums"; find / -xdev -type f -exec md5sum {} + 2>/dev/null | sort
echo "== limits"
for file in memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us \
    cpuset/cpuset.cpus devices/devices.list memory.max pids.max cpu.max; do
    [ -f /sys/fs/cgroup/$file ] && echo $file $(sort /sys/fs/cgroup/$file)
done
echo "== address"; ip -4 address show eth0 2>/dev/null | grep -o 'inet .*' | cut -d' ' -f2
echo "== route"; ip route show default
echo "== environment"; env | sort
echo "== directory"; pwd
echo "== open files"; ulimit -n
"""
OF_THE_ENGINE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
FLAGS = {"ro", "rw", "nosuid", "nodev", "noexec"}


class Inside(dict[str, list[str]]):
    """What the probe printed, by section."""

    @classmethod
    def read(cls, text: str) -> Inside:
        sections = cls()
        for part in text.split("== ")[1:]:
            name, _, lines = part.partition("\n")
            sections[name] = lines.splitlines()
        return sections

    def mounts(self) -> dict[str, tuple[str, frozenset[str]]]:
        table = {}
        for line in self["mounts"]:
            fields = line.split(" ")
            kind = fields[fields.index("-") + 1]
            table[fields[4]] = (kind, frozenset(fields[5].split(",")) & FLAGS)
        return {target: row for target, row in table.items() if target not in OF_THE_ENGINE}

    def files(self) -> list[str]:
        """Name, mode, owner, kind and size; of directories and of what depends on the place, no size."""
        rows = []
        for line in self["files"]:
            name = line.split(" ")[0]
            if name in (*OF_THE_ENGINE, "/probe") or name == "/":
                continue
            rows.append(line.rpartition(" ")[0] if " directory " in line else line)
        return rows

    def sums(self) -> list[str]:
        return [line for line in self["sums"] if line.split("  ")[1] not in OF_THE_ENGINE]

    def namespaces(self) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in self["namespaces"])

    def status(self) -> dict[str, str]:
        rows = (line.partition(":") for line in self["status"])
        return {name: value.strip() for name, _, value in rows}


def script_of(engine: PrivateEngine, name: str, tmp_path: Path) -> Path:
    file = tmp_path / "by-hand.sh"
    engine.run("explain", "--as-shell", "-o", str(file), name)
    return file


def by_hand(file: Path, *words: str, input: str = "", status: int = 0) -> str:
    """What the script printed; it must end with ``status`` and leave nothing."""
    process = begin(file, *words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(input, timeout=60)
    assert process.returncode == status, f"{process.returncode}\n{out}\n{err}"
    # The kernel removes the interfaces of a namespace some time after the last process has left it.
    eventually(lambda: not traces(process.pid), "nothing is left of it")
    return out


def begin(file: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(["sh", str(file), *words], stdout=subprocess.PIPE, text=True, **options)


def traces(pid: int) -> list[str]:
    """What the script with that process id has on the host, by its names."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *re.findall(rf": (b[hc]{pid})[@:]", links),
        *re.findall(rf"by-hand-{pid}\n", tables),
        # os.walk bears that others' groups vanish meanwhile, glob does not.
        *(path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/by-hand-{pid}")),
        *(str(path) for path in Path("/var/tmp").glob(f"by-hand.{pid}.*")),
        *(line for line in mounts if f"by-hand.{pid}" in line),
    ]


def probed(engine: PrivateEngine, name: str) -> Inside:
    return Inside.read(engine.out("exec", name, "sh", "-c", PROBE))


@pytest.fixture
def compared(engine: PrivateEngine, name: str, tmp_path: Path) -> Any:
    """Run a container with some options, and its script; what is inside both."""

    def compare(*options: str, before: str = "") -> tuple[Inside, Inside]:
        engine.run("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")
        if before:
            engine.run("exec", name, "sh", "-c", before)
        text = by_hand(script_of(engine, name, tmp_path), "sh", "-c", PROBE)
        return probed(engine, name), Inside.read(text)

    return compare


LIMITS = ("--memory-limit", "64M", "--pids-limit", "77", "--cpu-limit", "0.5")


def test_the_container_by_hand_is_the_container(compared: Any) -> None:
    """Layers with a change and a removed file, limits, capabilities, mounts and files: the same on both sides."""
    real, own = compared(
        *LIMITS,
        "--hostname", "lab",
        before="echo mine > /root/written; chown 1000:1000 /root/written; chmod 4755 /root/written; rm /etc/group",
    )  # fmt: skip
    for section in ("hostname", "uid_map", "gid_map", "limits", "environment", "directory", "open files"):
        assert own[section] == real[section], section
    assert any("67108864" in line or "memory.max" in line for line in own["limits"])
    assert own.mounts() == real.mounts()
    assert own.files() == real.files() and any("/root/written 4755 1000 1000" in row for row in own.files())
    assert own.sums() == real.sums() and len(own.sums()) > 0
    differences = {key for key, value in real.status().items() if own.status()[key] != value}
    assert differences == {"Seccomp"} and own.status()["Seccomp"] == "0"
    for kind, number in own.namespaces().items():
        assert number not in (os.readlink(f"/proc/self/ns/{kind}"), real.namespaces()[kind])
    assert own["first"][0].startswith("/bin/sh -c")  # it is process number 1


def test_the_network_by_hand_has_the_same_shape(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    engine.run("run", "-d", "--name", name, "--cap-add", "NET_RAW", IMAGE, "sleep", "1000")
    file = script_of(engine, name, tmp_path)
    text = by_hand(
        file,
        "sh",
        "-c",
        f"{PROBE}\ngateway=$(ip route show default | head -n 1 | cut -d' ' -f3)\nping -c 1 -W 5 $gateway",
    )
    real, own = probed(engine, name), Inside.read(text)
    assert "1 packets received" in text
    (address,), (theirs,) = own["address"], real["address"]
    assert address.partition("/")[2] == theirs.partition("/")[2]
    pattern = r"default via (\S+)\.1 dev eth0 ?"
    ours, engines = (re.fullmatch(pattern, one["route"][0]) for one in (own, real))
    assert ours and engines and ours[1] != engines[1] and address.startswith(ours[1])


def test_another_user_and_a_read_only_root(compared: Any) -> None:
    real, own = compared(
        "--user", "1000:1000", "--workdir", "/home/student", "--read-only", "--ulimit", "nofile=100:200"
    )  # fmt: skip
    assert own.status() | {"Seccomp": "2"} == real.status() and own.status()["Uid"].split() == ["1000"] * 4
    assert own["directory"] == real["directory"] == ["/home/student"]
    assert own["open files"] == real["open files"] == ["100"]
    assert own.mounts() == real.mounts() and "ro" in own.mounts()["/"][1]


def test_volumes_are_there_to_be_read(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    engine.run("volume", "create", name)
    volume = ("-v", f"{name}:/data", "--tmpfs", "/scratch:size=1m")
    engine.run("run", "-d", "--name", name, *volume, IMAGE, "sh", "-c", "echo kept > /data/file; sleep 1000")
    file = script_of(engine, name, tmp_path)
    words = "cat /data/file; echo lost > /data/file; echo $?; df -k /scratch | grep -c ' 1024 '"
    assert by_hand(file, "sh", "-c", words).split() == ["kept", "1", "1"]
    assert engine.out("exec", name, "cat", "/data/file") == "kept"
    engine.run("delete", "--force", "--volumes", name)


def test_given_files_and_kernel_parameters_are_there(
    engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    given = {"path": "/opt/given", "content": "Z2l2ZW4K"}
    config = json.dumps({"image": IMAGE, "files": [given], "sysctls": {"net.ipv4.ip_default_ttl": "77"}})
    engine.run("run", "-d", "--name", name, "--config", "-", "sleep", "1000", input=config)
    words = "cat /opt/given /proc/sys/net/ipv4/ip_default_ttl"
    text = by_hand(script_of(engine, name, tmp_path), "sh", "-c", words)
    assert text.split() == engine.out("exec", name, "sh", "-c", words).split() == ["given", "77"]


@pytest.mark.parametrize("options", [("--storage", "vfs"), ("--disk-limit", "50M"), ("--init",)])
def test_another_storage_or_an_init_changes_nothing(compared: Any, options: tuple[str, ...]) -> None:
    real, own = compared(*options)
    assert own.sums() == real.sums() and own["uid_map"] == real["uid_map"]
    assert own.status()["CapEff"] == real.status()["CapEff"]


def test_a_container_without_a_network(compared: Any) -> None:
    real, own = compared("--network", "none")
    assert own["address"] == real["address"] == [] and own["route"] == real["route"] == []


def test_a_container_with_the_hosts_ids(compared: Any) -> None:
    real, own = compared("--userns", "host")
    assert own["uid_map"] == real["uid_map"]
    assert own.status()["CapBnd"] == real.status()["CapBnd"]
    assert own.namespaces()["user"] == os.readlink("/proc/self/ns/user")


def test_the_scripts_own_command_is_the_containers(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    engine.run("run", "-d", "--name", name, IMAGE, "sh", "-c", 'echo "by $0 $1"; cat; exit 7', "it's", "a b")
    engine.run("wait", name)
    engine.run("start", name)
    file = script_of(engine, name, tmp_path)
    assert by_hand(file, input="from outside\n", status=7) == "by it's a b\nfrom outside\n"


HOSTILE = "x'\nEND\nEOF\n\"; touch /tmp/by-hand-escaped; $(touch /tmp/by-hand-escaped) `id` \\ \x1b[31m\x07 é"


def test_what_a_container_chose_stays_a_word(
    compared: Any, engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    real, own = compared("-e", f"X={HOSTILE}", "--label", f"L={HOSTILE}")
    assert own["environment"] == real["environment"]
    text = (tmp_path / "by-hand.sh").read_text()
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert not os.path.exists("/tmp/by-hand-escaped")


def test_a_link_in_the_image_leads_nowhere(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    """A container with the host's ids whose /etc is a link to a directory of the host's: nothing is written there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "hosts").write_text("precious")
    engine.run("run", "-d", "--name", name, "--userns", "host", IMAGE, "sleep", "1000")
    upper = Path(upper_of(engine, name))
    (upper / "etc").rename(upper / "old")
    (upper / "etc").symlink_to(victim)
    by_hand(script_of(engine, name, tmp_path), status=1)
    assert (victim / "hosts").read_text() == "precious" and os.listdir(victim) == ["hosts"]


def upper_of(engine: PrivateEngine, name: str) -> str:
    (part,) = json.loads(engine.out("explain", "--format", "json", "--part", "mounts", name))["parts"]
    return str(part["root"]["upper"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_who_breaks_off_leaves_nothing(
    engine: PrivateEngine, running: str, tmp_path: Path, number: signal.Signals
) -> None:
    file = script_of(engine, running, tmp_path)
    process = begin(file, "sh", "-c", "echo ready; sleep 1000", stdin=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert len(traces(process.pid)) >= 5
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    process.stdout.close()
    eventually(lambda: not traces(process.pid), "nothing is left of it")
    assert engine.status_of(running) == "running"


def test_a_step_that_fails_leaves_nothing(engine: PrivateEngine, running: str, tmp_path: Path) -> None:
    file = script_of(engine, running, tmp_path)
    by_hand(file, "no-such-program", status=127)
    for step in ("lay_layers", "shift_owners", "make_groups", "choose_subnet", "make_network", "hide"):
        broken = tmp_path / f"{step}.sh"
        broken.write_text(file.read_text().replace(f"    {step}\n", f"    {step}\n    false\n"))
        by_hand(broken, status=1)


def test_the_script_says_what_a_shell_cannot(engine: PrivateEngine, running: str, tmp_path: Path) -> None:
    text = script_of(engine, running, tmp_path).read_text()
    assert "seccomp" in text and "pivot_root" in text
    comments = sum(line.lstrip().startswith("#") for line in text.splitlines())
    assert comments > 40
    assert subprocess.run(["sh", "-n", tmp_path / "by-hand.sh"]).returncode == 0
