"""Seccomp's user notification: a filter that asks instead of refusing, and the answers (seccomp_unotify(2)).

A filter's refusals (SECCOMP_RET_ERRNO) become questions; whoever holds the filter's listener answers with the very
errno that the filter would have given, which it finds by running the original program on the call's data. So the
container sees no difference, and nothing that the filter refuses is ever let through.
"""

from __future__ import annotations

import fcntl
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Instructions = tuple[tuple[int, int, int, int], ...]

NOTIFICATION = struct.Struct("=QII iIQ 6Q")
"""struct seccomp_notif: id, pid, flags, then struct seccomp_data: number, architecture, instruction pointer, arguments."""
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_ID = struct.Struct("=Q")
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102  # linux/seccomp.h: SECCOMP_IOCTL_NOTIF_*

_ACTION, _DATA = 0xFFFF0000, 0xFFFF
_ERRNO, _ASK, _ALLOW = 0x00050000, 0x7FC00000, 0x7FFF0000
_LITTLE_ENDIAN = 0x40000000  # in an AUDIT_ARCH_* of linux/audit.h
_EPERM, _ENOSYS = 1, 38
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, since Linux 5.5
_CLONE3 = 435  # one number on every architecture

# linux/bpf_common.h: the classic BPF that seccomp(2) takes, as far as compilers of filters write it.
_LOAD, _LOAD_MEMORY, _STORE, _AND, _RETURN = 0x20, 0x60, 0x02, 0x54, 0x06
_JUMP, _IF_EQUAL, _IF_GREATER, _IF_GREATER_EQUAL, _IF_SET = 0x05, 0x15, 0x25, 0x35, 0x45
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, constant
_KNOWN = frozenset((_LOAD, _LOAD_MEMORY, _STORE, _AND, _RETURN, _JUMP))
_TESTS = frozenset((_IF_EQUAL, _IF_GREATER, _IF_GREATER_EQUAL, _IF_SET))


def instructions(program: bytes) -> Instructions:
    """The program's instructions; ``ValueError`` for one that :func:`verdict` could not run."""
    parsed = tuple(_INSTRUCTION.iter_unpack(program))
    for code, _, _, _ in parsed:
        if code not in _KNOWN and code not in _TESTS:
            raise ValueError(f"a BPF instruction 0x{code:x}")
    return parsed


def asking(program: bytes) -> bytes:
    """The same filter with questions for refusals.

    clone3(2) answered with "not there" stays so, unasked: every C library tries it before every new thread.
    """
    parsed = instructions(program)
    made = [
        _INSTRUCTION.pack(code, yes, no, _ASK if code == _RETURN and _refuses(value) else value)
        for code, yes, no, value in parsed
    ]
    if _hides_clone3(parsed):
        made[:0] = [
            _INSTRUCTION.pack(_LOAD, 0, 0, 0),
            _INSTRUCTION.pack(_IF_EQUAL, 0, 1, _CLONE3),
            _INSTRUCTION.pack(_RETURN, 0, 0, _ERRNO | _ENOSYS),
        ]
    return b"".join(made)


def foreseeing(program: bytes, architecture: int, calls: Mapping[int, tuple[int, int] | None]) -> bytes:
    """An asking filter that asks about further ``calls`` of one architecture too, each by its number.

    With (argument's place, bits) only when the argument has one of the bits. At most some eighty: jumps are short.
    """
    body: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, 0)]
    for number in (number for number, bits in calls.items() if bits is None):
        body += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ASK)]
    for number, bits in calls.items():
        if bits is not None:
            low_half = 16 + 8 * bits[0]
            body += [(_IF_EQUAL, 0, 4, number), (_LOAD, 0, 0, low_half), (_IF_SET, 0, 1, bits[1])]
            body += [(_RETURN, 0, 0, _ASK), (_LOAD, 0, 0, 0)]
    if len(body) > 255:
        raise ValueError(f"{len(calls)} further calls")
    prelude = [(_LOAD, 0, 0, 4), (_IF_EQUAL, 0, len(body), architecture), *body]
    return b"".join(_INSTRUCTION.pack(*one) for one in prelude) + program


def _refuses(value: int) -> bool:
    """Whether an answer of the program is an errno; that of 0 pretends success, and stays what it is."""
    return value & _ACTION == _ERRNO and value & _DATA != 0


def _hides_clone3(parsed: Instructions) -> bool:
    """Whether the filter says on its own architectures, which are those it names, that there is no clone3(2)."""
    named = {value for code, _, _, value in parsed if code == _IF_EQUAL and value & _LITTLE_ENDIAN}
    answers = {verdict(parsed, struct.pack("=iIQ6Q", _CLONE3, word, 0, *(0,) * 6)) for word in named}
    return {answer for answer in answers if answer & _ACTION in (_ERRNO, _ALLOW)} == {_ERRNO | _ENOSYS}


def verdict(parsed: Instructions, data: bytes) -> int:
    """What the program returns for a struct seccomp_data: an action, with its data in the low half."""
    accumulator, at = 0, 0
    memory: dict[int, int] = {}
    while True:
        code, yes, no, value = parsed[at]
        at += 1
        if code == _LOAD:
            accumulator = int.from_bytes(data[value : value + 4], "little")
        elif code == _IF_EQUAL:
            at += yes if accumulator == value else no
        elif code == _IF_GREATER:
            at += yes if accumulator > value else no
        elif code == _IF_GREATER_EQUAL:
            at += yes if accumulator >= value else no
        elif code == _IF_SET:
            at += yes if accumulator & value else no
        elif code == _JUMP:
            at += value
        elif code == _AND:
            accumulator &= value
        elif code == _STORE:
            memory[value] = accumulator
        elif code == _LOAD_MEMORY:
            accumulator = memory.get(value, 0)
        else:
            return value


def refusal(parsed: Instructions, notification: bytes) -> int:
    """The errno that the filter would have refused with: never 0, so that no answer looks like success."""
    answer = verdict(parsed, notification[16:])
    return (answer & _DATA or _EPERM) if answer & _ACTION == _ERRNO else _EPERM


def allows(parsed: Instructions, notification: bytes) -> bool:
    """Whether the filter itself would have let the call through, so that it may go on."""
    return verdict(parsed, notification[16:]) == _ALLOW


def receive(listener: int) -> bytes | None:
    """The next call that waits; ``None`` when its caller went meanwhile."""
    buffer = bytearray(NOTIFICATION.size)  # must be zero: seccomp_unotify(2)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer, True)
    except (FileNotFoundError, InterruptedError):
        return None
    return bytes(buffer)


def refuse(listener: int, identity: int, error: int) -> bool:
    """Answer a call with an errno; whether it still waited."""
    try:
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(identity, 0, -error, 0))
    except OSError:  # ENOENT: the caller is gone; EINPROGRESS: it has its answer
        return False
    return True


def let_go_on(listener: int, identity: int) -> None:
    """Let a call that the filter allows go on, as if nobody had asked; the kernel decides."""
    try:
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(identity, 0, 0, _CONTINUE))
    except OSError:
        return  # as in refuse


def waits(listener: int, identity: int) -> bool:
    """Whether the call still waits, so that what was read of its process was read of it."""
    try:
        fcntl.ioctl(listener, _IS_VALID, _ID.pack(identity))
    except OSError:
        return False
    return True
