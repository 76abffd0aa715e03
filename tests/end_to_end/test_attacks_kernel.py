"""Attacks on what the kernel shows and grants: ``/proc``, ``/sys``, cgroups, devices, calls, privileges.

The docstrings are rows of docs/explanation/attacks.md: the attack, ``CVE:`` where it has a number, ``Stopped by:``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacker import entry, import_image, python_inside, symlink
from multios.selfproof.judgement import EXPECTATIONS, judge
from multios.selfproof.room import answers
from private_engine import IMAGE, PrivateEngine

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """The host's own settings are as they were."""
    before = CORE_PATTERN.read_text()
    yield
    assert CORE_PATTERN.read_text() == before


@pytest.fixture(scope="module")
def proof(engine: PrivateEngine) -> dict[str, dict[str, object]]:
    """What the self-proof's battery found, by check."""
    rows = engine.run("validate", "--isolation", "default", "--format", "json", status=None).stdout
    return {row["check"]: row for row in json.loads(rows)}


@pytest.mark.parametrize("check", EXPECTATIONS)
def test_what_the_self_proof_tries_is_refused(proof: dict[str, dict[str, object]], check: str) -> None:
    """Everything that ``validate --isolation`` tries: kcore, keys, modules, mounts, namespaces, bpf, io_uring, kexec …

    CVE: CVE-2014-3519, CVE-2021-3490, CVE-2022-0185, CVE-2022-2602, CVE-2020-15257
    Stopped by: as the command says, line by line
    """
    assert proof[check]["expected"], proof[check]


