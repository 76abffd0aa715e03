"""On CI nothing may be skipped silently: a skip is either the host's kind, and says so, or the run has failed."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "unhurried", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# How long an example takes says more of the machine than of what is tested.
settings.load_profile("unhurried")

ALLOWED_ON_CI = ("this host ", "this kernel lacks ", "this driver ")
"""How the reason of a skip begins when it speaks of what machine or driver are, not of what somebody forgot."""

_unexpected: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skips that CI does not allow."""
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if not reason.startswith(ALLOWED_ON_CI):
        _unexpected.append(f"{report.nodeid}: {reason}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> object:
    """Fail a run on CI that skipped what it should have run."""
    if os.environ.get("CI") and _unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name them."""
    if os.environ.get("CI") and _unexpected:
        terminalreporter.section("skipped on CI without an allowed reason", red=True)
        for line in _unexpected:
            terminalreporter.write_line(line)
