"""How many containers a service has, how they are replaced, and when they are started again."""

from __future__ import annotations

from multios.compose import quantities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.compose.field import Field

MOST_REPLICAS = 1000
_CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}
_POLICIES = ("no", "always", "unless-stopped", "on-failure")


class Deployment:
    """What a service's ``deploy`` and its older kin say."""

    def __init__(self, service: dict[str, Field]) -> None:
        self._service = service
        self._deploy = service["deploy"].table("deploy") if "deploy" in service else {}
        if "mode" in self._deploy:
            self._check_mode(self._deploy["mode"])
        resources = self._table("resources", "deploy.resources")
        self.limits = resources["limits"].table("deploy.resources.limits") if "limits" in resources else {}
        if "reservations" in resources:
            resources["reservations"].table("deploy.resources.reservations")  # warns of each, or refuses it

    def _table(self, key: str, section: str) -> dict[str, Field]:
        return self._deploy[key].table(section) if key in self._deploy else {}

    def _check_mode(self, field: Field) -> None:
        if field.text() not in ("replicated", "global"):
            raise field.error(f"mode {field.text()[:40]!r} is not supported", "use replicated")

    def replicas(self) -> int:
        """How many containers."""
        fields = [field for field in (self._service.get("scale"), self._deploy.get("replicas")) if field]
        numbers = [field.whole(0, MOST_REPLICAS) for field in fields]
        if len(set(numbers)) > 1:
            raise fields[0].error(f"{fields[1].path} says something else", "leave one of them out")
        is_global = "mode" in self._deploy and self._deploy["mode"].text() == "global"
        return 1 if is_global or not numbers else numbers[0]

    def update(self) -> dict[str, Any]:
        """``update`` of the app document; empty where nothing is said."""
        keys = self._table("update_config", "deploy.update_config")
        found: dict[str, Any] = {}
        if "parallelism" in keys:
            found["parallelism"] = keys["parallelism"].whole(0, MOST_REPLICAS)
        for key in ("delay", "monitor"):
            if key in keys:
                found[key] = quantities.seconds(keys[key])
        if "order" in keys:
            found["order"] = keys["order"].one_of("stop-first", "start-first")
        if "failure_action" in keys:
            found["failure_action"] = keys["failure_action"].one_of("pause", "continue", "rollback")
        return found

    def restart_policy(self) -> str:
        """As the container document has it; empty where nothing is said."""
        if "restart_policy" in self._deploy:
            return self._deployed_policy(self._deploy["restart_policy"].table("deploy.restart_policy"))
        if "restart" not in self._service:
            return ""
        field = self._service["restart"]
        text = "no" if field.value is False else field.text()
        name, colon, count = text.partition(":")
        is_right = not colon or (
            name == "on-failure" and count.isascii() and count.isdecimal() and len(count) <= 9
        )
        if name not in _POLICIES or not is_right:
            raise field.expected("no, always, unless-stopped or on-failure[:N]")
        return text

    def _deployed_policy(self, keys: dict[str, Field]) -> str:
        condition = keys["condition"].one_of(*_CONDITIONS) if "condition" in keys else "any"
        policy = _CONDITIONS[condition]
        if "max_attempts" not in keys:
            return policy
        attempts = keys["max_attempts"].whole(0, 10**9 - 1)
        if attempts and policy == "always":
            raise keys["max_attempts"].error(
                "attempts are counted for condition on-failure only", "set it, or leave max_attempts out"
            )
        return f"{policy}:{attempts}" if attempts and policy == "on-failure" else policy