def test_the_self_proof_says_so_when_the_kernel_allows_it(engine: PrivateEngine) -> None:
    """The same battery in a privileged container is not as expected, so it can fail, and does no harm."""
    script = (
        "import json, sys; from multios import connect; from multios.selfproof.room import answers; "
        "print(json.dumps(answers(connect(), '', {'security': {'privileged': True}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=engine.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    wrong = {row["check"] for row in judge(json.loads(done.stdout)) if not row["expected"]}
    assert {"root", "filter", "no-new-privileges", "capabilities", "mount", "core-pattern"} <= wrong
    assert answers.__module__ == "multios.selfproof.room"


def test_the_self_proof_leaves_nothing(engine: PrivateEngine) -> None:
    engine.run("validate", "--isolation", "ns")
    assert "selfproof" not in engine.out("images") + engine.out("ps", "--all") + engine.out("volume", "ls")


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_are_not_mounted_through_a_link(engine: PrivateEngine, name: str) -> None:
    """An image whose ``/proc`` or ``/sys`` is a link into a volume, so that the masks come to lie elsewhere.

    CVE: CVE-2019-19921, CVE-2023-27561
    Stopped by: proc and sysfs are mounted on directories only
    """
    image = import_image(engine, f"{name}link:1", [symlink(name, "/v/place")])
    done = engine.run("run", "--rm", "-v", f"link-{name}:/v", image, "true", status=125)
    assert "symbolic link" in done.stderr
    engine.run("volume", "rm", f"link-{name}", status=None)


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr", "/x/../proc", "//proc/"])
def test_a_volume_does_not_come_over_proc(engine: PrivateEngine, target: str, tmp_path: Path) -> None:
    """A volume at ``/proc`` or below it, so that what the runtime writes and reads there is the attacker's.

    CVE: CVE-2019-16884, CVE-2025-52881
    Stopped by: refused; and proc is mounted after everything else
    """
    (tmp_path / "self").mkdir()
    done = engine.run("run", "--rm", "-v", f"{tmp_path}:{target}", IMAGE, "true", status=125)
    assert "/proc" in done.stderr


def test_a_volume_at_a_link_to_proc_lies_below_it(engine: PrivateEngine, tmp_path: Path) -> None:
    """An image with a link to ``/proc``, and a volume at that link.

    CVE: CVE-2019-16884
    Stopped by: proc is mounted after everything else
    """
    (tmp_path / "fake").write_text("fake\n")
    image = import_image(engine, "alias:1", [symlink("alias", "/proc")])
    out = engine.out(
        "run", "--rm", "-v", f"{tmp_path}:/alias", image, "sh", "-c", "ls /proc/fake /proc/1/status /alias/fake",
        status=None,
    )  # fmt: skip
    assert out == "/proc/1/status"


def test_masks_do_not_follow_a_dev_null_of_the_image(engine: PrivateEngine) -> None:
    """An image whose ``/dev/null`` is a link, to mount something else of the host's over the masked paths.

    CVE: CVE-2025-31133
    Stopped by: the null device is the host's own, named from the old root; devices are made in a new /dev
    """
    image = import_image(engine, "null:1", [symlink("dev/null", "/proc/sys/kernel/core_pattern")])
    script = "cat /proc/keys /proc/timer_list | wc -c; stat -c '%t:%T' /dev/null; echo x >/proc/sys/kernel/core_pattern"
    done = engine.run("run", "--rm", image, "sh", "-c", script, status=None)
    assert done.stdout.split() == ["0", "1:3"] and done.returncode != 0, done


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/etc/greeting"])
def test_a_console_that_is_a_link_leads_nowhere(engine: PrivateEngine, target: str) -> None:
    """An image whose ``/dev/console`` and ``/dev/pts/0`` are links to what shall become writable.

    CVE: CVE-2025-52565
    Stopped by: /dev and /dev/pts are new before the console is mounted
    """
    links = [symlink("dev/console", target), entry("dev/pts", b"5"), symlink("dev/pts/0", target)]
    image = import_image(engine, "console:1", links)
    script = f"stat -c %F /dev/console; [ -L /dev/console ] && echo link; echo x >>{target} || echo refused"
    done = engine.run("run", "--rm", "-t", image, "sh", "-c", script, status=None)
    words = done.stdout.split()
    assert words[:3] == ["character", "special", "file"] and "link" not in words, done
    assert "refused" in words or target == "/etc/greeting"


UNMASK = """
answers = []
answers.append(call(165, b"", b"/proc/sys", b"", 32, 0))
answers.append(attempt("/proc/sys/kernel/core_pattern", os.O_WRONLY))
for place in ("/tmp/p", "/tmp/c"):
    os.mkdir(place)
answers.append(call(165, b"proc", b"/tmp/p", b"proc", 0, 0))
answers.append(attempt("/tmp/p/sys/kernel/core_pattern", os.O_WRONLY))
answers.append(attempt("/tmp/p/sysrq-trigger", os.O_WRONLY))
for data in (b"memory", b"rdma", b"cpu,cpuacct", b"none,name=x"):
    if call(165, b"cgroup", b"/tmp/c", b"cgroup", 0, data) == "done":
        answers.append("mounted")
        answers += [attempt(f"/tmp/c/{name}", os.O_WRONLY)
                    for name in ("release_agent", "memory.limit_in_bytes", "pids.max", "cgroup.procs")]
        call(166, b"/tmp/c", 0)
print(*answers)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this host numbers its system calls otherwise")
@pytest.mark.parametrize("way", ["SYS_ADMIN", "a namespace of its own"])
def test_unmasked_and_mounted_anew_it_is_still_not_the_attackers(engine: PrivateEngine, way: str) -> None:
    """With SYS_ADMIN, or without a filter in namespaces of one's own: mount proc and cgroups anew, write release_agent.

    CVE: CVE-2022-0492
    Stopped by: all of it belongs to the host's root, whom no user namespace of the container can be
    """
    alone = "call(272, 0x10000000 | 0x20000 | 0x02000000)\n"
    options = ["--cap-add", "SYS_ADMIN"] if way == "SYS_ADMIN" else ["--security-opt", "seccomp=unconfined"]
    program = UNMASK if way == "SYS_ADMIN" else alone + UNMASK
    said = python_inside(engine, program, *options).split()
    assert "done" not in [answer for number, answer in enumerate(said) if number not in (0, 2)], said


SOCKETCALL = """
libc.mmap.restype = ctypes.c_void_p
place = libc.mmap(0, 4096, 7, 0x62, -1, 0)  # anonymous, private, below 4 GiB
def old(number, first, second):
    code = (b"\\x53\\x31\\xd2\\xb8" + struct.pack("<I", number) + b"\\xbb" + struct.pack("<I", first)
            + b"\\xb9" + struct.pack("<I", second) + b"\\xcd\\x80\\x5b\\xc3")
    ctypes.memmove(place, code, len(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(place)()
for family, kind in ((40, 1), (38, 5)):
    ctypes.memmove(place + 2048, struct.pack("<III", family, kind, 0), 12)
    print("refused" if old(102, 1, place + 2048) < 0 else "made", "refused" if old(359, family, kind) < 0 else "made")
print("made" if old(359, 1, 1) >= 0 else "refused")
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this host has no 32-bit programs of x86")
def test_socketcall_does_not_pass_the_filter_by(engine: PrivateEngine) -> None:
    """Make sockets of refused families by the call of 32-bit programs, whose arguments no filter sees.

    Stopped by: socketcall(2) makes no sockets; socket(2), which is filtered, does
    """
    done = engine.run("run", "--rm", IMAGE, "true")
    assert done.returncode == 0
    said = python_inside(engine, SOCKETCALL).split()
    assert said[:4] == ["refused"] * 4 and said[4] == "made"


PRIVILEGES = """
fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(int(fields["CapInh"], 16), int(fields["CapAmb"], 16), *sorted(map(int, fields["Groups"].split())))
"""


@pytest.mark.parametrize(
    ("user", "expected"), [("", "0 0 0"), ("student", "0 0 50 1000"), ("student:staff", "0 0 50")]
)
def test_no_capability_is_inheritable_and_groups_are_those_asked_for(
    engine: PrivateEngine, user: str, expected: str
) -> None:
    """Inheritable capabilities, groups of the daemon's, or a set-group-ID program that lays its caller's group down.

    CVE: CVE-2022-29162, CVE-2022-24769, CVE-2022-36109, CVE-2022-2989
    Stopped by: no inheritable set; the groups are set, the own one among them
    """
    assert python_inside(engine, PRIVILEGES, *(["-u", user] if user else [])) == expected


SHOCKER = """
import array
handle = ctypes.create_string_buffer(struct.pack("<IiQ", 8, 1, 2))
root = os.open("/etc/hosts", os.O_RDONLY)
print(call(304, root, ctypes.addressof(handle), os.O_RDONLY))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this host numbers its system calls otherwise")
@pytest.mark.parametrize(
    "options", [(), ("--cap-add", "DAC_READ_SEARCH")], ids=["default", "DAC_READ_SEARCH"]
)
def test_a_handle_opens_nothing_of_the_host(engine: PrivateEngine, options: tuple[str, ...]) -> None:
    """Open the host's root by its handle (inode 2) through the descriptor of a mounted file: "shocker".

    CVE: CVE-2014-3519
    Stopped by: the capability for it counts in the host's user namespace only, and the filter
    """
    assert python_inside(engine, SHOCKER, *options) in ("EPERM", "ESTALE", "EOPNOTSUPP")


CHROOT = """
os.mkdir("/jail")
way = os.open("/", os.O_RDONLY)
os.chroot("/jail")
os.fchdir(way)
for _ in range(50):
    os.chdir("..")
os.chroot(".")
status = os.stat("/")
print(f"{status.st_dev}:{status.st_ino}", os.path.exists("/bin/busybox"))
"""


def test_chroot_and_climbing_end_at_the_containers_root(engine: PrivateEngine) -> None:
    """The classic way out of chroot(2): keep a descriptor outside, climb, chroot again.

    Stopped by: the root is changed with pivot_root(2) and the old one is not mounted any more
    """
    place, is_own = python_inside(engine, CHROOT).split()
    host = os.stat("/")
    assert is_own == "True" and place != f"{host.st_dev}:{host.st_ino}"
