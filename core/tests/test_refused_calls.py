from __future__ import annotations

import os
from dataclasses import replace

import pytest

from multios.drivers.isolation import RefusedCall
from multios.engine import refused_calls, refused_limits
from multios.model.container import Container, ContainerConfig, Counters, Resources, Security, Volume

ADMIN = "(administrators)"
HELD = ("CAP_CHOWN", "CAP_SETUID")


def container(**security: object) -> Container:
    config = ContainerConfig(name="lab", image="small", security=Security(**security))  # type: ignore[arg-type]
    return Container(id="a" * 64, name="lab", owner=1000, config=config, image_id="", drivers={}, created=0.0)


def call(name: str, *arguments: int, errno: int = 1, by: str = "", **texts: str) -> RefusedCall:
    places = {int(place.removeprefix("at")): text for place, text in texts.items()}
    return RefusedCall(name, errno, "sh", 3, 1, 1.0, 2.0, arguments, places, by)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (call("mount", at0="x", at1="/mnt", at2="ext4"), 'mount("/mnt", ext4)'),
        (call("unshare", 0x10020000), "unshare(mount, user) namespace"),
        (call("socket", 17, 3), "socket(AF_PACKET, SOCK_RAW)"),
        (call("umount2", at0="/proc"), 'umount2("/proc")'),
        (call("reboot", 1), "reboot() (reboot or halt the machine)"),
        (call("keyctl", 1), "keyctl()"),
    ],
)
def test_a_call_is_told_as_one_would_write_it(refused: RefusedCall, words: str) -> None:
    assert refused_calls.tried(refused) == words


@pytest.mark.parametrize(
    ("refused", "guardians", "security", "expected"),
    [
        (
            call("mount"),
            ["CAP_SYS_ADMIN"],
            {},
            ("capability", "no CAP_SYS_ADMIN", f"--cap-add SYS_ADMIN {ADMIN}"),
        ),
        (
            call("bpf"),
            ["CAP_BPF", "CAP_SYS_ADMIN"],
            {},
            ("capability", "no CAP_BPF", f"--cap-add BPF {ADMIN}"),
        ),
        (
            call("chown", by="capability:CAP_CHOWN"),
            [],
            {"drop_capabilities": ("CHOWN",)},
            ("capability", "no CAP_CHOWN", "leave out --cap-drop CHOWN"),
        ),
        (
            call("chown", by="capability:CAP_CHOWN"),
            [],
            {"drop_capabilities": ("ALL",)},
            ("capability", "no CAP_CHOWN", "leave out --cap-drop ALL"),
        ),
        (
            call("keyctl"),
            [],
            {},
            (
                "seccomp",
                "forbidden by the seccomp profile",
                f"--security-opt seccomp=FILE that allows keyctl {ADMIN}",
            ),
        ),
        (
            call("chown", errno=22, by="user-namespace:65536 ids"),
            [],
            {},
            ("user-namespace", "the container has 65536 ids of its own", "use an id below that"),
        ),
        (
            call("openat", errno=30, by="read-only:/"),
            [],
            {"read_only": True},
            ("read-only", "read-only root", "leave out --read-only, or --tmpfs where it writes"),
        ),
        (
            call("openat", errno=30, by="read-only:/proc/sys"),
            [],
            {},
            ("read-only", "/proc/sys is read-only in containers", f"--privileged {ADMIN}"),
        ),
        (
            call("prlimit64", by="rlimit:7"),
            [],
            {},
            ("limit", "the hard limit nofile cannot be raised", "--ulimit nofile=SOFT:HARD"),
        ),
    ],
)
def test_each_refusal_has_its_reason_and_its_option(
    refused: RefusedCall, guardians: list[str], security: dict[str, object], expected: tuple[str, str, str]
) -> None:
    why = refused_calls.reason(refused, container(**security), guardians, HELD, HELD)
    assert (why.kind, why.words, why.remedy) == expected


def test_a_capability_that_is_held_is_not_what_is_missing() -> None:
    why = refused_calls.reason(call("chown"), container(), ["CAP_CHOWN"], HELD, HELD)
    assert why.kind == "seccomp"


def test_a_read_only_volume_is_told_from_a_read_only_root() -> None:
    lab = container()
    volume = Volume(kind="volume", source="data", target="/data", mode="ro")
    lab = replace(lab, config=replace(lab.config, volumes=(volume,)))
    why = refused_calls.reason(call("openat", errno=30, by="read-only:/data"), lab, [], HELD, HELD)
    assert why.remedy == "leave out :ro of its --volume"


def test_limits_that_were_met_say_how_to_raise_them() -> None:
    lab = container()
    limits = Resources(pids_limit=64, memory_limit=32 * 2**20, cpu_limit=0.5)
    lab = replace(lab, config=replace(lab.config, resources=limits))
    met = Counters(pids_refused=214, oom_kills=1, throttled_periods=3, throttled_nanoseconds=2_000_000_000)
    rows = refused_limits.limits(lab, met)
    assert [(row["count"], row["reason"].remedy) for row in rows] == [
        (214, "update lab --pids-limit 128"),
        (1, "update lab --memory-limit 64MiB"),
        (3, "update lab --cpu-limit 1"),
    ]


def test_limits_that_were_not_met_are_not_told() -> None:
    assert (
        refused_limits.limits(container(), Counters(pids_refused=0, oom_kills=0, throttled_periods=0)) == []
    )


def test_a_container_killed_for_memory_says_so_after_its_end() -> None:
    ended = replace(container(), oom_killed=True, finished=5.0)
    (row,) = refused_limits.limits(ended, Counters())
    assert (row["last"], row["reason"].kind) == (5.0, "limit")


@pytest.mark.parametrize(("free", "told"), [(0, True), (9, True), (10, False), (500, False)])
def test_a_disk_is_full_below_one_part_in_a_hundred(
    monkeypatch: pytest.MonkeyPatch, free: int, told: bool
) -> None:
    asked: list[str] = []

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(path)
        return os.statvfs_result((4096, 4096, 1000, free, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    lab = container()
    lab = replace(lab, pid=42, config=replace(lab.config, resources=Resources(disk_limit=4_096_000)))
    rows = refused_limits.disk(lab)
    assert asked == ["/proc/42/root"]
    assert [row["reason"].words for row in rows] == (["disk limit of 3.906 MiB"] if told else [])


def test_dropped_packets_are_told_by_network() -> None:
    (row,) = refused_limits.network("default", {"egress": 47})
    assert (row["count"], row["reason"].kind) == (47, "network")
    assert refused_limits.network("default", {"egress": 0}) == []
