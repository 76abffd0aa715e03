"""The device allow-list: ``devices.allow`` on v1, a BPF program on v2 (kernel: cgroup-v2, "Device controller").

Rules are those of an OCI runtime spec (``linux.resources.devices``): in order, a later one overrides an
earlier one; what no rule speaks of is denied.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from multios.cgroups.hierarchy import Hierarchy, write
from multios.errors import InvalidInput, StepFailed, Unsupported

TYPE_CHECKING = False  # typing is too heavy for the one-shot OCI runtime
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPES = {"b": 1, "c": 2}
_BPF_NUMBER = {"x86_64": 321, "aarch64": 280, "armv7l": 386, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_CGROUP_DEVICE_PROGRAM, _CGROUP_DEVICE_HOOK, _ALLOW_MULTI = 15, 6, 2

# BPF operations (linux/bpf_common.h): load word, ALU on 32 bits, jumps.
_LOAD, _MOVE, _AND, _SHIFT, _SET, _EXIT = 0x61, 0xBC, 0x54, 0x74, 0xB7, 0x95
_JUMP_EQUAL, _JUMP_UNEQUAL, _JUMP_UNEQUAL_REGISTER = 0x15, 0x55, 0x5D
_SCRATCH, _TYPE, _REQUEST, _MAJOR, _MINOR = 1, 2, 3, 4, 5


def apply(hierarchy: Hierarchy, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
    """Restrict group ``name`` to ``rules``; call it once a group, before anything runs in it.

    Raises ``Unsupported`` where neither the v1 controller nor BPF is to be had.
    """
    checked = [_checked(rule) for rule in rules]
    directory = hierarchy.path("devices", name)
    if directory:
        _write_v1(directory, checked)
        return
    directory = hierarchy.path("unified", name)
    if not directory:
        raise Unsupported("device rules: this host gives us no cgroup controller 'devices'")
    _attach(directory, program(checked))


Rule = tuple[bool, str, int | None, int | None, str]
"""Allow, type (``a``, ``b``, ``c``), major, minor (``None`` is any), access of ``rwm``."""


def _checked(rule: Mapping[str, Any]) -> Rule:
    kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
    numbers = [rule.get(key) for key in ("major", "minor")]
    major, minor = (None if number is None or number == -1 else number for number in numbers)
    plain = all(number is None or (isinstance(number, int) and number >= 0) for number in (major, minor))
    if kind not in ("a", "b", "c") or not plain or not access or set(access) - set("rwm"):
        raise InvalidInput(f"device rule {dict(rule)!r} is not of the form type, major, minor, access")
    return bool(rule.get("allow")), kind, major, minor, access


def _write_v1(directory: str, rules: list[Rule]) -> None:
    write(directory + "/devices.deny", "a")
    for allow, kind, major, minor, access in rules:
        if kind == "a" and major is None and minor is None:
            line = ["a"] if set(access) == set("rwm") else [f"b *:* {access}", f"c *:* {access}"]
        else:
            numbers = ":".join("*" if number is None else str(number) for number in (major, minor))
            line = [f"{each} {numbers} {access}" for each in ("bc" if kind == "a" else kind)]
        for text in line:
            try:
                write(f"{directory}/devices.{'allow' if allow else 'deny'}", text)
            except PermissionError:
                raise Unsupported(f"device rule {text!r}: a parent cgroup of ours may not give it") from None


def program(rules: Sequence[Rule]) -> bytes:
    """The rules as a BPF program over ``struct bpf_cgroup_dev_ctx``: the last rule that matches decides."""
    code = [
        _instruction(_LOAD, _TYPE, 1, 0),
        _instruction(_MOVE, _REQUEST, _TYPE),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT, _REQUEST, value=16),
        _instruction(_LOAD, _MAJOR, 1, 4),
        _instruction(_LOAD, _MINOR, 1, 8),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
    code += [_instruction(_SET, 0, value=0), _instruction(_EXIT)]
    return b"".join(code)


def _rule(rule: Rule) -> list[bytes]:
    allow, kind, major, minor, access = rule
    mask = sum(_ACCESS[letter] for letter in set(access))
    tests: list[
        tuple[int, int, int, int]
    ] = []  # operation, left, right, value: jumps away when it does not match
    if kind != "a":
        tests.append((_JUMP_UNEQUAL, _TYPE, 0, _TYPES[kind]))
    for register, number in ((_MAJOR, major), (_MINOR, minor)):
        if number is not None:
            tests.append((_JUMP_UNEQUAL, register, 0, number))
    body = [_instruction(_MOVE, _SCRATCH, _REQUEST), _instruction(_AND, _SCRATCH, value=mask)]
    verdict = [_instruction(_SET, 0, value=int(allow)), _instruction(_EXIT)]
    # An allow rule must cover all that is requested, a deny rule any of it.
    last = (_JUMP_UNEQUAL_REGISTER, _SCRATCH, _REQUEST, 0) if allow else (_JUMP_EQUAL, _SCRATCH, 0, 0)
    length = len(tests) + len(body) + 1 + len(verdict)
    code = [_jump(test, length - place - 1) for place, test in enumerate(tests)]
    return [*code, *body, _jump(last, len(verdict)), *verdict]


def _jump(test: tuple[int, int, int, int], distance: int) -> bytes:
    operation, left, right, value = test
    return _instruction(operation, left, right, distance, value)


def _instruction(operation: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", operation, source << 4 | target, offset, value)


def _attach(directory: str, code: bytes) -> None:
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQIIQ",
        *(_CGROUP_DEVICE_PROGRAM, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, 0),
    )
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        loaded = _bpf(_PROG_LOAD, load)
        try:
            _bpf(_PROG_ATTACH, struct.pack("=IIII", group, loaded, _CGROUP_DEVICE_HOOK, _ALLOW_MULTI))
        finally:
            os.close(loaded)
    finally:
        os.close(group)


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2)."""
    number = _BPF_NUMBER.get(os.uname().machine)
    if number is None:
        raise Unsupported(f"device rules: bpf(2) is not known here for {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    library = ctypes.CDLL(None, use_errno=True)
    result = int(library.syscall(number, command, buffer, len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            raise Unsupported(
                f"device rules: the kernel takes no BPF program on a cgroup ({os.strerror(code)})"
            )
        raise StepFailed("limit devices", os.strerror(code))
    return result
