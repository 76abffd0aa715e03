"""The flags of an instruction: read against the table of those it has."""

from __future__ import annotations

from collections.abc import Mapping

from multios.dockerfile.statements import Statement
from multios.errors import nearest

TEXT, TRUTH, TEXTS = "text", "truth", "texts"


class Flags:
    """Flags as given. ``kinds`` is the table: name to ``TEXT``, ``TRUTH`` or ``TEXTS`` (may be repeated)."""

    def __init__(self, statement: Statement, kinds: Mapping[str, str]) -> None:
        """Raises ``DockerfileError`` for an unknown or repeated flag, and for a value missing or wrong."""
        self._values: dict[str, list[str]] = {}
        for flag in statement.flags:
            name, equals, value = flag[2:].partition("=")
            kind = kinds.get(name)
            if kind is None:
                raise self._unknown(statement, name, list(kinds))
            if name in self._values and kind != TEXTS:
                raise statement.error(f"{statement.word}: flag --{name} is given twice", "give it once")
            if kind == TRUTH:
                value = value.lower() if equals else "true"
                if value not in ("true", "false"):
                    raise statement.error(
                        f"{statement.word}: --{name}={value}: no truth value", "expected true or false"
                    )
            elif not equals:
                raise statement.error(
                    f"{statement.word}: flag --{name} has no value", f"expected --{name}=VALUE"
                )
            self._values.setdefault(name, []).append(value)

    @staticmethod
    def _unknown(statement: Statement, name: str, known: list[str]) -> Exception:
        guess = nearest(name, known)
        expected = ", ".join(f"--{one}" for one in known)
        remedy = f"expected one of {expected}" if known else f"{statement.word} has no flags"
        return statement.error(
            f"{statement.word}: unknown flag --{name[:80]}", f"did you mean --{guess}?" if guess else remedy
        )

    def text(self, name: str) -> str:
        """The value, empty when the flag is not given."""
        return self._values.get(name, [""])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Every value in the order given."""
        return tuple(self._values.get(name, ()))

    def truth(self, name: str) -> bool:
        """Whether the flag is given, and not as false."""
        return self.text(name) == "true"

    def has(self, name: str) -> bool:
        """Whether it is given at all."""
        return name in self._values
