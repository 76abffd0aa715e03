"""A profile's words, and the five sets that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from multios.errors import InvalidInput, nearest, unknown
from multios.model.container_document import CAPABILITIES

DEFAULT = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
"""What packages need to install themselves and servers to change to their own user, inside their user namespace."""
NAMES = ("default", "none", "unconfined")
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Profile:
    """``held`` is what root has; ``added`` the part that was asked for by name, which another user has too."""

    held: tuple[str, ...]
    added: tuple[str, ...] = ()

    def sets(self, uid: int) -> dict[str, list[str]]:
        """The sets of the spec's ``process.capabilities``.

        Root holds all. Another user could gain the rest by a program only (the bounding set), and holds what was
        added for it, ambient so that it outlives exec (capabilities(7), Ambient capability set).
        """
        every = [f"CAP_{name}" for name in self.held]
        own = [f"CAP_{name}" for name in self.added] if uid else every
        kept = own if uid else []
        return {
            "bounding": every,
            "permitted": own,
            "effective": list(own),
            "inheritable": list(kept),
            "ambient": list(kept),
        }


@lru_cache(maxsize=256)
def read(text: str) -> Profile:
    """The profile: a name of :data:`NAMES`, or ``add=NAME,… drop=NAME,…`` on the default one.

    ``NAME`` may have its ``CAP_``, in any case, or be ``ALL``: all are taken before any is added, else added before
    any is taken. Raises ``NotFound`` for an unknown profile, ``InvalidInput`` for an unknown capability.
    """
    if text in ("", "default"):
        return Profile(DEFAULT)
    if text == "none":
        return Profile(())
    if text == "unconfined":
        return Profile(CAPABILITIES)
    added: set[str] = set()
    dropped: set[str] = set()
    if len(text) > _LONGEST:
        raise InvalidInput(f"the capabilities' profile is longer than {_LONGEST} characters", "shorten it")
    for word in text.split():
        verb, separator, listed = word.partition("=")
        if verb not in ("add", "drop") or not separator:
            hint = f"write add=NAME,… drop=NAME,…, or one of {', '.join(NAMES)}"
            raise unknown("capabilities profile", text[:80], list(NAMES), hint)
        (added if verb == "add" else dropped).update(_capability(name) for name in listed.split(","))
    names = set(CAPABILITIES if "ALL" in added else DEFAULT)
    if "ALL" in dropped:
        names = set()
    names = (names | added) - dropped
    by_name = (added - dropped) if "ALL" not in added else names
    return Profile(
        tuple(name for name in CAPABILITIES if name in names),
        tuple(name for name in CAPABILITIES if name in by_name),
    )


def _capability(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name != "ALL" and name not in CAPABILITIES:
        guess = nearest(name, list(CAPABILITIES))
        raise InvalidInput(
            f"no such capability: {text[:40]!r}", f"did you mean {guess}?" if guess else "see capabilities(7)"
        )
    return name
