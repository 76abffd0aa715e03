"""The command line of the labs' plugin, which is another distribution: run as a program, never imported.

A student's own machine is asked for as that student, in a process with the student's rights and nothing of ours: what is
known of the lab is in the student's home. Whatever such a process does or says is the student's, and is read with bounds.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from multios.api.client import Client
from multios.errors import MultiosError, PluginError
from multios_courses.roster import Student

LAB_LABEL, LAB_STUDENT_LABEL = "multios.lab", "multios.lab.student"
_PROGRAM = "import sys; from multios.cli.main import main; sys.exit(main())"
SEED = "MULTIOS_LAB_SEED"
"""The variable that both commands read: a command line is everyone's to read (proc(5)), an environment its user's."""
LARGEST_ANSWER = 4 << 20
LARGEST_FILE = 1 << 30
"""Bytes that a student's process may write to one file."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOLD = 300


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to: its exit status, and what it wrote to stdout and stderr, as far as there was room."""

    status: int
    out: str
    error: str

    def failure(self) -> MultiosError:
        """Its error: a line of cause and one of what to do, without what a terminal would obey."""
        cause, _, remedy = self.error.strip().partition("\n")
        return MultiosError(
            harmless(cause.removeprefix("Error: ")) or f"exit status {self.status}", harmless(remedy)
        )


def harmless(text: str) -> str:
    """One printable line of bounded length."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))[:_TOLD]


def is_installed() -> bool:
    """Whether the command ``lab`` is there."""
    return bool(metadata.entry_points(group="multios.command.v1", name="lab"))


def require(command: str) -> None:
    """Raise ``PluginError`` without the command ``lab``."""
    if not is_installed():
        raise PluginError(
            f"`course {command}` needs the command `lab`, and multios-labs is not installed",
            "pip install multios-labs",
        )


def run(
    socket: str,
    words: Sequence[str],
    uid: int,
    folder: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Said:
    """``multios-container lab WORDS…`` as user ``uid``, in ``folder``; one that takes longer is killed with its children.

    ``environment`` is added to this process's own, for this user; another gets nothing of either.
    """
    command = [sys.executable, "-c", _PROGRAM, "--socket", socket, "lab", *words]
    if uid != os.geteuid():  # stdout and stderr are ours: nobody else shall fill our disk through them
        command = ["/bin/sh", "-c", f'ulimit -f {LARGEST_FILE // 512} && exec "$@"', "sh", *command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=error, cwd=folder,
                start_new_session=True, **_identity(uid, environment or {}),
            )  # fmt: skip
        except OSError as wrong:
            raise MultiosError(
                f"running multios-container as user {uid}: {wrong}", "can that user read it?"
            ) from None
        try:
            status = process.wait(seconds)
        except BaseException as wrong:
            _kill(process)
            if not isinstance(wrong, subprocess.TimeoutExpired):
                raise
            return Said(124, "", f"it took more than {seconds:.0f} s")
        return Said(status, _text(out), _text(error))


@dataclass(frozen=True, slots=True)
class Seeded:
    """What makes ``lab`` derive students' values from the course's seed; without a seed, nothing."""

    words: Sequence[str] = ()
    environment: Mapping[str, str] | None = None


@contextmanager
def seeded(seed: str | None, roster: Sequence[Student]) -> Iterator[Seeded]:
    """The course's seed, and the roster as ``lab`` reads it, for as long as the block runs."""
    if not seed:
        yield Seeded()
        return
    with tempfile.NamedTemporaryFile("w", suffix=".csv", prefix="course-roster-") as file:
        file.write("\n".join(["student", *(student.id for student in roster), ""]))
        file.flush()
        yield Seeded(("--roster", file.name), {SEED: seed})


def machine_rows(rows: Sequence[dict[str, Any]], lab: str, student: str, uid: int) -> list[dict[str, Any]]:
    """The machines of a lab that are this student's, by label and owner, the newest first."""
    found = [
        row
        for row in rows
        if row["labels"].get(LAB_LABEL) == lab
        and row["labels"].get(LAB_STUDENT_LABEL) == student
        and row["owner"] == uid
    ]
    return sorted(found, key=lambda row: -float(row["created"]))


def machine_name(course: str, lab: str, student: str) -> str:
    """What a lab's machine is called that the course has made: labs know no courses."""
    return f"{course}-{lab}-{student}"


def of_course(client: Client, course: str) -> list[dict[str, Any]]:
    """The machines of labs that the course has made for this user: by name, labels and owner."""
    rows = client.call("containers.list", {"all": True, "filters": {"label": LAB_LABEL}})
    return [
        row
        for row in rows
        if row["owner"] == os.geteuid()
        and row["name"]
        == machine_name(course, row["labels"][LAB_LABEL], row["labels"].get(LAB_STUDENT_LABEL, ""))
    ]


def progress(socket: str) -> dict[tuple[str, str], str]:
    """How far the labs are that this user has started, by lab and student: ``2/4``. Nothing where it cannot be told."""
    if not is_installed():
        return {}
    said = run(socket, ["status", "--format", "json"], os.geteuid(), Path("/"), 60)
    try:
        rows = json.loads(said.out) if said.status == 0 else []
        return {
            (str(row["lab"]), str(row["student"])): f"{int(row['passed'])}/{int(row['steps'])}"
            for row in rows
            if "passed" in row
        }
    except (ValueError, TypeError, KeyError):
        return {}


def _identity(uid: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """What subprocess needs to run something as a user: nothing of this process's environment goes along to another."""
    if uid == os.geteuid():
        return {"env": {**os.environ, **environment}}
    account = pwd.getpwuid(uid)
    return {
        "user": uid,
        "group": account.pw_gid,
        "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid),
        "umask": 0o077,
        "env": {
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "PATH": _PATH,
            "LANG": "C.UTF-8",
        },
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def _text(file: Any) -> str:
    file.seek(0)
    data: bytes = file.read(LARGEST_ANSWER)
    return data.decode("utf-8", "replace")
