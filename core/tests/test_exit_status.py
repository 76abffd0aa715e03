from __future__ import annotations

import os
import signal
import time

import pytest

from multios.supervisor import exit_status


def ended(how: str) -> tuple[int, int]:
    """A child that ends at once: pid and pidfd, not reaped."""
    pid = os.fork()
    if pid == 0:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(23)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid, os.pidfd_open(pid)


@pytest.mark.parametrize(("how", "expected"), [("exited", (23, 0)), ("killed", (137, 9))])
def test_the_end_of_one_that_nobody_has_reaped_is_known(how: str, expected: tuple[int, int]) -> None:
    pid, pidfd = ended(how)
    try:
        status = exit_status.of_ended(pidfd)
        assert status is not None
        assert exit_status.split(status) == expected
    finally:
        os.waitpid(pid, 0)
        os.close(pidfd)


def test_the_end_of_one_that_was_reaped_is_what_the_kernel_tells_and_never_invented() -> None:
    pid, pidfd = ended("exited")
    os.waitpid(pid, 0)
    try:
        status = exit_status.of_ended(pidfd)
        assert status in (None, 23 << 8)
    except OSError:
        pass  # before Linux 6.15
    finally:
        os.close(pidfd)


def test_one_that_lives_has_no_status() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    try:
        assert exit_status.of_ended(pidfd) is None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
