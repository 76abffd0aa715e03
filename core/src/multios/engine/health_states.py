"""What health probes come to: which a container has, when the next one is due, and what a result makes of the state."""

from __future__ import annotations

import math
from dataclasses import replace

from multios.errors import InvalidInput
from multios.model.container import HealthProbe, HealthRequest, HealthState, HealthStatus, ProbeResult
from multios.model.container_document import LONGEST_PROBE, MOST_RETRIES, SHORTEST_PROBE, is_test
from multios.model.image import Healthcheck, ImageConfig

RESULTS_KEPT = 5
_SHELL = ("/bin/sh", "-c")


def chosen(asked: HealthRequest | None, image: ImageConfig) -> HealthProbe | None:
    """The probe of a container: field by field what was asked, else the image's, else the default; ``None``: it has none.

    An image comes from outside: its times are brought within bounds, and a test that is none is left alone.
    ``InvalidInput``: something was asked of a probe, and there is none.
    """
    request, inherited = asked or HealthRequest(), image.healthcheck or Healthcheck()
    test = request.test or inherited.test
    if not is_test(test) or test == ("NONE",):
        if request not in (HealthRequest(), HealthRequest(("NONE",))):
            raise InvalidInput(
                "healthcheck: no test is given, and the image has none", "give one: --health-cmd COMMAND"
            )
        return None
    shell = image.shell or _SHELL
    default = HealthProbe(test, (*shell, test[1]) if test[0] == "CMD-SHELL" else test[1:])

    def field(name: str, least: float, most: float) -> float:
        wanted: float | None = getattr(request, name)
        if wanted is None:
            wanted = getattr(inherited, name) or getattr(default, name)
        return min(max(wanted, least), most)

    return replace(
        default,
        interval=field("interval", SHORTEST_PROBE, LONGEST_PROBE),
        timeout=field("timeout", SHORTEST_PROBE, LONGEST_PROBE),
        retries=int(field("retries", 1, MOST_RETRIES)),
        start_period=field("start_period", 0.0, LONGEST_PROBE),
        start_interval=field("start_interval", SHORTEST_PROBE, LONGEST_PROBE),
    )


def after(state: HealthState, result: ProbeResult, probe: HealthProbe, started: float) -> HealthState:
    """The state with one more result. ``started`` is when the run began.

    A success makes it healthy, and ends the start period; a failure within that does not count.
    """
    log = (*state.log, result)[-RESULTS_KEPT:]
    if result.exit_code == 0:
        return HealthState(HealthStatus.HEALTHY, 0, log)
    if _is_starting(state, probe, started, result.started):
        return replace(state, log=log)
    streak = state.failing_streak + 1
    return HealthState(HealthStatus.UNHEALTHY if streak >= probe.retries else state.status, streak, log)


def next_due(state: HealthState, probe: HealthProbe, started: float, now: float) -> float:
    """When the next probe is due: an interval after the last result, or after the start; of those, the first to come.

    So a daemon that comes later, and a container that was paused, go on in step, and nothing is made up for.
    """
    interval = probe.start_interval if _is_starting(state, probe, started, now) else probe.interval
    last = min(state.log[-1].ended if state.log else started, now)  # the clock may have been set back
    return last + (math.floor((now - last) / interval) + 1) * interval


def _is_starting(state: HealthState, probe: HealthProbe, started: float, moment: float) -> bool:
    return state.status == HealthStatus.STARTING and moment - started < probe.start_period
