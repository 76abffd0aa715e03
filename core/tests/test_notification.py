from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.supervisor import notification

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, ERRNO, ASK, KILL = 0x7FFF0000, 0x50000, 0x7FC00000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06


def program(*lines: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


FILTER = program(
    (LOAD, 0, 0, 4),
    (EQUAL, 0, 7, X86_64),
    (LOAD, 0, 0, 0),
    (EQUAL, 0, 1, 165),
    (RETURN, 0, 0, ERRNO | 1),
    (EQUAL, 0, 1, 435),
    (RETURN, 0, 0, ERRNO | 38),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, KILL),
    (RETURN, 0, 0, KILL),
)
"""mount(2) is refused, clone3(2) is not there, another architecture is killed, the rest may."""


def data(call: int, architecture: int = X86_64, *arguments: int) -> bytes:
    return struct.pack("=iIQ6Q", call, architecture, 0, *(*arguments, *(0,) * 6)[:6])


def answer(made: bytes, *call: int) -> int:
    return notification.verdict(notification.instructions(made), data(*call))


def notified(call: int) -> bytes:
    return struct.pack("=QII", 7, 42, 0) + data(call)


def test_the_program_is_run_as_the_kernel_would() -> None:
    assert [answer(FILTER, call) for call in (165, 435, 1)] == [ERRNO | 1, ERRNO | 38, ALLOW]
    assert answer(FILTER, 165, I386) == KILL


def test_an_asking_filter_asks_where_it_refused() -> None:
    assert answer(notification.asking(FILTER), 165) == ASK


def test_an_asking_filter_lets_through_and_kills_as_before() -> None:
    made = notification.asking(FILTER)
    assert answer(made, 1) == ALLOW
    assert answer(made, 1, I386) == KILL


def test_clone3_that_is_not_there_is_not_asked_about() -> None:
    assert answer(notification.asking(FILTER), 435) == ERRNO | 38


def test_a_clone3_that_is_allowed_stays_allowed() -> None:
    permissive = program((LOAD, 0, 0, 4), (EQUAL, 0, 1, X86_64), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, KILL))
    assert answer(notification.asking(permissive), 435) == ALLOW


def test_an_answer_that_pretends_success_is_not_asked_about() -> None:
    pretending = program((RETURN, 0, 0, ERRNO))
    assert answer(notification.asking(pretending), 1) == ERRNO


def test_the_answer_is_the_errno_of_the_filter() -> None:
    parsed = notification.instructions(FILTER)
    assert notification.refusal(parsed, notified(165)) == 1
    assert notification.refusal(parsed, notified(435)) == 38


def test_only_what_the_filter_allows_may_go_on() -> None:
    parsed = notification.instructions(FILTER)
    assert notification.allows(parsed, notified(1))
    assert not notification.allows(parsed, notified(165))
    assert not notification.allows(parsed, struct.pack("=QII", 7, 42, 0) + data(1, I386))


def test_further_calls_are_asked_about_and_the_others_are_not() -> None:
    made = notification.foreseeing(notification.asking(FILTER), X86_64, {41: None, 257: (2, 0x3)})
    assert answer(made, 41) == ASK
    assert answer(made, 257, X86_64, 0, 0, 0x1) == ASK
    assert answer(made, 257, X86_64, 0, 0, 0x400) == ALLOW
    assert [answer(made, call) for call in (1, 165, 435)] == [ALLOW, ASK, ERRNO | 38]
    assert answer(made, 41, I386) == KILL


def test_an_unknown_instruction_is_refused_rather_than_misread() -> None:
    with pytest.raises(ValueError, match="BPF instruction 0x87"):
        notification.instructions(program((0x87, 0, 0, 0)))


@given(st.integers(0, 600), st.sampled_from([X86_64, I386]), st.integers(0, 2**64 - 1))
def test_no_call_that_was_refused_is_ever_allowed(call: int, architecture: int, argument: int) -> None:
    made = notification.foreseeing(notification.asking(FILTER), X86_64, {41: None, 257: (2, 0x3), 165: None})
    before = answer(FILTER, call, architecture, argument, argument, argument)
    after = answer(made, call, architecture, argument, argument, argument)
    assert after in (before, ASK)
    if before != ALLOW:
        assert after != ALLOW
