"""``events``: what happened and what happens, across restarts of the daemon."""

from __future__ import annotations

import sys
import time

from multios.cli.filters import FILTER, filters
from multios.cli.grammar import FLAG, TEXT, Command, Option
from multios.cli.output import FORMAT, parse_template, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from multios.api.client import Client
    from multios.cli.context import Context
    from multios.cli.grammar import Values

PATIENCE = 60.0
"""Seconds that the next daemon has to come."""
_POLL_SECONDS = 0.1


def _events(values: Values, context: Context) -> int:
    show = writer(values["format"])
    params = _request(values)
    happened = (
        _followed(context, params) if params["follow"] else context.client.stream("system.events", params)
    )
    for event in happened:
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()
    return 0


def _request(values: Values) -> dict[str, Any]:
    from multios.cli.moments import moment
    from multios.errors import InvalidInput

    once = values["no_follow"] or values["stream"] == "false"
    if values["follow"] and once:
        raise InvalidInput("--follow and --no-follow exclude each other", "leave one of them out")
    params: dict[str, Any] = {"filters": filters(values["filter"]), "follow": not once}
    for name in ("since", "until"):
        if values[name]:
            params[name] = moment(values[name], f"--{name}")
    if params["follow"] and not values["since"] and not values["until"]:
        params["since"] = time.time()
    return params


def _followed(context: Context, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events to come, each once, whatever daemon tells them."""
    from multios.api.client import NobodyAnswers, PeerGone

    client = context.client
    client.open()
    while True:
        try:
            for event in client.stream("system.events", params):
                params["after"] = event["sequence"]
                yield event
            return
        except (PeerGone, NobodyAnswers):
            client = _next_daemon(context)


def _next_daemon(context: Context) -> Client:
    """A connection to the daemon that comes next. None is started here: who has stopped it wants none."""
    from multios.api.client import NobodyAnswers

    deadline = time.monotonic() + PATIENCE
    client = context.another_client(start=False)
    while True:
        try:
            client.open()
            return client
        except NobodyAnswers as error:
            if time.monotonic() > deadline:
                raise NobodyAnswers(
                    f"the daemon has ended, and no other came within {PATIENCE:.0f} s",
                    error.remedy,
                ) from None
        time.sleep(_POLL_SECONDS)


def writer(format: str | None) -> Callable[[dict[str, Any]], str]:
    """What makes an event's line."""
    if format == "json":
        from multios.api.wire_json import dumps

        return dumps
    if format in (None, "", "table"):
        return _line
    parts = parse_template(format or "")
    return lambda event: render(parts, event)


def _line(event: dict[str, Any]) -> str:
    from multios.cli.tables import harmless

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    facts = {"name": event.get("name", ""), **(event.get("attributes") or {})}
    labels = facts.pop("labels", {})
    shown = ", ".join(
        f"{key}={value}" for key, value in {**facts, **labels}.items() if value not in ("", None)
    )
    milliseconds = int(event["time"] % 1 * 1000)
    return harmless(
        f"{when}.{milliseconds:03} {event['type']} {event['action']} {event['id'][:12]} ({shown})"
    )


COMMANDS = {
    "events": Command(
        _events,
        (
            FILTER,
            Option(
                "--since", "since", TEXT, "Begin with what happened since a time or a duration ago", "TIME"
            ),
            Option(
                "--until",
                "until",
                TEXT,
                "Only what happened until a time or a duration ago; then end",
                "TIME",
            ),
            Option("--follow", "follow", FLAG, "Wait for more, also while the daemon restarts (the default)"),
            Option(
                "--no-follow --no-stream", "no_follow", FLAG, "Show what there is, and do not wait for more"
            ),
            Option(
                "--stream",
                "stream",
                TEXT,
                "As podman has it: false is --no-follow",
                "BOOL",
                ("true", "false"),
            ),
            FORMAT,
        ),
        (),
        "Without --since and --until only what happens from now on is shown, or with --no-follow all that is kept. "
        "Filters: type, event (or action), container (name or id), name, id, label=KEY[=VALUE], image.",
        (
            "events",
            "events --since 10m --no-follow",
            "events --filter type=container --filter event=die",
            "events --since 1h --filter label=course=101 --format json",
        ),
    ),
}
