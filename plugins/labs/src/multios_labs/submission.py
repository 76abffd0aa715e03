"""A submission: one file that says what was done, signed by who did it and by the engine in which it was done.

A tar of ``manifest.json`` (lab, student, times, results as claimed, the command history), ``statement.json`` (what the machine looked
like, in the engine's words), ``layer.tar`` (what was changed below the lab's ``submit``) and ``signatures.json``. The statement
names the digest of the layer and of the manifest, the submitter signs manifest and statement together: none of the
parts can be exchanged alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multios.api.client import Client
from multios.errors import Conflict, InvalidInput, MultiosError, NotFound
from multios_labs import checking, keys
from multios_labs.inside import get
from multios_labs.machine import LABEL, Machine
from multios_labs.records import Lab

MANIFEST, STATEMENT, LAYER, SIGNATURES = "manifest.json", "statement.json", "layer.tar", "signatures.json"
ORIGIN, COPIED = "origin", "copied by the teacher"
"""In a manifest of work that its student has not submitted himself."""
MOST_JSON = 32 << 20
MOST_LAYER = 512 << 20
_HISTORIES = ("/root/.bash_history", "/root/.ash_history", "/root/.sh_history")
_CHUNK = 1 << 20
_CONTEXT = b"multios lab submission 1\n"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a file holds; nothing of it is true before :func:`verify` says so."""

    file: Path
    manifest: dict[str, Any]
    statement: dict[str, Any]
    manifest_text: bytes
    statement_text: bytes
    signatures: dict[str, Any]

    @property
    def student(self) -> str:
        """Whose it says that it is."""
        return str(self.manifest.get("student", ""))

    @property
    def is_copied(self) -> bool:
        """Whether somebody has copied the work, so that the signature is not the student's."""
        return self.manifest.get(ORIGIN) == COPIED

    @property
    def user(self) -> str:
        """The name of the host's user whose machine it was, in the engine's words."""
        return str(_table(self.statement, "owner").get("name", ""))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a submission is what it says. ``problems`` are what is wrong with it, ``engine`` whether this engine attested it.

    ``signed`` is ``yes``, or ``no`` and why, where that is not the problem.
    """

    problems: tuple[str, ...]
    engine: bool
    signed: str

    @property
    def valid(self) -> bool:
        """Nothing is wrong, and the engine that attested it is the one that was asked."""
        return not self.problems and self.engine


# --- making one --------------------------------------------------------------------------------------------


def write(client: Client, machine: Machine, target: Path) -> dict[str, Any]:
    """Pack the machine's work into ``target``; its manifest."""
    progress = machine.progress()
    lab = progress.lab()
    if not lab.submit:
        raise Conflict(f"lab {lab.name!r} takes nothing in", 'its lab.toml needs submit = ["/root/work"]')
    manifest = _manifest(client, machine, lab, checking.points(progress))
    text = as_json(manifest)
    with tempfile.TemporaryFile() as layer:
        answer = client.call(
            "containers.attest",
            {"ref": machine.id, "paths": list(lab.submit), "binding": _sha256(text)},
            [layer.fileno()],
        )
        statement = answer["statement"].encode()
        signatures = {
            "submitter": signed(text, statement),
            "engine": {"algorithm": "hmac-sha256", "key": answer["key"], "signature": answer["signature"]},
        }
        pack(target, {MANIFEST: text, STATEMENT: statement, SIGNATURES: as_json(signatures)}, layer)
    return manifest


def signed(manifest: bytes, statement: bytes) -> dict[str, str]:
    """The signature of who runs this, of both together."""
    signature, public = keys.sign(_CONTEXT + _sha256(manifest).encode() + _sha256(statement).encode())
    return {"algorithm": "ed25519", "public": public, "signature": signature}


def _manifest(client: Client, machine: Machine, lab: Lab, steps: dict[str, Any]) -> dict[str, Any]:
    history = {}
    for path in _HISTORIES:
        content = get(client, machine.id, path, 1 << 20)
        if content is not None:
            history[path] = content.decode("utf-8", "replace")
    return {
        "schema": 1,
        "lab": {"name": lab.name, "version": lab.version, "digest": lab.digest},
        "student": machine.student,
        "seed": machine.labels.get(f"{LABEL}.seed", ""),
        "values": dict(machine.values),
        "container": machine.id,
        "submitted": round(time.time(), 3),
        "steps": steps,
        "submit": list(lab.submit),
        "history": history,
    }


