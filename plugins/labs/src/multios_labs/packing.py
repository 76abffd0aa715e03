"""Work that was copied from elsewhere, as a submission: whoever copied it says whose it is, and nobody attests it.

The file is one that ``lab grade`` judges as any other. The student has signed nothing and no engine has seen the machine,
so its manifest says that it was copied, and the signature in it is that of who has done so: it keeps the parts together.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from multios.errors import InvalidInput, MultiosError, NotFound
from multios_labs import submission, work
from multios_labs.machine import LABEL
from multios_labs.records import Lab


def write(lab: Lab, student: str, machine: str, trees: Mapping[str, Path], target: Path) -> dict[str, Any]:
    """Pack ``trees`` into ``target``; its manifest. Each is a tar of one directory, by the path of the lab's ``submit`` that it is.

    Raises ``InvalidInput`` for what is no such tar, is too much, or belongs to no path of the lab's.
    """
    if wrong := [path for path in trees if path not in lab.submit]:
        taken = ", ".join(lab.submit) or "nothing"
        raise InvalidInput(f"lab {lab.name!r} does not take {wrong[0]!r} in", f"it takes {taken}")
    with ExitStack() as opened, tempfile.TemporaryFile() as layer:
        files = {path: opened.enter_context(_opened(file)) for path, file in trees.items()}
        taken_over = work.merge(files, layer)
        manifest = _manifest(lab, student, machine, taken_over)
        text = submission.as_json(manifest)
        statement = submission.as_json(_statement(lab, student, machine, text, layer))
        signatures = {"submitter": submission.signed(text, statement), "engine": {}}
        texts = {
            submission.MANIFEST: text,
            submission.STATEMENT: statement,
            submission.SIGNATURES: submission.as_json(signatures),
        }
        submission.pack(target, texts, layer)
    return manifest


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no such file", "name a tar") from None
    except OSError as error:
        raise MultiosError(f"{file}: {error.strerror}", "name a tar") from None


def _manifest(lab: Lab, student: str, machine: str, taken_over: work.Work) -> dict[str, Any]:
    return {
        "schema": 1,
        "lab": {"name": lab.name, "version": lab.version, "digest": lab.digest},
        "student": student,
        "container": machine,
        "submitted": round(time.time(), 3),
        "submit": list(lab.submit),
        "left_out": taken_over.left_out,
        submission.ORIGIN: submission.COPIED,
    }


def _statement(lab: Lab, student: str, machine: str, manifest: bytes, layer: IO[bytes]) -> dict[str, Any]:
    """What a statement must have for the parts to belong together, and no more: it is nobody's word."""
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()  # type: ignore[arg-type]  # a temporary file is one
    return {
        "schema": 1,
        "container": {"id": machine},
        "labels": {LABEL: lab.name, f"{LABEL}.student": student},
        "binding": hashlib.sha256(manifest).hexdigest(),
        "layer": {"digest": f"sha256:{digest}", "size": layer.tell()},
    }
