"""Steps are undone in reverse, all of them, and say which one failed."""

from __future__ import annotations

import pytest

from multios.engine.steps import Steps
from multios.errors import Conflict, StepFailed


def failing() -> None:
    raise OSError(28, "No space left on device")


def test_a_failure_undoes_what_was_done_in_reverse_order() -> None:
    done: list[str] = []
    with pytest.raises(StepFailed, match="third: .*No space left"), Steps() as steps:
        steps.do("first", lambda: done.append("1"), lambda: done.append("-1"))
        steps.do("second", lambda: done.append("2"), lambda: done.append("-2"))
        steps.do("third", failing, lambda: done.append("-3"))
    assert done == ["1", "2", "-3", "-2", "-1"]


def test_an_inverse_that_fails_does_not_stop_the_others() -> None:
    done: list[str] = []
    with pytest.raises(StepFailed), Steps() as steps:
        steps.do("first", lambda: None, lambda: done.append("-1"))
        steps.do("second", lambda: None, failing)
        steps.do("third", failing)
    assert done == ["-1"]


def test_success_undoes_nothing() -> None:
    done: list[str] = []
    with Steps() as steps:
        assert steps.do("first", lambda: 7, lambda: done.append("-1")) == 7
    assert done == []


def test_a_users_error_passes_as_it_is() -> None:
    def refuse() -> None:
        raise Conflict("taken", "choose another")

    with pytest.raises(Conflict), Steps() as steps:
        steps.do("first", refuse)