def pack(target: Path, texts: dict[str, bytes], layer: IO[bytes]) -> None:
    """The whole file or none. Raises ``InvalidInput`` for a layer that is too large."""
    size = layer.seek(0, os.SEEK_END)
    if size > MOST_LAYER:
        raise InvalidInput(
            f"the work is {size >> 20} MB, more than {MOST_LAYER >> 20}", "remove what is not to be handed in"
        )
    layer.seek(0)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, text in texts.items():
                archive.addfile(_entry(name, len(text)), io.BytesIO(text))
            archive.addfile(_entry(LAYER, size), layer)
        temporary.rename(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MultiosError(f"{target}: {error.strerror}", "write it elsewhere: --output FILE") from None


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, int(time.time())
    return entry


def as_json(value: Any) -> bytes:
    """The same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- reading one -------------------------------------------------------------------------------------------


def read(file: Path) -> Submission:
    """What is in a submission's file, without believing it."""
    with _opened(file) as members:
        texts = {name: _content(file, members, name, MOST_JSON) for name in (MANIFEST, STATEMENT, SIGNATURES)}
        if LAYER not in members:
            raise _damaged(file, f"it has no {LAYER}")
    tables = {}
    for name, text in texts.items():
        try:
            tables[name] = json.loads(text)
        except (ValueError, RecursionError):
            raise _damaged(file, f"{name} is no JSON") from None
        if not isinstance(tables[name], dict):
            raise _damaged(file, f"{name} is no object")
    return Submission(
        file, tables[MANIFEST], tables[STATEMENT], texts[MANIFEST], texts[STATEMENT], tables[SIGNATURES]
    )


@contextmanager
def layer_of(submission: Submission) -> Iterator[IO[bytes]]:
    """The layer's tar, as it stands in the file."""
    with _opened(submission.file) as members:
        content = members[LAYER]
        yield content


@contextmanager
def _opened(file: Path) -> Iterator[dict[str, IO[bytes]]]:
    try:
        _check_headers(file)
        with tarfile.open(file, "r:") as archive:
            members: dict[str, IO[bytes]] = {}
            for number, member in enumerate(archive):
                content = archive.extractfile(member) if member.isreg() else None
                if number > 3 or content is None or member.name in members or member.sparse is not None:
                    raise _damaged(file, f"{member.name[:60]!r} does not belong there")
                if member.size > (MOST_LAYER if member.name == LAYER else MOST_JSON):
                    raise _damaged(file, f"{member.name[:60]!r} is too large")
                members[member.name] = content
            yield members
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no such file", "name a file that `lab submit` wrote") from None
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(file, str(error)) from None
    except OSError as error:
        raise MultiosError(f"{file}: {error.strerror or error}") from None


def _check_headers(file: Path) -> None:
    """Refuse what is not four plain entries before tarfile reads it: it believes what extended headers say."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(file, "it is no file")
    if status.st_size > MOST_LAYER + 4 * MOST_JSON:
        raise _damaged(file, f"it has {status.st_size >> 20} MB")
    with file.open("rb") as stream:
        for _ in range(4):
            header = stream.read(512)
            digits = header[124:136].strip(b"\0 ")
            if len(header) < 512 or header[156:157] != b"0" or not re.fullmatch(rb"[0-7]{1,11}", digits):
                raise _damaged(file, "an entry is missing, or is no plain file")
            stream.seek(int(digits, 8) + -int(digits, 8) % 512, os.SEEK_CUR)
        if stream.read(512).strip(b"\0"):
            raise _damaged(file, "it has more than four entries")


def _content(file: Path, members: dict[str, IO[bytes]], name: str, most: int) -> bytes:
    if name not in members:
        raise _damaged(file, f"it has no {name}")
    return members[name].read(most)


def _damaged(file: Path, reason: str) -> InvalidInput:
    return InvalidInput(f"{file}: is no whole submission: {reason}", "let the student submit again")


def verify(client: Client, submission: Submission) -> Verdict:
    """Whether the parts belong together, the submitter signed them, and this engine attested them."""
    problems = []
    statement, signatures = submission.statement, submission.signatures
    digest, size = _digest_of_layer(submission)
    layer = _table(statement, "layer")
    if (layer.get("digest"), layer.get("size")) != (f"sha256:{digest}", size):
        problems.append("the work is not what the engine saw")
    if statement.get("binding") != _sha256(submission.manifest_text):
        problems.append("the manifest is not the one that the engine was told of")
    if _table(statement, "container").get("id") != submission.manifest.get("container"):
        problems.append("manifest and engine speak of two machines")
    labels = _table(statement, "labels")
    if labels.get(f"{LABEL}.student") != submission.manifest.get("student"):
        problems.append("the machine is another student's")
    if labels.get(LABEL) != _table(submission.manifest, "lab").get("name"):
        problems.append("the machine is another lab's")
    submitter = _table(signatures, "submitter")
    parts = (
        _CONTEXT + _sha256(submission.manifest_text).encode() + _sha256(submission.statement_text).encode()
    )
    is_signed = keys.is_signed(parts, str(submitter.get("signature")), str(submitter.get("public")))
    if not is_signed:
        problems.append("the submitter's signature is wrong")
    engine = _table(signatures, "engine")
    answer = client.call(
        "attestations.verify",
        {"digest": _sha256(submission.statement_text), "signature": str(engine.get("signature"))[:200]},
    )
    if not answer["valid"] and engine.get("key") == answer["key"]:
        problems.append("the engine's signature is wrong")
    said = f"no: {COPIED}" if submission.is_copied else "yes" if is_signed else "no"
    return Verdict(tuple(problems), bool(answer["valid"]), said)


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _digest_of_layer(submission: Submission) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with layer_of(submission) as layer:
        while chunk := layer.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def describe(submission: Submission, verdict: Verdict) -> list[str]:
    """A submission for people, a line a fact."""
    lab, statement = _table(submission.manifest, "lab"), submission.statement
    changes = statement.get("changes")
    paths = (
        [str(row.get("path")) for row in changes if isinstance(row, dict)]
        if isinstance(changes, list)
        else []
    )
    submitter = _table(submission.signatures, "submitter")
    owner = _table(statement, "owner")
    lines = [
        f"lab        {lab.get('name')} {lab.get('version')}",
        f"student    {submission.student}",
        f"submitted  {_time(submission.manifest.get('submitted'))}",
        f"machine    {submission.manifest.get('container')}"
        if submission.is_copied
        else f"user       {owner.get('name')} (uid {owner.get('uid')})",
        f"signed     {verdict.signed}",
        f"key        {keys.fingerprint(str(submitter.get('public')))}",
        f"changed    {len(paths)} paths",
    ]
    lines += [f"wrong      {problem}" for problem in verdict.problems]
    if not verdict.engine and not submission.is_copied:
        lines.append("wrong      this engine has not attested it: it comes from another host, or was altered")
    return ["".join(letter if letter.isprintable() else "?" for letter in line) for line in lines]


def as_row(submission: Submission, verdict: Verdict) -> dict[str, Any]:
    """The same for programs."""
    return {
        "file": str(submission.file),
        "valid": verdict.valid,
        "attested": verdict.engine,
        "signed": verdict.signed,
        "problems": list(verdict.problems),
        "lab": submission.manifest.get("lab"),
        "student": submission.student,
        "submitted": submission.manifest.get("submitted"),
        "owner": submission.statement.get("owner"),
    }


def unreadable(file: Path, error: MultiosError) -> dict[str, Any]:
    """The row of a file that is no submission: it keeps nobody else's from being verified."""
    nothing = Submission(file, {}, {}, b"", b"", {})
    return as_row(nothing, Verdict((error.cause,), False, "no"))


def _time(moment: Any) -> str:
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < 1e11:
        return "unknown"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
