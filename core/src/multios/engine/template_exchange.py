"""Templates in and out: validated, imported, packaged, published at registries as artifacts of a type of their own.

What users bring is an archive, packed by the client with the user's own rights; here it is only read.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from multios.drivers.base import Capability
from multios.drivers.image_source import FetchRequest, ImageSourceDriver, Progress
from multios.engine.caller import Caller
from multios.engine.imported_templates import Imported, ImportedTemplate, ImportedTemplates, Unpacked
from multios.engine.templates import Found, Templates
from multios.errors import InvalidInput, Refused, StepFailed, Unsupported
from multios.model.image import Descriptor
from multios.model.reference import parse
from multios.settings import Settings
from multios.store.content import ContentStore
from multios.template_format import archive

ARTIFACT_TYPE = "application/vnd.multios.template.v1"
BLOB_TYPE = "application/vnd.multios.template.v1.tar+gzip"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"


class TemplateExchange:
    """``where`` is what errors call an archive: the path that the user typed."""

    def __init__(
        self,
        templates: Templates,
        imported: ImportedTemplates,
        content: ContentStore,
        sources: Sequence[ImageSourceDriver],
        settings: Callable[[], Settings],
        users_of: Callable[[str], Sequence[str]],
    ) -> None:
        """``users_of`` an image's id are the names of the containers that were made from it."""
        self._templates, self._imported, self._users_of = templates, imported, users_of
        self._content, self._sources, self._settings = content, sources, settings

    def validate(self, stream: BinaryIO, where: str) -> dict[str, Any]:
        """What the template is; raises what is wrong with it."""
        with self._imported.unpacked(stream, where) as found:
            return _facts(found)

    def bring(
        self,
        stream: BinaryIO,
        where: str,
        caller: Caller,
        shared: bool = False,
        expected: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Keep the template in an archive as the caller's; ``shared``, which is for administrators, as everyone's.

        ``expected`` are the name and the version that it must have.
        """
        self._check_may(caller, shared)
        with self._imported.unpacked(stream, where) as found:
            _check_is(found, expected or {}, where)
            return self._added(found, caller, where, shared)

    def fetch(
        self,
        reference: str,
        caller: Caller,
        request: FetchRequest,
        progress: Progress,
        shared: bool = False,
        expected: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Keep the template that a registry has under ``reference``, as :meth:`bring` does."""
        self._check_may(caller, shared)
        name = str(parse(reference))
        with self._content.holding():
            blob = self._registry().fetch_artifact(
                name, ARTIFACT_TYPE, archive.LARGEST, self._content, progress, request
            )
            with self._content.open(blob.digest) as stream, self._imported.unpacked(stream, name) as found:
                _check_is(found, expected or {}, name)
                return self._added(found, caller, name, shared)

    def _added(self, found: Unpacked, caller: Caller, source: str, shared: bool) -> dict[str, Any]:
        name, installed = found.tree.document.name, self._templates.installed()
        before = self._imported.own(name, caller)
        record: Imported = self._imported.add(found, caller, source, installed, shared)
        if before is not None and before.digest != record.digest:
            self._templates.forget_images(caller.uid, name, self._users_of)
        return {**_facts(found), "digest": record.digest}

    def _check_may(self, caller: Caller, shared: bool = False) -> None:
        if shared and not caller.is_administrator:
            raise Refused("sharing a template with everyone is for administrators", "leave out --shared")
        if not caller.is_administrator and not self._settings().templates.users_may_import:
            raise Refused("importing templates is for administrators here", "ask the administrator")

    def package(self, stream: BinaryIO, where: str, target: IO[bytes]) -> dict[str, Any]:
        """Write the template as an archive whose bytes depend on nothing but its files."""
        with self._imported.unpacked(stream, where) as found:
            try:
                digest = self._imported.write(found, target)
                target.flush()
            except OSError as error:
                raise StepFailed(
                    "write the archive", os.strerror(error.errno or 0), "write it elsewhere"
                ) from error
            return {**_facts(found), "digest": digest}

    def lock(
        self, stream: BinaryIO, where: str, options: Mapping[str, str], caller: Caller, progress: Progress
    ) -> str:
        """The text of a lock for the template in an archive: it is built, as an imported one is."""
        self._check_may(caller)
        with self._imported.unpacked(stream, where) as unpacked:
            document = unpacked.tree.document
            record = Imported(document.name, caller.uid, "", where, 0.0)
            found = Found(ImportedTemplate(record, unpacked.tree), "", record)
            return self._templates.lock(found, options, progress)

    def publish(
        self, stream: BinaryIO, where: str, reference: str, request: FetchRequest, progress: Progress
    ) -> dict[str, Any]:
        """Store the template at the registry that ``reference`` names; the manifest's digest there."""
        name = parse(reference)
        if name.digest or not name.domain:
            raise InvalidInput(
                f"{reference!r} is no name to publish under", "write registry.example.org/templates/name:1.0"
            )
        with self._imported.unpacked(stream, where) as found, self._content.holding():
            data = io.BytesIO()
            self._imported.write(found, data)
            manifest = self._stored(found, data.getvalue())
            digest = self._registry().push_artifact(str(name), manifest, self._content, progress, request)
            return {**_facts(found), "digest": digest, "reference": str(name)}

    def _stored(self, found: Unpacked, data: bytes) -> Descriptor:
        """The artifact in the content store: its manifest's descriptor (image-spec, "Guidelines for Artifact Usage")."""
        document = found.tree.document
        blob = self._content.put_bytes(BLOB_TYPE, data)
        empty = self._content.put_bytes(_EMPTY_TYPE, _EMPTY)
        title = f"{document.name}-{document.version}.tar.gz"
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": _EMPTY_TYPE, "digest": empty.digest, "size": empty.size},
            "layers": [
                {
                    "mediaType": BLOB_TYPE,
                    "digest": blob.digest,
                    "size": blob.size,
                    "annotations": {"org.opencontainers.image.title": title},
                }
            ],
            "annotations": {
                "org.opencontainers.image.title": document.name,
                "org.opencontainers.image.version": document.version,
                "org.opencontainers.image.description": document.description,
                "org.opencontainers.image.licenses": document.license,
            },
        }
        return self._content.put_bytes(_MANIFEST_TYPE, json.dumps(manifest, sort_keys=True).encode())

    def _registry(self) -> ImageSourceDriver:
        for source in self._sources:
            if Capability.PUSH in source.capabilities:
                return source
        raise Unsupported("no image source knows registries", "pip install multios-image-registry")

    def remove(self, name: str, caller: Caller) -> None:
        """Forget the caller's imported template, and its images but for those of containers."""
        self._imported.remove(name, caller)
        self._templates.forget_images(caller.uid, name, self._users_of)


def _facts(found: Unpacked) -> dict[str, Any]:
    document = found.tree.document
    return {
        "name": document.name,
        "version": document.version,
        "summary": document.description,
        "license": document.license,
        "base": found.tree.render({}).base,
        "left_out": list(found.left_out),
    }


def _check_is(found: Unpacked, expected: Mapping[str, str], where: str) -> None:
    """Refuse a template of another name or version than was promised."""
    document = found.tree.document
    for key, has in (("name", document.name), ("version", document.version)):
        if expected.get(key, has) != has:
            raise InvalidInput(
                f"{where}: template.toml: {key}: {has!r}, but {expected[key][:80]!r} was promised",
                "tell who keeps the index; nothing was imported",
            )


@contextmanager
def opened(descriptor: int, mode: str) -> Iterator[Any]:
    """A client's descriptor as a file of our own."""
    with os.fdopen(os.dup(descriptor), mode) as file:
        yield file
