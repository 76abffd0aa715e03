"""Who may call what: a line for every method of the API, from which the audit log and the matrix in the documentation follow.

A method without a line is taken for one that changes something, and a test fails. The handlers themselves check who may
do what; ``tests/end_to_end/test_who_may_what.py`` calls each as its owner, as another user and as an administrator.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reach(enum.StrEnum):
    """What a method acts on, in the eyes of an ordinary user."""

    EVERYONE = "everyone"
    """On nothing that belongs to a user."""
    LISTED = "listed"
    """On all that the caller may see: others' things are left out."""
    OWN = "own"
    """On one thing, which to everybody but its owner and administrators does not exist."""
    NEW = "new"
    """It makes a thing, which is the caller's."""
    NEW_FOR_ANYONE = "new for anyone"
    """The same; an administrator may say whose it shall be."""
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class Access:
    """``changes`` is whether a call is written to the audit log. ``about`` names the parameter that says on what."""

    reach: Reach
    changes: bool = False
    about: str = ""


def _look(reach: Reach = Reach.OWN) -> Access:
    return Access(reach)


def _change(about: str = "ref", reach: Reach = Reach.OWN) -> Access:
    return Access(reach, True, about)


METHODS: dict[str, Access] = {
    "apps.apply": _change("app", Reach.NEW),
    "apps.destroy": _change("name", Reach.LISTED),
    "apps.list": _look(Reach.LISTED),
    "apps.plan": _look(Reach.NEW),
    "apps.reset": _change("name", Reach.LISTED),
    "apps.snapshot": _change("name", Reach.LISTED),
    "apps.validate": _look(Reach.EVERYONE),
    "apps.watch": _look(Reach.LISTED),
    "attestations.verify": _look(Reach.EVERYONE),
    "audit.list": _look(Reach.ADMINISTRATOR),
    "builds.build": _change("references", Reach.ADMINISTRATOR),
    "builds.prune": _change("", Reach.ADMINISTRATOR),
    "containers.attach": _change(),
    "containers.attest": _change(),
    "containers.commit": _change("ref", Reach.ADMINISTRATOR),
    "containers.copy_in": _change(),
    "containers.copy_out": _change(),
    "containers.create": _change("config", Reach.NEW_FOR_ANYONE),
    "containers.delete": _change(),
    "containers.diff": _look(),
    "containers.exec": _change(),
    "containers.explain": _look(),
    "containers.export": _change(),
    "containers.forward": _change(),
    "containers.health": _change(),
    "containers.inspect": _look(),
    "containers.kill": _change(),
    "containers.list": _look(Reach.LISTED),
    "containers.logs": _look(),
    "containers.pause": _change(),
    "containers.prune": _change("", Reach.LISTED),
    "containers.remove_snapshot": _change(),
    "containers.rename": _change(),
    "containers.reset": _change(),
    "containers.restart": _change(),
    "containers.resume": _change(),
    "containers.run": _change("config", Reach.NEW),
    "containers.snapshot": _change(),
    "containers.snapshots": _look(),
    "containers.start": _change(),
    "containers.stats": _look(Reach.LISTED),
    "containers.stop": _change(),
    "containers.top": _look(),
    "containers.why": _look(),
    "containers.update": _change(),
    "containers.validate": _look(Reach.NEW),
    "containers.wait": _look(),
    "containers.withdraw": _change(),
    "images.find": _look(Reach.EVERYONE),
    "images.diff": _look(Reach.EVERYONE),
    "images.history": _look(Reach.EVERYONE),
    "images.import": _change("reference", Reach.ADMINISTRATOR),
    "images.inspect": _look(Reach.EVERYONE),
    "images.list": _look(Reach.EVERYONE),
    "images.prune": _change("", Reach.ADMINISTRATOR),
    "images.pull": _change("ref", Reach.EVERYONE),
    "images.push": _change("ref", Reach.EVERYONE),
    "images.remove": _change("ref", Reach.ADMINISTRATOR),
    "images.save": _look(Reach.EVERYONE),
    "images.tag": _change("ref", Reach.ADMINISTRATOR),
    "networks.connect": _change("network"),
    "networks.create": _change("name", Reach.NEW),
    "networks.disconnect": _change("network"),
    "networks.inspect": _look(),
    "networks.list": _look(Reach.LISTED),
    "networks.prune": _change("", Reach.LISTED),
    "networks.remove": _change("name"),
    "networks.repair": _change("", Reach.ADMINISTRATOR),
    "plugins.list": _look(Reach.EVERYONE),
    "plugins.show": _look(Reach.EVERYONE),
    "quotas.list": _look(Reach.LISTED),
    "registries.login": _change("registry", Reach.EVERYONE),
    "system.doctor": _look(Reach.EVERYONE),
    "system.events": _look(Reach.LISTED),
    "system.features": _look(Reach.EVERYONE),
    "system.info": _look(Reach.EVERYONE),
    "system.version": _look(Reach.EVERYONE),
    "templates.build": _change("name", Reach.EVERYONE),
    "templates.import": _change("where", Reach.EVERYONE),
    "templates.inspect": _look(Reach.EVERYONE),
    "templates.list": _look(Reach.EVERYONE),
    "templates.lock": _change("name", Reach.EVERYONE),
    "templates.package": _look(Reach.EVERYONE),
    "templates.publish": _change("reference", Reach.EVERYONE),
    "templates.remove": _change("name", Reach.EVERYONE),
    "templates.show": _look(Reach.EVERYONE),
    "templates.test": _change("name", Reach.EVERYONE),
    "templates.validate": _look(Reach.EVERYONE),
    "volumes.create": _change("name", Reach.NEW),
    "volumes.inspect": _look(),
    "volumes.list": _look(Reach.LISTED),
    "volumes.prune": _change("", Reach.LISTED),
    "volumes.remove": _change("name"),
}


def of(method: str) -> Access:
    """A method's line; a method of another release or plugin counts as one that changes."""
    return METHODS.get(method) or Access(Reach.ADMINISTRATOR, True)


_WORDS = {
    Reach.EVERYONE: ("yes", "yes", "yes"),
    Reach.LISTED: ("yes", "left out", "yes, everyone's"),
    Reach.OWN: ("yes", "does not exist", "yes"),
    Reach.NEW: ("yes, within quotas", "never in another's name", "yes"),
    Reach.NEW_FOR_ANYONE: (
        "yes, within quotas",
        "never in another's name",
        "yes, for a user too, as he could",
    ),
    Reach.ADMINISTRATOR: ("refused", "refused", "yes"),
}


def table() -> str:
    """The matrix user × action × whose, as Markdown."""
    lines = [
        "| action | a user, on what is his own | a user, on another's | an administrator | in the audit log |",
        "|---|---|---|---|---|",
    ]
    for method, access in sorted(METHODS.items()):
        own, other, administrator = _WORDS[access.reach]
        audited = "yes" if access.changes else ""
        lines.append(f"| `{method}` | {own} | {other} | {administrator} | {audited} |")
    return "\n".join(lines) + "\n"
