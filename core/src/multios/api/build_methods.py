"""``builds.*``: checked here, done by :mod:`multios.engine.build`."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multios.api.protocol import PeerGone
from multios.api.registry_methods import read_credentials
from multios.build.context_source import directory_source, empty_source, read_text, stream_source
from multios.build.request import BuildRequest
from multios.build.trees import Source
from multios.dockerfile.parser import parse
from multios.drivers.image_source import FetchRequest
from multios.engine.build import read_secret
from multios.errors import InvalidInput, Refused
from multios.model import platform
from multios.model.reference import parse as parse_reference
from multios.model.resources_section import parse_resources

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine

NETWORKS = ("default", "none", "host")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Builds:
    """``builds.*``: for administrators, because images are everyone's."""

    prefix = "builds"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def build(self, call: Call) -> Any:
        _check_administrator(call, "building")
        with contextlib.ExitStack() as stack:
            dockerfile_text, source = stack.enter_context(self._context(call))
            request = self._request(call, dockerfile_text)

            def tell(news: Mapping[str, Any]) -> None:
                with contextlib.suppress(PeerGone, OSError):  # noticed by ``alive``
                    call.item(dict(news))

            image = self._engine.builds.build(request, source, tell, call.alive)
        return {"id": image.id}

    def prune(self, call: Call) -> Any:
        _check_administrator(call, "emptying the build cache")
        removed = self._engine.builds.prune()
        self._engine.images.collect_garbage()
        return removed

    # --- what was asked ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _context(self, call: Call) -> Iterator[tuple[str, Source]]:
        """The Dockerfile's text and what COPY reads, from a directory or a stream; gone on leaving."""
        kind, text = call.text("context"), call.text("dockerfile", "")
        name = call.text("file", "Dockerfile")
        if kind == "none":
            yield text, empty_source()
        elif kind == "directory":
            if not call.fds or not stat.S_ISDIR(os.fstat(call.fds[0]).st_mode):
                raise InvalidInput(
                    "the build context is no directory", "name a directory, or - for a tar archive"
                )
            yield text, directory_source(call.fds[0], self._engine.builds.digests, call.text("ignore", ""))
        elif kind == "stream":
            scratch = self._engine.builds.scratch()
            try:
                yield from self._from_stream(call, scratch, text, name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        else:
            raise InvalidInput(f"context: {kind!r}", "one of directory, stream, none")

    def _from_stream(self, call: Call, scratch: Path, text: str, name: str) -> Iterator[tuple[str, Source]]:
        """A tar archive that holds the context, or, where it is none, the Dockerfile itself."""
        if not call.fds:
            raise InvalidInput("no descriptor came with the request", "use a client of the same version")
        with stream_source(call.fds[0], scratch / "context") as found:
            if isinstance(found, str):
                yield found, empty_source()
                return
            document = text or read_text(found, name)
            if document is None and name == "Dockerfile":
                document = read_text(found, "Containerfile")
            if document is None:
                raise InvalidInput(f"{name!r} is not in the archive", "name it with --file")
            yield document, directory_source(found, self._engine.builds.digests)

    def _request(self, call: Call, text: str) -> BuildRequest:
        arguments, references = call.texts("arguments"), call.words("references")
        for reference in references:
            if parse_reference(reference).digest:
                raise InvalidInput(f"--tag {reference}: a new image has no digest yet", "leave out @sha256:…")
        network = call.text("network", "default")
        if network not in NETWORKS:
            raise InvalidInput(f"--network: {network!r}", f"one of {', '.join(NETWORKS)}")
        secrets, agents = self._descriptors(call)
        wanted = call.text("platform", "")
        return BuildRequest(
            dockerfile=parse(text, call.text("file", "Dockerfile")),
            references=references,
            target=call.text("target", ""),
            arguments=arguments,
            labels=call.texts("labels"),
            fresh=call.flag("no_cache"),
            fetch=FetchRequest(
                platform=str(platform.parse(wanted)) if wanted else "",
                credentials=read_credentials(call.fds[-1]) if call.flag("credentials") and call.fds else {},
                refresh=call.flag("pull"),
            ),
            network=network,
            resources=parse_resources(call.mapping("resources")),
            secrets=secrets,
            agents=agents,
            epoch=_epoch(arguments.get("SOURCE_DATE_EPOCH") or call.text("epoch", "")),
        )

    def _descriptors(self, call: Call) -> tuple[dict[str, bytes], dict[str, int]]:
        """Secrets and agents, whose descriptors come after the context's and before that of credentials."""
        names, agent_names = call.words("secrets"), call.words("agents")
        given = call.fds[
            1 if call.text("context") != "none" else 0 : -1 if call.flag("credentials") else None
        ]
        if len(given) != len(names) + len(agent_names):
            raise InvalidInput(
                "secrets and agents need a descriptor each", "use a client of the same version"
            )
        for name in (*names, *agent_names):
            if not _ID.fullmatch(name):
                raise InvalidInput(f"id={name}: this is no id", "at most 64 letters, digits, '.', '_', '-'")
        secrets = {
            name: read_secret(name, descriptor) for name, descriptor in zip(names, given, strict=False)
        }
        return secrets, dict(zip(agent_names, given[len(names) :], strict=True))


def _check_administrator(call: Call, what: str) -> None:
    if not call.caller.is_administrator:
        raise Refused(f"{what} is for administrators", "images are everyone's: ask one")


def _epoch(text: str) -> float | None:
    """SOURCE_DATE_EPOCH: seconds since the epoch (reproducible-builds.org)."""
    if not text:
        return None
    if not text.isdecimal() or len(text) > 12:
        raise InvalidInput(
            f"SOURCE_DATE_EPOCH: {text[:40]!r} is no number of seconds", "write it as `date +%s` does"
        )
    number = float(text)
    return number if math.isfinite(number) else None
