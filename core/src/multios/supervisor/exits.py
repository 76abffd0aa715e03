"""How processes ended, written down before anyone is told: a file a process, below one directory."""

from __future__ import annotations

import json
import os
import time

from multios.supervisor.complaint import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def is_process_id(name: object) -> bool:
    """Whether ``name`` may be a process's id and so a file's name."""
    return (
        isinstance(name, str) and 0 < len(name) <= 128 and name[0] not in ".-" and _LETTERS.issuperset(name)
    )


class Exits:
    """The exit records that nobody has asked to forget yet."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.records: dict[str, dict[str, Any]] = {}
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for name in os.listdir(directory):
            if not is_process_id(name):
                continue
            try:
                with open(f"{directory}/{name}", encoding="utf-8") as file:
                    self.records[name] = json.load(file)
            except (OSError, ValueError) as error:
                complain(f"exit record {name}", error)

    def write(
        self,
        process_id: str,
        container_id: str,
        exit_code: int | None,
        number: int,
        finished: float | None = None,
    ) -> dict[str, Any]:
        """Record an exit: ``exit_code`` (128 + signal for a killed one, ``None`` for unknown), the signal or 0."""
        record = {
            "id": process_id,
            "container_id": container_id,
            "exit_code": exit_code,
            "signal": number,
            "finished": time.time() if finished is None else finished,
        }
        self.records[process_id] = record
        temporary = f"{self._directory}/.{process_id}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.rename(temporary, f"{self._directory}/{process_id}")
        except OSError as error:  # the record in memory still reaches the daemon
            complain(f"exit record {process_id}", error)
        return record

    def forget(self, process_id: str) -> None:
        """Drop a record; absent: no error."""
        self.records.pop(process_id, None)
        try:
            os.unlink(f"{self._directory}/{process_id}")
        except FileNotFoundError:
            pass
