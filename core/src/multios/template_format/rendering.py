"""From a document and the values of its options to a plan. Pure: nothing is built, nothing is asked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from multios.errors import InvalidInput
from multios.model.reference import parse as parse_reference
from multios.model.template import SERVICES_PROGRAM, Check, Service, TemplatePlan
from multios.template_format import options, packages, rules, services
from multios.template_format.document import Document, Variant

_SHELL = ("/bin/bash",)


def render(document: Document, values: Mapping[str, str], rootfs: str = "") -> TemplatePlan:
    """The plan for these values; ``InvalidInput`` names an unknown option or one out of bounds.

    ``rootfs`` is the fingerprint of the files that are copied over the root filesystem.
    """
    chosen = options.chosen(document.name, document.parameters, values)
    fill = _Filler(chosen)
    base = fill.plain(document.base)
    parse_reference(base)
    variant = _variant(document, chosen)
    ran = tuple(fill.service(service) for service in document.services + variant.services)
    files = {path: fill.plain(text) for path, text in document.files.items()}
    if ran:
        files[SERVICES_PROGRAM] = services.script(ran)
    return TemplatePlan(
        name=document.name,
        version=document.version,
        description=document.description,
        base=base,
        steps=tuple(fill.shell(step).strip() for step in variant.steps),
        files=files,
        command=fill.words(document.command) or ((SERVICES_PROGRAM,) if ran else _SHELL),
        environment={name: fill.plain(text) for name, text in document.environment.items()},
        working_directory=document.working_directory,
        resources=document.resources,
        ports=document.ports,
        capabilities=document.requests.capabilities,
        seccomp_profile=document.requests.seccomp_profile,
        labels=document.labels,
        license=document.license,
        packages=_packages(document, base, fill),
        rootfs=rootfs,
        devices=document.requests.devices,
        network=document.requests.network,
        services=ran,
        checks=tuple(fill.check(check) for check in document.checks + variant.checks),
    )


def _variant(document: Document, chosen: Mapping[str, str]) -> Variant:
    """The first variant that fits, else one of the usual steps and nothing further."""
    parameters = {parameter.name: parameter for parameter in document.parameters}
    for variant in document.variants:
        if all(
            chosen[name] in [options.checked(parameters[name], value) for value in fitting]
            for name, fitting in variant.when.items()
        ):
            return variant
    return Variant(document.steps, {})


def _packages(document: Document, base: str, fill: _Filler) -> tuple[str, ...]:
    names = fill.words(packages.for_base(document.packages, base))
    for name in names:
        try:
            rules.check_package(name, "packages")
        except InvalidInput as error:
            raise InvalidInput(f"template {document.name!r}: {error.cause}", error.remedy) from None
    return tuple(dict.fromkeys(names))


class _Filler:
    """Puts values where ``{{name}}`` stands: quoted in what a shell reads, elsewhere as they are."""

    def __init__(self, chosen: Mapping[str, str]) -> None:
        self._plain = chosen
        self._quoted = {name: shlex.quote(value) for name, value in chosen.items()}

    def plain(self, text: str) -> str:
        return rules.PLACEHOLDER.sub(lambda match: self._plain[match[1]], text)

    def shell(self, text: str) -> str:
        return rules.PLACEHOLDER.sub(lambda match: self._quoted[match[1]], text)

    def words(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.plain(text) for text in texts)

    def service(self, service: Service) -> Service:
        return replace(
            service,
            command=self.shell(service.command).strip(),
            prepare=self.shell(service.prepare).strip(),
            ready=self.words(service.ready),
        )

    def check(self, check: Check) -> Check:
        return replace(check, command=self.words(check.command), expect=self.plain(check.expect))
